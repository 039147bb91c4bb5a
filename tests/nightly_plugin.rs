//! A plugin that another compiler built: `examples/hello-target`, by the nightly one, in this host.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::Project;

#[path = "support/mod.rs"]
mod support;

const DEPLOY_JSON: &str = r#"{
    "version": "1.0",
    "project_name": "greeter",
    "targets": { "hello": { "enabled": true, "primary": true, "config": { "folder": "greetings" } } },
    "history": []
}"#;

#[test]
fn a_plugin_built_by_the_nightly_compiler_runs_in_a_stable_host() {
    let Some(plugin) = nightly_plugin() else { return support::skipped("no nightly toolchain") };
    let project = Project::empty();
    project.deploy_json(DEPLOY_JSON);
    let plugins = project.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::copy(&plugin, plugins.join("libhello_target.so")).unwrap();
    let run = |args: &[&str]| project.must(&[&["--plugin-dir", "plugins"], args].concat()).stdout;
    let shown = || project.read("greetings/current.txt");

    let info = run(&["plugin", "info", "hello"]);
    assert!(info.contains("nightly"), "{info}");
    run(&["execute", "--yes", "--version", "1.0.0"]);
    assert_eq!(shown(), "hello from 1.0.0\n");
    run(&["execute", "--yes", "--version", "2.0.0"]);
    assert_eq!(shown(), "hello from 2.0.0\n");
    run(&["rollback", "--yes"]);
    assert_eq!(shown(), "hello from 1.0.0\n");
}

/// The file that `POP_DEPLOY_NIGHTLY_PLUGIN` names, or one built here; cached in the target folder, which it shares with
/// what `boundary.sh` builds: with a platform named, both build macros and build scripts alike.
fn nightly_plugin() -> Option<PathBuf> {
    if let Some(built) = std::env::var_os("POP_DEPLOY_NIGHTLY_PLUGIN") {
        return Some(built.into());
    }
    let there = Command::new("rustup").args(["run", "nightly", "rustc", "-vV"]).output();
    let version = String::from_utf8(there.ok().filter(|output| output.status.success())?.stdout).unwrap();
    let platform = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("nightly");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello-target/Cargo.toml");
    let build = Command::new("rustup")
        .args(["run", "nightly", "cargo", "build", "--quiet", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .args(["--target", platform])
        .env_remove("RUSTC")
        .env_remove("RUSTFLAGS")
        .status()
        .unwrap();
    assert!(build.success(), "the nightly compiler can't build examples/hello-target");
    Some(target.join(platform).join("debug/libhello_target.so"))
}
