//! What needs an engine to itself: the whole of it before and after a dry run, and its end and start.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::{Mutex, PoisonError};

use serde_json::json;
use shop::{Behaviour, Shop};
use support::wait_for;

#[path = "support/engine.rs"]
mod engine;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/mod.rs"]
mod support;

/// One test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_dry_run_changes_nothing_on_the_whole_engine() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let shop = match Shop::open("whole") {
        Ok(shop) => shop,
        Err(why) => return support::skipped(why),
    };
    shop.fixed_port();
    shop.edit(|config| config["run"]["volumes"] = json!(["whole-data:/data"]));
    shop.must_deploy("1", Behaviour::Well);
    shop.dockerfile("2", Behaviour::Well);
    let before = shop.whole();
    shop.must(&["execute", "--dry-run", "--version", "2"]);
    let after = shop.whole();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
    assert!(before.iter().any(|spec| spec.contains("whole-data")), "{before:?}");
}

#[test]
fn after_an_engine_that_started_again_what_was_verified_serves_alone() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for restart in ["always", "on-failure"] {
        let shop = match Shop::open(if restart == "always" { "always" } else { "failing" }) {
            Ok(shop) => shop,
            Err(why) => return support::skipped(why),
        };
        let port = shop.fixed_port();
        shop.edit(|config| config["run"]["restart"] = json!(restart));
        shop.must_deploy("1", Behaviour::Well);
        shop.must_deploy("2", Behaviour::Well);
        let live = shop.running();
        shop.engine.restart();
        wait_for("the container", || (shop.running() == live).then_some(()));
        assert_eq!(shop.get(port), "2", "{restart}");
        shop.must(&["verify"]);
        shop.must(&["rollback", "--yes"]);
        assert_eq!(shop.get(port), "1", "{restart}");
        shop.engine.must(&["rm", "--force", &shop.running()]);
    }
}
