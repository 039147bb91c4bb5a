//! Which of an app's services serves.

use pop_deploy_plugin_api::Result;

use super::{
    canary,
    state::{self, Service},
    switch::names_all,
};
use crate::{app::App, config::Proxy, engine::Engine, proxy::Upstream};

/// The service that serves, and the app's others.
///
/// # Errors
/// The Swarm or the proxy's file can't be read.
pub(crate) fn services(app: &App, engine: &Engine) -> Result<(Option<Service>, Vec<Service>)> {
    let canary = canary::name(&app.name);
    let mut found = Vec::new();
    for name in state::names(&app.name, engine)?.iter().filter(|name| **name != canary) {
        found.extend(state::read(name, engine)?);
    }
    let proxy = app.config.service.as_ref().and_then(|service| service.proxy.as_ref());
    let live = match proxy {
        None => found.iter().position(|it| it.name == app.name).or_else(|| behind_a_proxy(app, &found)),
        Some(proxy) => {
            // One of that name which isn't ours has nothing to do with the proxy.
            found.retain(|it| it.is_of(&app.name) || app.config.adopt);
            found.sort_by(|a, b| a.created.cmp(&b.created));
            proxied(app, proxy, &found, engine)?
        }
    };
    let live = live.map(|index| found.remove(index));
    Ok((live, found))
}

/// The newest that a proxy leads to, which the config doesn't know any more, or the release that is gone back to didn't yet.
fn behind_a_proxy(app: &App, found: &[Service]) -> Option<usize> {
    let proxied = found.iter().enumerate().filter(|(_, it)| it.is_behind_a_proxy_of(&app.name));
    Some(proxied.max_by(|(_, a), (_, b)| a.created.cmp(&b.created))?.0)
}

/// Of several the oldest whose tasks the proxy's file names: a newer one is a canary. Where it names none, their tasks have
/// other addresses by now, and the oldest was there before what a dead run left.
fn proxied(app: &App, proxy: &Proxy, found: &[Service], engine: &Engine) -> Result<Option<usize>> {
    if found.len() < 2 {
        return Ok(found.len().checked_sub(1));
    }
    let text = Upstream::new(proxy, &app.name, &engine.session)?.read()?.unwrap_or_default();
    for (index, service) in found.iter().enumerate() {
        if is_named(service, proxy, &text, engine)? {
            return Ok(Some(index));
        }
    }
    Ok(Some(0))
}

/// Whether the proxy's file names every task of a service.
///
/// # Errors
/// The Swarm can't be read.
pub(crate) fn is_named(service: &Service, proxy: &Proxy, upstream: &str, engine: &Engine) -> Result<bool> {
    let port = service.spec.proxied().unwrap_or(proxy.port);
    let image = service.spec.image.as_deref().unwrap_or_default();
    // A task without an address here is one that the file can't name.
    let servers = service.spec.reach(&service.name, port).reachable(image, engine)?.unwrap_or_default();
    Ok(!servers.is_empty() && names_all(upstream, &servers))
}
