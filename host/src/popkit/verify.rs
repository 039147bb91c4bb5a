//! `execute --action verify` and `rollback --action verify`: the live release, looked at.

use pop_deploy_plugin_api::protocol::{Check, CheckStatus};
use serde_json::{Value, json};

use super::{Answer, Tool, execute::object};
use crate::project::Project;

/// The report of a look at a target.
pub fn verify(tool: Tool, project: &Project, timestamp: &str, target: &str, checks: &[Check]) -> Answer {
    let good = |check: &&Check| matches!(check.status, CheckStatus::Pass | CheckStatus::Skip);
    let passed = checks.iter().filter(|check| check.status == CheckStatus::Pass).count();
    let failed = checks.iter().filter(|check| check.status == CheckStatus::Fail).count();
    let healthy = checks.iter().filter(good).count() == checks.len();
    let listed: Vec<Value> = checks
        .iter()
        .map(|check| json!({"name": check.name, "status": check.status, "message": check.message}))
        .collect();
    let directory = project.dir.to_string_lossy();
    let body = match tool {
        Tool::Execute | Tool::Validate => json!({
            "operation": "verify_deployment", "directory": directory, "timestamp": timestamp, "target": target,
            "checks": listed, "passed": passed, "total": checks.len(), "healthy": healthy,
        }),
        Tool::Rollback => json!({
            "operation": "verify_rollback", "directory": directory, "timestamp": timestamp, "target": target,
            "checks": listed, "passed": passed, "failed": failed, "rollback_verified": healthy,
        }),
    };
    Answer::report(object(body), healthy)
}
