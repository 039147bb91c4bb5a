//! The plan: typed steps that dry run, execute and rollback all walk.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Check, Command, Release};

/// When a step runs. The order of the variants is the order of the phases.
///
/// No target enters [`Switch`](Phase::Switch) before every selected one has staged, none enters
/// [`Finalize`](Phase::Finalize) before every one is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Takes locks and looks again; changes nothing that users see or need. Walked again, in a new worker, when a run is
    /// taken up again: the locks went with the old one.
    Preflight,
    /// Makes the artefact in the project.
    Build,
    /// Brings the artefact to the place, beside what is live. Undo: removes it again.
    Stage,
    /// The one cheap, reversible step that makes it live. Undo: switches back.
    Switch,
    /// Looks whether what is live is what was meant, and works.
    Verify,
    /// Deletes what is no longer needed. The only phase that may; has no undo, and a failure is a warning.
    Finalize,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 6] =
        [Self::Preflight, Self::Build, Self::Stage, Self::Switch, Self::Verify, Self::Finalize];

    /// The name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Build => "build",
            Self::Stage => "stage",
            Self::Switch => "switch",
            Self::Verify => "verify",
            Self::Finalize => "finalize",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a step does to the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Something new appears.
    Create,
    /// Something is changed where it is.
    Update,
    /// Something gives way to something else.
    Replace,
    /// Something goes.
    Delete,
    /// Nothing changes.
    None,
    /// Only running can tell. Also what a newer word reads as.
    #[serde(other)]
    Maybe,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Short and unique within the plan: `build`, `stage`, `switch`. What stands behind a colon tells a step from others
    /// of its kind, as in `push:latest`.
    pub id: String,
    /// When it runs.
    pub phase: Phase,
    /// What it does to the place.
    pub effect: Effect,
    /// What people read while it runs, in the -ing form: `Staging 1,204 files (18 changed)`.
    pub title: String,
    /// Why it is in the plan.
    #[serde(default)]
    pub reason: String,
    /// The commands it will run, in order. A step that runs any other command fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    /// Every name it is about to create, so that a crash leaves nothing unaccounted for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub creates: Vec<String>,
    /// Whether no undo can take it back; the plan and a rollback say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub irreversible: bool,
    /// Seconds that it waits on purpose, on top of what its phase may take: a canary being watched.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold: u64,
    /// Whether what it leaves is a canary that a person may want to judge. With `--until manual` the run ends here,
    /// open; `promote` walks on with the next step, `abort` takes all steps back. A plan for
    /// [`Rollout::Canary`](super::Rollout::Canary) has at least one such step, before the one that goes all the way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_verdict: bool,
    /// The plugin's own: what the step needs to run and, after a crash, to be undone (the state before).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

impl Step {
    /// A step with neither commands nor data.
    pub fn new(id: &str, phase: Phase, effect: Effect, title: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            phase,
            effect,
            title: title.into(),
            reason: String::new(),
            commands: Vec::new(),
            creates: Vec::new(),
            irreversible: false,
            hold: 0,
            awaits_verdict: false,
            data: Value::Null,
        }
    }

    /// Says why the step is there.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Attaches what the step needs to run, or to be undone by a fresh worker.
    ///
    /// # Panics
    /// If `data` can't be JSON (a map with keys that aren't strings): a mistake in the plugin's own types.
    #[must_use]
    #[allow(clippy::expect_used, reason = "documented: only a plugin's own type can cause it")]
    pub fn data(mut self, data: impl Serialize) -> Self {
        self.data = serde_json::to_value(data).expect("step data is representable as JSON");
        self
    }
}

/// One thing that would change: a file, a container, a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// How it changes.
    pub effect: Effect,
    /// What changes: a path, a name.
    pub what: String,
    /// More about it, for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Something that could not be checked, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What was to be checked.
    pub what: String,
    /// Why it couldn't be.
    pub why: String,
}

/// What a plugin proposes to do, from reading alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The place itself, independent of how it is reached: two targets with one identity would fight over it.
    pub identity: String,
    /// Digest of everything the plan was made from; a resumed run refuses when it differs.
    pub fingerprint: String,
    /// What is live there now.
    #[serde(default)]
    pub live: Option<Release>,
    /// The steps, in the order they run; their phases never go backwards.
    pub steps: Vec<Step>,
    /// What would change, one by one.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// What was checked; a failed one fails the preflight.
    #[serde(default)]
    pub checked: Vec<Check>,
    /// What could not be checked.
    #[serde(default)]
    pub unchecked: Vec<Note>,
    /// One sentence that sums the changes up: `3 added, 15 changed, 1 removed, 1,185 unchanged`.
    #[serde(default)]
    pub summary: String,
    /// What reports carry along of the plugin's own, by name: the image, its tags. Receipts add theirs.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Value>,
}
