//! For programs: one JSON object a line on standard output; the last one is always `run.finished`.
//!
//! Every line has `v` (1), `ts`, `run`, `seq` (from 1, without gaps) and `type`, and `target` where it is one target's.

use std::{
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pop_deploy_plugin_api::{Error, redact::Redactor};
use serde_json::{Map, Value, json};

use super::lost::output_lost;
use crate::{
    config::Environment,
    exit::Exit,
    pipeline::{
        event::{Event, Listener, What},
        outcome::{Mode, Report, RollbackReport, StepEnding, StepReport, TargetReport},
    },
    signals::Interrupt,
};

/// The version of the line format.
const VERSION: u32 = 1;

/// Writes events as JSON lines on standard output.
pub struct Json {
    redactor: Redactor,
    interrupt: Arc<Interrupt>,
    lines: Mutex<Lines>,
}

/// The lines of one run, numbered.
#[derive(Debug, Default)]
pub(super) struct Lines {
    run: String,
    seq: u64,
    finished: bool,
}

impl Lines {
    /// The line of an event.
    pub(super) fn of(&mut self, event: &Event<'_>) -> String {
        if let What::RunStarted { run, .. } = &event.what {
            self.run = (*run).to_owned();
        }
        let (kind, body) = told(&event.what);
        self.next(event.at, event.target, kind, body)
    }

    fn next(&mut self, at: jiff::Timestamp, target: Option<&str>, kind: &str, body: Value) -> String {
        self.seq += 1;
        self.finished = kind == "run.finished";
        let mut line = Map::new();
        line.insert("v".into(), VERSION.into());
        line.insert("ts".into(), at.to_string().into());
        line.insert("run".into(), self.run.clone().into());
        line.insert("seq".into(), self.seq.into());
        line.insert("type".into(), kind.into());
        if let Some(target) = target {
            line.insert("target".into(), target.into());
        }
        if let Value::Object(body) = body {
            line.extend(body);
        }
        Value::Object(line).to_string()
    }
}

impl Json {
    /// A reporter that starts counting at 1.
    pub fn new(redactor: Redactor, interrupt: Arc<Interrupt>) -> Self {
        Self { redactor, interrupt, lines: Mutex::default() }
    }

    /// The last line where a run didn't get to say it itself: wrong usage, a lock, an unknown target, a panic.
    pub fn finish_early(&self, error: &Error, exit: Exit) {
        if self.lines().finished {
            return;
        }
        let ending = match exit {
            Exit::Locked => "locked",
            Exit::NoRelease => "no_release",
            Exit::NotReady => "not_ready",
            Exit::Stuck => "stuck",
            Exit::Signal(_) => "interrupted",
            _ => "refused",
        };
        let result = json!({"ending": ending, "exit_code": exit.code(), "success": false, "error": error_value(error)});
        self.write(jiff::Timestamp::now(), None, "run.finished", result);
    }

    /// Tells what is to be decided: `decision.required` before a run, `decision.offered` after it.
    pub fn tell_decision(&self, kind: &str, decision: Value) {
        self.write(jiff::Timestamp::now(), None, kind, decision);
    }

    fn write(&self, at: jiff::Timestamp, target: Option<&str>, kind: &str, body: Value) {
        self.print(|lines| lines.next(at, target, kind, body));
    }

    fn print(&self, line: impl FnOnce(&mut Lines) -> String) {
        // Held while writing: lines come out whole, in the order of their numbers.
        let mut lines = self.lines();
        let line = line(&mut lines);
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{}", self.redactor.redact(&line)).and_then(|()| out.flush());
        drop(lines);
        if let Err(error) = written {
            output_lost(&error, &self.interrupt);
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Json {
    fn hear(&self, event: &Event<'_>) {
        self.print(|lines| lines.of(event));
    }
}

/// The type of an event's line, and its body.
fn told(what: &What<'_>) -> (&'static str, Value) {
    match what {
        What::RunStarted { mode, environment, targets, .. } => {
            let targets: Vec<_> = targets
                    .iter()
                    .map(|target| json!({"name": target.name, "primary": target.primary, "version": target.version}))
                    .collect();
            (
                "run.started",
                json!({"mode": mode_name(*mode), "environment": environment_name(*environment), "targets": targets}),
            )
        }
        What::Planned(plan) => ("plan", json!({"plan": plan})),
        What::StepStarted(place) => {
            let commands: Vec<_> = place.step.commands.iter().map(ToString::to_string).collect();
            let body = json!({
                "step": place.step.id, "phase": place.phase(), "number": place.number, "of": place.of,
                "title": place.step.title, "commands": commands,
            });
            ("step.started", body)
        }
        What::Progress { place, message, done, unit } => {
            let (done, total) = done.unzip();
            let body = json!({"step": place.step.id, "message": message, "done": done, "total": total, "unit": unit});
            ("step.progress", body)
        }
        What::Output { of, stream, text } => {
            ("step.output", json!({"step": of, "stream": stream, "text": text}))
        }
        What::CommandStarted { of, command } => {
            ("command.started", json!({"step": of, "command": command.to_string()}))
        }
        What::CommandFinished { of, exit_code, took } => {
            ("command.finished", json!({"step": of, "exit_code": exit_code, "duration_ms": millis(*took)}))
        }
        What::HealthAttempt { of, what, healthy, detail } => {
            ("health.attempt", json!({"step": of, "what": what, "healthy": healthy, "detail": detail}))
        }
        What::Warning(message) => ("warning", json!({"message": message})),
        What::StepFinished { place, result, took } => {
            let mut body = json!({
                "step": place.step.id, "phase": place.phase(), "number": place.number, "of": place.of,
                "duration_ms": millis(*took),
            });
            match result {
                Ok((outcome, summary)) => {
                    body["status"] = json!(outcome);
                    body["summary"] = json!(summary);
                }
                Err(error) => {
                    body["status"] = json!("failed");
                    body["error"] = error_value(error);
                }
            }
            ("step.finished", body)
        }
        What::Switched { from, to } => ("switch", json!({"from": from, "to": to})),
        What::RollbackStarted { because } => ("rollback.started", json!({"because": error_value(because)})),
        What::Undone { step, result } => {
            let mut body = json!({"step": step.id, "success": result.is_ok()});
            match result {
                Ok(summary) => body["summary"] = json!(summary),
                Err(error) => body["error"] = error_value(error),
            }
            ("rollback.step", body)
        }
        What::RunFinished(report) => ("run.finished", report_value(report)),
    }
}

/// A run's whole result: the body of `run.finished`, and `report.json`.
pub fn report_value(report: &Report) -> Value {
    json!({
        "deployment_id": report.run,
        "mode": mode_name(report.mode),
        "environment": environment_name(report.environment.as_ref()),
        "ending": report.ending.name(),
        "success": report.ending.is_success(),
        "exit_code": report.ending.exit().code(),
        "pending": matches!(report.ending, crate::pipeline::outcome::Ending::Planned { pending: true }),
        "duration_ms": millis(report.took),
        "error": report.error.as_ref().map(error_value),
        "log": report.log,
        "targets": report.targets.iter().map(target_value).collect::<Vec<_>>(),
    })
}

fn target_value(target: &TargetReport) -> Value {
    json!({
        "name": target.name,
        "ending": target.ending.name(),
        "release": target.release,
        "before": target.before,
        "after": target.after.as_ref().map(|after| &after.live),
        "summary": target.plan.as_ref().map(|plan| &plan.summary),
        "was_live": target.was_live,
        "duration_ms": millis(target.took),
        "error": target.error.as_ref().map(error_value),
        "steps": target.steps.iter().map(step_value).collect::<Vec<_>>(),
        "rollback": target.rollback.as_ref().map(rollback_value),
        "facts": target.facts,
    })
}

fn step_value(step: &StepReport) -> Value {
    let mut value = json!({
        "step": step.id,
        "phase": step.phase,
        "title": step.title,
        "commands": step.commands.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "duration_ms": millis(step.took),
    });
    match &step.ending {
        StepEnding::Done(outcome, summary) => {
            value["status"] = json!(outcome);
            value["summary"] = json!(summary);
        }
        StepEnding::Failed(error) => {
            value["status"] = json!("failed");
            value["error"] = error_value(error);
        }
        StepEnding::NotRun => value["status"] = json!("not_run"),
    }
    value
}

fn rollback_value(rollback: &RollbackReport) -> Value {
    let steps: Vec<_> = rollback
        .steps
        .iter()
        .map(|(step, result)| match result {
            Ok(summary) => json!({"step": step, "success": true, "summary": summary}),
            Err(error) => json!({"step": step, "success": false, "error": error_value(error)}),
        })
        .collect();
    json!({"performed": true, "success": rollback.success(), "steps": steps})
}

fn error_value(error: &Error) -> Value {
    json!({"kind": error.kind, "message": error.message, "causes": error.causes, "hint": error.hint})
}

fn environment_name(named: Option<&Environment>) -> &str {
    named.map_or(Environment::PRODUCTION, Environment::name)
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::DryRun => "dry_run",
        Mode::Deploy => "deploy",
        Mode::Rollback => "rollback",
        Mode::RollbackDryRun => "rollback_dry_run",
        Mode::Recovery => "recovery",
        Mode::Resume => "resume",
        Mode::Canary(_) => "canary",
        Mode::CanaryDryRun => "canary_dry_run",
        Mode::Promote => "promote",
        Mode::PromoteDryRun => "promote_dry_run",
        Mode::Abort => "abort",
        Mode::AbortDryRun => "abort_dry_run",
    }
}

fn millis(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
