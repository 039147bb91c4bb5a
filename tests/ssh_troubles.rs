//! Hosts that can't be reached, or aren't as they should be: a clear line each, all together, and nothing is changed.
//! And hosts that are only strange: they are served like any other.

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

use std::{fs, os::unix::fs::symlink};

use fleet::Fleet;
use network::Network;
use serde_json::json;
use sshd::{Host, Kind, Lab};
use support::{Said, all, skipped, wait_for};

/// A host with this much room.
fn small(lab: &Lab, name: &str, bytes: u64, inodes: u64) -> Host {
    lab.host(name, Kind { disk: Some((bytes, inodes)), ..Kind::default() })
}

/// A host that the user's ssh goes to in another way.
fn reached(lab: &Lab, name: &str, change: impl FnOnce(&mut sshd::Client)) -> Host {
    let mut host = lab.host(name, Kind::default());
    change(&mut host.client);
    host.introduce();
    host
}

#[test]
fn every_host_that_cannot_be_deployed_to_has_its_line_and_nothing_is_changed() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root may mount");
    }
    let Some(nologin) = sshd::program("nologin") else { return skipped("no nologin") };
    let Some(fleet) = Fleet::with(|lab| {
        let mut gone = lab.host("gone", Kind::default());
        gone.vanish();
        let changed = lab.host("changed", Kind::default());
        changed.change_key();
        let read_only = small(lab, "readonly", 64 << 20, 0);
        read_only.make_read_only();
        let folder = lab.host("folder", Kind::default());
        fs::create_dir_all(folder.srv().join("app/current")).unwrap();
        let blocked = lab.host("blocked", Kind::default());
        fs::write(blocked.srv().join("app"), "a file").unwrap();
        let [other, nowhere] = ["other", "nowhere"].map(|name| lab.host(name, Kind::default()));
        for host in [&other, &nowhere] {
            fs::create_dir_all(host.srv().join("app/shared")).unwrap();
        }
        fs::write(other.srv().join("app/shared/uploads"), "a file").unwrap();
        symlink("nowhere", nowhere.srv().join("app/shared/uploads")).unwrap();
        vec![
            lab.host("fine", Kind::default()),
            gone,
            changed,
            reached(lab, "unknown", |client| client.known = None),
            reached(lab, "nobody", |client| client.user = "nobody-here".into()),
            reached(lab, "stranger", |client| client.identity = lab.stranger()),
            reached(lab, "noagent", |client| {
                client.identity = lab.path().join("no-such-key");
                client.more = "IdentityAgent /nonexistent/agent\n".into();
            }),
            lab.host("nologin", Kind { shell: Some(nologin), ..Kind::default() }),
            lab.host("filesonly", Kind { only_sftp: true, ..Kind::default() }),
            read_only,
            folder,
            blocked,
            other,
            nowhere,
            small(lab, "full", 1 << 20, 0),
            small(lab, "crowded", 64 << 20, 6),
        ]
    }) else {
        return;
    };
    fleet.config(json!({"shared": ["uploads/"]}));
    fleet.project.write("public/large.bin", &"large".repeat(400_000));
    let before: Vec<_> = fleet.hosts.iter().map(|host| walk(&host.srv_seen_from_here())).collect();
    for arguments in
        [&["execute", "--yes", "--version", "one"][..], &["execute", "--dry-run", "--version", "one"]]
    {
        let said = fleet.project.run(arguments);
        assert_eq!(said.code, Some(3), "{}", all(&said));
        for (host, words) in [
            ("gone", "refused"),
            ("changed", "key"),
            ("unknown", "key"),
            ("nobody", "nobody-here"),
            ("stranger", "denied"),
            ("noagent", "no ssh agent runs here"),
            ("nologin", "may not log in"),
            ("filesonly", "only use sftp"),
            ("readonly", "writ"),
            ("folder", "folder"),
            ("blocked", "folder"),
            ("other", "is no folder"),
            ("nowhere", "is no folder"),
            ("full", "bytes free"),
            ("crowded", "inodes"),
        ] {
            let text = all(&said);
            let mut lines = text.lines();
            assert!(
                lines.any(|line| line.contains(host) && line.contains(words)),
                "{host}, {words}:\n{text}"
            );
        }
        let after: Vec<_> = fleet.hosts.iter().map(|host| walk(&host.srv_seen_from_here())).collect();
        assert_eq!(after, before);
    }
}

