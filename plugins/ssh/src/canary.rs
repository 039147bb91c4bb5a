//! Some hosts first, watched for a while: which ones, and what is seen there.

use std::time::{Duration, Instant};

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result,
    health::{Attempt, Probe, Question, Seconds},
    protocol::{Check, CheckStatus, Outcome, Receipt, Verdict},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    address::Host,
    connection::{Answer, Connection},
    fleet::{Again, Hold, count, together},
    lock::{line_of, now, told},
    quote,
    rollout::{Rollout, Switched},
    site::Site,
    switch::Switch,
    verify,
};

/// Of so many answers one may be bad.
const TOLERATED: u32 = 10;
/// So many answers of a host make a share worth looking at.
const ENOUGH: u32 = 10;

/// One step of a canary: which hosts get the release next, and how long they are watched. Give one of `count`, `percent`
/// and `hosts`. Hosts that stay behind, being out of reach, don't count.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CanaryStep {
    /// So many hosts in all, the first of the list.
    #[serde(default)]
    pub(crate) count: Option<usize>,
    /// So many in a hundred, one at least.
    #[serde(default)]
    pub(crate) percent: Option<u8>,
    /// These, by their names or labels.
    #[serde(default)]
    pub(crate) hosts: Option<Vec<String>>,
    /// Seconds that they are watched: `health` is asked again and again.
    #[serde(default)]
    pub(crate) hold: Option<Seconds>,
}

impl CanaryStep {
    /// One host, without a hold: what `--canary` does where the config says nothing.
    pub(crate) fn first_host() -> Self {
        Self { count: Some(1), percent: None, hosts: None, hold: None }
    }

    /// Checks what one key alone can't tell.
    ///
    /// # Errors
    /// Not one of the three, or hosts that there aren't.
    pub(crate) fn check(&self, site: &Site) -> Result<()> {
        let given = [self.count.is_some(), self.percent.is_some(), self.hosts.is_some()];
        if given.into_iter().filter(|is| *is).count() != 1 {
            return Err(Error::config("`config.canary`: a step needs one of `count`, `percent` and `hosts`")
                .hint("write {\"count\": 1, \"hold\": 60}, say"));
        }
        if self.percent.is_some_and(|percent| !(1..=100).contains(&percent)) || self.count == Some(0) {
            return Err(Error::config("`config.canary`: a step takes one host at least, and 100 % at most")
                .hint("write {\"count\": 1, \"hold\": 60}, say"));
        }
        for name in self.hosts.iter().flatten() {
            if !site.hosts.iter().any(|host| host.is_called(name)) {
                return Err(Error::config(format!(
                    "`config.canary`: no host is called `{}`",
                    name.escape_debug()
                ))
                .hint("name hosts as `hosts` has them, or by their labels"));
            }
        }
        Ok(())
    }

    /// Whether it takes a host of these.
    fn takes(&self, site: &Site, hosts: &[usize], host: usize) -> bool {
        let first = |count: usize| hosts.iter().take(count).any(|one| *one == host);
        match (&self.count, &self.percent, &self.hosts) {
            (Some(count), ..) => first(*count),
            (None, Some(percent), _) => first((hosts.len() * usize::from(*percent)).div_ceil(100)),
            (None, None, names) => names.iter().flatten().any(|name| site.hosts[host].is_called(name)),
        }
    }
}

/// Those of these hosts that each step of the canary takes, and those that are left for the end.
pub(crate) fn split(site: &Site, hosts: &[usize]) -> (Vec<(Vec<usize>, Duration)>, Vec<usize>) {
    let mut left = hosts.to_vec();
    let mut steps = Vec::new();
    let only = [CanaryStep::first_host()];
    let planned = if site.config.canary.is_empty() { &only[..] } else { &site.config.canary };
    for step in planned {
        let (taken, rest): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|host| step.takes(site, hosts, *host));
        left = rest;
        if !taken.is_empty() {
            steps.push((taken, step.hold.map_or(Duration::ZERO, Seconds::span)));
        }
    }
    (steps, left)
}

