#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use pop_deploy_plugin_api::protocol::{Command, Effect, Phase, Step};
use serde_json::json;

use super::*;
use crate::{config::DeployConfig, project::Project, select};

const EXAMPLE: &str = r#"{
  "project_name": "orders-api",
  "targets": {
    "docker": {
      "enabled": true, "primary": true,
      "config": { "registry": "https://me:pw@r.example/x", "password": {"env": "PW"}, "build_args": {"NPM_TOKEN": "abc", "KEEP": 1} }
    }
  },
  "ci": { "provider": "github_actions" },
  "history": [
    { "timestamp": "T3", "target": "docker", "version": "1.3.0", "status": "failed", "error": "denied" },
    { "timestamp": "T2", "target": "docker", "version": "1.2.4", "status": "success", "commit_sha": "91f0", "extra": 1 },
    { "timestamp": "T1", "target": "docker", "version": "1.2.3", "status": "success" }
  ]
}"#;

fn with_source(target: Option<&str>, answer: impl FnOnce(&Source<'_>) -> Answer) -> Answer {
    let project = Project::at(PathBuf::from("/p"), PathBuf::from("/p/.claude/popkit"));
    let config = DeployConfig::parse(&project.deploy_json, EXAMPLE.as_bytes()).unwrap();
    answer(&Source { project: &project, config: &config, timestamp: "T", target })
}

fn shown(answer: &Answer) -> String {
    format!("{:?}, exit {}\n{}", answer.stream, answer.exit, answer.text())
}

#[test]
fn prepare_says_what_a_deployment_would_start_from() {
    let answer = with_source(None, |source| prepare(source, Some("1.3.1"), None));
    assert_snapshot!(shown(&answer), @r#"
    Stdout, exit 0
    {
      "operation": "prepare_deployment",
      "directory": "/p",
      "timestamp": "T",
      "success": true,
      "target": "docker",
      "target_config": {
        "enabled": true,
        "primary": true,
        "config": {
          "registry": "https://me:***@r.example/x",
          "password": {
            "env": "PW"
          },
          "build_args": {
            "NPM_TOKEN": "***",
            "KEEP": 1
          }
        }
      },
      "version": "1.3.1",
      "commit_sha": null,
      "last_deployment": {
        "timestamp": "T2",
        "target": "docker",
        "version": "1.2.4",
        "status": "success",
        "commit_sha": "91f0",
        "extra": 1
      },
      "rollback_version": "1.2.4",
      "project_name": "orders-api",
      "ci_provider": "github_actions"
    }
    "#);
    let answer = with_source(Some("dokcer"), |source| prepare(source, Some("1.3.1"), None));
    assert_snapshot!(shown(&answer), @r#"
    Stdout, exit 1
    {
      "operation": "prepare_deployment",
      "directory": "/p",
      "timestamp": "T",
      "success": false,
      "target": "dokcer",
      "target_config": null,
      "version": "1.3.1",
      "commit_sha": null,
      "last_deployment": null,
      "rollback_version": null,
      "project_name": "orders-api",
      "ci_provider": "github_actions",
      "error": "Target 'dokcer' not found in config"
    }
    "#);
}

#[test]
fn assess_says_where_a_rollback_would_go() {
    assert_snapshot!(shown(&with_source(None, assess)), @r#"
    Stdout, exit 0
    {
      "operation": "assess_rollback",
      "directory": "/p",
      "timestamp": "T",
      "success": true,
      "target": "docker",
      "current_version": "1.3.0",
      "current_status": "failed",
      "rollback_version": "1.2.4",
      "rollback_commit": "91f0",
      "rollback_timestamp": "T2",
      "total_deployments": 3,
      "last_failed": {
        "version": "1.3.0",
        "timestamp": "T3",
        "error": "denied"
      },
      "can_rollback": true
    }
    "#);
    assert_snapshot!(shown(&with_source(Some("dokcer"), assess)), @r#"
    Stdout, exit 1
    {
      "operation": "assess_rollback",
      "directory": "/p",
      "timestamp": "T",
      "success": false,
      "target": "dokcer",
      "current_version": null,
      "current_status": null,
      "rollback_version": null,
      "rollback_commit": null,
      "rollback_timestamp": null,
      "total_deployments": 0,
      "last_failed": null,
      "can_rollback": false,
      "error": "Target 'dokcer' not found in config"
    }
    "#);
}

#[test]
fn errors_before_any_work_have_the_words_that_the_wrapper_knows() {
    let no_folder = Project::for_popkit(Path::new("/no/such/folder")).unwrap_err();
    assert_snapshot!(shown(&project_refused(Tool::Execute, "prepare", &no_folder)), @r#"
    Stderr, exit 1
    {
      "error": "Directory not found: /no/such/folder"
    }
    "#);
    let no_file = crate::project::ProjectError::NoDeployJson { dir: PathBuf::from("/p"), looked: vec![] };
    assert_snapshot!(shown(&project_refused(Tool::Rollback, "assess", &no_file)), @r#"
    Stderr, exit 1
    {
      "operation": "rollback_assess",
      "success": false,
      "error": "deploy.json not found. Run /popkit-ops:deploy init first."
    }
    "#);
    let broken = DeployConfig::parse(Path::new("/p/deploy.json"), b"{\n  \"a\" 1}").unwrap_err();
    assert_snapshot!(shown(&config_refused(Tool::Execute, "verify", &broken)), @r#"
    Stderr, exit 1
    {
      "operation": "deploy_verify",
      "success": false,
      "error": "Invalid JSON in deploy.json: expected `:` at line 2 column 7"
    }
    "#);
    let no_target = select::PopkitSelectError::NotFound("x".to_owned());
    assert_snapshot!(shown(&target_refused(Tool::Rollback, "rollback", &no_target)), @r#"
    Stderr, exit 1
    {
      "operation": "rollback_rollback",
      "success": false,
      "error": "Target 'x' not found in config"
    }
    "#);
}

#[test]
fn literal_secrets_are_blotted_out_and_references_stay() {
    let config = json!({
        "apiKey": "a", "public_key": "b", "keep": 5, "PASSWORD": 1234, "monkey": "c", "token": {"file": "t"},
        "secrets": {"A": {"env": "A"}, "B": "d", "C": {"env": "A", "value": "e"}}, "auth_tokens": ["f"],
        "url": "http://host:80/a@b", "proxy": "http://u:p@h@host/", "mirrors": "https://a:b@one https://two,https://c:d@three"
    });
    assert_eq!(
        masked(&config),
        json!({
            "apiKey": "***", "public_key": "b", "keep": 5, "PASSWORD": "***", "monkey": "c", "token": {"file": "t"},
            "secrets": {"A": {"env": "A"}, "B": "***", "C": {"env": "***", "value": "***"}}, "auth_tokens": ["***"],
            "url": "http://host:80/a@b", "proxy": "http://u:***@host/", "mirrors": "https://a:***@one https://two,https://c:***@three"
        })
    );
}

#[test]
fn a_step_has_its_keys_in_order_and_only_what_is_known() {
    let mut step = Step::new("push", Phase::Stage, Effect::Create, "Pushing");
    step.commands = vec![Command::new(["docker", "push", "a b"])];
    let mut report = StepReport::planned(&step);
    assert_eq!(
        serde_json::to_string(&report).unwrap(),
        r#"{"step":"push","command":"docker push 'a b'","description":"Pushing"}"#
    );
    report.status = Some(StepStatus::Failed);
    report.duration_s = Some(one_decimal(std::time::Duration::from_millis(1260)));
    report.exit_code = Some(1);
    report.stderr = Some(stderr_tail(&format!("ü{}", "é".repeat(500))));
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains(r#""status":"failed","duration_s":1.3,"exit_code":1,"stderr":"éé"#), "{json}");
}
