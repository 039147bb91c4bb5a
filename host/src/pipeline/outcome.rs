//! How things end: closed sets, each ending with an exit code, and the report that gathers them.

use std::{path::PathBuf, time::Duration};

use pop_deploy_plugin_api::{
    Error,
    protocol::{Command, Outcome, Phase, Plan, Release, Rollout, Status, Step},
};
use serde_json::{Map, Value};

use crate::{
    config::Environment,
    exit::Exit,
    journal::{self, Until},
};

/// What a run is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Plan only; nothing is written anywhere.
    DryRun,
    /// Bring the project to its targets.
    Deploy,
    /// Make a former release live again.
    Rollback,
    /// Plan a rollback only.
    RollbackDryRun,
    /// Take an interrupted run back.
    Recovery,
    /// Finish an interrupted run.
    Resume,
    /// Bring the project to a part of its targets' users or hosts first.
    Canary(Until),
    /// Plan a canary only.
    CanaryDryRun,
    /// Have an open canary go all the way.
    Promote,
    /// Show what promoting it would do.
    PromoteDryRun,
    /// Take an open canary back.
    Abort,
    /// Show what taking it back would do.
    AbortDryRun,
}

impl Mode {
    /// Whether nothing may be written.
    pub fn is_dry(self) -> bool {
        matches!(
            self,
            Self::DryRun
                | Self::RollbackDryRun
                | Self::CanaryDryRun
                | Self::PromoteDryRun
                | Self::AbortDryRun
        )
    }

    /// How far the first switch of its plan goes.
    pub fn rollout(self) -> Rollout {
        match self {
            Self::Canary(_) | Self::CanaryDryRun => Rollout::Canary,
            _ => Rollout::Full,
        }
    }

    /// The name, for people and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::DryRun => "dry run",
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::RollbackDryRun => "rollback, dry run",
            Self::Recovery => "recovery",
            Self::Resume => "resume",
            Self::Canary(_) => "canary",
            Self::CanaryDryRun => "canary, dry run",
            Self::Promote => "promote",
            Self::PromoteDryRun => "promote, dry run",
            Self::Abort => "abort",
            Self::AbortDryRun => "abort, dry run",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every target has what was wanted.
    Succeeded,
    /// A dry run came to its end; `pending` says whether anything would change.
    Planned {
        /// Whether anything would change.
        pending: bool,
    },
    /// A part of one target has the new release, and somebody is to judge it.
    CanaryOpen {
        /// Whether that was asked for. Else it couldn't be judged, and waits as the configuration says.
        wanted: bool,
    },
    /// The configuration or a plugin's part of it is wrong; nothing was tried.
    Refused,
    /// A place or the project isn't ready; nothing was changed.
    NotReady,
    /// Somebody else holds a target; nothing was changed.
    Locked,
    /// The release to go back to is gone; nothing was changed.
    NoRelease,
    /// It failed before anything live changed, and what was staged is gone again.
    FailedBeforeLive,
    /// Something live changed, and everything that did is back where it was.
    RolledBack,
    /// Some targets have what was wanted, others don't: the policy said to go on, or not to roll back.
    Partial,
    /// A rollback failed, or nobody knows how a target stands: a person is needed.
    Stuck,
    /// A signal ended it, and it was taken back as far as the policy says.
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
}

impl Ending {
    /// The exit code for people and CI.
    pub fn exit(self) -> Exit {
        match self {
            Self::Succeeded | Self::Planned { .. } | Self::CanaryOpen { wanted: true } => Exit::Done,
            Self::CanaryOpen { wanted: false } => Exit::Partial,
            Self::Refused => Exit::Usage,
            Self::NotReady => Exit::NotReady,
            Self::Locked => Exit::Locked,
            Self::NoRelease => Exit::NoRelease,
            Self::FailedBeforeLive => Exit::Failed,
            Self::RolledBack => Exit::RolledBack,
            Self::Partial => Exit::Partial,
            Self::Stuck => Exit::Stuck,
            Self::Interrupted { signal } => Exit::Signal(signal),
        }
    }

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Planned { .. } => "planned",
            Self::CanaryOpen { .. } => "canary_open",
            Self::Refused => "refused",
            Self::NotReady => "not_ready",
            Self::Locked => "locked",
            Self::NoRelease => "no_release",
            Self::FailedBeforeLive => "failed",
            Self::RolledBack => "rolled_back",
            Self::Partial => "partial",
            Self::Stuck => "stuck",
            Self::Interrupted { .. } => "interrupted",
        }
    }

    /// Whether the run did what it was asked to.
    pub fn is_success(self) -> bool {
        self.exit() == Exit::Done
    }
}

/// How a target ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetEnding {
    /// Nothing of its plan was done, or all of it was taken back before it went live.
    Skipped,
    /// It is staged but was not switched.
    Staged,
    /// The release is live for a part, and waits for a verdict.
    CanaryOpen,
    /// The release is live and verified.
    Verified,
    /// The release is live and verified, but for a part that failed and couldn't be taken back.
    Astray,
    /// Its release was live, and is no longer.
    RolledBack,
    /// A step of it failed before it went live, and nothing of it is left, unless somebody took the place from it.
    Failed,
    /// It failed while live and was left so, as the configuration says.
    LeftLive,
    /// Taking it back failed.
    RollbackFailed,
    /// Nobody knows how it stands.
    Unknown,
}

