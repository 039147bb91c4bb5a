//! Plugins that others wrote, as their user sees them: listed, described, added, trusted, removed.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faults.rs"]
mod faults;
#[path = "support/mod.rs"]
mod support;

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use insta::assert_snapshot;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use support::{Project, Said};

const LOCK: &str = ".pop-deploy/plugins.lock";

/// A project whose only target is served by the faulty plugin, out of the user's own folder.
struct User(Project);

impl User {
    fn new() -> Self {
        let project = Project::new();
        let config = json!({"in": "none", "do": "nothing", "note": project.path().join("note")});
        project.deploy_json(
            &json!({"version": "1.0", "project_name": "faults", "history": [], "targets": {
                "faulty": {"type": "fault-y", "enabled": true, "primary": true, "config": config},
            }})
            .to_string(),
        );
        let user = Self(project);
        fs::create_dir_all(user.folder()).unwrap();
        user
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("home/.local/share/pop-deploy/plugins")
    }

    /// The faulty plugin with another manifest, in the user's folder.
    fn put(&self, name: impl AsRef<Path>, change: impl FnOnce(&mut Value)) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, faults::altered(change)).unwrap();
        path
    }

    /// What `plugin list --json` says of the files in that folder.
    fn listed(&self, folder: &Path, flags: &[&str]) -> Vec<Value> {
        let said = self.0.must(&[flags, &["plugin", "list", "--json"]].concat());
        let all: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
        let is_there = |value: &Value| Path::new(value["path"].as_str().unwrap()).parent() == Some(folder);
        all.into_iter().filter(is_there).collect()
    }

    /// What `plugin list` says of the files in the user's folder.
    fn seen(&self) -> String {
        let listed = self.0.see(&["plugin", "list"]);
        let lines: Vec<_> = listed.lines().collect();
        let own = lines.chunks(2).filter(|lines| lines.last().is_some_and(|line| line.contains("(user)")));
        own.map(|lines| lines.join("\n") + "\n").collect()
    }

    fn execute(&self) -> Said {
        self.0.run(&["execute", "--yes"])
    }
}

fn version(version: &str) -> impl FnOnce(&mut Value) {
    move |manifest| manifest["version"] = version.into()
}

/// Other bytes of the same plugin.
fn touch_up(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.push(0);
    fs::write(path, bytes).unwrap();
}

