//! What stands against walking plans: failed checks, another place than a release went to, two targets in one place.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{
    Error,
    protocol::{Check, CheckStatus},
};

use super::{
    member::Member,
    order::{Errand, Goal},
};
use crate::{
    config::{DeployConfig, Environment},
    history::History,
    journal,
    project::Project,
};

/// What stands against walking a member's plan: failed checks, or another place than the release went to.
pub(super) fn to_walking(member: &Member, errand: &Errand<'_>) -> Option<Error> {
    let plan = member.plan.as_ref()?;
    if let Goal::Back { to, .. } = &errand.goal
        && let Some(moved) = to_place(&member.name, to.identity.as_deref(), Some(&plan.identity))
    {
        return Some(moved);
    }
    let failed: Vec<_> = plan.checked.iter().filter(|check| check.status == CheckStatus::Fail).collect();
    to_checks(&failed)
}

/// A target that was pointed at another place since can't be rolled back to what went to the old one. A place that
/// isn't known is no objection.
pub fn to_place(target: &str, then: Option<&str>, now: Option<&str>) -> Option<Error> {
    let (then, now) = (then?, now?);
    (then != now).then(|| {
        Error::preflight(format!("target `{target}` went to `{then}` then, and goes to `{now}` now"))
            .hint("point the target back at that place, or deploy that version anew")
    })
}

fn to_checks(failed: &[&Check]) -> Option<Error> {
    match failed {
        [] => None,
        [check] => {
            let error = Error::preflight(check.message.clone());
            Some(match &check.hint {
                Some(hint) => error.hint(hint),
                None => error,
            })
        }
        several => {
            let mut error = Error::preflight(format!("{} things aren't ready", several.len()));
            error.causes = several
                .iter()
                .map(|check| match &check.hint {
                    Some(hint) => format!("{} ({hint})", check.message),
                    None => check.message.clone(),
                })
                .collect();
            Some(error)
        }
    }
}

/// A place that another environment's live release went to is that environment's: an override was forgotten.
pub(super) fn refuse_places_of_other_environments(
    project: &Project,
    config: &DeployConfig,
    members: &[Member],
) -> Result<(), Error> {
    let production = Environment::default();
    let others = config.environments.iter().map(|name| Environment::named(name)).chain([production]);
    for other in others.filter(|other| *other != project.environment) {
        let history = History::in_environment(config, &other);
        for member in members {
            let Some(plan) = &member.plan else { continue };
            let live = history.target(&member.name).live().map(|live| live.release());
            let kept = live.map(|live| journal::receipts_of(&project.data, &live.id, &member.name));
            // A journal that is gone, or can't be read, tells of no place.
            let place = kept.and_then(|kept| kept.ok().flatten()).map(|(identity, _)| identity);
            if place.as_ref() == Some(&plan.identity) {
                let (name, here) = (&member.name, &project.environment);
                let message = format!(
                    "target `{name}` goes to `{}` in {here}, and so it does in {other}",
                    plan.identity
                );
                let hint =
                    format!("give it a place of its own at `environments.{here}.{name}` in deploy.json");
                return Err(Error::preflight(message).hint(hint));
            }
        }
    }
    Ok(())
}

/// Two targets of one run in one place would take turns overwriting each other.
pub(super) fn refuse_shared_places(members: &[Member]) -> Result<(), Error> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for member in members {
        let Some(plan) = &member.plan else { continue };
        if let Some(other) = seen.insert(&plan.identity, &member.name) {
            let message =
                format!("targets `{other}` and `{}` go to the same place, `{}`", member.name, plan.identity);
            return Err(Error::config(message).hint("give each target a place of its own in deploy.json"));
        }
    }
    Ok(())
}
