//! A plugin that fails in the middle of a real run, beside one that works: what becomes of both, and what the user is told.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faults.rs"]
mod faults;
#[path = "support/mod.rs"]
mod support;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

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

/// Makes a good file at that path a bad one.
type Spoil = Box<dyn Fn(&Path)>;

fn must_say(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "`{words}` isn't in:\n{text}");
    }
}

#[test]
fn what_a_plugin_cannot_say_of_its_releases_costs_nothing_else() {
    for (fault, told) in [("nothing", None), ("fail", Some("failed on purpose")), ("abort", Some("SIGABRT"))]
    {
        let pair = Pair::new("kept", fault, &json!({}));
        let said = pair.run(&["status"]);
        assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains("faulty (fault-y)\n  Live: nothing yet\n"), "{}", said.stdout);
        let said = pair.run(&["rollback", "--list", "--all"]);
        assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
        let why = said.stdout.split_once("Target: faulty\n").unwrap().1;
        assert_eq!(told.map(|told| why.contains(told)), told.map(|_| true), "{why}");
        assert_eq!(why.is_empty(), told.is_none(), "{why}");
    }
}

#[test]
fn whatever_a_plugin_does_once_a_switch_was_made_both_targets_go_back() {
    let quick = json!({"deadlines": {"switch": 0.5, "grace": 0.2}});
    let hangs = ["sleep", "spin", "deadlock"];
    let said = "plugin `faults` 0.1.0";
    for (fault, words) in [
        ("fail", "failed on purpose".to_owned()),
        ("panic", format!("{said} panicked in `run`: panicked on purpose")),
        ("bomb", format!("{said} panicked in `run`: (no message)")),
        ("exit_zero", format!("{said} ended by itself with exit code 0 in `run`")),
        ("overflow", format!("{said} crashed with SIG")),
        ("sleep", format!("{said} took longer than 0.5 s in `run`")),
        ("spin", format!("{said} took longer than 0.5 s in `run`")),
        ("deadlock", format!("{said} took longer than 0.5 s in `run`")),
        ("fat_answer", format!("{said} answered `run` with a receipt of 524")),
        ("huge_answer", "`run` answered 734".to_owned()),
        ("deep_answer", format!("{said} answered `run` with something that can't be read")),
        ("unreported_command", format!("{said} crashed with SIGABRT in `run`")),
    ] {
        let more = if hangs.contains(&fault) { &quick } else { &Value::Null };
        let pair = Pair::new("run:switch", fault, more);
        let text = pair.execute(8);
        must_say(&text, &[&words, "docs: rolled back", "faulty: rolled back"]);
        assert!(!pair.site_is_live(), "{fault}");
        assert_eq!(pair.0.history()[0]["status"], "failed", "{fault}");
    }
}

#[test]
fn an_answer_after_the_deadline_and_a_session_that_does_not_close_spoil_nothing() {
    let late = Pair::new("run:switch", "answer_late", &json!({"deadlines": {"switch": 0.2, "grace": 60}}));
    late.execute(0);
    assert!(late.site_is_live(), "what was done in the grace counts");
    for fault in ["panic", "deadlock", "abort"] {
        let pair = Pair::new("drop", fault, &json!({"deadlines": {"grace": 2}}));
        pair.execute(0);
        assert!(pair.site_is_live(), "{fault}");
    }
}

#[test]
fn a_plugin_that_hangs_while_it_opens_or_plans_changes_nothing() {
    for (hook, deadline, words) in [("open", "start", "in `open`"), ("plan", "plan", "in `plan`")] {
        let pair = Pair::new(hook, "sleep", &json!({"deadlines": {deadline: 4, "grace": 0.1}}));
        let text = pair.execute(3);
        must_say(&text, &["plugin `faults` 0.1.0 took longer than 4 s", words]);
        assert!(!pair.site_is_live(), "{hook}");
    }
}

#[test]
fn ten_gigabytes_of_memory_cost_nobody_else_anything() {
    // Without a limit of ours it is the system that says yes, no, or ends whoever asked.
    let pair = Pair::new("run:stage", "memory", &Value::Null);
    let said = pair.run(&["execute", "--all", "--yes"]);
    let text = said.stdout + &said.stderr;
    assert!(matches!(said.code, Some(0 | 1)), "{text}");
    assert_eq!(pair.site_is_live(), said.code == Some(0), "{text}");
}

