//! What is live, and what is kept: for people who look, now or after a failure.

use std::collections::BTreeSet;

use pop_deploy_plugin_api::{
    Result, Session,
    protocol::{Check, CheckStatus, Diagnostic, Release, Status, Unreachable},
};
use serde_json::json;

use crate::{
    address::Host,
    canary::Canary,
    fleet::{Again, Fleet, Hold},
    ground::Ground,
    site::Site,
    steps,
    survey::{Current, Kept, Survey},
    verify::{self, Look},
};

/// Reads every host.
pub(crate) fn read(site: &Site, fleet: &Fleet, surveys: &[Result<Survey>], session: &Session) -> Status {
    let (ground, mut checks) = Ground::of(site, session, surveys, Unreachable::Fails);
    checks.extend(ground.checks());
    checks.extend(ground.canaries(CheckStatus::Warn));
    let hosts: Vec<_> = ground.surveys.iter().map(|(host, _)| *host).collect();
    let outcomes = fleet.each(site, &hosts, Hold::Free, Again::Yes, |host, connection| {
        let survey = surveys[host].as_ref().map_err(Clone::clone)?;
        match survey.live() {
            Some(live) => verify::compare(&site.hosts[host], &live.head, Look::Whole, connection),
            None => Ok(()),
        }
    });
    let (live, canary) = (ground.live(), CanaryHosts::of(session));
    for (host, outcome) in outcomes {
        let (name, base) = (&site.hosts[host], &site.bases[host]);
        let Ok(survey) = &surveys[host] else { continue };
        checks.push(match (outcome, survey.live_release(), &survey.current) {
            (Err(error), ..) => Check::fail(
                "live",
                error.message,
                "deploy again to make it right, or find out who writes there",
            ),
            (Ok(()), found, current) if canary.has(name) => canary.judge(name, base, found, current),
            // Of a run that couldn't be taken back here, say.
            (Ok(()), Some(release), _) if live.as_ref().is_some_and(|live| live != release) => Check::warn(
                "live",
                format!("`{name}`: release {} is live and whole, and not what other hosts have", release.id),
            ),
            (Ok(()), Some(release), _) => {
                Check::pass("live", format!("`{name}`: release {} is live and whole", release.id))
            }
            (Ok(()), None, Current::Absent) => {
                Check::new("live", CheckStatus::Skip, format!("`{name}`: nothing was deployed yet"))
            }
            (Ok(()), None, current) => Check::warn(
                "live",
                format!("`{base}/current` on `{name}` is {current}, which is no release of this target"),
            ),
        });
    }
    let others: Vec<_> = ground.surveys.iter().filter(|(host, _)| !canary.has(&site.hosts[*host])).collect();
    if live.is_none() && others.iter().any(|(_, survey)| survey.live().is_some()) {
        let of = |(host, survey): &&(usize, &Survey)| {
            let release = survey.live_release().map_or("nothing", |release| release.id.as_str());
            format!("`{}` has {release}", site.hosts[*host])
        };
        let each: Vec<_> = others.iter().map(of).collect();
        let hint = "deploy again: hosts that are behind catch up";
        checks.push(Check::fail(
            "hosts",
            format!("not all hosts have the same release: {}", each.join(", ")),
            hint,
        ));
    }
    Status { identity: site.identity(), live, checks }
}

/// The hosts that are meant to have the release of a canary that waits for a verdict; none where none does.
struct CanaryHosts<'s> {
    release: &'s str,
    names: BTreeSet<String>,
}

impl<'s> CanaryHosts<'s> {
    fn of(session: &'s Session) -> Self {
        let steps = session.canary.iter().flat_map(|canary| &canary.steps);
        // Other steps have other data.
        let canaries = steps.filter_map(|step| steps::data::<Canary>(step).ok());
        let names = canaries.flat_map(|canary| canary.switch.before.into_keys()).collect();
        Self { release: session.canary.as_ref().map_or("", |canary| &canary.release.id), names }
    }

    fn has(&self, host: &Host) -> bool {
        self.names.contains(&host.name)
    }

    /// What is live on one of them, and whole, against what is meant to be.
    fn judge(&self, host: &Host, base: &str, found: Option<&Release>, current: &Current) -> Check {
        let meant = self.release;
        match found {
            Some(release) if release.id == meant => Check::pass(
                "live",
                format!("`{host}`: release {meant} is live and whole, as the open canary has it"),
            ),
            _ => Check::fail(
                "live",
                format!(
                    "`{base}/current` on `{host}` is {current}, and the open canary's release is {meant}"
                ),
                "find out who changed it, or abort the canary",
            ),
        }
    }
}

/// The releases that every host has.
///
/// # Errors
/// A host can't be asked.
pub(crate) fn kept(surveys: &[Result<Survey>]) -> Result<Vec<Release>> {
    let surveys: Vec<_> =
        surveys.iter().map(Result::as_ref).collect::<Result<_, _>>().map_err(Clone::clone)?;
    let Some((first, others)) = surveys.split_first() else { return Ok(Vec::new()) };
    let is_everywhere =
        |kept: &&Kept| others.iter().all(|host| host.kept.iter().any(|other| other.id() == kept.id()));
    Ok(first.kept.iter().filter(is_everywhere).map(|kept| kept.head.release.clone()).collect())
}

/// Lists the releases of every host with their state.
pub(crate) fn diagnose(site: &Site, surveys: &[Result<Survey>]) -> Vec<Diagnostic> {
    let of = |(host, survey): (usize, &Result<Survey>)| {
        let data = match survey {
            Ok(survey) => json!({
                "host": site.hosts[host].name,
                "base": site.bases[host],
                "current": survey.current.to_string(),
                "holder": survey.holder(),
                "releases": survey.kept.iter().map(|kept| json!({
                    "release": kept.head.release,
                    "run": kept.head.origin.run,
                    "verified_at": kept.verified_at.and_then(time),
                })).collect::<Vec<_>>(),
            }),
            Err(error) => json!({ "host": site.hosts[host].name, "error": error }),
        };
        Diagnostic { source: "host".to_owned(), data }
    };
    surveys.iter().enumerate().map(of).collect()
}

fn time(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