#[test]
fn info_says_what_a_target_could_and_could_not_do() {
    let user = User::new();
    user.put("libfaults.so", version("0.1.0"));
    let seen = user.0.see(&["plugin", "info", "faults"]);
    let of_every_build: Vec<_> = seen.lines().filter(|line| !line.starts_with("  built ")).collect();
    assert_snapshot!(of_every_build.join("\n"), @r#"
    faults 0.1.0: Misbehaves on purpose.
      file          [project]/home/.local/share/pop-deploy/plugins/libfaults.so (ready, new here)
      serves        fault_y
      can           diagnose, detect, canary, kept
      can't         unlock (`unlock` takes nothing at its place)
      environment   PATH, HOME, USER, LOGNAME, LANG, LC_*, TZ, TMPDIR, SHELL, XDG_*, RUST_BACKTRACE, CARGO_PKG_*
      dry runs      may write to a scratch folder alone, where the kernel enforces it; sockets stay open
      other runs    work as you, in a process of their own: your files, your network, your programs
      licence       MIT OR Apache-2.0
      homepage      https://example.org/faults
      config keys
        in [default: ""]
            The hooks, with commas between: `open`, `status`, `plan`, `run`, `run:stage` and so on, `undo`, `kept`, `diagnose` or `drop`.
        do
            What happens there.
        note [default: ""]
            A file for faults that leave a trace: the process id of a child.
        place
            A folder, relative to the project, to deploy to.
        canary
            What becomes of a canary there.
    --- exit 0
    "#);
    let said = user.0.must(&["plugin", "info", "fault-y", "--json"]);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(json["plugin"]["config"]["type"], "object", "{json}");
    assert_eq!((&json["state"], &json["trust"]), (&json!("ready"), &json!("new")));
}

#[test]
fn a_file_name_that_is_not_utf_8_is_listed() {
    let user = User::new();
    user.put(OsStr::from_bytes(b"lib\xff.so"), version("0.1.0"));
    let listed = user.listed(&user.folder(), &[]);
    assert!(listed[0]["path"].as_str().unwrap().ends_with("lib\u{fffd}.so"), "{listed:?}");
    assert_eq!(listed[0]["state"], "ready");
}

#[test]
fn what_others_wrote_forges_no_line_and_moves_no_cursor() {
    let user = User::new();
    user.put("liba.so", |manifest| manifest["plugin"]["types"] = json!(["a\nstatic-site 9.9.9  ready"]));
    user.put("libb\u{1b}[2K\nready.so", version("0.1.0"));
    let described = "\u{1b}]0;owned\u{7}\nRecorded";
    user.put("libc.so", |manifest| {
        manifest["plugin"]["config"]["properties"]["in"]["description"] = described.into()
    });
    let listed = user.seen();
    assert!(!listed.contains('\u{1b}'), "{listed}");
    assert_snapshot!(listed, @r"
    ?  refused: it has a manifest that can't be read (`a\nstatic-site 9.9.9  ready` has control characters); build it again, or ask its author to
      [project]/home/.local/share/pop-deploy/plugins/liba.so (user)
    faults 0.1.0  serves fault_y  api 1-1  in conflict with [project]/home/.local/share/pop-deploy/plugins/libc.so, which claims the same version and differs, new here
      [project]/home/.local/share/pop-deploy/plugins/libbready.so (user)
    faults 0.1.0  serves fault_y  api 1-1  in conflict with [project]/home/.local/share/pop-deploy/plugins/libbready.so, which claims the same version and differs, new here
      [project]/home/.local/share/pop-deploy/plugins/libc.so (user)
    ");
    let info = user.0.must(&["plugin", "info", "faults"]).stdout;
    assert!(!info.contains('\u{1b}') && !info.contains("\nRecorded"), "{info}");
}

#[test]
fn trust_mends_the_version_that_its_hint_names() {
    let user = User::new();
    let old = user.put("libold.so", version("0.1.0"));
    user.0.edit(|json| json["targets"]["faulty"]["plugin"] = "=0.1.0".into());
    assert_eq!(user.execute().code, Some(0));
    user.put("libnew.so", version("0.2.0"));
    touch_up(&old);
    let said = user.execute();
    assert!(said.stdout.contains("run `pop-deploy plugin trust faults@0.1.0`"), "{}", said.stdout);
    assert_snapshot!(user.0.show(&said), @r"
    Target: faulty (primary) · Mode: deploy · Version: unknown

    error: `[project]/home/.local/share/pop-deploy/plugins/libold.so` is not the `faults` 0.1.0 that was deployed with before: its content changed
      hint: find out who changed it; if it was you, run `pop-deploy plugin trust [actor]
    faulty: nothing was changed
    Result: preflight failed, nothing was changed
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: mend what the error names, then run it again
    --- exit 3
    ");
    assert_snapshot!(user.0.see(&["plugin", "trust", "faults@0.9.0"]), @r"
    --- stderr
    error: no plugin is `faults` 0.9.0
      caused by: looked in `[project]/home/.local/share/pop-deploy/plugins` (user)
      caused by: looked in `[prefix]/lib/pop-deploy/plugins` (system)
      caused by: looked in `/usr/local/lib/pop-deploy/plugins` (system)
      caused by: looked in `/usr/lib/pop-deploy/plugins` (system)
      caused by: looked in `[bin]` (beside the executable)
      hint: `pop-deploy plugin list` shows which versions there are
    --- exit 2
    ");
    assert_eq!(user.0.run(&["plugin", "trust", "faults@new"]).code, Some(2));
    user.0.must(&["plugin", "trust", "faults@0.1.0"]);
    assert_eq!(user.execute().code, Some(0));
    // A pre-release, which nobody gets who doesn't name it.
    user.put("libnext.so", version("0.3.0-rc.1"));
    user.0.must(&["plugin", "trust", "faults@0.3.0-rc.1"]);
    let recorded: Value = serde_json::from_str(&user.0.read(LOCK)).unwrap();
    let versions: Vec<_> = recorded["plugins"]["faults"].as_object().unwrap().keys().collect();
    assert_eq!(versions, ["0.1.0", "0.3.0-rc.1"]);
}

#[test]
fn states_and_trust_are_words_that_programs_can_rely_on() {
    let user = User::new();
    let recorded = user.put("liba.so", version("0.1.0"));
    user.0.must(&["plugin", "trust", "faults"]);
    let best = user.put("libb.so", version("0.2.0"));
    fs::write(user.folder().join("libc.so"), "text").unwrap();
    let words = || -> Vec<_> {
        let listed = user.listed(&user.folder(), &[]);
        listed.iter().map(|file| [file["state"].clone(), file["trust"].clone()]).collect()
    };
    let refused = [json!("refused"), Value::Null];
    assert_eq!(
        words(),
        [[json!("shadowed"), json!("recorded")], [json!("ready"), json!("new")], refused.clone()]
    );
    let listed = user.listed(&user.folder(), &[]);
    assert_eq!(listed[0]["shadowed_by"], json!(best));
    assert_eq!(listed[0]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(
        listed[2]["reason"],
        "refused: it is not a shared library (its first bytes are no library's); remove it from the plugin folder"
    );
    touch_up(&recorded);
    assert_eq!(words()[0], [json!("shadowed"), json!("changed")]);

    // Two that differ and claim one version, in a folder that was named: which is meant?
    let named = user.0.path().join("named");
    fs::create_dir(&named).unwrap();
    for name in ["libx.so", "liby.so"] {
        fs::copy(&best, named.join(name)).unwrap();
    }
    let flags = ["--plugin-dir", "named"];
    assert_eq!(user.listed(&named, &flags)[0]["state"], "ready", "copies are no conflict");
    touch_up(&named.join("liby.so"));
    let listed = user.listed(&named, &flags);
    assert!(listed.iter().all(|file| file["state"] == "conflict"), "{listed:?}");
    assert_eq!(listed[0]["conflicts_with"], json!(named.join("liby.so")));
    assert_eq!(user.0.run(&["--plugin-dir", "named", "execute", "--yes"]).code, Some(3));
}

#[test]
fn a_plugin_folder_that_is_not_there_is_no_folder() {
    let project = Project::new();
    project.write("file", "");
    for named in ["nowhere", "file"] {
        let said = project.run(&["--plugin-dir", named, "execute", "--yes"]);
        assert_eq!(said.code, Some(2), "{}", said.stderr);
        assert!(said.stderr.contains(named) && said.stderr.contains("--plugin-dir"), "{}", said.stderr);
    }
}

#[test]
fn add_puts_nothing_where_it_would_not_be_found_or_harm() {
    let user = User::new();
    let project = user.0.path();
    let put = |name: &str, change: &dyn Fn(&mut Value)| {
        fs::write(project.join(name), faults::altered(change)).unwrap()
    };
    put("a plugin.bin", &|_| {});
    put("libfaults.so", &|_| {});
    put("faults.so", &|manifest| manifest["plugin"]["id"] = "other".into());
    user.0.write("text", "text");
    let add = |path: &str| user.0.see(&["plugin", "add", path]);
    let seen = ["a plugin.bin", "faults.so", "text", "nowhere.so", "public"].map(add).concat();
    assert_snapshot!(seen, @r"
    Added faults 0.1.0 as [project]/home/.local/share/pop-deploy/plugins/faults.so
    --- exit 0
    --- stderr
    error: `[project]/home/.local/share/pop-deploy/plugins/faults.so` is another plugin, `faults` 0.1.0
      hint: give the file another name, or run `pop-deploy plugin remove faults` first
    --- exit 2
    --- stderr
    error: `text` is not a shared library (its first bytes are no library's)
      hint: nothing was copied; mend what is said above and add it again
    --- exit 2
    --- stderr
    error: can't read `nowhere.so`
      caused by: No such file or directory (os error 2)
      hint: check how the path is spelt
    --- exit 2
    --- stderr
    error: `public` is not a regular file
      hint: nothing was copied; mend what is said above and add it again
    --- exit 2
    ");
    fs::set_permissions(user.folder(), Permissions::from_mode(0o777)).unwrap();
    assert_snapshot!(add("libfaults.so"), @r"
    --- stderr
    error: a plugin in `[project]/home/.local/share/pop-deploy/plugins` wouldn't be loaded: `[project]/home/.local/share/pop-deploy/plugins` may be written by everybody; run `chmod go-w [project]/home/.local/share/pop-deploy/plugins`
      hint: nothing was copied; add it again when the folder is safe
    --- exit 2
    ");
    let there: Vec<_> =
        fs::read_dir(user.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["faults.so"]);
}

#[test]
fn remove_knows_the_users_folder_under_any_name_and_takes_damaged_files() {
    let user = User::new();
    let path = user.put("libfaults.so", |_| {});
    let folder = user.folder();
    let flag = folder.to_str().unwrap();
    user.0.must(&["--plugin-dir", flag, "plugin", "remove", "faults"]);
    assert!(!path.exists());
    fs::write(&path, "text").unwrap();
    let said =
        user.0.command(&["plugin", "remove", "libfaults.so"]).env("POP_DEPLOY_PLUGIN_PATH", &folder).output();
    let said = Said::from(said.unwrap());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(!path.exists());
    let elsewhere = user.0.path().join("libfaults.so");
    fs::write(&elsewhere, "text").unwrap();
    assert_eq!(user.0.run(&["plugin", "remove", "../libfaults.so"]).code, Some(2));
    assert!(elsewhere.exists());
}

#[test]
fn the_record_of_another_day_or_platform_is_kept_and_no_fifo_is_waited_for() {
    let user = User::new();
    user.put("libfaults.so", version("0.1.0"));
    let foreign = "0".repeat(64);
    let builds = json!({"0.1.0": {"riscv64gc-unknown-linux-gnu": foreign}});
    user.0.write(LOCK, &json!({"v": 1, "note": "ours", "plugins": {"faults": builds}}).to_string());
    assert_eq!(user.0.run(&["execute", "--yes", "--locked"]).code, Some(3), "it is of another platform");
    assert_eq!(user.execute().code, Some(0));
    let kept: Value = serde_json::from_str(&user.0.read(LOCK)).unwrap();
    assert_eq!(kept["note"], "ours");
    let platforms = kept["plugins"]["faults"]["0.1.0"].as_object().unwrap();
    assert_eq!((platforms.len(), &platforms["riscv64gc-unknown-linux-gnu"]), (2, &json!(foreign)));

    user.0.write(LOCK, r#"{"v": 2, "plugins": []}"#);
    assert_snapshot!(user.0.see(&["plugin", "list"]), @r"
    --- stderr
    error: `[project]/.pop-deploy/plugins.lock` was written by a newer pop-deploy: it has version 2, and this one reads version 1
      hint: upgrade pop-deploy
    --- exit 3
    ");
    fs::remove_file(user.0.path().join(LOCK)).unwrap();
    let fifo = |path: PathBuf| mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    fifo(user.0.path().join(LOCK));
    assert_snapshot!(user.0.see(&["plugin", "list"]), @r"
    --- stderr
    error: can't read `[project]/.pop-deploy/plugins.lock`
      caused by: it is not a regular file
      hint: check that it is a file, who owns it and who may write there
    --- exit 3
    ");
    fs::remove_file(user.0.path().join(LOCK)).unwrap();
    let index = user.0.path().join("home/.cache/pop-deploy/index.json");
    fs::remove_file(&index).unwrap();
    fifo(index);
    assert_eq!(user.listed(&user.folder(), &[]).len(), 1);
}

#[test]
fn a_plugin_that_never_opened_is_not_recorded_and_the_right_one_takes_its_place() {
    let user = User::new();
    let praised = |manifest: &mut Value| manifest["plugin"]["description"] = "Behaves.".into();
    let path = user.put("libfaults.so", praised);
    assert_eq!(user.execute().code, Some(3), "its manifest isn't what it says when it runs");
    assert!(!user.0.path().join(LOCK).exists(), "{}", user.0.read(LOCK));
    fs::copy(&*faults::PLUGIN, path).unwrap();
    for command in ["status", "verify", "validate", "diagnose", "execute --yes"] {
        let words: Vec<_> = command.split(' ').chain(["--locked"]).collect();
        let said = user.0.run(&words);
        let text = said.stdout + &said.stderr;
        assert!(text.contains("isn't recorded in plugins.lock"), "{command}: {text}");
    }
    let said = user.execute();
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("plugin `faults` 0.1.0 is new here"), "{}", said.stdout);
    assert_eq!(user.0.must(&["execute", "--yes", "--locked"]).stdout.matches("new here").count(), 0);
}

#[test]
fn a_run_that_goes_on_or_back_records_a_plugin_once_it_opened() {
    // What the dead run started holds the lock for a moment.
    for mend in
        [&["execute", "--resume", "--yes", "--wait", "60"][..], &["rollback", "--yes", "--wait", "60"]]
    {
        let died = || {
            let user = User::new();
            let path = user.put("libfaults.so", version("0.1.0"));
            user.0.gate("pre_switch");
            let mut run = user.0.start(&["execute", "--yes"]);
            user.0.wait_at_gate();
            run.kill().unwrap();
            run.wait().unwrap();
            user.0.edit(|json| json["hooks"] = json!({}));
            fs::remove_file(user.0.path().join(LOCK)).unwrap();
            (user, path)
        };
        let (user, path) = died();
        let right = fs::read(&path).unwrap();
        user.put("libfaults.so", |manifest| manifest["plugin"]["description"] = "Behaves.".into());
        let said = user.0.run(mend);
        assert!(!matches!(said.code, Some(0 | 5)), "{mend:?}: {}{}", said.stdout, said.stderr);
        assert!(!user.0.path().join(LOCK).exists(), "{mend:?}: {}", user.0.read(LOCK));

        // A recovery that failed isn't begun again.
        let (user, path) = if mend[0] == "rollback" { died() } else { (user, path) };
        fs::write(&path, &right).unwrap();
        let said = user.0.must(mend);
        assert!(said.stdout.contains("plugin `faults` 0.1.0 is new here"), "{}", said.stdout);
        assert!(user.0.read(LOCK).contains("0.1.0"));
    }
}

#[test]
fn a_thousand_files_are_listed_and_one_of_them_deploys() {
    let user = User::new();
    let first = user.put("lib0000.so", version("0.1.0"));
    let whole = fs::read(&first).unwrap();
    for number in 1..20 {
        fs::write(user.folder().join(format!("lib{number:04}.so")), &whole).unwrap();
    }
    for number in 20..1000 {
        fs::write(user.folder().join(format!("lib{number:04}.so")), &whole[..number]).unwrap();
    }
    let listed = user.listed(&user.folder(), &[]);
    let count = |word: &str| listed.iter().filter(|file| file["state"] == word).count();
    assert_eq!((count("ready"), count("shadowed"), count("refused")), (1, 19, 980));
    assert_eq!(user.execute().code, Some(0));
}

#[test]
fn a_plugin_of_another_user_is_refused_by_name() {
    if !rustix::process::geteuid().is_root() {
        return support::skipped("only root gives files away");
    }
    let user = User::new();
    let path = user.put("libfaults.so", version("0.1.0"));
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    assert_snapshot!(user.seen(), @r"
    ?  refused: it isn't in a safe place: `[project]/home/.local/share/pop-deploy/plugins/libfaults.so` belongs to user 12345; run `chown 0 [project]/home/.local/share/pop-deploy/plugins/libfaults.so` if you trust what it holds
      [project]/home/.local/share/pop-deploy/plugins/libfaults.so (user)
    ");
    assert_eq!(user.execute().code, Some(3));
}
