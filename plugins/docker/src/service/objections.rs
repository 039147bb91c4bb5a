//! What of a Swarm speaks for and against a deployment.

use std::path::Path;

use pop_deploy_plugin_api::{
    Result,
    health::Question,
    protocol::{Check, Release},
    serde_json::Value,
};

use super::{
    address::{Reach, Way},
    node::{Node, meets},
    spec::Spec,
    swarm::Swarm,
};
use crate::{app::App, config, engine::Info};

impl Swarm {
    /// What speaks for and against a deployment; `image` is absent until it is built.
    ///
    /// # Errors
    /// A port in the config that is none.
    pub(crate) fn checks(
        &self,
        app: &App,
        service: &config::Service,
        info: &Info,
        image: Option<&str>,
    ) -> Result<Vec<Check>> {
        if self.state.local_node_state != "active" || !self.state.control_available {
            return Ok(vec![Check::fail(
                "swarm",
                match self.state.local_node_state.as_str() {
                    "active" => {
                        "the engine is a worker of its Swarm, and only managers change services".to_owned()
                    }
                    state => format!("the engine is in no Swarm (it says `{state}`)"),
                },
                "point DOCKER_HOST or the context at a manager, or begin a Swarm with `docker swarm init`",
            )]);
        }
        let spec = Spec::of(app, service, &Release { id: String::new(), version: None, commit: None })?;
        Ok([
            Some(self.nodes_check(&spec)),
            self.owner(app),
            self.update_check(),
            self.room(app, &spec),
            self.pull_check(app, image),
            self.variables_check(app, service, &spec, image),
            self.proxy_check(app, service, &spec, info),
            self.crossing(app, service, image),
            self.elsewhere_check(app, service, &spec, info),
            balancing(&spec, info),
            unasked(app, service, &spec),
        ]
        .into_iter()
        .flatten()
        .collect())
    }

