//! Canaries as their users see them, at a place of two files: `live` is what everybody gets, `part` what a part gets.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/faults.rs"]
mod faults;
#[path = "support/mod.rs"]
mod support;

use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::{Project, Said};

/// A project whose version 1 is live at a place where a canary comes to `canary`.
struct Split(Project);

const CANARY: [&str; 5] = ["execute", "--canary", "--yes", "--version", "2"];

impl Split {
    fn new(canary: &str) -> Self {
        let project = Project::empty();
        fs::create_dir(project.path().join("plugins")).unwrap();
        fs::create_dir(project.path().join("place")).unwrap();
        fs::copy(&*faults::PLUGIN, project.path().join("plugins/libfaults.so")).unwrap();
        let config = json!({
            "version": "1.0", "project_name": "split", "history": [],
            "targets": {"shop": {
                "type": "fault-y", "enabled": true, "primary": true,
                "config": {"place": "place", "canary": canary},
            }},
        });
        project.deploy_json(&config.to_string());
        let split = Self(project);
        split.must(&["execute", "--yes", "--version", "1"]);
        split
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.0.run(&[&["--plugin-dir", "plugins"], arguments].concat())
    }

    fn must(&self, arguments: &[&str]) -> Said {
        self.0.must(&[&["--plugin-dir", "plugins"], arguments].concat())
    }

    fn see(&self, arguments: &[&str]) -> String {
        self.0.show(&self.run(arguments))
    }

    /// What the command fails with, on one line.
    fn refusal(&self, code: i32, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(code), "{}{}", said.stdout, said.stderr);
        self.0.steady(&said.stderr).replace('\n', " ")
    }

    fn open(&self) {
        self.must(&[&CANARY[..], &["--until", "manual"]].concat());
        assert_eq!(self.seen(), ("1".into(), "2".into()));
    }

    /// The versions that everybody and a part get.
    fn seen(&self) -> (String, String) {
        let version = |file: &str| {
            let release: Value = serde_json::from_str(&self.0.read(file)).unwrap_or_default();
            release["version"].as_str().unwrap_or("none").to_owned()
        };
        (version("place/live"), version("place/part"))
    }

    /// Status and version of each record, newest first.
    fn told(&self) -> Vec<String> {
        let word = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
        self.0
            .history()
            .iter()
            .map(|record| format!("{} {}", word(record, "status"), word(record, "version")))
            .collect()
    }
}

