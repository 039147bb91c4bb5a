//! What a service is: from the config, or as the Swarm has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pop_deploy_plugin_api::{
    Result, Secret,
    protocol::Release,
    serde_json::{self, Value},
};
use serde::{Deserialize, Serialize};

use super::{
    address::{Reach, Way},
    port::Port,
    variable::{Hashes, Variable, hash, variables},
};
use crate::{
    app::App,
    config::{EndpointMode, Environment, Service, UpdateOrder},
    labels::{self, Labels},
};

/// How long the tasks of a service may take to be placed and to start, beside being watched.
pub(super) const START: Duration = Duration::from_secs(300);

/// The references behind the variables that are secrets: the Swarm itself only knows values.
const SECRETS: &str = "pop-deploy.secrets";
/// The port at which a proxy finds each task.
const PROXIED: &str = "pop-deploy.proxied";

/// The variables that a deployment set from texts in the config, each with a hash of its value: others are somebody else's.
const TEXTS: &str = "pop-deploy.env";

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// By digest; absent until it is built.
    pub(crate) image: Option<String>,
    pub(crate) replicas: u64,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, Variable>,
    pub(crate) labels: Labels,
    pub(super) ports: BTreeSet<Port>,
    pub(super) networks: BTreeSet<String>,
    /// The name that it shares on its networks with other services of its app.
    #[serde(default)]
    pub(super) alias: Option<String>,
    pub(super) constraints: BTreeSet<String>,
    pub(super) memory: u64,
    pub(super) nano_cpus: u64,
    pub(super) stop_grace_ms: u64,
    pub(super) endpoint_mode: String,
    pub(super) order: String,
    pub(super) parallelism: u64,
    pub(super) delay_ms: u64,
    pub(crate) monitor_ms: u64,
    pub(super) max_failure_ratio: f64,
}

/// How the service's name leads to its tasks: behind a proxy to each, unless the config says otherwise.
pub(super) fn endpoint_mode(service: &Service) -> &'static str {
    match (service.endpoint_mode, &service.proxy) {
        (Some(EndpointMode::Dnsrr), _) | (None, Some(_)) => "dnsrr",
        (Some(EndpointMode::Vip), _) | (None, None) => "vip",
    }
}

impl Spec {
    /// The service of `release`, as the config says.
    ///
    /// # Errors
    /// A port that is none.
    pub(crate) fn of(app: &App, service: &Service, release: &Release) -> Result<Self> {
        let mut labels: Labels = labels::of(&app.name, release)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        labels.extend(service.labels.clone());
        let references: BTreeMap<&String, &Secret> = service
            .env
            .iter()
            .filter_map(|(name, value)| match value {
                Environment::Secret(secret) => Some((name, secret)),
                Environment::Text(_) => None,
            })
            .collect();
        let texts: Hashes = service
            .env
            .iter()
            .filter_map(|(name, value)| match value {
                Environment::Text(text) => Some((name.clone(), hash(text))),
                Environment::Secret(_) => None,
            })
            .collect();
        if !texts.is_empty() {
            labels.insert(TEXTS.to_owned(), serde_json::to_string(&texts).unwrap_or_default());
        }
        if !references.is_empty() {
            labels.insert(SECRETS.to_owned(), serde_json::to_string(&references).unwrap_or_default());
        }
        if let Some(proxy) = &service.proxy {
            labels.insert(PROXIED.to_owned(), proxy.port.to_string());
        }
        let ms = |seconds: pop_deploy_plugin_api::health::Seconds| {
            u64::try_from(seconds.span().as_millis()).unwrap_or(u64::MAX)
        };
        let min_ready = app.config.min_ready();
        // Swarm must not call it done before we would call it well; beside the old one it has nothing to call.
        let health = app.config.health.as_ref().filter(|_| service.proxy.is_none());
        let window = health.map_or(min_ready, |health| health.window().max(min_ready));
        Ok(Self {
            image: None,
            replicas: service.replicas.into(),
            args: service.command.clone(),
            env: service.env.iter().map(|(name, value)| (name.clone(), value.into())).collect(),
            labels,
            ports: service
                .ports
                .iter()
                .enumerate()
                .map(|(index, port)| Port::of(index, port))
                .collect::<Result<_>>()?,
            networks: service.networks.iter().cloned().collect(),
            // Its own name is the release's.
            alias: service.proxy.as_ref().map(|_| app.name.clone()),
            constraints: service.constraints.iter().map(|it| spaced(it)).collect(),
            memory: service.memory.as_deref().and_then(bytes).unwrap_or(0),
            nano_cpus: service.cpus.map_or(0, |cpus| (cpus * 1e9).round() as u64),
            stop_grace_ms: service.stop_grace.map_or(10_000, ms),
            endpoint_mode: endpoint_mode(service).to_owned(),
            order: match service.update.order {
                UpdateOrder::StartFirst => "start-first",
                UpdateOrder::StopFirst => "stop-first",
            }
            .to_owned(),
            parallelism: service.update.parallelism.unwrap_or(1).into(),
            delay_ms: service.update.delay.map_or(0, ms),
            monitor_ms: service
                .update
                .monitor
                .map_or(0, ms)
                .max(u64::try_from(window.as_millis()).unwrap_or(u64::MAX)),
            max_failure_ratio: service.update.max_failure_ratio.unwrap_or(0.0),
        })
    }