    fn ready(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| {
            node.pointer("/Status/State").and_then(Value::as_str) == Some("ready")
                && node.pointer("/Spec/Availability").and_then(Value::as_str) == Some("active")
        })
    }

    /// The nodes that may run its tasks.
    fn fitting(&self, spec: &Spec) -> impl Iterator<Item = &Node> {
        self.ready().filter(|node| spec.constraints().all(|constraint| meets(node, constraint)))
    }

    fn nodes_check(&self, spec: &Spec) -> Check {
        let (ready, all) = (self.ready().count(), self.nodes.len());
        let fitting = self.fitting(spec).count();
        match (ready, fitting) {
            (0, _) => Check::fail("nodes", format!("none of {all} nodes is ready"), "see `docker node ls`"),
            (_, 0) => {
                let constraints: Vec<_> = spec.constraints().map(String::as_str).collect();
                Check::fail(
                    "nodes",
                    format!("no node meets `{}`", constraints.join("`, `")),
                    "correct `service.constraints`, or label a node",
                )
            }
            _ => Check::pass("nodes", format!("{fitting} of {all} nodes are ready for it")),
        }
    }

    fn owner(&self, app: &App) -> Option<Check> {
        let service = self.service.as_ref()?;
        Some(match service.is_of(&app.name) || app.config.adopt {
            true => Check::pass(
                "service",
                format!("`{}` is there, with {} replicas", service.name, service.spec.replicas),
            ),
            false => Check::fail(
                "service",
                format!("there is a service `{}` that no deployment made", app.name),
                "choose another `service.name`, or take it over with `adopt: true`",
            ),
        })
    }

    pub(super) fn update_check(&self) -> Option<Check> {
        let service = self.service.as_ref()?;
        let state = service.updating();
        matches!(state, "updating" | "paused" | "rollback_started" | "rollback_paused").then(|| {
            Check::fail(
                "update",
                format!("an update of the service is {}", state.replace('_', " ")),
                "wait for it, or settle it: `docker service update --force` goes on, `docker service rollback` goes back",
            )
        })
    }

    /// A fixed port of a node is taken as long as the old task runs.
    fn room(&self, app: &App, spec: &Spec) -> Option<Check> {
        let ports = spec.node_ports();
        let fitting = self.fitting(spec).count() as u64;
        let needed = spec.replicas + u64::from(spec.starts_first() && self.namesake(app).is_some());
        (!ports.is_empty() && fitting < needed).then(|| {
            Check::fail(
                "ports",
                format!("port {} of a node serves one task, and {needed} nodes are needed; {fitting} are there", ports[0]),
                "add nodes, take fewer replicas, leave `published` at 0, or set `update.order` to stop-first, with a gap",
            )
        })
    }

    /// Other nodes get the image from the registry, by digest.
    fn pull_check(&self, app: &App, image: Option<&str>) -> Option<Check> {
        let others = self.nodes.len().saturating_sub(1);
        let known = match image {
            Some(image) => image.contains('@'),
            None => app.config.tags.iter().any(|tag| tag.contains("{{")),
        };
        match (others, app.config.push, known) {
            (0, ..) | (_, true, true) => None,
            (_, false, _) => Some(Check::fail(
                "push",
                format!("`push` is false, and the other {others} nodes get the image from the registry"),
                "leave `push` at true, or use a Swarm of one node",
            )),
            (_, true, false) => Some(Check::fail(
                "push",
                format!(
                    "the other {others} nodes get the image from the registry, and tags that move are pushed only when it runs"
                ),
                "add a tag with `{{version}}` in it to `tags`",
            )),
        }
    }

    /// A proxy on this machine must reach each task.
    fn proxy_check(&self, app: &App, service: &config::Service, spec: &Spec, info: &Info) -> Option<Check> {
        let port = service.proxy.as_ref()?.port;
        self.is_out_of_reach(&spec.reach(&app.name, port), spec, info).then(|| {
            Check::fail(
                "proxy",
                "tasks may run on nodes whose bridges the proxy here doesn't reach",
                format!(
                    "publish {} in `service.ports`, or keep the tasks on this node by `constraints`",
                    at_its_node(port)
                ),
            )
        })
    }

    /// Health that no address of its own leads to is asked of each task; it must be possible from here.
    fn elsewhere_check(
        &self,
        app: &App,
        service: &config::Service,
        spec: &Spec,
        info: &Info,
    ) -> Option<Check> {
        match app.config.health.as_ref()?.question() {
            Question::Http(path) if path.starts_with('/') && service.proxy.is_none() => {
                let port = spec.listens()?;
                self.is_out_of_reach(&spec.reach(&app.name, port), spec, info).then(|| {
                    Check::fail(
                        "health",
                        format!("`{path}` is asked of each task, and tasks may run on nodes whose bridges aren't reached from here"),
                        format!(
                            "give `health.http` with the host that users use, publish {} in `service.ports`, or keep the tasks on this node by `constraints`",
                            at_its_node(port)
                        ),
                    )
                })
            }
            Question::Command(_) => self.command_check(spec),
            _ => None,
        }
    }

    /// A command runs in containers of this node alone.
    fn command_check(&self, spec: &Spec) -> Option<Check> {
        let hint = "ask by `http` or `tcp`, with the whole address that users use, or keep the tasks on this node by `constraints`";
        let here = self.fitting(spec).any(|node| self.is_this(node));
        let elsewhere = self.fitting(spec).any(|node| !self.is_this(node));
        if elsewhere && !here {
            let message = "`health.command` runs in tasks on this node, and none may run here";
            return Some(Check::fail("health", message, hint));
        }
        elsewhere.then(|| {
            let message = "`health.command` runs in tasks on this node alone: those elsewhere aren't asked, and without one here it fails";
            Check::warn("health", message).hint(hint)
        })
    }

    /// Whether tasks may run where their own addresses aren't reached from here.
    fn is_out_of_reach(&self, reach: &Reach, spec: &Spec, info: &Info) -> bool {
        let elsewhere = || self.fitting(spec).any(|node| !self.is_this(node));
        reach.way == Way::Bridge && (!info.is_here() || elsewhere())
    }

    /// Whether it is the node that is asked.
    fn is_this(&self, node: &Node) -> bool {
        node["ID"].as_str() == Some(self.state.node.as_str())
    }

    /// What it means to visitors when a service goes behind a proxy, or comes from there. The way back isn't kept from
    /// anybody by that.
    fn crossing(&self, app: &App, service: &config::Service, image: Option<&str>) -> Option<Check> {
        if service.proxy.is_some() {
            let bare =
                self.service.as_ref().filter(|it| it.is_of(&app.name) && it.spec.proxied().is_none())?;
            let message = format!(
                "`{}` is behind no proxy yet: it goes, and its own ports with it, when the proxy has the traffic",
                bare.name
            );
            let hint = "have visitors come by the proxy; a rollback makes it again, and has them come to its own ports again";
            return Some(Check::warn("proxy", message).hint(hint));
        }
        let proxied = &self.behind_a_proxy(app).next()?.name;
        Some(match image {
            None => Check::fail(
                "proxy",
                format!("the service `{proxied}` of this app is behind a proxy, and `service.proxy` is gone"),
                "keep `service.proxy`, or remove that service and what the proxy says of it first",
            ),
            Some(_) => {
                let name = &app.name;
                let message = format!(
                    "`{proxied}` is behind a proxy, and this release knew none: `{name}` is made again with its own ports, `{proxied}` goes, and the proxy leads nowhere"
                );
                let hint = "have visitors come to its own ports again, or deploy that version behind the proxy instead";
                Check::warn("proxy", message).hint(hint)
            }
        })
    }

    /// What somebody else set can't be put back, since nobody may record it. The way back isn't kept from anybody by that.
    fn variables_check(
        &self,
        app: &App,
        service: &config::Service,
        to: &Spec,
        image: Option<&str>,
    ) -> Option<Check> {
        let before = self.before(app, to).filter(|_| service.proxy.is_none())?;
        let names = before.overwritten(to).join("`, `");
        if image.is_some() && !names.is_empty() {
            let message = format!("`{names}` was set by somebody else, and becomes what the release had");
            return Some(Check::warn("env", message));
        }
        (!names.is_empty()).then(|| {
            Check::fail(
                "env",
                format!("`{names}` was set by somebody else, and the config has another value: a rollback couldn't put it back"),
                "give it by reference in `service.env`, or take it out first: `docker service update --env-rm`",
            )
        })
    }
}

