//! The hosts as they were found: what a plan is made from, and what stands against it.

use pop_deploy_plugin_api::{
    Error, Result, Session,
    protocol::{Check, CheckStatus, Release, Unreachable},
    words::{bytes, counted},
};

use crate::{
    fleet::words,
    lock::{self, Owner},
    origin::Origin,
    prepared::Prepared,
    site::Site,
    steps::Locking,
    survey::Survey,
    switch::{Before, Switch, restart_by_hand},
};

/// What a manifest takes for each entry, roughly, and what is always needed.
const META_BYTES: u64 = 512;
const SLACK: u64 = 64 * 1024;

/// Everything that a plan is made from.
pub(crate) struct Ground<'a> {
    pub(crate) site: &'a Site,
    pub(crate) session: &'a Session,
    /// The hosts that answered.
    pub(crate) surveys: Vec<(usize, &'a Survey)>,
}

impl<'a> Ground<'a> {
    /// The hosts that answered; the others are checks.
    pub(crate) fn of(
        site: &'a Site,
        session: &'a Session,
        surveys: &'a [Result<Survey>],
        left: Unreachable,
    ) -> (Self, Vec<Check>) {
        let mut found = Vec::new();
        let mut checks = Vec::new();
        for (host, survey) in surveys.iter().enumerate() {
            match survey {
                Ok(survey) => found.push((host, survey)),
                Err(error) => checks.push(unreachable(site, host, error)),
            }
        }
        // Where nobody answers there is nothing to deploy to.
        if left == Unreachable::StaysBehind && !found.is_empty() {
            for check in &mut checks {
                check.status = CheckStatus::Warn;
                check.message.push_str("; it stays behind");
            }
        }
        (Self { site, session, surveys: found }, checks)
    }

