//! Runs over hosts that are stopped, killed, or meet another: nothing runs on over there, the lock is free, and the next
//! run says what happened and mends it.

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
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Child,
    time::{Duration, Instant},
};

use fleet::Fleet;
use jiff::Timestamp;
use network::Network;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sshd::{Kind, Lab};
use support::{Said, all, another_second, skipped, wait_for, worker_of};

/// Sends a signal; when that was.
fn send(pid: u32, signal: Signal) -> Instant {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
    Instant::now()
}

fn ended(run: Child) -> Said {
    run.wait_with_output().unwrap().into()
}

/// Kills a run, whose worker lives on for a moment; when that was.
fn killed(mut run: Child) -> Instant {
    run.kill().unwrap();
    run.wait().unwrap();
    Instant::now()
}

/// How long after the end of its run something may go on over there. Promised are five seconds, of which the far end gives
/// three to what is deaf to SIGTERM; here other tests take their share of few processors. What only silence ends, after 31
/// naps of 2 s since the last beat of 10 s, isn't that soon.
const SOON: Duration = Duration::from_secs(48);

/// Waits until no process of a user's is left on any host, soon after its run was to end.
fn nothing_runs_on(fleet: &Fleet, since: Instant) {
    wait_for("the end of what runs over there", || {
        fleet.hosts.iter().all(|host| host.processes().is_empty()).then_some(())
    });
    assert!(since.elapsed() < SOON, "it ran on for {:?}", since.elapsed());
}

/// A restart that never ends in version two, and starts a child that doesn't either and is deaf to SIGTERM.
fn endless_restart(fleet: &Fleet) -> serde_json::Value {
    let line = "if [ \"$2\" = two ]; then (trap '' TERM; exec sleep 601) & touch \"$1/../restarting\"; sleep 602; fi";
    json!(["sh", "-c", line, "sh", fleet.base_of("{{host}}"), "{{version}}"])
}

fn in_restart(fleet: &Fleet) -> Child {
    fleet.config(json!({"restart": endless_restart(fleet)}));
    fleet.deploy("one");
    let run = fleet.start("two");
    for host in &fleet.hosts {
        wait_for("the restart", || host.srv().join("restarting").exists().then_some(()));
    }
    run
}

/// After a death: the next deployment says so, `rollback` mends it, and then one can deploy again.
fn mend(fleet: &Fleet) {
    fleet.fill("three");
    let said = fleet.project.run(&["execute", "--yes", "--version", "three", "--wait", "60"]);
    assert_eq!(said.code, Some(7), "{}", all(&said));
    let said = fleet.project.must(&["rollback", "--yes"]);
    assert!(said.stdout.contains("Result: taken back, one is live\n"), "{}", all(&said));
    fleet.all_say("one");
    fleet.deploy("three");
    fleet.all_say("three");
}

#[test]
fn ctrl_c_during_a_restart_ends_it_everywhere_and_switches_back() {
    let Some(fleet) = Fleet::new(2) else { return };
    let run = in_restart(&fleet);
    let since = send(run.id(), Signal::INT);
    let said = ended(run);
    assert_eq!(said.code, Some(130), "{}", all(&said));
    nothing_runs_on(&fleet, since);
    fleet.all_say("one");
    fleet.deploy("three");
    fleet.all_say("three");
}

#[test]
fn ctrl_c_during_a_login_says_nothing_of_hosts_out_of_reach() {
    let Some(fleet) = Fleet::with(|lab| {
        let mut slow = lab.host("slow", Kind::default());
        let begun = lab.path().join("begun");
        slow.client.more = format!("ProxyCommand touch {} && exec sleep 600\n", begun.display());
        slow.introduce();
        vec![slow]
    }) else {
        return;
    };
    fleet.config(json!({"run_once": [{"command": ["true"]}]}));
    let run = fleet.start("one");
    wait_for("a login", || fleet.lab.path().join("begun").exists().then_some(()));
    send(run.id(), Signal::INT);
    let said = ended(run);
    assert_eq!(said.code, Some(130), "{}", all(&said));
    assert!(!all(&said).contains("slow") && all(&said).contains("nothing was changed"), "{}", all(&said));
}

