//! The run on this machine that holds the `flock` of a file, and its end.
//!
//! Nobody can take a `flock` from a process that lives, so the run itself has to end. Linux says which processes share the
//! open file that is locked; a process that only bears the number that was written down is left alone.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::Result;

/// How long a killed run may take to be gone.
const GONE: Duration = Duration::from_secs(10);
/// How often whoever waits looks again.
const PAUSE: Duration = Duration::from_millis(20);

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop and did, having taken itself back as far as it could; or it had ended before.
    ByItself,
    /// It was killed.
    ByForce,
}

/// The lock that a run holds.
pub struct Holding<'a> {
    /// The file that is locked.
    pub lock: &'a Path,
    /// The process that took the lock for the run, as the file says; none once the run doesn't hold it any more. An error of it,
    /// as when somebody stops waiting, is that of [`end`](Self::end).
    pub taker: &'a dyn Fn() -> Result<Option<u32>>,
}

impl Holding<'_> {
    /// Asks the run to stop, and ends it when it holds the lock for longer than `patience` after that.
    ///
    /// # Errors
    /// The run can't be seen from here, being another user's or another machine's; it may not be ended; it holds the lock
    /// in spite of all.
    pub fn end(&self, patience: Duration) -> Result<Ended> {
        let Some(run) = self.run()? else { return Ok(Ended::ByItself) };
        run.ask_to_stop()?;
        if self.is_let_go_within(patience)? {
            return Ok(Ended::ByItself);
        }
        let Some(run) = self.run()? else { return Ok(Ended::ByItself) };
        run.kill()?;
        match self.is_let_go_within(GONE)? {
            true => Ok(Ended::ByForce),
            false => Err(run.outlives_its_end(self.lock)),
        }
    }

    /// The run that holds the lock now.
    fn run(&self) -> Result<Option<process::Run>> {
        let Some(taker) = (self.taker)()? else { return Ok(None) };
        match process::Run::holding(self.lock, taker) {
            // It may have ended in between.
            Err(_) if (self.taker)()?.is_none() => Ok(None),
            found => found.map(Some),
        }
    }

    fn is_let_go_within(&self, patience: Duration) -> Result<bool> {
        let begun = Instant::now();
        loop {
            if (self.taker)()?.is_none() {
                return Ok(true);
            }
            if begun.elapsed() >= patience {
                return Ok(false);
            }
            thread::sleep(PAUSE);
        }
    }
}

#[cfg(target_os = "linux")]
mod process {
    use std::{
        fs,
        os::{fd::OwnedFd, unix::fs::MetadataExt as _},
        path::Path,
    };

    use rustix::{
        io::Errno,
        process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    };

    use crate::{Error, IoContext as _, Result};

    /// The processes of a run that share a lock, and the one that leads them.
    pub(super) struct Run {
        leader: Process,
        holders: Vec<Process>,
    }

    impl Run {
        /// The run for which `taker` took the lock.
        pub(super) fn holding(lock: &Path, taker: u32) -> Result<Self> {
            let file = fs::metadata(lock).at("look at", lock)?;
            let unseen = || {
                Error::preflight(format!(
                    "no process that can be seen from here holds `{}`: process {taker} doesn't",
                    lock.display()
                ))
                .hint("the run is another user's, or on another machine: end it there, or as that user")
            };
            let first = Process::open(taker).filter(|first| first.shares(&file)).ok_or_else(unseen)?;
            // A worker's host, of which it is a copy, is what can take the run back.
            let above = first.parent().and_then(Process::open).filter(|above| above.is_copied_by(&first));
            let others = everybody()
                .filter(|number| *number != taker && parent_of(*number) == Some(taker))
                .filter_map(Process::open)
                .filter(|other| other.shares(&file) && other.parent() == Some(taker));
            let others: Vec<_> = others.collect();
            let (leader, holders) = match above {
                Some(above) => (above, std::iter::once(first).chain(others).collect()),
                None => (first, others),
            };
            Ok(Self { leader, holders })
        }

        pub(super) fn ask_to_stop(&self) -> Result<()> {
            self.leader.send(Signal::TERM)
        }

        pub(super) fn kill(&self) -> Result<()> {
            // The leader first: it would put another worker in the place of one that died.
            std::iter::once(&self.leader).chain(&self.holders).try_for_each(|one| one.send(Signal::KILL))
        }

        pub(super) fn outlives_its_end(&self, lock: &Path) -> Error {
            let leader = self.leader.number;
            Error::failed(format!("`{}` is still held, though process {leader} was killed", lock.display()))
                .hint("a process that waits for a dead disk ends with that disk alone: mend or unmount it")
        }
    }

    /// A process, whatever becomes of its number.
    struct Process {
        number: u32,
        handle: OwnedFd,
    }

