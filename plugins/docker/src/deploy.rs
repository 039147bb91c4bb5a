//! The plan of a deployment.

use pop_deploy_plugin_api::{
    Result,
    protocol::{Change, CheckStatus, Effect, Note, Phase, Plan, Release, Rollout as Extent, Step},
    serde_json::{Map, Value, json},
};

use crate::{
    app::{App, Tags},
    build::Build,
    canary, checks,
    command::Insecure,
    config::Run,
    engine::{Container, Engine},
    finalize::{Finalize, going},
    labels::SPEC,
    look::Sight,
    proxy::Upstream,
    published,
    push::{Push, Tag},
    rollout::{Public, Rollout},
    runtime::Spec,
    service::Swarm,
    switch::Switch,
    update::{Place, Source, Update},
};

/// Plans to make `release` of the project as it is now.
///
/// # Errors
/// There is no engine, or something can't be read.
pub(crate) fn plan(app: &App, engine: &Engine, release: &Release, rollout: Extent) -> Result<Plan> {
    let tags = app.tags(release)?;
    let sight = Sight::take(app, engine, &tags.all)?;
    let swarm = Swarm::take(app, engine)?;
    let live = match &swarm {
        Some(swarm) => swarm.live(),
        None if app.runs() => sight.live(app).and_then(Container::release),
        None => published::current(app, engine, &sight)?,
    };
    let mut unchecked = Vec::new();
    let mut checked = checks::engine(app, &sight.info);
    match checks::disk(&sight.info) {
        Some(check) => checked.push(check),
        None => {
            unchecked.push(note("the engine's disk", "it is on another machine, as far as is known here"))
        }
    }
    if app.config.push {
        checked.extend(checks::registry(app, &sight.manifests, &mut unchecked));
    }
    checked.extend(checks::sources(app, &engine.session));
    checked.extend(checks::reloads(app, &sight.info));
    if let Some(run) = app.run() {
        let container = app.container(&release.id);
        checked.extend(checks::owners(app, run, &container, &sight));
        checked.push(checks::live(app, sight.live(app)));
    }
    if let (Some(swarm), Some(service)) = (&swarm, &app.config.service) {
        checked.extend(swarm.checks(app, service, &sight.info, None)?);
    }
    let ready = !checked.iter().any(|check| check.status == CheckStatus::Fail);
    let mut steps =
        if ready { steps(app, engine, release, &tags, &sight, swarm.as_ref())? } else { Vec::new() };
    if rollout == Extent::Canary {
        let target = &engine.session.target;
        match (&swarm, &app.config.service) {
            (Some(swarm), Some(service)) => swarm.add_canary(app, service, release, target, &mut steps)?,
            _ => canary::add(app, target, &mut steps)?,
        }
    }
    Ok(Plan {
        identity: identity(app, &sight, swarm.as_ref()),
        fingerprint: fingerprint(app),
        summary: summary(app, release, live.as_ref()),
        live,
        steps,
        changes: changes(app, release, &tags, &sight),
        facts: facts(app, &tags),
        checked,
        unchecked,
    })
}

/// The place: an app on an engine, however that is reached, or in a Swarm; or a repository, where nothing is run.
pub(crate) fn identity(app: &App, sight: &Sight, swarm: Option<&Swarm>) -> String {
    if let Some(swarm) = swarm {
        return swarm.identity(app);
    }
    match app.runs() {
        true => format!("docker:{}/{}", sight.info.id, app.name),
        false => format!("docker:{}", app.repository),
    }
}

/// Digest of what a plan is made from. Not of the context: the builder looks at that itself, and knows what changed.
pub(crate) fn fingerprint(app: &App) -> String {
    blake3::hash(format!("{:?}", app.config).as_bytes()).to_hex().to_string()
}

/// What reports carry along.
pub(crate) fn facts(app: &App, tags: &Tags) -> Map<String, Value> {
    let facts = json!({ "image": app.repository.to_string(), "tags": tags.all });
    facts.as_object().cloned().unwrap_or_default()
}

