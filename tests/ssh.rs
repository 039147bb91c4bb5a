//! Many hosts, one atomic release: real sshd's, and what becomes of all of them when one fails.

#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/network.rs"]
mod network;
#[path = "support/sshd.rs"]
mod sshd;
#[path = "support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::Duration,
};

use fleet::Fleet;
use serde_json::json;
use sshd::Kind;
use support::{Said, all, wait_for};

/// A health check that fails where version two is live and a file `sick` lies beside the base.
fn sick_check(fleet: &Fleet) -> serde_json::Value {
    let test = "! grep -q two \"$1/current/index.html\" || ! test -e \"$1/../sick\"";
    json!({"command": ["sh", "-c", test, "sh", fleet.base_of("{{host}}")], "retries": 1, "interval": 0.1, "start_period": 0, "timeout": 60})
}

fn make_sick(fleet: &Fleet, host: usize) {
    fs::write(fleet.hosts[host].srv().join("sick"), "").unwrap();
}

#[test]
fn sixteen_hosts_go_to_version_two_and_back_and_readers_see_whole_releases_only() {
    let Some(fleet) = Fleet::new(16) else { return };
    fleet.deploy("one");
    fleet.all_say("one");
    let ((), seen) = fleet.read_during(|| {
        fleet.deploy("two");
        fleet.all_say("two");
        fleet.project.must(&["rollback", "--yes"]);
    });
    fleet.all_say("one");
    for (host, words) in fleet.hosts.iter().zip(seen) {
        assert!(words == ["one", "two"], "{}: {words:?}", host.name);
    }
    fleet.project.must(&["verify"]);
}

#[test]
fn a_host_that_fails_in_stage_leaves_nothing_live_anywhere() {
    if !rustix::process::geteuid().is_root() {
        return support::skipped("only root may mount");
    }
    let Some(fleet) = Fleet::with(|lab| {
        let mut hosts = lab.hosts(3);
        hosts.push(lab.host("small", Kind { disk: Some((2 << 20, 0)), ..Kind::default() }));
        hosts
    }) else {
        return;
    };
    fleet.deploy("one");
    // There is room when the plan is made, and none when the release comes.
    fleet.project.gate("pre_stage");
    let run = fleet.start("two");
    fleet.project.wait_at_gate();
    let fill = fs::File::create(fleet.hosts[3].srv_seen_from_here().join("fill")).unwrap();
    let mut zeros = std::io::repeat(0);
    drop(std::io::copy(&mut zeros, &mut &fill));
    fleet.project.write("go", "");
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, Some(1), "{}", all(&said));
    assert!(all(&said).contains("small") && all(&said).to_lowercase().contains("space"), "{}", all(&said));
    fleet.all_say("one");
    for host in 0..4 {
        assert_eq!(fleet.releases(host).len(), 1, "{:?}", fleet.releases(host));
    }
    drop(fill);
    // The links that came and went are no news; a page that somebody wrote to is.
    fs::remove_file(fleet.hosts[3].srv_seen_from_here().join("fill")).unwrap();
    let touched = fleet.base(1).join("current/a/deep.txt");
    fs::File::options()
        .write(true)
        .open(&touched)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    let said = fleet.deploy("three");
    let warned: Vec<_> =
        all(&said).lines().filter(|line| line.contains("were touched")).map(str::to_owned).collect();
    assert!(matches!(&warned[..], [line] if line.contains("`web2`")), "{warned:?}");
    fleet.all_say("three");
}

#[test]
fn a_host_that_is_sick_after_the_switch_takes_all_sixteen_back() {
    let Some(fleet) = Fleet::new(16) else { return };
    fleet.config(json!({"health": sick_check(&fleet)}));
    fleet.deploy("one");
    make_sick(&fleet, 8);
    let said = fleet.try_deploy("two");
    assert_eq!(said.code, Some(8), "{}", all(&said));
    assert!(all(&said).contains("web9"), "{}", all(&said));
    fleet.all_say("one");
}