    /// The same as a second service that shares the name of the first one; nothing where no network has names.
    pub(crate) fn beside(mut self, first: &str) -> Option<Self> {
        self.alias = Some(first.to_owned());
        // The first one has its ports.
        self.ports.clear();
        self.endpoint_mode = "dnsrr".to_owned();
        (!self.networks.is_empty()).then_some(self)
    }

    /// The same of that image.
    pub(crate) fn with(self, image: &str) -> Self {
        Self { image: Some(image.to_owned()), ..self }
    }

    /// The service as the Swarm has it; `networks` are names by id.
    pub(crate) fn read(spec: &Value, networks: &BTreeMap<String, String>) -> Self {
        let at = |path: &str| spec.pointer(path).unwrap_or(&Value::Null);
        let number = |path: &str| at(path).as_u64().unwrap_or(0);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts =
            |path: &str| -> Vec<String> { at(path).as_array().into_iter().flatten().map(text).collect() };
        let labels: Labels = serde_json::from_value(at("/Labels").clone()).unwrap_or_default();
        let secrets: BTreeMap<String, Secret> =
            labels.get(SECRETS).and_then(|label| serde_json::from_str(label).ok()).unwrap_or_default();
        let ours: Hashes =
            labels.get(TEXTS).and_then(|label| serde_json::from_str(label).ok()).unwrap_or_default();
        let env = variables(spec).map(|(name, value)| {
            let value = match (secrets.get(name), ours.get(name)) {
                (Some(secret), _) => Variable::Secret(secret.clone()),
                (None, Some(known)) if *known == hash(value) => Variable::Text(value.to_owned()),
                (None, _) => Variable::Theirs,
            };
            (name.to_owned(), value)
        });
        let port = |port: &Value| Port {
            target: port["TargetPort"].as_u64().unwrap_or(0),
            protocol: text(&port["Protocol"]),
            published: port["PublishedPort"].as_u64().unwrap_or(0),
            mode: text(&port["PublishMode"]),
        };
        let network = |network: &Value| {
            let id = text(&network["Target"]);
            networks.get(&id).cloned().unwrap_or(id)
        };
        let list = |path: &str| at(path).as_array().cloned().unwrap_or_default();
        let or = |found: String, usual: &str| if found.is_empty() { usual.to_owned() } else { found };
        Self {
            image: at("/TaskTemplate/ContainerSpec/Image").as_str().map(str::to_owned),
            replicas: number("/Mode/Replicated/Replicas"),
            args: texts("/TaskTemplate/ContainerSpec/Args"),
            env: env.collect(),
            ports: list("/EndpointSpec/Ports").iter().map(port).collect(),
            networks: list("/TaskTemplate/Networks").iter().map(network).collect(),
            alias: list("/TaskTemplate/Networks")
                .iter()
                .find_map(|it| it["Aliases"][0].as_str().map(str::to_owned)),
            constraints: texts("/TaskTemplate/Placement/Constraints").iter().map(|it| spaced(it)).collect(),
            memory: number("/TaskTemplate/Resources/Limits/MemoryBytes"),
            nano_cpus: number("/TaskTemplate/Resources/Limits/NanoCPUs"),
            stop_grace_ms: number("/TaskTemplate/ContainerSpec/StopGracePeriod") / 1_000_000,
            endpoint_mode: or(text(at("/EndpointSpec/Mode")), "vip"),
            order: or(text(at("/UpdateConfig/Order")), "stop-first"),
            parallelism: number("/UpdateConfig/Parallelism"),
            delay_ms: number("/UpdateConfig/Delay") / 1_000_000,
            monitor_ms: number("/UpdateConfig/Monitor") / 1_000_000,
            max_failure_ratio: at("/UpdateConfig/MaxFailureRatio").as_f64().unwrap_or(0.0),
            labels,
        }
    }

