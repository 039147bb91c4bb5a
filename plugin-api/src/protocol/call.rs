//! The methods of a session: what each is asked, what it answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PastRelease, Receipt, Release, Step, StepReceipt, unlock_command};

/// Method names, as they cross the boundary.
pub mod method {
    /// Reads the place. `()` → [`Status`](super::Status).
    pub const STATUS: &str = "status";
    /// Makes a plan. [`PlanRequest`](super::PlanRequest) → [`Plan`](super::super::Plan).
    pub const PLAN: &str = "plan";
    /// Runs a step. [`RunRequest`](super::RunRequest) → [`Receipt`](super::Receipt).
    pub const RUN: &str = "run";
    /// Takes a step back. [`UndoRequest`](super::UndoRequest) → [`Undo`](super::Undo).
    pub const UNDO: &str = "undo";
    /// Gathers what helps to understand a failure. `()` → a list of [`Diagnostic`](super::Diagnostic).
    pub const DIAGNOSE: &str = "diagnose";
    /// Says which releases are kept at the place. `()` → a list of [`Release`](super::super::Release).
    pub const KEPT: &str = "kept";
    /// Says who is at work at the place. `()` → a list of [`PlaceLock`](super::super::PlaceLock).
    pub const LOCKS: &str = "locks";
    /// Takes the place from a run that hangs. [`UnlockRequest`](super::super::UnlockRequest) → a list of
    /// [`PlaceLock`](super::super::PlaceLock).
    pub const UNLOCK: &str = "unlock";
    /// Asked of the plugin itself, under the session number 0, before there is a target: what it would propose for
    /// a project. The project's folder → an optional [`Proposal`](super::Proposal).
    pub const DETECT: &str = "detect";
    /// Asked of the host: the value behind a secret reference.
    pub const SECRET: &str = "secret";
}

/// Names in [`Manifest::capabilities`](super::Manifest::capabilities) that the host acts on.
pub mod capability {
    /// It plans a [`Rollout::Canary`](super::Rollout::Canary). The host never asks one of a plugin without it: that one
    /// would deploy in full.
    pub const CANARY: &str = "canary";
    /// It says which releases are kept at its place. The host never asks a plugin without it.
    pub const KEPT: &str = "kept";
    /// It says who is at work at its place, and takes it from a run that hangs. The host asks neither of a plugin without it.
    pub const UNLOCK: &str = "unlock";
}

/// What a session knows of its run and project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetContext {
    /// The target's name in deploy.json.
    pub target: String,
    /// The project's name.
    pub project_name: String,
    /// The project folder, absolute. Relative paths in a config are relative to it.
    pub project: PathBuf,
    /// A folder for this session's temporary files; gone afterwards.
    pub scratch: PathBuf,
    /// Our own data folder, which never goes along to any place.
    pub data: PathBuf,
    /// Whether writing anywhere but `scratch` is forbidden: a dry run, a status, a plan. On Linux the kernel sees to
    /// it, for the programs that the plugin runs too: whoever tries gets EACCES, and set-user-id programs gain
    /// nothing. `TMPDIR` lies in `scratch` then. Sockets aren't confined: a plugin must not ask an engine for changes.
    pub read_only: bool,
    /// Whether hooks of the user run between the plan and the stage: what is shipped may still change, as after a
    /// build, and the stage step looks again.
    #[serde(default)]
    pub source_may_change: bool,
    /// Who deploys: `user@host`, or the CI's run.
    pub actor: String,
    /// The run's id, as journal and lock holders name it.
    pub run_id: String,
    /// For a look at what is live: the canary that waits for a verdict there, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<OpenCanary>,
    /// What a command line needs to mean this target: ` --target web --environment staging`. Empty where the host is of
    /// an older make.
    #[serde(default)]
    pub flags: String,
}

impl TargetContext {
    /// The command that takes this target from a run that hangs; none where the host is of an older make, which has no such
    /// command.
    pub fn unlock_command(&self, run: &str) -> Option<String> {
        (!self.flags.is_empty()).then(|| unlock_command(run, &self.flags))
    }
}

