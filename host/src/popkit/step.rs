//! A step, as the reports of `execute` and `rollback` have it.

use pop_deploy_plugin_api::protocol::Step;
use serde::Serialize;

/// How a step ended, in the wrapper's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It is done, whether it changed anything or not.
    Success,
    /// It failed.
    Failed,
    /// It took too long.
    Timeout,
    /// It wasn't run.
    Skipped,
}

/// A step. What comes after `description` is there when it was run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// Its id, without what tells it from others of its kind: each tag's is a `push`.
    pub step: String,
    /// The command line that it stands for, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What it does.
    pub description: String,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StepStatus>,
    /// How long it took, in seconds; see [`one_decimal`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// The exit code of its last program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The end of what its programs complained; failed only. See [`stderr_tail`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

impl StepReport {
    /// A step that wasn't run, as a dry run lists it.
    pub fn planned(step: &Step) -> Self {
        let commands: Vec<_> = step.commands.iter().map(ToString::to_string).collect();
        Self {
            step: step.id.split(':').next().unwrap_or_default().to_owned(),
            command: (!commands.is_empty()).then(|| commands.join(" && ")),
            description: step.title.clone(),
            status: None,
            duration_s: None,
            exit_code: None,
            stderr: None,
        }
    }
}

/// Seconds with one decimal, as reports have them.
pub fn one_decimal(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

/// The last 500 characters.
pub fn stderr_tail(stderr: &str) -> String {
    let skipped = stderr.chars().count().saturating_sub(500);
    stderr.chars().skip(skipped).collect()
}