#[test]
fn a_way_back_mends_a_host_without_current_and_names_one_whose_current_is_anothers() {
    let Some(fleet) = Fleet::new(3) else { return };
    let meddle = "cd \"$1\"; case $1$2 in *web1*two) rm current; exit 1 ;; *web2*two) ln -sfn releases/mine current ;; esac";
    fleet.config(json!({"restart": ["sh", "-c", meddle, "sh", fleet.base_of("{{host}}"), "{{version}}"]}));
    fleet.deploy("one");
    let link = |host: usize| fs::read_link(fleet.base(host).join("current")).unwrap_or_default();
    let before = link(0);
    let said = fleet.try_deploy("two");
    assert_eq!(said.code, Some(8), "{}", all(&said));
    let named = "on `web2`, `current` is a link to releases/mine, which this run didn't make: it stays so";
    assert!(all(&said).contains(named), "{}", all(&said));
    assert_eq!([link(0), link(2)], [before.clone(), before], "{}", all(&said));
    assert_eq!(link(1), Path::new("releases/mine"));
}

/// A restart that waits for a file on one host, and tells that it began.
fn slow_restart(fleet: &Fleet) -> serde_json::Value {
    let wait = "cd \"$1/..\"; touch restarting; while [ -e hold ]; do sleep 0.05; done";
    json!(["sh", "-c", wait, "sh", fleet.base_of("{{host}}")])
}

fn wait_for_restart(fleet: &Fleet, host: usize) {
    let mark = fleet.hosts[host].srv().join("restarting");
    wait_for("the restart", || mark.exists().then_some(()));
}

fn hold_restart(fleet: &Fleet, host: usize) {
    let srv = fleet.hosts[host].srv();
    drop(fs::remove_file(srv.join("restarting")));
    fs::write(srv.join("hold"), "").unwrap();
}

fn let_restart_go(fleet: &Fleet, host: usize) {
    fs::remove_file(fleet.hosts[host].srv().join("hold")).unwrap();
}

#[test]
fn a_connection_that_breaks_in_the_middle_of_the_switch_is_made_again() {
    let Some(mut fleet) = Fleet::new(4) else { return };
    fleet.config(json!({"restart": slow_restart(&fleet)}));
    fleet.deploy("one");
    hold_restart(&fleet, 1);
    let run = fleet.start("two");
    wait_for_restart(&fleet, 1);
    fleet.hosts[1].be_forgotten_once();
    fleet.hosts[1].vanish();
    fleet.hosts[1].appear();
    let_restart_go(&fleet, 1);
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", all(&said));
    assert!(fleet.hosts[1].is_known(), "it was looked for in vain once");
    fleet.all_say("two");
    fleet.project.must(&["verify"]);
}

#[test]
fn a_host_that_vanishes_in_the_middle_of_the_switch_is_named_and_mended_when_it_is_back() {
    let Some(mut fleet) = Fleet::new(4) else { return };
    fleet.config(json!({"restart": slow_restart(&fleet)}));
    fleet.deploy("one");
    hold_restart(&fleet, 1);
    let run = fleet.start("two");
    wait_for_restart(&fleet, 1);
    fleet.hosts[1].vanish();
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, Some(4), "{}", all(&said));
    assert!(all(&said).contains("web2"), "{}", all(&said));
    let live = fleet.live();
    assert_eq!([&live[0], &live[2], &live[3]], ["one"; 3], "{live:?}");
    let_restart_go(&fleet, 1);
    fleet.hosts[1].appear();
    let looked = fleet.project.run(&["verify"]);
    assert_eq!(looked.code, Some(1), "{}", all(&looked));
    assert!(all(&looked).contains("not what other hosts have"), "{}", all(&looked));
    // What ran there has yet to notice that nobody is at the other end.
    fleet.project.must(&["rollback", "--yes", "--wait", "60"]);
    fleet.all_say("one");
    fleet.deploy("three");
    fleet.all_say("three");
}

#[test]
fn a_second_batch_that_fails_takes_the_first_back_and_the_third_is_never_touched() {
    let Some(fleet) = Fleet::new(8) else { return };
    fleet.config(json!({
        "strategy": {"rolling": {"batch": "25%"}},
        "restart": noted_restart(&fleet),
        "health": sick_check(&fleet),
    }));
    fleet.deploy("one");
    make_sick(&fleet, 3);
    let said = fleet.try_deploy("two");
    assert_eq!(said.code, Some(8), "{}", all(&said));
    fleet.all_say("one");
    for host in 0..4 {
        assert!(restarts(&fleet, host).starts_with("one\ntwo\n"), "{host}: {}", restarts(&fleet, host));
    }
    for host in 4..8 {
        assert_eq!(restarts(&fleet, host), "one\n", "{host}");
    }
}

