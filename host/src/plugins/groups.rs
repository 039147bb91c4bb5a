//! The process groups of the commands that a plugin runs, which must not outlive it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use nix::unistd::{self, getpgid, getpgrp, getsid};
use pop_deploy_plugin_api::protocol::Event;
use rustix::process::{Pid, Signal, kill_process_group};

/// Groups that were reported as started and not as finished.
#[derive(Default)]
pub(super) struct Groups(Mutex<BTreeSet<u32>>);

impl Groups {
    /// Takes note of a command that starts or ends.
    pub(super) fn note(&self, event: &Event) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::CommandStarted { pid: Some(pid), .. } => running.insert(*pid),
            Event::CommandFinished { pid: Some(pid), .. } => running.remove(pid),
            _ => return,
        };
    }

    /// Kills every group that is still running.
    pub(super) fn kill(&self) {
        let running = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        running.into_iter().filter_map(ours).for_each(kill_group);
    }
}

/// Kills a group; one that is gone already is what was wanted.
pub(super) fn kill_group(leader: Pid) {
    kill_process_group(leader, Signal::KILL).unwrap_or_default();
}

/// A number that a plugin reported, where it leads a group of our session other than our own. The number of another
/// process, or 1 (which would mean everybody), isn't worth believing.
fn ours(pid: u32) -> Option<Pid> {
    let number = i32::try_from(pid).ok().filter(|pid| *pid > 1)?;
    // By `nix`: in a container session and group may be those of a process outside, which is 0, and no number to `rustix`.
    let pid = unistd::Pid::from_raw(number);
    let leads = getpgid(Some(pid)).ok()? == pid && pid != getpgrp();
    let same_session = getsid(Some(pid)).ok()? == getsid(None).ok()?;
    Pid::from_raw(number).filter(|_| leads && same_session)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn numbers_that_are_not_ours_are_not_believed() {
        let own_group = u32::try_from(getpgrp().as_raw()).unwrap();
        for number in [0, 1, own_group, u32::MAX] {
            assert_eq!(ours(number), None, "{number}");
        }
    }

    #[test]
    fn a_child_is_ours_when_it_leads_a_group() {
        let believed = |command: &mut Command| {
            let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
            let believed = ours(child.id()).is_some();
            // `cat` ends with its input.
            drop(child.stdin.take());
            child.wait().unwrap();
            believed
        };
        assert!(believed(Command::new("cat").process_group(0)));
        assert!(!believed(&mut Command::new("cat")));
    }
}