#[test]
fn ctrl_c_ends_a_restart_where_there_is_no_setsid_as_well() {
    let kind = Kind { lacks: vec!["setsid", "busybox"], wrapped: true, ..Kind::default() };
    let Some(fleet) = Fleet::of_one("old", kind) else { return };
    let line = "if [ \"$2\" = two ]; then sleep 601 & sleep 602; fi";
    fleet.config(json!({"restart": ["sh", "-c", line, "sh", "-", "{{version}}"]}));
    fleet.deploy("one");
    let run = fleet.start("two");
    wait_for("the restart", || {
        let running = fleet.hosts[0].processes();
        ["sleep 601 ", "sleep 602 "]
            .iter()
            .all(|sleep| running.iter().any(|(_, line)| line == sleep))
            .then_some(())
    });
    let since = send(run.id(), Signal::INT);
    let said = ended(run);
    assert_eq!(said.code, Some(130), "{}", all(&said));
    nothing_runs_on(&fleet, since);
    fleet.all_say("one");
}

/// What goes on behind the shell's back ends too, where that shell leads no group.
fn a_host_process_is_killed_during_the_seal(kind: Kind) {
    let slow = "case $1 in */releases/.tmp-*) mkdir \"${0%/*}/sealing\" 2>/dev/null && sleep 603 ;; esac\nexec /bin/mv \"$@\"";
    let kind = Kind { programs: vec![("mv", slow)], ..kind };
    let Some(fleet) = Fleet::of_one("web1", kind) else { return };
    let run = fleet.start("one");
    let sealing = fleet.hosts[0].srv().parent().unwrap().join("programs/sealing");
    wait_for("the seal", || sealing.exists().then_some(()));
    nothing_runs_on(&fleet, killed(run));
    fleet.project.must(&["rollback", "--yes", "--wait", "60"]);
    assert!(fleet.releases(0).is_empty(), "{:?}", fleet.releases(0));
}

#[test]
fn a_host_process_killed_during_the_seal_leaves_nothing_running() {
    a_host_process_is_killed_during_the_seal(Kind::default());
    a_host_process_is_killed_during_the_seal(Kind { wrapped: true, ..Kind::default() });
}

#[test]
fn a_killed_worker_leaves_nothing_running_over_there_and_the_run_switches_back() {
    let Some(fleet) = Fleet::new(2) else { return };
    let run = in_restart(&fleet);
    let since = send(wait_for("the worker", || worker_of(&run)), Signal::KILL);
    let said = ended(run);
    assert_eq!(said.code, Some(8), "{}", all(&said));
    nothing_runs_on(&fleet, since);
    fleet.all_say("one");
}

#[test]
fn a_killed_host_process_leaves_nothing_running_over_there_and_the_next_run_mends_it() {
    let Some(fleet) = Fleet::new(2) else { return };
    let run = in_restart(&fleet);
    nothing_runs_on(&fleet, killed(run));
    mend(&fleet);
}

/// A restart that fails in version two and where a file `broken` lies, fails once where a file `refuse` lies, waits as long as there is a file `hold`, and
/// else writes down which version runs.
fn moody_restart(fleet: &Fleet) -> serde_json::Value {
    let line = "cd \"$1/..\"; [ \"$2\" != two ] && [ ! -e broken ] || exit 1; ! rm refuse 2>/dev/null || exit 1; \
                touch restarting; while [ -e hold ]; do sleep 0.05; done; echo \"$2\" >running";
    json!(["sh", "-c", line, "sh", fleet.base_of("{{host}}"), "{{version}}"])
}

