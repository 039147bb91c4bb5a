//! Switches under traffic: a real nginx in front of real containers, and of the tasks of a service, and visitors who never see
//! one fail.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;

use front::{Front, Visitors};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use shop::{Behaviour, Shop};
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

fn behind(front: &Front, shop: &Shop) {
    shop.edit(|config| {
        config["run"]["proxy"] = front.proxy();
        config["health"]["http"] = json!(format!("http://127.0.0.1:{}/healthz", front.port));
        config["keep"] = json!(2);
    });
}

#[test]
fn no_visitor_sees_a_switch_or_a_rollback() {
    let shop = match Shop::open("traffic") {
        Ok(shop) => shop,
        Err(why) => return support::skipped(why),
    };
    let front = Front::open();
    behind(&front, &shop);
    switch_before_visitors(&shop, &front, 2);
}

#[test]
fn a_reload_that_fails_or_is_interrupted_is_repeated_on_the_way_back() {
    let shop = match Shop::open("unread") {
        Ok(shop) => shop,
        Err(why) => return support::skipped(why),
    };
    let front = Front::open();
    behind(&front, &shop);
    let proxy = front.proxy();
    // The proxy has read the new file by then, whatever becomes of the program that told it to.
    let reload = |after: &str| {
        let script = format!(
            "\"$@\" && if rm once 2>/dev/null; then until [ -e new ]; do sleep 0.05; done; {after}; fi"
        );
        let words = [json!("sh"), json!("-c"), json!(script), json!("reload")];
        words.into_iter().chain(proxy["reload"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    shop.must_deploy("1", Behaviour::Well);
    let first = shop.containers();
    let visitors = Visitors::come(front.port, 50);
    for (after, code) in [("exit 1", 8), ("touch waits; sleep 600", 130)] {
        shop.edit(|config| config["run"]["proxy"]["reload"] = json!(reload(after)));
        shop.project.write("once", "");
        shop.dockerfile("2", Behaviour::Well);
        let run = shop.command(&["execute", "--yes", "--version", "2"]).spawn().unwrap();
        wait_for("the new container's traffic", || (front.get() == "2").then_some(()));
        shop.project.write("new", "");
        if code == 130 {
            wait_for("the reload", || shop.project.path().join("waits").exists().then_some(()));
            kill_process(Pid::from_child(&run), Signal::INT).unwrap();
        }
        let said: support::Said = run.wait_with_output().unwrap().into();
        assert_eq!(said.code, Some(code), "{}{}", said.stdout, said.stderr);
        assert_eq!((front.get(), shop.containers()), ("1".to_owned(), first.clone()), "{after}");
        fs::remove_file(shop.project.path().join("new")).unwrap();
    }
    let visit = visitors.leave();
    visit.all_served();
    shop.must(&["verify"]);
    // What a run leaves that died in between.
    fs::write(format!("{}.pop-deploy-unread", proxy["file"].as_str().unwrap()), "").unwrap();
    let unread = shop.run(&["verify"]);
    assert_eq!(unread.code, Some(1), "{}{}", unread.stdout, unread.stderr);
    assert!((unread.stdout + &unread.stderr).contains("the proxy may not have read"));
    shop.must_deploy("3", Behaviour::Well);
    shop.must(&["verify"]);
}

#[test]
fn a_live_container_that_is_started_again_is_found_where_it_was() {
    let shop = match Shop::open("restarted") {
        Ok(shop) => shop,
        Err(why) => return support::skipped(why),
    };
    let front = Front::open();
    behind(&front, &shop);
    shop.must_deploy("1", Behaviour::Well);
    let file = front.file();
    shop.engine.must(&["restart", "--time=1", &shop.running()]);
    assert_eq!((front.get(), front.file()), ("1".to_owned(), file));
    shop.must(&["verify"]);
    shop.must_deploy("2", Behaviour::Well);
    assert_eq!(front.get(), "2");
    shop.must(&["rollback", "--yes"]);
    assert_eq!(front.get(), "1");
}

#[test]
fn a_proxy_that_does_not_take_the_file_keeps_the_old_one() {
    let shop = match Shop::open("picky") {
        Ok(shop) => shop,
        Err(why) => return support::skipped(why),
    };
    let front = Front::open();
    behind(&front, &shop);
    shop.must_deploy("1", Behaviour::Well);
    let first = shop.containers();
    shop.edit(|config| config["run"]["proxy"]["upstream"] = json!("somebody-elses"));
    let said = shop.deploy("2", Behaviour::Well);
    assert_eq!(said.code, Some(8), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("the proxy doesn't take"), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("host not found in upstream"), "{}{}", said.stdout, said.stderr);
    assert_eq!((front.get(), shop.containers()), ("1".to_owned(), first));
}

/// Puts the shop's tasks behind a proxy, by the addresses that they have on the Swarm's own bridge.
fn with_tasks_behind(front: &Front, shop: &Shop) {
    let network = format!("{}-net", shop.name);
    shop.engine.overlay(&network);
    shop.edit(|config| {
        config["health"] = json!({"http": format!("http://127.0.0.1:{}/healthz", front.port), "interval": 0.1, "start_period": 5, "retries": 2});
        config["service"]["networks"] = json!([network]);
        config["service"]["ports"] = json!([]);
        config["service"]["proxy"] = front.proxy();
    });
}

#[test]
fn no_visitor_sees_a_switch_or_a_rollback_of_a_service() {
    let Some(shop) = in_a_swarm("tasks") else { return };
    let front = Front::open();
    with_tasks_behind(&front, &shop);
    let switches = switch_before_visitors(&shop, &front, 1);
    assert_eq!(services(&shop).len(), 1, "{:?}", services(&shop));
    let last = (switches - 1).to_string();
    wait_for("the others to be gone", || (versions(&shop) == [&*last, &*last]).then_some(()));
}
