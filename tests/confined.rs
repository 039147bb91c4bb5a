//! What a worker can't do: write in a dry run, or take more than the config allows.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/skipped.rs"]
mod skipped;
#[path = "support/faults.rs"]
mod support;

use std::{fs, time::Duration};

use pop_deploy::plugins::{Limits, Worker};
use pop_deploy_plugin_api::{
    Error,
    protocol::{Event, Plan, PlanRequest, Rollout, Unreachable, method},
    testing::release,
};
use serde_json::{Value, json};
use skipped::skipped;
use support::Place;

fn plan(worker: &Worker) -> Result<Value, Error> {
    let request = PlanRequest::Deploy {
        release: release("r1", "1.0"),
        rollout: Rollout::Full,
        unreachable: Unreachable::Fails,
    };
    let plan: Plan = worker.call(method::PLAN, &request, Some(Duration::from_secs(60)))?;
    Ok(plan.steps[0].data.clone())
}

/// A place in which sessions only read; none where the system can't enforce it.
fn dry() -> Option<Place> {
    let place = Place::read_only();
    drop(place.worker("none", "nothing"));
    let warned = place.services.events().iter().any(|event| matches!(event, Event::Warning { .. }));
    if warned {
        skipped("this kernel can't confine a process to reading");
        return None;
    }
    Some(place)
}

#[test]
fn a_plan_that_writes_in_a_dry_run_fails_by_name_and_nothing_is_written() {
    let Some(place) = dry() else { return };
    let worker = place.worker("plan", "write");
    let error = plan(&worker).unwrap_err();
    assert_eq!(error.message, "plugin `faults` 0.1.0 tried to write during a dry run");
    let note = place.note();
    assert_eq!(
        error.causes,
        [format!("can't write `{}`", note.display()), "Permission denied (os error 13)".to_owned()]
    );
    assert_eq!(error.hint.as_deref(), Some("report it to https://example.org/faults"));
    assert!(!note.exists());
    assert!(worker.alive());
}

#[test]
fn what_is_there_stays_as_it_is_in_a_dry_run_and_can_be_read() {
    let Some(place) = dry() else { return };
    fs::write(place.note(), "mine").unwrap();
    let came = plan(&place.worker("plan", "tamper")).unwrap();
    for (way, ending) in came.as_object().unwrap() {
        let expected = if way == "read" { "done" } else { "Permission denied (os error 13)" };
        assert_eq!(ending, expected, "{way}");
    }
    assert_eq!(fs::read_to_string(place.note()).unwrap(), "mine");
    assert_eq!(fs::read_dir(place.project()).unwrap().count(), 1);
}

#[test]
fn the_programs_of_a_dry_run_are_confined_too() {
    let Some(place) = dry() else { return };
    let said = plan(&place.worker("plan", "write_by_child")).unwrap();
    assert!(said.as_str().unwrap().contains("Permission denied"), "{said}");
    assert!(!place.note().exists());
}

#[test]
fn a_dry_run_may_write_in_its_scratch_folder() {
    let place = Place::read_only();
    plan(&place.worker("plan", "write_scratch")).unwrap();
    assert_eq!(fs::read_to_string(place.root.join("scratch/moved")).unwrap(), "mine");
}

#[test]
fn a_session_that_may_write_does() {
    let place = Place::new();
    plan(&place.worker("plan", "write")).unwrap();
    assert_eq!(fs::read_to_string(place.note()).unwrap(), "written");
}

#[test]
fn more_memory_than_the_config_allows_ends_the_worker_and_nothing_else() {
    let limits = Limits { memory_mb: Some(512), files: None };
    let place = Place::limited(limits);
    let error = plan(&place.worker("plan", "memory")).unwrap_err();
    assert_eq!(error.message, "plugin `faults` 0.1.0 crashed with SIGABRT in `plan`");
    assert_eq!(error.causes[0], "its last lines:");
    // Not in the causes: with RUST_BACKTRACE, the last lines are the backtrace's.
    let said = place.services.output();
    assert!(
        said.iter().any(|line| line.contains("memory allocation of 10737418240 bytes failed")),
        "{said:?}"
    );
}

#[test]
fn more_files_than_the_config_allows_cannot_be_opened() {
    let limits = Limits { memory_mb: None, files: Some(32) };
    let place = Place::limited(limits);
    let opened = plan(&place.worker("plan", "files")).unwrap();
    assert!(opened.as_u64().is_some_and(|opened| (10..32).contains(&opened)), "{opened}");
}

#[test]
fn limits_that_nobody_may_set_are_named() {
    let limits = Limits { memory_mb: None, files: Some(u64::MAX) };
    let place = Place::limited(limits);
    let error = place.try_worker("none", "nothing").err().unwrap();
    assert_eq!(error.message, "the worker can't limit itself");
    assert_eq!(json!(error.hint).as_str().map(|hint| hint.starts_with("lower `limits`")), Some(true));
}