#[test]
fn a_host_that_went_back_without_its_restart_gets_it_from_the_same_run_or_the_next() {
    let Some(fleet) = Fleet::new(2) else { return };
    let rolling = json!({"rolling": {"batch": 1, "max_failures": 1}});
    fleet.config(json!({"strategy": rolling, "restart": moody_restart(&fleet)}));
    fleet.deploy("one");
    let srv = |host: usize| fleet.hosts[host].srv();
    let forget = || (0..2).for_each(|host| fs::remove_file(srv(host).join("running")).unwrap());
    let running = |host: usize| fs::read_to_string(srv(host).join("running")).unwrap_or_default();
    forget();
    fs::write(srv(0).join("refuse"), "").unwrap();
    let said = fleet.try_deploy("two");
    assert_eq!(said.code, Some(8), "{}", all(&said));
    assert_eq!([running(0), running(1)], ["one\n"; 2], "{}", all(&said));
    forget();
    fs::remove_file(srv(0).join("restarting")).unwrap();
    fs::write(srv(0).join("hold"), "").unwrap();
    let run = fleet.start("two");
    wait_for("the restart of version one", || srv(0).join("restarting").exists().then_some(()));
    fleet.all_say("one");
    nothing_runs_on(&fleet, killed(run));
    fs::remove_file(srv(0).join("hold")).unwrap();
    fleet.project.must(&["rollback", "--yes", "--wait", "60"]);
    assert_eq!([running(0), running(1)], ["one\n", ""], "the second was never touched");
    let said = fleet.project.run(&["rollback", "--dry-run", "--detailed-exitcode", "--to", "one"]);
    assert_eq!(said.code, Some(10), "{}", all(&said));
    assert!(all(&said).contains("~ web2 (has release "), "{}", all(&said));
    fs::write(srv(0).join("broken"), "").unwrap();
    let said = fleet.try_deploy("three");
    assert_eq!(said.code, Some(4), "{}", all(&said));
    let text = all(&said);
    let (left, mend) = text.lines().find_map(|line| line.split_once("; to mend it: ")).unwrap();
    assert!(left.contains("`web1` has version one (release "), "{left}");
    assert!(left.contains(") again, and its restart failed"), "{left}");
    let is_due = || {
        let looked = fleet.project.run(&["verify"]);
        all(&looked).contains("the last restart on `web1` failed, or was cut off")
    };
    assert!(is_due());
    fs::remove_file(srv(0).join("broken")).unwrap();
    let said = fleet.typed(mend);
    assert_eq!(said.code, Some(0), "{mend}\n{}", all(&said));
    assert_eq!((running(0).as_str(), is_due()), ("one\n", false));
}

/// Does something with a host at the far end of a slow line, where version one is live.
fn far_away(work: impl FnOnce(&Fleet) + Send) {
    let network = match Network::with_uplink(&[20], 4_000_000) {
        Ok(network) => network,
        Err(why) => return skipped(&why),
    };
    network.inside(|| {
        let kind = Kind { network: Some(network.place(0, 1)), ..Kind::default() };
        let Some(fleet) = Fleet::of_one("far", kind) else { return };
        fleet.deploy("one");
        work(&fleet);
    });
}

/// A run whose upload has begun and is far from done.
fn in_upload(fleet: &Fleet) -> Child {
    // What doesn't compress.
    let mut noise = fs::File::open("/dev/urandom").unwrap();
    for number in 0..32 {
        let mut file = fs::File::create(fleet.project.path().join(format!("public/{number}.bin"))).unwrap();
        std::io::copy(&mut std::io::Read::take(&mut noise, 1_000_000), &mut file).unwrap();
    }
    let run = fleet.start("two");
    wait_for("the upload", || {
        let releases = fleet.base(0).join("releases");
        let begun = |entry: fs::DirEntry| {
            let files = fs::read_dir(entry.path()).ok()?.flatten();
            files.map(|file| file.file_name()).find(|name| name.to_string_lossy().ends_with(".bin"))
        };
        fs::read_dir(releases).ok()?.flatten().find_map(begun)
    });
    run
}

#[test]
fn ctrl_c_during_an_upload_leaves_nothing_of_it() {
    far_away(|fleet| {
        let run = in_upload(fleet);
        let since = send(run.id(), Signal::INT);
        let said = ended(run);
        assert_eq!(said.code, Some(130), "{}", all(&said));
        nothing_runs_on(fleet, since);
        fleet.all_say("one");
        assert_eq!(fleet.releases(0).len(), 1, "{:?}", fleet.releases(0));
    });
}

