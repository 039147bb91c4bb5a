//! What an incident is about: a deployment that failed, and the rollback after it, where there was one.

use super::Severity;
use crate::{
    history::{Record, Status, TargetHistory},
    journal::PastRun,
};

/// The records and runs of one incident.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'h> {
    /// The target.
    pub target: &'h str,
    /// The run that failed, or brought the version that was gone back from.
    pub(super) failed: Option<&'h Record>,
    /// A person's rollback after it.
    back: Option<&'h Record>,
    /// A run that died, of which history has no record.
    interrupted: Option<&'h PastRun>,
}

impl<'h> Subject<'h> {
    /// The newest incident of a target, or that of the run `id`; nothing where nothing went wrong.
    pub fn find(target: &'h str, history: &TargetHistory<'h>, id: Option<&str>) -> Option<Self> {
        let is_run = |record: &&Record| id.is_none_or(|id| record.deployment_id.as_deref() == Some(id));
        let went_wrong =
            |record: &&Record| matches!(record.status, Some(Status::Failed | Status::RolledBack));
        let records = history.records();
        let at = records.iter().position(|record| went_wrong(record) && is_run(record))?;
        let found = records[at];
        if found.status == Some(Status::RolledBack) {
            let brought = |record: &&&Record| {
                record.version == found.version && record.status != Some(Status::RolledBack)
            };
            let failed = records[at + 1..].iter().find(brought).copied();
            return Some(Self { target, failed, back: Some(found), interrupted: None });
        }
        // Whoever went back from it right afterwards belongs to it.
        let newer = at.checked_sub(1).map(|newer| records[newer]);
        let back =
            newer.filter(|newer| newer.status == Some(Status::RolledBack) && newer.version == found.version);
        Some(Self { target, failed: Some(found), back, interrupted: None })
    }

    /// A run that died.
    pub fn interrupted(target: &'h str, run: &'h PastRun) -> Self {
        Self { target, failed: None, back: None, interrupted: Some(run) }
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.is_some()
    }

    /// The runs, in order.
    pub fn runs(&self) -> Vec<String> {
        let of = |record: Option<&Record>| record.and_then(|record| record.deployment_id.clone());
        let died = self.interrupted.map(|run| run.id.clone());
        [of(self.failed), of(self.back), died].into_iter().flatten().collect()
    }

    pub(super) fn date(&self) -> Option<String> {
        self.failed.or(self.back).and_then(|record| record.timestamp.clone())
    }

    pub(super) fn failed_version(&self) -> Option<String> {
        self.failed.or(self.back).and_then(|record| record.version.clone())
    }

    pub(super) fn rolled_back_to(&self) -> Option<String> {
        self.back.and_then(|back| back.rollback_to.clone())
    }

    pub(super) fn rollback_duration(&self) -> Option<i64> {
        self.back.and_then(|back| back.duration_ms).and_then(|ms| i64::try_from(ms).ok())
    }

    pub(super) fn severity(&self) -> Severity {
        match (self.failed, self.back) {
            (_, Some(_)) => Severity::High,
            (Some(failed), None) if failed.switched == Some(false) => Severity::Low,
            (Some(failed), None) if failed.rollback.as_ref().is_some_and(|back| back.success) => {
                Severity::High
            }
            // Records of others don't say how far it came.
            (Some(failed), None) if failed.switched.is_none() && failed.rollback.is_none() => Severity::High,
            _ => Severity::Critical,
        }
    }
}
