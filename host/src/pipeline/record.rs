//! What a run leaves on disk: its plans before it walks, its result and history records afterwards.

use serde_json::{Value, json};

use super::{
    engine::described,
    member::Member,
    order::{Errand, Goal, Order},
    outcome::{Ending, Mode, Report, TargetEnding, TargetReport},
};
use crate::{
    config::OnInterrupt,
    failure::Failure,
    history::{self, History, Record, RollbackRecord, Status},
    journal::{self, Entry, Journal, PlannedTarget, RunEnding, RunKind},
    reporter::json::report_value,
};

/// Stores each member's plan and what a later rollback needs to know of it. Before anything is walked.
///
/// # Errors
/// When the data folder can't be written: the run must not begin.
pub(super) fn plans(order: &Order<'_>, journal: &Journal, members: &[Member]) -> Result<(), Failure> {
    for (member, errand) in members.iter().zip(&order.errands) {
        let Some(plan) = &member.plan else { continue };
        let (plugin, plugin_version) = member.plugin();
        let planned = PlannedTarget {
            target: member.name.clone(),
            kind: errand.target.kind.clone(),
            plugin: plugin.to_owned(),
            plugin_version: plugin_version.clone(),
            plugin_path: Some(member.plugin_path().to_owned()),
            identity: plan.identity.clone(),
            config: member.opened_with().config.clone(),
            release: member.release.clone(),
            from: plan.live.clone(),
            plan_digest: journal.store_plan(&member.name, plan)?,
        };
        journal.append(&Entry::TargetPlanned(planned))?;
    }
    Ok(())
}

/// Keeps a run's result, and says in the report where that couldn't be done: what is live and what history says are
/// then two things, and a person is needed.
pub(super) fn kept(order: &Order<'_>, kind: RunKind, journal: &Journal, report: Report) -> Report {
    let report = Report { log: Some(journal.log_path()), ..report };
    match keep(order, kind, journal, &report) {
        Ok(()) => report,
        Err(failure) => {
            let unrecorded = failure.to_error();
            let error = match report.error {
                Some(mut first) => {
                    first.causes.push(format!("and it can't be recorded: {}", described(&unrecorded)));
                    first
                }
                None => unrecorded,
            };
            let began = report.targets.iter().any(TargetReport::was_begun);
            let ending = if began { Ending::Stuck } else { report.ending };
            Report { ending, error: Some(error), ..report }
        }
    }
}

/// Keeps a run's result: history records, `report.json`, the journal's end. Everything but a run that was left as
/// it stood ends here; that one stays open, for the next command to find.
///
/// # Errors
/// When deploy.json or the run's folder can't be written. What was deployed stays deployed.
fn keep(order: &Order<'_>, kind: RunKind, journal: &Journal, report: &Report) -> Result<(), Failure> {
    if is_left_open(order, report) {
        return Ok(());
    }
    // An open run says of its canary that it is there; the other targets have their word when it is over.
    let open = matches!(report.ending, Ending::CanaryOpen { .. });
    let told = report.targets.iter().filter(|target| !open || target.ending == TargetEnding::CanaryOpen);
    let records: Vec<_> = told.map(|target| record(order, kind, report, target)).collect();
    history::append(order.project, &records)?;
    let text = report_value(report).to_string();
    let redacted = serde_json::from_str(&order.redactor.redact(&text)).unwrap_or(Value::Null);
    journal.store_report(&redacted)?;
    for target in &report.targets {
        journal.append(&Entry::TargetEnded {
            target: target.name.clone(),
            ending: target.ending.in_journal(),
        })?;
    }
    journal.append(&Entry::RunEnded { ending: run_ending(report) })?;
    let known = crate::config::DeployConfig::read(order.project)?;
    journal::keep_only(&order.project.data, &History::of_all_environments(&known).run_ids())?;
    Ok(())
}

fn is_left_open(order: &Order<'_>, report: &Report) -> bool {
    let begun = |target: &TargetReport| target.rollback.is_none() && target.was_begun();
    matches!(report.ending, Ending::Interrupted { .. })
        && order.config.on_interrupt == OnInterrupt::Leave
        && report.targets.iter().any(begun)
}

