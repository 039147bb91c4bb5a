//! The user's day with a static site: look, deploy, change, deploy, go back; and what happens when a deployment fails.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
    thread,
};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::Project;

#[path = "support/mod.rs"]
mod support;

/// Everything in the project but the plugin cache, which a dry run may fill.
fn without_cache(project: &Project) -> BTreeMap<PathBuf, String> {
    let mut snapshot = project.snapshot("");
    let home = project.path().join("home");
    snapshot.retain(|path, _| !path.starts_with(&home));
    snapshot
}

/// The lines of `--json`, each an object.
fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// A project with targets `first` and `second`.
fn two_targets() -> Project {
    let project = Project::new();
    project.edit(|json| {
        let target = |dir: &str| json!({"type": "static-site", "config": {"source": "public", "dir": dir}});
        json["targets"] = json!({"first": target("www"), "second": target("www2")});
    });
    project.must(&["execute", "--yes", "--all", "--version", "1"]);
    project.write("public/index.html", "<h1>two</h1>");
    project
}

/// What comes after the stages, which run at the same time and so end in any order.
fn from_the_first_switch(seen: &str) -> &str {
    &seen[seen.find("first: [3/5]").unwrap()..]
}

#[test]
fn a_day_of_looking_deploying_and_going_back() {
    let project = Project::new();
    let before = without_cache(&project);
    assert_snapshot!(project.see(&["execute", "--dry-run", "--version", "1.0"]), @r"
    Target: docs (primary) · Mode: dry run · Version: 1.0

    Checked
      ok   web_root: `[project]/www`, which the deployment makes, can be written
      ok   current: nothing is live yet
      ok   owner: the web root is this target's
      ok   source: `[project]/public` holds 2 files, 24 bytes
      ok   index: `index.html` is there
      ok   space: 16,384 bytes are needed, [n] are free
    Would change: 2 added, 0 changed, 0 removed, 0 unchanged
      + about.html (12 bytes)
      + index.html (12 bytes)
    Could not check
      public pages: no `url` in the config
    Steps
      1. Making and locking [project]/www: one deployment at a time, and what is live must be what was planned with
      2. Staging 2 files (2 changed): 2 added, 0 changed, 0 removed, 0 unchanged
      3. Switching to release [id]: `current` is absent
      4. Verifying what is live: only a verified release counts for `keep` and for a rollback
      5. Keeping all releases: `keep` is 5

    Result: dry run, nothing was changed
    Duration: [t]
    Next: the same command without `--dry-run` does it
    --- exit 0
    ");
    assert_eq!(without_cache(&project), before);

    assert_snapshot!(project.see(&["execute", "--yes", "--version", "1.0"]), @r"
    Target: docs (primary) · Mode: deploy · Version: 1.0
    Plan: 2 added, 0 changed, 0 removed, 0 unchanged
    [1/5] Making and locking [project]/www... done ([t])
    [2/5] Staging 2 files (2 changed)... done, 2 copied (24 bytes), 0 linked ([t])
    [3/5] Switching to release [id]... done ([t])
    [4/5] Verifying what is live... done, 2 files ([t])
    [5/5] Keeping all releases... unchanged ([t])

    Result: succeeded, 1.0
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy verify` looks again, `pop-deploy rollback` goes back
    --- exit 0
    ");
    assert_eq!(project.page(), "<h1>one</h1>");

    project.write("public/index.html", "<h1>two</h1>");
    project.write("public/new.html", "<p>new</p>");
    std::fs::remove_file(project.path().join("public/about.html")).unwrap();
    let before = without_cache(&project);
    assert_snapshot!(project.see(&["execute", "--dry-run", "--version", "1.1"]), @r"
    Target: docs (primary) · Mode: dry run · Version: 1.1

    Checked
      ok   web_root: `[project]/www` can be written
      ok   current: `[project]/www/current` is a link to release [id]
      ok   owner: the web root is this target's
      ok   source: `[project]/public` holds 2 files, 22 bytes
      ok   index: `index.html` is there
      ok   space: 16,384 bytes are needed, [n] are free
      ok   max_delete: 1 of 2 live files would go; `max_delete` is 20%
      ok   live_tree: what is live is release [id] as it was deployed
    Would change: 1 added, 1 changed, 1 removed, 0 unchanged
      + new.html (10 bytes)
      ~ index.html (12 bytes)
      - about.html (12 bytes)
    Could not check
      public pages: no `url` in the config
    Steps
      1. Locking [project]/www: one deployment at a time, and what is live must be what was planned with
      2. Staging 2 files (2 changed): 1 added, 1 changed, 1 removed, 0 unchanged
      3. Switching to release [id]: `current` is a link to release [id]
      4. Verifying what is live: only a verified release counts for `keep` and for a rollback
      5. Keeping all releases: `keep` is 5

    Result: dry run, nothing was changed
    Duration: [t]
    Next: the same command without `--dry-run` does it
    --- exit 0
    ");
    assert_eq!(without_cache(&project), before);

    assert_snapshot!(project.see(&["execute", "--yes", "--version", "1.1"]), @r"
    Target: docs (primary) · Mode: deploy · Version: 1.1
    Plan: 1 added, 1 changed, 1 removed, 0 unchanged
    [1/5] Locking [project]/www... done ([t])
    [2/5] Staging 2 files (2 changed)... done, 2 copied (22 bytes), 0 linked ([t])
    [3/5] Switching to release [id]... done ([t])
    [4/5] Verifying what is live... done, 2 files ([t])
    [5/5] Keeping all releases... unchanged ([t])

    Result: succeeded, 1.0 → 1.1
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy verify` looks again, `pop-deploy rollback` goes back
    --- exit 0
    ");
    assert_eq!(project.page(), "<h1>two</h1>");
    assert_snapshot!(project.see(&["rollback", "--list"]), @r"
    Target: docs
      1.1  live
      1.0  where `rollback` goes
    --- exit 0
    ");

    let before = without_cache(&project);
    assert_snapshot!(project.see(&["rollback", "--dry-run"]), @r"
    Target: docs (primary) · Mode: rollback, dry run · Version: 1.0

    Checked
      ok   web_root: `[project]/www` can be written
      ok   current: `[project]/www/current` is a link to release [id]
      ok   owner: the web root is this target's
      ok   release_tree: release [id] is there, all 2 files of it
    Would change: 1 added, 1 changed, 1 removed, 0 unchanged
      + about.html (12 bytes)
      ~ index.html (12 bytes)
      - new.html (10 bytes)
    Could not check
      public pages: no `url` in the config
    Steps
      1. Locking [project]/www: one deployment at a time, and what is live must be what was planned with
      2. Checking release [id]: nothing is touched unless it is there and whole
      3. Switching to release [id]: `current` is a link to release [id]
      4. Verifying what is live: only a verified release counts for `keep` and for a rollback

    Result: dry run, nothing was changed
    Duration: [t]
    Next: the same command without `--dry-run` does it
    --- exit 0
    ");
    assert_eq!(without_cache(&project), before);
    assert_snapshot!(project.see(&["rollback", "--yes"]), @r"
    Target: docs (primary) · Mode: rollback · Version: 1.0
    Plan: 1 added, 1 changed, 1 removed, 0 unchanged
    [1/4] Locking [project]/www... done ([t])
    [2/4] Checking release [id]... unchanged ([t])
    [3/4] Switching to release [id]... done ([t])
    [4/4] Verifying what is live... unchanged ([t])

    Result: succeeded, 1.1 → 1.0
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy verify` looks again, `pop-deploy history` shows what was
    --- exit 0
    ");
    assert_eq!(project.page(), "<h1>one</h1>");

    let before = project.snapshot("www");
    assert_snapshot!(project.see(&["rollback", "--yes"]), @r"
    --- stderr
    error: there is nothing to roll target `docs` back to
      hint: `pop-deploy history` shows what was deployed
    --- exit 6
    ");
    assert_eq!(project.snapshot("www"), before);
    assert_snapshot!(project.see(&["verify"]), @r"
    Target: docs · Live: 1.0
      ok   web_root: `[project]/www` can be written
      ok   current: `[project]/www/current` is a link to release [id]
      ok   owner: the web root is this target's
      ok   live: a release is live
      ok   live_tree: what is live is release [id] as it was deployed
      ok   history: 1.0 is live, as history says
    Result: healthy
    --- exit 0
    ");
    assert_snapshot!(project.see_table(&["history"]), @r"
    When  Target  Version  Result  Took  By  Run
    [date] [time]  docs  1.1  rolled back to 1.0  [t]  [actor]  [id]
    [date] [time]  docs  1.1  went live  [t]  [actor]  [id]
    [date] [time]  docs  1.0  went live  [t]  [actor]  [id]
    --- exit 0
    ");
}

#[test]
fn going_back_says_where_the_config_of_that_release_is_another_than_todays() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.deploy("2", "<h1>two</h1>");
    let back = ["rollback", "--dry-run"];
    let same = project.must(&back);
    assert!(!same.stdout.contains("what counts is the config"), "{}", same.stdout);
    project.edit(|json| {
        let config = &mut json["targets"]["docs"]["config"];
        (config["keep"], config["exclude"]) = (json!(3), json!(["*.map"]));
    });
    let said = project.must(&back);
    let other = "was deployed with; deploy.json has another by now: `keep`, `exclude`";
    assert!(said.stdout.contains(other), "{}", said.stdout);
}

#[test]
fn going_back_again_goes_further_back() {
    let project = Project::new();
    for version in ["1", "2", "3"] {
        project.deploy(version, version);
    }
    project.must(&["rollback", "--yes"]);
    assert_eq!(project.page(), "2");
    project.must(&["rollback", "--yes"]);
    assert_eq!(project.page(), "1");
    assert_eq!(project.run(&["rollback", "--yes"]).code, Some(6));
    project.must(&["rollback", "--yes", "--to", "3"]);
    assert_eq!(project.page(), "3");
    let went = |record: &Value| (record["version"].clone(), record["rollback_to"].clone());
    let history: Vec<_> = project.history().iter().take(3).map(went).collect();
    assert_eq!(json!(history), json!([["1", "3"], ["2", "1"], ["3", "2"]]));
}

#[test]
fn a_release_without_a_version_is_listed_by_its_id() {
    let project = Project::new();
    for page in ["one", "two"] {
        project.write("public/index.html", page);
        project.must(&["execute", "--yes"]);
    }
    let listed = project.must(&["rollback", "--list"]).stdout;
    let names: Vec<_> = listed.lines().skip(1).map(str::trim).collect();
    let before = names[1].strip_suffix("  where `rollback` goes").unwrap();
    assert!(names[0].starts_with("deploy-") && names[0].ends_with("  live"), "{listed}");
    project.must(&["rollback", "--yes", "--to", before]);
    assert_eq!(project.page(), "one");
}

#[test]
fn what_the_place_keeps_no_longer_is_listed_as_gone() {
    let project = Project::new();
    project.edit(|json| json["targets"]["docs"]["config"]["keep"] = json!(2));
    for version in ["1", "2", "3"] {
        project.deploy(version, version);
    }
    assert_snapshot!(project.see(&["rollback", "--list"]), @r"
    Target: docs
      3  live
      2  where `rollback` goes
      1  gone at the place
    --- exit 0
    ");
    project.must(&["rollback", "--yes"]);
    let said = project.must(&["status"]);
    let before = "  Before: 1, gone at the place; `rollback --list` shows what is left\n";
    assert!(said.stdout.contains(before), "{}", said.stdout);
    let status: Value = serde_json::from_str(&project.must(&["status", "--json"]).stdout).unwrap();
    let kept = status["targets"][0]["kept"].as_array().unwrap();
    let versions: Vec<_> = kept.iter().map(|release| &release["version"]).collect();
    assert_eq!(json!(versions), json!(["3", "2"]));
    let asked = lines(&project.run(&["rollback", "--json"]).stdout);
    let asked = asked.iter().find(|line| line["type"] == "decision.required").unwrap();
    let offered = asked["options"].as_array().unwrap();
    let offered: Vec<_> = offered.iter().map(|option| &option["value"]).collect();
    assert_eq!(json!(offered), json!(["dry_run", "3"]));
}

#[test]
fn a_detailed_exit_code_tells_that_something_would_change() {
    let project = Project::new();
    let look = ["execute", "--dry-run", "--detailed-exitcode", "--version", "1"];
    assert_eq!(project.run(&look).code, Some(10));
    let mut plain = look.to_vec();
    plain.retain(|word| *word != "--detailed-exitcode");
    assert_eq!(project.run(&plain).code, Some(0));
    assert_eq!(
        project.run(&["execute", "--yes", "--detailed-exitcode"]).code,
        Some(2),
        "it belongs to a dry run"
    );
    project.must(&["execute", "--yes", "--version", "1"]);
    assert_eq!(project.run(&look).code, Some(0), "nothing would change");
}

#[test]
fn machines_read_numbered_lines_and_the_last_has_the_result() {
    let project = Project::new();
    for (arguments, ending) in [
        (&["execute", "--dry-run", "--json", "--version", "1"][..], "planned"),
        (&["execute", "--yes", "--json", "--version", "1"], "succeeded"),
        (&["execute", "--yes", "--json", "--version", "2"], "succeeded"),
        (&["rollback", "--yes", "--json"], "succeeded"),
    ] {
        let said = project.must(arguments);
        let lines = lines(&said.stdout);
        for (index, line) in lines.iter().enumerate() {
            assert_eq!((&line["v"], &line["seq"]), (&json!(1), &json!(index + 1)), "{line}");
            assert!(line["ts"].is_string() && line["type"].is_string(), "{line}");
            assert_eq!(line["run"], lines[0]["run"]);
        }
        assert_eq!(lines[0]["type"], "run.started");
        let last = lines.last().unwrap();
        assert_eq!((&last["type"], &last["ending"]), (&json!("run.finished"), &json!(ending)));
        assert_eq!(said.stderr, "");
    }
}

#[test]
fn what_a_dry_run_plans_is_what_a_deployment_does() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.write("public/index.html", "<h1>two</h1>");
    let dry = lines(&project.must(&["execute", "--dry-run", "--json", "--version", "2"]).stdout);
    let plan = dry.iter().find(|line| line["type"] == "plan").unwrap();
    let planned = plan["plan"]["steps"].to_string();

    let done = lines(&project.must(&["execute", "--yes", "--json", "--version", "2"]).stdout);
    let run = done[0]["run"].as_str().unwrap();
    let journal = project.read(&format!(".pop-deploy/deployments/{run}/journal.jsonl"));
    let intents = lines(&journal).into_iter().filter(|line| line["entry"] == "intent");
    let walked = json!(intents.map(|mut intent| intent["step"].take()).collect::<Vec<_>>()).to_string();
    assert_eq!(planned.replace(dry[0]["run"].as_str().unwrap(), run), walked);
}

#[test]
fn only_the_history_in_deploy_json_is_written() {
    let project = Project::new();
    let head = "{\r\n  \"x-mine\": [1,2 , 3.10],\n\t\"targets\" : {\"docs\":{\"type\":\"static_site\", \"note\" : \"\\u00e9\", \
                \"config\":{\"dir\":\"www\",\"source\":\"public\"}}},\n \"history\"  : ";
    let tail = "  ,\n\n  \"created_at\": 1e2 , \"version\":\"1.0\" }\n\n";
    project.deploy_json(&format!("{head}[]{tail}"));
    project.must(&["execute", "--yes", "--version", "1"]);
    project.must(&["execute", "--yes", "--version", "2"]);
    project.must(&["rollback", "--yes"]);
    let json = project.read(".pop-deploy/deploy.json");
    assert!(json.starts_with(head) && json.ends_with(tail), "{json}");
    assert_eq!(project.history().len(), 3);
}

#[test]
fn a_deployment_that_fails_after_the_switch_goes_back_by_itself() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.write("public/index.html", "<h1>two</h1>");
    project.hook("post_switch", "cat www/current/index.html; exit 3");
    assert_snapshot!(project.see(&["execute", "--yes", "--version", "2"]), @r"
    Target: docs (primary) · Mode: deploy · Version: 2
    Plan: 0 added, 1 changed, 0 removed, 1 unchanged
    [1/5] Locking [project]/www... done ([t])
    [2/5] Staging 2 files (1 changed)... done, 1 copied (12 bytes), 1 linked ([t])
    [3/5] Switching to release [id]... done ([t])
    Taking docs back
      switch: release [id] is live again
      stage: removed release [id]

    error: hook `post_switch`: `sh` ended with exit code 3
      caused by: <h1>two</h1>
    docs: rolled back, 1 is live
    Result: failed and rolled back, the release before is live
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: mend what the error names, then run it again
    --- exit 8
    ");
    assert_eq!(project.page(), "<h1>one</h1>");
    assert_eq!(std::fs::read_dir(project.path().join("www/releases")).unwrap().count(), 1);
    let mut record = project.history()[0].clone();
    record["rollback"]["to_id"].take();
    assert_snapshot!(format!("{:#}", json!([record["status"], record["error"], record["rollback"]])), @r#"
    [
      "failed",
      "hook `post_switch`: `sh` ended with exit code 3: <h1>two</h1>",
      {
        "performed": true,
        "success": true,
        "to_version": "1",
        "to_id": null,
        "steps": [
          {
            "step": "switch",
            "success": true
          },
          {
            "step": "stage",
            "success": true
          },
          {
            "step": "lock",
            "success": true
          }
        ],
        "error": null
      }
    ]
    "#);

    project.edit(|json| json["hooks"] = json!({}));
    project.deploy("3", "<h1>three</h1>");
    project.must(&["rollback", "--yes"]);
    assert_eq!(project.page(), "<h1>one</h1>", "2 went bad and is passed over");
}

#[test]
fn a_site_that_answers_something_else_goes_back_by_itself() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    thread::spawn(move || {
        for mut reader in server.incoming().flatten() {
            let _read = reader.read(&mut [0; 4096]);
            let body = "the page of somebody else";
            let _written = write!(
                reader,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.edit(|json| json["targets"]["docs"]["config"]["url"] = json!(url));
    project.write("public/index.html", "<h1>two</h1>");
    let seen = project.see(&["execute", "--yes", "--version", "2"]).replace(&url, "[url]");
    assert_snapshot!(seen, @r"
    Target: docs (primary) · Mode: deploy · Version: 2
    Plan: 0 added, 1 changed, 0 removed, 1 unchanged
    [1/5] Locking [project]/www... done ([t])
    [2/5] Staging 2 files (1 changed)... done, 1 copied (12 bytes), 1 linked ([t])
    [3/5] Switching to release [id]... done ([t])
      [url]: not healthy, `[url]` answers with something else than `index.html` of the release
      [url]: not healthy, `[url]` answers with something else than `index.html` of the release
      [url]: not healthy, `[url]` answers with something else than `index.html` of the release
      [url]: not healthy, `[url]` answers with something else than `index.html` of the release
      [url]: not healthy, `[url]` answers with something else than `index.html` of the release
      [url]: not healthy, `[url]` answers with something else than `index.html` of the release
    [4/5] Verifying what is live, and pages of [url]... failed ([t])
    Taking docs back
      switch: release [id] is live again
      stage: removed release [id]

    error: `[url]` answers with something else than `index.html` of the release
      hint: check which folder the server serves, and whether a cache or a filter stands before it
    docs: rolled back, 1 is live
    Result: failed and rolled back, the release before is live
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: mend what the error names, then run it again
    --- exit 8
    ");
    assert_eq!(project.page(), "<h1>one</h1>");
}

#[test]
fn a_second_target_that_fails_takes_the_first_back() {
    let project = two_targets();
    project.edit(|json| json["targets"]["second"]["hooks"]["post_switch"] = json!(["false"]));
    let seen = project.see(&["execute", "--yes", "--all", "--version", "2"]);
    assert_snapshot!(from_the_first_switch(&seen), @r"
    first: [3/5] Switching to release [id]... done ([t])
    first: [4/5] Verifying what is live... done, 2 files ([t])
    second: [3/5] Switching to release [id]... done ([t])
    Taking second back
      switch: release [id] is live again
      stage: removed release [id]
    Taking first back
      verify: release [id] doesn't count as verified
      switch: release [id] is live again
      stage: removed release [id]

    error: hook `post_switch`: `false` ended with exit code 1
    first: rolled back, 1 is live
    second: rolled back, 1 is live
    Result: failed and rolled back, the release before is live
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: mend what the error names, then run it again
    --- exit 8
    ");
    assert_eq!(project.page(), "<h1>one</h1>");
    assert_eq!(project.read("www2/current/index.html"), "<h1>one</h1>");
}

#[test]
fn a_second_target_that_fails_leaves_the_first_where_the_policy_is_to_continue() {
    let project = two_targets();
    project.edit(|json| {
        json["on_partial"] = json!("continue");
        json["targets"]["second"]["hooks"]["post_switch"] = json!(["false"]);
    });
    let seen = project.see(&["execute", "--yes", "--all", "--version", "2"]);
    assert_snapshot!(from_the_first_switch(&seen), @r"
    first: [3/5] Switching to release [id]... done ([t])
    first: [4/5] Verifying what is live... done, 2 files ([t])
    second: [3/5] Switching to release [id]... done ([t])
    Taking second back
      switch: release [id] is live again
      stage: removed release [id]

    error: hook `post_switch`: `false` ended with exit code 1
    first: 2 is live
    second: rolled back, 1 is live
    Result: partly done, see the targets above
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy rollback --target NAME` takes a target back
    --- exit 9
    ");
    assert_eq!(project.page(), "<h1>two</h1>");
    assert_eq!(project.read("www2/current/index.html"), "<h1>one</h1>");
}

#[test]
fn hooks_run_in_order_and_are_told_what_goes_on() {
    let project = Project::new();
    let points = [
        "before_all",
        "pre_build",
        "post_build",
        "pre_stage",
        "post_stage",
        "pre_switch",
        "post_switch",
        "pre_verify",
        "post_verify",
        "pre_finalize",
        "post_finalize",
        "on_success",
        "on_failure",
        "on_rollback",
        "after_all",
    ];
    for point in points {
        project.hook(point, "echo $POP_DEPLOY_HOOK $POP_DEPLOY_TARGET $POP_DEPLOY_VERSION $POP_DEPLOY_MODE in ${PWD#$POP_DEPLOY_PROJECT}. >> ran; cat > told");
    }
    project.must(&["execute", "--dry-run", "--version", "1"]);
    assert!(project.read("ran").contains("No such file"));
    project.must(&["execute", "--yes", "--version", "1"]);
    assert_snapshot!(project.read("ran"), @r"
    before_all 1 deploy in .
    pre_build docs 1 deploy in .
    post_build docs 1 deploy in .
    pre_stage docs 1 deploy in .
    post_stage docs 1 deploy in .
    pre_switch docs 1 deploy in .
    post_switch docs 1 deploy in .
    pre_verify docs 1 deploy in .
    post_verify docs 1 deploy in .
    pre_finalize docs 1 deploy in .
    post_finalize docs 1 deploy in .
    on_success 1 deploy in .
    after_all 1 deploy in .
    ");
    let mut told: Value = serde_json::from_str(&project.read("told")).unwrap();
    assert!(told["run"].as_str().unwrap().starts_with("deploy-20"));
    told["run"].take();
    assert_snapshot!(project.steady(&format!("{told:#}")), @r#"
    {
      "v": 1,
      "hook": "after_all",
      "run": null,
      "mode": "deploy",
      "target": null,
      "version": "1",
      "actor": [actor],
      "project": "[project]",
      "environment": "production"
    }
    "#);
}

#[test]
fn a_hook_that_fails_before_the_switch_leaves_nothing() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    let before = project.snapshot("www/releases");
    project.write("public/index.html", "<h1>two</h1>");
    project.hook("pre_switch", "echo no licence >&2; exit 3");
    project.hook("on_failure", "exit 4");
    assert_snapshot!(project.see(&["execute", "--yes", "--version", "2"]), @r"
    Target: docs (primary) · Mode: deploy · Version: 2
    Plan: 0 added, 1 changed, 0 removed, 1 unchanged
    [1/5] Locking [project]/www... done ([t])
    [2/5] Staging 2 files (1 changed)... done, 1 copied (12 bytes), 1 linked ([t])
    Taking docs back
      stage: removed release [id]
    warning: hook `on_failure`: `sh` ended with exit code 4

    error: hook `pre_switch`: `sh` ended with exit code 3
      caused by: no licence
    docs: failed, nothing live was changed
    Result: failed, nothing live was changed
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: mend what the error names, then run it again
    --- exit 1
    ");
    assert_eq!(project.snapshot("www/releases"), before);
    assert_eq!(project.page(), "<h1>one</h1>");
}

#[test]
fn a_target_without_automatic_rollback_stays_as_it_failed_until_somebody_decides() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.edit(|json| {
        json["targets"]["docs"]["auto_rollback"] = json!(false);
        json["targets"]["docs"]["hooks"] = json!({"post_switch": ["false"]});
    });
    project.write("public/index.html", "<h1>two</h1>");
    assert_eq!(project.run(&["execute", "--yes", "--version", "2"]).code, Some(9));
    assert_eq!(project.page(), "<h1>two</h1>");
    project.edit(|json| json["targets"]["docs"]["hooks"] = json!({}));
    project.must(&["rollback", "--yes"]);
    assert_eq!(project.page(), "<h1>one</h1>");
}

#[test]
fn a_deployment_that_fails_goes_back_to_a_release_that_came_from_a_backup() {
    let project = Project::new();
    project.hook("post_switch", "exit 1");
    let said = project.run(&["execute", "--yes", "--version", "0"]);
    assert!(
        said.stdout.contains("Result: failed and rolled back, all is as it was before"),
        "{}",
        said.stdout
    );
    project.hook("post_switch", "true");
    project.deploy("1", "one");
    let releases = project.path().join("www/releases");
    let backup = project.path().join("www/backup");
    let copied = std::process::Command::new("cp").arg("-a").arg(&releases).arg(&backup).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(&releases).unwrap();
    std::fs::rename(&backup, &releases).unwrap();
    project.hook("post_switch", "exit 1");
    project.write("public/index.html", "two");
    let said = project.run(&["execute", "--yes", "--version", "2"]);
    assert_eq!(said.code, Some(8), "{}{}", said.stdout, said.stderr);
    assert_eq!(project.page(), "one");
    project.must(&["verify"]);
}
