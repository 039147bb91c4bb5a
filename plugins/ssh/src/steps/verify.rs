//! `verify`: looks at every host that has the release, and writes down that it is good.

use pop_deploy_plugin_api::{
    Result, Session,
    protocol::{Outcome, Receipt, RunRequest, Undo},
};
use serde::{Deserialize, Serialize};

use super::{behind, known_head, named};
use crate::{
    fleet::{Again, Fleet, Hold, count, together},
    manifest::Head,
    site::Site,
    verify,
};

/// `verify`: looks at every host that has the release, and writes down that it is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verify {
    /// What the release must be, where no step before this one makes it.
    pub(crate) head: Head,
    /// The hosts that were planned with.
    pub(crate) hosts: Vec<String>,
}

impl Verify {
    /// Looks, and writes down.
    ///
    /// # Errors
    /// One isn't as it should be.
    pub(crate) fn run(
        &self,
        site: &Site,
        fleet: &Fleet,
        request: &RunRequest,
        session: &Session,
    ) -> Result<Receipt> {
        let head = known_head(request)?;
        let mut behind = behind(request);
        let planned = |host: &usize| self.hosts.contains(&site.hosts[*host].name);
        let hosts: Vec<_> = fleet.all().into_iter().filter(planned).collect();
        let hosts: Vec<_> =
            hosts.into_iter().filter(|host| !behind.contains(&site.hosts[*host].name)).collect();
        behind.extend(
            site.hosts.iter().map(|host| host.name.clone()).filter(|name| !self.hosts.contains(name)),
        );
        let lacking = site.places_beside(&hosts).join(" ");
        let outcomes = fleet.each(site, &hosts, Hold::Locked, Again::Yes, |host, connection| {
            verify::approve(site, host, &head, &lacking, connection, session)
        });
        together(site, outcomes)?;
        let mut words = count(hosts.len());
        let receipt = Receipt::new(Outcome::Changed, "").fact("round_trips", fleet.round_trips());
        if behind.is_empty() {
            return Ok(Receipt { summary: words, ..receipt });
        }
        words.push_str(&format!("; behind: {}", behind.join(", ")));
        Ok(Receipt { summary: words, ..receipt }.fact("behind", behind))
    }

    /// Takes the mark back from every host that can be reached; where not, the undo of `stage` removes it. Not that of a
    /// release that was there already, as a rollback has it: without the mark, it would be removed as a leftover.
    pub(crate) fn undo(&self, site: &Site, fleet: &Fleet, id: &str) -> Undo {
        if !self.head.is_to_be_made() {
            return Undo::Nothing;
        }
        let outcomes =
            fleet.each(site, &named(site, &self.hosts), Hold::Locked, Again::Yes, |_, connection| {
                connection.ask(&["unverified", id])
            });
        match outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count() {
            0 => Undo::Nothing,
            hosts => Undo::Undone {
                summary: format!("release {id} doesn't count as verified on {}", count(hosts)),
            },
        }
    }
}
