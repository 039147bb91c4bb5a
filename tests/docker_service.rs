//! Services, on a real Swarm of one node with a real registry.

#![allow(missing_docs, clippy::unwrap_used)]

use engine::free_port;
use serde_json::json;
use shop::{Behaviour, Shop};
use support::{Said, wait_for};
use swarm::{in_a_swarm, serves, versions};

#[path = "support/engine.rs"]
mod engine;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/mod.rs"]
mod support;
#[path = "support/swarm.rs"]
mod swarm;

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
    shop.edit(|config| {
        config["service"]["ports"] = json!(["8080"]);
        config["service"]["endpoint_mode"] = json!("vip");
    });
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
    let canary_of = |behaviour, version: &str, more: &[&str]| {
        shop.dockerfile(version, behaviour);
        shop.run(&[&["execute", "--canary", "--yes", "--version", version], more].concat())
    };
    let canary = |version: &str, more: &[&str]| canary_of(Behaviour::Well, version, more);
    let (own, gate) = (free_port(), free_port());
    let ask = |port: u16| json!({"http": format!("http://127.0.0.1:{port}/healthz"), "interval": 0.05});
    shop.edit(|config| {
        config["service"]["replicas"] = json!(1);
        config["service"]["ports"] = json!([{"published": own, "target": 8080, "mode": "host"}]);
        config["service"]["update"] = json!({"order": "stop-first"});
        config["canary"] =
            json!({"min_requests": 6, "steps": [{"percent": 50, "hold": 0, "checks": [ask(gate)]}]});
    });
    shop.must_deploy("1", Behaviour::Well);
    let text = told(&canary("2", &[]), 2);
    assert!(text.contains("its service is on no network"), "{text}");

    shop.engine.overlay("front");
    shop.edit(|config| {
        config["service"]["networks"] = json!(["front"]);
        config["service"]["endpoint_mode"] = json!("vip");
    });
    shop.must_deploy("1", Behaviour::Well);
    let text = told(&canary("2", &[]), 2);
    assert!(text.contains("its service has a virtual address"), "{text}");
    shop.engine.must(&["service", "rm", "part"]);
    shop.edit(|config| {
        config["service"]["endpoint_mode"] = json!("dnsrr");
        config["canary"]["steps"][0]["checks"] = json!([ask(own)]);
    });
    shop.must_deploy("1", Behaviour::Well);
    let text = told(&canary("2", &[]), 2);
    assert!(text.contains(&format!("asks at port {own}, which the old tasks alone publish")), "{text}");

    // What users ask leads to every task by the service's name.
    shop.edit(|config| config["canary"]["steps"][0]["checks"] = json!([ask(gate)]));
    let publish = format!("--publish=published={gate},target=8080,mode=host");
    let image = format!("{}:1", shop.image());
    shop.engine.must(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name=gate",
        "--network=front",
        "--endpoint-mode=dnsrr",
        "--env=APP=gate",
        "--env=BEHAVIOUR=gate",
        "--env=UPSTREAM=part:8080",
        &publish,
        &image,
    ]);
    shop.get(gate);
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

    let text = told(&canary_of(Behaviour::Unwell, "3", &[]), 8);
    assert!(text.contains("the canary is bad"), "{text}");
    assert_eq!((services(), spec(&shop)), (vec!["part 1/1".to_owned()], before));

    told(&canary("4", &[]), 0);
    assert_eq!(services(), ["part 1/1"]);
    wait_for("version 4", || (versions(&shop) == ["4"]).then_some(()));
    shop.must(&["verify"]);
}
