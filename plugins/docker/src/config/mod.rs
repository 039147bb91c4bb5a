//! A target's `config`: what is built, where it is pushed, and what is run of it.

mod build_arg;
mod proxy;
mod run;
mod service;

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, time::Duration};

use pop_deploy_plugin_api::{
    Secret,
    canary::Canary,
    health::{Health, Seconds},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub(crate) use self::{
    build_arg::BuildArg,
    proxy::{Proxy, ProxyKind},
    run::{Environment, Restart, Run},
    service::{EndpointMode, PortMode, PortProtocol, Service, ServicePort, UpdateOrder},
};

/// The `config` of a docker target. Without `run` and `service` it builds and pushes, and runs nothing.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The image's name in the registry, such as `acme/orders-api`. Default: the project's name.
    #[serde(default)]
    pub(crate) image_name: Option<String>,
    /// The registry, as `host` or `host:port`.
    #[serde(default = "ghcr")]
    pub(crate) registry: String,
    /// The folder that is sent to the builder, relative to the project and within it.
    #[serde(default = "here")]
    pub(crate) build_context: PathBuf,
    /// The Dockerfile, relative to the project and within it.
    #[serde(default = "dockerfile")]
    pub(crate) dockerfile: PathBuf,
    /// The platforms to build for, such as `linux/amd64`. Default: the engine's own.
    #[serde(default)]
    pub(crate) platforms: Vec<String>,
    /// The image's tags. One with `{{version}}` in it is pushed before anything is switched; one without moves at
    /// the very end.
    #[serde(default = "latest")]
    pub(crate) tags: Vec<String>,
    /// Values for the Dockerfile's `ARG`s. A reference to a secret never becomes one: it is there for
    /// `RUN --mount=type=secret,id=NAME`, so that no layer and no history of the image knows it.
    #[serde(default)]
    pub(crate) build_args: BTreeMap<String, BuildArg>,
    /// Whether the image goes to the registry. Without, it stays on the engine that built it.
    #[serde(default = "yes")]
    pub(crate) push: bool,
    /// Who to log in as at the registry. Default: whatever the user's docker is logged in as.
    #[serde(default)]
    pub(crate) login: Option<Login>,
    /// Whether the Dockerfile has several stages. Written by popkit's detection; not needed here.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted for deploy.json files that popkit wrote")]
    multi_stage: Option<bool>,
    /// The project's compose file. Written by popkit's detection; not used here.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted for deploy.json files that popkit wrote")]
    compose_file: Option<Value>,
    /// The container to run of the image.
    #[serde(default)]
    pub(crate) run: Option<Run>,
    /// The Swarm service to run of the image.
    #[serde(default)]
    pub(crate) service: Option<Service>,
    /// How it is asked whether what runs is well.
    #[serde(default)]
    pub(crate) health: Option<Health>,
    /// How a new release is tried on a part of the requests first, where that is asked for: `percent` behind a proxy.
    #[serde(default)]
    pub(crate) canary: Option<Canary>,
    /// How long a container must have been up before it counts as running, in seconds. Default: 10.
    #[serde(default)]
    pub(crate) min_ready: Option<Seconds>,
    /// How many former containers to keep, stopped, for a rollback.
    #[serde(default = "three")]
    pub(crate) keep: NonZeroUsize,
    /// Whether a container of that name which no deployment made is taken over, as the release before.
    #[serde(default)]
    pub(crate) adopt: bool,
}

/// Who logs in at the registry.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// The user.
    pub(crate) username: String,
    /// The password or token, by reference.
    pub(crate) password: Secret,
}

fn ghcr() -> String {
    "ghcr.io".to_owned()
}

fn here() -> PathBuf {
    PathBuf::from(".")
}

fn dockerfile() -> PathBuf {
    PathBuf::from("Dockerfile")
}

fn latest() -> Vec<String> {
    vec!["latest".to_owned()]
}

fn yes() -> bool {
    true
}

fn three() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(2)
}

impl Config {
    /// How long a container must have been up before it counts as running.
    pub(crate) fn min_ready(&self) -> Duration {
        self.min_ready.map_or(Duration::from_secs(10), Seconds::span)
    }
}
