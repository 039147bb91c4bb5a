//! Canaries that wait for a verdict: which there are, and what a person's verdict does.
//!
//! To abort one is to take its run back, as [`recover`](super::recover) does.

use std::time::Instant;

use pop_deploy_plugin_api::{
    Error,
    protocol::{Effect, Phase, Plan, Release, Step},
};

use super::{
    event::{Bus, Listener, What},
    member::Member,
    order::Order,
    outcome::{Ending, Mode, Report},
    reopened::{Reopened, announced},
    resume::{changed, seat, stand},
    seating::Seated,
};
use crate::{
    failure::Failure,
    journal::{self, PastRun, PastTarget},
    project::Project,
};

/// The runs whose canary waits for a verdict at one of these targets in the project's environment, oldest first. The
/// other targets of such a run wait with it.
///
/// # Errors
/// When a journal can't be read.
pub fn open_at(project: &Project, targets: &[&str]) -> Result<Vec<PastRun>, Failure> {
    let mut runs = open(project)?;
    runs.retain(|run| run.info.targets.iter().any(|target| targets.contains(&target.as_str())));
    Ok(runs)
}

/// The runs whose canary waits for a verdict in the project's environment, oldest first.
///
/// # Errors
/// When a journal can't be read.
pub fn open(project: &Project) -> Result<Vec<PastRun>, Failure> {
    let mut runs = journal::open_canaries(&project.data)?;
    runs.retain(|run| run.info.environment == project.environment);
    Ok(runs)
}

/// Has the open canary of the run `past` go all the way, and records how that went. What was live when it began must be
/// live still.
///
/// # Errors
/// What kept it from going on: it stands as it stood.
pub fn promote(order: &Order<'_>, past: &PastRun, reporter: Box<dyn Listener>) -> Result<Report, Failure> {
    let run = Reopened::open(order, &past.id, Mode::Promote, reporter)?;
    let refused = |error| Failure::CantPromote { run: Box::new(run.past.clone()), source: Box::new(error) };
    let (mut members, mut newcomers) = (Vec::new(), Vec::new());
    for target in &run.past.targets {
        let stored = journal::stored_plan(&run.past, &target.planned)?;
        let Seated { mut member, newcomer } = seat(order, &run, target)?;
        member.open().map_err(refused)?;
        newcomers.extend(newcomer);
        let objection = match changed(order, &run, target, &member) {
            None => moved(&mut member, target).map_err(refused)?,
            changed => changed,
        };
        if let Some(error) = objection {
            return Err(refused(error));
        }
        stand(&mut member, target, stored);
        members.push(member);
    }
    run.seating().record_all(&newcomers)?;
    let hooks = run.hooks();
    let (ending, error) = run.walk(&hooks).promote(&mut members).map_err(refused)?;
    drop(hooks);
    Ok(run.finish(members, ending, error))
}

/// Whether somebody changed what is live beside the canary. Targets that are through already aren't looked at.
fn moved(member: &mut Member, target: &PastTarget) -> Result<Option<Error>, Error> {
    if target.steps.iter().any(|step| step.step.phase > Phase::Switch) {
        return Ok(None);
    }
    let status = member.status()?;
    let (name, planned) = (&target.planned.target, &target.planned);
    let id = |release: Option<Release>| release.map(|release| release.id);
    let what = if status.identity != planned.identity {
        format!("target `{name}` was `{}`, and is `{}` now", planned.identity, status.identity)
    } else if id(status.live) != id(planned.from.clone()) {
        format!("target `{name}` has another release live than when its canary began")
    } else {
        return Ok(None);
    };
    Ok(Some(Error::preflight(what)))
}

/// Shows what promoting or aborting would do: the steps that are left, or those that would be taken back.
pub fn preview(order: &Order<'_>, past: &PastRun, reporter: Box<dyn Listener>) -> Result<Report, Failure> {
    let begun = Instant::now();
    let bus = Bus::new(vec![reporter]);
    bus.tell(What::RunStarted {
        run: &past.id,
        mode: order.mode,
        environment: order.config.named_environment(),
        targets: announced(past),
    });
    for target in &past.targets {
        let plan = match order.mode {
            Mode::AbortDryRun => taken_back(target),
            _ => left(target, journal::stored_plan(past, &target.planned)?),
        };
        bus.tell_of(&target.planned.target, What::Planned(&plan));
    }
    let report = Report {
        run: past.id.clone(),
        mode: order.mode,
        environment: order.config.named_environment().cloned(),
        ending: Ending::Planned { pending: true },
        targets: Vec::new(),
        error: None,
        log: None,
        took: begun.elapsed(),
    };
    bus.tell(What::RunFinished(&report));
    Ok(report)
}

fn left(target: &PastTarget, stored: Plan) -> Plan {
    let done =
        |step: &Step| target.steps.iter().any(|past| past.step.id == step.id && past.receipt.is_some());
    let steps: Vec<_> =
        stored.steps.into_iter().filter(|step| step.phase == Phase::Preflight || !done(step)).collect();
    let summary = format!("the canary goes all the way, {} steps", steps.len());
    Plan { steps, summary, checked: Vec::new(), changes: Vec::new(), ..stored }
}

fn taken_back(target: &PastTarget) -> Plan {
    let back = |past: &journal::PastStep| {
        Step::new(&past.step.id, past.step.phase, Effect::Maybe, format!("Taking back: {}", past.step.title))
    };
    let steps: Vec<_> = target.to_undo().map(back).collect();
    Plan {
        identity: target.planned.identity.clone(),
        live: target.planned.from.clone(),
        summary: format!("the canary goes, {} steps are taken back", steps.len()),
        steps,
        ..Plan::default()
    }
}
