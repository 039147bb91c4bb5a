//! Runs that die between two commands: the next command says what is there and mends it, neither container nor service stays
//! behind, and behind a proxy visitors are served all along.

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

#[test]
fn a_run_that_is_killed_anywhere_is_mended_and_visitors_are_served_all_along() {
    let shop = match Shop::open("mortal") {
        Ok(shop) => shop,
        Err(why) => return support::skipped(why),
    };
    let front = Front::open();
    let assassin = Assassin::new(Aim::Everything);
    let proxy = assassin.behind(front.proxy());
    shop.edit(|config| config["run"]["proxy"] = proxy);
    shop.must_deploy("1", Behaviour::Well);
    let containers = shop.containers();
    let visitors = Visitors::come(front.port, 50);
    let deaths = assassin.strike_everywhere(&shop, |death, went_live| {
        // The release that went live, and was gone back from, is kept.
        for kept in shop.containers().iter().filter(|name| went_live && !containers.contains(name)) {
            shop.engine.must(&["rm", "--force", kept]);
        }
        assert_eq!(front.get(), "1", "{death}");
        assert_eq!(shop.containers(), containers, "{death}");
    });
    visitors.leave().all_served();
    assert!(deaths.len() >= 7, "{deaths:?}");
    for command in ["build", "push", "run", "reload", "stop"] {
        assert!(deaths.iter().any(|death| death.contains(command)), "{command} in {deaths:?}");
    }
}

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
    let Some(shop) = in_a_swarm("fated") else { return };
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