#[test]
fn a_bad_plugin_file_is_refused_by_name_and_changes_nothing() {
    let put = |bytes: Vec<u8>| move |file: &Path| fs::write(file, &bytes).unwrap();
    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let real = fs::read(&*faults::PLUGIN).unwrap();
    let mut elsewhere = real.clone();
    elsewhere[18] = 183;
    let library = fs::read_dir("/proc/self/map_files").unwrap().find_map(|mapped| {
        let file = fs::read_link(mapped.unwrap().path()).ok()?;
        file.file_name()?.to_str()?.starts_with("libc.so").then_some(file)
    });
    let cases: Vec<(&str, Spoil)> = vec![
        ("is not a shared library", Box::new(put(Vec::new()))),
        ("is not a shared library", Box::new(put(b"only words".to_vec()))),
        ("is truncated or damaged", Box::new(put(real[..real.len() / 2].to_vec()))),
        ("is built for aarch64", Box::new(put(elsewhere))),
        (
            "is a shared library without a pop-deploy manifest",
            Box::new(put(fs::read(library.unwrap()).unwrap())),
        ),
        (
            "speaks protocol 99, and this pop-deploy 1; upgrade",
            Box::new(put(faults::altered(|manifest| manifest["api"] = json!([99, 99])))),
        ),
        (
            "is built with `panic = \"abort\"`",
            Box::new(put(faults::altered(|manifest| manifest["panic"] = "abort".into()))),
        ),
        (
            "describes itself otherwise than its file does",
            Box::new(put(faults::altered(|manifest| manifest["plugin"]["description"] = "Behaves.".into()))),
        ),
        ("may be written by everybody", Box::new(|file| mode(file, 0o666))),
        ("may be written by everybody", Box::new(|file| mode(file.parent().unwrap(), 0o777))),
        (
            "is not a regular file",
            Box::new(|file| {
                fs::remove_file(file).unwrap();
                fs::create_dir(file).unwrap();
            }),
        ),
        (
            "is not a regular file",
            Box::new(|file| {
                let fifo = file.with_extension("fifo");
                fs::remove_file(file).unwrap();
                assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
                symlink(&fifo, file).unwrap();
            }),
        ),
    ];
    for (words, spoil) in cases {
        let pair = Pair::new("none", "nothing", &Value::Null);
        spoil(&pair.0.path().join("plugins/libfaults.so"));
        let text = pair.execute(3);
        must_say(&text, &["libfaults.so", words]);
        assert!(!pair.site_is_live(), "{words}");
    }
}

#[test]
fn two_files_that_claim_the_same_version_are_both_named() {
    let pair = Pair::new("none", "nothing", &Value::Null);
    let path = |folder: &str| pair.0.path().join(folder);
    fs::create_dir(path("more")).unwrap();
    let other = faults::altered(|manifest| manifest["homepage"] = "https://example.org".into());
    fs::write(path("more/libother.so"), other).unwrap();
    let folders = std::env::join_paths([path("plugins"), path("more")]).unwrap();
    let mut command = pair.0.command(&["execute", "--all", "--yes"]);
    let said: Said = command.env("POP_DEPLOY_PLUGIN_PATH", folders).output().unwrap().into();
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    let words = [
        "plugins/libfaults.so` and `",
        "more/libother.so` both say that they are `faults` 0.1.0, and differ",
    ];
    must_say(&(said.stdout + &said.stderr), &words);
    assert!(!pair.site_is_live());
}

#[test]
fn a_plugin_that_would_abort_on_panic_does_not_compile() {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("debug/deps");
    let newest = |file: &fs::DirEntry| file.metadata().unwrap().modified().unwrap();
    let is_api = |file: &fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        name.starts_with("libpop_deploy_plugin_api-") && name.ends_with(".rlib")
    };
    let api = fs::read_dir(&built).unwrap().flatten().filter(is_api).max_by_key(newest).unwrap().path();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("plugin.rs");
    fs::write(&source, "struct Target; pop_deploy_plugin_api::export_target!(Target);").unwrap();
    let compile = |panic: &str| {
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition=2024", "--crate-type=cdylib", "--emit=metadata", "-C", panic]);
        rustc.arg("--extern").arg(format!("pop_deploy_plugin_api={}", api.display()));
        rustc.arg("-L").arg(format!("dependency={}", built.display())).arg("--out-dir").arg(folder.path());
        String::from_utf8(rustc.arg(&source).output().unwrap().stderr).unwrap()
    };
    let refusal = "a pop-deploy plugin must unwind on panic";
    assert!(compile("panic=abort").contains(refusal));
    let other = compile("panic=unwind");
    assert!(!other.contains(refusal) && other.contains("is not implemented for `Target`"), "{other}");
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
    let advice = "hint: raise `memory_mb` in `limits` of the target";
    let pair = Pair::new("run:stage", "memory", &json!({"limits": {"memory_mb": 512}}));
    let text = pair.execute(1);
    must_say(&text, &["plugin `faults` 0.1.0 crashed with SIGABRT in `run`", advice]);
    assert!(!pair.site_is_live());
    // Too little to load it is the limit's fault as well.
    for (limits, advice) in [
        (json!({"memory_mb": 10}), advice),
        (json!({"files": 3}), "hint: raise `files` in `limits` of the target"),
    ] {
        let pair = Pair::new("none", "nothing", &json!({"limits": limits}));
        must_say(&pair.execute(3), &[advice]);
    }
}

