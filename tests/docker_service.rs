//! Services, on a real Swarm of one node with a real registry.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{process::Command, thread};

use engine::{Access, PASSWORD, Registry, USER, free_port};
use serde_json::{Value, json};
use shop::{Behaviour, Shop};
use support::{Said, wait_for};
use swarm::{in_a_swarm, serves, services, versions};

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

/// Everything of the app that a dry run must leave as it is: its services and their tasks, images, volumes, the registry.
fn place(shop: &Shop) -> Vec<String> {
    let task = format!("--filter=label=com.docker.swarm.service.name={}", shop.name);
    let mut place = vec![
        spec(shop),
        services(shop).join(" "),
        shop.engine.must(&["ps", "--all", "--quiet", "--no-trunc", &task]),
        shop.engine.must(&["volume", "ls", "--format={{json .}}"]),
        shop.images(),
    ];
    let content = shop.registry.content(&format!("acme/{}", shop.name));
    place.extend(content.iter().map(|path| path.display().to_string()));
    place
}

/// Has somebody change the service, whom the Swarm tells to try again while it writes to the service itself.
fn change_by_hand(shop: &Shop, change: &[&str]) {
    let update = [&["service", "update"], change, &[shop.name]].concat();
    wait_for("a turn to change the service", || {
        let said = shop.engine.docker(&update);
        let crossed = said.stderr.contains("update out of sequence");
        assert!(crossed || said.code == Some(0), "{update:?}\n{}{}", said.stdout, said.stderr);
        (!crossed).then_some(())
    });
}

fn told(said: &Said, code: i32) -> String {
    let text = format!("{}{}", said.stdout, said.stderr);
    assert_eq!(said.code, Some(code), "{text}");
    text
}

#[test]
fn a_service_goes_forward_and_back_twice_also_after_a_change_of_labels() {
    let Some(shop) = in_a_swarm("forth") else { return };
    // The Swarm wrote to the service while the first update was on its way there.
    let crossed = "case \"$*\" in *'service update'*) mkdir \"${0%/*}/crossed\" 2>/dev/null && \
        { echo 'Error response from daemon: rpc error: code = Unknown desc = update out of sequence' >&2; exit 1; };; esac";
    for version in ["1", "2", "3"] {
        shop.dockerfile(version, Behaviour::Well);
        let said = shop.spied(crossed, &["execute", "--yes", "--version", version]).output().unwrap();
        told(&said.into(), 0);
        serves(&shop, version);
    }
    assert!(shop.project.path().join("spy/crossed").exists(), "no update was refused");
    let before = place(&shop);
    shop.must(&["execute", "--dry-run", "--version", "4"]);
    assert_eq!(place(&shop), before);
    shop.must(&["verify"]);
    change_by_hand(&shop, &["--detach", "--label-add=team=shop"]);
    shop.must(&["rollback", "--yes"]);
    serves(&shop, "2");
    change_by_hand(&shop, &["--detach", "--label-add=team=shop"]);
    shop.must(&["rollback", "--yes"]);
    serves(&shop, "1");
    shop.must(&["verify"]);

    // The Swarm gives up on the way back.
    let paused = "case \"$*\" in \
        *'service update'*) mkdir \"${0%/*}/there\" 2>/dev/null || mkdir \"${0%/*}/back\";; \
        *'service inspect'*) [ -d \"${0%/*}/back\" ] && \
            { PATH=\"${PATH#*:}\" docker \"$@\" | sed 's/\"State\": \"[a-z]*\"/\"State\": \"paused\"/'; exit; };; esac";
    shop.project.hook("pre_verify", "exit 1");
    shop.dockerfile("4", Behaviour::Well);
    let said = shop.spied(paused, &["execute", "--yes", "--version", "4"]).output().unwrap();
    let text = told(&said.into(), 4);
    assert!(text.contains("the way of `forth` back to") && text.contains("is paused"), "{text}");
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
    for version in ["3", "4"] {
        shop.must_deploy(version, Behaviour::Well);
        serves(&shop, version);
    }
    // The version that the Swarm took back isn't one to go back to.
    for version in ["3", "1"] {
        change_by_hand(&shop, &["--detach", "--label-add=team=shop"]);
        shop.must(&["rollback", "--yes"]);
        serves(&shop, version);
    }
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
    let replicas = || {
        let names =
            shop.engine.must(&["service", "ls", "--filter=name=part", "--format={{.Name}} {{.Replicas}}"]);
        let mut names: Vec<_> = names.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    // What a run left that nobody could take back.
    shop.engine.must(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name=part-canary",
        "--label=pop-deploy.app=part",
        "--label=pop-deploy.run=left-over",
        "nothing",
    ]);
    told(&canary("2", &["--until", "manual"]), 0);
    assert_eq!(
        (replicas(), spec(&shop)),
        (vec!["part 1/1".to_owned(), "part-canary 1/1".to_owned()], before.clone())
    );
    shop.must(&["abort", "--yes"]);
    assert_eq!((replicas(), spec(&shop)), (vec!["part 1/1".to_owned()], before.clone()));

    let text = told(&canary_of(Behaviour::Unwell, "3", &[]), 8);
    assert!(text.contains("the canary is bad"), "{text}");
    assert_eq!((replicas(), spec(&shop)), (vec!["part 1/1".to_owned()], before));

    told(&canary("4", &[]), 0);
    assert_eq!(replicas(), ["part 1/1"]);
    wait_for("version 4", || (versions(&shop) == ["4"]).then_some(()));
    shop.must(&["verify"]);
}

