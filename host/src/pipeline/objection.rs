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
