//! Verdicts over answers that come as the test says.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{Ask, Canary, Share, Watched};
use crate::{ErrorKind, Result, health::Attempt, protocol::Verdict, testing};

fn canary(keys: Value) -> Canary {
    let canary: Canary = serde_json::from_value(keys).unwrap();
    canary.check("config.canary").unwrap();
    canary
}

/// Watches the only step of a canary that answers these in order, and the last of them for ever:
/// `+` well, `-` wrong, `?` can't be asked.
fn watch(canary: &Canary, answers: &str) -> Result<Watched> {
    let (session, _) = testing::session(Path::new("/"));
    let mut answers = answers.chars();
    let mut answer = '?';
    let attempt = move || {
        answer = answers.next().unwrap_or(answer);
        Ok(match answer {
            '+' => Attempt::Healthy("200 OK".into()),
            '-' => Attempt::Unhealthy("500 Internal Server Error".into()),
            _ => Attempt::Unmeasured("no such name".into()),
        })
    };
    let ask = Ask { what: "the canary".into(), interval: Duration::ZERO, attempt: Box::new(attempt) };
    canary.watch(&canary.steps[0], &session, vec![ask])
}

fn short() -> Value {
    json!({ "steps": [{ "percent": 10, "hold": 0 }] })
}

#[test]
fn more_than_a_tenth_of_errors_is_a_rollback_and_a_tenth_is_not() {
    let canary = canary(short());
    let seen = watch(&canary, "+++++++++-").unwrap();
    assert_eq!((seen.verdict, seen.requests, seen.errors), (Verdict::Promote, 10, 1));
    assert_eq!(seen.settle(&canary).unwrap(), Verdict::Promote);
    let seen = watch(&canary, "++++++++--").unwrap();
    let error = seen.settle(&canary).unwrap_err();
    assert_eq!(error.message, "the canary is bad: 2 of 10 requests failed (20 %, and 10 % may)");
    assert_eq!(error.causes, ["the last one: `the canary`: 500 Internal Server Error"]);
}

#[test]
fn a_rate_counts_only_after_the_minimum_of_requests() {
    // The first answer is wrong, a rate of 100 %; only the tenth request makes it a rate.
    let seen = watch(&canary(short()), "-+").unwrap();
    assert_eq!((seen.verdict, seen.requests, seen.errors), (Verdict::Promote, 10, 1));
}

#[test]
fn a_bad_canary_is_not_held_to_the_end() {
    let long = canary(json!({ "steps": [{ "percent": 10, "hold": 3600 }], "min_requests": 3 }));
    let seen = watch(&long, "-").unwrap();
    assert_eq!((seen.verdict, seen.requests), (Verdict::Rollback, 3));
}

#[test]
fn what_could_not_be_measured_has_a_budget_of_its_own() {
    let mut keys = short();
    keys["max_unmeasured"] = json!(2);
    let patient = canary(keys.clone());
    let seen = watch(&patient, "+?+?+").unwrap();
    assert_eq!((seen.verdict, seen.requests, seen.errors, seen.unmeasured), (Verdict::Promote, 10, 0, 2));
    let seen = watch(&patient, "+++++++++????").unwrap();
    assert_eq!((seen.verdict, seen.errors), (Verdict::Inconclusive, 0));
    assert!(seen.settle(&patient).unwrap_err().message.starts_with("the canary can't be judged: 3 checks"));
    keys["on_inconclusive"] = json!("wait");
    assert_eq!(seen.settle(&canary(keys)).unwrap(), Verdict::Inconclusive);
}

#[test]
fn a_cancelled_run_ends_the_watching() {
    let (session, recorder) = testing::session(Path::new("/"));
    let long = canary(json!({ "steps": [{ "percent": 10, "hold": 3600 }] }));
    let attempt = || {
        recorder.cancel();
        Ok(Attempt::Healthy(String::new()))
    };
    let ask = Ask { what: "it".into(), interval: Duration::from_secs(3600), attempt: Box::new(attempt) };
    let error = long.watch(&long.steps[0], &session, vec![ask]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
}

#[test]
fn a_share_is_at_least_one_and_never_the_whole() {
    let of = |share: Share| [1, 3, 10, 25].map(|whole| share.of(whole));
    assert_eq!(of(Share::Percent(10)), [None, Some(1), Some(1), Some(3)]);
    assert_eq!(of(Share::Hosts(3)), [None, None, Some(3), Some(3)]);
    assert_eq!(Share::Percent(99).of(u32::MAX), Some(4_252_017_623));
}

#[test]
fn what_is_no_part_is_refused() {
    for (config, words) in [
        (json!({ "steps": [] }), "`config.canary.steps` is empty"),
        (
            json!({ "steps": [{ "hold": 1 }] }),
            "`config.canary.steps[0]` needs one of count, percent and hosts",
        ),
        (json!({ "steps": [{ "count": 1, "hosts": 1 }] }), "needs one of count, percent and hosts"),
        (
            json!({ "steps": [{ "percent": 100 }] }),
            "`config.canary.steps[0].percent` is no part of the whole",
        ),
        (json!({ "steps": [{ "percent": 0 }] }), "nonzero"),
        (json!({ "max_errors": 100 }), "`config.canary.max_errors`: 100 is no percentage"),
        (
            json!({ "steps": [{ "count": 1, "checks": [{}] }] }),
            "`config.canary.steps[0].checks[0]` asks nothing",
        ),
        (json!({ "step": [] }), "unknown field `step`"),
    ] {
        let found = match serde_json::from_value::<Canary>(config) {
            Ok(canary) => canary.check("config.canary").unwrap_err().message,
            Err(error) => error.to_string(),
        };
        assert!(found.contains(words), "{found}");
    }
}
