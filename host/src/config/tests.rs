#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use insta::assert_snapshot;

use std::time::Duration;

use pop_deploy_plugin_api::protocol::Phase;

use super::*;

fn parse(text: &str) -> Result<DeployConfig, ConfigError> {
    DeployConfig::parse(Path::new("deploy.json"), text.as_bytes())
}

/// Error, causes and hint, as people see them.
fn refused(text: &str) -> String {
    let error = parse(text).unwrap_err();
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let lines = causes.fold(error.to_string(), |text, cause| format!("{text}\n  {cause}"));
    format!("{lines}\nhint: {}", error.hint().unwrap())
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    assert_snapshot!(refused("{\n  \"targets\": {,}\n}"), @r"
    `deploy.json` is not valid JSON
      key must be a string at line 2 column 15
    hint: look at line 2: a comma too many or too few, or a missing quote
    ");
    assert_snapshot!(refused("{\n  \"targets\": {\n    \"dö\": {}, \"docs\": {\"enabled\": \"yes\"}\n  }\n}"), @r#"
    `targets.docs.enabled` must be true or false, not "yes" (`deploy.json`, line 3 column 24)
    hint: write true or false at `targets.docs.enabled`
    "#);
    assert_snapshot!(refused(r#"{"targets": {"docs": {"config": "hunter2!"}}}"#), @r"
    `targets.docs.config` must be an object, not a string (`deploy.json`, line 1 column 23)
    hint: write an object at `targets.docs.config`
    ");
    assert_snapshot!(refused(r#"{"on_partial": "rollback"}"#), @r#"
    `on_partial` must be "rollback_all" or "stop" or "continue", not "rollback" (`deploy.json`, line 1 column 2)
    hint: write "rollback_all" or "stop" or "continue" at `on_partial`
    "#);
    assert_snapshot!(refused(r#"{"targets": {"docs": {"plugin": "newest"}}}"#), @r#"
    `targets.docs.plugin` is not a version requirement: `newest` (`deploy.json`, line 1 column 23)
      unexpected character 'n' while parsing major version number
    hint: write something like "^1.2" or ">=1.2, <2"
    "#);
    assert_snapshot!(refused("[]"), @r"
    `the whole file` must be an object, not a list (`deploy.json`, line 1 column 1)
    hint: write an object at `the whole file`
    ");
}

#[test]
fn wrong_hooks_are_errors() {
    assert_snapshot!(refused(r#"{"hooks": {"pre_swich": []}}"#), @r"
    unknown hook `hooks.pre_swich` (`deploy.json`, line 1 column 12)
    hint: write `pre_switch` if that is meant
    ");
    assert_snapshot!(refused(r#"{"hooks": {"pre_preflight": []}}"#), @r"
    unknown hook `hooks.pre_preflight` (`deploy.json`, line 1 column 12)
    hint: use one of before_all, pre_build, post_build, pre_stage, post_stage, pre_switch, post_switch, pre_verify, post_verify, pre_finalize, post_finalize, on_success, on_failure, on_rollback, after_all
    ");
    assert_snapshot!(refused(r#"{"hooks": {"on_success": [{"command": "npm test"}]}}"#), @r"
    `hooks.on_success.0.command` must be a command (a list of words, the program first), not a string (`deploy.json`, line 1 column 28)
    hint: write a command (a list of words, the program first) at `hooks.on_success.0.command`
    ");
    assert!(
        refused(r#"{"hooks": {"on_success": {"command": ["a", "b"], "shell": true}}}"#)
            .contains("one shell line")
    );
    assert!(refused(r#"{"hooks": {"on_success": {"command": ["a"], "timeout": 0}}}"#).contains("above 0"));
}

#[test]
fn hooks_come_as_words_objects_or_lists() {
    let config = parse(
        r#"{"hooks": {
            "before_all": ["make", "check"],
            "pre_switch": [["a"], {"command": ["b"], "timeout": 1.5, "on_error": "warn", "dry_run": "run"}],
            "after_all": {"command": "c | d", "shell": true}
        }}"#,
    )
    .unwrap();
    let argvs = |point| config.hooks.at(point).iter().map(Hook::argv).collect::<Vec<_>>();
    assert_eq!(argvs(HookPoint::BeforeAll), [["make", "check"]]);
    assert_eq!(argvs(HookPoint::Pre(Phase::Switch)), [["a"], ["b"]]);
    assert_eq!(argvs(HookPoint::AfterAll), [["sh", "-c", "c | d"]]);
    let hook = &config.hooks.at(HookPoint::Pre(Phase::Switch))[1];
    assert_eq!(
        (hook.timeout, hook.on_error, hook.dry_run),
        (Duration::from_millis(1500), OnError::Warn, DryRun::Run)
    );
}

#[test]
fn slips_are_warned_of_and_other_keys_are_nobodys_business() {
    let config = parse(
        r#"{
  "projekt_name": "x", "x-notes": 1,
  "targets": {
    "a": {"enabeld": false, "primary": true, "colour": "red", "config": {"enabeld": 1}},
    "b": {"primary": true},
    "b": {"primary": true, "auto-rollback": false}
  }
}"#,
    )
    .unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_snapshot!(warnings.join("\n"), @r"
    unknown key `projekt_name` in deploy.json (line 2 column 3); did you mean `project_name`?
    key `targets.b` stands twice in deploy.json (line 6 column 5); the last one counts
    unknown key `targets.a.enabeld` in deploy.json (line 4 column 11); did you mean `enabled`?
    unknown key `targets.b.auto-rollback` in deploy.json (line 6 column 28); did you mean `auto_rollback`?
    2 targets are primary: `a`, `b`; `a` counts
    ");
}

#[test]
fn a_target_has_its_own_word_about_rollback_and_its_own_deadlines() {
    let config = parse(
        r#"{"auto_rollback": false, "targets": {
            "z": {"type": "static_site", "plugin": "^1.2", "deadlines": {"build": 600, "grace": 0.5},
                "limits": {"memory_mb": 512}},
            "a": {"auto_rollback": true, "enabled": null}
        }}"#,
    )
    .unwrap();
    let [z, a] = &config.targets[..] else { panic!("{:?}", config.targets) };
    assert_eq!((z.name.as_str(), z.kind.as_str(), a.kind.as_str()), ("z", "static_site", "a"));
    assert_eq!((z.auto_rollback, a.auto_rollback, a.enabled), (false, true, true));
    assert_eq!(z.deadlines.phases, [(Phase::Build, Duration::from_secs(600))].into());
    assert_eq!(z.deadlines.grace, Duration::from_millis(500));
    assert_eq!(z.deadlines.plan, Deadlines::default().plan);
    assert_eq!(z.limits, Limits { memory_mb: Some(512), files: None });
    assert_eq!(a.limits, Limits::default());
    assert!(z.plugin.as_ref().unwrap().matches(&semver::Version::new(1, 3, 0)));
}
