//! A plugin that fails in the middle of a real run, beside one that works: what becomes of both, and what the user is told.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faults.rs"]
mod faults;
#[path = "support/mod.rs"]
mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Project, Said};

/// A project whose first target is a static site and whose second is faulty.
struct Pair(Project);

impl Pair {
    fn new(hook: &str, fault: &str, more: &Value) -> Self {
        let project = Project::new();
        let plugins = project.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        fs::copy(&*faults::PLUGIN, plugins.join("libfaults.so")).unwrap();
        let note = project.path().join("note");
        let mut faulty = json!({
            "type": "fault-y", "enabled": true, "config": {"in": hook, "do": fault, "note": note},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            faulty[key] = value.clone();
        }
        let site = json!({
            "type": "static-site", "enabled": true, "primary": true,
            "config": {"source": "public", "dir": "www"},
        });
        let config = json!({
            "version": "1.0", "project_name": "pair", "targets": {"docs": site, "faulty": faulty}, "history": [],
        });
        project.deploy_json(&config.to_string());
        Self(project)
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let said = self.0.run(&[&["--plugin-dir", "plugins"], arguments].concat());
        self.nothing_runs();
        said
    }

    /// The run of both targets, with its exit code; what it said.
    fn execute(&self, code: i32) -> String {
        let said = self.run(&["execute", "--all", "--yes"]);
        let text = said.stdout + &said.stderr;
        assert_eq!(said.code, Some(code), "{text}");
        text
    }

    /// No process works in the project's folder any more: neither a worker nor what one started.
    fn nothing_runs(&self) {
        let folder = self.0.path();
        let of = |entry: fs::DirEntry| fs::read_link(entry.path().join("cwd")).ok();
        let there = || fs::read_dir("/proc").unwrap().filter_map(|entry| of(entry.unwrap()));
        faults::wait_until("the end of every worker", || {
            (!there().any(|cwd| cwd.starts_with(&folder))).then_some(())
        });
    }

    fn site_is_live(&self) -> bool {
        self.0.path().join("www/current").exists()
    }
}

fn must_say(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "`{words}` isn't in:\n{text}");
    }
}

#[test]
fn a_crash_while_staging_leaves_everything_as_it_was() {
    let pair = Pair::new("run:stage", "segfault", &Value::Null);
    let text = pair.execute(1);
    must_say(&text, &["plugin `faults` 0.1.0 crashed with SIGSEGV in `run` after `uploading 3/7`"]);
    must_say(&text, &["report it to https://example.org/faults", "stage"]);
    assert!(!pair.site_is_live());
}

#[test]
fn a_crash_while_switching_takes_the_other_target_back() {
    let pair = Pair::new("run:switch", "exit_one", &Value::Null);
    let text = pair.execute(8);
    must_say(&text, &["plugin `faults` 0.1.0 ended by itself with exit code 1 in `run`", "last words"]);
    assert!(!pair.site_is_live());
}

#[test]
fn a_crash_while_verifying_takes_both_targets_back() {
    let pair = Pair::new("run:verify", "abort", &Value::Null);
    let text = pair.execute(8);
    must_say(&text, &["plugin `faults` 0.1.0 crashed with SIGABRT in `run`"]);
    assert!(!pair.site_is_live());
}

#[test]
fn a_crash_under_continue_costs_its_own_target_only() {
    let pair = Pair::new("run:switch", "overflow", &Value::Null);
    let path = ".pop-deploy/deploy.json";
    let mut config: Value = serde_json::from_str(&pair.0.read(path)).unwrap();
    config["on_partial"] = json!("continue");
    pair.0.deploy_json(&config.to_string());
    let text = pair.execute(9);
    must_say(&text, &["plugin `faults` 0.1.0 crashed with SIG"]);
    assert!(pair.site_is_live());
}

#[test]
fn a_rollback_that_fails_too_is_stuck_and_the_first_error_stays() {
    let pair = Pair::new("run:verify,undo", "panic", &Value::Null);
    let text = pair.execute(4);
    must_say(&text, &["plugin `faults` 0.1.0 panicked in `run`", "plugin `faults` 0.1.0 panicked in `undo`"]);
    assert!(!pair.site_is_live());
}

#[test]
fn a_command_that_the_plan_does_not_have_fails_its_step() {
    let pair = Pair::new("run:switch", "unplanned_command", &Value::Null);
    let text = pair.execute(8);
    must_say(&text, &["plugin `faults` 0.1.0 ran a command that its plan doesn't have", "`true unplanned`"]);
    assert!(!pair.site_is_live());
}

#[test]
fn a_phase_has_the_time_that_the_config_gives_it() {
    let pair = Pair::new("run:switch", "sleep", &json!({"deadlines": {"switch": 0.2}}));
    let text = pair.execute(8);
    must_say(&text, &["plugin `faults` 0.1.0 took longer than 0.2 s in `run`", "give it more time"]);
    assert!(!pair.site_is_live());
}

#[test]
fn memory_beyond_the_limit_of_the_config_costs_only_its_target() {
    let pair = Pair::new("run:stage", "memory", &json!({"limits": {"memory_mb": 512}}));
    let text = pair.execute(1);
    must_say(&text, &["plugin `faults` 0.1.0 crashed with SIGABRT in `run`"]);
    assert!(!pair.site_is_live());
}

#[test]
fn what_is_a_workers_own_affair_spoils_no_run() {
    for fault in ["leave_child", "leave_thread", "chdir", "setenv", "close_fds", "strange_event"] {
        let pair = Pair::new("run:stage", fault, &Value::Null);
        pair.execute(0);
        assert!(pair.site_is_live(), "{fault}");
    }
}

#[test]
fn a_plugin_that_is_replaced_while_the_run_is_on_goes_on_from_its_copy() {
    // It also dies afterwards, so that a fresh worker must load it again to take its steps back.
    let replace = json!({"command": ["sh", "-c", "echo no plugin > plugins/libfaults.so"]});
    let pair = Pair::new("run:verify", "abort", &json!({"hooks": {"pre_switch": [replace]}}));
    let text = pair.execute(8);
    must_say(&text, &["plugin `faults` 0.1.0 crashed with SIGABRT in `run`"]);
    assert_eq!(pair.0.read("plugins/libfaults.so"), "no plugin\n");
    assert!(!pair.site_is_live());
}

#[test]
fn a_dry_run_that_writes_fails_by_name() {
    let pair = Pair::new("plan", "write", &Value::Null);
    let said = pair.run(&["execute", "--all", "--dry-run"]);
    let text = said.stdout + &said.stderr;
    if text.contains("not enforced here") {
        return support::skipped("this kernel can't confine a process to reading");
    }
    assert_eq!(said.code, Some(3), "{text}");
    must_say(&text, &["plugin `faults` 0.1.0 tried to write during a dry run"]);
    assert!(!pair.0.path().join("note").exists());
}
