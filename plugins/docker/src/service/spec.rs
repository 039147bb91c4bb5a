//! What a service is: from the config, or as the Swarm has it; and the words that lead from one to another.

use std::collections::{BTreeMap, BTreeSet};

use pop_deploy_plugin_api::{
    Error, Result, Secret,
    protocol::{Command, Release},
    serde_json::{self, Value},
};
use serde::{Deserialize, Serialize};

use super::address::{Reach, Way};
use crate::{
    app::{App, check_lendable, check_variable},
    command::{IMAGE, docker},
    config::{EndpointMode, Environment, PortMode, PortProtocol, Service, ServicePort, UpdateOrder},
    labels::{self, Labels, OURS},
    reference::check_name,
    runtime,
};

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
    args: Vec<String>,
    env: BTreeMap<String, Variable>,
    pub(crate) labels: Labels,
    ports: BTreeSet<Port>,
    networks: BTreeSet<String>,
    /// The name that it shares on its networks with other services of its app.
    #[serde(default)]
    alias: Option<String>,
    constraints: BTreeSet<String>,
    memory: u64,
    nano_cpus: u64,
    stop_grace_ms: u64,
    endpoint_mode: String,
    order: String,
    pub(crate) parallelism: u64,
    delay_ms: u64,
    pub(crate) monitor_ms: u64,
    max_failure_ratio: f64,
}

/// An environment variable of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Variable {
    /// What the config said.
    Text(String),
    /// A secret, by reference.
    Secret(Secret),
    /// Set by somebody else. It may be a secret: its value goes into no journal and no command, so it stays what it is.
    Theirs,
}

impl From<&Environment> for Variable {
    fn from(value: &Environment) -> Self {
        match value {
            Environment::Text(text) => Self::Text(text.clone()),
            Environment::Secret(secret) => Self::Secret(secret.clone()),
        }
    }
}

/// Hashes of the values of a service's variables, by name.
pub(crate) type Hashes = BTreeMap<String, String>;

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Port {
    target: u64,
    protocol: String,
    pub(crate) published: u64,
    pub(crate) mode: String,
}

/// Refuses what docker would not take, or would take for something else.
///
/// # Errors
/// That.
pub(crate) fn check(service: &Service) -> Result<()> {
    for (name, value) in &service.env {
        check_variable("config.service.env", name)?;
        if matches!(value, Environment::Secret(_)) {
            check_lendable("config.service.env", name)?;
        }
    }
    for network in &service.networks {
        check_name("config.service.networks", network)?;
    }
    let plain = |key: &str, word: &str| match word.is_empty() || word.chars().any(char::is_control) {
        true => Err(Error::config(format!(
            "`config.service.{key}`: `{}` can't be handed over",
            word.escape_debug()
        ))
        .hint("write one line of text")),
        false => Ok(()),
    };
    for constraint in &service.constraints {
        plain("constraints", constraint)?;
    }
    for word in &service.command {
        plain("command", word)?;
    }
    for (name, value) in &service.labels {
        plain("labels", name)?;
        if name.starts_with(OURS) || name.contains('=') || value.contains('\0') {
            return Err(Error::config(format!(
                "`config.service.labels`: `{}` can't be a label",
                name.escape_debug()
            ))
            .hint("labels that begin with `pop-deploy.` are ours, and no name has a `=`"));
        }
    }
    if service.memory.as_deref().is_some_and(|memory| bytes(memory).is_none()) {
        return Err(
            Error::config("`config.service.memory` is no amount of memory").hint("write it like 256m or 2g")
        );
    }
    if service.cpus.is_some_and(|cpus| !(cpus > 0.0 && cpus <= 1024.0)) {
        return Err(
            Error::config("`config.service.cpus` is no number of processors").hint("write it like 0.5 or 2")
        );
    }
    if service.update.max_failure_ratio.is_some_and(|ratio| !(0.0..=1.0).contains(&ratio)) {
        return Err(
            Error::config("`config.service.update.max_failure_ratio` is no share").hint("write 0 to 1")
        );
    }
    if service.replicas == 0 {
        return Err(
            Error::config("`config.service.replicas` is 0").hint("give 1 at least: nothing would serve")
        );
    }
    let ports = service.ports.iter().enumerate();
    let ports: Vec<_> = ports.map(|(index, port)| Port::of(index, port)).collect::<Result<_>>()?;
    if let Some(proxy) = &service.proxy {
        crate::proxy::check("config.service.proxy", proxy)?;
        if let Some(port) = ports.iter().find(|port| port.published > 0) {
            return Err(Error::config(format!(
                "`config.service.ports`: {} can have one service at a time, and behind a proxy there are two for a while",
                port.published
            ))
            .hint("leave the port out, or have the nodes choose: {\"published\": 0, \"target\": 80, \"mode\": \"host\"}"));
        }
    }
    if endpoint_mode(service) == "dnsrr" && ports.iter().any(|port| port.mode == "ingress") {
        return Err(Error::config(
            "`config.service.ports`: a service of `endpoint_mode` dnsrr has no ingress ports",
        )
        .hint("publish with `mode: host`, or leave the port out behind a proxy"));
    }
    Ok(())
}