    /// The variables that are secrets.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (&String, &Secret)> {
        self.env.iter().filter_map(|(name, value)| match value {
            Variable::Secret(secret) => Some((name, secret)),
            Variable::Text(_) | Variable::Theirs => None,
        })
    }

    /// The variables that somebody else set.
    pub(crate) fn theirs(&self) -> impl Iterator<Item = &String> {
        self.env.iter().filter(|(_, value)| **value == Variable::Theirs).map(|(name, _)| name)
    }

    /// The same with what `to` knows of variables that somebody else set: the values there are, by their hashes, and which
    /// are secrets. What a secret was is what its reference says, as far as anybody knows.
    pub(crate) fn known(mut self, to: &Self, values: &Hashes) -> Self {
        for (name, value) in self.env.iter_mut().filter(|(_, value)| **value == Variable::Theirs) {
            match to.env.get(name) {
                Some(Variable::Text(text)) if values.get(name) == Some(&hash(text)) => {
                    *value = Variable::Text(text.clone());
                }
                Some(Variable::Secret(secret)) => *value = Variable::Secret(secret.clone()),
                _ => {}
            }
        }
        self
    }

    /// The variables that somebody else set and `to` sets otherwise: nothing could put them back.
    pub(crate) fn overwritten(&self, to: &Self) -> Vec<&str> {
        self.theirs().filter(|name| to.env.contains_key(*name)).map(String::as_str).collect()
    }

    /// Where tasks may run.
    pub(crate) fn constraints(&self) -> impl Iterator<Item = &String> {
        self.constraints.iter()
    }

    /// The fixed ports of nodes among what it publishes: two tasks of one node can't have one at a time.
    pub(crate) fn node_ports(&self) -> Vec<u64> {
        self.ports
            .iter()
            .filter(|port| port.mode == "host" && port.published > 0)
            .map(|port| port.published)
            .collect()
    }

    /// How each task of the service `name` is reached at `port`.
    pub(crate) fn reach(&self, name: &str, port: u16) -> Reach {
        let published =
            |it: &&Port| it.mode == "host" && it.protocol == "tcp" && it.target == u64::from(port);
        let way = if self.ports.iter().any(|it| published(&it)) { Way::Node } else { Way::Bridge };
        Reach { service: name.to_owned(), port, way }
    }

    /// The port at which a proxy finds each task; none where none is told of it.
    pub(crate) fn proxied(&self) -> Option<u16> {
        self.labels.get(PROXIED)?.parse().ok()
    }

    /// The first port that its tasks listen on, as far as is known.
    pub(crate) fn listens(&self) -> Option<u16> {
        let first = self.ports.iter().find(|port| port.protocol == "tcp");
        self.proxied().or(first.and_then(|port| port.target.try_into().ok()))
    }

    /// Whether its name leads to one address for all of its tasks.
    pub(crate) fn is_virtual(&self) -> bool {
        self.endpoint_mode == "vip"
    }

    /// Whether that port leads to its tasks, and to those of no other service.
    pub(crate) fn publishes(&self, port: u16) -> bool {
        self.ports.iter().any(|it| it.published == u64::from(port))
    }

    /// Whether anything of it is reached through the Swarm's own balancing.
    pub(crate) fn is_balanced(&self) -> bool {
        self.ports.iter().any(|port| port.mode == "ingress")
            || (self.endpoint_mode == "vip" && !self.networks.is_empty())
    }

    /// The longest that an update to it can take and be well: batch by batch, old tasks stop, new ones are watched, and
    /// the Swarm waits before the next batch.
    pub(super) fn patience(&self) -> Duration {
        let batches = match self.parallelism {
            0 => 1,
            parallelism => self.replicas.div_ceil(parallelism),
        };
        let batch = self.stop_grace_ms.saturating_add(self.monitor_ms).saturating_add(self.delay_ms);
        START.saturating_add(Duration::from_millis(batch.saturating_mul(batches)))
    }

    /// Whether new tasks start beside their old ones.
    pub(crate) fn starts_first(&self) -> bool {
        self.order == "start-first"
    }
}

