//! Ends what a worker leaves behind that nobody heard of.
//!
//! A command leads a group of its own, and its worker reports that group once the command runs. A worker that is
//! killed in between leaves a process that nobody heard of, and a command may have moved to a session of its own. All of them inherit the
//! worker's mark in their environment; one that was started with an empty environment is not found.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// The variable that holds the mark.
const VARIABLE: &str = "POP_DEPLOY_WORKER";

/// What tells the processes of one worker from all others.
#[derive(Debug, Clone)]
pub(super) struct Mark(String);

impl Mark {
    /// One that no other worker has.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}-{next}-{}", std::process::id(), since.as_nanos()))
    }

    /// The variable for the worker's environment.
    pub(super) fn variable(&self) -> (&'static str, &str) {
        (VARIABLE, &self.0)
    }

    /// Kills every process that carries the mark, until there is none: one may start another meanwhile.
    #[cfg(target_os = "linux")]
    pub(super) fn kill_all(&self) {
        let entry = format!("{VARIABLE}={}", self.0);
        // One that forks faster than it is found isn't worth the host's time.
        for _ in 0..100 {
            if linux::kill_marked(entry.as_bytes()) == 0 {
                return;
            }
        }
    }

    /// Only Linux tells the environment of other processes.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn kill_all(&self) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    /// Kills those that are there now; how many there were.
    pub(super) fn kill_marked(entry: &[u8]) -> usize {
        let Ok(processes) = fs::read_dir("/proc") else { return 0 };
        let pids = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
        pids.filter_map(Pid::from_raw).filter(|pid| kill_if_marked(*pid, entry)).count()
    }

    fn kill_if_marked(pid: Pid, entry: &[u8]) -> bool {
        let is_marked = || {
            let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == entry)
        };
        // Looked at again once it is held: its number may be another's by then.
        is_marked()
            && pidfd_open(pid, PidfdFlags::empty())
                .is_ok_and(|process| is_marked() && pidfd_send_signal(process, Signal::KILL).is_ok())
    }
}
