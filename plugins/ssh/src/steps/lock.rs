//! `lock`: takes every host.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    protocol::{Outcome, Receipt, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{
    canary::Opened,
    connection::Answer,
    fleet::{Again, Fleet, Hold, count, together},
    lock,
    site::Site,
    survey::Current,
};

/// `lock`: takes every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Locking {
    /// Where `current` leads on each host; empty where it isn't there.
    pub(crate) before: BTreeMap<String, String>,
    /// The hosts whose base is to be made.
    #[serde(default)]
    pub(crate) made: Vec<String>,
    /// The release that is to be made, if any is.
    #[serde(default)]
    pub(crate) makes: Option<String>,
}

impl Locking {
    /// The hosts that were planned with.
    pub(crate) fn hosts(&self, site: &Site) -> Vec<usize> {
        (0..site.hosts.len()).filter(|host| self.before.contains_key(&site.hosts[*host].name)).collect()
    }

    /// Takes all locks or none, and looks whether the plan still holds. Who is to wait for one of them comes again, and holds
    /// none meanwhile: two that each wait for what the other has would wait for ever.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`]; something else is live by now; another run has a release of that name.
    pub(crate) fn run(
        &self,
        site: &Site,
        fleet: &Fleet,
        release: &str,
        session: &Session,
    ) -> Result<Receipt> {
        let mut hosts = self.hosts(site);
        // In one order for everybody: of two who begin at once, one gets the first host and with it all the others.
        hosts.sort_by_key(|host| site.hosts[*host].place());
        let (first, others) = hosts.split_at(hosts.len().min(1));
        for some in [first, others] {
            let outcomes = fleet.each(site, some, Hold::Free, Again::Yes, |host, connection| {
                let planned = self.planned(site, host);
                let answer = lock::take(site, host, planned, self.makes.as_deref(), connection, session)?;
                self.check(site, host, &answer, release)
            });
            let taken = together(site, outcomes);
            if taken.as_ref().is_err_and(|error| error.kind == ErrorKind::Locked) {
                fleet.unlock(site);
            }
            taken?;
        }
        Ok(Receipt::new(Outcome::Changed, ""))
    }

    fn planned(&self, site: &Site, host: usize) -> &str {
        self.before.get(&site.hosts[host].name).map_or("", String::as_str)
    }

    fn check(&self, site: &Site, host: usize, answer: &Answer, release: &str) -> Result<()> {
        let (name, planned) = (&site.hosts[host].name, self.planned(site, host));
        let current = Current::of(answer);
        if let Some((canary, live)) = Opened::in_the_way(answer).zip(current.release()) {
            return Err(canary.objection(&site.hosts[host], &site.bases[host], live));
        }
        // A resumed run may have switched already.
        if current.word() == planned || current.release() == Some(release) {
            return Ok(());
        }
        Err(Error::preflight(format!(
            "`{}/current` on `{name}` isn't what it was when the plan was made: it is {current}",
            site.bases[host]
        ))
        .hint("plan again: somebody else deployed meanwhile"))
    }

    /// Lets go, and removes the folders again that nothing came into.
    pub(crate) fn undo(&self, site: &Site, fleet: &Fleet) -> Undo {
        let made: Vec<_> =
            self.hosts(site).into_iter().filter(|host| self.made.contains(&site.hosts[*host].name)).collect();
        // A host out of reach has let go by itself, and an empty folder there does no harm.
        let outcomes = fleet.each(site, &made, Hold::Locked, Again::Yes, |_, connection| {
            let answer = connection.ask(&["unmake"])?;
            connection.locked = false;
            Ok(answer.says("unmade"))
        });
        let removed = outcomes.into_iter().filter(|(_, outcome)| matches!(outcome, Ok(true))).count();
        fleet.close();
        match removed {
            0 => Undo::Nothing,
            removed => Undo::Undone { summary: format!("removed what was made on {}", count(removed)) },
        }
    }
}