#[test]
fn a_task_that_failed_before_speaks_against_no_deployment_of_the_same_image() {
    let Some(shop) = in_a_swarm("again") else { return };
    shop.must_deploy("1", Behaviour::Well);
    let task = format!("--filter=label=com.docker.swarm.service.name={}", shop.name);
    let ids = shop.engine.must(&["ps", "--quiet", &task]);
    shop.engine.must(&["kill", ids.lines().next().unwrap()]);
    wait_for("the failure", || {
        let told = shop.engine.must(&["service", "ps", "--format={{.CurrentState}}", shop.name]);
        told.contains("Failed").then_some(())
    });
    serves(&shop, "1");
    shop.must_deploy("1", Behaviour::Well);
    serves(&shop, "1");
}

#[test]
fn a_question_that_only_tasks_know_is_put_to_each_of_them() {
    // As long as `health` may take, the Swarm watches.
    let asks = [
        (
            "asked-path",
            json!({"http": "/healthz", "interval": 0.1, "timeout": 8, "start_period": 2, "retries": 1}),
            "503 Service Unavailable",
        ),
        (
            "asked-within",
            json!({"command": ["/server", "check"], "interval": 0.1, "timeout": 8, "start_period": 2, "retries": 1}),
            "isn't healthy after",
        ),
        (
            "asked-image",
            json!({"docker": true, "timeout": 1, "start_period": 0, "retries": 1}),
            "the image has no HEALTHCHECK",
        ),
    ];
    thread::scope(|scope| {
        for (name, health, why) in asks {
            scope.spawn(move || only_tasks_know(name, health, why));
        }
    });
}

/// Asks tasks that aren't well, then some that are.
fn only_tasks_know(name: &'static str, health: Value, why: &str) {
    let Some(shop) = in_a_swarm(name) else { return };
    shop.edit(|config| config["service"]["update"] = json!({"parallelism": 0}));
    shop.must_deploy("1", Behaviour::Well);
    shop.edit(|config| config["health"] = health);
    let text = told(&shop.deploy("2", Behaviour::Unwell), 8);
    assert!(text.contains(why), "{text}");
    serves(&shop, "1");
    shop.healthcheck();
    shop.must_deploy("3", Behaviour::Well);
}

