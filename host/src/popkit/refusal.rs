//! Errors before any work, in the words that the wrapper knows.

use serde_json::{Value, json};

use super::{Answer, Stream};
use crate::{config::ConfigError, project::ProjectError, select::PopkitSelectError};

/// Which of the wrapper's programs is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `execute`; its operations are called `deploy_…` here.
    Execute,
    /// `rollback`.
    Rollback,
    /// `validate`.
    Validate,
}

impl Tool {
    fn operation(self, action: &str) -> String {
        match self {
            Self::Execute | Self::Validate => format!("deploy_{action}"),
            Self::Rollback => format!("rollback_{action}"),
        }
    }
}

/// No project: the folder or its deploy.json isn't there.
pub fn project_refused(tool: Tool, action: &str, error: &ProjectError) -> Answer {
    match error {
        ProjectError::NoDirectory { .. } | ProjectError::NotADirectory { .. } => {
            on_stderr(json!({ "error": project_error(error) }))
        }
        _ => refused_before_work(tool, action, &project_error(error)),
    }
}

/// Why there is no project, in the wrapper's words.
pub fn project_error(error: &ProjectError) -> String {
    match error {
        ProjectError::NoDirectory { dir, .. } | ProjectError::NotADirectory { dir } => {
            format!("Directory not found: {}", dir.display())
        }
        ProjectError::NoDeployJson { .. } => {
            "deploy.json not found. Run /popkit-ops:deploy init first.".to_owned()
        }
        _ => with_causes(error),
    }
}

/// A deploy.json that can't be used.
pub fn config_refused(tool: Tool, action: &str, error: &ConfigError) -> Answer {
    refused_before_work(tool, action, &config_error(error))
}

/// Why a deploy.json can't be used, in the wrapper's words.
pub fn config_error(error: &ConfigError) -> String {
    match error {
        // serde_json's own text names line and column.
        ConfigError::Json { source, .. } => format!("Invalid JSON in deploy.json: {source}"),
        _ => with_causes(error),
    }
}

/// No target, for the actions whose report can't say so themselves: all but `prepare` and `assess`.
pub fn target_refused(tool: Tool, action: &str, error: &PopkitSelectError) -> Answer {
    refused_before_work(tool, action, &error.to_string())
}

/// Any other reason not to begin, in the same shape.
pub fn refused_before_work(tool: Tool, action: &str, error: &str) -> Answer {
    on_stderr(json!({ "operation": tool.operation(action), "success": false, "error": error }))
}

fn on_stderr(json: Value) -> Answer {
    Answer { json, stream: Stream::Stderr, exit: 1 }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
