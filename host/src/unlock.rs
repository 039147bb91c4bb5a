//! The locks of a run that hangs: who has them, here and at the places, and taking them from the one run that is named.
//!
//! The lock here is the kernel's, so its run has to end. At a place the plugin takes it away; a run of another folder or
//! machine may live on without it, and fails.

use std::{sync::Arc, time::Duration};

use pop_deploy_plugin_api::{
    Error, ErrorKind,
    holding::{Holding, Taker},
    protocol::{PlaceLock, UnlockRequest},
};

use crate::{
    failure::Failure,
    journal::{self, Entry, Journal, JournalError, PastRun},
    lock::{self, Holder},
    pipeline::{
        event::Bus,
        look::{self, View},
    },
    project::Project,
};

/// Who is at work at a target.
pub struct TargetLocks {
    /// The target's name.
    pub target: String,
    /// The run of this project that has the lock here.
    pub here: Option<Holder>,
    /// Each part of the place; none where the target's plugin keeps no locks there. Or why that isn't known.
    pub place: Result<Option<Vec<PlaceLock>>, Error>,
}

/// Something that a run has.
struct Held<'a> {
    run: &'a str,
    what: String,
    by: String,
    owner: &'a str,
    /// Whether it is a run of this folder, where that is known.
    ours: Option<bool>,
}

impl Held<'_> {
    /// Whether the other one's run may be the same: runs of two folders that begin in one second have one id.
    fn is_of_the_run_of(&self, other: &Self) -> bool {
        match (self.ours, other.ours) {
            (Some(true), Some(true)) => true,
            (Some(ours), Some(theirs)) if ours != theirs => false,
            _ => self.owner == other.owner,
        }
    }
}

impl TargetLocks {
    /// Looks who is at work at a target; changes nothing.
    ///
    /// # Errors
    /// When the lock file here can't be read.
    pub fn look(view: &View<'_>) -> Result<Self, Failure> {
        Self::of(view, look::locks(view))
    }

    fn of(view: &View<'_>, place: Result<Option<Vec<PlaceLock>>, Failure>) -> Result<Self, Failure> {
        let target = view.target.name.clone();
        let here = lock::holder(&view.project.environment_folder(), &target)?;
        Ok(Self { target, here, place: place.map_err(|failure| failure.to_error()) })
    }

    /// The parts of the place that are known.
    pub fn parts(&self) -> impl Iterator<Item = &PlaceLock> {
        self.place.iter().flatten().flatten()
    }

    /// Whether anybody has anything here or there.
    pub fn is_held(&self) -> bool {
        self.held().next().is_some()
    }

    /// Whether that run has the target's lock here.
    pub fn is_held_here_by(&self, run: &str) -> bool {
        self.here.as_ref().is_some_and(|holder| holder.run_id == run)
    }

    /// The runs that have something here or there, each once. One that has just begun has no name yet.
    pub fn runs(&self) -> Vec<&str> {
        let mut runs: Vec<_> = self.held().map(|held| held.run).filter(|run| !run.is_empty()).collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    }

    fn held(&self) -> impl Iterator<Item = Held<'_>> {
        self.held_here().into_iter().chain(self.held_there())
    }

    /// The same without a run here that can but wait for that one to leave the place: it has nothing there.
    fn held_beside(&self, run: &str) -> impl Iterator<Item = Held<'_>> {
        let is_waited_for = self.held_there().any(|held| held.run == run);
        let here = self.held_here().filter(|held| held.run == run || !is_waited_for);
        here.into_iter().chain(self.held_there())
    }

    fn held_here(&self) -> Option<Held<'_>> {
        self.here.as_ref().map(|holder| Held {
            run: &holder.run_id,
            what: format!("target `{}`", self.target),
            by: holder.to_string(),
            owner: &holder.owner,
            ours: Some(true),
        })
    }

    fn held_there(&self) -> impl Iterator<Item = Held<'_>> {
        self.parts().filter_map(|part| {
            let holder = part.state.holder()?;
            Some(Held {
                run: &holder.run,
                what: part.place.clone(),
                by: holder.to_string(),
                owner: &holder.owner,
                ours: holder.ours,
            })
        })
    }
}

