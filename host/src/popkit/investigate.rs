//! `rollback --action investigate`: what helps to understand a failure.

use pop_deploy_plugin_api::protocol::Diagnostic;
use serde_json::{Value, json};

use super::{Answer, Source, head};
use crate::{config::TargetConfig, git, history::History};

/// More records or commits than this are history.
const NEWEST: usize = 10;

/// The report. `gathered` is what the target offers, or why it can't be asked.
pub fn investigate(
    source: &Source<'_>,
    target: &TargetConfig,
    gathered: Result<Vec<Diagnostic>, String>,
) -> Answer {
    let history = History::of(source.config);
    let records: Vec<_> =
        history.target(&target.name).records().iter().take(NEWEST).map(|record| record.raw.clone()).collect();
    let mut diagnostics = vec![json!({"source": "deployment_history", "data": records})];
    let count = NEWEST.to_string();
    if let Some(log) = git::ask(&source.project.dir, &["log", "--oneline", "--no-decorate", "-n", &count]) {
        let commits: Vec<_> = log.lines().collect();
        diagnostics.push(json!({"source": "git_log", "data": commits}));
    }
    match gathered {
        Ok(gathered) => diagnostics.extend(gathered.into_iter().map(|one| json!(one))),
        Err(error) => diagnostics.push(json!({"source": target.kind, "data": {"error": error}})),
    }
    let mut report = head("investigate_failure", source, true);
    report.insert("target".to_owned(), target.name.clone().into());
    let number = diagnostics.len();
    report.insert("diagnostics".to_owned(), Value::from(diagnostics));
    report.insert("diagnostic_count".to_owned(), number.into());
    Answer::report(report, true)
}
