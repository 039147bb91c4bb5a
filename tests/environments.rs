//! Environments: the same targets pointed elsewhere, with a history and locks of their own.

#![allow(missing_docs, clippy::unwrap_used)]

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::Project;

#[path = "support/mod.rs"]
mod support;

const STAGING: [&str; 2] = ["--environment", "staging"];

/// A project whose `docs` goes to `www`, in staging to `www-staging`, with keys of somebody else around.
fn project() -> Project {
    let project = Project::new();
    project.deploy_json(
        r#"{
  "version": "1.0",
  "targets": {
    "docs": { "type": "static-site", "x-owner": "ann", "config": { "source": "public", "dir": "www", "keep": 3 } },
    "blog": { "type": "static-site", "config": { "source": "public", "dir": "blog" } }
  },
  "environments": {
    "staging": { "docs": { "config": { "dir": "www-staging" } }, "blog": { "enabled": false } }
  },
  "history": [],
  "x-after": [1,  2]
}
"#,
    );
    project
}

fn execute(version: &str, environment: &[&str]) -> Vec<String> {
    let words = ["execute", "--yes", "--target", "docs", "--version", version];
    words.iter().chain(environment).map(|word| (*word).to_owned()).collect()
}

fn deploy(project: &Project, version: &str, environment: &[&str]) {
    let words = execute(version, environment);
    project.must(&words.iter().map(String::as_str).collect::<Vec<_>>());
}

fn deploy_json(project: &Project) -> Value {
    serde_json::from_str(&project.read(".pop-deploy/deploy.json")).unwrap()
}

#[test]
fn each_environment_has_its_place_its_history_and_its_way_back() {
    let project = project();
    deploy(&project, "1", &[]);
    project.write("public/index.html", "<h1>two</h1>");
    deploy(&project, "2", &STAGING);
    project.write("public/index.html", "<h1>three</h1>");
    deploy(&project, "3", &STAGING);

    assert_eq!(project.page(), "<h1>one</h1>", "production never noticed");
    assert_eq!(project.read("www-staging/current/index.html"), "<h1>three</h1>");
    assert_snapshot!(project.see_table(&["history"]), @r"
    When  Target  Version  Result  Took  By  Run
    [date] [time]  docs  1  went live  [t]  [actor]  [id]
    --- exit 0
    ");
    assert_snapshot!(project.see(&["rollback", "--yes", "--environment", "staging"]), @r"
    Target: docs · Environment: staging · Mode: rollback · Version: 2
    Plan: 0 added, 1 changed, 0 removed, 1 unchanged
    [1/4] Locking [project]/www-staging... done ([t])
    [2/4] Checking release [id]... unchanged ([t])
    [3/4] Switching to release [id]... done ([t])
    [4/4] Verifying what is live... unchanged ([t])

    Result: succeeded, 3 → 2
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy verify --environment staging` looks again, `pop-deploy history --environment staging` shows what was
    --- exit 0
    ");
    assert_eq!(project.read("www-staging/current/index.html"), "<h1>two</h1>");
    assert_eq!(project.page(), "<h1>one</h1>");
    let refused = project.run(&["rollback", "--yes"]);
    assert_eq!(refused.code, Some(6), "production has nothing to go back to: {}", refused.stderr);
}

#[test]
fn only_the_bytes_of_that_history_change() {
    let project = project();
    let before = project.read(".pop-deploy/deploy.json");
    deploy(&project, "1", &STAGING);
    let once = project.read(".pop-deploy/deploy.json");
    let (head, tail) = once.split_once("\"histories\"").unwrap();
    assert!(before.starts_with(head.trim_end().trim_end_matches(',')), "{once}");
    assert!(tail.ends_with("]\n  }\n}\n"), "{once}");
    deploy(&project, "2", &[]);
    deploy(&project, "3", &STAGING);
    let json = deploy_json(&project);
    let versions = |history: &Value| -> Vec<String> {
        history.as_array().unwrap().iter().map(|record| record["version"].to_string()).collect()
    };
    assert_eq!(versions(&json["history"]), ["\"2\""]);
    assert_eq!(versions(&json["histories"]["staging"]), ["\"3\"", "\"1\""]);
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["version", "targets", "environments", "history", "x-after", "histories"]);
    let text = project.read(".pop-deploy/deploy.json");
    assert!(text.contains("\"x-after\": [1,  2]"), "{text}");
    assert!(text.contains("\n  \"histories\": {\n    \"staging\": [\n      {"), "{text}");
}

#[test]
fn a_run_in_one_environment_does_not_lock_the_other() {
    let project = project();
    project.gate("pre_switch");
    let words = execute("1", &STAGING);
    let staging = project.start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    project.wait_at_gate();
    let held =
        project.run(&["execute", "--yes", "--target", "docs", "--version", "2", STAGING[0], STAGING[1]]);
    assert_eq!(held.code, Some(5), "{}", held.stderr);
    let dry = project.must(&["execute", "--dry-run", "--target", "docs", "--version", "2"]);
    assert!(!dry.stdout.contains("locked"), "{}", dry.stdout);
    project.write("go", "");
    assert!(staging.wait_with_output().unwrap().status.success());
    deploy(&project, "2", &[]);
}

#[test]
fn a_run_that_died_in_staging_stops_nobody_in_production() {
    let project = project();
    project.gate("pre_verify");
    let words = execute("1", &STAGING);
    let mut staging = project.start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    project.wait_at_gate();
    staging.kill().unwrap();
    staging.wait().unwrap();
    project.write("go", "");
    deploy(&project, "2", &[]);
    let found = support::wait_for("the lock of the dead run's workers", || {
        let said =
            project.run(&["execute", "--yes", "--target", "docs", "--version", "3", STAGING[0], STAGING[1]]);
        (said.code != Some(5)).then_some(said)
    });
    assert_eq!(found.code, Some(7), "{}", found.stderr);
    assert!(
        found.stderr.contains("`pop-deploy rollback --environment staging` takes it back"),
        "{}",
        found.stderr
    );
    project.must(&["rollback", "--yes", "--target", "docs", STAGING[0], STAGING[1]]);
    assert_eq!(deploy_json(&project)["history"].as_array().unwrap().len(), 1);
}

#[test]
fn a_forgotten_override_does_not_overwrite_production() {
    let project = project();
    deploy(&project, "1", &[]);
    project.edit(|json| json["environments"]["staging"] = json!({}));
    project.write("public/index.html", "<h1>two</h1>");
    for mode in ["--dry-run", "--yes"] {
        let said =
            project.run(&["execute", mode, "--target", "docs", "--version", "2", STAGING[0], STAGING[1]]);
        assert_eq!(said.code, Some(3), "{}", said.stdout);
        assert!(said.stdout.contains("www` in staging, and so it does in production"), "{}", said.stdout);
        assert!(said.stdout.contains("at `environments.staging.docs` in deploy.json"), "{}", said.stdout);
    }
    assert_eq!(project.page(), "<h1>one</h1>");
}

#[test]
fn reports_say_where_and_hooks_know_it() {
    let project = project();
    project.hook("post_verify", "echo $POP_DEPLOY_ENVIRONMENT > where");
    let said = project.must(&[
        "execute",
        "--yes",
        "--json",
        "--target",
        "docs",
        "--version",
        "1",
        STAGING[0],
        STAGING[1],
    ]);
    let lines: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["environment"], "staging");
    assert_eq!(lines.last().unwrap()["environment"], "staging");
    assert_eq!(project.read("where"), "staging\n");

    std::fs::rename(project.path().join(".pop-deploy"), project.path().join("popkit")).unwrap();
    std::fs::create_dir(project.path().join(".claude")).unwrap();
    std::fs::rename(project.path().join("popkit"), project.path().join(".claude/popkit")).unwrap();
    let said = project.must(&["execute", "--action", "prepare", "--target", "docs", STAGING[0], STAGING[1]]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        report["target_config"]["config"],
        json!({"source": "public", "dir": "www-staging", "keep": 3})
    );
    assert_eq!(report["target_config"]["x-owner"], "ann");
    assert_eq!(report["rollback_version"], "1");
    assert_eq!(report.as_object().unwrap().keys().next_back().unwrap(), "environment");
}

