//! The container of a release: what `docker run` is told, and what of it can be compared with the one before.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{
    Error, Result, Secret,
    protocol::{Command, Release},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, check_lendable, check_variable},
    command::{IMAGE, OWN_PORT, docker},
    config::{Config, Environment, Run},
    labels::{self, OURS, SPEC},
    reference::check_name,
};

/// A published port, as the config writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// The port on the engine's machine, where it is a fixed one.
    pub(crate) outside: Option<u16>,
    /// The port that the container listens on.
    pub(crate) inside: u16,
    /// Whether it is UDP.
    pub(crate) udp: bool,
}

impl Port {
    /// Reads `[[address:][outside]:]inside[/protocol]`.
    ///
    /// # Errors
    /// It is none of that.
    pub(crate) fn parse(key: &str, text: &str) -> Result<Self> {
        let wrong = || {
            Error::config(format!("`{key}`: `{}` is no port to publish", text.escape_debug()))
                .hint("write it like 8080:80, 127.0.0.1:8080:80 or 53:53/udp")
        };
        let (ports, udp) = match text.rsplit_once('/') {
            None => (text, false),
            Some((ports, "tcp")) => (ports, false),
            Some((ports, "udp")) => (ports, true),
            Some(_) => return Err(wrong()),
        };
        let number = |word: &str| word.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
        let words: Vec<_> = ports.rsplitn(3, ':').collect();
        let inside = number(words[0])?;
        let outside = match words.get(1) {
            None | Some(&"") => None,
            Some(word) => Some(number(word)?),
        };
        if let Some(address) = words.get(2) {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<std::net::IpAddr>().map_err(|_| wrong())?;
        }
        Ok(Self { outside, inside, udp })
    }
}

/// The ports that a container publishes.
pub(crate) fn ports(run: &Run) -> impl Iterator<Item = Port> {
    run.ports.iter().filter_map(|text| Port::parse("config.run.ports", text).ok())
}

/// The fixed ports of the engine's machine among them: no two containers can have one at a time.
pub(crate) fn fixed_ports(run: &Run) -> Vec<u16> {
    ports(run).filter_map(|port| port.outside).collect()
}

/// Refuses what docker would not take, or would take for something else.
///
/// # Errors
/// That.
pub(crate) fn check(run: &Run, config: &Config) -> Result<()> {
    for (index, port) in run.ports.iter().enumerate() {
        let key = format!("config.run.ports[{index}]");
        if Port::parse(&key, port)?.outside.is_some() && run.proxy.is_some() {
            return Err(Error::config(format!(
                "`{key}`: `{port}` is fixed, and two containers run behind a proxy"
            ))
            .hint("leave the port of the machine out, or the proxy"));
        }
    }
    for (name, value) in &run.env {
        check_variable("config.run.env", name)?;
        if matches!(value, Environment::Secret(_)) {
            check_lendable("config.run.env", name)?;
        }
    }
    let plain = |key: &str, word: &str| match word.is_empty() || word.chars().any(char::is_control) {
        true => {
            Err(Error::config(format!("`config.run.{key}`: `{}` can't be handed over", word.escape_debug()))
                .hint("write one line of text"))
        }
        false => Ok(()),
    };
    for volume in &run.volumes {
        plain("volumes", volume)?;
    }
    for word in &run.command {
        if word.contains('\0') {
            plain("command", word)?;
        }
    }
    if let Some(network) = &run.network {
        check_name("config.run.network", network)?;
    }
    for (name, value) in &run.labels {
        plain("labels", name)?;
        if name.starts_with(OURS) || name.contains('=') || value.contains('\0') {
            return Err(Error::config(format!(
                "`config.run.labels`: `{}` can't be a label",
                name.escape_debug()
            ))
            .hint("labels that begin with `pop-deploy.` are ours, and no name has a `=`"));
        }
    }
    if run.memory.as_ref().is_some_and(|memory| !is_memory(memory)) {
        return Err(
            Error::config("`config.run.memory` is no amount of memory").hint("write it like 256m or 2g")
        );
    }
    if run.cpus.is_some_and(|cpus| !(cpus > 0.0 && cpus <= 1024.0)) {
        return Err(
            Error::config("`config.run.cpus` is no number of processors").hint("write it like 0.5 or 2")
        );
    }
    if let Some(proxy) = &run.proxy {
        crate::proxy::check("config.run.proxy", proxy)?;
        if config.run.as_ref().is_some_and(|run| run.network.as_deref() == Some("host")) {
            return Err(Error::config(
                "`config.run.network` is the host's, where two containers would share a port",
            )
            .hint("leave the network out, or the proxy"));
        }
    }
    Ok(())
}

fn is_memory(text: &str) -> bool {
    let digits = text.strip_suffix(['b', 'k', 'm', 'g', 'B', 'K', 'M', 'G']).unwrap_or(text);
    digits.parse::<u64>().is_ok_and(|amount| amount > 0)
}

/// The seconds that a container has to stop.
pub(crate) fn grace(run: &Run) -> u64 {
    run.stop_grace.map_or(10, |grace| grace.span().as_secs_f64().ceil() as u64)
}