    impl Process {
        fn open(number: u32) -> Option<Self> {
            let pid = i32::try_from(number).ok().and_then(Pid::from_raw)?;
            Some(Self { number, handle: pidfd_open(pid, PidfdFlags::empty()).ok()? })
        }

        fn send(&self, signal: Signal) -> Result<()> {
            match pidfd_send_signal(&self.handle, signal) {
                // Gone already is what is wanted.
                Ok(()) | Err(Errno::SRCH) => Ok(()),
                Err(error) => Err(Error::preflight(format!("process {} may not be ended", self.number))
                    .because(&error)
                    .hint("end it as the user that it belongs to")),
            }
        }

        /// Whether it has the open file which that lock is on. One that only has the same file open waits for it.
        fn shares(&self, file: &fs::Metadata) -> bool {
            let folder = format!("/proc/{}", self.number);
            let open_files = fs::read_dir(format!("{folder}/fdinfo")).into_iter().flatten().flatten();
            open_files.map(|open| open.file_name()).any(|open| {
                let open = open.to_string_lossy();
                let locks = fs::read_to_string(format!("{folder}/fdinfo/{open}")).unwrap_or_default();
                let is_locked = locks.lines().any(|line| is_lock_on(line, file.ino()));
                // Looked at last: a look at somebody's file on a dead disk would never end.
                is_locked
                    && fs::metadata(format!("{folder}/fd/{open}"))
                        .is_ok_and(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
            })
        }

        fn parent(&self) -> Option<u32> {
            parent_of(self.number)
        }

        /// Whether that one runs the same program.
        fn is_copied_by(&self, other: &Self) -> bool {
            let program = |number: u32| fs::read_link(format!("/proc/{number}/exe")).ok();
            program(self.number).is_some_and(|own| program(other.number) == Some(own))
        }
    }

    fn parent_of(number: u32) -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    }

    fn everybody() -> impl Iterator<Item = u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// Whether a line says that the whole file of that number is locked: `lock: 1: FLOCK ADVISORY WRITE 7 08:01:131 0 EOF`.
    fn is_lock_on(line: &str, number: u64) -> bool {
        let words: Vec<_> = line.split_whitespace().collect();
        let file = words.get(6).and_then(|file| file.rsplit(':').next()?.parse().ok());
        words.first() == Some(&"lock:") && words.get(2) == Some(&"FLOCK") && file == Some(number)
    }
}

#[cfg(not(target_os = "linux"))]
mod process {
    use std::path::Path;

    use crate::{Error, Result};

    /// The processes of a run that share a lock: this system doesn't tell.
    pub(super) struct Run;

    impl Run {
        pub(super) fn holding(lock: &Path, taker: u32) -> Result<Self> {
            let message =
                format!("this system doesn't tell whether process {taker} holds `{}`", lock.display());
            Err(Error::preflight(message).hint("look what that process is, and end it yourself"))
        }

        pub(super) fn ask_to_stop(&self) -> Result<()> {
            Ok(())
        }

        pub(super) fn kill(&self) -> Result<()> {
            Ok(())
        }

        pub(super) fn outlives_its_end(&self, lock: &Path) -> Error {
            Error::failed(format!("`{}` is still held", lock.display()))
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        fs::File,
        process::{Child, Command, Stdio},
    };

    use rustix::fs::{FlockOperation, flock};

    use super::*;

    /// A process that has this file open and never ends by itself; `trap` says what it does when it is asked to stop.
    fn with_open(file: File, trap: &str) -> Child {
        let line = format!("trap '{trap}' TERM; echo; while :; do sleep 0.05; done");
        let mut child =
            Command::new("sh").args(["-c", &line]).stdin(file).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        child
    }

    #[test]
    fn only_a_process_that_shares_the_locked_file_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let locked = open();
        flock(&locked, FlockOperation::NonBlockingLockExclusive).unwrap();
        let mut holder = with_open(locked, "");
        let mut waiting = with_open(open(), "exit");
        let is_free = || flock(open(), FlockOperation::NonBlockingLockExclusive).is_ok();
        let end = |number: u32| {
            let taker = || Ok(Some(number).filter(|_| !is_free()));
            Holding { lock: &path, taker: &taker }.end(Duration::from_millis(100))
        };
        // As after its number was given to another process.
        let error = end(waiting.id()).unwrap_err();
        assert!(error.message.contains(&format!("process {} doesn't", waiting.id())), "{error:?}");
        assert!(waiting.try_wait().unwrap().is_none() && holder.try_wait().unwrap().is_none());
        assert_eq!(end(holder.id()).unwrap(), Ended::ByForce);
        assert_eq!(end(holder.id()).unwrap(), Ended::ByItself, "it was over before");
        for mut child in [holder, waiting] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