#[test]
fn hosts_that_may_fail_go_back_at_once_and_are_named_with_what_they_have() {
    let Some(fleet) = Fleet::new(4) else { return };
    let rolling = |more: serde_json::Value| {
        let mut config =
            json!({"strategy": {"rolling": {"batch": 1, "max_failures": 1}}, "health": sick_check(&fleet)});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fleet.config(config);
    };
    rolling(json!({"restart": slow_restart(&fleet)}));
    fleet.deploy("one");
    make_sick(&fleet, 1);
    hold_restart(&fleet, 2);
    let run = fleet.start("two");
    wait_for_restart(&fleet, 2);
    // The third is still at it, and the second has gone back.
    assert_eq!(fleet.live(), ["two", "one", "two", "one"]);
    let_restart_go(&fleet, 2);
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", all(&said));
    assert_eq!(fleet.live(), ["two", "one", "two", "two"]);
    assert!(all(&said).contains("`web2` failed and has version one"), "{}", all(&said));
    assert!(all(&said).contains("behind: web2"), "{}", all(&said));
    // It catches up when it is well again. Then the first host meddles with what is live on the second.
    fs::remove_file(fleet.hosts[1].srv().join("sick")).unwrap();
    fleet.deploy("three");
    fleet.all_say("three");
    let meddle = format!("ln -sfn releases/mine {}/current", fleet.base_of("web2"));
    let line = format!("case $1 in *web1*) {meddle} ;; esac");
    rolling(json!({"restart": ["sh", "-c", line, "sh", "{{host}}"]}));
    let said = fleet.try_deploy("four");
    assert_eq!(said.code, Some(0), "{}", all(&said));
    assert!(all(&said).contains("`current` is a link to releases/mine"), "{}", all(&said));
    assert_eq!(fs::read_link(fleet.base(1).join("current")).unwrap(), Path::new("releases/mine"));
}

#[test]
fn a_release_that_no_host_takes_fails_however_many_may_fail() {
    let Some(mut fleet) = Fleet::new(2) else { return };
    let rolling = json!({"rolling": {"batch": 1, "max_failures": 2, "wait": 0.5}});
    fleet
        .config(json!({"strategy": rolling, "restart": noted_restart(&fleet), "health": sick_check(&fleet)}));
    fleet.deploy("one");
    let [first, second] =
        [0, 1].map(|host| fleet.hosts[host].srv().join("restarts").metadata().unwrap().modified().unwrap());
    let waited = second.duration_since(first).unwrap();
    assert!(waited >= Duration::from_millis(500), "{waited:?} between two batches");
    (0..2).for_each(|host| make_sick(&fleet, host));
    let said = fleet.try_deploy("two");
    assert_eq!(said.code, Some(8), "{}", all(&said));
    assert!(all(&said).contains("2 of 2 hosts failed"), "{}", all(&said));
    fleet.all_say("one");
    assert_eq!(fleet.project.history()[0]["status"], "failed");
    // The host that the canary put it on is one that takes it.
    fs::remove_file(fleet.hosts[0].srv().join("sick")).unwrap();
    fleet.project.must(&["execute", "--canary", "--yes", "--version", "two"]);
    assert_eq!(fleet.live(), ["two", "one"]);
    // Who is left behind takes nothing either.
    make_sick(&fleet, 0);
    fleet.hosts[1].vanish();
    let before = restarts(&fleet, 0);
    let said = fleet.project.run(&["execute", "--yes", "--version", "two", "--skip-unreachable"]);
    assert_eq!(said.code, Some(8), "{}", all(&said));
    assert_ne!(restarts(&fleet, 0), before);
    assert_eq!(fleet.project.history()[0]["status"], "failed");
}

#[test]
fn a_host_that_vanishes_within_the_allowance_is_named_with_what_mends_it() {
    let Some(mut fleet) = Fleet::new(2) else { return };
    let rolling = json!({"rolling": {"batch": 1, "max_failures": 1}});
    fleet.config(json!({"strategy": rolling, "restart": slow_restart(&fleet)}));
    fleet.deploy("one");
    hold_restart(&fleet, 0);
    let run = fleet.start("two");
    wait_for_restart(&fleet, 0);
    fleet.hosts[0].vanish();
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, Some(4), "{}", all(&said));
    assert!(all(&said).contains("the release is live at `web`, but for a part"), "{}", all(&said));
    assert!(all(&said).contains("to mend it: ssh web1"), "{}", all(&said));
    assert!(all(&said).contains("behind: web1"), "{}", all(&said));
    assert!(!all(&said).contains("[5/5] Keeping all releases... failed"), "{}", all(&said));
    assert_eq!(fleet.live()[1], "two");
    // It is live and good where it is well: what to go back to is known.
    assert_eq!(fleet.project.history()[0]["status"], "success");
    let_restart_go(&fleet, 0);
    fleet.hosts[0].appear();
    fleet.fill("three");
    fleet.project.must(&["execute", "--yes", "--version", "three", "--wait", "60"]);
    fleet.all_say("three");
}

