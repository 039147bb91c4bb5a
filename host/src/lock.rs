//! One run at a time per target: `flock` on `locks/<target>.lock` in the data folder.
//!
//! The kernel holds the lock as long as any process has the descriptor, so it counts until the workers that
//! inherited it are gone too, and needs no cleaning up after a crash. The file's content only tells who holds it; the
//! file is never removed, since a lock on a removed file excludes nobody.

use std::{
    fmt,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{fs::FlockOperation, io::Errno};
use serde::{Deserialize, Serialize};

/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Even who doesn't wait tries this long: a dry run that looks for a holder has the lock for a moment, which is as long as a
/// busy machine lets it wait for its turn.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);

/// Who holds a lock, as its file says it. Fields are empty where the file doesn't know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// `user@host`, or the CI's run.
    pub owner: String,
    /// The host process of the run.
    pub pid: u32,
    /// The run's id.
    pub run_id: String,
    /// Since when, as in history.
    pub since: String,
    /// The command line of the run.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.owner.is_empty() {
            return f.write_str("a run that has just begun");
        }
        write!(f, "{} (pid {}, run {}, since {})", self.owner, self.pid, self.run_id, self.since)?;
        if !self.command.is_empty() {
            write!(f, ": {}", self.command)?;
        }
        Ok(())
    }
}

/// Somebody else has a target's lock.
#[derive(Debug, thiserror::Error)]
#[error("target `{target}` is locked by {holder}")]
pub struct Held {
    /// The target.
    pub target: String,
    /// Who has it.
    pub holder: Holder,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it. Exit code 5.
    #[error(transparent)]
    Held(Box<Held>),
    /// The run was cancelled while it waited.
    #[error("cancelled while waiting for the lock of target `{target}`")]
    Cancelled {
        /// The target.
        target: String,
    },
    /// The lock file can't be used.
    #[error("can't {verb} `{}`", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LockError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Held(_) | Self::Cancelled { .. } => return None,
            Self::Io { path, .. } => {
                let folder = path.parent().unwrap_or(path);
                format!("check who owns `{}` and that its file system isn't read-only", folder.display())
            }
        })
    }
}

/// A held lock. It is free again when this value and every descriptor shared from it are gone.
#[derive(Debug)]
pub struct TargetLock {
    file: File,
}

impl AsFd for TargetLock {
    /// For the workers of the run, which share the lock by inheriting it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl TargetLock {
    /// Takes the lock of `target`, waiting up to `wait` for it and asking `cancelled` meanwhile.
    ///
    /// # Errors
    /// [`LockError::Held`] when somebody else still has it then.
    pub fn acquire(
        data: &Path,
        target: &str,
        holder: &Holder,
        wait: Option<Duration>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, LockError> {
        let path = self::path(data, target);
        let folder = data.join("locks");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io_at("create", &folder))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_at("open", &path))?;
        let patience = wait.unwrap_or_default().max(PATIENCE);
        match lock_within(&file, patience, cancelled).map_err(io_at("lock", &path))? {
            Waited::Locked => {}
            Waited::Cancelled => return Err(LockError::Cancelled { target: target.to_owned() }),
            Waited::Held => {
                let holder = read_holder(&file, &path)?;
                return Err(LockError::Held(Box::new(Held { target: target.to_owned(), holder })));
            }
        }
        let lock = Self { file };
        lock.describe(holder, &path)?;
        Ok(lock)
    }

    fn describe(&self, holder: &Holder, path: &Path) -> Result<(), LockError> {
        let json = serde_json::to_vec(holder).map_err(|error| io_at("write", path)(error.into()))?;
        self.file.set_len(0).and_then(|()| self.file.write_all_at(&json, 0)).map_err(io_at("write", path))
    }
}

/// Who holds the lock of `target` now, for those who don't take it: a dry run, a status.
///
/// # Errors
/// When the lock file is there and can't be read.
pub fn holder(data: &Path, target: &str) -> Result<Option<Holder>, LockError> {
    let path = self::path(data, target);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at("open", &path)(error)),
    };
    if !is_locked(&file).map_err(io_at("lock", &path))? {
        return Ok(None);
    }
    read_holder(&file, &path).map(Some)
}

fn read_holder(mut file: &File, path: &Path) -> Result<Holder, LockError> {
    let mut json = Vec::new();
    file.read_to_end(&mut json).map_err(io_at("read", path))?;
    // Who has just taken the lock may not have said so yet.
    Ok(serde_json::from_slice(&json).unwrap_or_default())
}

/// How waiting for a lock ended.
pub(crate) enum Waited {
    /// It is ours.
    Locked,
    /// Somebody else still has it.
    Held,
    /// The run was cancelled.
    Cancelled,
}

