//! What needs no engine: the config, and the words that are refused before any command.

#![allow(clippy::unwrap_used)]

use pop_deploy_plugin_api::{
    ErrorKind,
    serde_json::{Value, json},
    testing::{Harness, check_manifest},
};

use crate::Docker;

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Docker>(env!("CARGO_MANIFEST_DIR")).unwrap();
}

fn opened(config: Value) -> Result<Harness, pop_deploy_plugin_api::Error> {
    let project = tempfile::tempdir().unwrap();
    Harness::open::<Docker>(project.path(), config)
}

#[test]
fn what_popkit_writes_is_taken() {
    let config = json!({
        "image_name": "acme/orders-api", "registry": "localhost:5000", "build_context": ".",
        "dockerfile": "Dockerfile", "platforms": ["linux/amd64"], "tags": ["latest", "{{version}}"],
        "build_args": { "PROFILE": "release", "JOBS": 4, "DEBUG": false },
        "multi_stage": true, "compose_file": null,
    });
    assert!(opened(config).is_ok());
    assert!(opened(json!({})).is_ok());
}

#[test]
fn the_example_holds_together() {
    let json = include_str!("../../../examples/service/.pop-deploy/deploy.json");
    let json: Value = pop_deploy_plugin_api::serde_json::from_str(json).unwrap();
    assert!(opened(json["targets"]["docker"]["config"].clone()).is_ok());
}

#[test]
fn words_that_are_no_names_are_refused_in_open() {
    for config in [
        json!({"image_name": "--privileged"}),
        json!({"registry": "--help"}),
        json!({"build_context": ".."}),
        json!({"build_context": "/"}),
        json!({"dockerfile": "../Dockerfile"}),
        json!({"platforms": ["--push"]}),
        json!({"build_args": {"-x": "1"}}),
        json!({"run": {"name": "-v"}}),
        json!({"run": {"ports": ["--privileged"]}}),
        json!({"run": {"network": "--privileged"}}),
        json!({"run": {"env": {"A=B": "c"}}}),
        json!({"run": {"labels": {"pop-deploy.app": "x"}}}),
        json!({"run": {"memory": "lots"}}),
        json!({"run": {"ports": ["80:80"], "proxy": {"kind": "nginx", "file": "up.conf", "port": 80}}}),
        json!({"run": {}, "service": {}}),
        json!({"service": {"ports": ["8080:80"], "endpoint_mode": "dnsrr"}}),
        json!({"service": {"ports": [{"published": 8080, "target": 80, "mode": "host"}], "proxy": {"kind": "nginx", "file": "up.conf", "port": 80}}}),
        json!({"service": {"name": "a-name-that-leaves-no-room-for-a-release", "proxy": {"kind": "nginx", "file": "up.conf", "port": 80}}}),
        json!({"health": {}}),
    ] {
        let error = opened(config.clone()).err().unwrap_or_else(|| panic!("{config} was taken"));
        assert_eq!(error.kind, ErrorKind::Config, "{config}: {error}");
        assert!(error.hint.is_some(), "{config}: {error}");
    }
}

#[test]
fn a_version_that_makes_no_tag_is_refused_before_any_command() {
    for version in ["1\n2", ";rm -rf", "-f", "1.0+build", "a/b"] {
        let target = opened(json!({"tags": ["{{version}}"]})).unwrap();
        let error = target.plan_deploy("deploy-1", version).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{version:?}: {error}");
        let commands = target.take_events();
        assert!(commands.is_empty(), "{version:?}: {commands:?}");
    }
}
