//! One record of deploy.json's `history`.

use serde::Serialize;
use serde_json::Value;

/// How a run ended for a target, in the wrapper's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The version is verified and live.
    Success,
    /// It isn't; [`Record::rollback`] and [`Record::switched`] say what is.
    Failed,
    /// A person went back to [`Record::rollback_to`].
    RolledBack,
    /// The version is live for a part, until somebody judges it; another record of the same run then says how that
    /// ended. What is live is what was before.
    CanaryOpen,
}

impl Status {
    /// The word, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::CanaryOpen => "canary_open",
        }
    }
}

/// A record. Writers fill in what they know; readers count on nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Record {
    /// When the run ended: ISO 8601, local time with offset.
    pub timestamp: Option<String>,
    /// The target.
    pub target: Option<String>,
    /// The version that the run was to bring: also that of a rollback that failed. Of a `rolled_back` record the one
    /// rolled back from.
    pub version: Option<String>,
    /// How it ended. Nothing where a newer word stands there; such a record counts for nothing.
    pub status: Option<Status>,
    /// The commit of `version`.
    pub commit_sha: Option<String>,
    /// How long the run took.
    pub duration_ms: Option<u64>,
    /// Why it failed; failed only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The version that is live since; rolled_back only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<String>,
    /// The deployment that made the release of `rollback_to`; rolled_back only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_to_id: Option<String>,
    /// The run's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    /// Who: `user@host`, or the CI's run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Whether the switch was begun; failed only. False: what was live before stayed live throughout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched: Option<bool>,
    /// What was done to go back to what was live before; failed only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackRecord>,
    /// The record as it stands in the file, with what others keep there. Never written.
    #[serde(skip)]
    pub raw: Value,
}

/// What a failed run did to go back.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RollbackRecord {
    /// Whether it went back. False also where another release was live by then: that one stayed so.
    pub performed: bool,
    /// Whether nothing is left of the run.
    pub success: bool,
    /// The version that is live since; nothing where nothing is, or it has no version.
    pub to_version: Option<String>,
    /// The deployment that made that release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_id: Option<String>,
    /// The steps of the rollback, as the report has them.
    pub steps: Vec<Value>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Record {
    /// Reads whatever is there; a field of another type reads as absent.
    pub(super) fn from_value(raw: &Value) -> Self {
        let text = |key: &str| raw.get(key).and_then(Value::as_str).map(str::to_owned);
        let status = match raw.get("status").and_then(Value::as_str) {
            Some("success") => Some(Status::Success),
            Some("failed") => Some(Status::Failed),
            Some("rolled_back") => Some(Status::RolledBack),
            Some("canary_open") => Some(Status::CanaryOpen),
            _ => None,
        };
        let duration = raw.get("duration_ms").and_then(|value| {
            value.as_u64().or_else(|| value.as_f64().filter(|ms| *ms >= 0.0).map(|ms| ms as u64))
        });
        Self {
            timestamp: text("timestamp"),
            target: text("target"),
            version: text("version"),
            status,
            commit_sha: text("commit_sha"),
            duration_ms: duration,
            error: text("error"),
            rollback_to: text("rollback_to"),
            rollback_to_id: text("rollback_to_id"),
            deployment_id: text("deployment_id"),
            actor: text("actor"),
            switched: raw.get("switched").and_then(Value::as_bool),
            rollback: raw.get("rollback").filter(|value| value.is_object()).map(RollbackRecord::from_value),
            raw: raw.clone(),
        }
    }

    /// Whether it says how a run ended: one of a canary that was open, or with a word of a newer version, doesn't.
    pub(super) fn is_verdict(&self) -> bool {
        self.status.is_some_and(|status| status != Status::CanaryOpen)
    }

    /// Whether this run's version was rolled away from automatically.
    pub(super) fn went_bad(&self) -> bool {
        self.status == Some(Status::Failed) && self.rollback.as_ref().is_some_and(|back| back.performed)
    }

    /// Whether the run failed and an automatic rollback mended it.
    pub(super) fn was_mended(&self) -> bool {
        self.status == Some(Status::Failed) && self.rollback.as_ref().is_some_and(|back| back.success)
    }
}

impl RollbackRecord {
    fn from_value(raw: &Value) -> Self {
        let text = |key: &str| raw.get(key).and_then(Value::as_str).map(str::to_owned);
        let flag = |key: &str| raw.get(key).and_then(Value::as_bool);
        let success = flag("success").unwrap_or(false);
        Self {
            performed: flag("performed").unwrap_or(success),
            success,
            to_version: text("to_version"),
            to_id: text("to_id"),
            steps: raw.get("steps").and_then(Value::as_array).cloned().unwrap_or_default(),
            error: text("error"),
        }
    }
}

/// A time of journals and history; none where it isn't one. The wrapper's scripts write it without an offset, and mean local time.
pub fn instant(text: &str) -> Option<jiff::Timestamp> {
    let local = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::system()).ok();
    text.parse().ok().or_else(|| local().map(|zoned| zoned.timestamp()))
}
