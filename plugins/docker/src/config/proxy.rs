//! The proxy in front of containers, or of the tasks of a service.

use std::{path::PathBuf, time::Duration};

use pop_deploy_plugin_api::health::Seconds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A proxy that reads its upstream from a file of its own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proxy {
    /// Which program it is.
    pub(crate) kind: ProxyKind,
    /// The file that names the upstream, which the proxy's own configuration includes. Written by deployments alone.
    pub(crate) file: PathBuf,
    /// The port that the container listens on.
    pub(crate) port: u16,
    /// The upstream's name in that file. Default: the app's name.
    #[serde(default)]
    pub(crate) upstream: Option<String>,
    /// The command that tests the proxy's configuration. With `{{file}}` in it, that stands for the new file before
    /// it takes its place. Default: the usual one of the program.
    #[serde(default)]
    pub(crate) test: Option<Vec<String>>,
    /// The command that has the proxy read it. Default: the usual one of the program.
    #[serde(default)]
    pub(crate) reload: Option<Vec<String>>,
    /// How long the old container still serves the requests it has, in seconds. Default: 5.
    #[serde(default)]
    pub(crate) drain: Option<Seconds>,
}

impl Proxy {
    /// How long the container that gives way still serves: the requests it has, and those that come until the proxy
    /// has read its file, which most do some time after they were told to.
    pub(crate) fn drain(&self) -> Duration {
        self.drain.map_or(Duration::from_secs(5), Seconds::span)
    }
}

/// A program that proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProxyKind {
    /// An `upstream` block, included within `http`.
    Nginx,
    /// A `reverse_proxy` directive, imported within a site.
    Caddy,
    /// A `backend` section, in a file of its own beside the main one.
    Haproxy,
    /// A service in a file that a file provider watches.
    Traefik,
}
