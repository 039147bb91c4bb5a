//! What there is to say, gathered from what a run left behind and from history.

use jiff::Timestamp;
use pop_deploy_plugin_api::{
    Error,
    protocol::{CheckStatus, Phase, Plan, Undo},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    config::{DeployConfig, Environment},
    failure::Failure,
    history::{History, Record, instant},
    journal::{self, PastRun, PastStep, PastTarget, RunEnding, RunKind, TargetEnding},
    project::Project,
    reporter::{effect_sign, named, printable, seconds},
};

/// More changes of a plan than this are counted, not listed.
const LISTED: usize = 200;
/// More lines of a log than these last ones are left to the file.
const LOGGED: usize = 3000;

/// Everything that the page is made of.
pub struct Facts {
    pub(super) run: Run,
    /// When each target did what.
    pub(super) spans: Vec<TargetSpans>,
    /// The history of the run's environment, newest first.
    pub(super) records: Vec<Record>,
    /// When the page is made.
    pub(super) now: Timestamp,
}

/// When a target did what.
pub(super) struct TargetSpans {
    pub(super) target: String,
    pub(super) spans: Vec<Span>,
}

/// A time that was spent on something.
pub(super) struct Span {
    pub(super) title: String,
    pub(super) kind: SpanKind,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// What the time was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpanKind {
    Step(Phase),
    Failed(Phase),
    Undo,
}

/// The run, as the page says it.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    project: String,
    environment: String,
    id: String,
    kind: &'static str,
    version: String,
    commit: Option<String>,
    actor: String,
    command: String,
    started: String,
    took: String,
    ending: Ending,
    error: Option<Told>,
    targets: Vec<Target>,
    log: Vec<String>,
    /// How many lines before these are left to the file.
    log_before: usize,
    log_path: String,
}

/// How something ended: in words, and in a colour.
#[derive(Debug, Clone, Copy, Serialize)]
struct Ending {
    word: &'static str,
    tone: &'static str,
}

