//! `deadlines` of a target: how long its plugin may take, in seconds.

use std::{collections::BTreeMap, time::Duration};

use pop_deploy_plugin_api::protocol::Phase;
use serde_json::{Map, Value};

use super::{
    ConfigError,
    read::{Key, Reader, present},
};

/// How long a plugin may take for what, before it is asked to stop, and then ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    /// All steps of a phase together; no entry: an hour for each step.
    pub phases: BTreeMap<Phase, Duration>,
    /// Being loaded and describing itself; opening its session; each.
    pub start: Duration,
    /// Reading its place, and making a plan; each.
    pub plan: Duration,
    /// Taking a step back.
    pub undo: Duration,
    /// Between being asked to stop, or to close its session, and being ended.
    pub grace: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            phases: BTreeMap::new(),
            start: Duration::from_secs(10),
            plan: Duration::from_secs(10 * 60),
            undo: Duration::from_secs(60 * 60),
            grace: Duration::from_secs(5),
        }
    }
}

impl Deadlines {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        target: &Map<String, Value>,
        key: &Key,
    ) -> Result<Self, ConfigError> {
        let mut deadlines = Self::default();
        let Some(value) = present(target, key.last()) else { return Ok(deadlines) };
        let value = reader.object(value, key)?;
        let names = Phase::ALL.map(Phase::name).into_iter().chain(["start", "plan", "undo", "grace"]);
        reader.warn_of_keys(value, key, &names.collect::<Vec<_>>());
        for phase in Phase::ALL {
            if let Some(limit) = reader.seconds(value, &key.then(phase.name()))? {
                deadlines.phases.insert(phase, limit);
            }
        }
        for (name, deadline) in [
            ("start", &mut deadlines.start),
            ("plan", &mut deadlines.plan),
            ("undo", &mut deadlines.undo),
            ("grace", &mut deadlines.grace),
        ] {
            *deadline = reader.seconds(value, &key.then(name))?.unwrap_or(*deadline);
        }
        Ok(deadlines)
    }
}
