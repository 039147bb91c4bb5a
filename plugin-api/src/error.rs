//! The one error type of plugins: structured, so that a plugin's failure renders like the host's own.

use std::{fmt, io, path::Path};

use serde::{Deserialize, Serialize};

/// What a fallible operation of a plugin returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Decides the exit code and what the host does next. Kinds that a newer plugin knows read as [`ErrorKind::Failed`] here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The target's configuration is wrong; nothing was tried. Exit code 2.
    Config,
    /// The place or the project isn't ready; nothing was changed. Exit code 3.
    Preflight,
    /// Somebody else holds the target. Exit code 5.
    Locked,
    /// There is no such release to go back to; nothing was changed. Exit code 6.
    NoRelease,
    /// A step took longer than it may.
    Timeout,
    /// A step stopped because it was asked to.
    Cancelled,
    /// The place can't be read, so nobody knows whether the step took effect.
    Unknown,
    /// The plugin doesn't have this method; the host falls back to its default.
    Unimplemented,
    /// The plugin panicked.
    Panic,
    /// Anything else.
    #[serde(other)]
    Failed,
}

/// A failure with everything a person needs: what, why and what to try.
///
/// The message is a lowercase fragment with names and paths in backticks; each cause goes on a line of its own;
/// the hint is one line that begins with what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What kind of failure this is.
    pub kind: ErrorKind,
    /// What failed.
    pub message: String,
    /// Why, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// A step that failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// A wrong configuration.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// A place or project that isn't ready.
    pub fn preflight(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Preflight, message)
    }

    /// A method the plugin doesn't have.
    pub fn unimplemented(method: &str) -> Self {
        Self::new(ErrorKind::Unimplemented, format!("the plugin has no method `{method}`"))
    }

    /// Adds `cause` and everything that caused it.
    #[must_use]
    pub fn because(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Says what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Gives an I/O error the verb and the path that it lost.
pub trait IoContext<T> {
    /// Turns the error into "can't `verb` `path`", with the system's words as its cause.
    ///
    /// # Errors
    /// The same failures as before, as [`ErrorKind::Failed`].
    fn at(self, verb: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn at(self, verb: &str, path: &Path) -> Result<T> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    Some("check who owns it and who may write there, or run as another user")
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free some space on that file system, or keep fewer releases")
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    Some("the file system is mounted read-only; remount it for writing")
                }
                _ => None,
            };
            let failed = Error::failed(format!("can't {verb} `{}`", path.display())).because(&error);
            match hint {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        })
    }
}
