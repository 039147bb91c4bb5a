//! What went wrong, as it is told the next morning: Markdown, JSON, and what the wrapper gets.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::Project;

#[path = "support/mod.rs"]
mod support;

/// Version 1 is live; version 2 went live, failed and was taken back.
fn failed() -> Project {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.write("public/index.html", "<h1>two</h1>");
    project.hook("post_switch", "{ echo warming up; echo 'no `cache` <b>here</b>'; } >&2; exit 7");
    assert_eq!(project.run(&["execute", "--yes", "--version", "2"]).code, Some(8));
    project.edit(|json| json["hooks"] = json!({}));
    project
}

fn incident(project: &Project, arguments: &[&str]) -> Value {
    let said = project.must(&[&["incident", "--json"], arguments].concat());
    serde_json::from_str::<Value>(&said.stdout).unwrap()["incidents"][0].clone()
}

fn reports(project: &Project, folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(project.path().join(folder))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
}

#[test]
fn a_deployment_that_was_taken_back() {
    let project = failed();
    assert_snapshot!(project.see(&["incident"]), @r"
    # Incident: `docs` `2`

    ## Summary

    - **Date**: [time]
    - **Target**: `docs`
    - **Failed version**: `2`
    - **Rolled back to**: `1`
    - **Rollback duration**: [t]
    - **Severity**: high
    - **Deployments**: `[id]`

    ## Timeline

    - [time] run `[id]` begins: deploy
    - [time] planned: 0 added, 1 changed, 0 removed, 1 unchanged
    - [time] `lock` begins: Locking [project]/www
    - [time] `lock` is done: changed
    - [time] `stage` begins: Staging 2 files (1 changed)
    - [time] `stage` is done: changed
    - [time] `switch` begins: Switching to release [id]
    - [time] `switch` is done: changed
    - [time] 2 is live
    - [time] taking it back begins
    - [time] `switch` is taken back
    - [time] `stage` is taken back
    - [time] `lock` is taken back
    - [time] run ends: rolled back

    ## Failure Details

    Failed at `post_switch`

    ```
    hook `post_switch`: `sh` ended with exit code 7
    warming up
    no `cache` <b>here</b>
    ```

    Exit code of its last command: 7

    The end of its output:

    ```
    warming up
    no `cache` <b>here</b>
    ```

    ## Root Cause

    What is known: no `cache` \<b\>here\</b\>

    _To be completed by whoever looks into it._

    ## Impact

    Users may have seen the failed version from [time] until [time]; 1 is live now.

    Its automatic rollback succeeded:

    - `switch` is taken back
    - `stage` is taken back
    - `lock` is taken back

    State read at [time]:

    - pass `web_root`: `[project]/www` can be written
    - pass `current`: `[project]/www/current` is a link to release [id]
    - pass `owner`: the web root is this target's
    - pass `live`: a release is live
    - pass `live_tree`: what is live is release [id] as it was deployed
    - pass `history`: 1 is live, as history says

    ## Action Items

    - [ ] look whether what is live is whole: `pop-deploy verify --target docs`
    - [ ] read the whole output: `pop-deploy logs [id]`
    - [ ] gather what the plugin knows of it: `pop-deploy diagnose --target docs`
    - [ ] see what the next deployment would do: `pop-deploy execute --dry-run --target docs`
    - [ ] complete the root cause above
    - [ ] say what keeps it from happening again
    --- exit 0
    ");
    let told = incident(&project, &[]);
    assert_eq!(
        (&told["failed_version"], &told["rolled_back_to"], &told["severity"], &told["state"]["live"]),
        (&json!("2"), &json!("1"), &json!("high"), &json!("1"))
    );
    assert_eq!(told["failure"]["output"], json!(["warming up", "no `cache` <b>here</b>"]));
    assert_eq!(told["rollback"]["success"], json!(true));
    assert!(told["rollback_duration_ms"].is_i64() && told["timeline"].as_array().unwrap().len() > 10);
}

#[test]
fn a_step_that_failed_before_anything_was_live_is_no_drama() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.hook("pre_switch", "exit 3");
    assert_eq!(project.run(&["execute", "--yes", "--version", "2"]).code, Some(1));
    let told = incident(&project, &[]);
    assert_eq!((&told["severity"], &told["failure"]["step"]), (&json!("low"), &json!("pre_switch")));
    assert!(told["impact"].as_str().unwrap().starts_with("Nothing that users see was changed"), "{told:#}");
}

