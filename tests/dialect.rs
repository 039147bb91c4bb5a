//! The popkit wrapper's side: `--action`, one JSON object, its stream, its keys in order, an exit code.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, process::Child};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::{Project, Said};

#[path = "support/mod.rs"]
mod support;

/// A project as the wrapper makes it: everything in `.claude/popkit`, a version in package.json.
fn generated() -> Project {
    let project = Project::empty();
    project.write("public/index.html", "<h1>one</h1>");
    project.write("package.json", r#"{"version": "1.0.0"}"#);
    configure(
        &project,
        &json!({"enabled": true, "primary": true, "config": {"source": "public", "dir": "www"}}),
    );
    project
}

/// Where 1.0.0 was deployed, and a run has switched to 1.1.0 and stands still until a file `go` is there.
fn at_the_gate() -> (Project, Child) {
    let project = generated();
    project.must(&["execute", "--action", "execute", "--mode", "deploy"]);
    project.write("public/index.html", "<h1>two</h1>");
    let mut config: Value = serde_json::from_str(&project.read(".claude/popkit/deploy.json")).unwrap();
    let gate = "echo > at_gate; while [ ! -e go ]; do sleep 0.02; done";
    config["hooks"] = json!({"post_switch": {"command": gate, "shell": true}});
    project.write(".claude/popkit/deploy.json", &format!("{config:#}"));
    let run = project.start(&["execute", "--action", "execute", "--mode", "deploy", "--version", "1.1.0"]);
    project.wait_at_gate();
    (project, run)
}

/// deploy.json in the wrapper's folder, with this target `static-site` and a disabled one beside it.
fn configure(project: &Project, target: &Value) {
    let other =
        json!({"type": "static_site", "enabled": false, "config": {"source": "public", "dir": "www2"}});
    let json = json!({
        "version": "1.0", "project_name": "handbook", "created_at": "2026-01-01T00:00:00Z",
        "targets": {"static-site": target, "spare": other}, "ci": {"provider": "github_actions"}, "history": [],
    });
    project.write(".claude/popkit/deploy.json", &format!("{json:#}"));
}

/// The one object, which must be all there is on its stream, and nothing on the other.
fn answer(said: &Said) -> (&'static str, Value) {
    let (stream, text) =
        if said.stdout.is_empty() { ("stderr", &said.stderr) } else { ("stdout", &said.stdout) };
    assert!(said.stdout.is_empty() || said.stderr.is_empty(), "both streams: {}{}", said.stdout, said.stderr);
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(*text, format!("{value:#}\n"), "indented by 2");
    (stream, value)
}

/// The answer with what differs from run to run blotted out.
fn see(project: &Project, arguments: &[&str]) -> String {
    let said = project.run(arguments);
    let (stream, mut value) = answer(&said);
    steady(&mut value);
    let text = project.steady(&format!("{value:#}"));
    format!("{text}--- {stream}, exit {}\n", said.code.unwrap())
}

fn steady(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "timestamp" | "rollback_timestamp" if value.is_string() => *value = json!("[time]"),
                    "duration_ms" | "duration_s" => *value = json!(0),
                    _ => steady(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(steady),
        _ => {}
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn prepare_dry_run_deploy_and_verify() {
    let project = generated();
    assert_snapshot!(see(&project, &["execute", "--action", "prepare"]), @r#"
    {
      "operation": "prepare_deployment",
      "directory": "[project]",
      "timestamp": "[time]",
      "success": true,
      "target": "static-site",
      "target_config": {
        "enabled": true,
        "primary": true,
        "config": {
          "source": "public",
          "dir": "www"
        }
      },
      "version": "1.0.0",
      "commit_sha": null,
      "last_deployment": null,
      "rollback_version": null,
      "project_name": "handbook",
      "ci_provider": "github_actions"
    }
    --- stdout, exit 0
    "#);
    let before = (project.snapshot("www"), project.snapshot(".claude"));
    assert_snapshot!(see(&project, &["execute", "--action", "execute"]), @r#"
    {
      "operation": "execute_deployment",
      "directory": "[project]",
      "timestamp": "[time]",
      "deployment_id": "[id]",
      "target": "static-site",
      "version": "1.0.0",
      "mode": "dry_run",
      "duration_ms": 0,
      "rollback_version": null,
      "success": true,
      "dry_run": true,
      "steps": [
        {
          "step": "lock",
          "description": "Making and locking [project]/www"
        },
        {
          "step": "stage",
          "description": "Staging 1 file (1 changed)"
        },
        {
          "step": "switch",
          "description": "Switching to release [id]"
        },
        {
          "step": "verify",
          "description": "Verifying what is live"
        },
        {
          "step": "finalize",
          "description": "Keeping all releases"
        }
      ],
      "message": "Would deploy version 1.0.0 to static-site: 1 added, 0 changed, 0 removed, 0 unchanged"
    }
    --- stdout, exit 0
    "#);
    assert_eq!(
        (project.snapshot("www"), project.snapshot(".claude")),
        before,
        "`dry_run` is the default mode"
    );
    assert_snapshot!(see(&project, &["execute", "--action", "execute", "--mode", "deploy"]), @r#"
    {
      "operation": "execute_deployment",
      "directory": "[project]",
      "timestamp": "[time]",
      "deployment_id": "[id]",
      "target": "static-site",
      "version": "1.0.0",
      "mode": "deploy",
      "duration_ms": 0,
      "rollback_version": null,
      "success": true,
      "dry_run": false,
      "steps": [
        {
          "step": "lock",
          "description": "Making and locking [project]/www",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "stage",
          "description": "Staging 1 file (1 changed)",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "switch",
          "description": "Switching to release [id]",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "verify",
          "description": "Verifying what is live",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "finalize",
          "description": "Keeping all releases",
          "status": "success",
          "duration_s": 0
        }
      ],
      "log": "[project]/.claude/popkit/deployments/[id]/log"
    }
    --- stdout, exit 0
    "#);
    assert_snapshot!(see(&project, &["execute", "--action", "verify"]), @r#"
    {
      "operation": "verify_deployment",
      "directory": "[project]",
      "timestamp": "[time]",
      "target": "static-site",
      "checks": [
        {
          "name": "web_root",
          "status": "pass",
          "message": "`[project]/www` can be written"
        },
        {
          "name": "current",
          "status": "pass",
          "message": "`[project]/www/current` is a link to release [id]"
        },
        {
          "name": "owner",
          "status": "pass",
          "message": "the web root is this target's"
        },
        {
          "name": "live",
          "status": "pass",
          "message": "a release is live"
        },
        {
          "name": "live_tree",
          "status": "pass",
          "message": "what is live is release [id] as it was deployed"
        },
        {
          "name": "history",
          "status": "pass",
          "message": "1.0.0 is live, as history says"
        }
      ],
      "passed": 6,
      "total": 6,
      "healthy": true
    }
    --- stdout, exit 0
    "#);
}

#[test]
fn assess_roll_back_and_verify() {
    let project = generated();
    assert_snapshot!(see(&project, &["rollback", "--action", "assess"]), @r#"
    {
      "operation": "assess_rollback",
      "directory": "[project]",
      "timestamp": "[time]",
      "success": true,
      "target": "static-site",
      "current_version": null,
      "current_status": null,
      "rollback_version": null,
      "rollback_commit": null,
      "rollback_timestamp": null,
      "total_deployments": 0,
      "last_failed": null,
      "can_rollback": false
    }
    --- stdout, exit 0
    "#);
    assert_snapshot!(see(&project, &["rollback", "--action", "rollback"]), @r#"
    {
      "operation": "execute_rollback",
      "directory": "[project]",
      "timestamp": "[time]",
      "target": "static-site",
      "from_version": null,
      "to_version": null,
      "duration_ms": 0,
      "success": false,
      "dry_run": false,
      "steps": [],
      "error": "No rollback version available. Specify --version."
    }
    --- stdout, exit 1
    "#);
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        project.write("public/index.html", version);
        project.must(&["execute", "--action", "execute", "--mode", "deploy", "--version", version]);
    }
    assert_snapshot!(see(&project, &["rollback", "--action", "assess"]), @r#"
    {
      "operation": "assess_rollback",
      "directory": "[project]",
      "timestamp": "[time]",
      "success": true,
      "target": "static-site",
      "current_version": "1.2.0",
      "current_status": "success",
      "rollback_version": "1.1.0",
      "rollback_commit": null,
      "rollback_timestamp": "[time]",
      "total_deployments": 3,
      "last_failed": null,
      "can_rollback": true
    }
    --- stdout, exit 0
    "#);
    let before = (project.snapshot("www"), project.snapshot(".claude"));
    let (_, dry) = answer(&project.must(&["rollback", "--action", "rollback", "--dry-run"]));
    assert_eq!((&dry["dry_run"], &dry["to_version"]), (&json!(true), &json!("1.1.0")));
    assert_eq!((project.snapshot("www"), project.snapshot(".claude")), before);
    assert_snapshot!(see(&project, &["rollback", "--action", "rollback"]), @r#"
    {
      "operation": "execute_rollback",
      "directory": "[project]",
      "timestamp": "[time]",
      "target": "static-site",
      "from_version": "1.2.0",
      "to_version": "1.1.0",
      "duration_ms": 0,
      "success": true,
      "dry_run": false,
      "steps": [
        {
          "step": "lock",
          "description": "Locking [project]/www",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "check",
          "description": "Checking release [id]",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "switch",
          "description": "Switching to release [id]",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "verify",
          "description": "Verifying what is live",
          "status": "success",
          "duration_s": 0
        }
      ],
      "message": "Rolled static-site back to 1.1.0",
      "log": "[project]/.claude/popkit/deployments/[id]/log"
    }
    --- stdout, exit 0
    "#);
    assert_eq!(project.page(), "1.1.0");
    assert_snapshot!(see(&project, &["rollback", "--action", "verify"]), @r#"
    {
      "operation": "verify_rollback",
      "directory": "[project]",
      "timestamp": "[time]",
      "target": "static-site",
      "checks": [
        {
          "name": "web_root",
          "status": "pass",
          "message": "`[project]/www` can be written"
        },
        {
          "name": "current",
          "status": "pass",
          "message": "`[project]/www/current` is a link to release [id]"
        },
        {
          "name": "owner",
          "status": "pass",
          "message": "the web root is this target's"
        },
        {
          "name": "live",
          "status": "pass",
          "message": "a release is live"
        },
        {
          "name": "live_tree",
          "status": "pass",
          "message": "what is live is release [id] as it was deployed"
        },
        {
          "name": "history",
          "status": "pass",
          "message": "1.1.0 is live, as history says"
        }
      ],
      "passed": 6,
      "failed": 0,
      "rollback_verified": true
    }
    --- stdout, exit 0
    "#);
    let (_, again) = answer(&project.must(&["rollback", "--action", "assess"]));
    assert_eq!((&again["current_version"], &again["rollback_version"]), (&json!("1.1.0"), &json!("1.0.0")));
    project.must(&["rollback", "--action", "rollback", "--version", "1.2.0"]);
    assert_eq!(project.page(), "1.2.0");
}

#[test]
fn a_deployment_that_fails_says_what_was_rolled_back() {
    let project = generated();
    project.must(&["execute", "--action", "execute", "--mode", "deploy"]);
    project.write("public/index.html", "<h1>two</h1>");
    let text = project.read(".claude/popkit/deploy.json");
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["hooks"] = json!({"pre_verify": ["false"]});
    project.write(".claude/popkit/deploy.json", &config.to_string());
    let said = project.run(&["execute", "--action", "execute", "--mode", "deploy", "--version", "1.1.0"]);
    let (stream, mut report) = answer(&said);
    steady(&mut report);
    assert_eq!((stream, said.code, &report["success"]), ("stdout", Some(1), &json!(false)));
    assert_snapshot!(keys(&report).join(" "), @"operation directory timestamp deployment_id target version mode duration_ms rollback_version success dry_run steps error rollback log");
    assert_snapshot!(project.steady(&format!("{:#}", json!([report["steps"], report["error"], report["rollback"]]))), @r#"
    [
      [
        {
          "step": "lock",
          "description": "Locking [project]/www",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "stage",
          "description": "Staging 1 file (1 changed)",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "switch",
          "description": "Switching to release [id]",
          "status": "success",
          "duration_s": 0
        },
        {
          "step": "verify",
          "description": "Verifying what is live",
          "status": "skipped",
          "duration_s": 0
        },
        {
          "step": "finalize",
          "description": "Keeping all releases",
          "status": "skipped",
          "duration_s": 0
        }
      ],
      "hook `pre_verify`: `false` ended with exit code 1",
      {
        "performed": true,
        "success": true,
        "to_version": "1.0.0",
        "steps": [
          {
            "step": "switch",
            "status": "success"
          },
          {
            "step": "stage",
            "status": "success"
          },
          {
            "step": "lock",
            "status": "success"
          }
        ],
        "error": null
      }
    ]
    "#);
    assert_eq!(project.page(), "<h1>one</h1>");
    let (_, assessed) = answer(&project.must(&["rollback", "--action", "assess"]));
    assert_eq!(
        (&assessed["current_version"], &assessed["current_status"]),
        (&json!("1.0.0"), &json!("failed"))
    );
}

#[test]
fn errors_before_any_work() {
    let project = generated();
    let execute = |more: &[&str]| see(&project, &[&["execute", "--action", "execute"], more].concat());
    assert_snapshot!(execute(&["--mode", "canary"]), @r#"
    {
      "operation": "execute_deployment",
      "directory": "[project]",
      "timestamp": "[time]",
      "deployment_id": "[id]",
      "target": "static-site",
      "version": "1.0.0",
      "mode": "canary",
      "duration_ms": 0,
      "rollback_version": null,
      "success": false,
      "dry_run": false,
      "steps": [],
      "error": "target `static-site` can't take a canary: its plugin can't split it (hint: deploy in full instead, without `--canary`; in the wrapper's dialect with `--mode deploy`)",
      "log": "[project]/.claude/popkit/deployments/[id]/log"
    }
    --- stdout, exit 1
    "#);
    assert_snapshot!(execute(&["--target", "nothing"]), @r#"
    {
      "operation": "deploy_execute",
      "success": false,
      "error": "Target 'nothing' not found in config"
    }
    --- stderr, exit 1
    "#);
    assert_snapshot!(execute(&["--dir", "nowhere"]), @r#"
    {
      "error": "Directory not found: [project]/nowhere"
    }
    --- stderr, exit 1
    "#);
    assert_snapshot!(see(&project, &["execute", "--action", "prepare", "--target", "nothing"]), @r#"
    {
      "operation": "prepare_deployment",
      "directory": "[project]",
      "timestamp": "[time]",
      "success": false,
      "target": "nothing",
      "target_config": null,
      "version": "1.0.0",
      "commit_sha": null,
      "last_deployment": null,
      "rollback_version": null,
      "project_name": "handbook",
      "ci_provider": "github_actions",
      "error": "Target 'nothing' not found in config"
    }
    --- stdout, exit 1
    "#);
    assert_snapshot!(see(&project, &["rollback", "--action", "rollback", "--target", "nothing"]), @r#"
    {
      "operation": "rollback_rollback",
      "success": false,
      "error": "Target 'nothing' not found in config"
    }
    --- stderr, exit 1
    "#);
    assert_snapshot!(see(&project, &["rollback", "--action", "assess", "--target", "nothing"]), @r#"
    {
      "operation": "assess_rollback",
      "directory": "[project]",
      "timestamp": "[time]",
      "success": false,
      "target": "nothing",
      "current_version": null,
      "current_status": null,
      "rollback_version": null,
      "rollback_commit": null,
      "rollback_timestamp": null,
      "total_deployments": 0,
      "last_failed": null,
      "can_rollback": false,
      "error": "Target 'nothing' not found in config"
    }
    --- stdout, exit 1
    "#);
    project.write(".claude/popkit/deploy.json", "{\n  \"version\" 1\n}");
    assert_snapshot!(execute(&[]), @r#"
    {
      "operation": "deploy_execute",
      "success": false,
      "error": "Invalid JSON in deploy.json: expected `:` at line 2 column 13"
    }
    --- stderr, exit 1
    "#);
    assert_snapshot!(see(&project, &["rollback", "--action", "verify"]), @r#"
    {
      "operation": "rollback_verify",
      "success": false,
      "error": "Invalid JSON in deploy.json: expected `:` at line 2 column 13"
    }
    --- stderr, exit 1
    "#);
    fs::remove_file(project.path().join(".claude/popkit/deploy.json")).unwrap();
    project.deploy_json("{}");
    assert_snapshot!(execute(&[]), @r#"
    {
      "operation": "deploy_execute",
      "success": false,
      "error": "deploy.json not found. Run /popkit-ops:deploy init first."
    }
    --- stderr, exit 1
    "#);
    assert_snapshot!(see(&project, &["rollback", "--action", "assess"]), @r#"
    {
      "operation": "rollback_assess",
      "success": false,
      "error": "deploy.json not found. Run /popkit-ops:deploy init first."
    }
    --- stderr, exit 1
    "#);

    let usage = project.run(&["execute", "--action", "execute", "--mode", "boldly"]);
    assert_eq!((usage.code, usage.stdout.as_str()), (Some(2), ""));
    for (command, action) in [("execute", "prepare"), ("execute", "verify"), ("rollback", "assess")] {
        let said = project.run(&[command, "--action", action, "--target", "a", "--target", "b"]);
        assert_eq!(said.code, Some(2), "{action}");
        assert!(said.stderr.contains("takes one target"), "{action}: {}", said.stderr);
    }
}

#[test]
fn a_disabled_target_that_is_named_runs() {
    let project = generated();
    project.must(&["execute", "--action", "execute", "--mode", "deploy", "--target", "spare"]);
    assert_eq!(project.read("www2/current/index.html"), "<h1>one</h1>");
    assert!(project.snapshot("www").is_empty());
}

#[test]
fn a_target_without_a_plugin_fails() {
    let project = generated();
    configure(&project, &json!({"type": "netlify", "enabled": true, "config": {}}));
    for mode in ["dry_run", "deploy"] {
        let said = project.run(&["execute", "--action", "execute", "--mode", mode]);
        let (stream, report) = answer(&said);
        assert_eq!((stream, said.code, &report["success"]), ("stdout", Some(1), &json!(false)));
        let error = report["error"].as_str().unwrap();
        assert!(
            error.contains("no plugin serves targets of type `netlify`") && error.contains("looked in"),
            "{error}"
        );
    }
    let said = project.run(&["execute", "--action", "verify"]);
    let (_, report) = answer(&said);
    assert_eq!((said.code, &report["healthy"]), (Some(1), &json!(false)));
}

#[test]
fn several_targets_answer_with_one_report_each() {
    let project = generated();
    let both = [
        "execute",
        "--action",
        "execute",
        "--mode",
        "deploy",
        "--target",
        "static-site",
        "--target",
        "spare",
    ];
    let (_, report) = answer(&project.must(&both));
    assert_eq!(keys(&report), ["operation", "directory", "timestamp", "success", "results"]);
    let results = report["results"].as_array().unwrap();
    let told: Vec<_> = results.iter().map(|result| json!([result["target"], result["success"]])).collect();
    assert_eq!(json!(told), json!([["static-site", true], ["spare", true]]));
    let (_, all) = answer(&project.must(&["execute", "--action", "execute", "--all"]));
    assert_eq!(all["target"], "static-site", "one enabled target is one report");
}

#[test]
fn the_data_folder_of_the_environment_is_read_and_written() {
    let project = generated();
    fs::rename(project.path().join(".claude/popkit"), project.path().join("elsewhere")).unwrap();
    let mut command = project.command(&["execute", "--action", "execute", "--mode", "deploy"]);
    let said: Said =
        command.env("CLAUDE_PLUGIN_DATA", project.path().join("elsewhere")).output().unwrap().into();
    let (_, report) = answer(&said);
    assert_eq!((said.code, &report["success"]), (Some(0), &json!(true)));
    assert!(
        report["log"]
            .as_str()
            .unwrap()
            .starts_with(project.path().join("elsewhere/deployments").to_str().unwrap())
    );
    let written: Value = serde_json::from_str(&project.read("elsewhere/deploy.json")).unwrap();
    assert_eq!(written["history"][0]["status"], "success");
    assert!(!project.path().join(".claude/popkit").exists());
}

#[test]
fn a_rollback_that_waited_for_a_deployment_goes_back_from_it() {
    let (project, deploy) = at_the_gate();
    let back = project.start(&["rollback", "--action", "rollback", "--wait", "60"]);
    let descriptors = format!("/proc/{}/fd", back.id());
    support::wait_for("the wait for the lock", || {
        let mut open =
            fs::read_dir(&descriptors).unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        open.any(|path| path.ends_with("static-site.lock")).then_some(())
    });
    project.write("go", "");
    let [deployed, back] = [deploy, back].map(|run| Said::from(run.wait_with_output().unwrap()));
    assert_eq!(deployed.code, Some(0), "{}", deployed.stderr);
    let (_, report) = answer(&back);
    assert_eq!(
        [&report["success"], &report["from_version"], &report["to_version"]],
        [&json!(true), &json!("1.1.0"), &json!("1.0.0")],
        "{report:#}"
    );
    assert_eq!(project.page(), "<h1>one</h1>");
}

#[test]
fn a_run_that_died_is_mended_by_the_dialects_rollback_too() {
    let (project, mut run) = at_the_gate();
    assert_snapshot!(see(&project, &["execute", "--action", "execute", "--mode", "deploy"]).replace(&format!("pid {}", run.id()), "pid [pid]"), @r#"
    {
      "operation": "deploy_execute",
      "success": false,
      "error": "target `static-site` is locked by [actor] (pid [pid], run [id], since [time]): pop-deploy execute --action execute --mode deploy --version 1.1.0 (hint: wait for it to end, or let this run wait with `--wait SECS`; if it hangs, `pop-deploy unlock --force --run-id [id] --target static-site` ends it)"
    }
    --- stderr, exit 1
    "#);
    run.kill().unwrap();
    run.wait().unwrap();
    project.write("go", "");
    assert_snapshot!(see(&project, &["execute", "--action", "execute", "--mode", "deploy", "--wait", "60"]), @r#"
    {
      "operation": "deploy_execute",
      "success": false,
      "error": "run `[id]` was interrupted; target `static-site` has done `switch`, the switch of it (hint: `pop-deploy execute --resume` goes on with it, `pop-deploy rollback` takes it back)"
    }
    --- stderr, exit 1
    "#);
    assert_snapshot!(see(&project, &["rollback", "--action", "rollback"]), @r#"
    {
      "operation": "execute_rollback",
      "directory": "[project]",
      "timestamp": "[time]",
      "target": "static-site",
      "from_version": "1.1.0",
      "to_version": "1.0.0",
      "duration_ms": 0,
      "success": true,
      "dry_run": false,
      "steps": [
        {
          "step": "lock",
          "description": "Locking [project]/www",
          "status": "skipped",
          "duration_s": 0
        },
        {
          "step": "stage",
          "description": "Staging 1 file (1 changed)",
          "status": "skipped",
          "duration_s": 0
        },
        {
          "step": "switch",
          "description": "Switching to release [id]",
          "status": "skipped",
          "duration_s": 0
        }
      ],
      "message": "Took the interrupted deployment back; 1.0.0 is live",
      "rollback": {
        "performed": true,
        "success": true,
        "to_version": "1.0.0",
        "steps": [
          {
            "step": "switch",
            "status": "success"
          },
          {
            "step": "stage",
            "status": "success"
          },
          {
            "step": "lock",
            "status": "success"
          }
        ],
        "error": null
      },
      "log": "[project]/.claude/popkit/deployments/[id]/log"
    }
    --- stdout, exit 0
    "#);
    assert_eq!(project.page(), "<h1>one</h1>");
}
