//! `execute --action prepare`: what a deployment would start from. Touches no target.

use serde_json::Value;

use super::{Answer, head, masked};
use crate::{config::DeployConfig, history::History, project::Project, select};

/// What the reports are made from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'s> {
    /// The project.
    pub project: &'s Project,
    /// Its deploy.json.
    pub config: &'s DeployConfig,
    /// Now, as [`journal::timestamp`](crate::journal::timestamp) gives it.
    pub timestamp: &'s str,
    /// `--target`.
    pub target: Option<&'s str>,
}

/// The report. `version` and `commit` are the project's, as [`crate::version`] finds them.
pub fn prepare(source: &Source<'_>, version: Option<&str>, commit: Option<&str>) -> Answer {
    let config = source.config;
    let chosen = select::for_popkit(config, source.target);
    let mut report = head("prepare_deployment", source, chosen.is_ok());
    let history = History::of(config);
    let last = chosen.as_ref().ok().and_then(|target| history.target(&target.name).last_success());
    let (name, target_config) = match &chosen {
        Ok(target) => (Some(target.name.as_str()), masked(&target.raw)),
        Err(_) => (source.target, Value::Null),
    };
    report.insert("target".to_owned(), name.into());
    report.insert("target_config".to_owned(), target_config);
    report.insert("version".to_owned(), version.into());
    report.insert("commit_sha".to_owned(), commit.into());
    report.insert("last_deployment".to_owned(), last.map(|record| record.raw.clone()).into());
    report.insert("rollback_version".to_owned(), last.and_then(|record| record.version.clone()).into());
    report.insert("project_name".to_owned(), config.project_name.clone().into());
    report.insert("ci_provider".to_owned(), config.ci_provider.clone().into());
    if let Err(error) = &chosen {
        report.insert("error".to_owned(), error.to_string().into());
    }
    Answer::report(report, chosen.is_ok())
}