/// A constraint as the Swarm writes it: with a blank on both sides of its sign.
fn spaced(constraint: &str) -> String {
    for sign in ["==", "!="] {
        if let Some((key, value)) = constraint.split_once(sign) {
            return format!("{} {sign} {}", key.trim(), value.trim());
        }
    }
    constraint.to_owned()
}

/// An amount of memory in docker's words; nothing where it is none.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'b' => (&text[..text.len() - 1], 0),
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let amount: u64 = digits.parse().ok()?;
    amount.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use pop_deploy_plugin_api::serde_json::json;

    use super::*;

    /// A service as the Swarm has it.
    pub(in super::super) fn found() -> Spec {
        let spec = json!({
            "Name": "shop",
            "Labels": {"pop-deploy.run": "r1", "pop-deploy.secrets": "{\"TOKEN\":{\"env\":\"SHOP_TOKEN\"}}", "pop-deploy.env": format!("{{\"A\":\"{}\"}}", hash("1")), "team": "a"},
            "TaskTemplate": {
                "ContainerSpec": {"Image": "shop@sha256:1", "Args": ["serve"], "Env": ["A=1", "TOKEN=planted", "KEY=planted"], "StopGracePeriod": 2_000_000_000_u64},
                "Resources": {"Limits": {"NanoCPUs": 500_000_000}},
                "Placement": {"Constraints": ["node.role == manager"]},
                "Networks": [{"Target": "n1"}],
            },
            "Mode": {"Replicated": {"Replicas": 2}},
            "UpdateConfig": {"Order": "start-first", "Parallelism": 1, "Monitor": 3_000_000_000_u64},
            "EndpointSpec": {"Mode": "dnsrr", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"}]},
        });
        Spec::read(&spec, &BTreeMap::from([("n1".to_owned(), "front".to_owned())]))
    }

    #[test]
    fn a_secret_of_a_service_is_recorded_as_a_reference_alone() {
        let text = serde_json::to_string(&found()).unwrap();
        assert!(text.contains("SHOP_TOKEN") && !text.contains("planted"), "{text}");
    }

    #[test]
    fn an_update_has_time_for_every_batch_to_stop_be_watched_and_be_waited_for() {
        let update = Spec { replicas: 20, delay_ms: 60_000, ..found() };
        let of = |parallelism| Spec { parallelism, ..update.clone() }.patience().as_secs();
        assert_eq!([0, 1, 3, 20].map(of), [365, 1600, 755, 365]);
    }

    #[test]
    fn amounts_of_memory_are_those_of_docker() {
        assert_eq!(
            ["64", "64b", "1k", "256M", "2g"].map(bytes),
            [64, 64, 1 << 10, 256 << 20, 2 << 30].map(Some)
        );
        assert_eq!(["", "m", "0", "-1", "1t", "99999999999g"].map(bytes), [None; 6]);
    }
}
