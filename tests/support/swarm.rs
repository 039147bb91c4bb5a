//! Shops whose image runs as a service, in the Swarm of one node that the tests of a file share.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;

use serde_json::json;

use crate::{
    shop::Shop,
    support::{skipped, wait_for},
};

/// A shop with two tasks; skipped where there can be no Swarm.
pub fn in_a_swarm(name: &'static str) -> Option<Shop> {
    static BEGUN: OnceLock<Result<(), String>> = OnceLock::new();
    let shop = match Shop::open(name) {
        Ok(shop) => shop,
        Err(why) => {
            skipped(why);
            return None;
        }
    };
    if let Err(why) = BEGUN.get_or_init(|| shop.engine.begin_swarm()) {
        skipped(&format!("no Swarm: {why}"));
        return None;
    }
    shop.edit(|config| {
        config.as_object_mut().unwrap().remove("run");
        config.as_object_mut().unwrap().remove("health");
        config["service"] = json!({
            "name": name, "replicas": 2, "endpoint_mode": "dnsrr", "stop_grace": 0,
            "ports": [{"published": 0, "target": 8080, "mode": "host"}],
        });
    });
    Some(shop)
}

/// The names of the app's services.
pub fn services(shop: &Shop) -> Vec<String> {
    let filter = format!("--filter=label=pop-deploy.app={}", shop.name);
    let said = shop.engine.must(&["service", "ls", &filter, "--format={{.Name}}"]);
    said.lines().map(str::to_owned).collect()
}

/// The versions that the app's running tasks are of.
pub fn versions(shop: &Shop) -> Vec<String> {
    let named = format!("--filter=name=^{}", shop.name);
    let ids = shop.engine.must(&["ps", "--quiet", "--filter=label=com.docker.swarm.service.name", &named]);
    if ids.is_empty() {
        return Vec::new();
    }
    let inspect = ["container", "inspect", "--format={{json .Config.Env}}"];
    // Of those that are gone meanwhile nothing is told.
    let told = shop.engine.docker(&inspect.into_iter().chain(ids.lines()).collect::<Vec<_>>()).stdout;
    let own = format!("\"APP={}\"", shop.name);
    let ours = told.lines().filter(|env| env.contains(&own));
    ours.filter_map(|env| Some(env.split("VERSION=").nth(1)?.split('"').next()?.to_owned())).collect()
}

/// Waits until two tasks run, of this version and no other.
pub fn serves(shop: &Shop, version: &str) {
    wait_for(version, || (versions(shop) == [version, version]).then_some(()));
}
