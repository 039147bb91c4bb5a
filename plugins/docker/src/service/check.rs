//! What of the config's `service` can't be right.

use pop_deploy_plugin_api::{Error, Result};

use super::{
    port::Port,
    spec::{bytes, endpoint_mode},
};
use crate::{
    app::{check_lendable, check_variable},
    config::{Environment, Service},
    labels::OURS,
    reference::check_name,
};

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
