//! The Swarm service that runs the image.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::health::Seconds;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Environment, Proxy};

/// A Swarm service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// The service's name. Default: the project's name.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// How many tasks it has.
    #[serde(default = "one")]
    pub(crate) replicas: u32,
    /// Ports to publish: short (`8080:80`) or in docker's long form.
    #[serde(default)]
    pub(crate) ports: Vec<ServicePort>,
    /// Environment variables: texts, or references to secrets.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, Environment>,
    /// The networks that its tasks join.
    #[serde(default)]
    pub(crate) networks: Vec<String>,
    /// How its name leads to its tasks.
    #[serde(default)]
    pub(crate) endpoint_mode: Option<EndpointMode>,
    /// Program arguments in place of the image's own.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// Labels beside ours, which begin with `pop-deploy.`.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Where tasks may run, as docker's placement constraints.
    #[serde(default)]
    pub(crate) constraints: Vec<String>,
    /// The most memory a task may use: `256m`, `2g`.
    #[serde(default)]
    pub(crate) memory: Option<String>,
    /// How many processors a task may use, parts of one allowed.
    #[serde(default)]
    pub(crate) cpus: Option<f64>,
    /// How long a task may take to stop before it is killed, in seconds.
    #[serde(default)]
    pub(crate) stop_grace: Option<Seconds>,
    /// How an update goes from task to task.
    #[serde(default)]
    pub(crate) update: Update,
    /// The proxy in front, which names each task by its address: a release is a service of its own beside the old one,
    /// called `<name>-<release>`, and traffic moves when all of its tasks are healthy.
    #[serde(default)]
    pub(crate) proxy: Option<Proxy>,
}

fn one() -> u32 {
    1
}

/// A port of a service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text like \"8080:80\" or {\"published\": 8080, \"target\": 80}")]
pub(crate) enum ServicePort {
    /// `published:target`, perhaps with `/tcp` or `/udp` behind it.
    Short(String),
    /// Docker's long form.
    Long(LongPort),
}

/// A port in docker's long form.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongPort {
    /// The port outside.
    pub(crate) published: u16,
    /// The port that the container listens on.
    pub(crate) target: u16,
    /// Whether every node publishes it, or those with a task.
    #[serde(default)]
    pub(crate) mode: PortMode,
    /// The protocol.
    #[serde(default)]
    pub(crate) protocol: PortProtocol,
}

/// Who publishes a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PortMode {
    /// Every node.
    #[default]
    Ingress,
    /// The nodes that run a task.
    Host,
}

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PortProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// How a service's name leads to its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EndpointMode {
    /// By one virtual address.
    Vip,
    /// By the addresses of its tasks.
    Dnsrr,
}

/// How an update goes.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    /// Whether a new task starts before its old one stops. Default: it does.
    #[serde(default)]
    pub(crate) order: UpdateOrder,
    /// How many tasks at a time; 0 means all.
    #[serde(default)]
    pub(crate) parallelism: Option<u32>,
    /// How long between them, in seconds.
    #[serde(default)]
    pub(crate) delay: Option<Seconds>,
    /// How long each task is watched, in seconds. Default: as long as health and `min_ready` take.
    #[serde(default)]
    pub(crate) monitor: Option<Seconds>,
    /// Which share of tasks may fail, from 0 to 1.
    #[serde(default)]
    pub(crate) max_failure_ratio: Option<f64>,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UpdateOrder {
    /// The new task.
    #[default]
    StartFirst,
    /// The end of the old one.
    StopFirst,
}