/// Every path below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
        found.push(entry.path());
    }
    found.sort();
    found
}

#[test]
fn banners_noisy_profiles_one_session_and_long_lines_are_no_trouble() {
    let network = match Network::new(&[20, 300]) {
        Ok(network) => network,
        Err(why) => return skipped(&why),
    };
    let Some(fleet) = Fleet::with(|lab| {
        let at = |distance| Some(network.place(distance, 1));
        let noisy =
            Kind { noisy: true, banner: true, max_sessions: Some(1), network: at(0), ..Kind::default() };
        vec![lab.host("noisy", noisy), lab.host("far", Kind { network: at(1), ..Kind::default() })]
    }) else {
        return;
    };
    network.inside(|| {
        fleet.deploy("one");
        fleet.deploy("two");
        fleet.all_say("two");
        fleet.project.must(&["rollback", "--yes"]);
        fleet.all_say("one");
        fleet.project.must(&["verify"]);
    });
}

/// How many bytes of archives crossed the wire in the run that deployed `word`.
fn wire_bytes(fleet: &Fleet, word: &str) -> u64 {
    let said = fleet.project.must(&["execute", "--yes", "--json", "--version", word]);
    let finished: serde_json::Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    finished["targets"][0]["facts"]["wire_bytes"].as_u64().expect("they are reported")
}

#[test]
fn a_slow_uplink_gets_less_than_there_is_and_a_quick_one_what_there_is() {
    // Two megabytes a second: slower than any compressor.
    let network = match Network::with_uplink(&[20], 2_000_000) {
        Ok(network) => network,
        Err(why) => return skipped(&why),
    };
    let Some(fleet) = Fleet::with(|lab| {
        let slow = Kind { network: Some(network.place(0, 1)), ..Kind::default() };
        let busybox = Kind { busybox: true, network: Some(network.place(0, 2)), ..Kind::default() };
        vec![lab.host("slow", slow), lab.host("busybox", busybox)]
    }) else {
        return;
    };
    let text = "it says the same again and again\n".repeat(240_000);
    fleet.project.write("public/long.txt", &text);
    let crossed = network.inside(|| wire_bytes(&fleet, "one"));
    let raw = 2 * text.len() as u64;
    assert!(crossed < raw * 3 / 4, "{crossed} of {raw} bytes");
    fleet.all_say("one");
    for host in [0, 1] {
        assert_eq!(fs::read_to_string(fleet.base(host).join("current/long.txt")).unwrap(), text);
    }

    let Some(fleet) = Fleet::new(1) else { return };
    let text = "it says the same again and again\n".repeat(10_000);
    fleet.project.write("public/long.txt", &text);
    assert!(wire_bytes(&fleet, "one") > text.len() as u64);
}

#[test]
fn a_key_that_is_pinned_in_the_config_is_the_only_one_that_counts() {
    let Some(fleet) = Fleet::with(|lab| vec![reached(lab, "web1", |client| client.known = None)]) else {
        return;
    };
    let (host, user) = (&fleet.hosts[0], fleet.lab.user());
    let (srv, port) = (host.srv(), host.address().port());
    let record = format!("printf '%s %s %s\\n' \"$@\" >>{}/restarts", srv.display());
    fleet.config(json!({
        "hosts": [{"host": "127.0.0.1", "port": port, "user": user, "identity_file": fleet.lab.path().join("id"),
            "host_key": host.key()}],
        "base": format!("{}/{{{{user}}}}-{{{{port}}}}", srv.display()),
        "restart": ["sh", "-c", record, "sh", "{{user}}", "{{port}}", "{{release}}"],
    }));
    let said = fleet.project.must(&["execute", "--yes", "--json", "--version", "one"]);
    let current = srv.join(format!("{user}-{port}/current"));
    let release = fs::read_link(&current).unwrap();
    let restart = format!("{user} {port} {}\n", release.file_name().unwrap().display());
    let restarts = || fs::read_to_string(srv.join("restarts")).unwrap();
    assert_eq!(restarts(), restart);

    let events = said.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut begun = events.filter(|event| event["type"] == "step.started");
    let switch = begun.find(|event| event["step"] == "switch").unwrap();
    let shown = switch["commands"][1].as_str().unwrap();
    let said = fleet.typed(shown);
    assert_eq!(said.code, Some(0), "{shown}\n{}", all(&said));
    assert_eq!(restarts(), restart.repeat(2), "{shown}");

    host.change_key();
    let said = fleet.try_deploy("two");
    assert_eq!(said.code, Some(3), "{}", all(&said));
    assert!(all(&said).contains("correct its `host_key`"), "{}", all(&said));
    assert_eq!(fs::read_link(&current).unwrap(), release);
    assert_eq!(fleet.typed(shown).code, Some(255));
}