/// What stands against a canary on these hosts, the ones that answered, if anything does.
pub(crate) fn undividable(site: &Site, hosts: &[usize]) -> Option<Check> {
    let (steps, left) = split(site, hosts);
    let all_answered = hosts.len() == site.hosts.len();
    let words = match (steps.is_empty(), left.is_empty()) {
        // Where nobody answers there is nothing to split.
        (false, false) | (true, true) => return None,
        (true, false) => {
            "the steps of `canary` take none of the hosts that can be reached: all would have the release at once"
        }
        (false, true) if site.hosts.len() == 1 => {
            "one host can't be split: it would have the release as a whole"
        }
        (false, true) if all_answered => {
            "the steps of `canary` take all hosts: nobody would be left with the release before"
        }
        (false, true) => {
            "the steps of `canary` take all hosts that can be reached: none of them would be left with the release before"
        }
    };
    let hint = if all_answered {
        "deploy in full, or have `canary` take some hosts and leave others out"
    } else {
        "mend the hosts that can't be reached, or deploy in full"
    };
    Some(Check::fail("canary", words, hint))
}

/// `canary_…`: some hosts go live and are watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Canary {
    pub(crate) switch: Switch,
    /// In milliseconds.
    pub(crate) hold: u64,
}

/// What a host keeps beside the release of a canary that somebody is to judge, for runs of other folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    actor: String,
    since: String,
}

impl Opened {
    /// Writes it down there.
    fn leave(&self, host: &Host, id: &str, connection: &mut Connection) -> Result<()> {
        let line = line_of("the canary", self)?;
        let answer = connection.ask(&["opened", id, &line])?;
        match answer.status {
            0 => Ok(()),
            _ => Err(told(&answer, format!("can't write on `{host}` that a canary is open"))),
        }
    }

    /// The one of another folder that a host named when its lock was taken.
    pub(crate) fn in_the_way(answer: &Answer) -> Option<Self> {
        answer.value("canary").and_then(|line| serde_json::from_str(line).ok())
    }

    /// That it is open, and what helps.
    pub(crate) fn check(&self, status: CheckStatus, host: &Host, base: &str, id: &str) -> Check {
        let Error { message, hint, .. } = self.objection(host, base, id);
        Check::new("canary", status, message).hint(hint.unwrap_or_default())
    }

    /// The same, as what ends a run that would deploy over it.
    pub(crate) fn objection(&self, host: &Host, base: &str, id: &str) -> Error {
        let words = format!(
            "on `{host}`, a canary of another folder is open: release {id} by {}, since {}",
            self.actor, self.since
        );
        let mark = quote::shown(&format!("{base}/.pop-deploy/releases/{id}/canary"));
        let remove = host.shown(&format!("rm {mark}"));
        Error::preflight(words)
            .hint(format!("run `promote` or `abort` in that folder; where it is gone: {remove}"))
    }
}

/// What was heard of the canary's hosts while they were watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    well: u32,
    ill: u32,
    unknown: u32,
}

impl Canary {
    /// Goes live on these hosts, verifies, and watches.
    ///
    /// # Errors
    /// One fails, or answers badly too often.
    pub(crate) fn run(&self, rollout: &Rollout<'_>, hosts: &[usize]) -> Result<Receipt> {
        let Rollout { site, fleet, session, head, .. } = *rollout;
        rollout.at_once(hosts)?;
        let outcomes = fleet.each(site, hosts, Hold::Locked, Again::Yes, |host, connection| {
            verify::live(site, host, head, connection, session)
        });
        together(site, outcomes)?;
        let tally = self.watch(rollout, hosts)?;
        let opened = Opened { actor: session.actor.clone(), since: now() };
        let outcomes = fleet.each(site, hosts, Hold::Locked, Again::Yes, |host, connection| {
            opened.leave(&site.hosts[host], &head.release.id, connection)
        });
        together(site, outcomes)?;
        let (words, verdict) = tally.verdict();
        let words = format!("{}; {words}", count(hosts.len()));
        Ok(Receipt::new(Outcome::Changed, words).data(Switched::default()).verdict(verdict))
    }

