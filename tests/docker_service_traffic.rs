//! Switches of services under traffic: a real nginx that names each task, and visitors who never see one fail.

#![allow(missing_docs, clippy::unwrap_used)]

use front::Front;
use serde_json::json;
use shop::Shop;
use support::wait_for;
use swarm::{in_a_swarm, services, versions};
use traffic::switch_before_visitors;

#[path = "support/engine.rs"]
mod engine;
#[path = "support/front.rs"]
mod front;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/mod.rs"]
mod support;
#[path = "support/swarm.rs"]
mod swarm;
#[path = "support/traffic.rs"]
mod traffic;

/// Puts the shop's tasks behind a proxy, by the addresses that they have on the Swarm's own bridge.
fn behind(front: &Front, shop: &Shop) {
    let network = format!("{}-net", shop.name);
    shop.engine.overlay(&network);
    shop.edit(|config| {
        config["health"] = json!({"http": format!("http://127.0.0.1:{}/healthz", front.port), "interval": 0.1, "start_period": 0.5, "retries": 2});
        config["service"]["networks"] = json!([network]);
        config["service"]["ports"] = json!([]);
        config["service"]["proxy"] = front.proxy();
    });
}

#[test]
fn no_visitor_sees_a_switch_or_a_rollback_of_a_service() {
    let Some(shop) = in_a_swarm("tasks") else { return };
    let front = Front::open();
    behind(&front, &shop);
    let switches = switch_before_visitors(&shop, &front, 1);
    assert_eq!(services(&shop).len(), 1, "{:?}", services(&shop));
    let last = (switches - 1).to_string();
    wait_for("the others to be gone", || (versions(&shop) == [&*last, &*last]).then_some(()));
}
