//! Takes a run that died back: what its journal says was begun, newest first. The plugin may be a newer version than
//! the one that began it: receipts of older versions stay readable.

use pop_deploy_plugin_api::{Error, protocol::Plan};

use super::{
    engine::described,
    event::{Bus, Listener, What},
    member::Member,
    order::Order,
    outcome::{Ending, Mode, Report},
    reopened::Reopened,
    seating::{Guest, Seated, Seating},
};
use crate::{
    config::DeployConfig,
    failure::Failure,
    history::{History, Record, Status},
    journal::{self, PastRun, PastTarget, RunEnding},
    project::Project,
};

/// Takes the run `past`, which died or whose canary is open, back and records how that went. The order's errands don't matter: the run's own targets do.
///
/// # Errors
/// What kept it from beginning: the run lives after all, or somebody holds a target.
pub fn take_back(order: &Order<'_>, past: &PastRun, reporter: Box<dyn Listener>) -> Result<Report, Failure> {
    let (mode, because) = match past.ending {
        Some(RunEnding::CanaryOpen) => (Mode::Abort, "its canary was aborted".to_owned()),
        _ => (Mode::Recovery, format!("run `{}` was interrupted", past.id)),
    };
    let run = Reopened::open(order, &past.id, mode, reporter)?;
    let mut members = Vec::new();
    for target in &run.past.targets {
        members.push(seat(order, target, &run.seating())?);
    }
    let because = Error::failed(because);
    let hooks = run.hooks();
    for member in members.iter_mut().rev() {
        run.walk(&hooks).take_back(member, &because);
        look_again(member, &run.around.bus);
        member.close();
    }
    drop(hooks);
    let stuck = members.iter().any(|member| member.rollback.as_ref().is_some_and(|back| !back.success()));
    let ending = if stuck { Ending::Stuck } else { Ending::Succeeded };
    let error = members.iter().find_map(|member| member.rollback.as_ref()?.error().cloned());
    Ok(run.finish(members, ending, error))
}

/// Looks what is live now. Nobody held the place for the run since it stopped.
fn look_again(member: &mut Member, bus: &Bus) {
    if member.rollback.as_ref().is_some_and(|back| !back.success()) {
        return;
    }
    match member.status() {
        Ok(status) => member.after = Some(status),
        Err(error) => {
            let unknown = format!("it is taken back, and what is live can't be read: {}", described(&error));
            bus.tell_of(&member.name, What::Warning(&unknown));
        }
    }
}

/// The runs that died while they were at one of these targets in the project's environment, oldest first. One that history has a record of had come to
/// its end but for the journal's last word, and isn't among them.
///
/// # Errors
/// When a journal or deploy.json can't be read.
pub fn unfinished(project: &Project, targets: &[&str]) -> Result<Vec<PastRun>, Failure> {
    let mut runs = journal::interrupted(&project.data)?;
    runs.retain(|run| {
        run.info.environment == project.environment
            && run.began_steps()
            && run.info.targets.iter().any(|target| targets.contains(&target.as_str()))
    });
    if !runs.is_empty() {
        let history = History::of(&DeployConfig::read(project)?);
        // A canary's record is written while its run is not at its end.
        let is_last = |record: &Record| record.status != Some(Status::CanaryOpen);
        let recorded = |id: &str| {
            let mut records = history.records().iter();
            records.any(|record| record.deployment_id.as_deref() == Some(id) && is_last(record))
        };
        runs.retain(|run| !recorded(&run.id));
    }
    Ok(runs)
}

/// The first of them.
///
/// # Errors
/// As [`unfinished`].
pub fn oldest(project: &Project, targets: &[&str]) -> Result<Option<PastRun>, Failure> {
    Ok(unfinished(project, targets)?.into_iter().next())
}

/// Whether taking that run back makes `version` live again; where none is asked for, whatever was live before will do.
pub fn leads_to(past: &PastRun, version: Option<&str>) -> bool {
    let before = |target: &PastTarget| target.planned.from.as_ref().and_then(|from| from.version.clone());
    version.is_none_or(|version| past.targets.iter().all(|target| before(target).as_deref() == Some(version)))
}

/// A member that stands where the dead run's journal says it stood.
fn seat(order: &Order<'_>, target: &PastTarget, seating: &Seating<'_>) -> Result<Member, Failure> {
    let planned = &target.planned;
    let Seated { mut member, newcomer } = seating.seat(Guest {
        name: &planned.target,
        kind: &planned.kind,
        today: order.config.target(&planned.target),
        config: planned.config.clone(),
        release: planned.release.clone(),
        source_may_change: true,
        canary: None,
    })?;
    // One that doesn't open says so when it is to take its steps back.
    if newcomer.is_some() && member.open().is_ok() {
        seating.record_all(newcomer.as_slice())?;
    }
    // Whatever `auto_rollback` says: somebody asked for this.
    member.auto_rollback = true;
    let still_there: Vec<_> = target.to_undo().collect();
    member.was_live = target.was_live();
    member.begun = (0..still_there.len()).collect();
    member.receipts = still_there.iter().rev().filter_map(|step| step.receipt.clone()).collect();
    member.plan = Some(Plan {
        identity: planned.identity.clone(),
        live: planned.from.clone(),
        steps: still_there.into_iter().rev().map(|step| step.step.clone()).collect(),
        ..Plan::default()
    });
    Ok(member)
}