/// Waits for the exclusive lock of `file`. It asks again and again, since a blocked `flock` can't be cancelled.
pub(crate) fn lock_within(
    file: &File,
    patience: Duration,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<Waited> {
    let begun = Instant::now();
    while !try_lock(file, FlockOperation::NonBlockingLockExclusive)? {
        if cancelled() {
            return Ok(Waited::Cancelled);
        }
        if begun.elapsed() >= patience {
            return Ok(Waited::Held);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(Waited::Locked)
}

/// Whether somebody has the lock of `file`. Asking takes it for a moment; see [`PATIENCE`].
pub(crate) fn is_locked(file: &File) -> io::Result<bool> {
    let free = try_lock(file, FlockOperation::NonBlockingLockShared)?;
    if free {
        rustix::fs::flock(file, FlockOperation::Unlock)?;
    }
    Ok(!free)
}

fn try_lock(file: &File, how: FlockOperation) -> io::Result<bool> {
    loop {
        match rustix::fs::flock(file, how) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The lock file of `target`.
pub(crate) fn path(data: &Path, target: &str) -> PathBuf {
    data.join("locks").join(format!("{}.lock", file_name(target)))
}

/// The target's name as a file name: letters, digits, `-` and `_` stand for themselves, everything else is percent-encoded.
pub(crate) fn file_name(target: &str) -> String {
    let encoded: String = target
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    if encoded.len() <= 200 {
        return encoded;
    }
    // File systems end at 255 bytes; the digest keeps two long names apart.
    format!("{}-{:016x}", &encoded[..180], fnv(target))
}

fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn io_at(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LockError {
    let path = path.to_owned();
    move |source| LockError::Io { verb, path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::process::Command;

    use super::*;

    fn me(run_id: &str) -> Holder {
        Holder { owner: "ann@here".to_owned(), pid: 7, run_id: run_id.to_owned(), ..Holder::default() }
    }

    fn take(data: &Path, target: &str, run_id: &str) -> Result<TargetLock, LockError> {
        TargetLock::acquire(data, target, &me(run_id), None, &|| false)
    }

    /// The same once it is free: a test beside this one that starts a process may hold a copy for a moment.
    fn take_freed(data: &Path, target: &str, run_id: &str) -> TargetLock {
        let wait = Some(Duration::from_secs(60));
        TargetLock::acquire(data, target, &me(run_id), wait, &|| false).unwrap()
    }

    #[test]
    fn the_second_is_refused_and_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert_eq!(holder(data, "docs").unwrap(), None);
        let lock = take(data, "docs", "run-1").unwrap();
        let other = take(data, "docs/2", "run-2").unwrap();
        let refused = take(data, "docs", "run-3").unwrap_err();
        let LockError::Held(held) = refused else { panic!("{refused}") };
        assert_eq!(held.holder, me("run-1"));
        assert_eq!(holder(data, "docs").unwrap(), Some(me("run-1")));
        drop((lock, other));
        drop(take_freed(data, "docs", "run-4"));
        let begun = Instant::now();
        while let Some(holder) = holder(data, "docs").unwrap() {
            assert!(begun.elapsed() < Duration::from_secs(60), "what the file says doesn't count: {holder}");
            // As long as somebody else's copy is there, which nothing tells the end of.
            std::thread::sleep(PAUSE);
        }
    }

    #[test]
    fn the_lock_counts_until_a_worker_that_shares_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let lock = take(data, "docs", "run-1").unwrap();
        let shared = lock.as_fd().try_clone_to_owned().unwrap();
        let mut worker = Command::new("sleep").arg("600").stdin(shared).spawn().unwrap();
        drop(lock);
        assert!(matches!(take(data, "docs", "run-2"), Err(LockError::Held(_))));
        worker.kill().unwrap();
        worker.wait().unwrap();
        take_freed(data, "docs", "run-2");
    }

    #[test]
    fn who_waits_gets_it_or_can_be_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let lock = take(data, "docs", "run-1").unwrap();
        let cancelled = TargetLock::acquire(data, "docs", &me("run-2"), Some(Duration::MAX / 4), &|| true);
        assert!(matches!(cancelled, Err(LockError::Cancelled { .. })));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| take_freed(data, "docs", "run-3"));
            drop(lock);
            waiting.join().unwrap();
        });
    }

    #[test]
    fn of_many_that_come_at_once_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let taken = std::sync::Barrier::new(8);
        let winners = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..8)
                .map(|run| {
                    let taken = &taken;
                    scope.spawn(move || {
                        let lock = take(data, "docs", &run.to_string());
                        // Nobody lets go before everybody has tried.
                        taken.wait();
                        lock.is_ok()
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(winners, 1);
    }

    #[test]
    fn odd_names_stay_in_their_folder_and_apart() {
        assert_eq!(file_name("docs-2_a"), "docs-2_a");
        assert_eq!(file_name("../a b"), "%2E%2E%2Fa%20b");
        let (one, two) = (file_name(&"ü".repeat(200)), file_name(&("ü".repeat(199) + "u")));
        assert!(one.len() < 220 && one != two, "{one} {two}");
    }
}
