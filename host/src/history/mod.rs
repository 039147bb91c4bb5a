//! What was deployed where: the short form, in deploy.json's `history`, newest first.
//!
//! A record may come from us or from the wrapper's older scripts, which know the first eight fields only. What is
//! live and what came before it is read from the verified deployments here, never from a place's folders or dates.

mod append;
mod record;
mod rules;
mod splice;

use std::{io, path::PathBuf};

pub use append::{append, lock};
pub use record::{Record, RollbackRecord, Status, instant};
pub use rules::{Assessment, Deployed, History, TargetHistory};

/// How many records are kept.
pub const KEPT: usize = 50;

/// Why history can't be written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file or folder refuses.
    #[error("can't {verb} `{}`", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// deploy.json isn't JSON any more; nothing was written.
    #[error("`{}` is not valid JSON, so its history was not written", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// deploy.json, or its `history`, is of another type; nothing was written.
    #[error("{what} in `{}`, so its history was not written", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What is wrong: "`history` is not a list".
        what: &'static str,
    },
}

impl HistoryError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space on that file system; the run's journal has what history lacks"
            }
            Self::Io { .. } => {
                "check who owns the data folder and deploy.json; the run's journal has what history lacks"
            }
            Self::Json { .. } | Self::Shape { .. } => {
                "mend the file; the run's journal has what history lacks"
            }
        };
        Some(hint.to_owned())
    }
}

#[cfg(test)]
mod tests;
