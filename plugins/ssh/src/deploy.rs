//! The plan of a deployment.

use std::thread;

use pop_deploy_plugin_api::{
    Error, Result, Session,
    protocol::{Check, CheckStatus, Command, Effect, Note, Phase, Plan, Release, Rollout, Step, Unreachable},
};

use crate::{
    canary,
    fleet::Fleet,
    ground::{Ground, on_host},
    planned,
    prepared::{self, Prepared},
    preview,
    site::Site,
    source,
    survey::{self, Depth, Survey},
};

/// What a deployment is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) release: &'a Release,
    pub(crate) rollout: Rollout,
    pub(crate) unreachable: Unreachable,
}

/// Looks at the hosts and, meanwhile, reads the source where there is one; finds the ways from one to the other.
///
/// # Errors
/// Something can't be read here; a connection is lost on the way.
pub(crate) fn look(
    site: &Site,
    fleet: &Fleet,
    release: &Release,
    session: &Session,
) -> Result<(Vec<Result<Survey>>, Option<Prepared>)> {
    let read = || match source::folder(site).status {
        CheckStatus::Pass => prepared::prepare(site, release, session).map(Some),
        _ => Ok(None),
    };
    let (surveys, prepared) = thread::scope(|scope| {
        let reading = scope.spawn(read);
        (survey::survey_all(site, fleet, Depth::FirstManifest), reading.join())
    });
    // Who stopped meanwhile isn't told that hosts are out of reach.
    session.checkpoint()?;
    let mut prepared = prepared.unwrap_or_else(|_| Err(Error::failed("reading the source panicked")))?;
    if let Some(prepared) = &mut prepared {
        let found: Vec<_> =
            surveys.iter().enumerate().filter_map(|(host, it)| Some((host, it.as_ref().ok()?))).collect();
        prepared::find_ways(site, fleet, &found, prepared)?;
    }
    Ok((surveys, prepared))
}

/// Plans to make the release of the source as it is now, from what [`look`] found.
///
/// # Errors
/// A step can't be told. Hosts that can't be asked are checks.
pub(crate) fn plan(
    site: &Site,
    wish: &Wish<'_>,
    surveys: &[Result<Survey>],
    prepared: Option<&Prepared>,
    session: &Session,
) -> Result<Plan> {
    let Wish { release, rollout, unreachable } = *wish;
    let (ground, mut checked) = Ground::of(site, session, surveys, unreachable);
    checked.extend(ground.lonely());
    checked.extend(ground.checks());
    checked.extend(ground.objecting_canaries());
    if rollout == Rollout::Canary {
        checked.extend(canary::undividable(site, &ground.hosts()));
    }
    let mut of_source = match prepared {
        Some(prepared) => source::judge(site, prepared),
        None => vec![source::folder(site)],
    };
    if let Some(prepared) = prepared {
        of_source
            .extend(ground.surveys.iter().flat_map(|(host, survey)| on_host(site, *host, survey, prepared)));
    }
    if let Some(maker) = site.made_by() {
        of_source.iter_mut().for_each(|check| leave_to(maker, check));
    }
    checked.extend(of_source);
    for (host, survey) in &ground.surveys {
        if survey.has_release(&release.id) {
            let words = format!("`{}` has a release {} already", site.hosts[*host], release.id);
            checked.push(Check::fail("release", words, "run it again: the next release gets another name"));
        }
    }
    let ready = checked.iter().all(|check| check.status != CheckStatus::Fail);
    Ok(Plan {
        identity: site.identity(),
        fingerprint: inputs(site, prepared),
        live: ground.live(),
        steps: if ready { steps(&ground, release, rollout, prepared)? } else { Vec::new() },
        changes: prepared.map_or_else(Vec::new, |prepared| preview::changes(&ground, prepared)),
        unchecked: unchecked(site),
        summary: prepared.map_or_else(String::new, |prepared| preview::summary(&ground, prepared)),
        checked,
        facts: serde_json::Map::new(),
    })
}

/// Before it is made, the source can't be wrong.
fn leave_to(maker: &str, check: &mut Check) {
    if check.status == CheckStatus::Fail {
        check.status = CheckStatus::Skip;
        check.hint = None;
        check.message.push_str(&format!("; looked at again after {maker}"));
    }
}

/// Digest of what the plan is made from. Not of what is live: a resumed run may have switched already. Not of a
/// source either that is still to be made.
fn inputs(site: &Site, prepared: Option<&Prepared>) -> String {
    let source = prepared.filter(|_| site.made_by().is_none()).map(|prepared| prepared.tree.digest());
    let inputs = format!("{:?} {source:?}", site.config);
    blake3::hash(inputs.as_bytes()).to_hex().to_string()
}

fn steps(
    ground: &Ground<'_>,
    release: &Release,
    rollout: Rollout,
    prepared: Option<&Prepared>,
) -> Result<Vec<Step>> {
    let site = ground.site;
    let mut steps = vec![ground.lock_step(Some(release))];
    if let Some(argv) = &site.config.build {
        let command = Command::new(argv);
        let mut build = Step::new("build", Phase::Build, Effect::Maybe, format!("Building with {command}"))
            .reason("the config has a `build` command");
        build.commands.push(command);
        steps.push(build);
    }
    steps.push(planned::stage(ground, &release.id, prepared));
    for (index, once) in site.config.run_once.iter().enumerate() {
        steps.push(planned::once(site, index, once, release)?);
    }
    let mut left = ground.hosts();
    if rollout == Rollout::Canary {
        let (first, last) = canary::split(site, &left);
        for (index, (hosts, hold)) in first.into_iter().enumerate() {
            steps.push(ground.canary_step(index + 1, release, &hosts, hold)?);
        }
        left = last;
    }
    steps.push(ground.switch_step(release, &left)?);
    steps.push(planned::verify(ground, release)?);
    steps.push(planned::finalize(ground, release));
    Ok(steps)
}

fn unchecked(site: &Site) -> Vec<Note> {
    let note = |what: &str, why: &str| Note { what: what.to_owned(), why: why.to_owned() };
    let mut notes = Vec::new();
    match &site.config.health {
        None => notes.push(note("whether the hosts are well", "no `health` in the config")),
        Some(_) => notes.push(note("whether the hosts are well", "they are asked after the switch")),
    }
    if site.config.restart.is_some() {
        notes.push(note("`restart`", "it runs after the switch only"));
    }
    if let Some(maker) = site.made_by() {
        let why =
            format!("{maker} may change the source first; the files listed are those that are there now");
        notes.push(note("what is deployed", &why));
    }
    notes
}
