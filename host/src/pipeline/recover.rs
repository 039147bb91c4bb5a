//! Takes a run that died back: what its journal says was begun, newest first. The plugin may be a newer version than
//! the one that began it: receipts of older versions stay readable.

use std::{sync::Arc, time::Instant};

use pop_deploy_plugin_api::{Error, ErrorKind, protocol::Plan};

use super::{
    engine::Walk,
    event::{Announced, Bus, Listener, What},
    hold,
    member::{Member, Surroundings},
    order::Order,
    outcome::{Ending, Mode, Report, TargetEnding},
    record,
    seating::{Guest, Seating},
};
use crate::{
    config::DeployConfig,
    failure::Failure,
    history::History,
    hooks::Hooks,
    journal::{self, Journal, PastRun, PastTarget},
    project::Project,
    reporter::log::Log,
};

/// Takes the run `past` back and records how that went. The order's errands don't matter: the run's own targets do.
///
/// # Errors
/// What kept it from beginning: the run lives after all, or somebody holds a target.
pub fn take_back(order: &Order<'_>, past: &PastRun, reporter: Box<dyn Listener>) -> Result<Report, Failure> {
    let begun = Instant::now();
    let journal = Journal::reopen(&order.project.data, &past.id)?;
    let names: Vec<_> = past.info.targets.iter().map(String::as_str).collect();
    let locks = order.lock_all(&names, &past.id)?;
    // It was read before the locks were held: somebody else may have mended it meanwhile.
    if journal::read(&order.project.data, &past.id)?.ending.is_some() {
        return Err(Failure::Outdated);
    }
    let log = Log::create(&journal.log_path(), order.redactor.clone())?;
    let around = Surroundings {
        bus: Arc::new(Bus::new(vec![reporter, Box::new(log)])),
        interrupt: Arc::clone(&order.interrupt),
        redactor: order.redactor.clone(),
    };
    let targets = past.targets.iter().map(|target| Announced {
        name: &target.planned.target,
        primary: false,
        version: target.planned.release.version.as_deref(),
    });
    around.bus.tell(What::RunStarted {
        run: &past.id,
        mode: Mode::Recovery,
        environment: order.config.named_environment(),
        targets: targets.collect(),
    });
    let because = Error::new(ErrorKind::Failed, format!("run `{}` was interrupted", past.id));
    let held = hold::shared(&locks, &journal)?;
    let seating = Seating { mode: Mode::Recovery, ..Seating::of(order, &past.id, &held, &around) };
    let mut members = Vec::new();
    for target in &past.targets {
        members.push(seat(order, target, &seating)?);
    }
    let hooks = Hooks {
        of_run: &order.config.hooks,
        of_targets: order
            .config
            .targets
            .iter()
            .filter(|target| past.target(&target.name).is_some())
            .map(|target| (target.name.as_str(), (&target.hooks, past.info.version.as_deref())))
            .collect(),
        mode: Mode::Recovery,
        run: &past.id,
        actor: order.actor,
        project: &order.project.dir,
        environment: &order.project.environment,
        around: around.clone(),
    };
    let walk = Walk {
        around: &around,
        journal: &journal,
        hooks: &hooks,
        on_partial: order.config.on_partial,
        on_interrupt: order.config.on_interrupt,
    };
    for member in members.iter_mut().rev() {
        walk.take_back(member, &because);
        member.close();
    }
    let stuck = members
        .iter()
        .any(|member| matches!(member.ending, TargetEnding::RollbackFailed | TargetEnding::Unknown));
    let report = Report {
        run: past.id.clone(),
        mode: Mode::Recovery,
        environment: order.config.named_environment().cloned(),
        ending: if stuck { Ending::Stuck } else { Ending::Succeeded },
        targets: members.iter().map(Member::report).collect(),
        error: members.iter().find_map(|member| member.rollback.as_ref()?.error().cloned()),
        log: None,
        took: begun.elapsed(),
    };
    let report = record::kept(order, past.info.kind, &journal, report);
    around.bus.tell(What::RunFinished(&report));
    Ok(report)
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
        let recorded =
            |id: &str| history.records().iter().any(|record| record.deployment_id.as_deref() == Some(id));
        runs.retain(|run| !recorded(&run.id));
    }
    Ok(runs)
}

/// Whether taking that run back makes `version` live again; where none is asked for, whatever was live before will do.
pub fn leads_to(past: &PastRun, version: Option<&str>) -> bool {
    let before = |target: &PastTarget| target.planned.from.as_ref().and_then(|from| from.version.clone());
    version.is_none_or(|version| past.targets.iter().all(|target| before(target).as_deref() == Some(version)))
}

/// A member that stands where the dead run's journal says it stood.
fn seat(order: &Order<'_>, target: &PastTarget, seating: &Seating<'_>) -> Result<Member, Failure> {
    let planned = &target.planned;
    let mut member = seating.seat(Guest {
        name: &planned.target,
        kind: &planned.kind,
        today: order.config.target(&planned.target),
        config: planned.config.clone(),
        release: planned.release.clone(),
        source_may_change: true,
    })?;
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