#[test]
fn a_person_who_went_back_and_the_deployment_before_belong_together() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.deploy("2", "<h1>two</h1>");
    assert_snapshot!(project.see(&["incident"]), @r"
    Nothing went wrong at `docs`.
    --- exit 0
    ");
    project.must(&["rollback", "--yes"]);
    let told = incident(&project, &[]);
    assert_eq!(
        (&told["failed_version"], &told["rolled_back_to"], told["deployments"].as_array().unwrap().len()),
        (&json!("2"), &json!("1"), 2)
    );
    assert!(told["impact"].as_str().unwrap().contains(" until "), "{}", told["impact"]);
    assert_eq!(told["failure"]["error"], json!(null));
    let id = told["deployments"][1].as_str().unwrap().to_owned();
    assert_eq!(
        incident(&project, &[&id])["deployments"],
        told["deployments"],
        "by the rollback's own id too"
    );
    let unknown = project.run(&["incident", "deploy-20200101-000000"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
}

#[test]
fn a_run_that_was_killed_is_critical_until_it_is_mended() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.write("public/index.html", "<h1>two</h1>");
    project.gate("post_switch");
    let mut run = project.start(&["execute", "--yes", "--version", "2"]);
    project.wait_at_gate();
    run.kill().unwrap();
    run.wait().unwrap();
    project.write("go", "");
    support::wait_for("the lock", || (project.run(&["execute", "--yes"]).code == Some(7)).then_some(()));
    let told = incident(&project, &[]);
    assert_eq!((&told["severity"], &told["failed_version"]), (&json!("critical"), &json!("2")));
    assert_eq!(told["next"][0]["command"], "pop-deploy rollback --target docs");
    project.must(&["rollback", "--yes"]);
    assert_eq!(incident(&project, &[])["severity"], "high");
}

#[test]
fn it_is_kept_twice_and_never_overwritten() {
    let project = failed();
    for _ in 0..2 {
        let said = project.must(&["incident", "--save"]);
        assert!(said.stdout.starts_with("Report: "), "{}", said.stdout);
    }
    let kept = reports(&project, ".pop-deploy/incidents");
    assert_eq!(kept.len(), 4, "{kept:?}");
    let (json, markdown) = (fs::read_to_string(&kept[0]).unwrap(), fs::read_to_string(&kept[1]).unwrap());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(markdown.contains(json["date"].as_str().unwrap()), "the same data");
}

#[test]
fn only_its_owner_reads_what_a_run_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = failed();
    project.must(&["incident", "--save"]);
    let runs = reports(&project, ".pop-deploy/deployments").into_iter().map(|run| run.join("events.jsonl"));
    for file in runs.chain(reports(&project, ".pop-deploy/incidents")) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn the_wrapper_investigates_and_gets_its_report() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    fs::rename(project.path().join(".pop-deploy"), project.path().join(".claude-data")).unwrap();
    fs::create_dir(project.path().join(".claude")).unwrap();
    fs::rename(project.path().join(".claude-data"), project.path().join(".claude/popkit")).unwrap();
    let said = project.run(&["rollback", "--action", "report"]);
    assert_eq!(said.code, Some(1));
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (&report["success"], &report["report_path"], &report["error"]),
        (&json!(false), &Value::Null, &json!("No failed deployment or rollback to report."))
    );

    project.write("public/index.html", "<h1>two</h1>");
    let mut config: Value = serde_json::from_str(&project.read(".claude/popkit/deploy.json")).unwrap();
    config["hooks"] = json!({"pre_verify": ["false"]});
    project.write(".claude/popkit/deploy.json", &config.to_string());
    let deploy = ["execute", "--action", "execute", "--mode", "deploy", "--version", "2"];
    assert_eq!(project.run(&deploy).code, Some(1));
    let said = project.must(&["rollback", "--action", "investigate"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["operation", "directory", "timestamp", "success", "target", "diagnostics", "diagnostic_count"]
    );
    let diagnostics = report["diagnostics"].as_array().unwrap();
    assert_eq!(report["diagnostic_count"], json!(diagnostics.len()));
    assert_eq!(diagnostics[0]["source"], "deployment_history");
    assert_eq!(diagnostics[0]["data"].as_array().unwrap().len(), 2);

    let said = project.must(&["rollback", "--action", "report"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["operation", "directory", "timestamp", "target", "success", "report_path", "filename"]);
    let path = PathBuf::from(report["report_path"].as_str().unwrap());
    assert_eq!(path.parent().unwrap(), project.path().join(".claude/popkit/incidents"));
    let name = report["filename"].as_str().unwrap();
    assert_eq!(path.file_name().unwrap().to_str(), Some(name));
    assert!(name.starts_with("incident-2") && name.len() == "incident-YYYYMMDD-HHMMSS.md".len(), "{name}");
    let markdown = fs::read_to_string(path).unwrap();
    let sections: Vec<_> = markdown.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(sections, ["Summary", "Timeline", "Failure Details", "Root Cause", "Impact", "Action Items"]);
    for action in ["investigate", "report"] {
        let said = project.run(&["rollback", "--action", action, "--target", "nothing"]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.contains("Target 'nothing' not found in config"), "{}", said.stderr);
    }
}
