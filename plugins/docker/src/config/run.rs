//! The container that runs the image on one engine.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{Secret, health::Seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Proxy;

/// A container.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// The app's name; containers are called `<name>-<release>`. Default: the project's name.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Ports to publish, as `docker run --publish` takes them: `8080:80`, `127.0.0.1:8080:80/tcp`.
    #[serde(default)]
    pub(crate) ports: Vec<String>,
    /// Environment variables: texts, or references to secrets.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, Environment>,
    /// Volumes, as `docker run --volume` takes them: `data:/var/lib/app`, `/srv/app:/app:ro`.
    #[serde(default)]
    pub(crate) volumes: Vec<String>,
    /// The network to join. Default: the engine's bridge.
    #[serde(default)]
    pub(crate) network: Option<String>,
    /// Program and arguments in place of the image's own.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// Labels beside ours, which begin with `pop-deploy.`.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// What the engine does when the container ends, once it is verified. Until then it stays down.
    #[serde(default)]
    pub(crate) restart: Restart,
    /// The most memory it may use: `256m`, `2g`.
    #[serde(default)]
    pub(crate) memory: Option<String>,
    /// How many processors it may use, parts of one allowed.
    #[serde(default)]
    pub(crate) cpus: Option<f64>,
    /// How long it may take to stop before it is killed, in seconds. Default: 10.
    #[serde(default)]
    pub(crate) stop_grace: Option<Seconds>,
    /// Whether the old container may be stopped before the new one serves, which a fixed port can't do without.
    #[serde(default)]
    pub(crate) allow_downtime: bool,
    /// The proxy in front: the new container is started beside the old one, and traffic moves when it is healthy.
    #[serde(default)]
    pub(crate) proxy: Option<Proxy>,
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a reference like {\"env\": \"NAME\"}")]
pub(crate) enum Environment {
    /// A text.
    Text(String),
    /// A secret, by reference.
    Secret(Secret),
}

/// When the engine starts the container again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Restart {
    /// Never.
    No,
    /// Whenever it fails.
    OnFailure,
    /// Whatever happens.
    Always,
    /// Whatever happens but being stopped.
    #[default]
    UnlessStopped,
}

impl Restart {
    /// The policy's name, as docker has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}
