//! The steps of a deployment and of a rollback: how each runs and is taken back.
//!
//! Step data is journaled, so it is small: ids, what was before. Everything else is in memory, or on the hosts for a process
//! that never saw the plan.

mod finalize;
mod lock;
mod once;
mod stage;
mod verify;

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::{Outcome, Receipt, RunRequest, Step},
};
use serde::{Deserialize as _, de::DeserializeOwned};

pub(crate) use self::{
    finalize::Finalize,
    lock::Locking,
    once::Once,
    stage::{Means, Stage, build},
    verify::Verify,
};
use crate::{
    fleet::{Again, Fleet, Hold, count, together},
    manifest::Head,
    rollout::Switched,
    site::Site,
    switch::Switch,
    verify::{Look, compare},
};

/// Reads what a step was planned with.
///
/// # Errors
/// Another version of the plugin planned it.
pub(crate) fn data<D: DeserializeOwned>(step: &Step) -> Result<D> {
    D::deserialize(&step.data).map_err(|error| {
        Error::failed(format!("the step `{}` was planned by another version of the plugin", step.id))
            .because(&error)
            .hint("use the version that planned it, or plan again")
    })
}

/// `check`, of a rollback: the release is there on every host, and whole.
///
/// # Errors
/// [`ErrorKind::NoRelease`], naming the hosts; nothing was touched.
pub(crate) fn check(
    site: &Site,
    fleet: &Fleet,
    heads: &BTreeMap<String, Head>,
    hold: Hold,
) -> Result<Receipt> {
    let hosts = of_names(site, heads);
    let outcomes = fleet.each(site, &hosts, hold, Again::Yes, |host, connection| {
        let name = &site.hosts[host];
        compare(name, &heads[&name.name], Look::Whole, connection)
    });
    let hosts = together(site, outcomes)?.len();
    Ok(Receipt::new(Outcome::Unchanged, format!("it is whole on {}", count(hosts))))
}

/// The hosts of these names that are still in the config.
fn named(site: &Site, names: &[String]) -> Vec<usize> {
    (0..site.hosts.len()).filter(|host| names.contains(&site.hosts[*host].name)).collect()
}

fn of_names<T>(site: &Site, names: &BTreeMap<String, T>) -> Vec<usize> {
    (0..site.hosts.len()).filter(|host| names.contains_key(&site.hosts[*host].name)).collect()
}

/// The hosts that go live: all that were planned with.
pub(crate) fn switched_hosts(site: &Site, switch: &Switch) -> Vec<usize> {
    of_names(site, &switch.before)
}

/// How many steps have put the release on some hosts first.
pub(crate) fn canaries(request: &RunRequest) -> usize {
    request.receipts.iter().filter(|receipt| receipt.step.starts_with("canary_")).count()
}

/// The hosts that stayed on the release before.
fn behind(request: &RunRequest) -> Vec<String> {
    let switched = request.receipts.iter().find(|receipt| receipt.step == "switch");
    let switched = switched.and_then(|receipt| Switched::deserialize(&receipt.receipt.data).ok());
    switched.unwrap_or_default().behind.into_iter().map(|behind| behind.host).collect()
}

/// What the release must be: as it was staged, or as a rollback found it.
///
/// # Errors
/// No step before this one says.
pub(crate) fn known_head(request: &RunRequest) -> Result<Head> {
    let said = request.receipts.iter().find(|receipt| matches!(receipt.step.as_str(), "stage" | "check"));
    let head = said.and_then(|said| Head::deserialize(&said.receipt.data).ok());
    head.ok_or_else(|| Error::failed("no step before this one said what the release is"))
}
