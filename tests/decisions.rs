//! What is asked before anything changes: of a person in a real terminal, and of a program that calls again.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, io::Write as _, path::Path, process::Command};

use insta::assert_snapshot;
use nix::sys::wait::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use serde_json::{Value, json};
use support::{Project, Said};

#[path = "support/mod.rs"]
mod support;

/// A project with a second target, and a version 1 that is live on the first.
fn two_targets() -> Project {
    let project = Project::new();
    project.edit(|json| {
        json["targets"]["blog"] =
            json!({"type": "static-site", "config": {"source": "public", "dir": "www2"}});
    });
    project.must(&["execute", "--yes", "--target", "docs", "--version", "1"]);
    project.write("public/index.html", "<h1>two</h1>");
    project
}

/// Somebody at a terminal who runs this.
struct Person<'p> {
    project: &'p Project,
    terminal: PtySession,
}

impl<'p> Person<'p> {
    fn runs(project: &'p Project, arguments: &[&str]) -> Self {
        let template = project.command(arguments);
        let mut command = Command::new(template.get_program());
        command.args(template.get_args()).current_dir(project.path()).env("TERM", "xterm");
        for (name, value) in template.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { project, terminal: spawn_command(command, Some(60_000)).unwrap() }
    }

    /// Reads up to where an answer is awaited.
    fn reads(&mut self) -> String {
        let before = self.terminal.exp_regex(r"Choose \[\d\]: ").unwrap();
        self.shown(&format!("{}{}", before.0, before.1))
    }

    fn types(&mut self, line: &str) {
        self.terminal.send_line(line).unwrap();
    }

    /// Reads to the end; gives that, and the exit code.
    fn ends(mut self) -> (String, Option<i32>) {
        let rest = self.terminal.exp_eof().unwrap();
        let status = self.terminal.process_mut().wait().unwrap();
        let code = match status {
            WaitStatus::Exited(_, code) => Some(code),
            _ => None,
        };
        (self.shown(&rest), code)
    }

    fn shown(&self, text: &str) -> String {
        // rexpect makes a character of each byte.
        let bytes: Vec<_> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
        self.project.steady(&String::from_utf8(bytes).unwrap().replace("\r\n", "\n"))
    }
}

fn events(said: &Said) -> Vec<Value> {
    said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The decision that the program is left with.
fn decision(said: &Said) -> Value {
    let events = events(said);
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["exit_code"]), (&json!("run.finished"), &json!(said.code)));
    events.into_iter().rev().nth(1).unwrap()
}

/// The arguments of the option of that value.
fn option(decision: &Value, value: &str) -> Vec<String> {
    let options = decision["options"].as_array().unwrap();
    let option = options.iter().find(|option| option["value"] == value).unwrap();
    assert!(option["label"].is_string() && option["description"].is_string());
    serde_json::from_value(option["arguments"].clone()).unwrap()
}