#[derive(Debug, Serialize)]
struct Target {
    name: String,
    plugin: String,
    place: String,
    from: Option<String>,
    to: String,
    ending: Ending,
    summary: String,
    changes: Vec<Change>,
    more_changes: usize,
    checks: Vec<Check>,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Change {
    sign: char,
    what: String,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Check {
    word: &'static str,
    tone: &'static str,
    name: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct Step {
    title: String,
    phase: &'static str,
    ending: Ending,
    took: String,
    summary: String,
    commands: Vec<String>,
    error: Option<Told>,
    undone: Option<String>,
}

/// An error, as the page says it.
#[derive(Debug, Serialize)]
struct Told {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Facts {
    /// Gathers the facts of a run.
    ///
    /// # Errors
    /// When its log can't be read. A stored plan or report that is gone leaves its part of the page empty.
    pub fn of(project: &Project, config: &DeployConfig, run: &PastRun) -> Result<Self, Failure> {
        let report = std::fs::read(run.dir.join("report.json")).ok();
        let report: Value = report.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let path = run.dir.join("log");
        let log = std::fs::read(&path)
            .map_err(|source| Failure::Read { path: path.display().to_string(), source })?;
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().map(printable).collect();
        let log_before = lines.len().saturating_sub(LOGGED);
        let spans: Vec<_> = run.targets.iter().map(spans).collect();
        let began = instant(&run.started_at);
        let ended = run.ended_at.as_deref().and_then(instant).or_else(|| last_end(&spans));
        // A run that is named may be of another environment than the one that deploy.json was read for.
        let records = History::in_environment(config, &run.info.environment).records().to_vec();
        let run = Run {
            project: config.project_name_or_folder(project),
            environment: Environment::name(&run.info.environment).to_owned(),
            id: run.id.clone(),
            kind: if run.info.kind == RunKind::Rollback { "Rollback" } else { "Deployment" },
            version: run.info.version.clone().unwrap_or_else(|| "an unnamed version".to_owned()),
            commit: run.info.commit.clone(),
            actor: run.info.actor.clone(),
            command: run.info.command.clone(),
            started: run.started_at.get(..19).unwrap_or(&run.started_at).replace('T', " "),
            took: began.zip(ended).map_or_else(|| "?".to_owned(), |(from, to)| took(from, to)),
            ending: run_ending(run),
            error: told_value(&report["error"]),
            targets: run.targets.iter().map(|target| Target::of(run, target)).collect(),
            log: lines[log_before..].to_vec(),
            log_before,
            log_path: path.display().to_string(),
        };
        Ok(Self { run, spans, records, now: Timestamp::now() })
    }
}

impl Target {
    fn of(run: &PastRun, target: &PastTarget) -> Self {
        let planned = &target.planned;
        let plan = journal::stored_plan(run, planned).ok();
        let changes = plan.as_ref().map_or(&[][..], |plan| &plan.changes);
        Self {
            name: planned.target.clone(),
            plugin: format!("{} {}", planned.plugin, planned.plugin_version),
            place: planned.identity.clone(),
            from: planned.from.as_ref().map(|release| named(release).to_owned()),
            to: named(&planned.release).to_owned(),
            ending: target.ending.map_or(OPEN, target_ending),
            summary: plan.as_ref().map(|plan| plan.summary.clone()).unwrap_or_default(),
            changes: changes
                .iter()
                .take(LISTED)
                .map(|change| Change {
                    sign: effect_sign(change.effect),
                    what: change.what.clone(),
                    detail: change.detail.clone(),
                })
                .collect(),
            more_changes: changes.len().saturating_sub(LISTED),
            checks: plan.as_ref().map(checks).unwrap_or_default(),
            steps: steps(target, plan.as_ref()),
        }
    }
}

fn checks(plan: &Plan) -> Vec<Check> {
    let checked = plan.checked.iter().map(|check| {
        let (word, tone) = match check.status {
            CheckStatus::Pass => ("ok", "good"),
            CheckStatus::Warn => ("warning", "careful"),
            CheckStatus::Fail => ("failed", "bad"),
            CheckStatus::Skip => ("skipped", "idle"),
        };
        Check { word, tone, name: check.name.clone(), message: check.message.clone() }
    });
    let unchecked = plan.unchecked.iter().map(|note| Check {
        word: "not checked",
        tone: "idle",
        name: note.what.clone(),
        message: note.why.clone(),
    });
    checked.chain(unchecked).collect()
}

/// The steps that were begun, then those of the plan that weren't.
fn steps(target: &PastTarget, plan: Option<&Plan>) -> Vec<Step> {
    let begun = target.steps.iter().map(begun_step);
    let planned = plan.map_or(&[][..], |plan| &plan.steps);
    let was_begun = |id: &str| target.steps.iter().any(|past| past.step.id == id);
    let rest = planned.iter().filter(|step| !was_begun(&step.id)).map(|step| Step {
        title: step.title.clone(),
        phase: step.phase.name(),
        ending: Ending { word: "not run", tone: "idle" },
        took: String::new(),
        summary: String::new(),
        commands: step.commands.iter().map(ToString::to_string).collect(),
        error: None,
        undone: None,
    });
    begun.chain(rest).collect()
}

fn begun_step(past: &PastStep) -> Step {
    let ending = match (&past.receipt, &past.error) {
        (_, Some(_)) => Ending { word: "failed", tone: "bad" },
        (Some(_), None) => Ending { word: "done", tone: "good" },
        (None, None) => OPEN,
    };
    let between = instant(&past.began_at).zip(past.ended_at.as_deref().and_then(instant));
    Step {
        title: past.step.title.clone(),
        phase: past.step.phase.name(),
        ending,
        took: between.map_or_else(String::new, |(from, to)| took(from, to)),
        summary: past.receipt.as_ref().map(|kept| kept.receipt.summary.clone()).unwrap_or_default(),
        commands: past.step.commands.iter().map(ToString::to_string).collect(),
        error: past.error.as_ref().map(told),
        undone: past.undone.as_ref().map(|undone| match undone {
            Undo::Undone { summary } if summary.is_empty() => "Taken back".to_owned(),
            Undo::Undone { summary } => format!("Taken back: {summary}"),
            Undo::Nothing => "Nothing to take back".to_owned(),
            Undo::Unknown { why } => format!("NOT taken back: {why}"),
        }),
    }
}

fn spans(target: &PastTarget) -> TargetSpans {
    let mut spans = Vec::new();
    for past in &target.steps {
        let phase = past.step.phase;
        let kind = if past.error.is_some() { SpanKind::Failed(phase) } else { SpanKind::Step(phase) };
        let between = |from: Option<&String>, to: Option<&String>| {
            from.and_then(|from| instant(from)).zip(to.and_then(|to| instant(to)))
        };
        if let Some((from, to)) = between(Some(&past.began_at), past.ended_at.as_ref()) {
            spans.push(Span { title: past.step.title.clone(), kind, from, to });
        }
        if let Some((from, to)) = between(past.undo_began_at.as_ref(), past.undone_at.as_ref()) {
            let title = format!("Taking back: {}", past.step.title);
            spans.push(Span { title, kind: SpanKind::Undo, from, to });
        }
    }
    spans.sort_by_key(|span| span.from);
    TargetSpans { target: target.planned.target.clone(), spans }
}

fn last_end(spans: &[TargetSpans]) -> Option<Timestamp> {
    spans.iter().flat_map(|target| &target.spans).map(|span| span.to).max()
}

const OPEN: Ending = Ending { word: "interrupted", tone: "bad" };

fn run_ending(run: &PastRun) -> Ending {
    let (word, tone) = match run.ending {
        Some(RunEnding::Succeeded) => ("succeeded", "good"),
        Some(RunEnding::Failed) => ("failed, nothing live changed", "bad"),
        Some(RunEnding::RolledBack) => ("failed and rolled back", "bad"),
        Some(RunEnding::Partial) => ("partly done", "careful"),
        Some(RunEnding::Aborted) => ("aborted", "careful"),
        Some(RunEnding::CanaryOpen) => ("canary open", "careful"),
        Some(RunEnding::Mended) => ("mended by another run", "careful"),
        Some(RunEnding::Stuck) => ("stuck: a person is needed", "bad"),
        None if run.alive => ("running", "careful"),
        None => (OPEN.word, OPEN.tone),
    };
    Ending { word, tone }
}

fn target_ending(ending: TargetEnding) -> Ending {
    let (word, tone) = match ending {
        TargetEnding::Skipped => ("unchanged", "idle"),
        TargetEnding::Staged => ("staged, not live", "careful"),
        TargetEnding::Verified => ("live", "good"),
        TargetEnding::RolledBack => ("rolled back", "bad"),
        TargetEnding::RollbackFailed => ("rollback failed", "bad"),
        TargetEnding::Failed => ("failed", "bad"),
        TargetEnding::CanaryOpen => ("canary open", "careful"),
        TargetEnding::Unknown => ("unknown", "bad"),
    };
    Ending { word, tone }
}

fn told(error: &Error) -> Told {
    Told { message: error.message.clone(), causes: error.causes.clone(), hint: error.hint.clone() }
}

/// An error of `report.json`.
fn told_value(error: &Value) -> Option<Told> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let causes = error["causes"].as_array().into_iter().flatten().filter_map(text).collect();
    Some(Told { message: text(&error["message"])?, causes, hint: text(&error["hint"]) })
}

fn took(from: Timestamp, to: Timestamp) -> String {
    seconds(std::time::Duration::from_millis(millis(from, to)))
}

/// From one time to another, in milliseconds; clocks that were set back count as nothing.
pub(super) fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}