/// That another run has something of these targets, or two have the same id.
///
/// # Errors
/// Then.
pub fn refuse_others(locks: &[TargetLocks], run: &str) -> Result<(), Failure> {
    let held: Vec<_> = locks.iter().flat_map(|locks| locks.held_beside(run)).collect();
    if let Some(Held { what, by, .. }) = held.iter().find(|held| held.run != run) {
        let (what, by) = (what.clone(), by.clone());
        return Err(Failure::HeldByAnother { what, by, run: run.to_owned() });
    }
    let first = held.first();
    match first.and_then(|first| Some((first, held.iter().find(|held| !held.is_of_the_run_of(first))?))) {
        Some((first, other)) => {
            let held_by = |held: &Held<'_>| format!("{} is held by {}", held.what, held.by);
            Err(Failure::OneIdForTwo { run: run.to_owned(), one: held_by(first), other: held_by(other) })
        }
        None => Ok(()),
    }
}

/// Takes a target from a run, which has `patience` to take itself back where it can be asked to; how the locks stand then.
/// The bus hears of what the plugin says meanwhile.
///
/// # Errors
/// The run here can't be ended: then nothing was taken at the place either.
pub fn take(view: &View<'_>, run: &str, patience: Duration, bus: &Arc<Bus>) -> Result<TargetLocks, Failure> {
    end(view, run, patience)?;
    let request = UnlockRequest { run: run.to_owned(), wait: patience.as_secs() };
    TargetLocks::of(view, look::unlock(view, &request, Arc::clone(bus)))
}

/// Ends the run, if it has the target's lock here.
fn end(view: &View<'_>, run: &str, patience: Duration) -> Result<(), Failure> {
    let (folder, target) = (view.project.environment_folder(), &view.target.name);
    let taker = || {
        if let Some(signal) = view.interrupt.signal() {
            return Err(Error::new(ErrorKind::Cancelled, format!("stopped by signal {signal}")));
        }
        let holder = lock::holder(&folder, target).map_err(|error| Failure::from(error).to_error())?;
        Ok(holder.filter(|holder| holder.run_id == run).map(|holder| holder.pid))
    };
    let lock = lock::path(&folder, target);
    let ended = Holding { lock: &lock, by: Taker::Host, taker: &taker }.end(patience);
    ended.map_err(|error| match lock::holder(&folder, target) {
        Ok(Some(holder)) if error.kind != ErrorKind::Cancelled => not_ended(&holder, error).into(),
        _ => error.into(),
    })
}

fn not_ended(holder: &Holder, error: Error) -> Error {
    let message = format!("run `{}` of {} can't be ended from here", holder.run_id, holder.owner);
    let causes = std::iter::once(error.message).chain(error.causes).collect();
    Error { message, causes, ..error }
}

/// The run as it was left, where it is this project's: it came to its end, or was interrupted in a step.
///
/// # Errors
/// When its journal can't be read.
pub fn left_behind(project: &Project, run: &str) -> Result<Option<PastRun>, Failure> {
    match journal::read(&project.data, run) {
        Err(JournalError::NoRun { .. }) => Ok(None),
        read => Ok(Some(read?).filter(|past| past.is_over() || past.is_interrupted() && past.began_steps())),
    }
}

/// Tells the journal of an interrupted run who ended it.
///
/// # Errors
/// When it can't be written.
pub fn record_taking(project: &Project, run: &str, by: &str) -> Result<(), Failure> {
    Ok(Journal::reopen(&project.data, run)?.append(&Entry::LockTaken { by: by.to_owned() })?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use pop_deploy_plugin_api::protocol::{LockState, PlaceHolder};

    use super::*;

    /// A target that the run `x` of this folder has here, and a run of that id at its place.
    fn held(ours: Option<bool>, owner: &str) -> [TargetLocks; 1] {
        let ann = || "ann@here".to_owned();
        let holder = PlaceHolder { owner: owner.into(), run: "x".into(), ours, ..PlaceHolder::default() };
        let lock = PlaceLock { place: "`/srv`".to_owned(), state: LockState::Held { holder } };
        let here = Some(Holder { owner: ann(), run_id: "x".to_owned(), ..Holder::default() });
        [TargetLocks { target: "web".to_owned(), here, place: Ok(Some(vec![lock])) }]
    }

    #[test]
    fn nothing_is_taken_where_runs_of_two_folders_have_one_id() {
        for (ours, owner) in [(Some(false), "ann@here"), (None, "bob@there")] {
            let refused = refuse_others(&held(ours, owner), "x").unwrap_err();
            assert!(matches!(refused, Failure::OneIdForTwo { .. }), "{refused}");
        }
        for (ours, owner) in [(Some(true), "bob@there"), (None, "ann@here")] {
            refuse_others(&held(ours, owner), "x").unwrap();
        }
    }
}
