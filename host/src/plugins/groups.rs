//! The process groups of the commands that a plugin runs, which must not outlive it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use pop_deploy_plugin_api::protocol::Event;
use rustix::process::{Pid, Signal, getpgid, getpgrp, getsid, kill_process_group};

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
    let pid = Pid::from_raw(i32::try_from(pid).ok().filter(|pid| *pid > 1)?)?;
    let leads = getpgid(Some(pid)).is_ok_and(|group| group == pid) && pid != getpgrp();
    let same_session = getsid(Some(pid)).ok()? == getsid(None).ok()?;
    (leads && same_session).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_ours_are_not_believed() {
        assert_eq!(ours(0), None);
        assert_eq!(ours(1), None);
        assert_eq!(ours(u32::MAX), None);
        assert_eq!(ours(u32::try_from(getpgrp().as_raw_nonzero().get()).unwrap_or_default()), None);
    }
}
