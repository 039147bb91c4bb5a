//! Ends what a worker leaves behind that nobody heard of.
//!
//! A command leads a group of its own, and its worker reports that group once the command runs. A worker that is
//! killed in between leaves a process that nobody heard of, and a command may have moved to a session of its own. All of
//! them inherit the worker's mark: a limit that is none, for how long a process with real-time priority may run without a
//! pause. It goes along with an emptied environment, into another session, to an orphan. One that sets this very limit itself isn't
//! found; where the system has set it, the mark is a variable of the environment alone, and an emptied one loses it.

use std::{
    collections::hash_map::RandomState,
    env,
    hash::{BuildHasher as _, Hasher as _},
};

/// The variable that tells a worker its mark.
const VARIABLE: &str = "POP_DEPLOY_WORKER";
/// Marks are larger: microseconds enough for a hundred thousand years.
const BEYOND: u64 = 1 << 62;

/// What tells the processes of one worker from all others.
#[derive(Debug, Clone)]
pub(super) struct Mark(u64);

impl Mark {
    /// One that no other worker has.
    pub(super) fn new() -> Self {
        let chance = RandomState::new().build_hasher().finish();
        Self(BEYOND | (chance & (BEYOND - 1)))
    }

    /// The one of this process; none where it is no worker.
    pub(super) fn inherited() -> Option<Self> {
        env::var(VARIABLE).ok()?.parse().ok().map(Self)
    }

    /// The variable for the worker's environment.
    pub(super) fn variable(&self) -> (&'static str, String) {
        (VARIABLE, self.0.to_string())
    }

    /// Marks this process, and all that it starts from now on.
    #[cfg(target_os = "linux")]
    pub(super) fn put_on(&self) {
        linux::put_on(self.0);
    }

    /// Kills every other process that carries the mark, until there is none: one may start another meanwhile.
    #[cfg(target_os = "linux")]
    pub(super) fn kill_others(&self) {
        let is_marked = linux::by_mark(self.0);
        // One that forks faster than it is found isn't worth the host's time.
        for _ in 0..100 {
            if linux::kill_others(&is_marked) == 0 {
                return;
            }
        }
    }

    /// Only Linux tells the limits and the environment of other processes.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn put_on(&self) {}

    /// As [`put_on`](Self::put_on).
    #[cfg(not(target_os = "linux"))]
    pub(super) fn kill_others(&self) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        fs::{self, File},
        io::Read as _,
        os::fd::OwnedFd,
    };

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, getpid, getrlimit, pidfd_open, pidfd_send_signal,
        setrlimit,
    };

    use super::VARIABLE;

    /// What the limit is called in `/proc`.
    const LIMIT: &str = "Max realtime timeout";

    /// Whether the limit is free to hold `mark`, or does. Otherwise it is somebody else's: the system's, or the outer worker's
    /// where a plugin runs pop-deploy.
    fn is_ours(mark: u64) -> bool {
        getrlimit(Resource::Rttime).maximum.is_none_or(|limit| limit == mark)
    }

    pub(super) fn put_on(mark: u64) {
        if is_ours(mark) {
            let limit = Rlimit { current: Some(mark), maximum: Some(mark) };
            // Where it is free, anybody may set it.
            setrlimit(Resource::Rttime, limit).unwrap_or_default();
        }
    }

    /// Tells which processes carry the mark.
    pub(super) fn by_mark(mark: u64) -> impl Fn(Pid) -> bool {
        let (variable, number, in_limits) = (format!("{VARIABLE}={mark}"), mark.to_string(), is_ours(mark));
        move |pid| {
            let pid = pid.as_raw_nonzero();
            if in_limits {
                let limits = read(&format!("/proc/{pid}/limits"));
                let limits = String::from_utf8_lossy(&limits);
                let limit = limits.lines().find_map(|line| line.strip_prefix(LIMIT));
                return limit.is_some_and(|limit| limit.split_whitespace().any(|word| word == number));
            }
            let environment = read(&format!("/proc/{pid}/environ"));
            environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
        }
    }

    /// What the system tells; nothing of a process that is gone. There is no size to go by, and there are many processes.
    fn read(path: &str) -> Vec<u8> {
        let mut text = Vec::with_capacity(4 << 10);
        let read = File::open(path).and_then(|mut file| file.read_to_end(&mut text));
        read.map(|_| text).unwrap_or_default()
    }

    /// Kills those that run now; how many there were.
    pub(super) fn kill_others(is_marked: &impl Fn(Pid) -> bool) -> usize {
        let Ok(processes) = fs::read_dir("/proc") else { return 0 };
        let pids = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
        let own = getpid();
        let others = pids.filter_map(Pid::from_raw).filter(|pid| *pid != own);
        others.filter(|pid| kill_if(*pid, is_marked)).count()
    }

    fn kill_if(pid: Pid, is_marked: &impl Fn(Pid) -> bool) -> bool {
        // Looked at again once it is held: its number may be another's by then.
        is_marked(pid)
            && pidfd_open(pid, PidfdFlags::empty()).is_ok_and(|process| {
                is_marked(pid) && runs(&process) && pidfd_send_signal(process, Signal::KILL).is_ok()
            })
    }

    /// One that has ended keeps its mark until somebody waits for it.
    fn runs(process: &OwnedFd) -> bool {
        let mut ends = [PollFd::new(process, PollFlags::IN)];
        poll(&mut ends, Some(&Timespec::default())) == Ok(0)
    }
}