/// The most characters that a Swarm takes for the name of a service.
const LONGEST_NAME: usize = 63;

/// Refuses a name that leaves no room for a release's behind it.
///
/// # Errors
/// That.
pub(crate) fn check_room(service: &Service, name: &str) -> Result<()> {
    // A dash, and a release such as `deploy-20260102-030405`, one more of the same second with a number behind it.
    let room = LONGEST_NAME - 26;
    if service.proxy.is_none() || name.len() <= room {
        return Ok(());
    }
    Err(Error::config(format!("`config.service.name`: `{name}` has more than {room} characters"))
        .hint("take a shorter one: behind a proxy each release is a service with its own name behind that"))
}

/// How the service's name leads to its tasks: behind a proxy to each, unless the config says otherwise.
fn endpoint_mode(service: &Service) -> &'static str {
    match (service.endpoint_mode, &service.proxy) {
        (Some(EndpointMode::Dnsrr), _) | (None, Some(_)) => "dnsrr",
        (Some(EndpointMode::Vip), _) | (None, None) => "vip",
    }
}

impl Port {
    fn of(index: usize, port: &ServicePort) -> Result<Self> {
        let key = format!("config.service.ports[{index}]");
        match port {
            ServicePort::Short(text) => {
                let port = runtime::Port::parse(&key, text)?;
                Ok(Self {
                    target: port.inside.into(),
                    protocol: if port.udp { "udp" } else { "tcp" }.to_owned(),
                    published: port.outside.unwrap_or(0).into(),
                    mode: "ingress".to_owned(),
                })
            }
            ServicePort::Long(port) if port.target == 0 => {
                Err(Error::config(format!("`{key}.target` is no port"))
                    .hint("give the port that the container listens on"))
            }
            ServicePort::Long(port) => Ok(Self {
                target: port.target.into(),
                protocol: match port.protocol {
                    PortProtocol::Tcp => "tcp",
                    PortProtocol::Udp => "udp",
                }
                .to_owned(),
                published: port.published.into(),
                mode: match port.mode {
                    PortMode::Ingress => "ingress",
                    PortMode::Host => "host",
                }
                .to_owned(),
            }),
        }
    }

    fn words(&self) -> String {
        let published = match self.published {
            0 => String::new(),
            port => format!("published={port},"),
        };
        format!("{published}{}", self.inside())
    }

