//! Finishes a run that died: its stored plans, from the first step that isn't done.
//!
//! The inputs must be what they were: each plugin plans once more, and the fingerprint of that plan must be the stored
//! one's. A step that was begun and left nothing behind is taken back first, so that it begins anew. One that nothing takes
//! back may be done all the same: what becomes of it, somebody must say.

use pop_deploy_plugin_api::{
    Error,
    protocol::{Outcome, PastRelease, Plan, PlanRequest, Receipt, Rollout, StepReceipt},
};

use super::{
    event::{Listener, What},
    member::Member,
    order::Order,
    outcome::{Mode, Report, StepEnding, StepReport},
    reopened::Reopened,
    seating::{Guest, Seated},
};
use crate::{
    failure::Failure,
    journal::{self, Entry, PastRun, PastTarget, RunKind},
};

/// What becomes of a step that nothing takes back and that may have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOff {
    /// It was done, somebody says.
    Done,
    /// It runs again.
    Again,
}

/// Whether somebody has to say what becomes of a step of the run `past` before it goes on.
///
/// # Errors
/// There is such a step, and nobody said.
pub fn check(past: &PastRun, cut_off: Option<CutOff>) -> Result<(), Failure> {
    match past.cut_off().next() {
        Some(_) if cut_off.is_none() => Err(Failure::CutOff(Box::new(past.clone()))),
        _ => Ok(()),
    }
}

/// Goes on with the run `past` and records how that went.
///
/// # Errors
/// What kept it from going on: it stands as it stood.
pub fn go_on(
    order: &Order<'_>,
    past: &PastRun,
    cut_off: Option<CutOff>,
    reporter: Box<dyn Listener>,
) -> Result<Report, Failure> {
    check(past, cut_off)?;
    let run = Reopened::open(order, &past.id, Mode::Resume, reporter)?;
    let refused = |error| Failure::CantResume { run: Box::new(run.past.clone()), source: Box::new(error) };
    let (mut members, mut newcomers) = (Vec::new(), Vec::new());
    for target in &run.past.targets {
        let stored = journal::stored_plan(&run.past, &target.planned)?;
        let Seated { mut member, newcomer } = seat(order, &run, target)?;
        newcomers.extend(newcomer);
        if let Some(error) = changed(order, &run, target, &member) {
            return Err(refused(error));
        }
        let request = request(order, &run.past, target)?;
        member.plan_again(&request).and_then(|now| compare(target, &stored, &now)).map_err(refused)?;
        run.around.bus.tell_of(&member.name, What::Planned(&stored));
        stand(&mut member, target, stored);
        if cut_off == Some(CutOff::Done) {
            pass_over(&run, &mut member, target)?;
        }
        members.push(member);
    }
    run.seating().record_all(&newcomers)?;
    let hooks = run.hooks();
    let (ending, error) = run.walk(&hooks).resume(&mut members).map_err(refused)?;
    drop(hooks);
    Ok(run.finish(members, ending, error))
}

pub(super) fn seat(order: &Order<'_>, run: &Reopened<'_>, target: &PastTarget) -> Result<Seated, Failure> {
    let planned = &target.planned;
    run.seating().seat(Guest {
        name: &planned.target,
        kind: &planned.kind,
        today: order.config.target(&planned.target),
        config: planned.config.clone(),
        release: planned.release.clone(),
        source_may_change: run.hooks().before_stage(&planned.target),
        canary: None,
    })
}

/// What isn't as it was when the run planned, and has to be for its plan to be walked.
pub(super) fn changed(
    order: &Order<'_>,
    run: &Reopened<'_>,
    target: &PastTarget,
    member: &Member,
) -> Option<Error> {
    let planned = &target.planned;
    let name = &planned.target;
    // What goes back goes with the config of then, and so does a canary: its release is made.
    let with_todays = run.past.info.kind == RunKind::Deploy && run.past.ending.is_none();
    let why = match (order.config.target(name), member.plugin()) {
        (None, _) => format!("target `{name}` is no longer in deploy.json"),
        (Some(today), _) if with_todays && today.config != planned.config => {
            format!("the config of target `{name}` changed since")
        }
        (_, (id, version)) if (id, version) != (planned.plugin.as_str(), &planned.plugin_version) => {
            format!(
                "plugin `{}` {} made its plan, and `{id}` {version} is there now",
                planned.plugin, planned.plugin_version
            )
        }
        _ => return None,
    };
    Some(Error::preflight(why))
}

/// What the stored plan was asked for.
fn request(order: &Order<'_>, run: &PastRun, target: &PastTarget) -> Result<PlanRequest, Failure> {
    let planned = &target.planned;
    let release = planned.release.clone();
    if run.info.kind != RunKind::Rollback {
        let rollout = run.info.canary.map_or(Rollout::Full, |_| Rollout::Canary);
        return Ok(PlanRequest::Deploy { release, rollout, unreachable: run.info.unreachable });
    }
    let past = journal::receipts_of(&order.project.data, &release.id, &planned.target)?;
    let (identity, receipts) = past.unzip();
    let to = PastRelease { release, identity, receipts: receipts.unwrap_or_default() };
    Ok(PlanRequest::Rollback { to, from: planned.from.clone() })
}

fn compare(target: &PastTarget, stored: &Plan, now: &Plan) -> Result<(), Error> {
    let name = &target.planned.target;
    if now.identity != stored.identity {
        return Err(Error::preflight(format!(
            "target `{name}` went to `{}`, and goes to `{}` now",
            stored.identity, now.identity
        )));
    }
    if now.fingerprint != stored.fingerprint {
        return Err(Error::preflight(format!("what target `{name}` is made from changed since")));
    }
    Ok(())
}

/// Has the member stand where the journal says that it stood.
pub(super) fn stand(member: &mut Member, target: &PastTarget, stored: Plan) {
    member.was_live = target.was_live();
    for past in &target.steps {
        let Some(index) = stored.steps.iter().position(|step| step.id == past.step.id) else { continue };
        if past.is_settled() && !past.stays_done() {
            continue;
        }
        member.begun.push(index);
        if let Some(done) = past.receipt.as_ref().filter(|_| past.stays_done() || !past.undo_begun) {
            member.steps.push(StepReport {
                ending: StepEnding::Done(done.receipt.outcome, done.receipt.summary.clone()),
                ..StepReport::not_run(&past.step)
            });
            member.receipts.push(done.clone());
        }
    }
    member.plan = Some(stored);
}

/// Has what was cut off count as done, now and should this process die too.
fn pass_over(run: &Reopened<'_>, member: &mut Member, target: &PastTarget) -> Result<(), Failure> {
    for past in target.steps.iter().filter(|past| past.is_cut_off()) {
        let receipt = StepReceipt {
            step: past.step.id.clone(),
            plugin_version: target.planned.plugin_version.clone(),
            receipt: Receipt::new(Outcome::Unchanged, "it was done before, somebody said"),
        };
        run.journal.append(&Entry::receipt(&member.name, &receipt))?;
        member.receipts.push(receipt);
    }
    Ok(())
}
