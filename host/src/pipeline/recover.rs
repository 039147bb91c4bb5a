//! Takes a run that died back: what its journal says was begun, newest first, by the plugins that began it.

use std::{collections::BTreeMap, os::fd::AsFd, sync::Arc, time::Instant};

use pop_deploy_plugin_api::{
    Error, ErrorKind,
    protocol::{OpenRequest, Plan, TargetContext},
};

use super::{
    engine::{Walk, described},
    event::{Announced, Bus, Listener, What},
    member::{Member, Seat, Surroundings, scratch},
    outcome::{Ending, Mode, Report, TargetEnding},
    record,
    run::{Order, admit},
};
use crate::{
    failure::Failure,
    hooks::Hooks,
    journal::{self, Journal, PastRun, PastTarget},
    lock::{Holder, TargetLock},
    reporter::log::Log,
};

/// Takes the run `past` back and records how that went. The order's errands don't matter: the run's own targets do.
///
/// # Errors
/// What kept it from beginning: the run lives after all, or somebody holds a target.
pub fn take_back(order: &Order<'_>, past: &PastRun, reporter: Box<dyn Listener>) -> Result<Report, Failure> {
    let begun = Instant::now();
    let journal = Journal::reopen(&order.project.data, &past.id)?;
    let locks = hold(order, past)?;
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
    around.bus.tell(What::RunStarted { run: &past.id, mode: Mode::Recovery, targets: targets.collect() });
    let because = Error::new(ErrorKind::Failed, format!("run `{}` was interrupted", past.id));
    let mut members = Vec::new();
    for target in &past.targets {
        members.push(seat(order, past, target, &journal, &locks, &around)?);
    }
    let hooks = Hooks {
        of_run: &order.config.hooks,
        of_targets: order.config.targets.iter().map(|target| (target.name.as_str(), &target.hooks)).collect(),
        mode: Mode::Recovery,
        run: &past.id,
        actor: order.actor,
        version: past.info.version.as_deref(),
        project: &order.project.dir,
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
        ending: if stuck { Ending::Stuck } else { Ending::Succeeded },
        targets: members.iter().map(Member::report).collect(),
        error: members.iter().find_map(|member| member.rollback.as_ref()?.error().cloned()),
        log: Some(journal.log_path()),
        took: begun.elapsed(),
    };
    if let Err(failure) = record::keep(order, past.info.kind, &journal, &report) {
        around.bus.tell(What::Warning(&described(&failure.to_error())));
    }
    around.bus.tell(What::RunFinished(&report));
    Ok(report)
}

fn hold(order: &Order<'_>, past: &PastRun) -> Result<Vec<TargetLock>, Failure> {
    let holder = Holder {
        owner: order.actor.to_owned(),
        pid: std::process::id(),
        run_id: past.id.clone(),
        since: journal::timestamp(),
        command: "pop-deploy rollback".to_owned(),
    };
    let mut names = past.info.targets.clone();
    names.sort_unstable();
    let cancelled = || order.interrupt.signal().is_some();
    let lock =
        |name: &String| TargetLock::acquire(&order.project.data, name, &holder, order.wait, &cancelled);
    Ok(names.iter().map(lock).collect::<Result<_, _>>()?)
}

/// A member that stands where the dead run's journal says it stood.
fn seat(
    order: &Order<'_>,
    past: &PastRun,
    target: &PastTarget,
    journal: &Journal,
    locks: &[TargetLock],
    around: &Surroundings,
) -> Result<Member, Failure> {
    let planned = &target.planned;
    let plugin = admit(
        order.plugins,
        &planned.target,
        &planned.kind,
        None,
        &order.project.data,
        Mode::Recovery,
        order.locked,
    )?
    .0;
    let scratch = scratch()?;
    let context = TargetContext {
        target: planned.target.clone(),
        project_name: order.config.project_name_or_folder(order.project),
        project: order.project.dir.clone(),
        scratch: scratch.path().to_owned(),
        data: order.project.data.clone(),
        read_only: false,
        source_may_change: true,
        actor: order.actor.to_owned(),
        run_id: past.id.clone(),
    };
    let held = locks.iter().map(AsFd::as_fd).chain([journal.as_fd()]);
    let held =
        held.map(|fd| fd.try_clone_to_owned()).collect::<Result<_, _>>().map_err(Failure::Descriptors)?;
    // What the machine allows is of today, not of the run that died.
    let configured = order.config.targets.iter().find(|configured| configured.name == planned.target);
    let limits = configured.map(|target| target.limits).unwrap_or_default();
    let seat = Seat {
        plugin,
        open: OpenRequest { context, config: planned.config.clone() },
        held,
        deadlines: BTreeMap::new(),
        limits,
    };
    let mut member = Member::new(&planned.target, false, planned.release.clone(), seat, scratch, around);
    // Whatever `auto_rollback` says: somebody asked for this.
    member.auto_rollback = true;
    let still_there: Vec<_> = target.to_undo().collect();
    member.was_live = target.was_live();
    member.begun = (0..still_there.len()).collect();
    member.receipts = still_there.iter().rev().filter_map(|step| step.receipt.clone()).collect();
    member.plan = Some(Plan {
        identity: planned.identity.clone(),
        fingerprint: String::new(),
        live: planned.from.clone(),
        steps: still_there.into_iter().rev().map(|step| step.step.clone()).collect(),
        changes: Vec::new(),
        checked: Vec::new(),
        unchecked: Vec::new(),
        summary: String::new(),
    });
    Ok(member)
}
