//! Releases, and the receipts that make them undoable.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Verdict;

/// A release: one version of the project, as one deployment brought it to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The deployment that made it. Letters, digits and `-` only: safe as a file or container name.
    pub id: String,
    /// The project's version, where it has one. Untrusted: any text.
    #[serde(default)]
    pub version: Option<String>,
    /// The commit it was made from, where there is one.
    #[serde(default)]
    pub commit: Option<String>,
}

/// Whether a step changed the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything was as it should be already.
    Unchanged,
    /// There was a reason not to run it; the summary says which.
    Skipped,
    /// It did. Also what a newer word reads as.
    #[serde(other)]
    Changed,
}

/// What a step leaves behind when it is done. At most 1 MiB of JSON; secrets only as references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The plugin's own number for the shape of `data`; it reads all its older ones.
    #[serde(default)]
    pub schema: u32,
    /// Whether the step changed the place.
    pub outcome: Outcome,
    /// What people read behind the step's title: `18 copied, 1,186 linked`. May be empty.
    #[serde(default)]
    pub summary: String,
    /// What undo and a later rollback need.
    #[serde(default)]
    pub data: Value,
    /// What reports carry along of the plugin's own, by name: the digest. It stands beside the plan's, or instead.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Value>,
    /// What a watched canary came to, in the step that watched it. Inconclusive: the run ends here, open, for a person
    /// to judge. A bad one is the step's error, not a receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Parts of the place that failed as the config allows, and that nobody could take back: what is left and what mends
    /// it, a line each. The release is live in the rest, so the run goes on to its end, and says then that a person is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub astray: Vec<String>,
}

impl Receipt {
    /// A receipt without data.
    pub fn new(outcome: Outcome, summary: impl Into<String>) -> Self {
        Self {
            schema: 1,
            outcome,
            summary: summary.into(),
            data: Value::Null,
            facts: Map::new(),
            verdict: None,
            astray: Vec::new(),
        }
    }

    /// Attaches what undo and a later rollback need.
    ///
    /// # Panics
    /// If `data` can't be JSON (a map with keys that aren't strings): a mistake in the plugin's own types.
    #[must_use]
    #[allow(clippy::expect_used, reason = "documented: only a plugin's own type can cause it")]
    pub fn data(mut self, data: impl Serialize) -> Self {
        self.data = serde_json::to_value(data).expect("receipt data is representable as JSON");
        self
    }

    /// Adds something that reports carry along.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Says what the watched canary came to.
    #[must_use]
    pub fn verdict(mut self, verdict: Verdict) -> Self {
        self.verdict = Some(verdict);
        self
    }

    /// Says what was left in a state that nobody knows.
    #[must_use]
    pub fn astray(mut self, astray: Vec<String>) -> Self {
        self.astray = astray;
        self
    }
}

/// A receipt as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReceipt {
    /// The step that gave it.
    pub step: String,
    /// The version of the plugin that gave it.
    pub plugin_version: semver::Version,
    /// The receipt.
    pub receipt: Receipt,
}

/// A verified release of the past, with what the run that made it left behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastRelease {
    /// Which one.
    pub release: Release,
    /// The identity of the place it went to; absent where the run's journal is gone.
    #[serde(default)]
    pub identity: Option<String>,
    /// The receipts of its run; empty where the run's journal is gone.
    #[serde(default)]
    pub receipts: Vec<StepReceipt>,
}
