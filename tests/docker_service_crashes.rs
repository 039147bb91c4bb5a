//! Runs that die while they change a service: the next command says what is there and mends it, nothing stays behind, and
//! behind a proxy visitors are served all along.

#![allow(missing_docs, clippy::unwrap_used)]

use assassin::{Aim, Assassin, everything};
use front::{Front, Visitors};
use serde_json::json;
use shop::{Behaviour, Shop};
use swarm::{in_a_swarm, serves, services};

#[path = "support/assassin.rs"]
mod assassin;
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

fn assassin() -> Assassin {
    Assassin::new(if everything() { Aim::Everything } else { Aim::Services })
}

/// Has deployments die everywhere, and sees to it that version 1 is all there is afterwards. Returns the deaths.
fn die_everywhere(shop: &Shop, assassin: &Assassin) -> Vec<String> {
    assassin.strike_everywhere(shop, |death, _| {
        serves(shop, "1");
        assert_eq!(services(shop).len(), 1, "{death}: {:?}", services(shop));
        shop.must(&["verify"]);
    })
}

#[test]
fn a_run_that_is_killed_anywhere_leaves_one_service_and_visitors_are_served_all_along() {
    let Some(shop) = in_a_swarm("mortal") else { return };
    let (front, assassin) = (Front::open(), assassin());
    let proxy = assassin.behind(front.proxy());
    shop.edit(|config| {
        config["service"]["ports"] = json!([]);
        config["service"]["proxy"] = proxy;
    });
    shop.must_deploy("1", Behaviour::Well);
    let visitors = Visitors::come(front.port, 50);
    let deaths = die_everywhere(&shop, &assassin);
    visitors.leave().all_served();
    for command in ["service create", "reload", "service rm"] {
        assert!(deaths.iter().any(|death| death.contains(command)), "{command} in {deaths:?}");
    }
}

#[test]
fn an_update_that_is_killed_anywhere_is_mended() {
    let Some(shop) = in_a_swarm("updated") else { return };
    let assassin = assassin();
    shop.must_deploy("1", Behaviour::Well);
    let deaths = die_everywhere(&shop, &assassin);
    assert!(deaths.iter().any(|death| death.contains("service update")), "{deaths:?}");
}
