//! What can be wrong with a deploy.json.

use std::{fmt, io, path::PathBuf};

/// A place in deploy.json, counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}", self.line, self.column)
    }
}

/// Why a deploy.json can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file isn't JSON.
    #[error("`{}` is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong; its text names line and column.
        source: serde_json::Error,
    },
    /// A key has another type, or another word, than it may have.
    #[error("`{key}` must be {expected}, not {found}{}", place(path, *at))]
    Shape {
        /// The file.
        path: PathBuf,
        /// The key's path: `targets.docs.enabled`; `the whole file` for the top itself.
        key: String,
        /// What may stand there: `true or false`.
        expected: String,
        /// What stands there, without its value where that could be long or a secret: `a string`.
        found: String,
        /// Where.
        at: Option<Position>,
    },
    /// A name that a terminal, a file or a hook would stumble over.
    #[error("{what} name {name:?} is not usable in `{}`", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Whose name: `target`, `environment`.
        what: &'static str,
        /// The name; shown escaped.
        name: String,
    },
    /// The environment that was asked for isn't there.
    #[error("there is no environment `{name}` in `{}`", path.display())]
    UnknownEnvironment {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// Those that there are.
        available: Vec<String>,
        /// The one that may be meant.
        nearest: Option<String>,
    },
    /// An environment changes a target that there isn't.
    #[error("`{key}` changes a target that there isn't{}", place(path, *at))]
    UnknownOverride {
        /// The file.
        path: PathBuf,
        /// The key's path: `environments.staging.dosc`.
        key: String,
        /// The target that may be meant.
        nearest: Option<String>,
        /// Where.
        at: Option<Position>,
    },
    /// A hook at a point that doesn't exist.
    #[error("unknown hook `{key}`{}", place(path, *at))]
    UnknownHook {
        /// The file.
        path: PathBuf,
        /// The key's path: `hooks.pre_swich`.
        key: String,
        /// The point that may be meant.
        nearest: Option<String>,
        /// Where.
        at: Option<Position>,
    },
    /// `plugin` isn't a semver requirement.
    #[error("`{key}` is not a version requirement: `{text}`{}", place(path, *at))]
    PluginVersion {
        /// The file.
        path: PathBuf,
        /// The key's path.
        key: String,
        /// What stands there.
        text: String,
        /// Where.
        at: Option<Position>,
        /// What is wrong with it.
        source: semver::Error,
    },
}

impl ConfigError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "check that it is a file and who may read it".to_owned(),
            Self::Json { source, .. } => {
                format!("look at line {}: a comma too many or too few, or a missing quote", source.line())
            }
            Self::Shape { key, expected, .. } => format!("write {expected} at `{key}`"),
            Self::Name { .. } => {
                "use a short name without control characters that doesn't begin with `-`".to_owned()
            }
            Self::UnknownEnvironment { nearest: Some(nearest), .. } => {
                format!("try `--environment {nearest}`")
            }
            Self::UnknownEnvironment { name, available, .. } => format!(
                "use one of {}, or add `{name}` to `environments` in deploy.json",
                available.join(", ")
            ),
            Self::UnknownOverride { nearest: Some(nearest), .. } => {
                format!("write `{nearest}` if that is meant")
            }
            Self::UnknownOverride { nearest: None, .. } => {
                "add the target to `targets` first, disabled where it isn't wanted".to_owned()
            }
            Self::UnknownHook { nearest: Some(nearest), .. } => format!("write `{nearest}` if that is meant"),
            Self::UnknownHook { nearest: None, .. } => {
                let names: Vec<_> = super::HookPoint::all().map(super::HookPoint::name).collect();
                format!("use one of {}", names.join(", "))
            }
            Self::PluginVersion { .. } => "write something like \"^1.2\" or \">=1.2, <2\"".to_owned(),
        })
    }
}

fn place(path: &std::path::Path, at: Option<Position>) -> String {
    match at {
        Some(at) => format!(" (`{}`, {at})", path.display()),
        None => format!(" (`{}`)", path.display()),
    }
}
