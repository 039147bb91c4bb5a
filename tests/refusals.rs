//! What is refused: with which words, hint and exit code, and that nothing was changed by it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::{Project, Said};

#[path = "support/mod.rs"]
mod support;

const EXECUTE: [&str; 4] = ["execute", "--yes", "--version", "2"];

/// A project whose version 1 is live.
fn deployed() -> Project {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.write("public/index.html", "<h1>two</h1>");
    project
}

/// Everything that a refusal must leave alone: web roots and deploy.json. A run that got the lock leaves a record.
fn kept(project: &Project) -> (BTreeMap<PathBuf, String>, Value) {
    let mut places = project.snapshot("www");
    places.extend(project.snapshot("www2"));
    let mut json: Value = serde_json::from_str(&project.read(".pop-deploy/deploy.json")).unwrap_or_default();
    if json.is_object() {
        json["history"] = json!([]);
    }
    (places, json)
}

/// What the refusal says from its `error:` to its `Result:`, and the exit code; nothing may have changed.
fn refusal(project: &Project, arguments: &[&str]) -> String {
    let before = kept(project);
    let said = project.run(arguments);
    assert_eq!(kept(project), before);
    told(project, &said)
}

fn told(project: &Project, said: &Said) -> String {
    let seen = project.show(said);
    let from = seen.find("error: ").unwrap_or(0);
    let wanted =
        |line: &&str| !["Duration", "Deployment", "History", "Log"].iter().any(|word| line.starts_with(word));
    seen[from..].lines().filter(wanted).map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn a_source_that_cannot_be_a_site() {
    let project = deployed();
    let source = |name: &str| {
        project.edit(|json| json["targets"]["docs"]["config"]["source"] = json!(name));
    };
    source("pubic");
    assert_snapshot!(refusal(&project, &EXECUTE), @r"
    error: the source `[project]/pubic` doesn't exist
      hint: build the site first, or correct `source`
    docs: nothing was changed
    Result: preflight failed, nothing was changed
    Next: mend what the error names, then run it again
    --- exit 3
    ");

    fs::create_dir(project.path().join("empty")).unwrap();
    source("empty");
    assert_snapshot!(refusal(&project, &EXECUTE), @r"
    error: the source `[project]/empty` is empty
      hint: build the site first, or look whether `exclude` takes everything
    docs: nothing was changed
    Result: preflight failed, nothing was changed
    Next: mend what the error names, then run it again
    --- exit 3
    ");

    project.write("pages/home.html", "<h1>home</h1>");
    source("pages");
    assert_snapshot!(refusal(&project, &EXECUTE), @r"
    error: the source `[project]/pages` has no `index.html`
      hint: build the site first, or name its first page in `index`
    docs: nothing was changed
    Result: preflight failed, nothing was changed
    Next: mend what the error names, then run it again
    --- exit 3
    ");

    symlink("/etc/passwd", project.path().join("public/users.html")).unwrap();
    source("public");
    assert_snapshot!(refusal(&project, &EXECUTE), @r"
    error: the link `users.html` leads out of the source, to `/etc/passwd`
      hint: copy what it leads to, make it a relative link within the source, or exclude it
    docs: nothing was changed
    Result: preflight failed, nothing was changed
    Next: mend what the error names, then run it again
    --- exit 3
    ");
}

/// Runs it in a mount namespace of its own, after `mount`; then lists what is in the web root. The mounts go with it.
fn mounted(project: &Project, mount: &str) -> Option<Said> {
    let script = format!("{mount} || exit 99; \"$@\"; code=$?; ls -A www/*; exit $code");
    let run = project.command(&EXECUTE);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(run.get_program()).args(run.get_args());
    command.current_dir(project.path());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let said = command
        .output()
        .ok()
        .map(Said::from)
        .filter(|said| said.code != Some(99) && !said.stderr.contains("unshare"));
    if said.is_none() {
        support::skipped("no mounts of one's own here");
    }
    said
}

#[test]
fn a_web_root_that_is_read_only() {
    let project = deployed();
    let before = kept(&project);
    let Some(said) = mounted(&project, "mount --bind www www && mount -o remount,ro,bind www") else {
        return;
    };
    assert_eq!(kept(&project), before);
    assert_snapshot!(told(&project, &said), @r"
    error: can't write to `[project]/www`: Read-only file system (os error 30)
      hint: check who owns it and how its file system is mounted, or run as another user
    docs: nothing was changed
    Result: preflight failed, nothing was changed
    Next: mend what the error names, then run it again
    www/current:
    about.html
    index.html

    www/releases:
    [id]
    --- exit 3
    ");
}

#[test]
fn a_disk_that_is_too_small_for_the_site() {
    let project = deployed();
    project.write("public/film.bin", &"x".repeat(300_000));
    let Some(said) = mounted(&project, "mount -t tmpfs -o size=128k none www") else { return };
    assert_snapshot!(told(&project, &said), @r"
    error: not enough space on the file system of `[project]/www`: 319,488 bytes are needed and 131,072 are free
      hint: free some space there, keep fewer releases, or choose another `dir`
    docs: nothing was changed
    Result: preflight failed, nothing was changed
    Next: mend what the error names, then run it again
    --- stderr
    ls: cannot access 'www/*': No such file or directory
    --- exit 3
    ");
}

#[test]
fn a_disk_that_fills_up_while_staging() {
    let project = deployed();
    project.write("public/film.bin", &"x".repeat(300_000));
    project.hook("pre_stage", "head -c 600000 /dev/zero > www/somebody.else");
    let Some(said) = mounted(&project, "mount -t tmpfs -o size=800k none www") else { return };
    assert_snapshot!(told(&project, &said), @r"
    error: not enough space on the file system of `[project]/www`: 319,488 bytes are needed and 208,896 are free
      hint: free some space there, keep fewer releases, or choose another `dir`
    docs: failed, nothing live was changed
    Result: failed, nothing live was changed
    Next: mend what the error names, then run it again
    www/somebody.else
    --- exit 1
    ");
}

#[test]
fn a_deploy_json_that_is_not_understood() {
    let project = deployed();
    let good = project.read(".pop-deploy/deploy.json");
    let with = |edit: &dyn Fn(&mut Value)| {
        project.deploy_json(&good);
        project.edit(edit);
        refusal(&project, &EXECUTE)
    };
    assert_snapshot!(with(&|json| json["targets"]["docs"]["config"]["max_delte"] = json!(3)), @r"
    error: `config.max_delte`: unknown field `max_delte`, expected one of `source`, `dir`, `build`, `exclude`, `keep`, `index`, `url`, `max_delete`
      hint: did you mean `max_delete`?
    docs: nothing was changed
    Result: refused, nothing was tried
    Next: mend what the error names, then run it again
    --- exit 2
    ");
    let first_lines = |config: Value| {
        let said = with(&|json| json["targets"]["docs"]["config"] = config.clone());
        said.lines().take(2).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(first_lines(json!({"source": 5, "dir": "www"})), @r"
    error: `config.source`: integer `5` is there, and a text is expected
      hint: `pop-deploy plugin info static-site` lists the keys, and what they take
    ");
    assert_snapshot!(first_lines(json!({"source": "public", "dir": "www", "keep": 0})), @r"
    error: `config.keep`: integer `0` is there, and a whole number above 0 is expected
      hint: `pop-deploy plugin info static-site` lists the keys, and what they take
    ");
    assert_snapshot!(with(&|json| json["targets"]["docs"]["enabled"] = json!("yes")), @r#"
    error: `targets.docs.enabled` must be true or false, not "yes" (`[project]/.pop-deploy/deploy.json`, line 7 column 7)
      hint: write true or false at `targets.docs.enabled`
    --- exit 2
    "#);
    assert_snapshot!(with(&|json| json["hooks"]["pre_swich"] = json!(["true"])), @r"
    error: unknown hook `hooks.pre_swich` (`[project]/.pop-deploy/deploy.json`, line 28 column 5)
      hint: write `pre_switch` if that is meant
    --- exit 2
    ");
    assert_snapshot!(with(&|json| json["targets"]["docs"]["type"] = json!("static-sight")), @r"
    error: target `docs`: no plugin serves targets of type `static-sight`
      caused by: looked in `[project]/home/.local/share/pop-deploy/plugins` (user)
      caused by: looked in `[prefix]/lib/pop-deploy/plugins` (system)
      caused by: looked in `/usr/local/lib/pop-deploy/plugins` (system)
      caused by: looked in `/usr/lib/pop-deploy/plugins` (system)
      caused by: looked in `[bin]` (beside the executable)
      hint: did you mean `static-site`?
    docs: nothing was changed
    Result: preflight failed, nothing was changed
    Next: mend what the error names, then run it again
    --- exit 3
    ");
    assert_snapshot!(with(&|json| json["targets"]["docs"]["plugin"] = json!("^9")), @r"
    error: target `docs`: no plugin serves targets of type `static-site` in a version that is ^9
      caused by: `[bin]/libpop_deploy_static_site.so` is version 0.1.0, and the target asks for ^9
      caused by: looked in `[project]/home/.local/share/pop-deploy/plugins` (user)
      caused by: looked in `[prefix]/lib/pop-deploy/plugins` (system)
      caused by: looked in `/usr/local/lib/pop-deploy/plugins` (system)
      caused by: looked in `/usr/lib/pop-deploy/plugins` (system)
      caused by: looked in `[bin]` (beside the executable)
      hint: ask for a version that is there, or install one that the target asks for
    docs: nothing was changed
    Result: preflight failed, nothing was changed
    Next: mend what the error names, then run it again
    --- exit 3
    ");

    project.deploy_json("{\n  \"targets\": {,}\n}");
    assert_snapshot!(refusal(&project, &EXECUTE), @r"
    error: `[project]/.pop-deploy/deploy.json` is not valid JSON
      caused by: key must be a string at line 2 column 15
      hint: look at line 2: a comma too many or too few, or a missing quote
    --- exit 2
    ");
    fs::remove_file(project.path().join(".pop-deploy/deploy.json")).unwrap();
    assert_snapshot!(refusal(&project, &EXECUTE), @r"
    error: no deploy.json found for `[project]`; looked at `[project]/.claude/popkit/deploy.json`, `[project]/.pop-deploy/deploy.json`
      hint: `pop-deploy init` writes one; or point `--dir` at the project
    --- exit 2
    ");
    assert_snapshot!(refusal(&project, &["execute", "--dir", "nowhere"]), @r"
    error: directory not found: `[project]/nowhere`
      caused by: No such file or directory (os error 2)
      hint: check the path given with `--dir`
    --- exit 2
    ");
}

#[test]
fn a_key_of_somebody_else_is_kept_and_a_slip_of_ours_is_named() {
    let project = Project::new();
    project.edit(|json| {
        json["x-team"] = json!("docs");
        json["targets"]["docs"]["primry"] = json!(true);
        json["targets"]["docs"].as_object_mut().unwrap().remove("primary");
    });
    let said = project.must(&["execute", "--yes", "--version", "1"]);
    let warnings: Vec<_> = said.stdout.lines().filter(|line| line.starts_with("warning")).collect();
    assert_snapshot!(warnings.join("\n"), @"warning: unknown key `targets.docs.primry` in deploy.json (line 8 column 7); did you mean `primary`?");
    assert!(project.read(".pop-deploy/deploy.json").contains("x-team"));
}

#[test]
fn a_target_that_is_not_there_or_not_enabled() {
    let project = deployed();
    project.edit(|json| json["targets"]["old"] = json!({"type": "static-site", "enabled": false}));
    assert_snapshot!(refusal(&project, &["execute", "--yes", "--target", "dosc"]), @r"
    error: there is no target `dosc`; enabled are `docs`
      hint: try `--target docs`
    --- exit 2
    ");
    assert_snapshot!(refusal(&project, &["execute", "--yes", "--target", "old"]), @r"
    error: target `old` is disabled; enabled are `docs`
      hint: set `targets.old.enabled` to true in deploy.json
    --- exit 2
    ");
    assert_snapshot!(refusal(&project, &["rollback", "--yes", "--to", "0.9"]), @r"
    error: target `docs` was never deployed in version `0.9`
      hint: go to one of 1
    --- exit 2
    ");
    project.edit(|json| json["targets"] = json!({}));
    assert_snapshot!(refusal(&project, &EXECUTE), @r"
    error: deploy.json has no targets
      hint: add one to `targets` in deploy.json, as README shows
    --- exit 2
    ");
}

#[test]
fn two_targets_in_one_place() {
    let project = deployed();
    project.edit(|json| {
        let config = json!({"source": "public", "dir": "./www/../www"});
        json["targets"]["copy"] = json!({"type": "static-site", "config": config});
    });
    assert_snapshot!(refusal(&project, &["execute", "--yes", "--all", "--version", "2"]), @r"
    error: targets `docs` and `copy` go to the same place, `dir:[project]/www`
      hint: give each target a place of its own in deploy.json
    docs: nothing was changed
    copy: nothing was changed
    Result: refused, nothing was tried
    Next: mend what the error names, then run it again
    --- exit 2
    ");
    assert_snapshot!(refusal(&project, &["execute", "--yes", "--target", "copy", "--version", "2"]), @r"
    error: `[project]/www` belongs to the target `docs` of `handbook`
      hint: choose another `dir`, or remove `[project]/www/.pop-deploy/owner.json` if that target is gone
    copy: nothing was changed
    Result: preflight failed, nothing was changed
    Next: mend what the error names, then run it again
    --- exit 3
    ");
}

#[test]
fn a_version_that_is_no_name() {
    let project = deployed();
    assert_snapshot!(refusal(&project, &["execute", "--yes", "--version", "1\n2"]), @r"
    error: version `1\n2` contains a control character
      hint: give another one with `--version`, or correct it in the project
    --- exit 2
    ");
    assert_snapshot!(refusal(&project, &["execute", "--yes", "--version", "-rf"]), @r"
    error: version `-rf` begins with `-`
      hint: give another one with `--version`, or correct it in the project
    --- exit 2
    ");
}

#[test]
fn nobody_to_confirm_it() {
    let project = deployed();
    assert_snapshot!(refusal(&project, &["execute"]), @r"
    error: this would change `docs`, and nobody is there to confirm it
      hint: look with `--dry-run`, then go ahead with `--yes`
    --- exit 2
    ");
    assert_snapshot!(refusal(&project, &["rollback"]), @r"
    error: this would change `docs`, and nobody is there to confirm it
      hint: look with `--dry-run`, then go ahead with `--yes`
    --- exit 2
    ");
}

#[test]
fn another_run_that_is_under_way() {
    let project = deployed();
    project.gate("pre_switch");
    let first = project.start(&EXECUTE);
    project.wait_at_gate();
    let refused = project.run(&["execute", "--yes", "--version", "3"]);
    let said = refused.stderr.replace(&format!("pid {}", first.id()), "pid [pid]");
    assert_snapshot!(told(&project, &Said { stderr: said, ..refused }), @r"
    error: target `docs` is locked by [actor] (pid [pid], run [id], since [time]): pop-deploy execute --yes --version 2
      hint: wait for it to end, or let this run wait with `--wait SECS`; if it hangs, `pop-deploy unlock --force --run-id [id] --target docs` ends it
    --- exit 5
    ");
    assert_eq!(project.run(&["rollback", "--yes", "--to", "1"]).code, Some(5));
    let dry = project.must(&["execute", "--dry-run", "--version", "3"]);
    assert!(dry.stdout.contains("warning: target `docs` is locked by "), "{}", dry.stdout);
    assert_eq!(project.run(&["execute", "--yes", "--version", "3", "--wait", "1"]).code, Some(5));

    let patient = project.start(&["execute", "--yes", "--version", "3", "--wait", "60"]);
    project.write("go", "");
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(patient.wait_with_output().unwrap().status.code(), Some(0));
    let versions: Vec<_> = project.history().iter().map(|record| record["version"].clone()).collect();
    assert_eq!(json!(versions), json!(["3", "2", "1"]));
}

#[test]
fn a_rollback_that_waits_goes_back_from_what_is_live_then() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.deploy("2", "<h1>two</h1>");
    project.write("public/index.html", "<h1>three</h1>");
    project.gate("pre_switch");
    let deploying = project.start(&["execute", "--yes", "--version", "3"]);
    project.wait_at_gate();
    let patient = project.start(&["rollback", "--yes", "--wait", "60"]);
    let runs = project.path().join(".pop-deploy/deployments");
    support::wait_for("the rollback", || (fs::read_dir(&runs).unwrap().count() == 4).then_some(()));
    project.write("go", "");
    assert_eq!(deploying.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(patient.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(project.page(), "<h1>two</h1>");
}

/// Whoever reads `--json` finds the result in the last line, also of a run that never began.
#[test]
fn every_refusal_ends_the_json_lines_too() {
    let project = deployed();
    let last = |arguments: &[&str]| {
        let said = project.run(arguments);
        let last = said
            .stdout
            .lines()
            .last()
            .unwrap_or_else(|| panic!("{arguments:?} said nothing: {}", said.stderr));
        let last: Value = serde_json::from_str(last).unwrap();
        assert_eq!((&last["type"], &last["success"]), (&json!("run.finished"), &json!(false)));
        assert_eq!(last["exit_code"], json!(said.code), "{arguments:?}");
        assert!(last["error"]["message"].is_string(), "{last}");
    };
    last(&["execute", "--json"]);
    last(&["execute", "--json", "--yes", "--target", "nothing"]);
    last(&["execute", "--json", "--yes", "--version", "-x"]);
    last(&["execute", "--json", "--yes", "--dir", "nowhere"]);
    last(&["rollback", "--json", "--yes"]);
    last(&["rollback", "--json", "--yes", "--target", "nothing"]);
    last(&["rollback", "--json", "--yes", "--to", "9"]);
    last(&["verify", "--json", "--target", "nothing"]);
    project.edit(|json| json["targets"]["docs"]["config"]["source"] = json!("nowhere"));
    last(&["execute", "--json", "--yes"]);
    last(&["execute", "--json", "--dry-run"]);
    project.deploy_json("{");
    last(&["execute", "--json", "--yes"]);
}

#[test]
fn a_target_that_was_pointed_elsewhere_is_not_rolled_back_to_the_old_place() {
    let project = Project::new();
    project.deploy("1", "one");
    project.edit(|json| json["targets"]["docs"]["config"]["dir"] = "elsewhere".into());
    project.deploy("2", "two");
    assert_snapshot!(project.see(&["rollback", "--yes"]), @r"
    --- stderr
    error: target `docs` went to `dir:[project]/www` then, and goes to `dir:[project]/elsewhere` now
      hint: point the target back at that place, or deploy that version anew
    --- exit 3
    ");
    assert_eq!(
        (project.page().as_str(), project.read("elsewhere/current/index.html").as_str()),
        ("one", "two")
    );
}
