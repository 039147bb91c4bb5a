//! Services, on a real Swarm of one node with a real registry.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::OnceLock;

use engine::free_port;
use serde_json::json;
use shop::{Behaviour, Shop};
use support::{Said, wait_for};

#[path = "support/engine.rs"]
mod engine;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/mod.rs"]
mod support;

/// A shop whose image runs as a service in the Swarm that the tests of this file share; skipped where there is none.
fn in_a_swarm(name: &'static str) -> Option<Shop> {
    static BEGUN: OnceLock<Result<(), String>> = OnceLock::new();
    let shop = match Shop::open(name) {
        Ok(shop) => shop,
        Err(why) => {
            support::skipped(why);
            return None;
        }
    };
    let begun = BEGUN.get_or_init(|| {
        let listen = format!("127.0.0.1:{}", free_port());
        let said =
            shop.engine.docker(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", &listen]);
        if said.code == Some(0) { Ok(()) } else { Err(said.stderr) }
    });
    if let Err(why) = begun {
        support::skipped(&format!("no Swarm: {why}"));
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

/// The versions that the service's running tasks are of.
fn versions(shop: &Shop) -> Vec<String> {
    let filter = format!("label=com.docker.swarm.service.name={}", shop.name);
    let ids = shop.engine.must(&["ps", "--quiet", "--filter", &filter]);
    let of = |id: &str| {
        let env = shop.engine.docker(&["container", "inspect", "--format={{json .Config.Env}}", id]).stdout;
        env.split("VERSION=").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned())
    };
    ids.lines().filter_map(of).collect()
}

/// Waits until two tasks run, of this version and no other.
fn serves(shop: &Shop, version: &str) {
    wait_for(version, || (versions(shop) == [version, version]).then_some(()));
}

fn spec(shop: &Shop) -> String {
    shop.engine.must(&["service", "inspect", "--format={{json .Spec}} {{.Version.Index}}", shop.name])
}

fn told(said: &Said, code: i32) -> String {
    let text = format!("{}{}", said.stdout, said.stderr);
    assert_eq!(said.code, Some(code), "{text}");
    text
}

#[test]
fn a_service_goes_forward_and_back_twice_also_after_a_change_of_labels() {
    let Some(shop) = in_a_swarm("forth") else { return };
    for version in ["1", "2", "3"] {
        shop.must_deploy(version, Behaviour::Well);
        serves(&shop, version);
    }
    let before = spec(&shop);
    shop.must(&["execute", "--dry-run", "--version", "4"]);
    assert_eq!(spec(&shop), before);
    shop.must(&["verify"]);
    shop.engine.must(&["service", "update", "--detach", "--label-add=team=shop", shop.name]);
    shop.must(&["rollback", "--yes"]);
    serves(&shop, "2");
    shop.engine.must(&["service", "update", "--detach", "--label-add=team=shop", shop.name]);
    shop.must(&["rollback", "--yes"]);
    serves(&shop, "1");
    shop.must(&["verify"]);
}

#[test]
fn an_update_that_the_swarm_takes_back_by_itself_is_a_failure() {
    let Some(shop) = in_a_swarm("back") else { return };
    shop.must_deploy("1", Behaviour::Well);
    shop.edit(|config| {
        config["min_ready"] = json!(3);
        config["service"]["env"] = json!({"MORE": "yes"});
    });
    let text = told(&shop.deploy("2", Behaviour::Crash), 8);
    assert!(text.contains("the Swarm took the update of `back` back by itself"), "{text}");
    assert!(text.contains("fatal: no such table: orders"), "{text}");
    serves(&shop, "1");
    shop.must(&["verify"]);
    shop.must_deploy("3", Behaviour::Well);
    serves(&shop, "3");
    shop.must(&["rollback", "--yes"]);
    serves(&shop, "1");
}

#[test]
fn a_first_release_that_fails_leaves_no_service() {
    let Some(shop) = in_a_swarm("first") else { return };
    let text = told(&shop.deploy("1", Behaviour::Crash), 8);
    assert!(text.contains("a task of `first` failed"), "{text}");
    assert_eq!(shop.engine.must(&["service", "ls", "--quiet", "--filter", "name=first"]), "");
}

#[test]
fn what_can_not_be_placed_or_is_not_ours_is_said_before_anything_is_built() {
    let Some(shop) = in_a_swarm("refused") else { return };
    shop.edit(|config| config["service"]["constraints"] = json!(["node.labels.zone==nowhere"]));
    let text = told(&shop.deploy("1", Behaviour::Well), 3);
    assert!(text.contains("no node meets `node.labels.zone == nowhere`"), "{text}");
    shop.edit(|config| {
        config["service"]["constraints"] = json!(["node.role==manager"]);
        config["service"]["ports"] = json!([{"published": free_port(), "target": 8080, "mode": "host"}]);
    });
    let text = told(&shop.deploy("1", Behaviour::Well), 3);
    assert!(text.contains("2 nodes are needed; 1 are there"), "{text}");
    shop.edit(|config| config["service"]["ports"] = json!(["8080"]));
    shop.engine.must(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        "refused",
        "nothing",
    ]);
    let text = told(&shop.run(&["execute", "--dry-run", "--version", "1"]), 3);
    assert!(text.contains("there is a service `refused` that no deployment made"), "{text}");
    if !std::path::Path::new("/proc/net/ip_vs").exists() {
        assert!(text.contains("this kernel has no IPVS"), "{text}");
    }
    assert!(shop.images().is_empty());
}

#[test]
fn a_host_that_is_killed_in_an_update_leaves_something_to_mend() {
    let Some(shop) = in_a_swarm("killed") else { return };
    shop.must_deploy("1", Behaviour::Well);
    for point in ["post_switch", "pre_finalize"] {
        shop.dockerfile("2", Behaviour::Well);
        shop.project.gate(point);
        let mut run = shop.start(&["execute", "--yes", "--version", "2"]);
        shop.project.wait_at_gate();
        run.kill().unwrap();
        run.wait().unwrap();
        shop.project.write("go", "");
        assert_eq!(shop.deploy("2", Behaviour::Well).code, Some(7), "{point}");
        shop.must(&["rollback", "--yes"]);
        serves(&shop, "1");
        shop.must(&["verify"]);
        std::fs::remove_file(shop.project.path().join("go")).unwrap();
        std::fs::remove_file(shop.project.path().join("at_gate")).unwrap();
        shop.project.edit(|json| json["hooks"] = json!({}));
    }
}

#[test]
fn a_canary_of_a_service_runs_beside_it_under_its_name() {
    let Some(shop) = in_a_swarm("part") else { return };
    let canary = |version: &str, more: &[&str]| {
        shop.dockerfile(version, Behaviour::Well);
        shop.run(&[&["execute", "--canary", "--yes", "--version", version], more].concat())
    };
    let port = free_port();
    let check = json!({"http": format!("http://127.0.0.1:{port}/"), "interval": 0.05, "expect_body": "1"});
    shop.edit(|config| {
        config["service"]["replicas"] = json!(1);
        config["service"]["ports"] = json!([{"published": port, "target": 8080, "mode": "host"}]);
        config["service"]["update"] = json!({"order": "stop-first"});
        config["canary"] =
            json!({"min_requests": 3, "steps": [{"percent": 50, "hold": 0, "checks": [check]}]});
    });
    shop.must_deploy("1", Behaviour::Well);
    let text = told(&canary("2", &[]), 2);
    assert!(text.contains("its service is on no network"), "{text}");

    shop.engine.must(&["network", "create", "--driver=overlay", "front"]);
    shop.edit(|config| config["service"]["networks"] = json!(["front"]));
    shop.must_deploy("1", Behaviour::Well);
    let before = spec(&shop);
    let services = || {
        let names =
            shop.engine.must(&["service", "ls", "--filter=name=part", "--format={{.Name}} {{.Replicas}}"]);
        let mut names: Vec<_> = names.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    told(&canary("2", &["--until", "manual"]), 0);
    assert_eq!(
        (services(), spec(&shop)),
        (vec!["part 1/1".to_owned(), "part-canary 1/1".to_owned()], before.clone())
    );
    shop.must(&["abort", "--yes"]);
    assert_eq!((services(), spec(&shop)), (vec!["part 1/1".to_owned()], before.clone()));

    shop.edit(|config| config["canary"]["steps"][0]["checks"][0]["expect_body"] = json!("something else"));
    let text = told(&canary("3", &[]), 8);
    assert!(text.contains("the canary is bad"), "{text}");
    assert_eq!((services(), spec(&shop)), (vec!["part 1/1".to_owned()], before));

    shop.edit(|config| config["canary"]["steps"][0]["checks"][0]["expect_body"] = json!("1"));
    told(&canary("4", &[]), 0);
    assert_eq!(services(), ["part 1/1"]);
    wait_for("version 4", || (versions(&shop) == ["4"]).then_some(()));
    shop.must(&["verify"]);
}