#[test]
fn a_canary_of_tasks_behind_a_proxy_gets_its_part_by_weights() {
    let Some(shop) = in_a_swarm("weighed") else { return };
    shop.edit(|config| {
        config["health"] = json!({"http": "/healthz", "interval": 0.1});
        config["service"]["proxy"] =
            json!({"kind": "nginx", "file": "upstream.conf", "port": 8080, "test": ["true"], "reload": ["true"], "drain": 0});
        let check = json!({"http": "/", "interval": 0.02, "expect_body": "2"});
        config["canary"] = json!({"min_requests": 4, "steps": [{"percent": 10, "hold": 0, "checks": [check]}]});
    });
    let canary = |version: &str, more: &[&str]| {
        shop.dockerfile(version, Behaviour::Well);
        shop.run(&[&["execute", "--canary", "--yes", "--version", version], more].concat())
    };
    let weights = || {
        let file = shop.project.read("upstream.conf");
        let weight = |line: &str| Some(line.split("weight=").nth(1)?.split(';').next()?.to_owned());
        file.lines().filter_map(weight).collect::<Vec<_>>()
    };
    let text = told(&canary("1", &[]), 2);
    assert!(text.contains("nothing is live that it could stand beside"), "{text}");
    shop.must_deploy("1", Behaviour::Well);
    let before = (services(&shop), shop.project.read("upstream.conf"));
    assert!(before.1.contains("server 127."), "the port of the node: {}", before.1);

    // The traffic doesn't go to fewer tasks than there are to be.
    let one_is_down = "case \"$*\" in *'service ps'*) [ -e \"${0%/*}/down\" ] && \
        { PATH=\"${PATH#*:}\" docker \"$@\" | head -n 1; exit; };; esac";
    shop.project.hook("pre_switch", "touch spy/down");
    shop.dockerfile("0", Behaviour::Well);
    let said = shop.spied(one_is_down, &["execute", "--yes", "--version", "0"]).output().unwrap();
    let text = told(&said.into(), 8);
    assert!(text.contains("only 1 of 2 tasks of `weighed-deploy-"), "{text}");
    assert_eq!((services(&shop), shop.project.read("upstream.conf")), before);
    shop.project.edit(|json| json["hooks"] = json!({}));

    let text = told(&canary("3", &[]), 8);
    assert!(text.contains("the canary is bad"), "{text}");
    assert_eq!((services(&shop), shop.project.read("upstream.conf")), before);

    told(&canary("2", &["--until", "manual"]), 0);
    assert_eq!(weights(), ["180", "180", "20", "20"]);
    shop.must(&["verify"]);
    let silent = "case \"$*\" in *Status.Addr*) echo 'no answer for now' >&2; exit 1;; esac";
    let said: Said = shop.spied(silent, &["verify"]).output().unwrap().into();
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(said.code != Some(0) && text.contains("no answer for now"), "{text}");
    assert!(!text.contains("doesn't name"), "{text}");
    shop.must(&["promote", "--yes"]);
    assert_eq!((weights().len(), services(&shop).len()), (2, 1));
    serves(&shop, "2");
    shop.must(&["verify"]);
}

#[test]
fn the_way_back_leads_over_a_change_to_a_proxy_and_the_plan_says_what_that_means() {
    let Some(shop) = in_a_swarm("bare") else { return };
    let proxy = json!({"kind": "nginx", "file": "upstream.conf", "port": 8080, "test": ["true"], "reload": ["true"], "drain": 0});
    shop.must_deploy("1", Behaviour::Well);
    shop.edit(|config| config["service"]["proxy"] = proxy);
    let text = told(&shop.run(&["execute", "--dry-run", "--version", "2"]), 0);
    assert!(text.contains("`bare` is behind no proxy yet: it goes, and its own ports with it"), "{text}");
    shop.must_deploy("2", Behaviour::Well);
    let second = services(&shop);
    assert!(second.len() == 1 && second[0] != "bare", "{second:?}");

    let text = told(&shop.run(&["rollback", "--dry-run"]), 0);
    assert!(
        text.contains(&format!("`{}` is behind a proxy, and this release knew none", second[0])),
        "{text}"
    );
    assert_eq!(services(&shop), second);
    // One that fails on its way leaves everything as it was.
    shop.project.hook("pre_verify", "exit 1");
    told(&shop.run(&["rollback", "--yes"]), 8);
    assert_eq!(services(&shop), second);
    shop.project.edit(|json| json["hooks"] = json!({}));
    let text = told(&shop.run(&["rollback", "--yes"]), 0);
    assert!(text.contains("warning: `bare-deploy-") && text.contains("hint: have visitors come"), "{text}");
    assert_eq!(services(&shop), ["bare"]);
    serves(&shop, "1");
    let text = told(&shop.run(&["verify"]), 1);
    assert!(text.contains("`bare` is behind no proxy: `upstream.conf` doesn't lead to it"), "{text}");
    shop.must_deploy("3", Behaviour::Well);
    assert_eq!(services(&shop).len(), 1);
    serves(&shop, "3");
}