#[test]
fn a_bad_canary_is_taken_back_and_the_old_release_never_left() {
    let split = Split::new("rollback");
    assert_snapshot!(split.see(&CANARY), @"
    Target: shop (primary) · Mode: canary · Version: 2
    [1/5] Staging... done ([t])
    [2/5] Switching a part... failed ([t])
    Taking shop back

    error: the canary is bad
    shop: rolled back, 1 is live
    Result: failed and rolled back, the release before is live
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: mend what the error names, then run it again
    --- exit 8
    ");
    assert_eq!(split.seen(), ("1".into(), "none".into()));
    assert_eq!(split.told(), ["failed 2", "success 1"]);
    split.must(&["verify"]);
}

#[test]
fn a_good_canary_goes_all_the_way() {
    let split = Split::new("promote");
    split.must(&CANARY);
    assert_eq!(split.seen(), ("2".into(), "none".into()));
    assert_eq!(split.told(), ["success 2", "success 1"]);
    split.must(&["rollback", "--yes"]);
    assert_eq!(split.seen(), ("1".into(), "none".into()));
}

#[test]
fn a_canary_until_manual_waits_and_is_promoted_by_another_process() {
    let split = Split::new("promote");
    split.0.hook("after_all", "echo $POP_DEPLOY_HOOK >> hooks");
    split.0.hook("post_switch", "echo post_switch >> hooks");
    assert_snapshot!(split.see(&[&CANARY[..], &["--until", "manual"]].concat()), @"
    Target: shop (primary) · Mode: canary · Version: 2
    [1/5] Staging... done ([t])
    [2/5] Switching a part... done ([t])

    Result: canary open, it waits for a verdict
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy promote` has it go all the way, `pop-deploy abort` takes it back
    --- exit 0
    ");
    assert_eq!(split.told(), ["canary_open 2", "success 1"]);
    assert!(split.must(&["history"]).stdout.contains("live for a part, as a canary"));
    split.must(&["verify"]);
    assert_snapshot!(split.see(&["promote", "--dry-run"]), @"
    Target: shop · Mode: promote, dry run · Version: 2

    Checked
    Would change: the canary goes all the way, 3 steps
    Steps
      1. Switching
      2. Verifying
      3. Tidying

    Result: dry run, nothing was changed
    Duration: [t]
    Next: the same command without `--dry-run` does it
    --- exit 0
    ");
    assert_eq!(split.seen(), ("1".into(), "2".into()));
    assert_snapshot!(split.see(&["promote", "--yes"]), @"
    Target: shop · Mode: promote · Version: 2
    [3/5] Switching... done ([t])
    [4/5] Verifying... done ([t])
    [5/5] Tidying... done ([t])

    Result: succeeded, 1 → 2
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy verify` looks again, `pop-deploy history` shows what was
    --- exit 0
    ");
    assert_eq!(split.seen(), ("2".into(), "none".into()));
    assert_eq!(split.told(), ["success 2", "canary_open 2", "success 1"]);
    assert_eq!(split.0.read("hooks"), "after_all\npost_switch\nafter_all\n");
    split.must(&["verify"]);
    split.must(&["rollback", "--yes"]);
    assert_eq!(split.seen(), ("1".into(), "none".into()));
}

#[test]
fn a_run_that_lost_its_place_before_the_switch_failed_and_is_stuck_only_after_it() {
    let split = Split::new("promote");
    for (hooks, code, switched) in
        [("run:stage,undo", 1, false), ("run:switch,undo", 1, false), ("run:verify,undo", 4, true)]
    {
        split.0.edit(|json| {
            json["targets"]["shop"]["config"] = json!({"place": "place", "in": hooks, "do": "oust"});
        });
        let said = split.run(&["execute", "--yes", "--version", "2"]);
        assert_eq!(said.code, Some(code), "{hooks}: {}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains("the lock was taken from this run"), "{hooks}: {}", said.stdout);
        let result = "shop: failed, nothing live was changed; see above what is left\n";
        assert_eq!(said.stdout.contains(result), !switched, "{hooks}: {}", said.stdout);
        assert_eq!(split.0.history()[0]["switched"], switched, "{hooks}");
        assert_eq!(split.0.history()[0]["rollback"].is_null(), !switched, "{hooks}");
    }
}

#[test]
fn an_aborted_canary_leaves_what_somebody_else_deployed_since_and_says_so() {
    let split = Split::new("promote");
    split.open();
    split.0.write("place/live", &json!({"id": "deploy-20260101-000000", "version": "6"}).to_string());
    let said = split.must(&["abort", "--yes"]);
    let told = "Result: taken back, but 6 is live, which isn't what was live before\n";
    assert!(said.stdout.contains(told), "{}", said.stdout);
    let back = &split.0.history()[0]["rollback"];
    assert_eq!(
        (&back["performed"], &back["success"], &back["to_version"]),
        (&json!(false), &json!(true), &json!("6"))
    );
    assert!(split.must(&["history"]).stdout.contains("failed; 6 is live; the canary was aborted"));
    assert!(split.must(&["status"]).stdout.contains("Live: 6, as history says"));
    split.must(&CANARY[..4].iter().chain(&["3", "--until", "manual"]).copied().collect::<Vec<_>>());
    fs::remove_file(split.0.path().join("place/live")).unwrap();
    let said = split.must(&["abort", "--yes"]).stdout;
    assert!(said.contains("Result: taken back, but 6 isn't live everywhere any more\n"), "{said}");
}

#[test]
fn an_aborted_canary_leaves_the_old_release() {
    let split = Split::new("promote");
    split.open();
    assert_snapshot!(split.see(&["abort", "--dry-run"]), @"
    Target: shop · Mode: abort, dry run · Version: 2

    Checked
    Would change: the canary goes, 2 steps are taken back
    Steps
      1. Taking back: Switching a part
      2. Taking back: Staging

    Result: dry run, nothing was changed
    Duration: [t]
    Next: the same command without `--dry-run` does it
    --- exit 0
    ");
    assert_snapshot!(split.see(&["abort", "--yes"]), @"
    Target: shop · Mode: abort · Version: 2
    Taking shop back

    Result: taken back, 1 is live
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy verify` looks again, `pop-deploy history` shows what was
    --- exit 0
    ");
    assert_eq!(split.seen(), ("1".into(), "none".into()));
    assert_eq!(split.told(), ["failed 2", "canary_open 2", "success 1"]);
    split.must(&["verify"]);
    split.must(&["execute", "--yes", "--version", "3"]);
    assert_eq!(split.seen(), ("3".into(), "none".into()));
    split.must(&["rollback", "--yes"]);
    assert_eq!(split.seen(), ("1".into(), "none".into()));
}

#[test]
fn nothing_else_is_deployed_while_a_canary_is_open() {
    let split = Split::new("promote");
    split.open();
    let refusal = split.refusal(3, &["execute", "--yes", "--version", "3"]);
    assert_snapshot!(refusal, @"error: a canary of version 2 is open at target `shop`, since [time] by [actor]   hint: `pop-deploy promote` has it go all the way, `pop-deploy abort` takes it back");
    for other in [&["rollback", "--yes"][..], &CANARY[..], &["execute", "--resume", "--yes"][..]] {
        let said = split.run(other);
        assert_ne!(said.code, Some(0), "{other:?}");
    }
    assert_eq!(split.seen(), ("1".into(), "2".into()));
    let dry = split.run(&["execute", "--dry-run", "--version", "3"]);
    assert!(dry.stdout.contains("Switching\n"), "the plan is shown: {}", dry.stdout);
    assert_eq!((dry.code, split.0.steady(&dry.stderr).replace('\n', " ")), (Some(3), refusal));
}

#[test]
fn a_canary_that_can_not_be_judged_waits_where_its_plugin_says_so() {
    let split = Split::new("inconclusive");
    let said = split.run(&CANARY);
    assert_eq!(said.code, Some(9), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("it couldn't be judged, and waits"), "{}", said.stdout);
    assert_eq!(split.seen(), ("1".into(), "2".into()));
    split.must(&["promote", "--yes"]);
    assert_eq!(split.seen(), ("2".into(), "none".into()));
}

#[test]
fn a_full_deployment_in_the_disguise_of_a_canary_is_refused() {
    let split = Split::new("disguise");
    let said = split.run(&CANARY);
    assert_eq!(said.code, Some(3), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("no step of it awaits a verdict"), "{}", said.stdout);
    assert_eq!(split.seen(), ("1".into(), "none".into()));
}

#[test]
fn a_target_whose_plugin_takes_no_canary_is_refused() {
    let project = Project::new();
    assert_snapshot!(project.see(&["execute", "--canary", "--dry-run", "--version", "1"]), @"
    Target: docs (primary) · Mode: canary, dry run · Version: 1

    error: target `docs` can't take a canary: its plugin can't split it
      hint: deploy in full instead, without `--canary`; in the wrapper's dialect with `--mode deploy`
    docs: nothing was changed
    Result: refused, nothing was tried
    Duration: [t]
    Next: mend what the error names, then run it again
    --- exit 2
    ");
    assert_eq!(project.run(&["execute", "--canary", "--yes", "--version", "1"]).code, Some(2));
    assert!(!project.path().join("www").exists());
}

#[test]
fn a_verdict_needs_one_open_canary() {
    let split = Split::new("promote");
    assert_snapshot!(split.refusal(3, &["promote", "--yes"]), @"error: there is no open canary   hint: `pop-deploy history` shows what was deployed");
    assert_snapshot!(split.refusal(3, &["abort", "--yes", "--target", "shop"]), @"error: there is no open canary at target `shop`   hint: `pop-deploy history` shows what was deployed");
    split.0.edit(|json| {
        json["targets"]["other"] = json["targets"]["shop"].clone();
        json["targets"]["other"]["config"]["place"] = "other".into();
    });
    fs::create_dir(split.0.path().join("other")).unwrap();
    let manual = [&CANARY[..], &["--until", "manual"]].concat();
    assert_snapshot!(split.refusal(2, &[&manual[..], &["--all"]].concat()), @"error: `--until manual` waits at one target, and this is about shop, other   hint: name one with `--target`, and the others after it");
    split.must(&["execute", "--yes", "--version", "1", "--target", "other"]);
    split.must(&[&manual[..], &["--target", "other"]].concat());
    split.open();
    assert_snapshot!(split.refusal(2, &["promote", "--yes"]), @"error: several canaries are open, at other, shop   hint: name one with `--target`");
    split.must(&["promote", "--yes", "--target", "other"]);
    assert_eq!(split.seen(), ("1".into(), "2".into()));
    split.must(&["abort", "--yes"]);
    assert_eq!(split.seen(), ("1".into(), "none".into()));
}

#[test]
fn a_canary_is_not_promoted_over_what_somebody_else_made_live() {
    let split = Split::new("promote");
    split.open();
    let live = split.0.read("place/live").replace("deploy-", "other-");
    split.0.write("place/live", &live);
    assert_snapshot!(split.refusal(3, &["promote", "--yes"]), @"error: the canary of run `[id]` can't be promoted   caused by: target `shop` has another release live than when its canary began   hint: `pop-deploy abort` takes it back");
    assert_eq!(split.seen(), ("1".into(), "2".into()));
    split.must(&["abort", "--yes"]);
}

#[test]
fn a_promotion_that_fails_takes_everything_back() {
    let split = Split::new("promote");
    split.open();
    split.0.hook("pre_verify", "exit 1");
    let said = split.run(&["promote", "--yes"]);
    assert_eq!(said.code, Some(8), "{}{}", said.stdout, said.stderr);
    assert_eq!(split.seen(), ("1".into(), "none".into()));
    assert_eq!(split.told(), ["failed 2", "canary_open 2", "success 1"]);
}

#[test]
fn a_promotion_that_is_killed_is_found_and_finished_or_taken_back() {
    for (mend, live) in [(&["execute", "--resume", "--yes"][..], "2"), (&["rollback", "--yes"][..], "1")] {
        let split = Split::new("promote");
        split.open();
        split.0.gate("pre_verify");
        let mut run = split.0.start(&["--plugin-dir", "plugins", "promote", "--yes"]);
        split.0.wait_at_gate();
        run.kill().unwrap();
        run.wait().unwrap();
        split.0.write("go", "");
        assert_eq!(split.run(&["execute", "--yes", "--version", "3", "--wait", "60"]).code, Some(7));
        split.must(mend);
        assert_eq!(split.seen(), (live.to_owned(), "none".into()), "{mend:?}");
        split.must(&["execute", "--yes", "--version", "3"]);
    }
}

#[test]
fn a_run_that_died_with_its_canary_unsaid_is_not_promoted_by_resuming() {
    let split = Split::new("promote");
    split.open();
    let runs = fs::read_dir(split.0.path().join(".pop-deploy/deployments")).unwrap();
    let newest = runs.map(|run| run.unwrap().path()).max().unwrap().join("journal.jsonl");
    let journal = fs::read_to_string(&newest).unwrap();
    let lines = journal.lines().filter(|line| !line.contains("_ended")).map(|line| format!("{line}\n"));
    fs::write(&newest, lines.collect::<String>()).unwrap();
    assert_eq!(split.run(&["execute", "--yes", "--version", "3"]).code, Some(7));
    let said = split.must(&["execute", "--resume", "--yes"]);
    assert!(said.stdout.contains("Result: canary open"), "{}", said.stdout);
    assert_eq!(split.seen(), ("1".into(), "2".into()));
    split.must(&["promote", "--yes"]);
    assert_eq!(split.seen(), ("2".into(), "none".into()));
}

#[test]
fn the_wrapper_gets_a_canary_or_a_refusal() {
    let split = Split::new("rollback");
    let wrapped = |split: &Split, action: &[&str]| {
        let said = split.0.command(&[&["--plugin-dir", "plugins"], action].concat());
        let mut said = said;
        let said: Said =
            said.env("CLAUDE_PLUGIN_DATA", split.0.path().join(".pop-deploy")).output().unwrap().into();
        (said.code, serde_json::from_str::<Value>(&said.stdout).unwrap_or_default())
    };
    let canary = ["execute", "--action", "execute", "--mode", "canary", "--version", "2"];
    let (code, report) = wrapped(&split, &canary);
    assert_eq!((code, &report["mode"], &report["success"]), (Some(1), &json!("canary"), &json!(false)));
    assert_eq!(report["rollback"]["success"], true, "{report:#}");
    split.0.edit(|json| json["targets"]["shop"]["config"]["canary"] = "promote".into());
    let (code, report) = wrapped(&split, &canary);
    assert_eq!((code, &report["mode"], &report["success"]), (Some(0), &json!("canary"), &json!(true)));
    assert_eq!(split.seen(), ("2".into(), "none".into()));
}

#[test]
fn programs_are_told_of_an_open_canary() {
    let split = Split::new("promote");
    let said = split.must(&[&CANARY[..], &["--until", "manual", "--json"]].concat());
    let last: Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["ending"]), (&json!("run.finished"), &json!("canary_open")));
    assert_eq!((&last["exit_code"], &last["targets"][0]["ending"]), (&json!(0), &json!("canary_open")));
    let said = split.must(&["promote", "--yes", "--json"]);
    let last: Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["mode"], &last["ending"]), (&json!("promote"), &json!("succeeded")));
}