/// A canary that waits for a verdict: a part of the place is meant to have its release, the rest what was live before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenCanary {
    /// Its release.
    pub release: Release,
    /// Its steps that are done, as they were planned.
    pub steps: Vec<Step>,
}

/// What `open` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// The run and the project.
    pub context: TargetContext,
    /// The target's `config`, as deploy.json has it; secrets are still references.
    pub config: Value,
}

/// What a plan is to achieve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "snake_case")]
pub enum PlanRequest {
    /// Bring the project as it is now to the place.
    Deploy {
        /// The release to make.
        release: Release,
        /// How far the first switch goes. Asked to be [`Rollout::Canary`] of plugins that have
        /// [`capability::CANARY`] only.
        #[serde(default)]
        rollout: Rollout,
        /// What becomes of hosts that can't be reached. Places that are one need not look at it.
        #[serde(default)]
        unreachable: Unreachable,
    },
    /// Make a former release live again; builds nothing.
    Rollback {
        /// Where to go.
        to: PastRelease,
        /// What history says is live.
        #[serde(default)]
        from: Option<Release>,
    },
}

/// How far a deployment's first switch goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rollout {
    /// All the way at once.
    #[default]
    Full,
    /// To a part of the users or hosts first, which is watched; see [`Step::awaits_verdict`](super::Step::awaits_verdict).
    Canary,
}

/// What a deployment makes of a host that can't be reached, where a place has several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreachable {
    /// Nothing is deployed anywhere.
    #[default]
    Fails,
    /// It stays behind, as plan and receipts say; the others are deployed to.
    StaysBehind,
}

/// What becomes of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is as good as it should be: go on.
    Promote,
    /// It is bad: take it back.
    Rollback,
    /// Not enough could be measured to tell. Also what a newer word reads as.
    #[serde(other)]
    Inconclusive,
}

/// What `run` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The very step of the plan.
    pub step: Step,
    /// The release that the run makes or goes back to.
    pub release: Release,
    /// The receipts of the steps before it, in order.
    #[serde(default)]
    pub receipts: Vec<StepReceipt>,
}

/// What `undo` is given: the intent, and the receipt where the step came that far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoRequest {
    /// The step as it was planned.
    pub step: Step,
    /// The release that the run was making.
    pub release: Release,
    /// What the step left behind; absent after a crash within it.
    #[serde(default)]
    pub receipt: Option<Receipt>,
}

/// How taking a step back ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Undo {
    /// The place is as it was before the step.
    Undone {
        /// What was done, for people; may be empty.
        #[serde(default)]
        summary: String,
    },
    /// There was nothing to take back.
    Nothing,
    /// The place could not be brought, or read, back: a person is needed.
    Unknown {
        /// What is left where, and how to mend it.
        why: String,
    },
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// As it should be.
    Pass,
    /// Worth a look.
    Warn,
    /// Wrong.
    Fail,
    /// Not applicable, or not possible here. Also what a newer word reads as.
    #[serde(other)]
    Skip,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Short and stable: `source`, `live_tree`.
    pub name: String,
    /// How it ended.
    pub status: CheckStatus,
    /// What was found, as a sentence.
    pub message: String,
    /// What to try; for failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Check {
    /// A check that ended as `status`.
    pub fn new(name: &str, status: CheckStatus, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status, message: message.into(), hint: None }
    }

    /// As it should be.
    pub fn pass(name: &str, message: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Pass, message)
    }

    /// Worth a look.
    pub fn warn(name: &str, message: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Warn, message)
    }

    /// Wrong, and what to try.
    pub fn fail(name: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Fail, message).hint(hint)
    }

    /// Says what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What is at the place now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The place itself; see [`Plan::identity`](super::Plan::identity).
    pub identity: String,
    /// What is live, where it is one of ours.
    #[serde(default)]
    pub live: Option<Release>,
    /// What was looked at.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// A piece of what helps to understand a failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Where it comes from: `docker_logs`, `releases`.
    pub source: String,
    /// What it says.
    pub data: Value,
}

/// A target that a plugin would propose for a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The target's name.
    pub name: String,
    /// Its type, where it isn't the name.
    pub kind: String,
    /// Its config.
    pub config: Value,
    /// What in the project spoke for it.
    pub because: String,
}