#[test]
fn a_canary_host_that_is_sick_goes_back_and_the_others_are_never_touched() {
    let Some(fleet) = Fleet::new(4) else { return };
    fleet.config(json!({
        "canary": [{"count": 1, "hold": 0.5}],
        "restart": noted_restart(&fleet),
        "health": sick_check(&fleet),
    }));
    fleet.deploy("one");
    make_sick(&fleet, 0);
    fleet.fill("two");
    let said = fleet.project.run(&["execute", "--canary", "--yes", "--version", "two"]);
    assert_eq!(said.code, Some(8), "{}", all(&said));
    fleet.all_say("one");
    assert!(restarts(&fleet, 0).starts_with("one\ntwo\n"), "{}", restarts(&fleet, 0));
    for host in 1..4 {
        assert_eq!(restarts(&fleet, host), "one\n", "{host}");
    }
}

/// A restart that writes down the version it is for.
fn noted_restart(fleet: &Fleet) -> serde_json::Value {
    let note = "echo \"$2\" >>\"$1/../restarts\"";
    json!(["sh", "-c", note, "sh", fleet.base_of("{{host}}"), "{{version}}"])
}

fn restarts(fleet: &Fleet, host: usize) -> String {
    fs::read_to_string(fleet.hosts[host].srv().join("restarts")).unwrap()
}

/// A canary that somebody is to judge, on the first host of four.
fn open_canary(fleet: &Fleet, word: &str) {
    fleet.fill(word);
    fleet.project.must(&["execute", "--canary", "--until", "manual", "--yes", "--version", word]);
    assert_eq!(fleet.live(), [word, "one", "one", "one"]);
}

#[test]
fn a_canary_on_the_first_host_waits_and_is_aborted_or_promoted_by_another_process() {
    let Some(fleet) = Fleet::new(4) else { return };
    fleet.deploy("one");
    open_canary(&fleet, "two");
    let said = fleet.try_deploy("three");
    assert_eq!(said.code, Some(3), "{}", all(&said));
    let said = fleet.project.must(&["verify"]);
    let line = |words: &str| all(&said).lines().filter(|line| line.contains(words)).count();
    assert_eq!([line("as the open canary has it"), line("is live and whole")], [1, 4], "{}", all(&said));
    fleet.project.must(&["abort", "--yes"]);
    fleet.all_say("one");
    let before = fs::read_link(fleet.base(0).join("current")).unwrap();
    open_canary(&fleet, "three");
    let [link, canarys] = ["link", "canarys"].map(|name| fleet.base(0).join(name));
    std::os::unix::fs::symlink(&before, &link).unwrap();
    fs::rename(fleet.base(0).join("current"), &canarys).unwrap();
    fs::rename(&link, fleet.base(0).join("current")).unwrap();
    let said = fleet.project.run(&["verify"]);
    assert_eq!(said.code, Some(1), "{}", all(&said));
    assert!(all(&said).contains("and the open canary's release is"), "{}", all(&said));
    fs::rename(&canarys, fleet.base(0).join("current")).unwrap();
    fleet.project.must(&["promote", "--yes"]);
    fleet.all_say("three");
    fleet.project.must(&["rollback", "--yes"]);
    fleet.all_say("one");
}