#[test]
fn a_worker_killed_during_an_upload_is_taken_back_by_its_run_and_a_host_process_by_the_next() {
    far_away(|fleet| {
        let run = in_upload(fleet);
        let since = send(wait_for("the worker", || worker_of(&run)), Signal::KILL);
        let said = ended(run);
        assert_eq!(said.code, Some(1), "{}", all(&said));
        assert!(all(&said).contains("SIGKILL") && all(&said).contains("uploading"), "{}", all(&said));
        nothing_runs_on(fleet, since);
        fleet.all_say("one");
        assert_eq!(fleet.releases(0).len(), 1, "{:?}", fleet.releases(0));
        let run = in_upload(fleet);
        nothing_runs_on(fleet, killed(run));
        for number in 0..32 {
            fs::remove_file(fleet.project.path().join(format!("public/{number}.bin"))).unwrap();
        }
        mend(fleet);
        assert!(fleet.releases(0).iter().all(|name| !name.starts_with('.')), "{:?}", fleet.releases(0));
    });
}

/// A migration that notes each run on the first host, and in this version waits for a file `go` there.
fn migration(fleet: &Fleet, waits_in: &str) -> serde_json::Value {
    let line = "cd \"$1/..\"; echo \"$2\" >>migrations; while [ \"$2\" = \"$3\" ] && [ ! -e go ]; do sleep 0.05; done";
    json!({"run_once": [{"command": ["sh", "-c", line, "sh", fleet.base_of("{{host}}"), "{{version}}", waits_in]}]})
}

fn migrations(fleet: &Fleet) -> String {
    fs::read_to_string(fleet.hosts[0].srv().join("migrations")).unwrap_or_default().replace('\n', " ")
}

/// A run that is killed in the midst of its migration, for which a resumed one finds everything ready.
fn killed_in_migration(fleet: &Fleet, word: &str) {
    fleet.config(migration(fleet, word));
    let before = migrations(fleet);
    let run = fleet.start(word);
    wait_for("the migration", || (migrations(fleet) != before).then_some(()));
    nothing_runs_on(fleet, killed(run));
    fs::write(fleet.hosts[0].srv().join("go"), "").unwrap();
}

#[test]
fn a_migration_that_was_cut_off_runs_again_only_when_somebody_says_so() {
    let Some(fleet) = Fleet::new(2) else { return };
    killed_in_migration(&fleet, "one");
    let resume = ["execute", "--resume", "--yes", "--wait", "60"];
    let said = fleet.project.run(&resume);
    assert_eq!(said.code, Some(4), "{}", all(&said));
    for words in ["`run_once_1` at target `web`", "migrations", "--cut-off done", "--cut-off again"] {
        assert!(all(&said).contains(words), "{words}: {}", all(&said));
    }
    assert_eq!(fleet.live(), ["-", "-"]);
    assert_eq!(migrations(&fleet), "one ");
    fleet.project.must(&[&resume[..], &["--cut-off", "done"]].concat());
    fleet.all_say("one");
    assert_eq!(migrations(&fleet), "one ");

    fs::remove_file(fleet.hosts[0].srv().join("go")).unwrap();
    killed_in_migration(&fleet, "two");
    fleet.project.must(&[&resume[..], &["--cut-off", "again"]].concat());
    fleet.all_say("two");
    assert_eq!(migrations(&fleet), "one two two ");
}

#[test]
fn a_run_that_left_a_host_behind_is_resumed_without_it() {
    let Some(mut fleet) = Fleet::new(3) else { return };
    fleet.hosts[1].vanish();
    fleet.hosts[2].vanish();
    fleet.config(migration(&fleet, "one"));
    let run = fleet.project.start(&["execute", "--yes", "--version", "one", "--skip-unreachable"]);
    wait_for("the migration", || (!migrations(&fleet).is_empty()).then_some(()));
    nothing_runs_on(&fleet, killed(run));
    // One that is back by now wasn't planned with, and waits for the next deployment.
    fleet.hosts[1].appear();
    let resume = ["execute", "--resume", "--yes", "--wait", "60", "--cut-off", "done"];
    let said = fleet.project.must(&resume);
    assert!(all(&said).contains("behind: web2, web3"), "{}", all(&said));
    assert_eq!(fleet.live(), ["one", "-", "-"]);
}

