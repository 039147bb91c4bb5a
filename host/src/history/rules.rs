//! What is live, what came before it, what a failure leaves: read from the records of one target.

use pop_deploy_plugin_api::protocol::Release;
use serde_json::Value;

use super::{Record, Status};
use crate::{
    config::{
        DeployConfig, Environment,
        environment::{HISTORIES, HISTORY},
    },
    journal,
};

/// All records, newest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    records: Vec<Record>,
}

/// The records of one target, newest first.
#[derive(Debug, Clone)]
pub struct TargetHistory<'h> {
    records: Vec<&'h Record>,
}

/// A verified deployment of the past.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deployed<'h> {
    /// The deployment that made the release, where it is known and safe as a name.
    pub id: Option<&'h str>,
    /// The version.
    pub version: Option<&'h str>,
    /// The commit.
    pub commit: Option<&'h str>,
    /// Its `success` record; nothing where history has forgotten it.
    pub record: Option<&'h Record>,
}

/// What the wrapper wants to know before a rollback.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessment<'h> {
    /// What is running, or what was tried last where that is all one knows.
    pub current_version: Option<&'h str>,
    /// The status of the newest record.
    pub current_status: Option<Status>,
    /// Where a rollback would go.
    pub rollback: Option<Deployed<'h>>,
    /// How many runs there are records of.
    pub total: usize,
    /// The newest failure, mended or not.
    pub last_failed: Option<&'h Record>,
}

impl Deployed<'_> {
    /// As plugins know it. Records of the wrapper's scripts have no id; theirs is made from the time, so that it is
    /// safe as a name and no release of ours has it.
    pub fn release(&self) -> Release {
        let digits = || -> String {
            let time = self.record.and_then(|record| record.timestamp.as_deref()).unwrap_or_default();
            time.chars().filter(char::is_ascii_digit).take(14).collect()
        };
        Release {
            id: self.id.map_or_else(|| format!("unrecorded-{}", digits()), str::to_owned),
            version: self.version.map(str::to_owned),
            commit: self.commit.map(str::to_owned),
        }
    }

    fn of(record: &Record) -> Deployed<'_> {
        Deployed {
            id: safe(record.deployment_id.as_deref()),
            version: record.version.as_deref(),
            commit: record.commit_sha.as_deref(),
            record: Some(record),
        }
    }
}

impl History {
    /// The history of a deploy.json.
    pub fn of(config: &DeployConfig) -> Self {
        Self::from_values(config.history())
    }

    /// The history of another environment of a deploy.json.
    pub fn in_environment(config: &DeployConfig, environment: &Environment) -> Self {
        let records = environment.history(&config.raw).and_then(Value::as_array);
        Self::from_values(records.map_or(&[], Vec::as_slice))
    }

    /// The histories of all environments as one, for what concerns the runs of all of them.
    pub fn of_all_environments(config: &DeployConfig) -> Self {
        let others = config.raw.get(HISTORIES).and_then(Value::as_object);
        let all = config.raw.get(HISTORY).into_iter().chain(others.into_iter().flat_map(|all| all.values()));
        Self { records: all.filter_map(Value::as_array).flatten().map(Record::from_value).collect() }
    }

    pub(super) fn from_values(values: &[Value]) -> Self {
        Self { records: values.iter().map(Record::from_value).collect() }
    }

    /// Every record.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Those of one target.
    pub fn target(&self, name: &str) -> TargetHistory<'_> {
        let records = self.records.iter().filter(|record| record.target.as_deref() == Some(name));
        TargetHistory { records: records.collect() }
    }

    /// As [`TargetHistory::names`], of all targets.
    pub fn names(&self) -> Vec<String> {
        names(self.records.iter())
    }

    /// The ids of all runs that history knows, for [`journal::keep_only`].
    pub fn run_ids(&self) -> Vec<&str> {
        self.records
            .iter()
            .flat_map(|record| {
                let back = record.rollback.as_ref().and_then(|back| back.to_id.as_deref());
                [record.deployment_id.as_deref(), record.rollback_to_id.as_deref(), back]
            })
            .flatten()
            .collect()
    }
}

