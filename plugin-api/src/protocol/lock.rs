//! Who is at work at a place, and taking it from a run that hangs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Command;
use crate::Error;

/// A part of a place at which one run at a time is at work: a folder, a base on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceLock {
    /// Which one, for people: `` `/srv/app` on `web1` ``.
    pub place: String,
    /// Whether somebody is at work there.
    #[serde(flatten)]
    pub state: LockState,
}

/// Whether somebody has a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LockState {
    /// Nobody has it.
    Free,
    /// A run has it.
    Held {
        /// The run.
        holder: PlaceHolder,
    },
    /// It can't be asked, or nobody could take it away.
    Unclear {
        /// Why, and what to try.
        error: Error,
    },
    /// A word that this version doesn't know.
    #[serde(other)]
    Unknown,
}

/// The run that is at work at a part of a place, as it is written down there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlaceHolder {
    /// Who started it: `user@host`, or the CI's run.
    pub owner: String,
    /// Its id. Runs of two folders may have the same one.
    pub run: String,
    /// Its target.
    pub target: String,
    /// Since when.
    pub since: String,
    /// Whether it is a run of the folder that this is asked for; absent where that isn't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours: Option<bool>,
}

/// What `unlock` is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlockRequest {
    /// The run that is to lose what it holds. Nothing is taken from any other.
    pub run: String,
    /// How many seconds a run that can be asked to stop gets to take itself back.
    #[serde(default)]
    pub wait: u64,
}

/// The command that takes from a run what it holds of a target, which `flags` name as a command line does.
pub fn unlock_command(run: &str, flags: &str) -> String {
    format!("{}{flags}", Command::new(["pop-deploy", "unlock", "--force", "--run-id", run]))
}

impl fmt::Display for PlaceHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, run, target, since, ours: _ } = self;
        write!(f, "{owner} (target `{target}`, run `{run}`, since {since})")
    }
}

impl LockState {
    /// The run that has it.
    pub fn holder(&self) -> Option<&PlaceHolder> {
        match self {
            Self::Held { holder } => Some(holder),
            Self::Free | Self::Unclear { .. } | Self::Unknown => None,
        }
    }

    /// Whether that run has it.
    pub fn is_held_by(&self, run: &str) -> bool {
        self.holder().is_some_and(|holder| holder.run == run)
    }
}
