//! One look at the Swarm for a plan: whether it is one, its nodes, the service as it is.

use std::time::Duration;

use pop_deploy_plugin_api::{
    Result, Session,
    protocol::{Check, CheckStatus, Phase, Release, Step},
};
use serde::Deserialize;

use super::{
    ask::{Asked, is_public},
    canary,
    finalize::Finalize,
    live::{is_named, services},
    node::Node,
    public::Public,
    rollout::Rollout,
    spec::Spec,
    state::{self, Service, parsed},
    switch::{Served, Switch},
    update::Update,
    weights,
};
use crate::{
    app::App,
    command::docker,
    config::{self, Proxy},
    engine::Engine,
    proxy::Upstream,
    status::unread,
};

/// What was seen.
pub(crate) struct Swarm {
    pub(super) state: State,
    pub(super) nodes: Vec<Node>,
    /// The service that serves.
    pub(super) service: Option<Service>,
    /// Others of the app.
    pub(super) others: Vec<Service>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    #[serde(rename = "NodeID", default)]
    pub(super) node: String,
    #[serde(default)]
    pub(super) local_node_state: String,
    #[serde(default)]
    pub(super) control_available: bool,
    #[serde(default)]
    pub(super) cluster: Option<Cluster>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Cluster {
    #[serde(rename = "ID", default)]
    id: String,
}

impl Swarm {
    /// Looks; nothing where the target runs no service.
    ///
    /// # Errors
    /// There is no engine, or something can't be read.
    pub(crate) fn take(app: &App, engine: &Engine) -> Result<Option<Self>> {
        if app.config.service.is_none() {
            return Ok(None);
        }
        let told = engine.ask(&docker(["info", "--format={{json .Swarm}}"]))?.success()?;
        let state: State = parsed(told.stdout.trim(), "docker info")?;
        if !state.control_available {
            return Ok(Some(Self { state, nodes: Vec::new(), service: None, others: Vec::new() }));
        }
        let ids = engine.ask(&docker(["node", "ls", "--quiet"]))?.success()?.stdout;
        let ids = ids.lines().map(str::to_owned);
        let nodes =
            engine.ask(&docker(["node", "inspect"].map(str::to_owned).into_iter().chain(ids)))?.success()?;
        let nodes = parsed(&nodes.stdout, "docker node inspect")?;
        let (service, others) = services(app, engine)?;
        Ok(Some(Self { state, nodes, service, others }))
    }

    /// The place: the service in its Swarm, from whichever manager that is seen.
    pub(crate) fn identity(&self, app: &App) -> String {
        let cluster = self.state.cluster.as_ref().map_or("", |cluster| &cluster.id);
        format!("swarm:{cluster}/{}", app.name)
    }

    /// The release that the service runs.
    pub(crate) fn live(&self) -> Option<Release> {
        self.service.as_ref().and_then(Service::release)
    }

    /// The steps that have the service run `release`; `image` is absent until it is built.
    ///
    /// # Errors
    /// A port in the config that is none; the proxy's file can't be read.
    pub(crate) fn steps(
        &self,
        app: &App,
        service: &config::Service,
        release: &Release,
        image: Option<&str>,
        session: &Session,
    ) -> Result<Vec<Step>> {
        let to = Spec::of(app, service, release)?;
        let to = match image {
            Some(image) => to.with(image),
            None => to,
        };
        let health = app.config.health.clone();
        if let Some(proxy) = &service.proxy {
            return self.beside(app, proxy, &app.container(&release.id), to, session);
        }
        let reach = to.listens().map(|port| to.reach(&app.name, port));
        let asked = health.and_then(|health| match is_public(&health) {
            true => Some(Asked::Public(health)),
            false => Asked::tasks(health, &app.name, reach),
        });
        let rollout = Rollout::step(&app.name, &to, asked);
        let before = self.before(app, &to);
        let mut steps = vec![Update::step(app, &app.name, to, before.as_ref()), rollout];
        let going: Vec<_> = self.behind_a_proxy(app).map(|it| it.name.clone()).collect();
        if !going.is_empty() {
            let tidy = Finalize::step(Duration::ZERO, going);
            steps.push(tidy.reason("it was for a proxy to lead to, and the release that runs knows none"));
        }
        Ok(steps)
    }

    /// The service that is called as the app is.
    pub(super) fn namesake(&self, app: &App) -> Option<&Service> {
        self.service.as_ref().filter(|it| it.name == app.name)
    }

