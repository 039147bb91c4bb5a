//! Hosts going live: all at once, or batch by batch with a look at each; and all of them back again.

use std::time::Duration;

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    protocol::{Release, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{
    fleet::{Again, Fleet, Hold, Outcome, count, joined, together, words},
    manifest::Head,
    site::Site,
    strategy::{Rolling, Strategy},
    survey::Current,
    switch::{Moved, Switch, Trouble},
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
    /// What is left there and how a person mends it, where nobody could switch it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Switched {
    /// Hosts that nobody could switch back: what is left there and what mends it.
    pub(crate) fn astray(&self) -> Vec<String> {
        self.behind.iter().filter_map(|behind| behind.mend.clone()).collect()
    }

    /// What became of so many hosts.
    pub(crate) fn words(&self, hosts: usize) -> String {
        let names: Vec<_> = self.behind.iter().map(|behind| behind.host.as_str()).collect();
        let switched = count(hosts - names.len());
        if names.is_empty() { switched } else { format!("{switched}; behind: {}", names.join(", ")) }
    }
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
    /// How many steps before this one have put the release on hosts.
    pub(crate) canaries: usize,
}

impl Rollout<'_> {
    fn release(&self) -> &Release {
        &self.head.release
    }

    /// Goes live on these hosts as the config says.
    ///
    /// # Errors
    /// More hosts failed than may, or no host has the release: the hosts that switched are for [`back`] then.
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
        let mut leaving = Leaving::default();
        let batches: Vec<_> = hosts.chunks(size).collect();
        // However many may fail: what nobody has isn't live.
        let nobody = |failed: usize| failed == hosts.len() && self.canaries == 0;
        for (index, batch) in batches.iter().enumerate() {
            if index > 0 {
                self.session.pause(rolling.wait.map_or(Duration::ZERO, |wait| wait.span()))?;
            }
            self.session.checkpoint()?;
            self.session.progress("switching, batch by batch", index as u64, batches.len() as u64, "batches");
            let troubles = self.batch(batch);
            failed.extend(troubles.iter().cloned());
            let gave_up = troubles.iter().any(|(_, error)| error.kind == ErrorKind::Cancelled);
            if gave_up || failed.len() > rolling.max_failures || nobody(failed.len()) {
                return Err(joined(self.site, failed));
            }
            // Before the next batch: a host that serves a bad release is the worst place to leave it.
            let lost = leaving.lost.len();
            self.leave_behind(troubles, &mut leaving);
            for Lost { host, trouble, .. } in &leaving.lost[lost..] {
                let name = &self.site.hosts[*host];
                let words = format!("`{name}` failed and {}: {}", trouble.words(), trouble.error().message);
                self.session.warn(words);
            }
        }
        Ok(Switched { behind: self.look_again(leaving) })
    }

    /// Goes live on the hosts of a batch, and verifies; those that failed.
    fn batch(&self, hosts: &[usize]) -> Vec<(usize, Error)> {
        let outcomes = self.fleet.each(self.site, hosts, Hold::Locked, Again::Yes, |host, connection| {
            self.switch.go(self.site, host, self.release(), connection, self.session)?;
            verify::live(self.site, host, self.head, connection, self.session)
        });
        outcomes.into_iter().filter_map(|(host, outcome)| Some((host, outcome.err()?))).collect()
    }

    /// Switches hosts that may fail back to what they had, and says how each was left.
    fn leave_behind(&self, failed: Vec<(usize, Error)>, leaving: &mut Leaving) {
        let hosts: Vec<_> = failed.iter().map(|(host, _)| *host).collect();
        let outcomes = each_back(self.site, self.fleet, self.switch, &hosts, self.session);
        for ((host, error), (_, outcome)) in failed.into_iter().zip(outcomes) {
            let name = &self.site.hosts[host];
            let left = match gone_back(outcome) {
                Ok(Moved::Now(_) | Moved::Already) => {
                    format!("`{name}` failed and has {} again", self.switch.before_words(self.site, host))
                }
                Ok(Moved::Elsewhere(current)) => format!("`{name}` failed, and {}", kept_as(&current)),
                Err(trouble) => {
                    leaving.lost.push(Lost { host, error, trouble });
                    continue;
                }
            };
            self.session.warn(format!("{left}: {}", error.message));
            leaving.behind.push(Behind { host: name.name.clone(), why: error.message, mend: None });
        }
    }

    /// Tries hosts once more that couldn't be switched back when it was their turn. Those that nobody gets to now are
    /// named, with what mends them.
    fn look_again(&self, mut leaving: Leaving) -> Vec<Behind> {
        let lost = std::mem::take(&mut leaving.lost);
        let failed = lost.into_iter().map(|lost| (lost.host, lost.error)).collect();
        self.leave_behind(failed, &mut leaving);
        let lost = leaving.lost.into_iter().map(|Lost { host, error, trouble }| Behind {
            host: self.site.hosts[host].name.clone(),
            why: format!("{}; it {}", error.message, trouble.words()),
            mend: Some(self.switch.mend(self.site, host, &trouble)),
        });
        leaving.behind.into_iter().chain(lost).collect()
    }
}

