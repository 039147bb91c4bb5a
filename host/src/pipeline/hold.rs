//! Takes the locks of an order's targets, and looks once they are held whether everything still is as it was read.

use std::os::fd::{AsFd as _, OwnedFd};

use super::{canary, order::Order, recover};
use crate::{
    config::DeployConfig,
    failure::Failure,
    journal::{self, Journal, PastRun, RunKind},
    lock::{Holder, LockError, TargetLock},
    scratch,
};

impl Order<'_> {
    /// That a signal came, if one did.
    pub(super) fn stopped(&self) -> Option<Failure> {
        self.interrupt.signal().map(|signal| Failure::Stopped { signal })
    }

    /// Takes the locks of these targets or none, in one order for everybody; `run` is who holds them.
    pub(super) fn lock_all(&self, names: &[&str], run: &str) -> Result<Vec<TargetLock>, Failure> {
        let holder = Holder {
            owner: self.actor.to_owned(),
            pid: std::process::id(),
            run_id: run.to_owned(),
            since: journal::timestamp(),
            command: self.command.clone(),
        };
        let mut names = names.to_vec();
        names.sort_unstable();
        let cancelled = || self.interrupt.signal().is_some();
        let folder = self.project.environment_folder();
        names
            .into_iter()
            .map(|name| TargetLock::acquire(&folder, name, &holder, self.wait, &cancelled))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| match (error, self.interrupt.signal()) {
                (LockError::Cancelled { .. }, Some(signal)) => Failure::Stopped { signal },
                (LockError::Held(held), _) => {
                    Failure::Held { held, environment: self.project.environment.clone() }
                }
                (error, _) => error.into(),
            })
    }

    /// Takes the locks of all targets; then looks whether an earlier run died.
    pub(super) fn hold(&self, journal: &Journal) -> Result<Vec<TargetLock>, Failure> {
        let names = self.target_names();
        let locks = self.lock_all(&names, journal.id())?;
        scratch::sweep();
        if self.kind() == RunKind::Rollback {
            self.refuse_outdated()?;
        }
        self.unsettled()?.into_iter().next().map_or(Ok(locks), Err)
    }

    /// The earlier runs at these targets that died, and those whose canary waits for a verdict. A run is refused for the first.
    pub(super) fn unsettled(&self) -> Result<Vec<Failure>, Failure> {
        let names = self.target_names();
        let died = recover::unfinished(self.project, &names)?.into_iter();
        let open = canary::open_at(self.project, &names)?.into_iter();
        let died = died.map(|run| Failure::Interrupted(Box::new(run)));
        Ok(died.chain(open.map(|run| Failure::CanaryOpen(Box::new(run)))).collect())
    }

    /// Where to go back to was read from history before the lock was held; who held it may have moved on since.
    fn refuse_outdated(&self) -> Result<(), Failure> {
        let now = DeployConfig::read(self.project)?;
        if now.history() == self.config.history() { Ok(()) } else { Err(Failure::Outdated) }
    }
}

impl Order<'_> {
    /// Waits until nobody else is at these targets, as long as the order's patience lasts; the oldest run that died there. One
    /// that was killed a moment ago lives on as long as its worker does.
    ///
    /// # Errors
    /// Somebody still is; or nobody is, and history isn't what it was.
    pub fn wait_for_others(&self, names: &[&str]) -> Result<Option<PastRun>, Failure> {
        self.lock_all(names, &journal::proposed_id(&self.project.data))?;
        self.refuse_outdated()?;
        recover::oldest(self.project, names)
    }
}

/// The descriptors that a worker holds as long as it lives, so that the locks count until it is gone.
pub(super) fn shared(locks: &[TargetLock], journal: &Journal) -> Result<Vec<OwnedFd>, Failure> {
    let held = locks.iter().map(TargetLock::as_fd).chain([journal.as_fd()]);
    held.map(|fd| fd.try_clone_to_owned()).collect::<Result<_, _>>().map_err(Failure::Descriptors)
}
