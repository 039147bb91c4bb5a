//! What runs, whether it is as it was deployed, and what helps to understand why it isn't.

use pop_deploy_plugin_api::{
    Result,
    protocol::{Check, CheckStatus, Diagnostic, Status},
    serde_json::{Value, json},
};

use crate::{
    app::App,
    command::docker,
    config::Proxy,
    deploy::identity,
    engine::{Container, Engine},
    labels::SPEC,
    look::{Sight, is_named},
    published,
    runtime::Spec,
    service::{self, Swarm},
};

/// How many of the engine's last events are told.
const EVENTS: usize = 30;

/// Reads the place.
///
/// # Errors
/// There is no engine.
pub(crate) fn read(app: &App, engine: &Engine) -> Result<Status> {
    let sight = Sight::take(app, engine, &[])?;
    let mut checks = vec![Check::pass("engine", format!("docker {} answers", sight.info.server_version))];
    if let Some(swarm) = Swarm::take(app, engine)? {
        checks.extend(swarm.status(app, engine)?);
        return Ok(Status { identity: swarm.identity(app), live: swarm.live(), checks });
    }
    let identity = identity(app, &sight, None);
    if app.run().is_none() {
        let (live, check) = published::read(app, engine, &sight.info)?;
        checks.push(check);
        return Ok(Status { identity, live, checks });
    }
    let live = sight.live(app);
    checks.extend(of_container(app, &sight, live));
    Ok(Status { identity, live: live.and_then(Container::release), checks })
}

fn of_container(app: &App, sight: &Sight, live: Option<&Container>) -> Vec<Check> {
    let Some(live) = live else {
        return vec![match sight.ours.is_empty() {
            true => Check::new("running", CheckStatus::Skip, "nothing was deployed yet"),
            false => Check::fail(
                "running",
                format!("no container of `{}` serves", app.name),
                "deploy again, or start one",
            ),
        }];
    };
    let name = live.name();
    let state = &live.state;
    let healthy = state.health.as_ref().is_none_or(|health| health.status != "unhealthy");
    let mut checks = vec![match (state.restarting, healthy) {
        (true, _) => {
            Check::fail("running", format!("`{name}` is restarting"), "look at its log: `docker logs`")
        }
        (false, false) => {
            Check::fail("running", format!("`{name}` isn't healthy"), "look at its log: `docker logs`")
        }
        (false, true) => {
            Check::pass("running", format!("`{name}` runs, started again {} times", live.restart_count))
        }
    }];
    let stale = app.proxy().zip(sight.upstream.as_deref());
    if let Some((proxy, _)) = stale.filter(|(proxy, upstream)| !is_named(live, proxy.port, upstream)) {
        checks.push(Check::fail(
            "proxy",
            format!("`{}` doesn't name the address of `{name}`: it was started again", proxy.file.display()),
            "deploy again",
        ));
    }
    if let Some(proxy) = app.proxy().filter(|_| sight.is_unread) {
        checks.push(unread(proxy));
    }
    let differences = match (app.run(), live.label(SPEC).and_then(Spec::from_label)) {
        (Some(run), Some(before)) => Spec::of(app, run).differences(&before),
        _ => Vec::new(),
    };
    checks.push(match differences.as_slice() {
        [] => Check::pass("config", format!("`{name}` was started with what the config says")),
        some => Check::new(
            "config",
            CheckStatus::Warn,
            format!("the config has changed since: {}", some.join(", ")),
        ),
    });
    let others = sight.ours.iter().filter(|it| it.state.running && it.name() != name);
    let has_a_part = |other: &Container| {
        let proxied = app.proxy().zip(sight.upstream.as_deref());
        proxied.is_some_and(|(proxy, upstream)| is_named(other, proxy.port, upstream))
    };
    checks.extend(others.map(|other| match has_a_part(other) {
        true => Check::pass("canary", format!("`{}` gets a part of the traffic", other.name())),
        false => Check::new(
            "others",
            CheckStatus::Warn,
            format!("`{}` runs too, and serves nothing", other.name()),
        ),
    }));
    checks
}

/// What is wrong when no reload of the proxy ended well since its file changed.
pub(crate) fn unread(proxy: &Proxy) -> Check {
    Check::fail(
        "proxy",
        format!("the proxy may not have read `{}`: having it do so failed", proxy.file.display()),
        "reload it and deploy again, or roll back",
    )
}

/// Gathers the containers' states and logs, and the engine's last events.
///
/// # Errors
/// There is no engine.
pub(crate) fn diagnose(app: &App, engine: &Engine) -> Result<Vec<Diagnostic>> {
    if app.config.service.is_some() {
        let names = service::names(&app.name, engine)?;
        let told = |source: &str, data| Diagnostic { source: source.to_owned(), data };
        let logs = names.iter().map(|name| json!({ "service": name, "lines": service::logs(name, engine) }));
        let states: Vec<_> = names.iter().map(|name| service::states(name, engine)).collect::<Result<_>>()?;
        return Ok(vec![
            told("docker_logs", logs.collect()),
            told("docker_tasks", states.concat().into()),
            told("docker_events", events(app, engine)?),
        ]);
    }
    let (_, ours) = crate::look::containers(app, engine)?;
    let mut newest: Vec<_> = ours.iter().collect();
    newest.sort_by(|a, b| b.created.cmp(&a.created));
    let mut logs = Vec::new();
    for container in &newest {
        let lines = engine.logs(container.name())?;
        logs.push(json!({ "container": container.name(), "lines": lines }));
    }
    let states: Vec<Value> = newest.iter().map(|container| state(container)).collect();
    Ok([
        ("docker_logs", json!(logs)),
        ("docker_inspect", json!(states)),
        ("docker_events", events(app, engine)?),
    ]
    .into_iter()
    .map(|(source, data)| Diagnostic { source: source.to_owned(), data })
    .collect())
}

/// A container's state. Not its environment, which may hold what nobody else may read.
fn state(container: &Container) -> Value {
    let state = &container.state;
    json!({
        "container": container.name(),
        "release": container.release(),
        "status": state.status,
        "exit_code": state.exit_code,
        "out_of_memory": state.out_of_memory,
        "error": state.error,
        "restarts": container.restart_count,
        "health": state.health.as_ref().map(|health| &health.status),
        "image": container.image,
        "created": container.created,
    })
}

fn events(app: &App, engine: &Engine) -> Result<Value> {
    let command = docker([
        "events",
        "--since=1h",
        "--until=-1s",
        &format!("--filter=label=pop-deploy.app={}", app.name),
        "--format={{.Time}} {{.Type}} {{.Action}} {{.Actor.Attributes.name}}",
    ]);
    let finished = engine.ask(&command)?;
    let lines: Vec<_> = finished.stdout.lines().collect();
    Ok(json!(lines[lines.len().saturating_sub(EVENTS)..]))
}
