//! Images and containers, on a real engine with a real registry: what a team sees that ships one image to one engine.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    process::{Command, Stdio},
};

use engine::{Access, PASSWORD, Registry, USER, free_port};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use shop::{Behaviour, Shop, script};
use support::{Said, wait_for};

#[path = "support/engine.rs"]
mod engine;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/mod.rs"]
mod support;

/// The shop of a test; the test is skipped where there is no engine.
macro_rules! shop {
    ($name:literal) => {
        match Shop::open($name) {
            Ok(shop) => shop,
            Err(why) => return support::skipped(why),
        }
    };
}

fn says(said: &Said, what: &str) {
    assert!(
        said.stdout.contains(what) || said.stderr.contains(what),
        "{what:?} in\n{}{}",
        said.stdout,
        said.stderr
    );
}

#[test]
fn a_release_that_fails_gives_way_to_the_one_before() {
    let shop = shop!("orders");
    let port = shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    assert_eq!(shop.get(port), "1");
    let second = shop.must_deploy("2", Behaviour::Well);
    says(&second, "nothing was served for");
    assert_eq!(shop.get(port), "2");

    let crashed = shop.deploy("3", Behaviour::Crash);
    assert_eq!(crashed.code, Some(8), "{}{}", crashed.stdout, crashed.stderr);
    says(&crashed, "with exit code 3");
    says(&crashed, "fatal: no such table: orders");
    assert_eq!(shop.get(port), "2");

    shop.edit(|config| config["min_ready"] = json!(8));
    let crashed_later = shop.deploy("3", Behaviour::CrashLater);
    assert_eq!(crashed_later.code, Some(8));
    says(&crashed_later, "fatal: lost the database");
    assert_eq!(shop.get(port), "2");

    shop.edit(|config| {
        config["min_ready"] = json!(0.2);
        // All of it passes before one that answers counts as unwell.
        config["health"]["start_period"] = json!(2);
    });
    let unwell = shop.deploy("3", Behaviour::Unwell);
    assert_eq!(unwell.code, Some(8));
    says(&unwell, "503");
    says(&unwell, "version 3 starts");
    assert_eq!(shop.get(port), "2");
    assert_eq!(shop.containers().len(), 2, "{:?}", shop.containers());

    shop.must(&["rollback", "--yes"]);
    assert_eq!(shop.get(port), "1");
    shop.must(&["verify"]);
}

#[test]
fn an_image_of_another_platform_never_starts() {
    let shop = shop!("arch");
    let port = shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    shop.edit(|config| config["platforms"] = json!(["linux/s390x"]));
    let said = shop.deploy("2", Behaviour::Well);
    assert_eq!(said.code, Some(3), "{}{}", said.stdout, said.stderr);
    says(&said, "the engine runs linux/amd64, and the image is for linux/s390x");
    assert_eq!(shop.get(port), "1");
}

#[test]
fn an_image_that_is_built_from_one_of_another_platform_never_starts() {
    let shop = shop!("foreign");
    let port = shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    let foreign = r#"
        set -e
        mkdir image && cd image
        docker save "$0" | tar -x
        sed -i 's/"architecture":"[a-z0-9]*"/"architecture":"s390x"/' [0-9a-f]*.json
        sed -i 's/"RepoTags":\[[^]]*/"RepoTags":["foreign:latest"/' manifest.json
        tar -c . | docker load
    "#;
    let folder = tempfile::tempdir().unwrap();
    let mut script = shop.engine.shell(foreign);
    script.args([&*format!("{}:1", shop.image())]).current_dir(&folder);
    assert!(script.status().unwrap().success());
    shop.project.write("Dockerfile", "FROM foreign\nENV VERSION=2\n");
    let said = shop.run(&["execute", "--yes", "--version", "2"]);
    assert_eq!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
    says(&said, "the image is for linux/s390x, and was to be for linux/");
    assert_eq!(shop.get(port), "1");
}

