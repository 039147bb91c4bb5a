//! Canaries of containers, on a real engine: shares by the proxy's weights, and a way back for the bad ones.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, thread};

use front::{Front, Program, Visitors};
use serde_json::json;
use shop::{Behaviour, Shop};
use support::{Said, wait_for};

#[path = "support/engine.rs"]
mod engine;
#[path = "support/front.rs"]
mod front;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/mod.rs"]
mod support;

const CANARY: [&str; 4] = ["execute", "--canary", "--yes", "--version"];

/// A shop behind a proxy, whose canary must answer with `body`.
fn behind_a_proxy(name: &'static str, body: &str) -> Option<Shop> {
    let shop = match Shop::open(name) {
        Ok(shop) => shop,
        Err(why) => {
            support::skipped(why);
            return None;
        }
    };
    shop.edit(|config| {
        config["run"]["proxy"] =
            json!({"kind": "nginx", "file": "upstream.conf", "port": 8080, "test": ["true"], "reload": ["true"]});
        config["run"]["proxy"]["drain"] = json!(0);
        config["canary"] = json!({
            "min_requests": 5,
            "steps": [{"percent": 10, "hold": 0.1, "checks": [{"http": "/", "interval": 0.02, "expect_body": body}]}],
        });
    });
    Some(shop)
}

/// The weights in the proxy's file, of the newest container last.
fn weights(shop: &Shop) -> Vec<String> {
    let file = shop.project.read("upstream.conf");
    let weight =
        |line: &str| line.split("weight=").nth(1).map(|rest| rest.split(';').next().unwrap().to_owned());
    file.lines().filter_map(weight).collect()
}

fn canary(shop: &Shop, version: &str, more: &[&str]) -> Said {
    shop.dockerfile(version, Behaviour::Well);
    shop.run(&[&CANARY[..], &[version], more].concat())
}

#[test]
fn a_good_canary_gets_a_tenth_and_then_everything() {
    let Some(shop) = behind_a_proxy("good", "2") else { return };
    let refused = canary(&shop, "1", &[]);
    assert_eq!(refused.code, Some(2), "{}{}", refused.stdout, refused.stderr);
    assert!((refused.stdout + &refused.stderr).contains("nothing is live that it could stand beside"));
    shop.must_deploy("1", Behaviour::Well);
    let open = canary(&shop, "2", &["--until", "manual"]);
    assert_eq!(open.code, Some(0), "{}{}", open.stdout, open.stderr);
    assert_eq!(weights(&shop), ["90", "10"]);
    shop.must(&["verify"]);
    shop.must(&["promote", "--yes"]);
    assert_eq!(weights(&shop), ["1"]);
    shop.must(&["verify"]);
    shop.must(&["rollback", "--yes"]);
    shop.must(&["verify"]);
}

#[test]
fn a_bad_canary_goes_and_the_old_one_never_noticed() {
    let Some(shop) = behind_a_proxy("bad", "something else") else { return };
    shop.must_deploy("1", Behaviour::Well);
    let before = (shop.containers(), shop.project.read("upstream.conf"));
    let said = canary(&shop, "2", &[]);
    assert_eq!(said.code, Some(8), "{}{}", said.stdout, said.stderr);
    let told = said.stdout + &said.stderr;
    assert!(told.contains("the canary is bad: 5 of 5 requests failed"), "{told}");
    assert_eq!((shop.containers(), shop.project.read("upstream.conf")), before);
    shop.edit(|config| config["canary"]["steps"][0]["checks"][0]["expect_body"] = json!("3"));
    assert_eq!(canary(&shop, "3", &["--until", "manual"]).code, Some(0));
    shop.must(&["abort", "--yes"]);
    assert_eq!((shop.containers(), shop.project.read("upstream.conf")), before);
}

#[test]
fn each_proxy_gives_a_tenth_and_no_visitor_sees_it_come_or_go() {
    thread::scope(|scope| {
        for program in [Program::Nginx, Program::Haproxy, Program::Caddy] {
            scope.spawn(move || gives_a_tenth(program));
        }
    });
}

fn gives_a_tenth(program: Program) {
    let Some(shop) = behind_a_proxy(program.kind(), "2") else { return };
    if !program.is_here() {
        return support::skipped(program.kind());
    }
    let front = Front::of(program);
    shop.edit(|config| config["run"]["proxy"] = front.proxy());
    // Somebody else's, whatever it is called.
    let stranger = format!("{}-canary", shop.name);
    shop.must_deploy("1", Behaviour::Well);
    shop.engine.must(&["run", "--detach", "--name", &stranger, &format!("{}:1", shop.image())]);
    let started = || shop.engine.must(&["inspect", "--format={{.Id}} {{.State.StartedAt}}", &stranger]);
    let foreign = started();
    let before = (shop.containers(), front.file());
    let visitors = Visitors::come(front.port, 50);
    let open = canary(&shop, "2", &["--until", "manual"]);
    assert_eq!(open.code, Some(0), "{program:?}: {}{}", open.stdout, open.stderr);
    wait_for("the canary's part", || (front.get() == "2").then_some(()));
    let visit = Visitors::so_many(front.port, 200, 400);
    let part = *visit.answers.get("2").unwrap_or(&0) as f64 / visit.asked as f64;
    // The other visitors take turns of the proxy's as well, so that these get a tenth only about.
    assert!((0.04..0.16).contains(&part), "{program:?}: {:?}", visit.answers);
    if program == Program::Nginx {
        shop.must(&["abort", "--yes"]);
        assert_eq!((shop.containers(), front.file()), before);
        let bad = canary(&shop, "3", &[]);
        assert_eq!(bad.code, Some(8), "{}{}", bad.stdout, bad.stderr);
        assert_eq!((shop.containers(), front.file()), before);
        assert_eq!(canary(&shop, "2", &[]).code, Some(0));
    } else {
        shop.must(&["promote", "--yes"]);
    }
    wait_for("all the traffic", || (front.get() == "2").then_some(()));
    shop.must(&["rollback", "--yes"]);
    let visits = visitors.leave();
    assert_eq!(front.get(), "1", "{program:?}");
    let mut failed = [visit.failed, visits.failed].concat();
    let goes_on = fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").is_ok_and(|text| text == "1\n");
    let planned = shop.must(&["execute", "--dry-run", "--version", "4"]).stdout;
    let is_warned = planned.contains("`sysctl net.ipv4.tcp_migrate_req=1`");
    assert_eq!(is_warned, program == Program::Caddy && !goes_on, "{program:?}: {planned}");
    if is_warned {
        // What waits at the socket that it closes when it reads its configuration again.
        failed.retain(|error| !error.contains("reset by peer"));
    }
    assert!(failed.is_empty(), "{program:?}: {} of {}: {:?}", failed.len(), visits.asked, failed[0]);
    assert_eq!(started(), foreign, "{program:?}");
}

#[test]
fn without_a_proxy_there_is_no_canary() {
    let Some(shop) = behind_a_proxy("alone", "2") else { return };
    shop.edit(|config| config["run"]["proxy"] = json!(null));
    shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    let before = shop.containers();
    let refused = canary(&shop, "2", &[]);
    assert_eq!(refused.code, Some(2), "{}{}", refused.stdout, refused.stderr);
    assert!((refused.stdout + &refused.stderr).contains("it has no `run.proxy`"));
    assert_eq!(shop.containers(), before);
}
