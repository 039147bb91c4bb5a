//! The commands around a deployment: beginning, looking, finding out.

#![allow(missing_docs, clippy::unwrap_used)]

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::Project;

#[path = "support/mod.rs"]
mod support;

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_new_project_is_found_out_written_down_and_deployed() {
    let project = Project::empty();
    project.write("dist/index.html", "<h1>one</h1>");
    project.write("package.json", r#"{"name": "shop", "version": "2.1.0"}"#);
    assert_snapshot!(project.see(&[]), @r"
    No deploy.json in [project]
    Next: `pop-deploy init` looks what could be deployed here; `pop-deploy --help` shows the rest
    --- exit 0
    ");
    assert_snapshot!(project.see(&["init"]), @r"
    Found static-site: `dist/index.html` is there (site)
    Wrote [project]/.pop-deploy/deploy.json
    Next: check where the targets go, then `pop-deploy execute --dry-run`
    --- exit 0
    ");
    let written = project.read(".pop-deploy/deploy.json");
    let created = json_of(&written)["created_at"].as_str().unwrap().to_owned();
    let name = json_of(&written)["project_name"].as_str().unwrap().to_owned();
    assert_snapshot!(written.replace(&created, "[time]").replace(&name, "[name]"), @r#"
    {
      "$schema": "./deploy.schema.json",
      "version": "1.0",
      "project_name": "[name]",
      "created_at": "[time]",
      "targets": {
        "site": {
          "type": "static-site",
          "enabled": true,
          "primary": true,
          "config": {
            "source": "dist",
            "dir": "www"
          }
        }
      },
      "history": []
    }
    "#);
    assert!(project.read(".pop-deploy/.gitignore").contains("deployments/"));
    assert_snapshot!(project.see(&[]).replace(&name, "[name]"), @r"
    Project: [name] in [project]
      site (static-site, primary): never deployed
    The project is at 2.1.0
    Next: `pop-deploy execute --dry-run` shows what a deployment would do, `pop-deploy execute` does it
    --- exit 0
    ");
    project.must(&["execute", "--yes"]);
    assert_snapshot!(project.see(&[]).replace(&name, "[name]"), @r"
    Project: [name] in [project]
      site (static-site, primary): 2.1.0 is live, [date] [time]
    The project is at 2.1.0
    Next: 2.1.0 is live already; `pop-deploy status` looks at the places themselves
    --- exit 0
    ");
}

#[test]
fn init_overwrites_nothing_and_begins_anew_without_losing_what_was() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    let before = project.read(".pop-deploy/deploy.json");
    assert_snapshot!(project.see(&["init"]), @r"
    --- stderr
    error: there is a deploy.json already: `[project]/.pop-deploy/deploy.json`
      hint: look at it with `pop-deploy config show`, or begin anew with `--force`, which keeps a copy
    --- exit 2
    ");
    assert_eq!(project.read(".pop-deploy/deploy.json"), before);
    let dry = project.must(&["init", "--dry-run"]);
    assert!(dry.stdout.contains("\"source\": \"public\""), "{}", dry.stdout);
    assert_eq!(project.read(".pop-deploy/deploy.json"), before);

    project.must(&["init", "--force"]);
    assert_eq!(project.read(".pop-deploy/deploy.json.1.bak"), before);
    assert_eq!(project.history().len(), 1, "what is live is still known");
    let after = json_of(&project.read(".pop-deploy/deploy.json"));
    assert_eq!(after["targets"]["site"]["config"], json!({"source": "public", "dir": "www"}));
    project.must(&["init", "--force"]);
    assert!(project.path().join(".pop-deploy/deploy.json.2.bak").exists());
}

#[test]
fn init_takes_the_wrappers_folder_where_there_is_one() {
    let project = Project::empty();
    std::fs::create_dir_all(project.path().join(".claude/popkit")).unwrap();
    let said = project.must(&["init"]);
    assert!(said.stdout.contains("No plugin knows a place for this project."), "{}", said.stdout);
    assert!(project.path().join(".claude/popkit/deploy.json").exists());
    assert!(!project.path().join(".pop-deploy").exists());
    assert_eq!(project.run(&["execute", "--dry-run"]).code, Some(2), "no targets yet");
}

#[test]
fn status_tells_what_is_live_and_where_history_is_wrong() {
    let project = Project::new();
    project.edit(|json| {
        json["targets"]["old"] =
            json!({"type": "static-site", "enabled": false, "config": {"source": "public", "dir": "old"}});
        json["targets"]["cloud"] = json!({"enabled": true});
    });
    project.deploy("1", "<h1>one</h1>");
    project.deploy("2", "<h1>two</h1>");
    assert_snapshot!(project.see(&["status", "--target", "docs", "--target", "old"]), @r"
    Project: handbook
    docs (static-site, primary)
      Live: 2, as history says
      Before: 1, where `rollback` goes
    old (static-site)
      Live: nothing yet
      Disabled in deploy.json
    --- exit 0
    ");
    let seen = project.must(&["status"]);
    assert!(seen.stdout.contains("can't be read; history says nothing"), "{}", seen.stdout);
    assert!(seen.stdout.contains("no plugin serves targets of type `cloud`"), "{}", seen.stdout);

    project.write("public/index.html", "<h1>three</h1>");
    project.must(&["rollback", "--yes"]);
    project.edit(|json| json["history"] = json!([]));
    assert_snapshot!(project.see(&["status", "--target", "docs"]), @r"
    Project: handbook
    docs (static-site, primary)
      Live: 1, but history says nothing
    --- exit 0
    ");
    let value = json_of(&project.must(&["status", "--json", "--target", "docs"]).stdout);
    assert_eq!(
        (&value["targets"][0]["live"]["version"], &value["targets"][0]["history"]),
        (&json!("1"), &Value::Null)
    );
    assert_snapshot!(project.see(&["status", "--target", "dosc"]), @r"
    --- stderr
    error: there is no target `dosc`; enabled are `docs`, `cloud`
      hint: try `--target docs`
    --- exit 2
    ");
}

#[test]
fn status_names_who_is_at_work_and_what_died() {
    let project = Project::new();
    project.gate("pre_switch");
    let mut run = project.start(&["execute", "--yes", "--version", "1"]);
    project.wait_at_gate();
    let seen = project.must(&["status"]).stdout;
    assert!(seen.contains("At work: ") && seen.contains("pop-deploy execute --yes --version 1"), "{seen}");
    run.kill().unwrap();
    run.wait().unwrap();
    project.write("go", "");
    support::wait_for("the end of the dead run's workers", || {
        let value = json_of(&project.must(&["status", "--json"]).stdout);
        (value["interrupted"].as_array().unwrap().len() == 1).then_some(())
    });
    let both_ways = "`pop-deploy execute --resume` goes on with it, `pop-deploy rollback` takes it back";
    assert!(project.see(&["status"]).contains(both_ways));
    assert!(project.see(&[]).contains(both_ways));
}

#[test]
fn history_is_a_table_that_can_be_narrowed() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.deploy("2", "<h1>two</h1>");
    project.hook("post_verify", "exit 7");
    project.write("public/index.html", "<h1>three</h1>");
    project.run(&["execute", "--yes", "--version", "3"]);
    project.edit(|json| drop(json["hooks"].take()));
    project.must(&["rollback", "--yes"]);
    assert_snapshot!(project.see_table(&["history"]), @r"
    When  Target  Version  Result  Took  By  Run
    [date] [time]  docs  2  rolled back to 1  [t]  [actor]  [id]
    [date] [time]  docs  3  failed; back to 2; hook `post_verify`: `sh` ended with exit code 7  [t]  [actor]  [id]
    [date] [time]  docs  2  went live  [t]  [actor]  [id]
    [date] [time]  docs  1  went live  [t]  [actor]  [id]
    --- exit 0
    ");
    let versions = |words: &[&str]| -> Vec<String> {
        let all: Vec<&str> = ["history", "--json"].iter().chain(words).copied().collect();
        let records = json_of(&project.must(&all).stdout);
        records
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["version"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(versions(&["--status", "success"]), ["2", "1"]);
    assert_eq!(versions(&["--status", "failed"]), ["3"]);
    assert_eq!(versions(&["--status", "rolled_back", "--limit", "5"]), ["2"]);
    assert_eq!(versions(&["--limit", "2"]), ["2", "3"]);
    assert_eq!(versions(&["--since", "1h"]).len(), 4);
    assert_eq!(versions(&["--since", "2999-01-01"]).len(), 0);
    project.edit(|json| json["history"][1]["error"] = "no ".repeat(300).into());
    assert_snapshot!(project.see_table(&["history", "--limit", "2"]), @r"
    When  Target  Version  Result  Took  By  Run
    [date] [time]  docs  2  rolled back to 1  [t]  [actor]  [id]
    [date] [time]  docs  3  failed; back to 2; no no no no no no no no no no no no no no no no no n…  [t]  [actor]  [id]

    `pop-deploy incident RUN` has all of a result that is cut.
    --- exit 0
    ");
    assert_snapshot!(project.see(&["history", "--since", "yesterday"]), @r"
    --- stderr
    error: invalid value 'yesterday' for '--since <WHEN>': write a date such as [date], or how long ago, such as 7d

    For more information, try '--help'.
    --- exit 2
    ");
    assert_snapshot!(project.see(&["history", "--target", "dosc"]), @r"
    --- stderr
    error: there is no target `dosc`; enabled are `docs`
      hint: try `--target docs`
    --- exit 2
    ");
}

#[test]
fn logs_are_those_of_the_newest_run_or_of_the_one_named() {
    let project = Project::new();
    assert_snapshot!(project.see(&["logs"]), @r"
    --- stderr
    error: nothing was deployed here yet
      hint: look with `pop-deploy execute --dry-run`
    --- exit 2
    ");
    project.hook("pre_switch", "echo hello from the hook");
    project.deploy("1", "<h1>one</h1>");
    let id = project.history()[0]["deployment_id"].as_str().unwrap().to_owned();
    project.edit(|json| drop(json["hooks"].take()));
    project.deploy("2", "<h1>two</h1>");
    assert!(!project.must(&["logs"]).stdout.contains("hello from the hook"));
    assert!(project.must(&["logs", &id]).stdout.contains("hello from the hook"));
    let slip = format!("{}x", &id[..id.len() - 1]);
    let said = project.run(&["logs", &slip]);
    assert!(said.stderr.contains("did you mean `deploy-") && said.code == Some(2), "{}", said.stderr);
    assert_eq!(project.run(&["logs", "../../etc"]).code, Some(2));
}

#[test]
fn diagnose_gathers_what_the_plugin_knows() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    let seen = project.must(&["diagnose"]).stdout;
    assert!(seen.starts_with("Target: docs\n  releases\n") && seen.contains("\"verified\": true"), "{seen}");
    let value = json_of(&project.must(&["diagnose", "--json"]).stdout);
    assert_eq!(value["targets"][0]["diagnostics"][0]["source"], "releases");
}

#[test]
fn config_shows_what_counts_and_no_secret() {
    let project = Project::new();
    project.edit(|json| {
        json["targets"]["docs"]["config"]["api_token"] = json!("hunter2-hunter2");
        json["environments"]["staging"]["docs"]["config"]["dir"] = json!("www-staging");
    });
    project.edit(|json| json["history"] = json!([{"version": "1"}]));
    let plain = project.must(&["config", "show"]).stdout;
    assert!(!plain.contains("hunter2") && plain.contains("***"), "{plain}");
    assert!(json_of(&plain).get("history").is_none());
    let shown = json_of(&project.must(&["config", "show", "--resolved", "--environment", "staging"]).stdout);
    let docs = &shown["targets"]["docs"];
    assert_eq!((&shown["environment"], &docs["config"]["dir"]), (&json!("staging"), &json!("www-staging")));
    assert_eq!((&docs["config"]["keep"], &docs["config"]["index"]), (&json!(5), &json!("index.html")));
    assert_eq!((&docs["auto_rollback"], &docs["served_by"]["id"]), (&json!(true), &json!("static-site")));
    assert!(!shown.to_string().contains("hunter2"));
}

#[test]
fn the_schema_takes_what_is_right_and_finds_what_is_wrong() {
    let project = Project::new();
    let schema = json_of(&project.must(&["schema"]).stdout);
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut right = json_of(&project.read(".pop-deploy/deploy.json"));
    right["$schema"] = json!("./deploy.schema.json");
    right["environments"] = json!({"staging": {"docs": {"config": {"dir": "elsewhere"}}}});
    right["hooks"] = json!({"pre_switch": ["./warm-up"], "after_all": [{"command": "x", "shell": true}]});
    right["x-of-others"] = json!(1);
    let problems = |value: &Value| -> Vec<String> {
        validator.iter_errors(value).map(|error| error.instance_path().to_string()).collect()
    };
    assert_eq!(problems(&right), [""; 0]);
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut value = right.clone();
        change(&mut value);
        problems(&value).first().cloned().unwrap_or_else(|| "nothing is wrong".to_owned())
    };
    assert_eq!(
        wrong(&|json| json["targets"]["docs"]["config"]["sauce"] = json!("x")),
        "/targets/docs/config"
    );
    assert_eq!(
        wrong(&|json| json["targets"]["docs"]["config"]["keep"] = json!(0)),
        "/targets/docs/config/keep"
    );
    assert_eq!(wrong(&|json| json["targets"]["docs"]["enabled"] = json!("yes")), "/targets/docs/enabled");
    assert_eq!(wrong(&|json| json["hooks"]["pre_swich"] = json!(["x"])), "/hooks");
    assert_eq!(wrong(&|json| json["on_partial"] = json!("never")), "/on_partial");
    assert_eq!(
        wrong(&|json| json["targets"]["static-site"] = json!({"config": {"source": "x", "dir": 1}})),
        "/targets/static-site/config/dir"
    );
}
