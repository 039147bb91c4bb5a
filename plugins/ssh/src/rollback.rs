//! The plan of a rollback: the release is on every host, so it is checked and switched to.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    protocol::{Change, CheckStatus, Effect, Note, PastRelease, Phase, Plan, Step, Unreachable},
};
use serde::Deserialize as _;

use crate::{
    fleet::{Fleet, Hold, count},
    ground::Ground,
    manifest::Head,
    retention::ways_back,
    site::Site,
    steps,
    survey::{Survey, check_id},
    switch::in_words,
};

/// Plans to make the release `to` live again, on every host or on none.
///
/// # Errors
/// [`ErrorKind::NoRelease`] when a host doesn't have it, or not whole: the hosts are named.
pub(crate) fn plan(
    site: &Site,
    fleet: &Fleet,
    to: &PastRelease,
    surveys: &[Result<Survey>],
    session: &Session,
) -> Result<Plan> {
    let id = &to.release.id;
    check_id(id)?;
    session.checkpoint()?;
    let (ground, mut checked) = Ground::of(site, session, surveys, Unreachable::Fails);
    checked.extend(ground.checks());
    checked.extend(ground.objecting_canaries());
    let ready = checked.iter().all(|check| check.status != CheckStatus::Fail);
    let mut steps = Vec::new();
    if ready {
        let heads = heads(&ground, to)?;
        steps::check(site, fleet, &heads, Hold::Free)?;
        let mut check = Step::new("check", Phase::Preflight, Effect::None, format!("Checking release {id}"))
            .reason("nothing is touched unless it is there on every host, and whole");
        if !site.config.run_once.is_empty() {
            check.reason.push_str("; what `run_once` did since stays done");
        }
        let head = heads.values().next().cloned();
        let head = head.ok_or_else(|| Error::failed("no host was asked"))?;
        steps = vec![
            ground.lock_step(None),
            check.data(&heads),
            ground.switch_step(&to.release, &ground.hosts())?,
            ground.verify_step(&head)?,
        ];
    }
    let is_there = |survey: &Survey| survey.current.release() == Some(id.as_str());
    let back = ground.surveys.iter().filter(|(_, survey)| !is_there(survey)).count();
    let change = |(host, survey): &(usize, &Survey)| match (is_there(survey), &site.config.restart) {
        (false, _) => Some(Change {
            effect: Effect::Replace,
            what: ground.place(*host, "/current"),
            detail: format!("{} gives way to release {id}", survey.current),
        }),
        (true, Some(_)) => Some(Change {
            effect: Effect::Update,
            what: site.hosts[*host].name.clone(),
            detail: format!("has release {id}, and restarts"),
        }),
        (true, None) => None,
    };
    let changes = ground.surveys.iter().filter_map(change).collect();
    Ok(Plan {
        identity: site.identity(),
        fingerprint: blake3::hash(format!("{id} {:?}", site.config).as_bytes()).to_hex().to_string(),
        live: ground.live(),
        steps,
        summary: going_back(back, id),
        changes,
        checked,
        unchecked: vec![Note {
            what: "whether the hosts are well".into(),
            why: match site.config.health {
                Some(_) => "they are asked after the switch".into(),
                None => "no `health` in the config".into(),
            },
        }],
        facts: serde_json::Map::new(),
    })
}

/// What becomes of so many hosts.
fn going_back(hosts: usize, id: &str) -> String {
    match hosts {
        0 => format!("release {id} is live on all hosts already"),
        1 => format!("1 host goes back to release {id}"),
        _ => format!("{} go back to release {id}", count(hosts)),
    }
}

/// What the release must be on each host: as our own journal has it, else as the host does.
fn heads(ground: &Ground<'_>, to: &PastRelease) -> Result<BTreeMap<String, Head>> {
    let staged = to.receipts.iter().find(|receipt| receipt.step == "stage");
    let ours: Option<Head> = staged.and_then(|receipt| Head::deserialize(&receipt.receipt.data).ok());
    let mut heads = BTreeMap::new();
    let mut lacking = Vec::new();
    for (host, survey) in &ground.surveys {
        let name = &ground.site.hosts[*host].name;
        let kept = survey.kept.iter().find(|kept| kept.id() == to.release.id);
        match kept {
            Some(kept) => drop(heads.insert(name.clone(), ours.clone().unwrap_or_else(|| kept.head.clone()))),
            None => lacking.push(format!("`{name}`")),
        }
    }
    if lacking.is_empty() {
        return Ok(heads);
    }
    let missing = format!("release {} isn't kept on {}", to.release.id, lacking.join(", "));
    let such = on_all(ground).map_or(String::new(), |other| format!(" that all hosts keep, such as {other}"));
    let hint = format!("choose another release{such}, or deploy that version again");
    Err(Error::new(ErrorKind::NoRelease, missing).hint(hint))
}

/// A release that all hosts could go back to from what is live, in words.
fn on_all(ground: &Ground<'_>) -> Option<String> {
    let all: Vec<_> = ground.surveys.iter().map(|(_, survey)| survey.kept.as_slice()).collect();
    let other = *ways_back(&all, &[], &ground.live()?).last()?;
    let kept = all.first()?.iter().find(|kept| kept.id() == other)?;
    Some(in_words(&kept.head.release))
}