#[test]
fn a_panic_before_there_is_a_session_is_told_by_name() {
    let pair = Pair::new("none", "nothing", &Value::Null);
    let panics = |hook: &str, arguments: &[&str]| {
        let mut command = pair.0.command(&[&["--plugin-dir", "plugins"], arguments].concat());
        let said: Said = command.env("CARGO_PKG_PANICS_IN", hook).output().unwrap().into();
        (said.code, said.stdout + &said.stderr)
    };
    let (code, text) = panics("manifest", &["execute", "--all", "--yes"]);
    assert_eq!(code, Some(3), "{text}");
    must_say(&text, &["plugin `faults` 0.1.0 panicked in `load`: panicked on purpose"]);
    assert!(!pair.site_is_live());
    let (code, text) = panics("detect", &["init", "--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    must_say(
        &text,
        &["plugin `faults` could not look", "panicked in `detect`: panicked on purpose", "Found"],
    );
}

#[test]
fn where_nothing_may_run_the_copy_lies_elsewhere_or_the_mount_is_named() {
    let pair = Pair::new("none", "nothing", &Value::Null);
    let command = pair.0.command(&["--plugin-dir", "plugins", "execute", "--all", "--yes"]);
    let mounted = |variables: &str| {
        let script = format!("mount -t tmpfs -o noexec,mode=700 none here && {variables} exec \"$0\" \"$@\"");
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "sh", "-c", &script]).arg(command.get_program()).args(command.get_args());
        inside.current_dir(pair.0.path()).env("HOME", pair.0.path().join("home"));
        let said: Said = inside.output().unwrap().into();
        (said.code, said.stdout + &said.stderr)
    };
    fs::create_dir(pair.0.path().join("here")).unwrap();
    let (code, text) = mounted("XDG_CACHE_HOME=$PWD/here");
    if text.contains("unshare:") || text.contains("mount:") {
        return support::skipped("this user may not mount");
    }
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = mounted("XDG_CACHE_HOME=$PWD/here TMPDIR=$PWD/here");
    assert_eq!(code, Some(3), "{text}");
    must_say(&text, &["hint: set XDG_CACHE_HOME or TMPDIR to a folder that isn't mounted noexec, as `"]);
}

#[test]
fn what_is_a_workers_own_affair_spoils_no_run() {
    let faults =
        ["leave_child", "leave_session", "leave_thread", "chdir", "setenv", "close_fds", "strange_event"];
    for fault in faults {
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
fn a_copy_that_is_lost_or_replaced_while_the_run_is_on_is_made_again() {
    let copies = "\"${XDG_CACHE_HOME:-$HOME/.cache}\"/pop-deploy/plugins";
    let lost = format!("rm -rf {copies}");
    let replaced = format!("for copy in {copies}/*/*; do rm \"$copy\"; echo no plugin >\"$copy\"; done");
    for script in [lost, replaced] {
        let hooks = json!({"pre_switch": [{"command": ["sh", "-ec", script]}]});
        let pair = Pair::new("run:verify", "abort", &json!({"hooks": hooks}));
        let text = pair.execute(8);
        must_say(&text, &["plugin `faults` 0.1.0 crashed with SIGABRT in `run`"]);
        assert!(!pair.site_is_live());
    }
}

#[test]
fn a_secret_that_the_config_does_not_refer_to_is_not_told() {
    let pair = Pair::new("run:stage", "ask", &Value::Null);
    let text = pair.execute(1);
    must_say(&text, &["the plugin asks for the secret `{\"env\":\"TOKEN\"}`"]);
    assert!(!pair.site_is_live());
}

#[test]
fn a_deadline_beyond_the_end_of_time_is_none() {
    let pair = Pair::new("run:stage", "nothing", &json!({"deadlines": {"switch": 1e19, "grace": 1e19}}));
    pair.execute(0);
    assert!(pair.site_is_live());
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

#[test]
fn what_a_program_of_a_dry_run_may_not_look_at_is_told_as_not_checked() {
    let pair = Pair::new("plan", "confined_tool", &Value::Null);
    let said = pair.run(&["execute", "--all", "--dry-run"]);
    let text = said.stdout + &said.stderr;
    if text.contains("not enforced here") {
        return support::skipped("this kernel can't confine a process to reading");
    }
    assert_eq!(said.code, Some(0), "{text}");
    must_say(
        &text,
        &["the place: `sh` ended with exit code", "which may not write in a dry run", "ermission denied"],
    );
    assert!(!pair.0.path().join("note").exists());
    pair.execute(0);
    assert_eq!(pair.0.read("note"), "written\n");
}
