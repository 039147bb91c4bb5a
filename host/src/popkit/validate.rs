//! `validate --action load-config` and `--action validate`: what deploy.json says, and whether to deploy.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Answer, Source, execute::object, head, masked};
use crate::{
    history::History,
    select,
    validate::{Finding, Readiness, Recommendation, Scope},
};

/// The report of `load-config`.
pub fn load_config(source: &Source<'_>) -> Answer {
    let config = source.config;
    let enabled: Vec<_> = config.targets.iter().filter(|target| select::says_enabled(target)).collect();
    let primary = config.targets.iter().find(|target| target.primary);
    let mut report = head("load_deploy_config", source, true);
    report.insert("config_path".to_owned(), source.project.deploy_json.to_string_lossy().into());
    report.insert("project_name".to_owned(), config.project_name.clone().into());
    report.insert(
        "enabled_targets".to_owned(),
        enabled.iter().map(|target| Value::from(target.name.clone())).collect(),
    );
    report.insert("primary_target".to_owned(), primary.map(|target| target.name.clone()).into());
    report.insert("ci_provider".to_owned(), config.ci_provider.clone().into());
    report.insert("history_count".to_owned(), History::of(config).records().len().into());
    report.insert("config".to_owned(), masked(&config.raw));
    Answer::report(report, true)
}

/// The report of `load-config` where there is no deploy.json that can be used.
pub fn config_not_loaded(dir: &Path, config_path: &Path, timestamp: &str, error: &str) -> Answer {
    let body = json!({
        "operation": "load_deploy_config",
        "directory": dir.to_string_lossy(),
        "timestamp": timestamp,
        "success": false,
        "error": error,
        "config_path": config_path.to_string_lossy(),
    });
    Answer::report(object(body), false)
}

/// What a validation is about, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Validated<'v> {
    /// The project folder.
    pub dir: &'v Path,
    /// `project_name` of deploy.json.
    pub project_name: Option<&'v str>,
    /// Now, as [`journal::timestamp`](crate::journal::timestamp) gives it.
    pub timestamp: &'v str,
    /// How much was looked at.
    pub scope: Scope,
    /// The target.
    pub target: Option<&'v str>,
}

/// The report of `validate`.
pub fn validate(about: &Validated<'_>, findings: &[Finding]) -> Answer {
    let readiness = Readiness::of(findings);
    let success = readiness.recommendation != Recommendation::NoGo;
    let mut report = Map::new();
    report.insert("operation".to_owned(), "validate_deployment".into());
    report.insert("success".to_owned(), success.into());
    report.insert("directory".to_owned(), about.dir.to_string_lossy().into());
    report.insert("project_name".to_owned(), about.project_name.into());
    report.insert("timestamp".to_owned(), about.timestamp.into());
    report.insert("scope".to_owned(), about.scope.name().into());
    report.insert("target".to_owned(), about.target.into());
    report.insert("checks".to_owned(), findings.iter().map(Finding::to_value).collect());
    report.insert("readiness".to_owned(), readiness.to_value());
    Answer::report(report, success)
}
