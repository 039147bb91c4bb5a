//! What went wrong, for whoever reads it the next morning: from history, from what the runs kept, and from a look at
//! the place. The same data as Markdown and as JSON.

mod events;
mod file;
mod markdown;
mod subject;

use std::path::PathBuf;

use pop_deploy_plugin_api::protocol::{Check, Command};
use serde::Serialize;
use serde_json::Value;

pub use file::{Saved, save};
pub use markdown::markdown;
pub use subject::Subject;

use self::events::Events;
use crate::{history::RollbackRecord, pipeline::look::Sight};

/// How bad it is, from what users may have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing that users see was changed.
    Low,
    /// A bad version was live, and no longer is.
    High,
    /// Nobody knows what is live, or it is half a release.
    Critical,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// An incident.
#[derive(Debug, Clone, Serialize)]
pub struct Incident {
    /// The version of this shape.
    pub v: u32,
    /// When it was noticed: the end of the run that failed or was gone back from.
    pub date: Option<String>,
    /// The target.
    pub target: String,
    /// The version that failed.
    pub failed_version: Option<String>,
    /// The version that was gone back to.
    pub rolled_back_to: Option<String>,
    /// How long going back took.
    pub rollback_duration_ms: Option<i64>,
    /// How bad it is.
    pub severity: Severity,
    /// The runs that it is about, in order.
    pub deployments: Vec<String>,
    /// What happened when.
    pub timeline: Vec<Moment>,
    /// What failed.
    pub failure: Failed,
    /// What was done by itself to go back.
    pub rollback: Option<RolledBack>,
    /// How long users may have seen the failed version, as a sentence.
    pub impact: String,
    /// How the target stands now.
    pub state: State,
    /// What to do next.
    pub next: Vec<Next>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When, local time.
    pub time: String,
    /// What, as a sentence.
    pub what: String,
}

/// What failed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Failed {
    /// The step or hook; absent where it failed before any, or a person went back.
    pub step: Option<String>,
    /// What it was doing.
    pub title: Option<String>,
    /// Why.
    pub error: Option<String>,
    /// What that came from.
    pub causes: Vec<String>,
    /// What to try, as the plugin says.
    pub hint: Option<String>,
    /// The exit code of its last command.
    pub exit_code: Option<i64>,
    /// The end of its output.
    pub output: Vec<String>,
    /// The health checks that were tried.
    pub health: Vec<Moment>,
}

/// What was done by itself to go back.
#[derive(Debug, Clone, Serialize)]
pub struct RolledBack {
    /// Whether everything is as it was.
    pub success: bool,
    /// The version it went back to.
    pub to_version: Option<String>,
    /// Each step that was taken back, as a sentence.
    pub steps: Vec<String>,
    /// Why it didn't work.
    pub error: Option<String>,
}

/// How a target stands.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    /// When it was read.
    pub read_at: String,
    /// The version that is live.
    pub live: Option<String>,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// Why it can't be read.
    pub error: Option<String>,
}

/// Something to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Next {
    /// Why.
    pub why: String,
    /// With which command.
    pub command: String,
}

impl State {
    /// What was seen now, or why nothing could be.
    pub fn of(sight: Result<Sight, String>) -> Self {
        let read_at = crate::journal::timestamp();
        match sight {
            Ok(sight) => Self {
                read_at,
                live: sight.live.map(|live| live.version.unwrap_or(live.id)),
                checks: sight.checks,
                error: None,
            },
            Err(error) => Self { read_at, live: None, checks: Vec::new(), error: Some(error) },
        }
    }
}

impl Incident {
    /// Everything that is known of it. `folders` are those of the subject's runs, in order.
    pub fn of(subject: &Subject<'_>, folders: &[PathBuf], state: State, environment: &str) -> Self {
        let events = Events::read(folders, subject.target);
        let record = subject.failed.filter(|record| record.error.is_some());
        let rollback =
            subject.failed.and_then(|record| record.rollback.as_ref()).map(|back| rolled_back(back, &events));
        let severity = subject.severity();
        let mut failure = events.failure();
        failure.error = failure.error.or_else(|| record.and_then(|record| record.error.clone()));
        let to_version = |back: &RolledBack| back.to_version.clone();
        Self {
            v: 1,
            date: subject.date().or_else(|| events.last_time()),
            target: subject.target.to_owned(),
            failed_version: subject.failed_version().or_else(|| events.version()),
            rolled_back_to: subject.rolled_back_to().or_else(|| rollback.as_ref().and_then(to_version)),
            rollback_duration_ms: subject.rollback_duration().or_else(|| events.rollback_duration()),
            severity,
            deployments: subject.runs(),
            timeline: events.timeline(),
            failure,
            rollback,
            impact: impact(severity, &events, state.live.as_deref()),
            next: next(subject, severity, environment),
            state,
        }
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn rolled_back(back: &RollbackRecord, events: &Events) -> RolledBack {
    RolledBack {
        success: back.success,
        to_version: back.to_version.clone().filter(|_| back.performed),
        steps: events.taken_back(),
        error: back.error.clone(),
    }
}

fn impact(severity: Severity, events: &Events, live: Option<&str>) -> String {
    let live =
        live.map_or("no single release of ours is live now".to_owned(), |live| format!("{live} is live now"));
    match (severity, events.exposure()) {
        (Severity::Low, _) => format!("Nothing that users see was changed; {live}."),
        (_, Some((from, Some(until)))) => {
            format!("Users may have seen the failed version from {from} until {until}; {live}.")
        }
        (_, Some((from, None))) => format!("Users may have seen the failed version since {from}; {live}."),
        (_, None) => format!("When users saw the failed version isn't known; {live}."),
    }
}

fn next(subject: &Subject<'_>, severity: Severity, environment: &str) -> Vec<Next> {
    let command = |words: &[&str], about_target: bool| {
        let mut words = words.to_vec();
        if about_target {
            words.extend(["--target", subject.target]);
        }
        if environment != crate::config::Environment::PRODUCTION {
            words.extend(["--environment", environment]);
        }
        Command::new(std::iter::once("pop-deploy").chain(words)).to_string()
    };
    let mut next = Vec::new();
    let mut step = |why: &str, command: String| next.push(Next { why: why.to_owned(), command });
    if subject.is_interrupted() {
        step("take the interrupted run back", command(&["rollback"], true));
    } else if severity == Severity::Critical {
        step("go back to the newest good version", command(&["rollback"], true));
    }
    step("look whether what is live is whole", command(&["verify"], true));
    if let Some(run) = subject.runs().first() {
        step("read the whole output", command(&["logs", run], false));
    }
    step("gather what the plugin knows of it", command(&["diagnose"], true));
    step("see what the next deployment would do", command(&["execute", "--dry-run"], true));
    next
}