fn steps(
    app: &App,
    engine: &Engine,
    release: &Release,
    tags: &Tags,
    sight: &Sight,
    swarm: Option<&Swarm>,
) -> Result<Vec<Step>> {
    let insecure = sight.insecure(app);
    let mut steps = vec![Build::step(app, release, tags, sight.images.clone(), &sight.info.platform())];
    if app.config.push {
        steps.extend(pushes(app, &tags.fixed, sight, Phase::Stage, None));
    }
    if let Some(run) = app.run() {
        let old = sight.live(app);
        steps.extend(running(app, run, engine, release, &Source::Built(tags, insecure), old, &sight.ours)?);
    }
    if let (Some(swarm), Some(service)) = (swarm, &app.config.service) {
        steps.extend(swarm.steps(app, service, release, None, &engine.session)?);
    }
    if app.config.push {
        // Where nothing runs the image, the tags that move are what its users see: then moving them is the switch.
        let phase = if app.runs() { Phase::Finalize } else { Phase::Switch };
        steps.extend(pushes(app, &tags.moving, sight, phase, None));
    }
    Ok(steps)
}

/// A push for each of the tags.
pub(crate) fn pushes(
    app: &App,
    tags: &[String],
    sight: &Sight,
    phase: Phase,
    image: Option<&str>,
) -> Vec<Step> {
    let insecure: Insecure = sight.insecure(app);
    tags.iter()
        .map(|tag| {
            let tag = Tag { tag: tag.clone(), before: sight.digest(tag), insecure };
            Push::step(app, &tag, phase, image)
        })
        .collect()
}

/// The steps that have a container of `release` serve in the place of `old`.
///
/// # Errors
/// The proxy's file can't be read.
pub(crate) fn running(
    app: &App,
    run: &Run,
    engine: &Engine,
    release: &Release,
    source: &Source<'_>,
    old: Option<&Container>,
    ours: &[Container],
) -> Result<Vec<Step>> {
    let container = app.container(&release.id);
    let before = old.filter(|old| old.name() != container);
    let old = before.map(Container::name);
    let running = ours.iter().filter(|it| it.state.running).map(|it| it.name().to_owned()).collect();
    let place = Place { old, running };
    let mut steps =
        vec![Update::step(app, run, release, source, &place), Rollout::step(app, run, &container)];
    if let Some(proxy) = &run.proxy {
        let upstream = Upstream::new(proxy, &app.name, &engine.session)?;
        steps.push(Switch::new(app, proxy, upstream, &container, old)?.step());
    }
    steps.push(Public::step(app, run, &container));
    let going = going(app, ours, &container, old);
    steps.push(Finalize::new(app, run, &container, before, going).step(app.config.keep.get()));
    Ok(steps)
}

fn changes(app: &App, release: &Release, tags: &Tags, sight: &Sight) -> Vec<Change> {
    let change = |effect, what: String, detail: String| Change { effect, what, detail };
    let mut changes = Vec::new();
    for tag in tags.all.iter().filter(|_| app.config.push) {
        let reference = app.repository.tagged(tag);
        changes.push(match sight.digest(tag) {
            Some(digest) => change(Effect::Replace, reference, format!("stands for {digest} now")),
            None => change(Effect::Create, reference, String::new()),
        });
    }
    if app.config.service.is_some() {
        changes.push(change(
            Effect::Update,
            app.name.clone(),
            format!("the service runs {}", app.repository),
        ));
    }
    if let Some(run) = app.run() {
        let container = app.container(&release.id);
        changes.push(change(Effect::Create, container.clone(), format!("runs {}", app.repository)));
        if let Some(live) = sight.live(app) {
            changes.push(change(Effect::Replace, live.name().to_owned(), "stopped, and kept".to_owned()));
            if let Some(before) = live.label(SPEC).and_then(Spec::from_label) {
                let differences = Spec::of(app, run).differences(&before);
                changes
                    .extend(differences.into_iter().map(|it| change(Effect::Update, app.name.clone(), it)));
            }
        }
        let old = sight.live(app).map(Container::name);
        let going = going(app, &sight.ours, &container, old);
        changes.extend(
            going.into_iter().map(|name| change(Effect::Delete, name, "not kept any longer".to_owned())),
        );
    }
    changes
}

fn summary(app: &App, release: &Release, live: Option<&Release>) -> String {
    let version = |release: &Release| release.version.clone().unwrap_or_else(|| release.id.clone());
    match (app.runs(), app.config.push) {
        (false, true) => format!("{} is built and pushed; nothing is run of it", app.repository),
        (false, false) => format!("{} is built; it is neither pushed nor run", app.repository),
        (true, _) => match live {
            Some(before) => format!("{} in the place of {}", version(release), version(before)),
            None => format!("{} for the first time", version(release)),
        },
    }
}

pub(crate) fn note(what: &str, why: &str) -> Note {
    Note { what: what.to_owned(), why: why.to_owned() }
}