#[test]
fn one_machine_under_two_names_is_found_out_at_once() {
    let Some(fleet) = Fleet::new(1) else { return };
    let (host, user) = (&fleet.hosts[0], fleet.lab.user());
    let (port, base) = (host.address().port(), host.srv().join("one-for-both"));
    let other = json!({"host": "127.0.0.1", "port": port, "user": user,
        "identity_file": fleet.lab.path().join("id"), "host_key": host.key()});
    fleet.config(json!({"hosts": [other, "web1"], "base": base}));
    let said = fleet.try_deploy("one");
    assert_eq!(said.code, Some(3), "{}", all(&said));
    let names = format!("`{user}@127.0.0.1:{port}` and `web1` are one machine");
    assert!(all(&said).contains(&names), "{}", all(&said));
    assert!(!base.exists());
}

#[test]
fn placeholders_are_filled_from_the_ssh_config_where_deploy_json_leaves_it_to_that() {
    let Some(fleet) = Fleet::new(1) else { return };
    fleet.config(json!({"restart": ["notify", "{{user}}@{{host}}:{{port}}"]}));
    let said = fleet.project.must(&["execute", "--dry-run", "--version", "one"]);
    let (user, port) = (fleet.lab.user(), fleet.hosts[0].address().port());
    let shown = format!("notify {user}@web1:{port}");
    assert!(said.stdout.contains(&shown), "{shown}\n{}", said.stdout);
}

#[test]
fn a_new_key_is_taken_where_the_config_says_so_and_a_changed_one_never() {
    let Some(fleet) = Fleet::with(|lab| vec![reached(lab, "web1", |client| client.known = None)]) else {
        return;
    };
    fleet.config(json!({"accept_new_host_keys": true}));
    fleet.deploy("one");
    fleet.config(json!({}));
    fleet.deploy("two");
    fleet.hosts[0].change_key();
    fleet.config(json!({"accept_new_host_keys": true}));
    let said = fleet.try_deploy("three");
    assert_eq!(said.code, Some(3), "{}", all(&said));
    fleet.all_say("two");
}

#[test]
fn an_upload_that_arrives_in_part_is_found_out_and_one_that_nobody_takes_ends_early() {
    // The first two files of an archive, cut at the border between two: tar itself has nothing to complain about.
    let cut = "head -c 10240 | /bin/tar \"$@\"\ncat >/dev/null\nexit 0";
    // A tar that has enough at once, and a record of how much came.
    let count = "echo \"$1\" >>\"$0.came\"\nexec /bin/dd \"$@\"";
    let Some(fleet) = Fleet::with(|lab| {
        let kind = |programs| Kind { programs, ..Kind::default() };
        vec![
            lab.host("web1", kind(vec![("tar", cut)])),
            lab.host("web2", kind(vec![("tar", "echo no more; exit 1"), ("dd", count)])),
        ]
    }) else {
        return;
    };
    for number in 0..40 {
        fleet.project.write(&format!("public/more/{number}.txt"), &format!("{number}\n").repeat(500));
    }
    // What doesn't compress.
    let noise = std::io::Read::take(fs::File::open("/dev/urandom").unwrap(), 24 << 20);
    std::io::copy(&mut { noise }, &mut fs::File::create(fleet.project.path().join("public/zz.bin")).unwrap())
        .unwrap();
    let said = fleet.try_deploy("one");
    assert_eq!(said.code, Some(1), "{}", all(&said));
    assert!(all(&said).contains("`web1`"), "{}", all(&said));
    assert!(all(&said).contains("on `web2`: no more"), "{}", all(&said));
    assert_eq!(fleet.live(), ["-", "-"]);
    assert!((0..2).all(|host| fleet.releases(host).is_empty()), "{:?}", fleet.releases(0));
    let came = fs::read_to_string(fleet.hosts[1].srv().parent().unwrap().join("programs/dd.came")).unwrap();
    let sizes = came.lines().filter_map(|line| line.strip_prefix("bs=")?.parse::<u64>().ok());
    assert!(sizes.sum::<u64>() < 12 << 20, "{came}");
}

