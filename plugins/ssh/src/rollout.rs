//! Hosts going live: all at once, or batch by batch with a look at each; and all of them back again.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    protocol::{Release, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{
    fleet::{Again, Fleet, Hold, count, joined, together},
    manifest::Head,
    site::Site,
    strategy::{Rolling, Strategy},
    switch::{Moved, Switch},
    verify,
};

/// What going live leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Switched {
    /// Hosts that stayed on the release before, and why.
    #[serde(default)]
    pub(crate) behind: Vec<Behind>,
}

/// A host that doesn't have the new release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Behind {
    pub(crate) host: String,
    pub(crate) why: String,
}

impl Strategy {
    /// What it means for so many hosts, in words.
    pub(crate) fn words(self, hosts: usize) -> String {
        match self {
            Self::Parallel => "all hosts at once".to_owned(),
            Self::Rolling(rolling) => {
                let batch = rolling.batch.of(hosts);
                format!("{} at a time, each verified before the next", count(batch))
            }
        }
    }
}

/// A release on its way to be live.
pub(crate) struct Rollout<'a> {
    pub(crate) site: &'a Site,
    pub(crate) fleet: &'a Fleet,
    pub(crate) session: &'a Session,
    pub(crate) switch: &'a Switch,
    pub(crate) head: &'a Head,
}

impl Rollout<'_> {
    fn release(&self) -> &Release {
        &self.head.release
    }

    /// Goes live on these hosts as the config says.
    ///
    /// # Errors
    /// More hosts failed than may: the hosts that switched are for [`back`] then.
    pub(crate) fn forward(&self, hosts: &[usize]) -> Result<Switched> {
        match self.site.config.strategy {
            Strategy::Parallel => self.at_once(hosts).map(|()| Switched::default()),
            Strategy::Rolling(rolling) => self.rolling(hosts, rolling),
        }
    }

    /// Goes live on all of these hosts.
    ///
    /// # Errors
    /// One fails: those that switched are for [`back`] then.
    pub(crate) fn at_once(&self, hosts: &[usize]) -> Result<()> {
        let outcomes = self.fleet.each(self.site, hosts, Hold::Locked, Again::Yes, |host, connection| {
            self.switch.go(self.site, host, self.release(), connection, self.session)
        });
        together(self.site, outcomes).map(drop)
    }

    fn rolling(&self, hosts: &[usize], rolling: Rolling) -> Result<Switched> {
        let size = rolling.batch.of(self.site.hosts.len());
        let mut failed: Vec<(usize, Error)> = Vec::new();
        let batches: Vec<_> = hosts.chunks(size).collect();
        for (index, batch) in batches.iter().enumerate() {
            if index > 0 {
                self.session.pause(rolling.wait.map_or(Duration::ZERO, |wait| wait.span()))?;
            }
            self.session.checkpoint()?;
            self.session.progress("switching, batch by batch", index as u64, batches.len() as u64, "batches");
            let outcomes = self.fleet.each(self.site, batch, Hold::Locked, Again::Yes, |host, connection| {
                self.switch.go(self.site, host, self.release(), connection, self.session)?;
                verify::live(self.site, host, self.head, connection, self.session)
            });
            let troubles = outcomes.into_iter().filter_map(|(host, outcome)| Some((host, outcome.err()?)));
            failed.extend(troubles);
            let gave_up = failed.iter().any(|(_, error)| error.kind == ErrorKind::Cancelled);
            if gave_up || failed.len() > rolling.max_failures {
                return Err(joined(self.site, failed));
            }
        }
        self.leave_behind(failed)
    }

    /// Switches those that may fail back to what they had.
    fn leave_behind(&self, failed: Vec<(usize, Error)>) -> Result<Switched> {
        let mut behind = Vec::new();
        for (host, error) in failed {
            let name = self.site.hosts[host].name.clone();
            let back = self.fleet.on(self.site, host, Hold::Locked, Again::Yes, &|host, connection| {
                self.switch.back(self.site, host).run(connection, self.session).map(drop)
            });
            if let Err(other) = back {
                return Err(joined(self.site, vec![(host, error), (host, other)]));
            }
            self.session.warn(format!("`{name}` stays on the release before: {}", error.message));
            behind.push(Behind { host: name, why: error.message });
        }
        Ok(Switched { behind })
    }
}

/// Puts back what was live before, on every host whatever fails on another.
///
/// # Errors
/// None: what can't be put back is [`Undo::Unknown`], with the commands that mend it.
pub(crate) fn back(site: &Site, fleet: &Fleet, switch: &Switch, session: &Session) -> Undo {
    let hosts: Vec<_> =
        fleet.all().into_iter().filter(|host| switch.before.contains_key(&site.hosts[*host].name)).collect();
    let tried = Mutex::new(HashSet::new());
    let outcomes = fleet.each(site, &hosts, Hold::Locked, Again::Yes, |host, connection| {
        let first = tried.lock().is_ok_and(|mut tried| tried.insert(host));
        let back = switch.back(site, host);
        let moved = back.run(connection, session)?;
        if moved == Moved::Already && !first {
            // The attempt before was cut off: maybe before it restarted.
            back.restart(connection, session)?;
        }
        Ok(moved)
    });
    let mut moved = 0;
    let mut lost = Vec::new();
    for (host, outcome) in outcomes {
        match outcome {
            Ok(Moved::Now) => moved += 1,
            Ok(Moved::Already | Moved::Elsewhere) => {}
            Err(error) => lost.push(switch.mend(site, host, &error)),
        }
    }
    match (lost.is_empty(), moved) {
        (false, _) => Undo::Unknown { why: lost.join("\n") },
        (true, 0) => Undo::Nothing,
        (true, moved) => Undo::Undone { summary: format!("{} switched back", count(moved)) },
    }
}