fn record(order: &Order<'_>, kind: RunKind, report: &Report, target: &TargetReport) -> Record {
    let went_well = target.ending.is_good();
    let common = Record {
        timestamp: Some(journal::timestamp()),
        target: Some(target.name.clone()),
        duration_ms: u64::try_from(target.took.as_millis()).ok(),
        deployment_id: Some(report.run.clone()),
        actor: Some(order.actor.to_owned()),
        ..Record::default()
    };
    let error = || {
        let error = target.error.as_ref().or(report.error.as_ref());
        if report.mode == Mode::Abort && error.is_none() {
            return Some("the canary was aborted".to_owned());
        }
        Some(order.redactor.redact(&error.map_or("interrupted".to_owned(), described)).into_owned())
    };
    if target.ending == TargetEnding::CanaryOpen {
        let (version, commit_sha) = (target.release.version.clone(), target.release.commit.clone());
        return Record { status: Some(Status::CanaryOpen), version, commit_sha, ..common };
    }
    match (kind, went_well) {
        (RunKind::Rollback, true) => Record {
            status: Some(Status::RolledBack),
            version: gone_from(order, target),
            rollback_to: target.release.version.clone(),
            rollback_to_id: Some(target.release.id.clone()),
            ..common
        },
        // A rollback that failed and was taken back leaves everything as it was: not a word about bad versions.
        (RunKind::Rollback, false) => Record {
            status: Some(Status::Failed),
            version: gone_from(order, target),
            error: error(),
            switched: Some(target.was_live && (!target.is_back() || target.was_overtaken())),
            rollback: (target.was_live && target.was_overtaken()).then(|| rollback(target)),
            ..common
        },
        (_, true) => Record {
            status: Some(Status::Success),
            version: target.release.version.clone(),
            commit_sha: target.release.commit.clone(),
            ..common
        },
        (_, false) => Record {
            status: Some(Status::Failed),
            version: target.release.version.clone(),
            commit_sha: target.release.commit.clone(),
            error: error(),
            switched: Some(target.was_live),
            rollback: target.was_live.then(|| rollback(target)),
            ..common
        },
    }
}

/// The version that a rollback leaves: as the place has it, else as history does.
fn gone_from(order: &Order<'_>, target: &TargetReport) -> Option<String> {
    let seen = target.before.as_ref().and_then(|before| before.version.clone());
    let known = |errand: &Errand<'_>| match &errand.goal {
        Goal::Back { from, .. } => from.as_ref()?.version.clone(),
        Goal::Forward { .. } => None,
    };
    seen.or_else(|| order.errands.iter().find(|errand| errand.target.name == target.name).and_then(known))
}

fn rollback(target: &TargetReport) -> RollbackRecord {
    let back = target.rollback.as_ref();
    let steps = back.map_or(&[][..], |back| &back.steps);
    RollbackRecord {
        performed: back.is_some() && !target.was_overtaken(),
        success: target.is_back(),
        to_version: target.live_since().and_then(|live| live.version.clone()),
        to_id: target.live_since().map(|live| live.id.clone()),
        steps: steps.iter().map(|(step, result)| json!({"step": step, "success": result.is_ok()})).collect(),
        error: back.and_then(|back| back.error()).map(described),
    }
}

fn run_ending(report: &Report) -> RunEnding {
    match report.ending {
        Ending::Succeeded if report.mode == Mode::Abort => RunEnding::RolledBack,
        Ending::CanaryOpen { .. } => RunEnding::CanaryOpen,
        Ending::Succeeded | Ending::Planned { .. } => RunEnding::Succeeded,
        Ending::RolledBack => RunEnding::RolledBack,
        Ending::Partial => RunEnding::Partial,
        Ending::Stuck => RunEnding::Stuck,
        Ending::Interrupted { .. } => interrupted_ending(report),
        Ending::Refused
        | Ending::NotReady
        | Ending::Locked
        | Ending::NoRelease
        | Ending::FailedBeforeLive => RunEnding::Failed,
    }
}

fn interrupted_ending(report: &Report) -> RunEnding {
    let any = |wanted: TargetEnding| report.targets.iter().any(|target| target.ending == wanted);
    if any(TargetEnding::Verified) || any(TargetEnding::LeftLive) {
        RunEnding::Partial
    } else if any(TargetEnding::RolledBack) {
        RunEnding::RolledBack
    } else {
        RunEnding::Failed
    }
}