fn run(project: &Project, arguments: &[String]) -> Said {
    project.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_person_decides_where_how_and_whether() {
    let project = two_targets();
    let mut person = Person::runs(&project, &["execute", "--version", "2"]);
    assert_snapshot!(person.reads(), @r"
    Where should it go?
      1. docs         static-site, the primary one (default)
      2. blog         static-site
      3. All of them  every enabled target, 2 in all
    Choose [1]:
    ");
    person.types("blgo");
    assert_snapshot!(person.reads(), @r"
    `blgo` is none of them.

    Where should it go?
      1. docs         static-site, the primary one (default)
      2. blog         static-site
      3. All of them  every enabled target, 2 in all
    Choose [1]:
    ");
    person.types("docs");
    assert_snapshot!(person.reads(), @r"
    Deploy 2 to docs: look only, or go ahead?
      1. Dry run  show what would happen, change nothing (default)
      2. Deploy   plan it, show the plan, ask once more
    Choose [1]:
    ");
    person.types("2");
    assert_snapshot!(person.reads(), @r"
    Target: docs (primary) · Mode: deploy · Version: 2
    Plan: 0 added, 1 changed, 0 removed, 1 unchanged

    Checked
      ok   web_root: `[project]/www` can be written
      ok   current: `[project]/www/current` is a link to release [id]
      ok   owner: the web root is this target's
      ok   source: `[project]/public` holds 2 files, 24 bytes
      ok   index: `index.html` is there
      ok   space: 12,288 bytes are needed, [n] are free
      ok   max_delete: 0 of 2 live files would go; `max_delete` is 20%
      ok   live_tree: what is live is release [id] as it was deployed
    Would change: 0 added, 1 changed, 0 removed, 1 unchanged
      ~ index.html (12 bytes)
    Could not check
      public pages: no `url` in the config
    Steps
      1. Locking [project]/www: one deployment at a time, and what is live must be what was planned with
      2. Staging 2 files (1 changed): 0 added, 1 changed, 0 removed, 1 unchanged
      3. Switching to release [id]: `current` is a link to release [id]
      4. Verifying what is live: only a verified release counts for `keep` and for a rollback
      5. Keeping all releases: `keep` is 5

    Deploy 2 to docs as planned?
      1. Cancel  change nothing (default)
      2. Deploy  do what the plan says
    Choose [1]:
    ");
    assert_eq!(project.page(), "<h1>one</h1>", "nothing changes before the last word");
    person.types("y");
    let next = person.reads();
    assert!(next.contains("Result: succeeded, 1 → 2"), "{next}");
    assert_snapshot!(&next[next.find("It is live").unwrap()..], @r"
    It is live. What next?
      1. Done       leave it as it is (default)
      2. Verify     look again whether it is whole
      3. Roll back  make the release before live again; asks once more
    Choose [1]:
    ");
    person.types("verify");
    let (end, code) = person.ends();
    assert!(end.ends_with("Result: healthy\n"), "{end}");
    assert_eq!((code, project.page().as_str()), (Some(0), "<h1>two</h1>"));
    assert!(project.snapshot("www2").is_empty());
}

#[test]
fn the_empty_answer_is_the_safe_one() {
    let project = two_targets();
    let before = (project.snapshot("www"), project.snapshot(".pop-deploy/deploy.json"));
    let mut person = Person::runs(&project, &["execute", "--version", "2"]);
    person.reads();
    person.types("");
    person.reads();
    person.types("");
    let (end, code) = person.ends();
    assert!(end.contains("Target: docs (primary) · Mode: dry run") && end.contains("Would change"), "{end}");
    assert_eq!(code, Some(0));

    let mut person =
        Person::runs(&project, &["execute", "--target", "docs", "--mode", "deploy", "--version", "2"]);
    assert!(person.reads().contains("Would change: 0 added, 1 changed"));
    person.types("");
    let (end, code) = person.ends();
    assert!(end.contains("error: not confirmed; nothing was changed"), "{end}");
    assert_eq!(code, Some(1));
    assert_eq!((project.snapshot("www"), project.snapshot(".pop-deploy/deploy.json")), before);
}

#[test]
fn a_closed_terminal_and_ctrl_c_change_nothing() {
    let project = two_targets();
    let before = project.snapshot("www");
    for (character, told, expected) in
        [('d', "not confirmed; nothing was changed", Some(1)), ('c', "stopped by signal 2", Some(130))]
    {
        let mut person = Person::runs(&project, &["execute", "--all", "--mode", "deploy", "--version", "2"]);
        person.reads();
        person.terminal.send_control(character).unwrap();
        let (end, code) = person.ends();
        assert!(end.contains(told), "{end}");
        assert_eq!(code, expected);
    }
    assert_eq!(project.snapshot("www"), before);
    project.must(&["execute", "--yes", "--all", "--version", "2"]);
}

#[test]
fn a_person_goes_back_step_by_step() {
    let project = Project::new();
    project.deploy("0", "0");
    let first = format!("www/releases/{}", project.history()[0]["deployment_id"].as_str().unwrap());
    for version in ["1", "2", "3"] {
        project.deploy(version, version);
    }
    // What the place has no longer isn't offered.
    fs::remove_dir_all(project.path().join(first)).unwrap();
    let mut person = Person::runs(&project, &["rollback"]);
    assert_snapshot!(person.reads(), @r"
    How should `docs` go back?
      1. Dry run  show what going back would do, change nothing (default)
      2. To 2     the newest good one before what is live
      3. To 1     another one that was live
    Choose [1]:
    ");
    person.types("previous");
    let asked = person.reads();
    assert!(asked.contains("Would change: "), "the plan is shown: {asked}");
    assert_snapshot!(&asked[asked.find("Roll docs").unwrap()..], @r"
    Roll docs back to 2?
      1. Cancel     change nothing (default)
      2. Roll back  do what the plan says
    Choose [1]:
    ");
    person.types("n");
    assert_eq!((person.ends().1, project.page().as_str()), (Some(1), "3"));

    let mut person = Person::runs(&project, &["rollback", "--to", "1"]);
    person.reads();
    person.types("y");
    let asked = person.reads();
    assert_snapshot!(&asked[asked.find("Keep an").unwrap()..], @r"
    Keep an incident report?
      1. Write it  to `incidents` in the data folder (default)
      2. Skip      `pop-deploy incident` tells it later too
    Choose [1]:
    ");
    assert_eq!(project.page(), "1");
    person.types("");
    let (end, code) = person.ends();
    assert_eq!(code, Some(0));
    let path = end.trim().strip_prefix("Report: [project]/").unwrap();
    assert!(project.read(path).starts_with("# Incident: `docs` `3`"), "{end}");
}

#[test]
fn flags_skip_the_questions() {
    let project = two_targets();
    for arguments in [
        &["execute", "--yes", "--version", "2"][..],
        &["execute", "--dry-run", "--version", "2"],
        &["execute", "--mode", "dry_run", "--version", "2"],
        &["rollback", "--dry-run"],
        &["rollback", "--dry-run", "--to", "1"],
        &["rollback", "--yes"],
    ] {
        let (end, code) = Person::runs(&project, arguments).ends();
        assert_eq!(code, Some(0), "{arguments:?}: {end}");
        assert!(!end.contains("Choose ["), "{end}");
    }
}

#[test]
fn a_program_is_told_what_to_ask_and_how_to_go_on() {
    let project = two_targets();
    let before = (project.snapshot("www"), project.snapshot(".pop-deploy"));
    let said = project.run(&["execute", "--json", "--version", "2"]);
    assert_eq!(said.code, Some(2));
    let mut asked = decision(&said);
    for key in ["ts", "run"] {
        asked.as_object_mut().unwrap().shift_remove(key);
    }
    assert_snapshot!(format!("{asked:#}"), @r#"
    {
      "v": 1,
      "seq": 1,
      "type": "decision.required",
      "id": "deploy_target",
      "header": "Target",
      "question": "Where should it go?",
      "default": "docs",
      "options": [
        {
          "value": "docs",
          "label": "docs",
          "description": "static-site, the primary one",
          "arguments": [
            "execute",
            "--json",
            "--version",
            "2",
            "--target",
            "docs"
          ]
        },
        {
          "value": "blog",
          "label": "blog",
          "description": "static-site",
          "arguments": [
            "execute",
            "--json",
            "--version",
            "2",
            "--target",
            "blog"
          ]
        },
        {
          "value": "all",
          "label": "All of them",
          "description": "every enabled target, 2 in all",
          "arguments": [
            "execute",
            "--json",
            "--version",
            "2",
            "--all"
          ]
        }
      ]
    }
    "#);

    let said = run(&project, &option(&asked, "docs"));
    let asked = decision(&said);
    assert_eq!(
        (said.code, &asked["id"], &asked["default"]),
        (Some(2), &json!("deploy_mode"), &json!("dry_run"))
    );

    let said = run(&project, &option(&asked, "deploy"));
    let asked = decision(&said);
    assert_eq!(
        (said.code, &asked["id"], &asked["default"]),
        (Some(2), &json!("confirm_deploy"), &json!("cancel"))
    );
    let kinds: Vec<_> =
        events(&said).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["run.started", "plan", "decision.required", "run.finished"], "the plan comes first");
    assert_eq!(
        (project.snapshot("www"), project.snapshot(".pop-deploy")),
        before,
        "until then nothing is written"
    );

    let said = run(&project, &option(&asked, "deploy"));
    let asked = decision(&said);
    assert_eq!(
        (said.code, &asked["type"], &asked["id"]),
        (Some(0), &json!("decision.offered"), &json!("post_deploy"))
    );
    assert_eq!(project.page(), "<h1>two</h1>");

    let said = run(&project, &option(&asked, "rollback"));
    let asked = decision(&said);
    assert_eq!((said.code, &asked["id"]), (Some(2), &json!("rollback_strategy")));
    let said = run(&project, &option(&asked, "previous"));
    let asked = decision(&said);
    assert_eq!((said.code, &asked["id"]), (Some(2), &json!("confirm_rollback")));
    assert_eq!(events(&said)[1]["type"], "plan");
    let said = run(&project, &option(&asked, "rollback"));
    let asked = decision(&said);
    assert_eq!((said.code, &asked["type"]), (Some(0), &json!("decision.offered")));
    assert_eq!((project.page().as_str(), &asked["id"]), ("<h1>one</h1>", &json!("incident_report")));
    assert_eq!(run(&project, &option(&asked, "write")).code, Some(0));
}

#[test]
fn a_plan_that_cannot_be_made_is_the_end_and_no_question() {
    let project = two_targets();
    project.edit(|json| json["targets"]["docs"]["config"]["source"] = json!("nowhere"));
    let said = project.run(&["execute", "--json", "--target", "docs", "--mode", "deploy"]);
    let events = events(&said);
    assert_eq!((said.code, &events.last().unwrap()["ending"]), (Some(3), &json!("not_ready")));
    assert!(events.iter().all(|event| event["type"] != "decision.required"));
}

#[test]
fn the_wrapper_in_the_examples_takes_a_deployment_through_all_decisions() {
    let project = two_targets();
    let wrapper = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/wrapper/deploy.py");
    let template = project.command(&[]);
    let bin = Path::new(env!("CARGO_BIN_EXE_pop-deploy")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("python3");
    command.arg(wrapper).args(["--version", "2"]).current_dir(project.path()).env("PATH", path);
    for (name, value) in template.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    let started = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = started else { return support::skipped("no python3") };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"docs\ndeploy\ndeploy\nrollback\nprevious\nrollback\nwrite\n")
        .unwrap();
    let said: Said = child.wait_with_output().unwrap().into();
    assert_snapshot!(project.show(&said), @r"
    Target: Where should it go? docs
    Mode: Deploy 2 to docs: look only, or go ahead? deploy
    docs: 0 added, 1 changed, 0 removed, 1 unchanged
    Confirm: Deploy 2 to docs as planned? deploy
    docs: 0 added, 1 changed, 0 removed, 1 unchanged
    Next: It is live. What next? rollback
    Rollback: How should `docs` go back? previous
    docs: 0 added, 1 changed, 0 removed, 1 unchanged
    Confirm: Roll docs back to 1? rollback
    docs: 0 added, 1 changed, 0 removed, 1 unchanged
    Report: Keep an incident report? write
    --- stderr
    error: `deploy_target` is not decided: Where should it go?
      hint: ask, then call again with the `arguments` of the answer
    error: `deploy_mode` is not decided: Deploy 2 to docs: look only, or go ahead?
      hint: ask, then call again with the `arguments` of the answer
    error: `confirm_deploy` is not decided: Deploy 2 to docs as planned?
      hint: ask, then call again with the `arguments` of the answer
    error: `rollback_strategy` is not decided: How should `docs` go back?
      hint: ask, then call again with the `arguments` of the answer
    error: `confirm_rollback` is not decided: Roll docs back to 1?
      hint: ask, then call again with the `arguments` of the answer
    --- exit 0
    ");
    assert_eq!(project.page(), "<h1>one</h1>");
}
