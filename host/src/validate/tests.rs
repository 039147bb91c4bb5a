#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

/// The verdict over so many passed, warned, failed and skipped.
fn verdict(passed: usize, warned: usize, failed: usize, skipped: usize) -> String {
    let of = |status, count| std::iter::repeat_n(Finding::new("x", status, ""), count);
    let findings: Vec<_> = of(CheckStatus::Pass, passed)
        .chain(of(CheckStatus::Warn, warned))
        .chain(of(CheckStatus::Fail, failed))
        .chain(of(CheckStatus::Skip, skipped))
        .collect();
    let readiness = Readiness::of(&findings);
    format!("{} {}", readiness.score, readiness.recommendation.name())
}

#[test]
fn the_score_is_the_share_of_passed_less_warnings_and_failures() {
    assert_eq!(verdict(8, 0, 0, 1), "100 GO");
    assert_eq!(verdict(9, 1, 0, 0), "85 GO");
    assert_eq!(verdict(17, 3, 0, 0), "70 CONDITIONAL", "85 less 15");
    assert_eq!(verdict(9, 0, 1, 0), "70 CONDITIONAL", "90 less 20");
    assert_eq!(verdict(6, 2, 0, 0), "65 CONDITIONAL", "75 less 10");
    assert_eq!(verdict(5, 2, 0, 0), "61 CONDITIONAL", "71.4 less 10");
    assert_eq!(verdict(4, 2, 0, 0), "57 NO-GO", "66.7 less 10");
    assert_eq!(verdict(0, 3, 4, 0), "0 NO-GO");
    assert_eq!(verdict(0, 0, 0, 3), "50 NO-GO", "nothing was looked at");
}

#[test]
fn one_blocking_failure_is_no_go_whatever_the_score() {
    let mut findings = vec![Finding::new("fine", CheckStatus::Pass, ""); 99];
    findings.push(Finding::new("broken", CheckStatus::Fail, "").blocking());
    let readiness = Readiness::of(&findings);
    assert_eq!((readiness.score, readiness.recommendation), (79, Recommendation::NoGo));
    assert_eq!(readiness.reason, "`broken` stands against it");
    assert_eq!(readiness.to_value()["summary"]["blocking_failures"], 1);
}
