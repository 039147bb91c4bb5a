//! A Swarm of two nodes, each an engine of its own: tasks that run elsewhere are reached, or it is said that they can't be.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;

use engine::Engine;
use front::{Front, Visitors};
use serde_json::{Value, json};
use shop::{Behaviour, Shop};
use support::{Said, wait_for};
use swarm::in_a_swarm;

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

fn told(said: &Said, code: i32) -> String {
    let text = format!("{}{}", said.stdout, said.stderr);
    assert_eq!(said.code, Some(code), "{text}");
    text
}

fn dry_run(shop: &Shop) -> Said {
    shop.dockerfile("9", Behaviour::Well);
    shop.run(&["execute", "--dry-run", "--version", "9"])
}

/// How many containers of the shop an engine runs.
fn running(engine: &Engine) -> usize {
    engine.must(&["ps", "--quiet", "--filter=label=com.docker.swarm.service.name"]).lines().count()
}

#[test]
fn tasks_on_another_node_are_asked_and_proxied_where_that_publishes_them() {
    let Some(shop) = in_a_swarm("spread") else { return };
    let second = Engine::start();
    if let Err(why) = second.join_swarm(shop.engine) {
        return support::skipped(&format!("no second node: {why}"));
    }
    let asked = json!({"http": "/healthz", "interval": 0.1, "timeout": 5, "start_period": 2, "retries": 1});
    shop.edit(|config| {
        config["health"] = asked;
        config["service"]["update"] = json!({"parallelism": 0});
    });
    shop.must_deploy("1", Behaviour::Well);
    assert_eq!((running(shop.engine), running(&second)), (1, 1));
    let text = told(&shop.deploy("2", Behaviour::Unwell), 8);
    assert!(text.contains("503 Service Unavailable"), "{text}");

    let ports = |ports: Value, mode: &str| {
        shop.edit(|config| {
            config["service"]["ports"] = ports;
            config["service"]["endpoint_mode"] = json!(mode);
        });
    };
    ports(json!(["8080"]), "vip");
    let text = told(&dry_run(&shop), 3);
    assert!(text.contains("`/healthz` is asked of each task, and tasks may run on nodes"), "{text}");
    shop.edit(|config| config["health"] = json!({"command": ["/server", "check"]}));
    let text = told(&dry_run(&shop), 0);
    assert!(text.contains("`health.command` runs in tasks on this node alone"), "{text}");
    shop.edit(|config| config["tags"] = json!(["latest"]));
    let text = told(&dry_run(&shop), 3);
    assert!(text.contains("the other 1 nodes get the image from the registry"), "{text}");

    let front = Front::open();
    shop.edit(|config| {
        config["tags"] = json!(["{{version}}", "latest"]);
        config["health"] =
            json!({"http": format!("http://127.0.0.1:{}/healthz", front.port), "interval": 0.1});
        config["service"]["proxy"] = front.proxy();
    });
    ports(json!([]), "dnsrr");
    let text = told(&dry_run(&shop), 3);
    assert!(text.contains("tasks may run on nodes whose bridges the proxy here doesn't reach"), "{text}");
    ports(json!([{"published": 0, "target": 8080, "mode": "host"}]), "dnsrr");
    shop.must_deploy("3", Behaviour::Well);
    wait_for("the others' end", || ((running(shop.engine), running(&second)) == (1, 1)).then_some(()));
    let file = front.file();
    let hosts: BTreeSet<_> = file.split("server ").skip(1).filter_map(|it| it.split(':').next()).collect();
    assert_eq!(hosts.len(), 2, "{file}");
    let visitors = Visitors::come(front.port, 50);
    shop.must_deploy("4", Behaviour::Well);
    shop.must(&["verify"]);
    shop.must(&["rollback", "--yes"]);
    let visit = visitors.leave();
    visit.all_served();
    assert_eq!(visit.seen, BTreeSet::from(["3".to_owned(), "4".to_owned()]));
}
