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

/// How long the workers of a killed host may take to see that it is gone, and to end what they started.
const NOTICED: Duration = Duration::from_secs(5);
/// How long a killed run may take to be gone.
const GONE: Duration = Duration::from_secs(10);
/// How often whoever waits looks again.
const PAUSE: Duration = Duration::from_millis(20);

/// What takes a lock for its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker {
    /// The run's host, which shares it with its workers.
    Host,
    /// The worker of a plugin. The host that it belongs to doesn't have the lock.
    Worker,
}

/// The lock that a run holds.
pub struct Holding<'a> {
    /// The file that is locked.
    pub lock: &'a Path,
    /// What takes this lock.
    pub by: Taker,
    /// The process that took the lock for the run, as the file says; none once the run doesn't hold it any more. An error of it,
    /// as when somebody stops waiting, is that of [`end`](Self::end).
    pub taker: &'a dyn Fn() -> Result<Option<u32>>,
}

impl Holding<'_> {
    /// Asks the run to stop, and ends it, with all that it started, when it holds the lock for longer than `patience` after
    /// that. A run that is stopping already goes on with that.
    ///
    /// # Errors
    /// The run can't be seen from here, being another user's or another machine's; it may not be ended; it holds the lock
    /// in spite of all.
    pub fn end(&self, patience: Duration) -> Result<()> {
        let Some(run) = self.run()? else { return Ok(()) };
        run.ask_to_stop()?;
        if self.is_let_go_within(patience)? {
            return Ok(());
        }
        let Some(run) = self.run()? else { return Ok(()) };
        run.kill_host()?;
        if self.is_let_go_within(NOTICED)? {
            return Ok(());
        }
        run.kill_workers(self.lock)?;
        match self.is_let_go_within(GONE)? {
            true => Ok(()),
            false => Err(run.outlives_its_end(self.lock)),
        }
    }

    /// The run that holds the lock now.
    fn run(&self) -> Result<Option<process::Run>> {
        let Some(taker) = (self.taker)()? else { return Ok(None) };
        match process::Run::holding(self.lock, self.by, taker) {
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

/// Whether a process ignores SIGHUP, as whatever `nohup` starts does. Systems without /proc don't say so of any.
pub fn ignores_hangups(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    // A mask in hexadecimal, signal 1 lowest: proc_pid_status(5).
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
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

    use super::{Taker, ignores_hangups};
    use crate::{Error, IoContext as _, Result};

    /// The processes of a run.
    pub(super) struct Run {
        taker: u32,
        /// What can take the run back; none where it is gone already.
        host: Option<Process>,
        workers: Vec<Process>,
    }

    impl Run {
        /// The run for which `taker` took the lock.
        pub(super) fn holding(lock: &Path, by: Taker, taker: u32) -> Result<Self> {
            let file = fs::metadata(lock).at("look at", lock)?;
            let sharing = || processes(|process| process.number != taker && process.shares(&file));
            let first = Process::open(taker);
            let (host, workers) = match (first, by) {
                (Some(first), _) if !first.shares(&file) => (None, Vec::new()),
                (Some(first), Taker::Host) => (Some(first), sharing()),
                // The worker is a copy of its host.
                (Some(first), Taker::Worker) => {
                    let host = first.parent().and_then(Process::open);
                    (host.filter(|host| host.is_copied_by(&first)), vec![first])
                }
                // Killed, perhaps, and outlived by what it started.
                (None, _) => (None, sharing()),
            };
            if host.is_none() && workers.is_empty() {
                let unseen = format!(
                    "no process that can be seen from here holds `{}`: process {taker} doesn't",
                    lock.display()
                );
                return Err(Error::preflight(unseen).hint(
                    "the run is another user's, or on another machine: end it there, or as that user",
                ));
            }
            Ok(Self { taker, host, workers })
        }

        /// By the signal that a host never takes for somebody's insisting, under `nohup` by the one that it hears instead.
        pub(super) fn ask_to_stop(&self) -> Result<()> {
            let signal =
                |host: &Process| if ignores_hangups(host.number) { Signal::USR1 } else { Signal::HUP };
            self.host.iter().try_for_each(|host| host.send(signal(host)).map(drop))
        }

        /// Kills the host alone: it would put another worker in the place of one that died, and the workers know best what
        /// they started.
        pub(super) fn kill_host(&self) -> Result<()> {
            let Some(host) = &self.host else { return Ok(()) };
            // One that was stopped sees nothing, and what it started would outlive it.
            self.workers.iter().try_for_each(|worker| worker.send(Signal::CONT).map(drop))?;
            host.send(Signal::KILL).map(drop)
        }

        /// Kills the workers that have the lock still.
        pub(super) fn kill_workers(&self, lock: &Path) -> Result<()> {
            let file = fs::metadata(lock).at("look at", lock)?;
            let mut left = self.workers.iter().filter(|worker| worker.shares(&file));
            left.try_for_each(Process::kill_with_all_it_started)
        }

        pub(super) fn outlives_its_end(&self, lock: &Path) -> Error {
            let taker = self.taker;
            Error::failed(format!(
                "`{}` is still held, though the run of process {taker} was killed",
                lock.display()
            ))
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

        /// Whether it was there to hear that. Gone already is what is wanted.
        fn send(&self, signal: Signal) -> Result<bool> {
            match pidfd_send_signal(&self.handle, signal) {
                Ok(()) => Ok(true),
                Err(Errno::SRCH) => Ok(false),
                Err(error) => Err(Error::preflight(format!("process {} may not be ended", self.number))
                    .because(&error)
                    .hint("end it as the user that it belongs to")),
            }
        }

        /// Stopped first, it starts nothing meanwhile. Killed last, it has its lock until nobody is left who could write.
        fn kill_with_all_it_started(&self) -> Result<()> {
            self.send(Signal::STOP)?;
            let started = processes(|process| process.parent() == Some(self.number));
            // As long as it is there, its number is no other's.
            if self.send(Signal::STOP)? {
                started.iter().try_for_each(Self::kill_with_all_it_started)?;
            }
            self.send(Signal::KILL).map(drop)
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

    /// The processes that are so. Asked once they are held: a number may be another's by then.
    fn processes(are_so: impl Fn(&Process) -> bool) -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter_map(Process::open).filter(are_so).collect()
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

    use super::Taker;
    use crate::{Error, Result};

    /// The processes of a run: this system doesn't tell.
    pub(super) struct Run;

    impl Run {
        pub(super) fn holding(lock: &Path, _: Taker, taker: u32) -> Result<Self> {
            let message =
                format!("this system doesn't tell whether process {taker} holds `{}`", lock.display());
            Err(Error::preflight(message).hint("look what that process is, and end it yourself"))
        }

        pub(super) fn ask_to_stop(&self) -> Result<()> {
            Ok(())
        }

        pub(super) fn kill_host(&self) -> Result<()> {
            Ok(())
        }

        pub(super) fn kill_workers(&self, _: &Path) -> Result<()> {
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
        io::{BufRead as _, BufReader},
        os::unix::process::ExitStatusExt as _,
        path::PathBuf,
        process::{Child, Command, Stdio},
    };

    use rustix::{
        fs::{FlockOperation, flock},
        process::Signal,
    };

    use super::*;

    const WAITS: &str = "while :; do sleep 0.05; done";

    /// A shell that has this file open; the number that it says first.
    fn with_open(file: File, script: &str) -> (Child, u32) {
        let mut child =
            Command::new("sh").args(["-c", script]).stdin(file).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        let number = said.trim().parse().unwrap();
        (child, number)
    }

    /// A lock file, and ways to open it.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("lock")
        }

        fn open(&self) -> File {
            File::options().read(true).write(true).create(true).truncate(false).open(self.path()).unwrap()
        }

        fn locked(&self) -> File {
            let file = self.open();
            flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
            file
        }

        fn end(&self, number: u32) -> Result<()> {
            let is_free = || flock(self.open(), FlockOperation::NonBlockingLockExclusive).is_ok();
            let taker = || Ok(Some(number).filter(|_| !is_free()));
            Holding { lock: &self.path(), by: Taker::Host, taker: &taker }.end(Duration::from_millis(100))
        }
    }

    fn stop(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn only_a_process_that_shares_the_locked_file_is_ended() {
        let place = Place::new();
        let (mut holder, number) = with_open(place.locked(), &format!("trap '' HUP USR1; echo $$; {WAITS}"));
        let (mut waiting, another) = with_open(place.open(), &format!("trap exit HUP; echo $$; {WAITS}"));
        // As after its number was given to another process.
        let error = place.end(another).unwrap_err();
        assert!(error.message.contains(&format!("process {another} doesn't")), "{error:?}");
        assert!(waiting.try_wait().unwrap().is_none() && holder.try_wait().unwrap().is_none());
        place.end(number).unwrap();
        assert_eq!(holder.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        place.end(number).unwrap();
        stop(waiting);
    }

    #[test]
    fn a_host_that_was_started_by_another_one_is_ended_alone() {
        let place = Place::new();
        let inner = format!("echo $$; exec >/dev/null; {WAITS}");
        let script = format!("exec 3<&0; sh -c '{inner}' <&3 & exec 3<&- </dev/null; wait; exit 7");
        let (mut outer, number) = with_open(place.locked(), &script);
        place.end(number).unwrap();
        assert_eq!(outer.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn a_worker_that_does_not_see_its_hosts_end_goes_with_what_it_started() {
        let place = Place::new();
        let program = format!("sh -c '{WAITS}' </dev/null >/dev/null & echo $!; wait");
        let (mut worker, program) = with_open(place.locked(), &program);
        let run = process::Run::holding(&place.path(), Taker::Worker, worker.id()).unwrap();
        run.kill_workers(&place.path()).unwrap();
        assert_eq!(worker.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        // Whoever inherits it may leave it as a zombie.
        let is_over = || {
            let stat = std::fs::read_to_string(format!("/proc/{program}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X']))
        };
        let begun = Instant::now();
        while !is_over() {
            assert!(begun.elapsed() < Duration::from_secs(60), "process {program} goes on");
            thread::sleep(PAUSE);
        }
    }
}
