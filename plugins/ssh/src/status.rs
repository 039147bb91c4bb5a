//! What is live, and what is kept: for people who look, now or after a failure.

use pop_deploy_plugin_api::{
    Result, Session,
    protocol::{Check, CheckStatus, Diagnostic, Status, Unreachable},
};
use serde_json::json;

use crate::{
    fleet::{Again, Fleet, Hold},
    ground::Ground,
    site::Site,
    survey::{Current, Survey},
    verify::{self, Look},
};

/// Reads every host.
pub(crate) fn read(site: &Site, fleet: &Fleet, surveys: &[Result<Survey>], session: &Session) -> Status {
    let (ground, mut checks) = Ground::of(site, session, surveys, Unreachable::Fails);
    checks.extend(ground.checks());
    let hosts: Vec<_> = ground.surveys.iter().map(|(host, _)| *host).collect();
    let outcomes = fleet.each(site, &hosts, Hold::Free, Again::Yes, |host, connection| {
        let survey = surveys[host].as_ref().map_err(Clone::clone)?;
        match survey.live() {
            Some(live) => verify::compare(&site.hosts[host], &live.head, Look::Whole, connection),
            None => Ok(()),
        }
    });
    let live = ground.live();
    for (host, outcome) in outcomes {
        let (name, base) = (&site.hosts[host], &site.bases[host]);
        let Ok(survey) = &surveys[host] else { continue };
        checks.push(match (outcome, survey.live_release(), &survey.current) {
            (Err(error), ..) => Check::fail(
                "live",
                error.message,
                "deploy again to make it right, or find out who writes there",
            ),
            // Of a canary that is open, or of a run that couldn't be taken back here.
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
    let any = ground.surveys.iter().any(|(_, survey)| survey.live().is_some());
    if live.is_none() && any {
        let of = |(host, survey): &(usize, &Survey)| {
            let release = survey.live_release().map_or("nothing", |release| release.id.as_str());
            format!("`{}` has {release}", site.hosts[*host])
        };
        let each: Vec<_> = ground.surveys.iter().map(of).collect();
        let hint = "deploy again: hosts that are behind catch up";
        checks.push(Check::fail(
            "hosts",
            format!("not all hosts have the same release: {}", each.join(", ")),
            hint,
        ));
    }
    Status { identity: site.identity(), live, checks }
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
