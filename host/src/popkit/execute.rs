//! `execute --action execute`, and what it shares with `rollback --action rollback`: a run as the wrapper reads it.

use std::time::Duration;

use pop_deploy_plugin_api::{Error, ErrorKind, protocol::Outcome};
use serde_json::{Map, Value, json};

use super::{Answer, StepReport, StepStatus, one_decimal, stderr_tail};
use crate::{
    pipeline::{
        engine::described,
        outcome::{self, Report, StepEnding, TargetReport},
    },
    project::Project,
};

/// The dialect's name of the mode that a run was started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// `dry_run`, `deploy` or `canary`.
    pub mode: &'a str,
    /// The run's id; of a dry run, one that it could have had.
    pub id: &'a str,
    /// When it was asked, local time.
    pub timestamp: &'a str,
}

/// The report of a deployment or its dry run. With several targets: one such report a target in `results`.
pub fn execute(project: &Project, asked: Asked<'_>, report: &Report) -> Answer {
    let reports: Vec<_> = report.targets.iter().map(|target| one(project, asked, report, target)).collect();
    let success = report.ending.is_success();
    match <[Map<String, Value>; 1]>::try_from(reports) {
        Ok([report]) => Answer::report(report, success),
        Err(reports) => {
            let mut whole = Map::new();
            whole.insert("operation".to_owned(), "execute_deployment".into());
            whole.insert("directory".to_owned(), project.dir.to_string_lossy().into());
            whole.insert("timestamp".to_owned(), asked.timestamp.into());
            whole.insert("success".to_owned(), success.into());
            whole.insert("results".to_owned(), reports.into_iter().map(Value::Object).collect());
            Answer::report(whole, success)
        }
    }
}

fn one(project: &Project, asked: Asked<'_>, report: &Report, target: &TargetReport) -> Map<String, Value> {
    let success = succeeded(report, target);
    let before = target.before.as_ref().and_then(|before| before.version.clone());
    let version = target.release.version.as_deref();
    let body = json!({
        "operation": "execute_deployment",
        "directory": project.dir.to_string_lossy(),
        "timestamp": asked.timestamp,
        "deployment_id": asked.id,
        "target": target.name,
        "version": version,
        "mode": asked.mode,
        "duration_ms": millis(report.took),
        "rollback_version": before,
        "success": success,
        "dry_run": report.mode.is_dry(),
        "steps": steps(report, target),
    });
    let mut body = object(body);
    outcome_words(&mut body, report, target, success);
    if success && report.mode.is_dry() {
        let summary = target.plan.as_ref().map_or("", |plan| &plan.summary);
        let what = version.map_or_else(|| "the project".to_owned(), |version| format!("version {version}"));
        body.insert("message".into(), format!("Would deploy {what} to {}: {summary}", target.name).into());
    }
    carry_facts(&mut body, target);
    body
}

/// The keys that every report of a run ends with: what failed, what was rolled back, where the output is.
pub(super) fn outcome_words(
    body: &mut Map<String, Value>,
    report: &Report,
    target: &TargetReport,
    success: bool,
) {
    if !success {
        let error = target.error.as_ref().or(report.error.as_ref());
        body.insert("error".into(), error.map_or("failed".to_owned(), told).into());
    }
    if let Some(back) = &target.rollback {
        let steps: Vec<_> = back
            .steps
            .iter()
            .map(|(step, result)| json!({"step": step, "status": if result.is_ok() { "success" } else { "failed" }}))
            .collect();
        let to = target.live_since().and_then(|live| live.version.clone());
        body.insert(
            "rollback".into(),
            json!({
                "performed": !target.was_overtaken(), "success": back.success(), "to_version": to, "steps": steps,
                "error": back.error().map(described),
            }),
        );
    }
    if let Some(log) = &report.log {
        body.insert("log".into(), log.to_string_lossy().into());
    }
}

/// What the target adds of its own; the dialect's keys mean what they always mean.
pub(super) fn carry_facts(body: &mut Map<String, Value>, target: &TargetReport) {
    for (name, value) in &target.facts {
        body.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

/// Whether a target has what was wanted.
pub(super) fn succeeded(report: &Report, target: &TargetReport) -> bool {
    if report.mode.is_dry() {
        return report.ending.is_success();
    }
    target.ending == outcome::TargetEnding::Verified
}

/// The steps; of a dry run without how they went, which they didn't.
pub(super) fn steps(report: &Report, target: &TargetReport) -> Value {
    let planned = target.plan.as_ref().map_or(&[][..], |plan| &plan.steps);
    let steps = planned.iter().zip(&target.steps).map(|(step, went)| {
        let step = StepReport::planned(step);
        if report.mode.is_dry() {
            return step;
        }
        let (status, stderr) = match &went.ending {
            StepEnding::NotRun | StepEnding::Done(Outcome::Skipped, _) => (StepStatus::Skipped, None),
            StepEnding::Done(..) => (StepStatus::Success, None),
            StepEnding::Failed(error) if error.kind == ErrorKind::Timeout => {
                (StepStatus::Timeout, Some(error))
            }
            StepEnding::Failed(error) => (StepStatus::Failed, Some(error)),
        };
        StepReport {
            status: Some(status),
            duration_s: Some(one_decimal(went.took)),
            exit_code: went.exit_code,
            stderr: stderr.map(|error| stderr_tail(&described(error))),
            ..step
        }
    });
    json!(steps.collect::<Vec<_>>())
}

/// An error with its causes and the hint, as one text.
pub fn told(error: &Error) -> String {
    match &error.hint {
        Some(hint) => format!("{} (hint: {hint})", described(error)),
        None => described(error),
    }
}

pub(super) fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