#[test]
fn a_port_goes_and_comes_back_without_the_one_beside_it() {
    let Some(shop) = in_a_swarm("sides") else { return };
    let ports = || {
        let format = "--format={{range .Spec.EndpointSpec.Ports}}{{.PublishedPort}}:{{.TargetPort}} {{end}}";
        let said = shop.engine.must(&["service", "inspect", format, shop.name]);
        let mut ports: Vec<_> = said.split_whitespace().map(str::to_owned).collect();
        ports.sort();
        ports
    };
    let of = |ports: &[u16]| {
        let mut ports: Vec<_> = ports.iter().map(|port| format!("{port}:8080")).collect();
        ports.sort();
        ports
    };
    let images = || {
        let format = "--format={{.Spec.TaskTemplate.ContainerSpec.Image}} {{with .PreviousSpec}}{{.TaskTemplate.ContainerSpec.Image}}{{end}}";
        let said = shop.engine.must(&["service", "inspect", format, shop.name]);
        said.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let (one, two) = (free_port(), free_port());
    shop.edit(|config| {
        config["service"]["endpoint_mode"] = json!("vip");
        config["service"]["ports"] = json!(of(&[one, two]));
    });
    shop.must_deploy("1", Behaviour::Well);
    let first = images().remove(0);
    shop.edit(|config| {
        config["min_ready"] = json!(3);
        config["service"]["ports"] = json!(of(&[two]));
    });
    let text = told(&shop.deploy("2", Behaviour::Crash), 8);
    assert!(text.contains("the Swarm took the update of `sides` back by itself"), "{text}");
    serves(&shop, "1");
    assert_eq!((ports(), images().remove(0)), (of(&[one, two]), first.clone()));

    shop.edit(|config| config["min_ready"] = json!(0.2));
    shop.must_deploy("2", Behaviour::Well);
    // What the Swarm itself would go back to is the image before.
    assert_eq!((ports(), images().pop()), (of(&[two]), Some(first)));
    shop.must(&["rollback", "--yes"]);
    serves(&shop, "1");
    assert_eq!(ports(), of(&[one, two]));
}

#[test]
fn no_secret_of_a_service_is_told_anywhere_not_even_one_that_was_set_by_hand() {
    let Some(shop) = in_a_swarm("discreet") else { return };
    let guarded = Registry::start(Access::Login);
    shop.edit(|config| {
        config["registry"] = json!(guarded.address);
        config["login"] = json!({"username": USER, "password": {"env": "REGISTRY_PASSWORD"}});
        config["service"]["env"] = json!({"API_KEY": {"env": "PLANTED_KEY"}, "MODE": "shop"});
    });
    // What a list of processes would show, of every docker command.
    let look = "echo \"$*\" >>\"${0%/*}/seen\"";
    let spied = |arguments: &[&str]| told(&shop.spied(look, arguments).output().unwrap().into(), 0);
    let deploy = |version: &str| {
        shop.dockerfile(version, Behaviour::Well);
        spied(&["execute", "--yes", "--version", version])
    };
    let env = || {
        shop.engine.must(&[
            "service",
            "inspect",
            "--format={{json .Spec.TaskTemplate.ContainerSpec.Env}}",
            shop.name,
        ])
    };
    deploy("1");
    change_by_hand(&shop, &["--quiet", "--env-add=BY_HAND=set-by-hand-5c2"]);
    deploy("2");
    assert!(env().contains("set-by-hand-5c2"), "{}", env());
    spied(&["rollback", "--yes"]);
    serves(&shop, "1");
    assert!(env().contains("set-by-hand-5c2") && env().contains("planted-key-7a1"), "{}", env());
    spied(&["diagnose"]);

    shop.edit(|config| config["service"]["env"]["BY_HAND"] = json!("something else"));
    let text = told(&shop.run(&["execute", "--dry-run", "--version", "3"]), 3);
    assert!(text.contains("`BY_HAND` was set by somebody else"), "{text}");

    let seen = shop.project.read("spy/seen");
    assert!(seen.contains("--env=API_KEY ") && seen.contains("--env-add=API_KEY "), "{seen}");
    let log = shop.engine.log();
    for secret in [PASSWORD, "planted-key-7a1", "set-by-hand-5c2", "Y2k6czNjcmV0"] {
        let mut grep = Command::new("grep");
        let found = grep.args(["-rlF", secret, "."]).current_dir(shop.project.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{secret}");
        assert!(!log.contains(secret), "{secret} in the engine's log");
    }
}