#[test]
fn two_folders_that_begin_in_one_second_never_take_one_release_for_the_other() {
    let Some(fleet) = Fleet::new(1) else { return };
    let other = Fleet::project_in(&fleet.lab);
    fleet.config_of(&other, json!({}));
    other.gate("before_all");
    let run = other.start(&["execute", "--yes", "--version", "three"]);
    other.wait_at_gate();
    let runs = fs::read_dir(other.path().join(".pop-deploy/deployments")).unwrap();
    let id = runs.flatten().next().unwrap().file_name().into_string().unwrap();
    // As if this one had begun in that very second, and been faster.
    fleet.deploy("one");
    let base = fleet.base(0);
    let live = fleet.releases(0).pop_first().unwrap();
    for folder in ["releases", ".pop-deploy/releases"] {
        fs::rename(base.join(folder).join(&live), base.join(folder).join(&id)).unwrap();
    }
    fs::remove_file(base.join("current")).unwrap();
    let link = std::path::Path::new("releases").join(&id);
    std::os::unix::fs::symlink(&link, base.join("current")).unwrap();
    other.write("go", "");
    let said = ended(run);
    assert_eq!(said.code, Some(3), "{}", all(&said));
    assert!(all(&said).contains(&format!("`web1` has a release {id} already")), "{}", all(&said));
    fleet.all_say("one");
    assert_eq!(fs::read_link(base.join("current")).unwrap(), link);
}

/// Every file on every host, with its content.
fn everything_on(fleet: &Fleet) -> Vec<BTreeMap<PathBuf, String>> {
    let folders = fleet.hosts.iter().flat_map(|host| [host.srv(), host.srv().with_file_name("home")]);
    folders.map(|folder| fleet.project.snapshot(folder.to_str().unwrap())).collect()
}

#[test]
fn a_second_operator_is_told_who_deploys_and_gets_his_turn_when_that_one_is_killed() {
    let Some(fleet) = Fleet::new(3) else { return };
    fleet.deploy("one");
    let other = Fleet::project_in(&fleet.lab);
    fleet.config_of(&other, json!({}));
    fleet::fill(&other, "three");
    let look = || {
        another_second();
        all(&other.must(&["execute", "--dry-run", "--version", "three"]))
    };
    let before = everything_on(&fleet);
    let words = look();
    assert!(words.contains("3 changed") && !words.contains("is being deployed to"), "{words}");
    assert!(everything_on(&fleet) == before, "a dry run changed something");
    fleet.project.gate("pre_switch");
    // Times of holders are whole seconds.
    let begun = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let run = fleet.start("two");
    fleet.project.wait_at_gate();
    let said = Fleet::try_meanwhile(&other, "three");
    assert_eq!(said.code, Some(5), "{}", all(&said));
    let words = all(&said);
    let host = rustix::system::uname();
    let holder = format!("@{}", host.nodename().to_string_lossy());
    assert!(words.contains(&holder) && words.contains(fleet.lab.user()), "{words}");
    // Who only looks needs no lock.
    let looked = look();
    assert!(looked.contains("`web3` is being deployed to by") && looked.contains(&holder), "{looked}");
    let since = words.split_once("since ").unwrap().1.split(')').next().unwrap();
    assert!((begun..=Timestamp::now()).contains(&since.parse().unwrap()), "{words}");
    fleet.all_say("one");
    nothing_runs_on(&fleet, killed(run));
    let said = other.run(&["execute", "--yes", "--version", "three", "--wait", "60"]);
    assert_eq!(said.code, Some(0), "{}", all(&said));
    fleet.all_say("three");
}

