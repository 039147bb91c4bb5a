#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, io::Write, os::fd::AsFd, os::unix::fs::PermissionsExt};

use pop_deploy_plugin_api::{
    Error,
    protocol::{Effect, Outcome, Phase, Receipt, Release, Step, StepReceipt, Undo, Unreachable},
    redact::Redactor,
};
use semver::Version;
use serde_json::json;

use super::*;
use crate::{
    config::Environment,
    pipeline::event::{Bus, What},
    reporter::log::Log,
};

fn info() -> RunInfo {
    RunInfo {
        to_name: None,
        environment: Environment::default(),
        kind: RunKind::Deploy,
        targets: vec!["docs".to_owned()],
        actor: "ann@here".to_owned(),
        command: "pop-deploy execute".to_owned(),
        version: Some("1".to_owned()),
        commit: None,
        canary: None,
        unreachable: Unreachable::default(),
    }
}

fn planned(journal: &Journal) -> Entry {
    Entry::TargetPlanned(PlannedTarget {
        target: "docs".to_owned(),
        kind: "static-site".to_owned(),
        plugin: "static-site".to_owned(),
        plugin_version: Version::new(1, 0, 0),
        plugin_path: None,
        identity: "dir:/srv".to_owned(),
        config: json!({ "dir": "/srv" }),
        release: Release { id: journal.id().to_owned(), version: Some("1".to_owned()), commit: None },
        from: None,
        plan_digest: String::new(),
    })
}

fn intent(step: &str) -> Entry {
    let step =
        Step::new(step, Phase::Stage, Effect::Create, "Staging").data(json!({ "before": [1, 2.5, "ü"] }));
    Entry::Intent { target: "docs".to_owned(), step }
}

fn receipt(step: &str) -> Entry {
    let receipt = StepReceipt {
        step: step.to_owned(),
        plugin_version: Version::new(1, 0, 0),
        receipt: Receipt::new(Outcome::Changed, "3 copied"),
    };
    Entry::Receipt { target: "docs".to_owned(), receipt }
}

/// A run that came as far as the intent of its second step.
fn half_done(data: &Path) -> Journal {
    let journal = Journal::create(data, &info()).unwrap();
    for entry in [planned(&journal), intent("stage"), receipt("stage"), intent("switch")] {
        journal.append(&entry).unwrap();
    }
    journal
}

#[test]
fn a_run_that_died_is_read_back_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let journal = half_done(data);
    let id = journal.id().to_owned();
    assert!(read(data, &id).unwrap().alive);
    assert!(interrupted(data).unwrap().is_empty(), "it is alive");

    // A worker has the descriptor still.
    let worker = journal.as_fd().try_clone_to_owned().unwrap();
    drop(journal);
    assert!(interrupted(data).unwrap().is_empty(), "a worker is alive");
    drop(worker);

    let found = interrupted(data).unwrap();
    assert_eq!(found.len(), 1);
    let target = found[0].target("docs").unwrap();
    let steps: Vec<_> =
        target.steps.iter().map(|step| (step.step.id.as_str(), step.receipt.is_some())).collect();
    assert_eq!(steps, [("stage", true), ("switch", false)]);
    assert_eq!(target.steps[1].step.data, json!({ "before": [1, 2.5, "ü"] }));
    let undo: Vec<_> = target.to_undo().map(|step| step.step.id.as_str()).collect();
    assert_eq!(undo, ["switch", "stage"]);
    let (identity, receipts) = receipts_of(data, &id, "docs").unwrap().unwrap();
    assert_eq!((identity.as_str(), receipts.len()), ("dir:/srv", 1));
}

#[test]
fn a_torn_last_line_is_passed_over_wherever_it_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let journal = half_done(folder.path());
    let path = journal.dir().join("journal.jsonl");
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let run = read(folder.path(), journal.id()).unwrap();
        assert_eq!(run.target("docs").unwrap().steps.len(), 1, "torn at {end}");
    }
}