#[test]
fn what_is_wrong_with_an_environment_is_told() {
    let project = project();
    assert_snapshot!(project.see(&["execute", "--dry-run", "--environment", "stagign"]), @r"
    --- stderr
    error: there is no environment `stagign` in `[project]/.pop-deploy/deploy.json`
      hint: try `--environment staging`
    --- exit 2
    ");
    assert_snapshot!(project.see(&["verify", "--environment", "qa"]), @r"
    --- stderr
    error: there is no environment `qa` in `[project]/.pop-deploy/deploy.json`
      hint: use one of production, staging, or add `qa` to `environments` in deploy.json
    --- exit 2
    ");
    assert_snapshot!(project.see(&["execute", "--dry-run", "--target", "blog", STAGING[0], STAGING[1]]), @r"
    --- stderr
    error: target `blog` is disabled; enabled are `docs`
      hint: set `targets.blog.enabled` to true in deploy.json
    --- exit 2
    ");
    project.edit(|json| json["environments"]["staging"] = json!({"dosc": {}}));
    assert_snapshot!(project.see(&["execute", "--dry-run"]), @r"
    --- stderr
    error: `environments.staging.dosc` changes a target that there isn't (`[project]/.pop-deploy/deploy.json`, line 23 column 7)
      hint: write `docs` if that is meant
    --- exit 2
    ");
    project.edit(|json| json["environments"]["staging"] = json!({"docs": {"enabled": "no"}}));
    assert_snapshot!(project.see(&["execute", "--dry-run", STAGING[0], STAGING[1]]), @r#"
    --- stderr
    error: `environments.staging.docs.enabled` must be true or false, not "no" (`[project]/.pop-deploy/deploy.json`, line 24 column 9)
      hint: write true or false at `environments.staging.docs.enabled`
    --- exit 2
    "#);
}