#[test]
fn a_tag_that_somebody_moved_since_is_not_moved_back() {
    let shop = shop!("theirs");
    shop.edit(|config| drop(config.as_object_mut().unwrap().remove("run")));
    shop.must_deploy("1", Behaviour::Well);
    shop.must_deploy("2", Behaviour::Well);
    let (image, theirs) = (shop.image(), shop.digest("1"));
    shop.project.hook(
        "pre_verify",
        &format!("docker tag {image}:1 {image}:latest && docker push {image}:latest && exit 1"),
    );
    let said = shop.deploy("3", Behaviour::Well);
    assert_eq!(said.code, Some(8), "{}{}", said.stdout, said.stderr);
    says(&said, &format!("somebody else moved it to {theirs} since"));
    assert_eq!(shop.digest("latest"), theirs);

    shop.project.hook("pre_verify", "exit 1");
    assert_eq!(shop.deploy("4", Behaviour::Well).code, Some(8));
    assert_eq!(shop.digest("latest"), theirs);
}

#[test]
fn a_port_that_is_taken_at_the_last_moment_leaves_the_old_one_serving() {
    let shop = shop!("taken");
    let port = shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    let other = free_port();
    let held = std::net::TcpListener::bind(("127.0.0.1", other)).unwrap();
    shop.edit(|config| config["run"]["ports"] = json!([format!("127.0.0.1:{other}:8080")]));
    let seen = shop.deploy("2", Behaviour::Well);
    assert_eq!(seen.code, Some(3), "{}{}", seen.stdout, seen.stderr);
    says(&seen, &format!("the port {other} is taken"));
    drop(held);
    shop.project.hook("pre_switch", &format!("python3 -c \"import socket,time;s=socket.create_server(('127.0.0.1',{other}));open('bound','w');time.sleep(600)\" & echo $! > taker; while [ ! -e bound ]; do sleep 0.05; done"));
    let said = shop.deploy("2", Behaviour::Well);
    let taker = shop.project.read("taker");
    assert!(Command::new("kill").arg(taker.trim()).status().unwrap().success());
    assert_eq!(said.code, Some(8), "{}{}", said.stdout, said.stderr);
    says(&said, "can't start `taken-");
    assert_eq!(shop.get(port), "1");
}

#[test]
fn a_registry_that_is_down_is_said_before_anything_is_built() {
    let shop = shop!("down");
    shop.fixed_port();
    // Nobody listens at the first of all ports.
    let dead = "127.0.0.1:1";
    shop.edit(|config| config["registry"] = json!(dead));
    for arguments in
        [&["execute", "--dry-run", "--version", "1"][..], &["execute", "--yes", "--version", "1"]]
    {
        shop.dockerfile("1", Behaviour::Well);
        let said = shop.run(arguments);
        assert_eq!(said.code, Some(3), "{}{}", said.stdout, said.stderr);
        says(&said, &format!("the registry `{dead}` doesn't answer"));
    }
    assert!(shop.images().is_empty());
}