    /// Where it leads: all that docker looks at when a port is to go.
    fn inside(&self) -> String {
        format!("target={},protocol={},mode={}", self.target, self.protocol, self.mode)
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

    /// The command that makes the service.
    pub(crate) fn create(&self, name: &str) -> Command {
        let mut words = Words::new("create");
        words.option("name", name);
        self.always(&mut words);
        for (name, value) in &self.env {
            words.extend("env", variable(name, value));
        }
        for (name, value) in &self.labels {
            words.option("label", format!("{name}={value}"));
        }
        for port in &self.ports {
            words.option("publish", port.words());
        }
        for network in &self.networks {
            words.option("network", self.network_word(network));
        }
        for constraint in &self.constraints {
            words.option("constraint", constraint);
        }
        words.0.push(self.image_word());
        words.0.extend(self.args.iter().cloned());
        self.finished(words)
    }

    /// The commands that make the service this, from what it is `now`. Docker takes away, with a port, every other that leads
    /// to the same one inside, and gives none back that it takes: then ports go and come first, while the image is the old one.
    /// To what the last command finds the Swarm itself goes back.
    pub(crate) fn updates(&self, name: &str, now: &Self) -> Vec<Command> {
        let gone: BTreeSet<_> = now.ports.difference(&self.ports).cloned().collect();
        let leads = |a: &Port, b: &Port| (a.target, &a.protocol, &a.mode) == (b.target, &b.protocol, &b.mode);
        let (taken, left): (BTreeSet<_>, BTreeSet<_>) =
            now.ports.difference(&gone).cloned().partition(|port| gone.iter().any(|it| leads(it, port)));
        if taken.is_empty() {
            return vec![self.update(name, now)];
        }
        let ports = |option: &str, ports: Vec<String>| {
            let mut words = Words::new("update");
            ports.into_iter().for_each(|port| words.option(option, port));
            words.0.push(name.to_owned());
            docker(words.0)
        };
        let kept = Self { ports: left.union(&taken).cloned().collect(), ..now.clone() };
        vec![
            ports("publish-rm", gone.iter().map(Port::inside).collect()),
            ports("publish-add", taken.iter().map(Port::words).collect()),
            self.update(name, &kept),
        ]
    }

    fn update(&self, name: &str, now: &Self) -> Command {
        let mut words = Words::new("update");
        words.option("image", self.image_word());
        self.always(&mut words);
        if self.args != now.args {
            words.option("args", Command::new(self.args.iter().cloned()).to_string());
        }
        for (name, value) in &self.env {
            // Of a secret nobody knows whether its value is still the same.
            if matches!(value, Variable::Secret(_)) || now.env.get(name) != Some(value) {
                words.extend("env-add", variable(name, value));
            }
        }
        let gone = now
            .env
            .iter()
            .filter(|(name, value)| **value != Variable::Theirs && !self.env.contains_key(*name));
        words.gone("env-rm", gone.map(|(name, _)| name));
        for (name, value) in self.labels.iter().filter(|(name, value)| now.labels.get(*name) != Some(value)) {
            words.option("label-add", format!("{name}={value}"));
        }
        words.gone("label-rm", now.labels.keys().filter(|name| !self.labels.contains_key(*name)));
        for port in self.ports.difference(&now.ports) {
            words.option("publish-add", port.words());
        }
        for port in now.ports.difference(&self.ports) {
            words.option("publish-rm", port.inside());
        }
        for network in self.networks.difference(&now.networks) {
            words.option("network-add", self.network_word(network));
        }
        words.gone("network-rm", now.networks.difference(&self.networks));
        words.gone("constraint-add", self.constraints.difference(&now.constraints));
        words.gone("constraint-rm", now.constraints.difference(&self.constraints));
        words.0.push(name.to_owned());
        self.finished(words)
    }

    fn always(&self, words: &mut Words) {
        words.option("replicas", self.replicas.to_string());
        words.option("endpoint-mode", &self.endpoint_mode);
        words.option("limit-memory", self.memory.to_string());
        words.option(
            "limit-cpu",
            format!("{}.{:09}", self.nano_cpus / 1_000_000_000, self.nano_cpus % 1_000_000_000),
        );
        words.option("stop-grace-period", format!("{}ms", self.stop_grace_ms));
        words.option("update-order", &self.order);
        words.option("update-failure-action", "rollback");
        words.option("update-parallelism", self.parallelism.to_string());
        words.option("update-delay", format!("{}ms", self.delay_ms));
        words.option("update-monitor", format!("{}ms", self.monitor_ms));
        words.option("update-max-failure-ratio", self.max_failure_ratio.to_string());
        words.option("rollback-order", &self.order);
    }

    fn network_word(&self, network: &str) -> String {
        match &self.alias {
            Some(alias) => format!("name={network},alias={alias}"),
            None => network.to_owned(),
        }
    }

    fn image_word(&self) -> String {
        self.image.clone().unwrap_or_else(|| format!("<{IMAGE}>"))
    }

    fn finished(&self, words: Words) -> Command {
        match self.image {
            Some(_) => docker(words.0),
            None => docker(words.0).hole(IMAGE),
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

    /// Whether new tasks start beside their old ones.
    pub(crate) fn starts_first(&self) -> bool {
        self.order == "start-first"
    }
}

/// The words of a `docker service` command.
struct Words(Vec<String>);

impl Words {
    fn new(verb: &str) -> Self {
        let words = ["service", verb, "--detach", "--quiet", "--no-resolve-image", "--with-registry-auth"];
        Self(words.map(str::to_owned).to_vec())
    }

    fn option(&mut self, name: &str, value: impl AsRef<str>) {
        self.0.push(format!("--{name}={}", value.as_ref()));
    }

    fn extend(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.option(name, value);
        }
    }

    fn gone<'s>(&mut self, name: &str, values: impl IntoIterator<Item = &'s String>) {
        for value in values {
            self.option(name, value);
        }
    }
}

/// A variable as docker is told it; the value of a secret comes from the environment of the docker program, and of somebody
/// else's nothing is told.
fn variable(name: &str, value: &Variable) -> Option<String> {
    match value {
        Variable::Text(text) => Some(format!("{name}={text}")),
        Variable::Secret(_) => Some(name.to_owned()),
        Variable::Theirs => None,
    }
}

/// The variables of a service as the Swarm has it.
fn variables(spec: &Value) -> impl Iterator<Item = (&str, &str)> {
    let pairs = spec.pointer("/TaskTemplate/ContainerSpec/Env").and_then(Value::as_array);
    let pairs = pairs.into_iter().flatten().filter_map(Value::as_str);
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Hashes of the values of the variables of a service as the Swarm has it.
pub(crate) fn hashes(spec: &Value) -> Hashes {
    variables(spec).map(|(name, value)| (name.to_owned(), hash(value))).collect()
}

fn hash(value: &str) -> String {
    blake3::hash(value.as_bytes()).to_hex()[..16].to_owned()
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

fn bytes(text: &str) -> Option<u64> {
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
mod tests {
    use pop_deploy_plugin_api::serde_json::json;

    use super::*;

    fn found() -> Spec {
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

    fn words(command: &Command) -> Vec<&str> {
        let always = ["--limit", "--stop-grace", "--update-", "--rollback-", "--replicas", "--endpoint-mode"];
        let words = command.argv.iter().map(String::as_str).skip(7);
        words.filter(|word| !always.iter().any(|usual| word.starts_with(usual))).collect()
    }

    #[test]
    fn the_way_back_undoes_every_word_of_the_way_there() {
        let before = found();
        let mut after = before.clone().with("shop@sha256:2");
        after.env = BTreeMap::from([("A".to_owned(), Variable::Text("2".to_owned()))]);
        after.labels.remove("team");
        after.args = vec!["serve".to_owned(), "it's --all".to_owned()];
        after.ports.clear();
        after.networks = BTreeSet::from(["back".to_owned()]);
        after.constraints.clear();
        assert_eq!(
            words(&after.update("shop", &before)),
            [
                "--image=shop@sha256:2",
                "--args=serve 'it'\\''s --all'",
                "--env-add=A=2",
                "--env-rm=TOKEN",
                "--label-rm=team",
                "--publish-rm=target=80,protocol=tcp,mode=host",
                "--network-add=back",
                "--network-rm=front",
                "--constraint-rm=node.role == manager",
                "shop",
            ]
        );
        assert_eq!(
            words(&before.update("shop", &after)),
            [
                "--image=shop@sha256:1",
                "--args=serve",
                "--env-add=A=1",
                "--env-add=TOKEN",
                "--label-add=team=a",
                "--publish-add=published=8080,target=80,protocol=tcp,mode=host",
                "--network-add=front",
                "--network-rm=back",
                "--constraint-add=node.role == manager",
                "shop",
            ]
        );
    }

    #[test]
    fn what_somebody_else_set_stays_and_is_told_nobody() {
        let before = found();
        let mut after = before.clone();
        assert_eq!(after.theirs().collect::<Vec<_>>(), ["KEY"]);
        after.env.remove("KEY");
        assert_eq!(
            [words(&after.update("shop", &before)), words(&before.update("shop", &after))].concat().join(" "),
            "--image=shop@sha256:1 --env-add=TOKEN shop --image=shop@sha256:1 --env-add=TOKEN shop"
        );
        after.env.insert("KEY".to_owned(), Variable::Text("other".to_owned()));
        let values = Hashes::from([("KEY".to_owned(), hash("planted"))]);
        assert_eq!(before.clone().known(&after, &values).overwritten(&after), ["KEY"]);
        after.env.insert("KEY".to_owned(), Variable::Text("planted".to_owned()));
        assert_eq!(before.known(&after, &values).overwritten(&after), [""; 0]);
    }

    #[test]
    fn a_port_beside_one_that_goes_is_given_back_before_the_image_changes() {
        let port =
            |published, target| Port { target, protocol: "tcp".into(), published, mode: "ingress".into() };
        let (mut before, mut after) = (found(), found().with("shop@sha256:2"));
        before.ports = BTreeSet::from([port(8080, 80), port(9090, 80), port(7070, 70)]);
        after.ports = BTreeSet::from([port(9090, 80), port(7070, 70), port(6060, 60)]);
        let updates = after.updates("shop", &before);
        assert_eq!(updates[0].argv[7..], ["--publish-rm=target=80,protocol=tcp,mode=ingress", "shop"]);
        assert_eq!(
            updates[1].argv[7..],
            ["--publish-add=published=9090,target=80,protocol=tcp,mode=ingress", "shop"]
        );
        let last = ["--publish-add=published=6060,target=60,protocol=tcp,mode=ingress", "shop"];
        assert_eq!(words(&updates[2])[2..], last);
        assert_eq!(before.updates("shop", &after).len(), 1);
    }

    #[test]
    fn a_secret_of_a_service_is_recorded_as_a_reference_alone() {
        let text = serde_json::to_string(&found()).unwrap();
        assert!(text.contains("SHOP_TOKEN") && !text.contains("planted"), "{text}");
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