impl TargetEnding {
    /// The name in JSON and journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Staged => "staged",
            Self::CanaryOpen => "canary_open",
            Self::Verified => "verified",
            Self::Astray => "astray",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::LeftLive => "left_live",
            Self::RollbackFailed => "rollback_failed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the release is live and counts as good.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Verified | Self::Astray)
    }

    /// The journal's word for it.
    pub fn in_journal(self) -> journal::TargetEnding {
        match self {
            Self::Skipped => journal::TargetEnding::Skipped,
            Self::Staged => journal::TargetEnding::Staged,
            Self::CanaryOpen => journal::TargetEnding::CanaryOpen,
            Self::Verified => journal::TargetEnding::Verified,
            Self::RolledBack => journal::TargetEnding::RolledBack,
            Self::Failed => journal::TargetEnding::Failed,
            Self::RollbackFailed => journal::TargetEnding::RollbackFailed,
            Self::LeftLive | Self::Astray | Self::Unknown => journal::TargetEnding::Unknown,
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone)]
pub enum StepEnding {
    /// It did its work; the text is its summary.
    Done(Outcome, String),
    /// It failed.
    Failed(Error),
    /// It did not run: an earlier step failed, or this is a dry run.
    NotRun,
}

/// A step as it went.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// Its id.
    pub id: String,
    /// Its phase.
    pub phase: Phase,
    /// What it does, in the -ing form.
    pub title: String,
    /// The commands it stands for.
    pub commands: Vec<Command>,
    /// How it ended.
    pub ending: StepEnding,
    /// The exit code of the last command it ran; absent where it ran none, or a signal ended it.
    pub exit_code: Option<i32>,
    /// How long it took.
    pub took: Duration,
}

impl StepReport {
    /// A step of a plan that didn't run.
    pub fn not_run(step: &Step) -> Self {
        Self {
            id: step.id.clone(),
            phase: step.phase,
            title: step.title.clone(),
            commands: step.commands.clone(),
            ending: StepEnding::NotRun,
            exit_code: None,
            took: Duration::ZERO,
        }
    }
}

/// What was done to take a target back.
#[derive(Debug, Clone, Default)]
pub struct RollbackReport {
    /// The steps that were taken back, newest first, with what was done or went wrong.
    pub steps: Vec<(String, Result<String, Error>)>,
}

impl RollbackReport {
    /// Whether every step was taken back.
    pub fn success(&self) -> bool {
        self.steps.iter().all(|(_, result)| result.is_ok())
    }

    /// The first thing that went wrong.
    pub fn error(&self) -> Option<&Error> {
        self.steps.iter().find_map(|(_, result)| result.as_ref().err())
    }
}

/// A target as it went.
#[derive(Debug, Clone)]
pub struct TargetReport {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub ending: TargetEnding,
    /// The release that was to be made, or gone back to.
    pub release: Release,
    /// What was live before, as the plugin read it.
    pub before: Option<Release>,
    /// The plan that was walked; absent where none could be made.
    pub plan: Option<Plan>,
    /// Its steps, in order.
    pub steps: Vec<StepReport>,
    /// Whether users saw the new release at any time.
    pub was_live: bool,
    /// What went wrong first.
    pub error: Option<Error>,
    /// What was done to take it back, where that was tried.
    pub rollback: Option<RollbackReport>,
    /// How the place stood after that, where it was asked: others may have deployed since the plan was made.
    pub after: Option<Status>,
    /// What the plugin has reports carry along, by name.
    pub facts: Map<String, Value>,
    /// How long it took, planning included.
    pub took: Duration,
}

impl TargetReport {
    /// Whether it was live and everything is back where it was.
    pub fn is_back(&self) -> bool {
        self.rollback.as_ref().is_some_and(RollbackReport::success)
    }

    /// What is live since it was taken back: as it was seen, else what was before.
    pub fn live_since(&self) -> Option<&Release> {
        self.after.as_ref().map_or(self.before.as_ref(), |after| after.live.as_ref())
    }

    /// Whether something else was seen live than before.
    pub fn was_overtaken(&self) -> bool {
        let id = |release: Option<&Release>| release.map(|release| release.id.clone());
        id(self.live_since()) != id(self.before.as_ref())
    }

    /// Whether any step was begun.
    pub fn was_begun(&self) -> bool {
        self.steps.iter().any(|step| !matches!(step.ending, StepEnding::NotRun))
    }
}

/// A run as it went: what reporters show at the end, and what the history keeps.
#[derive(Debug, Clone)]
pub struct Report {
    /// The run's id.
    pub run: String,
    /// What it was to do.
    pub mode: Mode,
    /// Where, if deploy.json has several environments.
    pub environment: Option<Environment>,
    /// How it ended.
    pub ending: Ending,
    /// Its targets, in file order.
    pub targets: Vec<TargetReport>,
    /// What went wrong first, wherever that was.
    pub error: Option<Error>,
    /// Where the whole output is; absent for dry runs.
    pub log: Option<PathBuf>,
    /// How long it took.
    pub took: Duration,
}