#[test]
fn a_connection_that_is_lost_once_the_release_is_made_doesnt_make_it_a_second_time() {
    // Right behind the last rename of a stage, all that runs at the far end dies, and with it the connection.
    let kill = "/bin/mv \"$@\" || exit\ncase $1 in */.tmp-*/*) ;; */releases/.tmp-*)\n\
        mkdir \"${0%/*}/died\" 2>/dev/null && read -r _ _ _ _ _ session _ </proc/$$/stat && kill -s KILL -- \"-$session\" ;; esac";
    let kind = Kind { programs: vec![("mv", kill)], ..Kind::default() };
    let Some(fleet) = Fleet::of_one("web1", kind) else { return };
    let said = fleet.deploy("one");
    assert!(all(&said).contains("looking again"), "{}", all(&said));
    fleet.all_say("one");
    assert_eq!(fleet.releases(0).len(), 1, "{:?}", fleet.releases(0));
    fleet.project.must(&["verify"]);
}

#[test]
fn what_cannot_be_linked_is_copied() {
    // As where somebody gave the files to root, and `fs.protected_hardlinks` is on.
    let refuse = "[ \"$1\" != -al ] || { mkdir \"$3\"; echo 'Operation not permitted' >&2; exit 1; }\nexec /bin/cp \"$@\"";
    let kind = Kind { programs: vec![("cp", refuse)], ..Kind::default() };
    let Some(fleet) = Fleet::of_one("web1", kind) else { return };
    fleet.deploy("one");
    let said = fleet.deploy("two");
    assert!(all(&said).contains("`web1` lets nobody link"), "{}", all(&said));
    fleet.all_say("two");
    fleet.project.must(&["rollback", "--yes"]);
    fleet.all_say("one");
}

/// The oldest ways of everything: a folder as lock, each file by itself, groups that aren't leaders', `rm` before `mv`.
#[test]
fn a_host_without_the_better_tools_does_all_of_it() {
    let plain = "case $1 in -Tf | -hf) echo 'unknown option' >&2; exit 64 ;; esac\nexec /bin/mv \"$@\"";
    let kind = Kind {
        lacks: vec!["flock", "setsid", "tar", "bsdtar", "busybox"],
        programs: vec![("mv", plain)],
        ..Kind::default()
    };
    let Some(fleet) = Fleet::of_one("old", kind) else { return };
    let base = fleet.base_of("{{host}}");
    let line = "echo \"$2\" >>\"$1/../restarts\"; [ \"$2\" != three ]";
    fleet.config(json!({"restart": ["sh", "-c", line, "sh", base, "{{version}}"], "shared": ["uploads/"]}));
    fleet.project.write("public/twin.txt", &"the same\n".repeat(1000));
    fleet.deploy("one");
    fleet.project.write("public/another.txt", &"the same\n".repeat(1000));
    let said = fleet.deploy("two");
    assert!(all(&said).contains("`current` was away for a moment"), "{}", all(&said));
    let said = fleet.try_deploy("three");
    assert_eq!(said.code, Some(8), "{}", all(&said));
    fleet.all_say("two");
    fleet.project.must(&["rollback", "--yes"]);
    fleet.all_say("one");
    fleet.project.must(&["verify"]);
    let restarts = fs::read_to_string(fleet.hosts[0].srv().join("restarts")).unwrap();
    assert_eq!(restarts, "one\ntwo\nthree\ntwo\none\n");

    // The folder is a lock like any other.
    let other = Fleet::project_in(&fleet.lab);
    fleet.config_of(&other, json!({}));
    fleet.project.gate("pre_switch");
    let run = fleet.start("four");
    fleet.project.wait_at_gate();
    let said = Fleet::try_meanwhile(&other, "five");
    assert_eq!(said.code, Some(5), "{}", all(&said));
    assert!(all(&said).contains(fleet.lab.user()), "{}", all(&said));
    fleet.project.write("go", "");
    let said = Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", all(&said));
    fleet.all_say("four");
    assert!(!fleet.base(0).join(".pop-deploy/lock.d").exists());
}

