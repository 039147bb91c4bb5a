//! A published port of a service.

use pop_deploy_plugin_api::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    config::{PortMode, PortProtocol, ServicePort},
    runtime,
};

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Port {
    pub(super) target: u64,
    pub(super) protocol: String,
    pub(crate) published: u64,
    pub(crate) mode: String,
}

impl Port {
    /// As the config says; `index` is its place there.
    ///
    /// # Errors
    /// It is no port.
    pub(super) fn of(index: usize, port: &ServicePort) -> Result<Self> {
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

    /// The port as docker is told it.
    pub(super) fn words(&self) -> String {
        let published = match self.published {
            0 => String::new(),
            port => format!("published={port},"),
        };
        format!("{published}{}", self.inside())
    }

    /// Where it leads: all that docker looks at when a port is to go.
    pub(super) fn inside(&self) -> String {
        format!("target={},protocol={},mode={}", self.target, self.protocol, self.mode)
    }
}
