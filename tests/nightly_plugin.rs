//! A plugin that another compiler built: `examples/hello-target`, by the nightly one, in this host.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[path = "skip.rs"]
mod skip;

const DEPLOY_JSON: &str = r#"{
    "version": "1.0",
    "project_name": "greeter",
    "targets": { "hello": { "enabled": true, "primary": true, "config": { "folder": "greetings" } } },
    "history": []
}"#;

#[test]
fn a_plugin_built_by_the_nightly_compiler_runs_in_a_stable_host() {
    let Some(plugin) = nightly_plugin() else { return skip::skip("no nightly toolchain") };
    let folder = tempfile::tempdir().unwrap();
    let (plugins, project) = (folder.path().join("plugins"), folder.path().join("project"));
    fs::create_dir(&plugins).unwrap();
    fs::copy(&plugin, plugins.join("libhello_target.so")).unwrap();
    fs::create_dir_all(project.join(".pop-deploy")).unwrap();
    fs::write(project.join(".pop-deploy/deploy.json"), DEPLOY_JSON).unwrap();
    let run = |args: &[&str]| pop_deploy(&plugins, &project, args);
    let shown = || fs::read_to_string(project.join("greetings/current.txt")).unwrap();

    let info = run(&["plugin", "info", "hello"]);
    assert!(info.contains("nightly"), "{info}");
    run(&["execute", "--yes", "--version", "1.0.0"]);
    assert_eq!(shown(), "hello from 1.0.0\n");
    run(&["execute", "--yes", "--version", "2.0.0"]);
    assert_eq!(shown(), "hello from 2.0.0\n");
    run(&["rollback", "--yes"]);
    assert_eq!(shown(), "hello from 1.0.0\n");
}

/// The file that `POP_DEPLOY_NIGHTLY_PLUGIN` names, or one built here; cached in the target folder.
fn nightly_plugin() -> Option<PathBuf> {
    if let Some(built) = std::env::var_os("POP_DEPLOY_NIGHTLY_PLUGIN") {
        return Some(built.into());
    }
    let there = Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nightly");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello-target/Cargo.toml");
    let build = Command::new("rustup")
        .args(["run", "nightly", "cargo", "build", "--quiet", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTC")
        .env_remove("RUSTFLAGS")
        .status()
        .unwrap();
    assert!(build.success(), "the nightly compiler can't build examples/hello-target");
    Some(target.join("debug/libhello_target.so"))
}

fn pop_deploy(plugins: &Path, project: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pop-deploy"))
        .arg("--plugin-dir")
        .arg(plugins)
        .args(args)
        .current_dir(project)
        .env_remove("CLAUDE_PLUGIN_DATA")
        .output()
        .unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{args:?}: {stdout}\n{stderr}");
    stdout
}
