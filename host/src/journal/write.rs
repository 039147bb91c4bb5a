//! Writing a run's folder while the run goes on.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pop_deploy_plugin_api::protocol::Plan;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::lock::{PATIENCE, Waited, lock_within};

use super::{
    Entry, JournalError, RunInfo, entry::Line, ids_of_now, io_at, journal_file, plan_file, runs_folder,
};

/// The journal of the run that goes on. Usable from any thread.
#[derive(Debug)]
pub struct Journal {
    id: String,
    dir: PathBuf,
    file: File,
    /// The journal's length: all of it whole lines.
    length: Mutex<u64>,
}

impl AsFd for Journal {
    /// For the workers of the run: as long as one of them has it, the run counts as alive.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Journal {
    /// Begins a run: makes its folder under a new id and writes [`Entry::RunStarted`].
    ///
    /// # Errors
    /// When the data folder can't be written.
    pub fn create(data: &Path, info: &RunInfo) -> Result<Self, JournalError> {
        let runs = runs_folder(data);
        private_folder().recursive(true).create(&runs).map_err(io_at("create", &runs))?;
        let (id, dir) = new_folder(&runs)?;
        let path = journal_file(&dir);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_at("create", &path))?;
        // Nobody keeps it: who looks for interrupted runs has it for a moment only.
        match lock_within(&file, Duration::from_secs(5), &|| false).map_err(io_at("lock", &path))? {
            Waited::Locked => {}
            _ => return Err(JournalError::Alive { id }),
        }
        for folder in [&dir, &runs] {
            sync_folder(folder)?;
        }
        let journal = Self { id, dir, file, length: Mutex::new(0) };
        journal.append(&Entry::RunStarted(info.clone()))?;
        Ok(journal)
    }

    /// Continues the journal of an interrupted run, to finish it or to take it back. A torn last line goes.
    ///
    /// # Errors
    /// [`JournalError::Alive`] when the run goes on after all, or another command continues it already.
    pub fn reopen(data: &Path, id: &str) -> Result<Self, JournalError> {
        let dir = runs_folder(data).join(id);
        let path = journal_file(&dir);
        if !super::is_id(id) || !path.exists() {
            return Err(JournalError::NoRun { id: id.to_owned(), folder: runs_folder(data) });
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(io_at("open", &path))?;
        match lock_within(&file, PATIENCE, &|| false).map_err(io_at("lock", &path))? {
            Waited::Locked => {}
            _ => return Err(JournalError::Alive { id: id.to_owned() }),
        }
        let content = fs::read(&path).map_err(io_at("read", &path))?;
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1) as u64;
        file.set_len(whole).map_err(io_at("truncate", &path))?;
        Ok(Self { id: id.to_owned(), dir, file, length: Mutex::new(whole) })
    }

    /// Removes the run's folder: the run never began.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn discard(self) -> Result<(), JournalError> {
        fs::remove_dir_all(&self.dir).map_err(io_at("remove", &self.dir))
    }

    /// The run's id, which is the deployment's.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The run's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the run's log keeps the output.
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Adds one entry. When this returns, intents, receipts and endings are on the disk.
    ///
    /// # Errors
    /// When they can't be: the caller must not go on as if they were. The journal still consists of whole lines.
    pub fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        let path = journal_file(&self.dir);
        let line = Line { time: super::timestamp(), entry: entry.clone() };
        let mut bytes =
            serde_json::to_vec(&line).map_err(|source| JournalError::Json { path: path.clone(), source })?;
        bytes.push(b'\n');
        let mut length = self.length.lock().unwrap_or_else(PoisonError::into_inner);
        let written = (&self.file)
            .write_all(&bytes)
            .and_then(|()| if entry.is_promise() { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // Half a line in the middle would make the journal unreadable.
            self.file.set_len(*length).map_err(io_at("truncate", &path))?;
            return Err(io_at("write", &path)(error));
        }
        *length += bytes.len() as u64;
        Ok(())
    }

    /// Keeps a target's plan, and gives its digest for [`PlannedTarget::plan_digest`](super::PlannedTarget::plan_digest).
    ///
    /// # Errors
    /// When it can't be written.
    pub fn store_plan(&self, target: &str, plan: &Plan) -> Result<String, JournalError> {
        let path = plan_file(&self.dir, target);
        let bytes = self.store(&path, plan)?;
        Ok(digest(&bytes))
    }

    /// Keeps the run's result as `report.json`. `report` must be redacted already.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn store_report(&self, report: &Value) -> Result<(), JournalError> {
        self.store(&self.dir.join("report.json"), report).map(drop)
    }

    fn store(&self, path: &Path, value: &impl Serialize) -> Result<Vec<u8>, JournalError> {
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|source| JournalError::Json { path: path.to_owned(), source })?;
        let temporary = path.with_extension("tmp");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(io_at("create", &temporary))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io_at("write", &temporary))?;
        fs::rename(&temporary, path).map_err(io_at("create", path))?;
        sync_folder(&self.dir)?;
        Ok(bytes)
    }
}

/// The digest of a stored plan's bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `mkdir` decides who gets an id.
fn new_folder(runs: &Path) -> Result<(String, PathBuf), JournalError> {
    for name in ids_of_now() {
        let dir = runs.join(&name);
        match private_folder().create(&dir) {
            Ok(()) => return Ok((name, dir)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_at("create", &dir)(error)),
        }
    }
    unreachable!("the ids never end")
}

fn private_folder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_at("sync", folder))
}
