//! Runs that die between two docker commands, behind a real proxy: visitors are served all along, the next command says
//! what is there and mends it, and no container stays behind.

#![allow(missing_docs, clippy::unwrap_used)]

use assassin::{Aim, Assassin};
use front::{Front, Visitors};
use shop::{Behaviour, Shop};

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
