//! `finalize`: removes what is no longer needed.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{
    Result,
    protocol::{Outcome, Receipt, RunRequest},
    words::counted,
};
use serde::{Deserialize, Serialize};

use super::{behind, of_names};
use crate::{
    fleet::{Again, Fleet, Hold, together},
    lock::told,
    site::Site,
};

/// `finalize`: removes what is no longer needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finalize {
    /// The releases that go, by host.
    pub(crate) going: BTreeMap<String, Vec<String>>,
}

impl Finalize {
    /// Removes them, and lets go of the locks. Not where hosts stayed on the release before: what goes was planned for
    /// hosts that have the new one, and nobody may get there.
    ///
    /// # Errors
    /// Something can't be removed.
    pub(crate) fn run(&self, site: &Site, fleet: &Fleet, request: &RunRequest) -> Result<Receipt> {
        let (live, behind) = (&request.release.id, behind(request));
        let mut hosts = of_names(site, &self.going);
        hosts.retain(|host| !behind.contains(&site.hosts[*host].name));
        let outcomes = fleet.each(site, &hosts, Hold::Locked, Again::Yes, |host, connection| {
            let name = &site.hosts[host];
            let mut words = vec!["tidy", live];
            words.extend(self.going[&name.name].iter().map(String::as_str));
            let tidied = connection.begin(&words)?;
            let unlocked = connection.begin(&["unlock"])?;
            let answers = connection.wait_all(&[tidied, unlocked])?;
            connection.locked = false;
            match answers[0].status {
                0 => Ok((answers[0].values("removed").count(), answers[0].values("leftover").count())),
                _ => Err(told(&answers[0], format!("can't remove old releases from `{name}`"))),
            }
        });
        let round_trips = fleet.round_trips();
        let tidied = together(site, outcomes)?;
        let removed: usize = tidied.iter().map(|(removed, _)| removed).sum();
        let leftovers: usize = tidied.iter().map(|(_, leftovers)| leftovers).sum();
        let mut words = Vec::new();
        if removed > 0 {
            words.push(format!("removed {}", counted(removed, "release")));
        }
        if leftovers > 0 {
            words.push(format!("{} of runs that died", counted(leftovers, "leftover")));
        }
        words.push(format!("{round_trips} round trips a host"));
        let outcome = if removed + leftovers > 0 { Outcome::Changed } else { Outcome::Unchanged };
        Ok(Receipt::new(outcome, words.join(", ")).fact("round_trips", round_trips))
    }
}
