//! What a journal's lines say.

use std::path::PathBuf;

use pop_deploy_plugin_api::{
    Error,
    protocol::{Release, Step, StepReceipt, Undo, Unreachable},
};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Environment;

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// Brings a new release to its targets.
    Deploy,
    /// Makes a former release live again.
    Rollback,
    /// Takes back what an interrupted run left. Also what a newer word reads as.
    #[serde(other)]
    Undo,
}

/// How long a canary waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Until its plugin has watched it for long enough.
    Verdict,
    /// Until somebody says `promote` or `abort`. Also what a newer word reads as.
    #[serde(other)]
    Manual,
}

/// What is known of a run when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// What it is for.
    pub kind: RunKind,
    /// The names of its targets, in order.
    pub targets: Vec<String>,
    /// The target to name, so that a command is about this run; absent where one of its targets is meant anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_name: Option<String>,
    /// Where it takes place.
    #[serde(default)]
    pub environment: Environment,
    /// `user@host`, or the CI's run.
    #[serde(default)]
    pub actor: String,
    /// The command line, redacted, so that messages can repeat it.
    #[serde(default)]
    pub command: String,
    /// The version that it brings or goes back to.
    #[serde(default)]
    pub version: Option<String>,
    /// The commit that it brings.
    #[serde(default)]
    pub commit: Option<String>,
    /// How long its canary waits; absent where it goes all the way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Until>,
    /// What becomes of hosts that it can't reach.
    #[serde(default, skip_serializing_if = "fails")]
    pub unreachable: Unreachable,
}

fn fails(unreachable: &Unreachable) -> bool {
    *unreachable == Unreachable::Fails
}

/// What is known of a target once it is planned: all that a later rollback needs beside the receipts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedTarget {
    /// Its name in deploy.json.
    pub target: String,
    /// Its type.
    pub kind: String,
    /// The plugin's id.
    pub plugin: String,
    /// The plugin's version.
    pub plugin_version: Version,
    /// The plugin's file as it was found; the private copy may be gone later.
    #[serde(default)]
    pub plugin_path: Option<PathBuf>,
    /// The place itself, as the plan named it.
    pub identity: String,
    /// The target's config as the plugin got it: secrets are references.
    pub config: Value,
    /// The release that the run makes, or goes back to.
    pub release: Release,
    /// What was live before.
    #[serde(default)]
    pub from: Option<Release>,
    /// The digest of the stored plan, as [`Journal::store_plan`](super::Journal::store_plan) gave it.
    #[serde(default)]
    pub plan_digest: String,
}

impl RunInfo {
    /// What a command line needs to be about this run: nothing, or ` --target NAME --environment NAME`.
    pub fn flags(&self) -> String {
        let environment = &self.environment;
        self.to_name.as_ref().map_or_else(|| environment.flag(), |name| environment.flags(name))
    }
}

/// How a target ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetEnding {
    /// It was never begun.
    Skipped,
    /// Staged and never switched: another target's failure came first.
    Staged,
    /// Live for a part, and waiting for a verdict.
    CanaryOpen,
    /// Live and verified.
    Verified,
    /// Switched, then taken back.
    RolledBack,
    /// Taking it back failed.
    RollbackFailed,
    /// It failed, and nothing live changed.
    Failed,
    /// Nobody knows. Also what a newer word reads as.
    #[serde(other)]
    Unknown,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnding {
    /// Everything went well.
    Succeeded,
    /// It failed, and nothing live changed.
    Failed,
    /// It failed after a switch, and all went back.
    RolledBack,
    /// Some targets are on the new release, some aren't.
    Partial,
    /// A person ended it before anything was begun.
    Aborted,
    /// A canary waits for its verdict.
    CanaryOpen,
    /// Another run finished what this one left open.
    Mended,
    /// A rollback failed or the state is unknown: a person is needed. Also what a newer word reads as.
    #[serde(other)]
    Stuck,
}

/// One thing that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The run begins. Written by [`Journal::create`](super::Journal::create).
    RunStarted(RunInfo),
    /// A target is planned; again where a plan was taken back, of which nothing counts any more.
    TargetPlanned(PlannedTarget),
    /// A step is about to run, from here on the place may have changed.
    Intent {
        /// The target.
        target: String,
        /// The step as it was planned.
        step: Step,
    },
    /// A step is done.
    Receipt {
        /// The target.
        target: String,
        /// What it left behind.
        receipt: StepReceipt,
    },
    /// A step failed; how much of it took effect, only the place knows.
    StepFailed {
        /// The target.
        target: String,
        /// The step's id.
        step: String,
        /// Why.
        error: Error,
    },
    /// A step is about to be taken back.
    UndoBegun {
        /// The target.
        target: String,
        /// The step's id.
        step: String,
    },
    /// Taking a step back ended.
    Undone {
        /// The target.
        target: String,
        /// The step's id.
        step: String,
        /// How.
        outcome: Undo,
    },
    /// A target is through.
    TargetEnded {
        /// The target.
        target: String,
        /// How.
        ending: TargetEnding,
    },
    /// Somebody took the run's lock while it was alive, and ended it.
    LockTaken {
        /// `user@host`, or the CI's run.
        by: String,
    },
    /// The run is through. A journal without it, whose run isn't alive, is that of an interrupted run.
    RunEnded {
        /// How.
        ending: RunEnding,
    },
    /// A word that this version doesn't know.
    #[serde(other)]
    Unknown,
}

impl Entry {
    /// A step is about to run.
    pub fn intent(target: &str, step: &Step) -> Self {
        Self::Intent { target: target.to_owned(), step: step.clone() }
    }

    /// A step is done.
    pub fn receipt(target: &str, receipt: &StepReceipt) -> Self {
        Self::Receipt { target: target.to_owned(), receipt: receipt.clone() }
    }

    /// A step failed.
    pub fn failed(target: &str, step: &str, error: &Error) -> Self {
        Self::StepFailed { target: target.to_owned(), step: step.to_owned(), error: error.clone() }
    }

    /// A step is about to be taken back.
    pub fn undo_begun(target: &str, step: &str) -> Self {
        Self::UndoBegun { target: target.to_owned(), step: step.to_owned() }
    }

    /// Taking a step back ended.
    pub fn undone(target: &str, step: &str, result: Result<&str, &Error>) -> Self {
        let outcome = match result {
            Ok(summary) => Undo::Undone { summary: summary.to_owned() },
            Err(error) => Undo::Unknown { why: error.message.clone() },
        };
        Self::Undone { target: target.to_owned(), step: step.to_owned(), outcome }
    }

    /// Whether the entry must be on the disk before anything else happens: all but those that only explain.
    pub(super) fn is_promise(&self) -> bool {
        !matches!(self, Self::StepFailed { .. } | Self::Unknown)
    }
}

/// A line: an entry and when it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Local time with offset, ISO 8601 with microseconds.
    pub(super) time: String,
    #[serde(flatten)]
    pub(super) entry: Entry,
}