    /// Asks again and again until the hold is over.
    fn watch(&self, rollout: &Rollout<'_>, hosts: &[usize]) -> Result<Tally> {
        let Rollout { site, fleet, session, head, .. } = *rollout;
        let (begun, hold) = (Instant::now(), Duration::from_millis(self.hold));
        let mut tally = Tally::default();
        while begun.elapsed() < hold {
            session.progress("watching the canary", begun.elapsed().as_secs(), hold.as_secs(), "seconds");
            let outcomes = fleet.each(site, hosts, Hold::Locked, Again::No, |host, connection| {
                let Some(health) = site.health(host, &head.release)? else { return Ok(None) };
                let attempt = match health.question() {
                    Question::Command(argv) => {
                        verify::attempt(site, host, &health, argv, connection, session)?
                    }
                    _ => Probe::new(&health, session)?.attempt(session)?,
                };
                attempt.tell(&format!("canary {}", site.hosts[host]), session);
                Ok(Some(attempt))
            });
            for (_, outcome) in outcomes {
                tally.add(outcome)?;
            }
            tally.judge()?;
            let interval =
                site.config.health.as_ref().map_or(1.0, |health| health.interval.span().as_secs_f64());
            session.pause(
                Duration::from_secs_f64(interval.max(0.1)).min(hold.saturating_sub(begun.elapsed())),
            )?;
        }
        Ok(tally)
    }
}

impl Tally {
    fn add(&mut self, outcome: Result<Option<Attempt>>) -> Result<()> {
        match outcome {
            Ok(Some(Attempt::Healthy(_))) => self.well += 1,
            Ok(Some(Attempt::Unhealthy(_))) => self.ill += 1,
            Ok(Some(Attempt::Unmeasured(_))) => self.unknown += 1,
            Ok(None) => {}
            Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
            Err(_) => self.unknown += 1,
        }
        Ok(())
    }

    /// More bad answers than are tolerated are the end of it, once there are enough to tell.
    fn judge(self) -> Result<()> {
        let heard = self.well + self.ill;
        if heard >= ENOUGH && self.ill * TOLERATED > heard {
            return Err(Error::failed(format!(
                "the canary is ill: {} of {heard} answers were bad",
                self.ill
            ))
            .hint("look at the log of its hosts; the others were never touched"));
        }
        Ok(())
    }

    fn verdict(self) -> (String, Verdict) {
        let heard = self.well + self.ill;
        match (heard, self.ill, self.unknown) {
            (0, _, 0) => ("verified".to_owned(), Verdict::Promote),
            (_, _, unknown) if unknown > heard => (
                format!("{unknown} of {} questions couldn't be asked", unknown + heard),
                Verdict::Inconclusive,
            ),
            (_, ill, _) if ill * 2 > heard => {
                (format!("{ill} of {heard} answers were bad, too few to tell"), Verdict::Inconclusive)
            }
            (_, ill, _) => (format!("{} of {heard} answers were good", heard - ill), Verdict::Promote),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bad_answers_are_tolerated_many_end_it_and_silence_is_no_verdict() {
        let tally = |well, ill, unknown| Tally { well, ill, unknown };
        assert!(tally(9, 1, 0).judge().is_ok());
        assert!(tally(8, 2, 0).judge().is_err());
        assert!(tally(0, 9, 0).judge().is_ok(), "too few to tell");
        assert_eq!(tally(0, 9, 0).verdict().1, Verdict::Inconclusive);
        assert_eq!(tally(3, 0, 4).verdict().1, Verdict::Inconclusive);
        assert_eq!(tally(30, 2, 4).verdict().1, Verdict::Promote);
        assert_eq!(tally(0, 0, 0).verdict().1, Verdict::Promote);
    }
}