#[test]
fn a_login_shell_of_another_kind_is_no_trouble() {
    let Some(csh) = sshd::program("tcsh") else { return skipped("no tcsh") };
    let Some(fleet) = Fleet::of_one("csh", Kind { shell: Some(csh), ..Kind::default() }) else { return };
    fleet.deploy("one");
    fleet.deploy("two");
    fleet.project.must(&["rollback", "--yes"]);
    fleet.all_say("one");
}

#[test]
fn a_server_of_another_make_is_no_trouble() {
    if sshd::program("dropbear").is_none() || !rustix::process::geteuid().is_root() {
        return skipped("no dropbear, or nobody who may mount");
    }
    let Some(fleet) = Fleet::of_one("small", Kind { dropbear: true, ..Kind::default() }) else { return };
    let line = "if [ \"$1\" = two ]; then sleep 604; fi";
    fleet.config(json!({"restart": ["sh", "-c", line, "sh", "{{version}}"]}));
    fleet.deploy("one");
    fleet.deploy("three");
    fleet.project.must(&["rollback", "--yes"]);
    fleet.all_say("one");
    let mut run = fleet.start("two");
    let running = || fleet.hosts[0].processes().iter().any(|(_, line)| line == "sleep 604 ");
    wait_for("the restart", || running().then_some(()));
    run.kill().unwrap();
    run.wait().unwrap();
    wait_for("the end of the restart", || (!running()).then_some(()));
    fleet.project.must(&["rollback", "--yes", "--wait", "60"]);
    fleet.all_say("one");
}

/// Names that are something else to a shell, to `tar`, to `xargs`, to `sha256sum`.
const NAMES: [&str; 14] = [
    "with space",
    "'single'",
    "\"double\"",
    "$(touch pwned)",
    "`touch pwned`",
    "-rf",
    "--checkpoint-action=exec=sh",
    "line\nend",
    "back\\slash",
    "*",
    "{a,b}",
    "; exit 1",
    "tab\there",
    "ünï",
];

fn hostile_names_come_over(kind: Kind) {
    let Some(fleet) = Fleet::of_one("web1", kind) else { return };
    let base = format!("{}/-it's a\n\"base\" $(touch pwned) ;", fleet.base_of("{{host}}"));
    fleet.config(json!({
        "base": base,
        "restart": ["sh", "-c", "printf '%s|' \"$@\" >\"$0\"", format!("{}/words", fleet.hosts[0].srv().display()), "{{version}}", "a b", "$(id)", "-n", "it's"],
    }));
    for name in NAMES {
        fleet.project.write(&format!("public/{name}"), name);
        fleet.project.write(&format!("public/folder {name}/inner {name}"), name);
    }
    let version = "1 $(touch pwned) 'x' \"y\"";
    fleet.fill("one");
    fleet.project.must(&["execute", "--yes", "--version", version]);
    let base = fleet.hosts[0].srv().join("app/-it's a\n\"base\" $(touch pwned) ;");
    let same = |path: String| {
        let [here, there] = [fleet.project.path().join("public"), base.join("current")];
        assert_eq!(fs::read(there.join(&path)).unwrap(), fs::read(here.join(&path)).unwrap(), "{path:?}");
    };
    for name in NAMES {
        same(name.to_owned());
        same(format!("folder {name}/inner {name}"));
    }
    let words = fs::read_to_string(fleet.hosts[0].srv().join("words")).unwrap();
    assert_eq!(words, format!("{version}|a b|$(id)|-n|it's|"));
    // Once more: what is live is linked, one file is changed, one goes.
    fleet.project.write("public/-rf", "changed");
    fs::remove_file(fleet.project.path().join("public/*")).unwrap();
    fleet.project.must(&["execute", "--yes", "--version", "2"]);
    same("-rf".into());
    assert!(!base.join("current/*").exists());
    fleet.project.must(&["verify"]);
    fleet.project.must(&["rollback", "--yes"]);
    assert_eq!(fs::read(base.join("current/-rf")).unwrap(), b"-rf");
    let planted = walk(fleet.lab.path()).into_iter().find(|path| path.ends_with("pwned"));
    assert_eq!(planted, None);
}

#[test]
fn hostile_names_come_over_as_they_are() {
    hostile_names_come_over(Kind::default());
}

#[test]
fn hostile_names_come_over_to_busybox_as_well() {
    if sshd::program("busybox").is_none() {
        return skipped("no busybox");
    }
    hostile_names_come_over(Kind { busybox: true, ..Kind::default() });
}