/// Hosts that failed as many may, on their way back.
#[derive(Default)]
struct Leaving {
    behind: Vec<Behind>,
    lost: Vec<Lost>,
}

/// A host that failed and that nobody got to yet.
struct Lost {
    host: usize,
    /// Why it failed.
    error: Error,
    /// Why it isn't as it was.
    trouble: Trouble,
}

/// Puts back what was live before on these hosts.
fn each_back(
    site: &Site,
    fleet: &Fleet,
    switch: &Switch,
    hosts: &[usize],
    session: &Session,
) -> Vec<Outcome<Moved>> {
    fleet.each(site, hosts, Hold::Locked, Again::Yes, |host, connection| {
        switch.go_back(site, host, connection, session)
    })
}

/// What keeps a host on its way back from being as it was, if anything does.
fn gone_back(outcome: Result<Moved>) -> Result<Moved, Trouble> {
    match outcome {
        Ok(Moved::Now(Err(error))) => Err(Trouble::Restart(error)),
        outcome => outcome.map_err(Trouble::Link),
    }
}

/// Puts back what was live before, on every host whatever fails on another.
///
/// # Errors
/// None: what can't be put back is [`Undo::Unknown`], with the commands that mend it.
pub(crate) fn back(site: &Site, fleet: &Fleet, switch: &Switch, session: &Session) -> Undo {
    let hosts: Vec<_> =
        fleet.all().into_iter().filter(|host| switch.before.contains_key(&site.hosts[*host].name)).collect();
    let outcomes = each_back(site, fleet, switch, &hosts, session);
    let mut moved = 0;
    let mut kept = Vec::new();
    let mut lost = Vec::new();
    for (host, outcome) in outcomes {
        match gone_back(outcome) {
            Ok(Moved::Now(_)) => moved += 1,
            Ok(Moved::Already) => {}
            Ok(Moved::Elsewhere(current)) => {
                kept.push(format!("on `{}`, {}", site.hosts[host], kept_as(&current)));
            }
            // What mended it would get in the way of whoever has the lock now.
            Err(Trouble::Link(error)) if fleet.has_forfeited(host) => lost.push(words(site, host, error)),
            Err(trouble) => lost.push(switch.mend(site, host, &trouble)),
        }
    }
    if !lost.is_empty() {
        return Undo::Unknown { why: lost.into_iter().chain(kept).collect::<Vec<_>>().join("\n") };
    }
    let moved = (moved > 0).then(|| format!("{} switched back", count(moved)));
    let done: Vec<_> = moved.into_iter().chain(kept).collect();
    if done.is_empty() { Undo::Nothing } else { Undo::Undone { summary: done.join("; ") } }
}

/// That `current` is left as somebody else made it.
fn kept_as(current: &Current) -> String {
    format!("`current` is {current}, which this run didn't make: it stays so")
}