#[test]
fn a_registry_that_goes_down_before_the_push_changes_nothing_that_runs() {
    let shop = shop!("gone");
    let port = shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    let mortal = Registry::start(Access::Anybody);
    shop.edit(|config| config["registry"] = json!(mortal.address));
    shop.project.hook("pre_stage", "touch built; while [ -e built ]; do sleep 0.05; done");
    shop.dockerfile("2", Behaviour::Well);
    let mut command = shop.command(&["execute", "--yes", "--version", "2"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let built = shop.project.path().join("built");
    wait_for("the build", || built.exists().then_some(()));
    drop(mortal);
    fs::remove_file(built).unwrap();
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
    says(&said, "check that the registry is up");
    assert_eq!(shop.get(port), "1");
}

#[test]
fn a_push_that_is_denied_changes_nothing_that_runs_and_a_login_mends_it() {
    let shop = shop!("denied");
    let port = shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    let guarded = Registry::start(Access::Login);
    shop.edit(|config| config["registry"] = json!(guarded.address));
    let denied = shop.deploy("2", Behaviour::Well);
    assert_eq!(denied.code, Some(1), "{}{}", denied.stdout, denied.stderr);
    says(&denied, "can't push");
    says(&denied, "no basic auth credentials");
    assert_eq!(shop.get(port), "1");

    shop.edit(|config| config["login"] = json!({"username": USER, "password": {"env": "WRONG_PASSWORD"}}));
    let refused = shop.deploy("2", Behaviour::Well);
    assert_eq!(refused.code, Some(3), "{}{}", refused.stdout, refused.stderr);
    says(&refused, "the registry refused the login");

    shop.edit(|config| {
        config["login"]["password"] = json!({"env": "REGISTRY_PASSWORD"});
        config["run"]["env"] = json!({"API_KEY": {"env": "PLANTED_KEY"}});
    });
    let seen = shop.project.path().join("seen");
    // What a list of processes would show, of every docker command.
    let look = format!("echo \"$*\" >>{}", seen.display());
    let mut command = shop.spied(&look, &["execute", "--yes", "--version", "2"]);
    // A keeper of passwords that would be asked to keep this one.
    let kept = shop.project.path().join("kept");
    script(
        &shop.project.path().join("spy/docker-credential-spy"),
        &format!("#!/bin/sh\necho \"$1\" >>{}\ncat >>{0}\necho '{{}}'\n", kept.display()),
    );
    let users = json!({"credsStore": "spy", "credHelpers": {&guarded.address: "spy"}}).to_string();
    shop.project.write("home/.docker/config.json", &users);
    shop.dockerfile("2", Behaviour::Well);
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert_eq!(shop.project.read("home/.docker/config.json"), users);
    let asked = fs::read_to_string(kept).unwrap_or_default();
    assert!(!asked.lines().any(|line| line == "store"), "{asked}");
    assert_eq!(shop.get(port), "2");
    assert!(fs::read_to_string(seen).unwrap().contains("--env=API_KEY --"));
    for secret in [PASSWORD, "planted-key-7a1", "Y2k6czNjcmV0"] {
        let found = Command::new("grep")
            .args(["-rlF", secret, "."])
            .current_dir(shop.project.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{secret}");
        assert!(!shop.engine.log().contains(secret), "{secret}");
    }
    assert!(
        shop.engine
            .must(&["inspect", "--format={{.Config.Env}}", &shop.running()])
            .contains("planted-key-7a1")
    );
}

#[test]
fn a_tag_that_somebody_moves_meanwhile_stops_the_deployment() {
    let shop = shop!("moved");
    let port = shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    let image = shop.image();
    shop.project.hook("pre_switch", &format!("docker tag {image}:1 {image}:2 && docker push {image}:2"));
    let said = shop.deploy("2", Behaviour::Well);
    assert_eq!(said.code, Some(8), "{}{}", said.stdout, said.stderr);
    says(&said, "was moved");
    assert_eq!(shop.get(port), "1");
}

#[test]
fn a_dry_run_leaves_engine_and_registry_as_they_are() {
    let shop = shop!("dry");
    shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    shop.dockerfile("2", Behaviour::Well);
    // A gigabyte that stays behind, and a file that goes along.
    fs::File::create(shop.project.path().join("dump.sql")).unwrap().set_len(1 << 30).unwrap();
    shop.project.write(".dockerignore", "*.sql\n.pop-deploy\nhome\n");
    let before = shop.state();
    let said = shop.run(&["execute", "--dry-run", "--version", "2"]);
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    says(&said, "docker run --detach");
    says(&said, ".dockerignore leaves 1,");
    says(&said, "whether `");
    assert!(shop.state() == before, "something changed");
    let server = fs::metadata(shop.project.path().join("server")).unwrap().len();
    let sent = said.stdout.split(" bytes in ").next().unwrap().rsplit(' ').next().unwrap().replace(',', "");
    let sent: u64 = sent.parse().unwrap();
    assert!((server..server + 16_384).contains(&sent), "{sent} of {server}");
}

#[test]
fn without_a_runtime_section_it_builds_and_pushes_and_says_so() {
    let shop = shop!("library");
    shop.edit(|config| {
        config.as_object_mut().unwrap().remove("run");
    });
    shop.must_deploy("1.0", Behaviour::Well);
    let first = shop.digest("latest");
    assert_eq!(shop.digest("1.0"), first);
    shop.dockerfile("1.1", Behaviour::Well);
    let report = shop.report(&["execute", "--action", "execute", "--mode", "dry_run", "--version", "1.1"]);
    assert!(report["message"].as_str().unwrap().contains("nothing is run of it"), "{report:#}");
    let report = shop.report(&["execute", "--action", "execute", "--mode", "deploy", "--version", "1.1"]);
    let steps: Vec<_> = report["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(steps, ["build", "push", "push"], "{report:#}");
    assert_eq!(report["image"], json!(shop.image()));
    assert_eq!(report["tags"], json!(["1.1", "latest"]));
    assert_eq!(report["digest"], json!(shop.digest("1.1")));
    assert_ne!(shop.digest("latest"), first);
    shop.must(&["rollback", "--yes"]);
    assert_eq!(shop.digest("latest"), first);
    assert_eq!(shop.containers(), Vec::<String>::new());
    shop.must(&["verify"]);
    let image = shop.image();
    shop.engine.must(&["tag", &format!("{image}:1.1"), &format!("{image}:latest")]);
    shop.engine.must(&["push", &format!("{image}:latest")]);
    says(&shop.run(&["verify"]), "1.1 is live, and history says 1.0");
}

#[test]
fn a_rollback_makes_a_container_again_that_was_removed_and_refuses_without_its_image() {
    let shop = shop!("again");
    let port = shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    let first = shop.running();
    shop.must_deploy("2", Behaviour::Well);
    shop.engine.must(&["rm", &first]);
    shop.must(&["rollback", "--yes"]);
    assert_eq!((shop.get(port), shop.running()), ("1".to_owned(), first.clone()));

    shop.must_deploy("3", Behaviour::Well);
    shop.engine.must(&["rm", &first]);
    let image = shop.image();
    for name in [format!("{image}:1"), format!("{image}@{}", shop.digest("1"))] {
        shop.engine.docker(&["rmi", "--force", "--no-prune", &name]);
    }
    let pulled = shop.run(&["rollback", "--dry-run", "--to", "1"]);
    says(&pulled, "the registry has its image");
    shop.forget_registry("1");
    let before = shop.state();
    let said = shop.run(&["rollback", "--yes", "--to", "1"]);
    assert_eq!(said.code, Some(6), "{}{}", said.stdout, said.stderr);
    assert!(shop.state().place() == before.place(), "something changed");
    assert_eq!(shop.get(port), "3");
}

#[test]
fn a_container_that_is_not_ours_is_refused_or_adopted() {
    let shop = shop!("adopted");
    let port = shop.fixed_port();
    shop.dockerfile("0", Behaviour::Well);
    let folder = shop.project.path().display().to_string();
    shop.engine.must(&["build", "--tag=by-hand", &folder]);
    let publish = format!("--publish=127.0.0.1:{port}:8080");
    shop.engine.must(&["run", "--detach", "--name=adopted", &publish, "by-hand"]);
    let said = shop.deploy("1", Behaviour::Well);
    assert_eq!(said.code, Some(3), "{}{}", said.stdout, said.stderr);
    says(&said, "that no deployment made");
    assert_eq!(shop.get(port), "0");

    shop.edit(|config| config["adopt"] = json!(true));
    assert_eq!(shop.deploy("1", Behaviour::Crash).code, Some(8));
    assert_eq!(shop.get(port), "0");
    shop.must_deploy("1", Behaviour::Well);
    assert_eq!(shop.get(port), "1");
    shop.must_deploy("2", Behaviour::Well);
    assert_eq!(shop.get(port), "2");
    assert_eq!(shop.engine.must(&["inspect", "--format={{.State.Running}}", "adopted"]), "false");
    shop.must(&["rollback", "--yes"]);
    assert_eq!(shop.get(port), "1");
}

#[test]
fn an_interrupt_while_the_old_one_is_being_stopped_has_it_serve_again() {
    let shop = shop!("slow");
    let port = shop.fixed_port();
    shop.edit(|config| config["run"]["stop_grace"] = json!(4));
    // The first process of a container hears no SIGTERM that it doesn't ask for: it goes when it is killed.
    let deaf = |version: &str| {
        shop.dockerfile(version, Behaviour::Well);
        let text = shop.project.read("Dockerfile");
        shop.project.write("Dockerfile", &text.replace("SIGKILL", "SIGTERM"));
    };
    deaf("1");
    shop.must(&["execute", "--yes", "--version", "1"]);
    let first = shop.containers();
    deaf("2");
    // It isn't over before the interrupt, however late that comes.
    let tell = "[ \"$1\" != stop ] || { touch stopping; PATH=\"${PATH#*:}\" docker \"$@\"; exec sleep 600; }";
    let mut command = shop.spied(tell, &["execute", "--yes", "--version", "2"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the stop", || shop.project.path().join("stopping").exists().then_some(()));
    let events =
        ["events", "--since=1h", "--until=-1s", "--filter=event=kill", "--format={{.Actor.Attributes.name}}"];
    wait_for("the engine", || shop.engine.must(&events).contains(&first[0]).then_some(()));
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, Some(130), "{}{}", said.stdout, said.stderr);
    // The engine stops it to the end all the same.
    let filter = format!("--filter=container={}", first[0]);
    let happened =
        shop.engine.must(&["events", "--since=1h", "--until=-1s", &filter, "--format={{.Action}}"]);
    assert!(
        happened.contains("die") && happened.ends_with("start"),
        "{happened}\n{}{}",
        said.stdout,
        said.stderr
    );
    assert_eq!((shop.get(port), shop.containers()), ("1".to_owned(), first));
    shop.must(&["verify"]);
}

#[test]
fn a_fixed_port_asks_for_allow_downtime() {
    let shop = shop!("gap");
    shop.fixed_port();
    shop.edit(|config| config["run"]["allow_downtime"] = json!(false));
    let said = shop.deploy("1", Behaviour::Well);
    assert_eq!(said.code, Some(3));
    says(&said, "set `allow_downtime`, or put a `proxy` in front");
}

#[test]
fn the_images_own_healthcheck_counts_and_drift_is_seen() {
    let shop = shop!("checked");
    let port = shop.fixed_port();
    shop.edit(|config| config["health"] = json!({"docker": true}));
    shop.healthcheck();
    shop.must_deploy("1", Behaviour::Well);
    let unwell = shop.deploy("2", Behaviour::Unwell);
    assert_eq!(unwell.code, Some(8), "{}{}", unwell.stdout, unwell.stderr);
    says(&unwell, "isn't healthy, by its own HEALTHCHECK");
    assert_eq!(shop.get(port), "1");

    shop.must(&["verify"]);
    shop.engine.must(&["stop", &shop.running()]);
    let drifted = shop.run(&["verify"]);
    assert_ne!(drifted.code, Some(0));
    says(&drifted, "no container of `checked` serves");
    let told = shop.run(&["diagnose"]);
    says(&told, "docker_logs");
    says(&told, "version 1 starts");
}

#[test]
fn a_secret_for_the_build_is_in_no_layer_and_no_history() {
    let shop = shop!("sealed");
    let Some(busybox) =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| fs::exists(path).unwrap())
    else {
        return support::skipped("no static busybox");
    };
    fs::copy(busybox, shop.project.path().join("busybox")).unwrap();
    shop.edit(|config| {
        config.as_object_mut().unwrap().remove("run");
        config["build_args"] = json!({"PROFILE": "release", "PLANTED_KEY": {"env": "PLANTED_KEY"}});
    });
    shop.dockerfile("1", Behaviour::Well);
    let dockerfile = shop.project.read("Dockerfile");
    let mounts = "COPY busybox /bin/sh\nRUN --mount=type=secret,id=PLANTED_KEY [\"/bin/sh\", \"-c\", \"test -s /run/secrets/PLANTED_KEY\"]\n";
    shop.project.write(
        "Dockerfile",
        &dockerfile.replace("STOPSIGNAL", &format!("ARG PLANTED_KEY\n{mounts}STOPSIGNAL")),
    );
    let said = shop.run(&["execute", "--yes", "--version", "1"]);
    assert_eq!(said.code, Some(3), "{}{}", said.stdout, said.stderr);
    says(&said, "the Dockerfile takes `PLANTED_KEY` as an ARG");

    shop.project.write("Dockerfile", &dockerfile.replace("STOPSIGNAL", &format!("{mounts}STOPSIGNAL")));
    // Debian's docker builds with BuildKit by itself; later ones need a plugin that may not be there.
    let path = format!("/usr/bin:{}", std::env::var("PATH").unwrap());
    let built = shop.command(&["execute", "--yes", "--version", "1"]).env("PATH", path).output().unwrap();
    let said = Said::from(built);
    if said.stderr.contains("docker has no buildx") {
        return support::skipped("no BuildKit");
    }
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    let image = format!("{}:1", shop.image());
    for arguments in [&["history", "--no-trunc", &image][..], &["image", "inspect", &image]] {
        assert!(!shop.engine.must(arguments).contains("planted-key-7a1"));
    }
    let found =
        Command::new("grep").args(["-rlF", "planted-key-7a1", "."]).current_dir(shop.project.path()).output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
    assert!(!shop.engine.log().contains("planted-key-7a1"));
}

#[test]
fn what_is_missing_is_said_by_name() {
    let shop = shop!("--privileged");
    shop.fixed_port();
    shop.dockerfile("1", Behaviour::Well);
    let hostile = shop.run(&["execute", "--dry-run", "--version", "1"]);
    assert_eq!(hostile.code, Some(2), "{}{}", hostile.stdout, hostile.stderr);
    says(&hostile, "`acme/--privileged` is no image name");
    shop.edit(|config| {
        config["image_name"] = json!("acme/absent");
        config["run"]["name"] = json!("absent");
    });
    let mut command = shop.command(&["execute", "--dry-run", "--version", "1"]);
    let gone = Said::from(command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").output().unwrap());
    assert_eq!(gone.code, Some(3), "{}{}", gone.stdout, gone.stderr);
    says(&gone, "the docker engine doesn't answer");
    let program = env!("CARGO_BIN_EXE_pop-deploy");
    let alone = std::path::Path::new(program).parent().unwrap();
    let mut command = shop.command(&["execute", "--dry-run", "--version", "1"]);
    let none = Said::from(command.env("PATH", alone).output().unwrap());
    assert_eq!(none.code, Some(3), "{}{}", none.stdout, none.stderr);
    says(&none, "can't start `docker`");
}

#[test]
fn what_somebody_else_starts_meanwhile_is_not_run_over() {
    let shop = shop!("race");
    let port = shop.fixed_port();
    shop.must_deploy("1", Behaviour::Well);
    let image = shop.image();
    shop.project.hook(
        "pre_switch",
        &format!("docker run -d --name=race-deploy-other --label=pop-deploy.app=race {image}:1"),
    );
    let said = shop.deploy("2", Behaviour::Well);
    assert_eq!(said.code, Some(8), "{}{}", said.stdout, said.stderr);
    says(&said, "`race-deploy-other` was started meanwhile");
    assert_eq!(shop.get(port), "1");
}
