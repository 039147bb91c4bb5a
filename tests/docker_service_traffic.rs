//! Switches of services under traffic: a real nginx that names each task, and visitors who never see one fail.

#![allow(missing_docs, clippy::unwrap_used)]

use front::{Front, Visitors};
use serde_json::json;
use shop::{Behaviour, Shop};
use support::wait_for;
use swarm::{in_a_swarm, services, versions};

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
    let switches = std::env::var("POP_DEPLOY_SWITCHES").map_or(1, |switches| switches.parse().unwrap());
    let front = Front::open();
    behind(&front, &shop);
    shop.must_deploy("0", Behaviour::Well);
    assert_eq!(front.get(), "0");
    let visitors = Visitors::come(front.port, 200);
    for number in 1..=switches {
        shop.must_deploy(&number.to_string(), Behaviour::Well);
        shop.must(&["rollback", "--yes", "--to", &(number - 1).to_string()]);
    }
    let unwell = shop.deploy("9999", Behaviour::Unwell);
    assert_eq!(unwell.code, Some(1), "{}{}", unwell.stdout, unwell.stderr);
    // One that goes live, and is taken back.
    shop.project.hook("pre_verify", "exit 1");
    let back = shop.deploy("8888", Behaviour::Well);
    assert_eq!(back.code, Some(8), "{}{}", back.stdout, back.stderr);
    let visit = visitors.leave();
    assert!(
        visit.failed.is_empty(),
        "{} of {} failed: {:?}",
        visit.failed.len(),
        visit.asked,
        visit.failed[0]
    );
    println!("{} requests", visit.asked);
    let seen = (0..=switches).chain([8888]).map(|number: u32| number.to_string()).collect();
    assert_eq!(visit.seen, seen, "of {} requests", visit.asked);
    shop.must(&["verify"]);
    assert_eq!(services(&shop).len(), 1, "{:?}", services(&shop));
    let last = (switches - 1).to_string();
    wait_for("the others to be gone", || (versions(&shop) == [&*last, &*last]).then_some(()));
}