#[test]
fn a_canary_that_is_open_is_seen_from_another_folder_until_it_is_judged_or_its_mark_is_taken_away() {
    let Some(fleet) = Fleet::new(4) else { return };
    let other = Fleet::project_in(&fleet.lab);
    fleet.config_of(&other, json!({}));
    fleet.deploy("one");
    open_canary(&fleet, "two");
    let refused = || {
        let said = Fleet::try_meanwhile(&other, "four");
        assert_eq!(said.code, Some(3), "{}", all(&said));
        assert!(all(&said).contains("a canary of another folder is open: release deploy-"), "{}", all(&said));
        all(&said)
    };
    refused();
    assert_eq!(fleet.live(), ["two", "one", "one", "one"]);
    let looked = all(&other.run(&["verify"]));
    assert!(looked.contains("a canary of another folder is open"), "{looked}");
    fleet.project.must(&["promote", "--yes"]);
    other.must(&["execute", "--dry-run", "--version", "four"]);
    fleet.project.must(&["rollback", "--yes"]);
    fleet.all_say("one");
    open_canary(&fleet, "three");
    let words = refused();
    let command = words.lines().find_map(|line| Some(line.split_once("where it is gone: ")?.1)).unwrap();
    assert_eq!(fleet.typed(command).code, Some(0), "{command}");
    fleet::fill(&other, "four");
    assert_eq!(Fleet::try_meanwhile(&other, "four").code, Some(0));
    fleet.all_say("four");
}

