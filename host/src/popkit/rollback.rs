//! `rollback --action rollback`: a rollback as the wrapper reads it.

use serde_json::json;

use super::{
    Answer,
    execute::{carry_facts, millis, object, outcome_words, steps, succeeded},
};
use crate::{
    pipeline::outcome::{Mode, Report},
    project::Project,
};

/// What the wrapper is told when history has nothing to go back to.
pub const NOTHING: &str = "No rollback version available. Specify --version.";

/// The report of a rollback, its dry run, or of taking an interrupted run back.
pub fn rollback(project: &Project, timestamp: &str, target_name: &str, report: &Report) -> Answer {
    let Some(target) = report.targets.iter().find(|target| target.name == target_name) else {
        return refused(project, timestamp, target_name, report.mode.is_dry(), "the run has no such target");
    };
    let recovered = report.mode == Mode::Recovery;
    let success = if recovered { target.is_back() } else { succeeded(report, target) };
    let version = |release: Option<&pop_deploy_plugin_api::protocol::Release>| {
        release.and_then(|it| it.version.clone())
    };
    let (from, to) = if recovered {
        (version(Some(&target.release)), version(target.live_since()))
    } else {
        (version(target.before.as_ref()), version(Some(&target.release)))
    };
    let mut body = object(json!({
        "operation": "execute_rollback",
        "directory": project.dir.to_string_lossy(),
        "timestamp": timestamp,
        "target": target.name,
        "from_version": from,
        "to_version": to,
        "duration_ms": millis(report.took),
        "success": success,
        "dry_run": report.mode.is_dry(),
        "steps": steps(report, target),
    }));
    if success {
        let to = to.unwrap_or_else(|| "what was there before".to_owned());
        let message = match report.mode {
            Mode::RollbackDryRun => format!("Would roll {} back to {to}", target.name),
            Mode::Recovery => format!("Took the interrupted deployment back; {to} is live"),
            _ => format!("Rolled {} back to {to}", target.name),
        };
        body.insert("message".into(), message.into());
    }
    outcome_words(&mut body, report, target, success);
    carry_facts(&mut body, target);
    Answer::report(body, success)
}

/// The report of a rollback that could not begin.
pub fn refused(project: &Project, timestamp: &str, target: &str, dry_run: bool, error: &str) -> Answer {
    let body = json!({
        "operation": "execute_rollback",
        "directory": project.dir.to_string_lossy(),
        "timestamp": timestamp,
        "target": target,
        "from_version": null,
        "to_version": null,
        "duration_ms": 0,
        "success": false,
        "dry_run": dry_run,
        "steps": [],
        "error": error,
    });
    Answer::report(object(body), false)
}