fn names<'r>(records: impl Iterator<Item = &'r Record>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for record in records.filter(|record| record.status == Some(Status::Success)) {
        let name = record.version.as_ref().or(record.deployment_id.as_ref());
        names.extend(name.filter(|name| !names.contains(name)).cloned());
    }
    names
}

impl<'h> TargetHistory<'h> {
    /// The records.
    pub fn records(&self) -> &[&'h Record] {
        &self.records
    }

    /// The newest successful deployment, live or not.
    pub fn last_success(&self) -> Option<&'h Record> {
        self.successes(0).next()
    }

    /// What is live as far as history knows: the newest deployment that was verified, gone back to by a person, or
    /// gone back to by itself. After a failure that nobody mended the place may be in another state; see
    /// [`unsettled`](Self::unsettled).
    pub fn live(&self) -> Option<Deployed<'h>> {
        self.records.iter().enumerate().find_map(|(index, record)| {
            let older = index + 1;
            match record.status? {
                Status::Success => Some(Deployed::of(record)),
                Status::RolledBack => {
                    self.gone_back(record.rollback_to.as_deref(), record.rollback_to_id.as_deref(), older)
                }
                // Without a word about where it went, an automatic rollback went to what was live before: further on.
                Status::Failed if record.was_mended() => {
                    let back = record.rollback.as_ref()?;
                    self.gone_back(back.to_version.as_deref(), back.to_id.as_deref(), older)
                }
                Status::Failed | Status::CanaryOpen => None,
            }
        })
    }

    /// The failure that leaves the place in a state that history can't tell: it may have switched, and no rollback
    /// mended it.
    pub fn unsettled(&self) -> Option<&'h Record> {
        let newest = self
            .records
            .iter()
            .find(|record| record.is_verdict() && !(is_failed(record) && record.switched == Some(false)))?;
        (is_failed(newest) && !newest.was_mended()).then_some(*newest)
    }

    /// Where a rollback goes when nobody names a version: the newest verified deployment before the live one whose
    /// version differs and isn't bad. While the state is [`unsettled`](Self::unsettled), the newest one of another
    /// version than the one that failed.
    pub fn previous(&self) -> Option<Deployed<'h>> {
        match self.unsettled() {
            Some(failed) => self.after_failure(failed),
            None => self.before(&self.live()?),
        }
    }

    /// What each good deployment can be named by, newest first: its version, or its id where it has none.
    pub fn names(&self) -> Vec<String> {
        names(self.records.iter().copied())
    }

    /// The deployment that a list of those means by a name: where a rollback goes if that has it, else the newest.
    pub fn listed(&self, name: &str) -> Option<Deployed<'h>> {
        let is_meant = |deployed: &Deployed<'_>| deployed.version.or(deployed.id) == Some(name);
        self.previous().filter(is_meant).or_else(|| self.find(name))
    }

    /// The newest successful deployment of that version or with that deployment id; bad ones can be named too.
    pub fn find(&self, wanted: &str) -> Option<Deployed<'h>> {
        let by_version = self.successes(0).find(|record| record.version.as_deref() == Some(wanted));
        let by_id = || self.successes(0).find(|record| record.deployment_id.as_deref() == Some(wanted));
        by_version.or_else(by_id).map(Deployed::of)
    }

    /// The versions that were rolled away from automatically and haven't succeeded since, newest first.
    pub fn bad_versions(&self) -> Vec<&'h str> {
        let mut versions: Vec<&str> = Vec::new();
        for version in self.records.iter().filter_map(|record| record.version.as_deref()) {
            if !versions.contains(&version) && self.is_bad(version) {
                versions.push(version);
            }
        }
        versions
    }

    /// What the wrapper's `assess` reports, by its own rules: after a failure that wasn't mended the failed version
    /// is current and the newest success of another version is where to go, whether it had switched or not.
    pub fn assess(&self) -> Assessment<'h> {
        let newest = self.records.iter().copied().find(|record| record.is_verdict());
        let live = self.live();
        let failed = newest.filter(|record| is_failed(record) && !record.was_mended());
        let (current_version, rollback) = match failed {
            Some(failed) => (failed.version.as_deref(), self.after_failure(failed)),
            None => (live.and_then(|live| live.version), live.and_then(|live| self.before(&live))),
        };
        Assessment {
            current_version,
            current_status: newest.and_then(|record| record.status),
            rollback,
            total: self.runs(),
            last_failed: self.records.iter().copied().find(|record| is_failed(record)),
        }
    }

    /// A canary that was judged has two records.
    fn runs(&self) -> usize {
        let judged = |(at, record): (usize, &&Record)| {
            record.status == Some(Status::CanaryOpen)
                && self.records[..at].iter().any(|later| later.deployment_id == record.deployment_id)
        };
        self.records.len() - self.records.iter().enumerate().filter(|record| judged(*record)).count()
    }

    fn successes(&self, from: usize) -> impl Iterator<Item = &'h Record> {
        let records = self.records.get(from..).unwrap_or_default();
        records.iter().copied().filter(|record| record.status == Some(Status::Success))
    }

    /// The deployment that was gone back to, among the records from `older` on. Its own record may be forgotten.
    fn gone_back(&self, version: Option<&'h str>, id: Option<&'h str>, older: usize) -> Option<Deployed<'h>> {
        let id = safe(id);
        if version.is_none() && id.is_none() {
            return None;
        }
        let by_id = || self.successes(older).find(|record| safe(record.deployment_id.as_deref()) == id);
        // The wrapper's scripts know no ids, and a release of theirs has none to be found by.
        let by_version = || self.successes(older).find(|record| record.version.as_deref() == version);
        let known = id.and_then(|_| by_id()).or_else(by_version).map(Deployed::of);
        let (commit, record) = known.map_or((None, None), |known| (known.commit, known.record));
        Some(Deployed { id: id.or(known.and_then(|known| known.id)), version, commit, record })
    }

    fn before(&self, live: &Deployed<'h>) -> Option<Deployed<'h>> {
        let record = live.record?;
        let index = self.records.iter().position(|candidate| std::ptr::eq(*candidate, record))?;
        let good = |candidate: &&Record| differs(candidate, record) && !self.is_bad_record(candidate);
        self.successes(index + 1).find(good).map(Deployed::of)
    }

    fn after_failure(&self, failed: &Record) -> Option<Deployed<'h>> {
        let good = |candidate: &&Record| differs(candidate, failed) && !self.is_bad_record(candidate);
        self.successes(0).find(good).map(Deployed::of)
    }

    fn is_bad_record(&self, record: &Record) -> bool {
        record.version.as_deref().is_some_and(|version| self.is_bad(version))
    }

    /// Whether the newest verdict about that version is an automatic rollback.
    fn is_bad(&self, version: &str) -> bool {
        let verdicts = self.records.iter().filter(|record| record.version.as_deref() == Some(version));
        verdicts
            .filter(|record| record.status == Some(Status::Success) || record.went_bad())
            .map(|record| record.went_bad())
            .next()
            .unwrap_or(false)
    }
}

fn is_failed(record: &Record) -> bool {
    record.status == Some(Status::Failed)
}

/// Whether they are different versions; where neither has one, every deployment is one of its own.
fn differs(a: &Record, b: &Record) -> bool {
    match (&a.version, &b.version) {
        (None, None) => a.deployment_id != b.deployment_id || a.deployment_id.is_none(),
        (a, b) => a != b,
    }
}

/// An id from the file is anybody's text, and ids become folder names.
fn safe(id: Option<&str>) -> Option<&str> {
    id.filter(|id| journal::is_id(id))
}