    /// The app's services that a proxy leads to.
    pub(super) fn behind_a_proxy(&self, app: &App) -> impl Iterator<Item = &Service> {
        self.service.iter().chain(&self.others).filter(|it| it.is_behind_a_proxy_of(&app.name))
    }

    /// The service as it is, before it is `to`.
    pub(super) fn before(&self, app: &App, to: &Spec) -> Option<Spec> {
        let service = self.namesake(app)?;
        Some(service.spec.clone().known(to, &service.values))
    }

    /// The steps that start the service `name` beside the one that serves, and move the traffic to it.
    fn beside(&self, app: &App, proxy: &Proxy, name: &str, to: Spec, session: &Session) -> Result<Vec<Step>> {
        let all = || self.service.iter().chain(&self.others);
        let there = all().find(|it| it.name == name).map(|it| &it.spec);
        let old = self.service.as_ref().filter(|it| it.name != name).map(|it| Served {
            reach: it.spec.reach(&it.name, it.spec.proxied().unwrap_or(proxy.port)),
            spec: it.spec.clone(),
        });
        let reach = to.reach(name, proxy.port);
        let health = app.config.health.clone();
        let own = health.and_then(|health| Asked::tasks(health, name, Some(reach.clone())));
        let public = match &app.config.health {
            Some(health) if is_public(health) => Some(Asked::Public(health.clone())),
            _ => own.clone(),
        };
        let rollout = Rollout::step(name, &to, own);
        let health = Public::step(name, to.replicas, public);
        let upstream = Upstream::new(proxy, &app.name, session)?;
        // One that was adopted stays: no release stands for it, so nothing could make it again.
        let going = all().filter(|it| it.name != name && it.is_of(&app.name));
        let going = going.map(|it| it.name.clone()).collect();
        Ok(vec![
            Update::beside(app, name, to, there),
            Step { phase: Phase::Stage, ..rollout },
            Switch::new(upstream, reach, old, proxy.drain())?.step(),
            health,
            Finalize::step(proxy.drain(), going),
        ])
    }

    /// Puts a canary's steps around those of [`steps`](Self::steps).
    ///
    /// # Errors
    /// There can be none here; see [`canary::add`] and [`weights::add`].
    pub(crate) fn add_canary(
        &self,
        app: &App,
        service: &config::Service,
        release: &Release,
        target: &str,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        if service.proxy.is_some() {
            return weights::add(app, target, steps);
        }
        let to = Spec::of(app, service, release)?;
        canary::add(app, target, &to, self.service.as_ref().map(|service| &service.spec), steps)
    }

    /// What `status` looks at.
    ///
    /// # Errors
    /// The Swarm can't be read.
    pub(crate) fn status(&self, app: &App, engine: &Engine) -> Result<Vec<Check>> {
        let Some(service) = &self.service else {
            return Ok(vec![Check::new("service", CheckStatus::Skip, "nothing was deployed yet")]);
        };
        let image = service.spec.image.clone().unwrap_or_default();
        let running = state::running(&state::tasks(&service.name, engine)?, &image);
        let mut checks = vec![match running >= service.spec.replicas {
            true => Check::pass("tasks", format!("{running} tasks run {image}")),
            false => Check::fail(
                "tasks",
                format!("{running} of {} tasks run {image}", service.spec.replicas),
                "see `docker service ps`",
            ),
        }];
        checks.extend(self.update_check());
        if let Some(proxy) = app.config.service.as_ref().and_then(|service| service.proxy.as_ref()) {
            let upstream = Upstream::new(proxy, &app.name, &engine.session)?;
            checks.extend(upstream.is_unread()?.then(|| unread(proxy)));
            let (text, file) = (upstream.read()?.unwrap_or_default(), proxy.file.display());
            checks.push(match (is_named(service, proxy, &text, engine)?, service.spec.proxied()) {
                (true, _) => Check::pass("proxy", format!("`{file}` names every task")),
                (false, None) => Check::warn(
                    "proxy",
                    format!("`{}` is behind no proxy: `{file}` doesn't lead to it", service.name),
                ),
                (false, Some(_)) => Check::fail(
                    "proxy",
                    format!(
                        "`{file}` doesn't name every task of `{}`: one was started again elsewhere",
                        service.name
                    ),
                    "deploy again",
                ),
            });
        }
        Ok(checks)
    }
}
