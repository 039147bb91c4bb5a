//! The run's `log`: everything that the steps' programs said, without the secrets.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::redact::Redactor;

use super::{JournalError, io_at};

/// Appends to a run's `log`. Lines are redacted here, whatever was done to them before.
pub struct RunLog {
    path: PathBuf,
    file: File,
    redactor: Redactor,
}

impl RunLog {
    /// Opens the log, for the owner alone. `path` is [`Journal::log_path`](super::Journal::log_path).
    ///
    /// # Errors
    /// When it can't be created.
    pub fn open(path: &Path, redactor: Redactor) -> Result<Self, JournalError> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(io_at("create", path))?;
        Ok(Self { path: path.to_owned(), file, redactor })
    }

    /// Adds a line: the time, the target where there is one, the text.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn line(&mut self, target: Option<&str>, text: &str) -> Result<(), JournalError> {
        let target = target.map(|target| format!(" [{target}]")).unwrap_or_default();
        let line = format!("{}{target} {text}\n", super::timestamp());
        self.file.write_all(self.redactor.redact(&line).as_bytes()).map_err(io_at("write", &self.path))
    }
}
