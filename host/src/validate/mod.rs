//! Whether a deployment would be wise: what deploy.json, the repository, the project's own files and the target's
//! plugin say before anything is tried.
//!
//! Everything here reads; no script of the project runs. What can't be right is a failure, what is probably forgotten
//! a warning, what doesn't apply is skipped.

mod build;
mod dependencies;
mod dockerfile;
mod env_vars;
mod git_status;
mod lockfile;
mod manifests;
mod readiness;
mod suite;
mod target;

use pop_deploy_plugin_api::{
    protocol::{Check, CheckStatus},
    words::counted,
};
use serde_json::{Value, json};

pub use git_status::git_status;
pub use readiness::{Readiness, Recommendation};

use self::manifests::Manifests;
use crate::{
    config::{ConfigError, DeployConfig, TargetConfig},
    pipeline::look::View,
    project::Project,
};

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// deploy.json, the target, the repository.
    Quick,
    /// And the project's own files.
    Standard,
    /// And the Dockerfile.
    Full,
}

impl Scope {
    /// The name, as on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Full => "full",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Short and stable: `config_valid`, `lockfile`; or the plugin's own name for it.
    pub name: String,
    /// The target that it is about; none where it is about the project.
    pub target: Option<String>,
    /// How it ended.
    pub status: CheckStatus,
    /// What was found, as a sentence.
    pub message: String,
    /// Whether a failure of it alone is a reason not to deploy.
    pub blocking: bool,
    /// More about it, one thing an entry; never a value of a secret.
    pub details: Vec<String>,
}

impl Finding {
    fn new(name: &str, status: CheckStatus, message: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            target: None,
            status,
            message: message.into(),
            blocking: false,
            details: Vec::new(),
        }
    }

    fn blocking(self) -> Self {
        Self { blocking: true, ..self }
    }

    fn with(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    fn of(self, target: &str) -> Self {
        Self { target: Some(target.to_owned()), ..self }
    }

    fn from_check(check: &Check) -> Self {
        let details = check.hint.iter().map(|hint| format!("hint: {hint}")).collect();
        Self::new(&check.name, check.status, &check.message).with(details).blocking()
    }

    /// As reports have it.
    pub fn to_value(&self) -> Value {
        json!({
            "name": self.name, "status": self.status, "message": self.message,
            "blocking": self.blocking, "details": self.details,
        })
    }
}

/// That deploy.json is there and understood; what looks wrong in it without being an error is a warning.
pub fn config_valid(config: Result<&DeployConfig, &ConfigError>) -> Finding {
    let finding = match config {
        Ok(config) if config.warnings.is_empty() => {
            Finding::new("config_valid", CheckStatus::Pass, "deploy.json is understood")
        }
        Ok(config) => {
            let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
            let message = format!("deploy.json is understood, with {}", counted(warnings.len(), "doubt"));
            Finding::new("config_valid", CheckStatus::Warn, message).with(warnings)
        }
        Err(error) => {
            let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
            let hint = error.hint().map(|hint| format!("hint: {hint}"));
            let details = causes.map(ToString::to_string).chain(hint).collect();
            Finding::new("config_valid", CheckStatus::Fail, error.to_string()).with(details)
        }
    };
    finding.blocking()
}

/// That deploy.json can't be used, in somebody else's words.
pub fn config_unusable(message: &str) -> Finding {
    Finding::new("config_valid", CheckStatus::Fail, message).blocking()
}

/// That there is no target to deploy to.
pub fn no_target(message: &str) -> Finding {
    Finding::new("target_config", CheckStatus::Fail, message).blocking()
}

/// Looks at a project and its targets, as far as `scope` says. `views` has one view a target, of one project.
pub fn validate(
    scope: Scope,
    project: &Project,
    config: &DeployConfig,
    views: &[View<'_>],
    version: Option<&str>,
) -> Vec<Finding> {
    let mut findings = vec![config_valid(Ok(config))];
    let mut of_plugins = Vec::new();
    for view in views {
        let (own, of_plugin) = target::look(view, version);
        findings.push(own);
        of_plugins.extend(of_plugin);
    }
    findings.push(git_status(project));
    if scope >= Scope::Standard {
        let targets: Vec<_> = views.iter().map(|view| view.target).collect();
        findings.extend(of_project(project, &targets));
    }
    if scope >= Scope::Full {
        findings.push(dockerfile::dockerfile_lint(&project.dir, views.iter().map(|view| view.target)));
    }
    findings.extend(of_plugins);
    findings
}

fn of_project(project: &Project, targets: &[&TargetConfig]) -> [Finding; 5] {
    let manifests = Manifests::read(&project.dir);
    [
        build::build(&manifests),
        suite::tests(&manifests),
        dependencies::dependencies(&manifests),
        lockfile::lockfile(&manifests),
        env_vars::env_vars(&project.dir, targets),
    ]
}

#[cfg(test)]
mod tests;