/// A restart that never ends holds the lock, until somebody takes it from that run by its name.
fn a_run_that_hangs_over_there_loses_its_lock(kind: Kind) {
    let both = |lab: &Lab| ["web1", "web2"].map(|name| lab.host(name, kind.clone())).into();
    let Some(fleet) = Fleet::with(both) else { return };
    fleet.config(json!({"restart": endless_restart(&fleet)}));
    fleet.deploy("one");
    // As where it lost its connection to the other one, to which it may come back.
    fleet.project.edit(|json| json["targets"]["web"]["config"]["hosts"] = json!(["web1"]));
    let run = fleet.start("two");
    wait_for("the restart", || fleet.hosts[0].srv().join("restarting").exists().then_some(()));
    let other = Fleet::project_in(&fleet.lab);
    fleet.config_of(&other, json!({"restart": endless_restart(&fleet)}));
    fleet::fill(&other, "three");
    let refused = all(&Fleet::try_meanwhile(&other, "three"));
    let command = refused.split_once("`pop-deploy ").and_then(|(_, rest)| Some(rest.split_once('`')?.0));
    let command: Vec<_> = command.unwrap_or_else(|| panic!("{refused}")).split(' ').collect();
    // All that it started there; what watches over it has short naps, one after the other.
    let restart = || {
        let mut running = fleet.hosts[0].processes();
        running.retain(|(_, line)| ["sleep 601 ", "sleep 602 "].contains(&line.as_str()));
        running
    };
    let before = restart();
    assert_eq!(before.len(), 2, "{before:?}");
    let wrong = other.run(&["unlock", "--force", "--run-id", "deploy-20260101-000000"]);
    assert_eq!(wrong.code, Some(5), "{}", all(&wrong));
    assert!(wrong.stderr.contains(command[3]), "{}", wrong.stderr);
    assert_eq!(other.run(&["unlock"]).code, Some(5));
    assert_eq!(restart(), before, "it was to touch nothing");

    // A host that can't be reached, which may be why the run hangs, stands in no other's way.
    other.edit(|json| json["targets"]["web"]["config"]["hosts"] = json!(["web1", "web2", "gone.invalid"]));
    let since = Instant::now();
    let said = other.run(&command);
    assert_eq!(said.code, Some(1), "{}", all(&said));
    assert!(said.stdout.contains("Taken from run") && said.stdout.contains("gone.invalid"), "{}", all(&said));
    fleet.config_of(&other, json!({"restart": endless_restart(&fleet)}));
    nothing_runs_on(&fleet, since);
    let ousted = ended(run);
    other.must(&["execute", "--yes", "--version", "three", "--wait", "60"]);
    assert_eq!(ousted.code, Some(4), "{}", all(&ousted));
    let by = format!("was taken from this run by {}@", fleet.lab.user());
    assert!(all(&ousted).contains(&by) && !all(&ousted).contains("to mend it"), "{}", all(&ousted));
    fleet.all_say("three");
    other.must(&["verify"]);
    assert_eq!(other.must(&["unlock"]).stdout, "Nothing is locked\n");
    let history = fs::read_to_string(fleet.base(0).join(".pop-deploy/history.jsonl")).unwrap();
    assert!(history.contains(r#""event":"lock_taken""#), "{history}");
    let forfeited = |host| fs::read_dir(fleet.base(host).join(".pop-deploy/forfeited")).unwrap().count();
    assert_eq!([forfeited(0), forfeited(1)], [1, 1]);
}

#[test]
fn a_run_that_hangs_over_there_loses_its_lock_to_who_names_it_and_never_writes_there_again() {
    a_run_that_hangs_over_there_loses_its_lock(Kind::default());
}

/// Debian's BusyBox has no `flock`.
#[test]
fn a_run_that_hangs_in_busybox_loses_a_lock_that_is_a_folder_as_well() {
    a_run_that_hangs_over_there_loses_its_lock(Kind { busybox: true, ..Kind::default() });
}

#[test]
fn a_run_that_waits_for_one_host_holds_no_other_meanwhile_and_then_plans_again() {
    let Some(fleet) = Fleet::new(2) else { return };
    fleet.deploy("one");
    let [both, first] = [json!(["web1", "web2"]), json!(["web1"])].map(|hosts| {
        let project = Fleet::project_in(&fleet.lab);
        fleet.config_of(&project, json!({"hosts": hosts}));
        project
    });
    fleet.project.edit(|json| json["targets"]["web"]["config"]["hosts"] = json!(["web2"]));
    fleet.project.gate("pre_switch");
    let holder = fleet.start("two");
    fleet.project.wait_at_gate();
    another_second();
    fleet::fill(&both, "four");
    let waiting = both.start(&["execute", "--yes", "--version", "four", "--wait", "600"]);
    wait_for("the run that waits", || both.journals().contains("\"lock\"").then_some(()));
    fleet::fill(&first, "three");
    another_second();
    first.must(&["execute", "--yes", "--version", "three", "--wait", "60"]);
    assert_eq!(fleet.live(), ["three", "one"]);
    fleet.project.write("go", "");
    assert_eq!(ended(holder).code, Some(0));
    // What it had planned doesn't hold any more.
    let said = ended(waiting);
    assert_eq!(said.code, Some(0), "{}", all(&said));
    assert!(all(&said).contains("planning again: "), "{}", all(&said));
    assert_eq!(fleet.live(), ["four", "four"]);
}