/// The command that makes the container of `release` and starts it. The image is a hole, or the word that is given; behind
/// a proxy its own port is one.
pub(crate) fn run_command(app: &App, run: &Run, release: &Release, image: Option<&str>) -> Command {
    let mut words = vec!["run".to_owned(), "--detach".to_owned()];
    let mut option = |name: &str, value: &str| words.push(format!("--{name}={value}"));
    option("name", &app.container(&release.id));
    // Until it is verified, a container that ends must stay down: one that is started again looks well half the time.
    option("restart", "no");
    for (name, value) in labels::of(&app.name, release) {
        option("label", &format!("{name}={value}"));
    }
    option("label", &format!("{SPEC}={}", Spec::of(app, run).to_label()));
    for (name, value) in &run.labels {
        option("label", &format!("{name}={value}"));
    }
    for port in &run.ports {
        option("publish", port);
    }
    if let Some(proxy) = &run.proxy {
        // Fixed from then on: one that the engine chooses is another after each restart, and the proxy knows only the first.
        option("publish", &format!("127.0.0.1:<{OWN_PORT}>:{}", proxy.port));
    }
    for (name, value) in &run.env {
        match value {
            Environment::Text(text) => option("env", &format!("{name}={text}")),
            // Its value comes from the environment of the docker program.
            Environment::Secret(_) => option("env", name),
        }
    }
    for volume in &run.volumes {
        option("volume", volume);
    }
    if let Some(network) = &run.network {
        option("network", network);
    }
    if let Some(memory) = &run.memory {
        option("memory", memory);
    }
    if let Some(cpus) = run.cpus {
        option("cpus", &cpus.to_string());
    }
    option("stop-timeout", &grace(run).to_string());
    words.push(image.map_or_else(|| format!("<{IMAGE}>"), str::to_owned));
    words.extend(run.command.iter().cloned());
    let holes = [(IMAGE, image.is_none()), (OWN_PORT, run.proxy.is_some())];
    holes.into_iter().filter(|(_, open)| *open).fold(docker(words), |command, (hole, _)| command.hole(hole))
}

/// The variables that are secrets.
pub(crate) fn secrets(run: &Run) -> BTreeMap<String, Secret> {
    run.env
        .iter()
        .filter_map(|(name, value)| match value {
            Environment::Secret(secret) => Some((name.clone(), secret.clone())),
            Environment::Text(_) => None,
        })
        .collect()
}

/// What a container was started with, in names and hashes: enough to say what a deployment changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Everything by a name that people read (`env LOG_LEVEL`, `port 8080:80`), with a hash of its value.
    #[serde(flatten)]
    parts: BTreeMap<String, String>,
}

impl Spec {
    pub(crate) fn of(app: &App, run: &Run) -> Self {
        let mut parts = BTreeMap::new();
        let mut part = |name: String, value: &str| parts.insert(name, hash(value));
        for (name, value) in &run.env {
            // Of a secret the reference: what a short one is could be found by trying.
            part(format!("env {name}"), &format!("{value:?}"));
        }
        for port in &run.ports {
            part(format!("port {port}"), "");
        }
        for volume in &run.volumes {
            part(format!("volume {volume}"), "");
        }
        for (name, value) in &run.labels {
            part(format!("label {name}"), value);
        }
        part("network".to_owned(), run.network.as_deref().unwrap_or("bridge"));
        part("command".to_owned(), &run.command.join("\0"));
        part("limits".to_owned(), &format!("{:?} {:?} {}", run.memory, run.cpus, grace(run)));
        part("restart".to_owned(), run.restart.name());
        if let Some(proxy) = app.proxy() {
            part("proxied port".to_owned(), &proxy.port.to_string());
        }
        Self { parts }
    }

    fn to_label(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a label says; nothing where it can't be read.
    pub(crate) fn from_label(label: &str) -> Option<Self> {
        serde_json::from_str(label).ok()
    }

    /// What of it isn't as it was `before`, in names.
    pub(crate) fn differences(&self, before: &Self) -> Vec<String> {
        let changed = self.parts.iter().filter_map(|(name, hash)| match before.parts.get(name) {
            None => Some(format!("{name} is new ({hash})")),
            Some(old) if old != hash => Some(format!("{name} changes ({old} → {hash})")),
            Some(_) => None,
        });
        let gone = before.parts.keys().filter(|name| !self.parts.contains_key(*name));
        changed.chain(gone.map(|name| format!("{name} goes"))).collect()
    }
}

fn hash(value: &str) -> String {
    blake3::hash(value.as_bytes()).to_hex()[..8].to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_what_docker_publishes_and_nothing_else() {
        let fixed = |text: &str| Port::parse("ports", text).map(|port| (port.outside, port.inside, port.udp));
        assert_eq!(fixed("8080:80").unwrap(), (Some(8080), 80, false));
        assert_eq!(fixed("127.0.0.1:8080:80/udp").unwrap(), (Some(8080), 80, true));
        assert_eq!(fixed("127.0.0.1::80").unwrap(), (None, 80, false));
        assert_eq!(fixed("80").unwrap(), (None, 80, false));
        for text in ["", "--privileged", "80:0", "a:80", "host:1:2", "1:2:3:4", "80/sctp", "70000:80", "80 "]
        {
            assert!(fixed(text).is_err(), "{text:?}");
        }
    }
}