    /// What of the hosts stands against any plan, or is worth a look.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let owner = Owner::of(self.session);
        let now = jiff::Timestamp::now().as_second();
        let mut checks = Vec::new();
        for (host, survey) in &self.surveys {
            let (name, base) = (&self.site.hosts[*host], &self.site.bases[*host]);
            checks.extend(survey.troubles(name, base, &owner));
            checks.extend(survey.doubts(name, base, now));
            checks.extend(self.restart_due(*host, survey));
            if let Some(holder) = survey.holder() {
                checks.push(Check::warn("lock", lock::held(base, name, &holder)));
            }
        }
        checks
    }

    /// That what runs on a host may be something else than what is live there.
    fn restart_due(&self, host: usize, survey: &Survey) -> Option<Check> {
        let live = survey.live_release().filter(|_| survey.is_restart_due())?;
        let by_hand = restart_by_hand(self.site, host, live)?;
        let words = format!("the last restart on `{}` failed, or was cut off", self.site.hosts[host]);
        Some(
            Check::warn("restart", words)
                .hint(format!("a deployment or rollback makes up for it; by hand: {by_hand}")),
        )
    }

    /// The open canaries of other folders, which nothing is planned over. Where a run is at work on any host, they may be its
    /// own: its lock is waited for, and whoever has that looks for them again.
    pub(crate) fn objecting_canaries(&self) -> Vec<Check> {
        if self.surveys.iter().any(|(_, survey)| survey.holder().is_some()) {
            return Vec::new();
        }
        self.canaries(CheckStatus::Fail)
    }

    /// The open canaries of other folders, as checks that end like this. The host knows those of this one.
    pub(crate) fn canaries(&self, status: CheckStatus) -> Vec<Check> {
        let own = Origin::of(self.session).maker;
        let open = |(host, survey): &(usize, &Survey)| {
            let live = survey.live().filter(|live| live.head.origin.maker != own)?;
            let canary = live.canary.as_ref()?;
            Some(canary.check(status, &self.site.hosts[*host], &self.site.bases[*host], live.id()))
        };
        self.surveys.iter().filter_map(open).collect()
    }

    /// Commands whose host didn't answer.
    pub(crate) fn lonely(&self) -> Vec<Check> {
        let hosts = self.hosts();
        let once = self.site.config.run_once.iter().filter_map(|once| self.site.host_for(once).ok());
        let missing = once.filter(|host| !hosts.contains(host));
        missing
            .map(|host| {
                let words = format!(
                    "`run_once` has a command for `{}`, which can't be reached",
                    self.site.hosts[host]
                );
                Check::fail("run_once", words, "mend that host first, or name another one")
            })
            .collect()
    }

    /// What is live, where all hosts agree. One whose release is still to be verified, as a canary's is, only counts
    /// where no other has a verified one.
    pub(crate) fn live(&self) -> Option<Release> {
        let settled = |survey: &Survey| survey.live().is_none_or(|kept| kept.verified_at.is_some());
        let settled: Vec<_> = self.surveys.iter().filter(|(_, survey)| settled(survey)).collect();
        let counting = if settled.is_empty() { self.surveys.iter().collect() } else { settled };
        let mut releases = counting.into_iter().map(|(_, survey)| survey.live_release());
        let first = releases.next().flatten()?;
        releases.all(|other| other == Some(first)).then(|| first.clone())
    }

    pub(crate) fn locking(&self) -> Locking {
        let name = |host: usize| self.site.hosts[host].name.clone();
        Locking {
            before: self
                .surveys
                .iter()
                .map(|(host, survey)| (name(*host), survey.current.word().to_owned()))
                .collect(),
            made: self
                .surveys
                .iter()
                .filter(|(_, survey)| survey.is_new())
                .map(|(host, _)| name(*host))
                .collect(),
            makes: None,
        }
    }

    /// The way of these hosts to the release `to`.
    pub(crate) fn switch(&self, to: &str, hosts: &[usize]) -> Switch {
        let before = |survey: &Survey| Before {
            link: survey.current.word().to_owned(),
            release: survey.live_release().cloned(),
        };
        let some = self.surveys.iter().filter(|(host, _)| hosts.contains(host));
        Switch {
            before: some
                .map(|(host, survey)| (self.site.hosts[*host].name.clone(), before(survey)))
                .collect(),
            to: format!("releases/{to}"),
        }
    }

    /// The hosts that answered.
    pub(crate) fn hosts(&self) -> Vec<usize> {
        self.surveys.iter().map(|(host, _)| *host).collect()
    }

    /// The places that didn't answer.
    pub(crate) fn silent(&self) -> Vec<String> {
        self.site.places_beside(&self.hosts())
    }

    pub(crate) fn place(&self, host: usize, what: &str) -> String {
        format!("{}:{}{what}", self.site.hosts[host], self.site.bases[host])
    }
}

/// What a host will get, and whether there is room for it.
pub(crate) fn on_host(site: &Site, host: usize, survey: &Survey, prepared: &Prepared) -> Vec<Check> {
    let (name, base) = (&site.hosts[host], &site.bases[host]);
    let way = prepared.way(survey);
    let what = match &way.from {
        Some(from) => {
            format!("`{name}`: {}, against release {from}; {} to send", way.counts, bytes(way.bytes))
        }
        None => {
            format!("`{name}`: {}, {} to send", counted(way.sent.len(), "file"), bytes(way.bytes))
        }
    };
    let mut checks = vec![Check::pass("host", what)];
    let manifest = &prepared.manifest;
    let entries = (manifest.files.len() + manifest.folders.len() + manifest.links.len()) as u64;
    let new = (way.sent.len() + manifest.folders.len() + way.links.len()) as u64 + 8;
    checks.extend(survey.space(name, base, way.bytes + entries * META_BYTES + SLACK, new));
    checks
}

/// A host that can't be asked, as a check.
pub(crate) fn unreachable(site: &Site, host: usize, error: &Error) -> Check {
    let mut check = Check::new("host", CheckStatus::Fail, words(site, host, error.clone()));
    check.hint = error.hint.clone();
    check
}
