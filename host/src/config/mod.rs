//! deploy.json: what is to be deployed where, as the user wrote it.
//!
//! Reading is strict about the types of the keys we know and silent about all others: they belong to somebody
//! else. An unknown key that looks like a slip of one of ours becomes a [`Warning`].

mod deadlines;
pub(crate) mod environment;
mod error;
mod hooks;
mod read;
pub(crate) mod text;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use semver::VersionReq;
use serde_json::Value;

pub use deadlines::Deadlines;
pub use environment::Environment;
pub use error::{ConfigError, Position};
pub use hooks::{DryRun, Hook, HookPoint, Hooks, OnError};
pub(crate) use pop_deploy_plugin_api::nearest;

use crate::{plugins::Limits, project::Project};

/// A whole deploy.json.
#[derive(Debug, Clone)]
pub struct DeployConfig {
    /// The file.
    pub path: PathBuf,
    /// The environment that it was read for: the targets are as they are there.
    pub environment: Environment,
    /// The other environments that it names, in file order.
    pub environments: Vec<String>,
    /// `project_name`.
    pub project_name: Option<String>,
    /// `ci.provider`.
    pub ci_provider: Option<String>,
    /// The targets, in file order.
    pub targets: Vec<TargetConfig>,
    /// The hooks of the whole run.
    pub hooks: Hooks,
    /// What happens to the other targets when one fails.
    pub on_partial: OnPartial,
    /// What happens to what was begun when the run is interrupted.
    pub on_interrupt: OnInterrupt,
    /// `auto_rollback` at the top; each target has its own effective value.
    pub auto_rollback: bool,
    /// What looks wrong without being an error.
    pub warnings: Vec<Warning>,
    /// Everything, in file order.
    pub raw: Value,
}

/// One target.
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// Its name in deploy.json. Untrusted: any text.
    pub name: String,
    /// Which plugin serves it: `type`, else the name. `_` and `-` are the same here.
    pub kind: String,
    /// Whether it is deployed by default. True where the key is absent.
    pub enabled: bool,
    /// Whether it is the one that is meant when none is named.
    pub primary: bool,
    /// What the plugin's version must match.
    pub plugin: Option<VersionReq>,
    /// Whether a failure after the switch is rolled back: the target's own word, else the top's, else true.
    pub auto_rollback: bool,
    /// The target's own object, for its plugin. `{}` where absent. Secrets are references.
    pub config: Value,
    /// The hooks of this target, to run beside those of the whole run.
    pub hooks: Hooks,
    /// How long its plugin may take (`deadlines`).
    pub deadlines: Deadlines,
    /// What its worker may use (`limits`); no entry: no limit but the system's.
    pub limits: Limits,
    /// The whole target object.
    pub raw: Value,
}

/// `on_partial`: what happens to the targets that switched when another one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnPartial {
    /// All go back, newest first.
    #[default]
    RollbackAll,
    /// They stay, and no further target begins.
    Stop,
    /// They stay, and the others go on.
    Continue,
}

/// `on_interrupt`: what happens to what was begun when a person or a supervisor ends the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnInterrupt {
    /// It goes back.
    #[default]
    Rollback,
    /// It stays as it is, and the journal says so.
    Leave,
}

/// Something in deploy.json that looks wrong without being an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A key that we don't know and that looks like one we know.
    UnknownKey {
        /// Its path: `targets.docs.enabeld`.
        key: String,
        /// The key that may be meant.
        nearest: String,
        /// Where it stands.
        at: Option<Position>,
    },
    /// A key that stands twice in one object; the last one counts.
    DuplicateKey {
        /// Its path.
        key: String,
        /// Where the one that counts stands.
        at: Option<Position>,
    },
    /// More than one target is primary; the first counts.
    Primaries {
        /// Their names, in file order.
        names: Vec<String>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |at: &Option<Position>| at.map(|at| format!(" ({at})")).unwrap_or_default();
        match self {
            Self::UnknownKey { key, nearest, at } => {
                write!(f, "unknown key `{key}` in deploy.json{}; did you mean `{nearest}`?", place(at))
            }
            Self::DuplicateKey { key, at } => {
                write!(f, "key `{key}` stands twice in deploy.json{}; the last one counts", place(at))
            }
            Self::Primaries { names } => {
                let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
                write!(f, "{} targets are primary: {}; {} counts", names.len(), names.join(", "), names[0])
            }
        }
    }
}

impl DeployConfig {
    /// Reads the project's file for the project's environment.
    ///
    /// # Errors
    /// When it can't be read, isn't JSON, a key that we know has another type than it should, or there is no such
    /// environment.
    pub fn read(project: &Project) -> Result<Self, ConfigError> {
        let path = &project.deploy_json;
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        Self::parse_for(path, &bytes, &project.environment)
    }

    /// Reads its bytes as production has it; `path` is what errors name.
    ///
    /// # Errors
    /// As [`parse_for`](Self::parse_for).
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        Self::parse_for(path, bytes, &Environment::default())
    }

    /// Reads its bytes as an environment has it; `path` is what errors name.
    ///
    /// # Errors
    /// When they aren't JSON, a key that we know has another type than it should, or there is no such environment.
    pub fn parse_for(path: &Path, bytes: &[u8], environment: &Environment) -> Result<Self, ConfigError> {
        read::config(path, bytes, environment)
    }

    /// The records of the environment's history, newest first.
    pub fn history(&self) -> &[Value] {
        self.environment.history(&self.raw).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The environment, where there are several: then reports have to say which one they are about.
    pub fn named_environment(&self) -> Option<&Environment> {
        (!self.environments.is_empty()).then_some(&self.environment)
    }

    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&TargetConfig> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// `project_name`, else the name of the project folder.
    pub fn project_name_or_folder(&self, project: &Project) -> String {
        let folder =
            || project.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.project_name.clone().unwrap_or_else(folder)
    }
}

#[cfg(test)]
mod tests;