#[test]
fn a_run_that_died_can_be_continued_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let journal = half_done(data);
    let id = journal.id().to_owned();
    assert!(matches!(Journal::reopen(data, &id), Err(JournalError::Alive { .. })));
    let path = journal.dir().join("journal.jsonl");
    drop(journal);
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"time\":\"20").unwrap();

    let journal = Journal::reopen(data, &id).unwrap();
    let undone =
        |step: &str, outcome| Entry::Undone { target: "docs".to_owned(), step: step.to_owned(), outcome };
    let failed = |step: &str| Entry::StepFailed {
        target: "docs".to_owned(),
        step: step.to_owned(),
        error: Error::failed("gone"),
    };
    journal.append(&failed("switch")).unwrap();
    journal.append(&undone("switch", Undo::Nothing)).unwrap();
    journal.append(&undone("stage", Undo::Unknown { why: "no answer".to_owned() })).unwrap();
    drop(journal);
    let run = read(data, &id).unwrap();
    let undo: Vec<_> = run.target("docs").unwrap().to_undo().map(|step| step.step.id.as_str()).collect();
    assert_eq!(undo, ["stage"], "unknown isn't undone");

    let taken_by = |entry| {
        Journal::reopen(data, &id).unwrap().append(&entry).unwrap();
        read(data, &id).unwrap().lock_taken_by
    };
    assert_eq!(taken_by(Entry::LockTaken { by: "bob".to_owned() }).as_deref(), Some("bob"));
    assert_eq!(taken_by(intent("switch")), None, "whoever goes on with it ends it in another way");

    let journal = Journal::reopen(data, &id).unwrap();
    journal.append(&Entry::RunEnded { ending: RunEnding::Mended }).unwrap();
    assert!(interrupted(data).unwrap().is_empty());
    drop(journal);
    assert!(interrupted(data).unwrap().is_empty());
    assert_eq!(read(data, &id).unwrap().ending, Some(RunEnding::Mended));
}

#[test]
fn a_damaged_line_elsewhere_is_an_error_and_a_newer_word_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let journal = half_done(data);
    let path = journal.dir().join("journal.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let newer = "{\"time\":\"2030\",\"entry\":\"teleported\",\"target\":\"docs\"}\n";
    fs::write(&path, format!("{whole}{newer}")).unwrap();
    assert_eq!(read(data, journal.id()).unwrap().target("docs").unwrap().steps.len(), 2);
    fs::write(&path, whole.replacen("\"receipt\"", "receipt", 1)).unwrap();
    let error = read(data, journal.id()).unwrap_err();
    assert!(error.to_string().ends_with("journal.jsonl` is damaged at line 4"), "{error}");
}

#[test]
fn ids_are_unique_and_lead_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut ids: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..6).map(|_| scope.spawn(|| Journal::create(data, &info()).unwrap().id().to_owned())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    assert!(ids.iter().all(|id| is_id(id) && id.len() >= "deploy-YYYYMMDD-HHMMSS".len()), "{ids:?}");
    let mode = fs::metadata(data.join("deployments").join(&ids[0])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    for odd in ["", "..", "../deployments", "-rf", "a/b", "no-such-run"] {
        assert!(matches!(read(data, odd), Err(JournalError::NoRun { .. })), "{odd}");
        assert_eq!(receipts_of(data, odd, "docs").unwrap(), None);
    }
}

#[test]
fn old_runs_go_unless_history_knows_them_or_they_are_open() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let made: Vec<(String, Option<Journal>)> = (0..KEPT + 6)
        .map(|index| {
            let journal = half_done(data);
            let id = journal.id().to_owned();
            match index {
                0 => (id, None),
                1 => (id, Some(journal)),
                _ => {
                    journal.append(&Entry::RunEnded { ending: RunEnding::Succeeded }).unwrap();
                    (id, None)
                }
            }
        })
        .collect();
    keep_only(data, &[&made[2].0]).unwrap();
    let there = |index: usize| data.join("deployments").join(&made[index].0).exists();
    let seen: Vec<usize> = (0..8).filter(|index| there(*index)).collect();
    assert_eq!(seen, [0, 1, 2, 6, 7], "interrupted, alive, known, and the newest");
    assert_eq!(interrupted(data).unwrap().len(), 1);
}

#[test]
fn plan_report_and_log_are_kept_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let journal = half_done(folder.path());
    let plan = serde_json::from_value(json!({ "identity": "i", "fingerprint": "f", "steps": [] })).unwrap();
    journal.store_plan("docs/eu", &plan).unwrap();
    journal.store_report(&json!({ "success": true })).unwrap();

    let redactor = Redactor::default();
    redactor.learn("hunter22");
    let log = Log::create(&journal.log_path(), redactor).unwrap();
    Bus::new(vec![Box::new(log)]).tell_of("docs", What::Warning("login hunter22"));
    let text = fs::read_to_string(journal.log_path()).unwrap();
    assert!(text.ends_with(" docs: warning: login ***\n"), "{text}");
    for entry in fs::read_dir(journal.dir()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}