/// A port that each node publishes for its own task, as the config has it.
fn at_its_node(port: u16) -> String {
    format!("{{\"published\": 0, \"target\": {port}, \"mode\": \"host\"}}")
}

/// A question that can't be put to tasks.
fn unasked(app: &App, service: &config::Service, spec: &Spec) -> Option<Check> {
    let health = app.config.health.as_ref()?;
    let is_path = matches!(health.question(), Question::Http(path) if path.starts_with('/'));
    if !is_path || service.proxy.is_some() || spec.listens().is_some() {
        return None;
    }
    let mut check =
        Check::warn("health", "`health` isn't asked: its `http` is a path, and no port of a task is known");
    check.hint =
        Some("give `http` with the host that users use, or name the port in `service.ports`".to_owned());
    Some(check)
}

/// Without IPVS in the kernel the Swarm's own balancing is silent: connections to it hang.
fn balancing(spec: &Spec, info: &Info) -> Option<Check> {
    if !spec.is_balanced() || !info.is_here() || Path::new("/proc/net/ip_vs").exists() {
        return None;
    }
    let mut check = Check::warn(
        "balancing",
        "this kernel has no IPVS: ingress ports and virtual addresses of the Swarm won't answer",
    );
    check.hint = Some(
        "publish with `mode: host`, or set `endpoint_mode` to dnsrr and put a proxy in front".to_owned(),
    );
    Some(check)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pop_deploy_plugin_api::{
        protocol::CheckStatus,
        serde_json::{self, json},
        testing,
    };

    use super::{super::swarm::State, *};

    fn app(tags: &[&str], push: bool) -> App {
        let config =
            json!({"tags": tags, "push": push, "image_name": "acme/shop", "service": {"name": "shop"}});
        let (session, _) = testing::session(Path::new("/"));
        App::new(serde_json::from_value(config).unwrap(), &session).unwrap()
    }

    fn nodes(count: usize) -> Swarm {
        Swarm { state: State::default(), nodes: vec![json!({}); count], service: None, others: Vec::new() }
    }

    #[test]
    fn other_nodes_need_an_image_that_the_registry_has_before_it_runs() {
        let told = |count, tags: &[&str], push, image: Option<&str>| {
            nodes(count).pull_check(&app(tags, push), image).map(|check| check.message)
        };
        let moving = told(3, &["latest"], true, None).unwrap();
        assert!(moving.contains("the other 2 nodes") && moving.contains("tags that move"), "{moving}");
        assert_eq!(told(3, &["{{version}}", "latest"], true, None), None);
        assert_eq!(told(1, &["latest"], true, None), None);
        assert!(told(2, &["{{version}}"], false, None).unwrap().contains("`push` is false"));
        assert_eq!(told(2, &["latest"], true, Some("ghcr.io/acme/shop@sha256:1")), None);
        assert!(told(2, &["{{version}}"], true, Some("sha256:1")).is_some());
    }

    #[test]
    fn tasks_on_other_nodes_are_asked_where_they_can_be_reached_or_not_at_all() {
        let told = |nodes: &[&str], service: Value, health: Value| {
            let node = |id: &&str| json!({"ID": id, "Status": {"State": "ready"}, "Spec": {"Availability": "active"}});
            let swarm = Swarm {
                state: State { node: "here".to_owned(), ..State::default() },
                nodes: nodes.iter().map(node).collect(),
                service: None,
                others: Vec::new(),
            };
            let config = json!({"image_name": "acme/shop", "service": service, "health": health});
            let (session, _) = testing::session(Path::new("/"));
            let app = App::new(serde_json::from_value(config).unwrap(), &session).unwrap();
            let release = Release { id: String::new(), version: None, commit: None };
            let service = app.config.service.as_ref().unwrap();
            let spec = Spec::of(&app, service, &release).unwrap();
            let info: Info = serde_json::from_value(json!({})).unwrap();
            swarm.elsewhere_check(&app, service, &spec, &info).map(|check| (check.status, check.message))
        };
        let ingress = || json!({"ports": ["8080:80"]});
        let (path, command) = (|| json!({"http": "/healthz"}), || json!({"command": ["true"]}));
        let (status, message) = told(&["here", "there"], ingress(), path()).unwrap();
        assert_eq!(status, CheckStatus::Fail);
        assert!(message.contains("`/healthz` is asked of each task"), "{message}");
        let at_its_node = json!({"ports": [{"published": 0, "target": 80, "mode": "host"}]});
        let whole = json!({"http": "http://shop.example/healthz"});
        assert_eq!(told(&["here"], ingress(), path()), None);
        assert_eq!(told(&["here", "there"], at_its_node, path()), None);
        assert_eq!(told(&["here", "there"], ingress(), whole), None);
        let status = |nodes: &[&str]| told(nodes, ingress(), command()).map(|(status, _)| status);
        assert_eq!(status(&["here"]), None);
        assert_eq!(status(&["here", "there"]), Some(CheckStatus::Warn));
        assert_eq!(status(&["there"]), Some(CheckStatus::Fail));
    }
}
