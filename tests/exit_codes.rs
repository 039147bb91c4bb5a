//! Each row of the README's table of exit codes, reached by the real program.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path, process::Child};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{Project, Said};

#[path = "support/mod.rs"]
mod support;

const EXECUTE: [&str; 4] = ["execute", "--yes", "--version", "2"];

/// A project whose version 1 is live, ready for version 2.
fn deployed() -> Project {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.write("public/index.html", "<h1>two</h1>");
    project
}

/// A run that stands between switch and verification.
fn under_way(project: &Project) -> Child {
    project.gate("post_switch");
    let run = project.start(&EXECUTE);
    project.wait_at_gate();
    run
}

fn ended(project: &Project, run: Child) -> Said {
    project.write("go", "");
    run.wait_with_output().unwrap().into()
}

/// A run that ends with a certain exit code.
type Way = fn() -> Said;

fn done() -> Said {
    deployed().run(&EXECUTE)
}

fn failed() -> Said {
    let project = deployed();
    project.hook("pre_switch", "exit 3");
    let said = project.run(&EXECUTE);
    assert_eq!(project.page(), "<h1>one</h1>");
    said
}

fn wrong_usage() -> Said {
    deployed().run(&["execute", "--yes", "--target", "nothing"])
}

fn not_ready() -> Said {
    let project = deployed();
    fs::remove_dir_all(project.path().join("public")).unwrap();
    project.run(&EXECUTE)
}

/// The release to go back to disappears while the new one is live.
fn stuck() -> Said {
    let project = deployed();
    let old = fs::read_link(project.path().join("www/current")).unwrap();
    project.hook("post_switch", &format!("rm -rf 'www/{}'; exit 1", old.display()));
    let said = project.run(&EXECUTE);
    assert!(
        said.stdout.contains("docs: rollback failed") || said.stdout.contains("nobody knows"),
        "{}",
        said.stdout
    );
    assert_eq!(project.page(), "<h1>two</h1>", "what is said to be left is what is there");
    said
}

fn locked() -> Said {
    let project = deployed();
    let run = under_way(&project);
    let said = project.run(&EXECUTE);
    assert_eq!(ended(&project, run).code, Some(0));
    said
}

fn nothing_to_go_back_to() -> Said {
    Project::new().run(&["rollback", "--yes"])
}

fn interrupted_run_found() -> Said {
    let project = deployed();
    let mut run = under_way(&project);
    run.kill().unwrap();
    run.wait().unwrap();
    project.write("go", "");
    // Until then its hook holds the lock.
    support::wait_for("the lock", || Some(project.run(&EXECUTE)).filter(|said| said.code != Some(5)))
}

fn rolled_back() -> Said {
    let project = deployed();
    project.hook("post_switch", "exit 3");
    let said = project.run(&EXECUTE);
    assert_eq!(project.page(), "<h1>one</h1>");
    said
}

fn partly_done() -> Said {
    let project = deployed();
    project.edit(|json| {
        json["on_partial"] = json!("continue");
        let second = json!({"source": "public", "dir": "www2"});
        json["targets"]["second"] =
            json!({"type": "static-site", "config": second, "hooks": {"post_switch": ["false"]}});
    });
    project.run(&["execute", "--yes", "--all", "--version", "2"])
}

fn changes_pending() -> Said {
    deployed().run(&["execute", "--dry-run", "--detailed-exitcode", "--version", "2"])
}

fn ended_by_a_signal() -> Said {
    let project = deployed();
    let run = under_way(&project);
    let pid = Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let said = ended(&project, run);
    assert_eq!(project.page(), "<h1>one</h1>");
    said
}

#[test]
fn every_exit_code_of_the_readme_is_reached() {
    let ways: [(&str, Way); 12] = [
        ("0", done),
        ("1", failed),
        ("2", wrong_usage),
        ("3", not_ready),
        ("4", stuck),
        ("5", locked),
        ("6", nothing_to_go_back_to),
        ("7", interrupted_run_found),
        ("8", rolled_back),
        ("9", partly_done),
        ("10", changes_pending),
        ("130", ended_by_a_signal),
    ];
    let ways = BTreeMap::from(ways);
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let table = readme.split("\n## ").find(|part| part.starts_with("Exit codes")).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split([' ', ',']).next());
    let codes: Vec<_> = rows.filter(|code| code.chars().all(|c| c.is_ascii_digit())).collect();
    assert_eq!(codes.len(), ways.len(), "{codes:?}");
    for code in codes {
        let said = ways[code]();
        assert_eq!(said.code, code.parse().ok(), "{}{}", said.stdout, said.stderr);
        if !matches!(code, "0" | "10") {
            let text = format!("{}{}", said.stdout, said.stderr);
            assert!(text.contains("error: "), "{code}: {text}");
        }
    }
}
