//! Folders for what lasts no longer than this process, and those that a killed one left behind.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use pop_deploy_plugin_api::Error;
use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, flock, openat},
    process::geteuid,
};
use tempfile::TempDir;

/// How the folders are called, before six characters of chance.
const PREFIX: &str = ".pop-deploy-";
const CHANCE: usize = 6;
/// A younger folder may be one that isn't locked yet.
const OLD: Duration = Duration::from_secs(60);

/// A folder for temporary files, gone with this value. As long as this process lives the folder is locked.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes the folder.
    ///
    /// # Errors
    /// When the system's temporary folder can't be written.
    pub fn new() -> Result<Self, Error> {
        Self::make().map_err(|error| {
            Error::preflight(format!("can't make a temporary folder in `{}`", std::env::temp_dir().display()))
                .because(&error)
                .hint("free some space there, or set TMPDIR to another folder")
        })
    }

    /// As [`new`](Self::new), with the system's words.
    ///
    /// # Errors
    /// When the system's temporary folder can't be written.
    pub fn make() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).rand_bytes(CHANCE).tempdir()?;
        let lock = File::open(folder.path())?;
        flock(&lock, FlockOperation::NonBlockingLockShared)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders whose hosts are gone. What can't be removed waits for another run: it is in nobody's way.
pub(crate) fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    let ours = |name: &str| name.strip_prefix(PREFIX).is_some_and(|chance| chance.len() == CHANCE);
    let entries = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(ours));
    entries.for_each(|entry| remove_if_left(&entry.path()).unwrap_or_default());
}

fn remove_if_left(folder: &Path) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = File::from(openat(CWD, folder, flags, Mode::empty())?);
    let found = lock.metadata()?;
    let age = SystemTime::now().duration_since(found.modified()?).unwrap_or_default();
    if found.uid() != geteuid().as_raw() || age < OLD {
        return Ok(());
    }
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_dir_all(folder)
}