#[test]
fn who_meets_a_canary_at_work_waits_for_it_and_never_deploys_over_one_that_died() {
    let Some(fleet) = Fleet::new(3) else { return };
    let other = Fleet::project_in(&fleet.lab);
    fleet.config_of(&other, json!({}));
    let steps = json!([{"count": 1, "hold": 0}, {"count": 2, "hold": 0}]);
    fleet.config(json!({"canary": steps, "restart": slow_restart(&fleet)}));
    fleet.deploy("one");
    let met = |word: &str| {
        hold_restart(&fleet, 1);
        fleet.fill(word);
        let run = fleet.project.start(&["execute", "--canary", "--yes", "--version", word]);
        wait_for_restart(&fleet, 1);
        assert_eq!(fleet.live()[0], word, "its first host is through");
        fleet::fill(&other, "three");
        let said = Fleet::try_meanwhile(&other, "three");
        assert_eq!(said.code, Some(5), "{}", all(&said));
        let begun = || other.journals().matches("\"intent\"").count();
        let before = begun();
        let waiting = other.start(&["execute", "--yes", "--version", "three", "--wait", "120"]);
        wait_for("the run that waits", || (begun() > before).then_some(()));
        (run, waiting)
    };
    let (run, waiting) = met("two");
    let_restart_go(&fleet, 1);
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", all(&said));
    let said = Said::from(waiting.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", all(&said));
    fleet.all_say("three");
    let (mut run, waiting) = met("four");
    run.kill().unwrap();
    run.wait().unwrap();
    let said = Said::from(waiting.wait_with_output().unwrap());
    assert_eq!(said.code, Some(3), "{}", all(&said));
    assert!(
        all(&said).contains("planning again: on `web1`, a canary of another folder is open"),
        "{}",
        all(&said)
    );
    assert_eq!(fleet.live()[0], "four");
}

#[test]
fn a_canary_splits_the_hosts_that_answer_and_is_refused_where_it_cannot() {
    let Some(mut fleet) = Fleet::new(4) else { return };
    let hosts = json!(["web1", "web2", {"host": "web3", "labels": ["edge"]}, "web4"]);
    fleet.config(json!({"hosts": hosts, "canary": [{"hosts": ["edge"]}]}));
    fleet.deploy("one");
    fleet.fill("two");
    let canary =
        ["execute", "--canary", "--until", "manual", "--yes", "--version", "two", "--skip-unreachable"];
    let refused = |fleet: &Fleet, why: &str| {
        let said = fleet.project.run(&canary);
        assert_eq!(said.code, Some(3), "{}", all(&said));
        assert!(all(&said).contains(why), "{}", all(&said));
        fleet.all_say("one");
    };
    fleet.hosts[2].vanish();
    refused(&fleet, "the steps of `canary` take none of the hosts that can be reached");
    fleet.hosts[2].appear();
    [0, 1, 3].into_iter().for_each(|host| fleet.hosts[host].vanish());
    refused(&fleet, "the steps of `canary` take all hosts that can be reached");
    [0, 3].into_iter().for_each(|host| fleet.hosts[host].appear());
    let said = fleet.project.must(&[&canary[..], &["--dry-run"]].concat());
    let step = said.stdout.lines().find(|line| line.contains("Switching the canary")).unwrap();
    assert!(step.contains(": `web3`: the others follow"), "{step}");
    // Of the three that answer.
    fleet.project.edit(|json| json["targets"]["web"]["config"]["canary"] = json!([{"percent": 50}]));
    fleet.project.must(&canary);
    assert_eq!(fleet.live(), ["two", "one", "two", "one"]);
    fleet.project.must(&["promote", "--yes"]);
    assert_eq!(fleet.live(), ["two", "one", "two", "two"]);
}

#[test]
fn a_host_that_cannot_be_reached_stops_everything_or_stays_behind_and_catches_up() {
    let Some(mut fleet) = Fleet::new(3) else { return };
    // A second one at the same time would fail.
    let alone = "mkdir \"$1\" && sleep 0.1 && rmdir \"$1\"";
    let busy = fleet.lab.path().join("busy");
    fleet.config(json!({"max_connections": 1, "restart": ["sh", "-c", alone, "sh", busy], "keep": 1}));
    fleet.deploy("one");
    let at_once = |json: &mut serde_json::Value| {
        let config = json["targets"]["web"]["config"].as_object_mut().unwrap();
        config.retain(|key, _| !["max_connections", "restart"].contains(&key.as_str()));
    };
    fleet.project.edit(at_once);
    let first = kept(&fleet, 1);
    fleet.hosts[1].vanish();
    let said = fleet.try_deploy("two");
    assert_eq!(said.code, Some(3), "{}", all(&said));
    assert!(all(&said).contains("web2"), "{}", all(&said));
    fleet.all_say("one");
    let listed = fleet.project.must(&["rollback", "--list"]).stdout;
    let why = "  Which of them are still there can't be read:\n    error: nothing listens for ssh at `web2`";
    assert!(listed.contains(why), "{listed}");
    for command in ["status", "verify"] {
        let looked = all(&fleet.project.run(&[command]));
        assert!(looked.contains("nothing listens for ssh at `web2`"), "{looked}");
        assert!(!looked.contains("can't be read") && !looked.contains("error: "), "{looked}");
    }
    let said = fleet.project.must(&["execute", "--yes", "--version", "two", "--skip-unreachable"]);
    assert!(all(&said).contains("behind: web2"), "{}", all(&said));
    assert_eq!(fleet.live(), ["two", "one", "two"]);
    let second = &kept(&fleet, 0) - &first;
    assert_eq!(kept(&fleet, 0), &first | &second, "what was live before stays");
    fleet.project.must(&["execute", "--yes", "--version", "later", "--skip-unreachable"]);
    let later = &(&kept(&fleet, 0) - &first) - &second;
    assert_eq!(kept(&fleet, 0), &(&first | &second) | &later, "and what all hosts have");
    fleet.hosts[1].appear();
    let said = fleet.project.run(&["verify"]);
    assert_ne!(said.code, Some(0), "{}", all(&said));
    assert!(all(&said).contains("not all hosts have the same release"), "{}", all(&said));
    assert!(
        all(&said).contains("history says later, and no single release of ours is live"),
        "{}",
        all(&said)
    );
    fleet.deploy("three");
    fleet.all_say("three");
    let third = &kept(&fleet, 1) - &first;
    let whole = &(&first | &later) | &third;
    assert_eq!([kept(&fleet, 0), kept(&fleet, 2)], [whole.clone(), whole]);
    assert_eq!(kept(&fleet, 1), &first | &third, "what was live there before");
    assert_eq!([&first, &later, &third].map(BTreeSet::len), [1; 3]);
    let said = fleet.project.run(&["rollback", "--yes"]);
    assert_eq!(said.code, Some(6), "{}", all(&said));
    assert!(all(&said).contains("all hosts keep, such as version one"), "{}", all(&said));
    let listed = fleet.project.must(&["rollback", "--list"]).stdout;
    assert!(listed.contains("  later  gone at the place\n") && listed.contains("  one\n"), "{listed}");
    fleet.project.must(&["rollback", "--yes", "--to", "one"]);
    fleet.all_say("one");
    let said = fleet.deploy("four");
    assert!(all(&said).contains("removed 2 releases"), "{}", all(&said));
    // It is what was deployed before, though somebody went back from it since.
    fleet.project.must(&["rollback", "--yes"]);
    fleet.all_say("three");
}

/// The releases on a host: each has its manifest, and there is no other one.
fn kept(fleet: &Fleet, host: usize) -> BTreeSet<String> {
    let entries = fs::read_dir(fleet.base(host).join(".pop-deploy/releases")).unwrap();
    let described = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(fleet.releases(host), described);
    described
}

#[test]
fn a_migration_runs_on_its_host_before_any_host_is_live_and_one_that_fails_keeps_them_so() {
    let Some(fleet) = Fleet::new(3) else { return };
    let line = "cat index.html \"$1/current/index.html\" >\"$1/../seen\"; echo \"$2\" >>\"$1/../migrations\"; [ \"$2\" != two ]";
    let command = ["sh", "-c", line, "sh", &fleet.base_of("{{host}}"), "{{version}}"];
    fleet.config(json!({"run_once": [{"host": "web2", "command": command}]}));
    fleet.deploy("zero");
    fleet.deploy("one");
    let seen = fs::read_to_string(fleet.hosts[1].srv().join("seen")).unwrap();
    assert_eq!(seen, format!("{}{}", "one\n".repeat(100), "zero\n".repeat(100)));
    let said = fleet.try_deploy("two");
    assert_eq!(said.code, Some(8), "{}", all(&said));
    assert!(all(&said).contains("can't be taken back"), "{}", all(&said));
    fleet.all_say("one");
    fleet.project.must(&["rollback", "--yes"]);
    fleet.all_say("zero");
    assert_eq!(fs::read_to_string(fleet.hosts[1].srv().join("migrations")).unwrap(), "zero\none\ntwo\n");
    assert!([0, 2].iter().all(|host| !fleet.hosts[*host].srv().join("migrations").exists()));
}

#[test]
fn what_becomes_another_kind_of_thing_comes_over_and_what_others_left_in_the_live_release_does_not() {
    let Some(fleet) = Fleet::new(1) else { return };
    let source = fleet.project.path().join("public");
    fleet.project.write("public/file-then-folder", "a file");
    fleet.project.write("public/folder-then-file/inner", "inner");
    fleet.project.write("public/folder-then-link/inner", "inner");
    std::os::unix::fs::symlink("same.txt", source.join("link-then-file")).unwrap();
    fleet.deploy("one");
    let live = fs::canonicalize(fleet.base(0).join("current")).unwrap();
    for folder in ["", "folder-then-file", "a"] {
        fs::set_permissions(live.join(folder), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(live.join(folder).join("foreign"), "foreign").unwrap();
    }
    fs::remove_file(source.join("file-then-folder")).unwrap();
    fs::remove_dir_all(source.join("folder-then-file")).unwrap();
    fs::remove_dir_all(source.join("folder-then-link")).unwrap();
    fs::remove_file(source.join("link-then-file")).unwrap();
    fleet.project.write("public/file-then-folder/inner", "inner");
    fleet.project.write("public/folder-then-file", "a file");
    std::os::unix::fs::symlink("a", source.join("folder-then-link")).unwrap();
    fleet.project.write("public/link-then-file", "a file");
    fleet.deploy("two");
    fleet.all_say("two");
    let current = fleet.base(0).join("current");
    let read = |path: &str| fs::read_to_string(current.join(path)).unwrap_or_default();
    assert_eq!(read("file-then-folder/inner"), "inner");
    assert_eq!([read("folder-then-file"), read("link-then-file")], ["a file", "a file"]);
    assert_eq!(fs::read_link(current.join("folder-then-link")).unwrap(), Path::new("a"));
    assert!(!current.join("link-then-file").is_symlink());
    for foreign in ["foreign", "a/foreign"] {
        assert!(!current.join(foreign).exists(), "{foreign}");
        assert!(live.join(foreign).exists(), "{foreign}");
    }
    fleet.project.must(&["verify"]);
}

#[test]
fn equal_size_and_time_with_other_content_is_shipped_and_new_times_alone_are_not() {
    let Some(fleet) = Fleet::new(1) else { return };
    fleet.deploy("one");
    let pages = ["index.html", "a/deep.txt", "b/deeper/still.txt"]
        .map(|page| fleet.project.path().join("public").join(page));
    let times: Vec<_> = pages.iter().map(|page| page.metadata().unwrap().modified().unwrap()).collect();
    fleet.fill("two");
    for (page, time) in pages.iter().zip(times) {
        fs::File::options().write(true).open(page).unwrap().set_modified(time).unwrap();
    }
    let said = fleet.project.must(&["execute", "--yes", "--version", "two"]);
    assert!(said.stdout.contains("3 changed"), "{}", said.stdout);
    fleet.all_say("two");
    // A fresh checkout: every time is new, and nothing else.
    let same = fleet.project.path().join("public/same.txt");
    let now = std::time::SystemTime::now();
    for page in pages.iter().chain([&same]) {
        fs::File::options().write(true).open(page).unwrap().set_modified(now).unwrap();
    }
    let said = fleet.project.run(&["execute", "--dry-run", "--detailed-exitcode", "--version", "three"]);
    assert_eq!(said.code, Some(10), "{}", all(&said));
    let change = said.stdout.lines().find(|line| line.contains("current (version two (release ")).unwrap();
    assert!(change.contains(") gives way to version three (release "), "{change}");
    let said = fleet.project.must(&["execute", "--yes", "--version", "three"]);
    assert!(said.stdout.contains("0 added, 0 changed, 0 removed, 4 unchanged"), "{}", said.stdout);
    assert_eq!(
        inode(&fleet.base(0).join("current/same.txt")),
        inode(&only_other_release(&fleet).join("same.txt"))
    );
}

/// How often the run of a deployment asked a host something and waited.
fn round_trips(fleet: &Fleet, word: &str) -> u64 {
    fleet.fill(word);
    let said = fleet.project.must(&["execute", "--yes", "--json", "--version", word]);
    let finished: serde_json::Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    finished["targets"][0]["facts"]["round_trips"].as_u64().expect("they are reported")
}

#[test]
fn a_deployment_takes_eight_round_trips_at_most() {
    let Some(fleet) = Fleet::new(2) else { return };
    assert!(round_trips(&fleet, "one") <= 6);
    assert!(round_trips(&fleet, "two") <= 6);
    fleet.config(json!({"restart": ["true"], "health": {"command": ["true"]}}));
    assert!(round_trips(&fleet, "three") <= 8);
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().unwrap().ino()
}

/// A release of the first host that isn't live.
fn only_other_release(fleet: &Fleet) -> std::path::PathBuf {
    let live = fs::read_link(fleet.base(0).join("current")).unwrap();
    let id = fleet.releases(0).into_iter().find(|id| !live.ends_with(id)).unwrap();
    fleet.base(0).join("releases").join(id)
}

#[test]
fn a_release_that_somebody_tampered_with_is_found_before_a_rollback_uses_it() {
    let Some(fleet) = Fleet::new(3) else { return };
    fleet.deploy("one");
    let old = fs::read_link(fleet.base(1).join("current")).unwrap();
    fleet.deploy("two");
    let page = fleet.base(1).join(old).join("a/deep.txt");
    let time = page.metadata().unwrap().modified().unwrap();
    let mode = page.metadata().unwrap().permissions();
    fs::set_permissions(&page, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&page, "eno\n".repeat(100)).unwrap();
    fs::File::options().write(true).open(&page).unwrap().set_modified(time).unwrap();
    fs::set_permissions(&page, mode).unwrap();
    let said = fleet.project.run(&["rollback", "--yes"]);
    assert_eq!(said.code, Some(6), "{}", all(&said));
    assert!(all(&said).contains("web2") && all(&said).contains("a/deep.txt"), "{}", all(&said));
    fleet.all_say("two");
}

#[test]
fn a_host_with_nothing_but_busybox_does_all_of_it() {
    if sshd::program("busybox").is_none() {
        return support::skipped("no busybox");
    }
    let kind = Kind { busybox: true, noisy: true, banner: true, max_sessions: Some(1), ..Kind::default() };
    let Some(fleet) = Fleet::of_one("bb", kind) else { return };
    fleet.config(json!({
        "restart": ["sh", "-c", "echo restarted >>\"$1/../restarts\"", "sh", fleet.base_of("{{host}}")],
        "health": sick_check(&fleet),
        "shared": ["uploads/"],
    }));
    // It doesn't go along, so wherever it leads is fine.
    symlink("../../elsewhere", fleet.project.path().join("public/uploads")).unwrap();
    fleet.deploy("one");
    let history = fleet.base(0).join(".pop-deploy/history.jsonl");
    fs::write(&history, "{}\n".repeat(2000)).unwrap();
    // Where something is tidied up, its history is.
    fs::create_dir(fleet.base(0).join("releases/.tmp-left")).unwrap();
    fleet.deploy("three");
    let kept = fs::read_to_string(&history).unwrap();
    assert_eq!(kept.lines().count(), 1000);
    assert!(kept.lines().last().unwrap().contains("\"version\":\"three\""), "{kept}");
    fleet.project.must(&["rollback", "--yes"]);
    fleet.all_say("one");
    make_sick(&fleet, 0);
    assert_eq!(fleet.try_deploy("two").code, Some(8));
    fleet.all_say("one");
    assert!(fleet.base(0).join("current/uploads").is_dir());
    fleet.project.must(&["verify"]);
}
