//! From findings to a verdict.

use pop_deploy_plugin_api::{protocol::CheckStatus, words::counted};
use serde_json::{Value, json};

use super::Finding;

/// Whether to deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recommendation {
    /// Nothing speaks against it.
    Go,
    /// Somebody should look at the findings first.
    Conditional,
    /// Not as things are.
    NoGo,
}

impl Recommendation {
    /// The word, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "GO",
            Self::Conditional => "CONDITIONAL",
            Self::NoGo => "NO-GO",
        }
    }
}

/// The verdict over all findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// 0 to 100: the share of passed among those not skipped, less 5 a warning and 20 a failure; 50 when all were
    /// skipped.
    pub score: i64,
    /// What follows from it.
    pub recommendation: Recommendation,
    /// Why, as a sentence.
    pub reason: String,
    passed: i64,
    warned: i64,
    failed: i64,
    skipped: i64,
    blocking_failures: i64,
}

impl Readiness {
    /// Sums the findings up.
    pub fn of(findings: &[Finding]) -> Self {
        let count =
            |status: CheckStatus| findings.iter().filter(|finding| finding.status == status).count() as i64;
        let (passed, warned) = (count(CheckStatus::Pass), count(CheckStatus::Warn));
        let (failed, skipped) = (count(CheckStatus::Fail), count(CheckStatus::Skip));
        let blockers: Vec<_> = findings
            .iter()
            .filter(|finding| finding.blocking && finding.status == CheckStatus::Fail)
            .map(|finding| finding.name.as_str())
            .collect();
        let score = score(passed, warned, failed);
        let (recommendation, reason) = match (blockers.as_slice(), score) {
            ([_, ..], _) => (Recommendation::NoGo, format!("`{}` stands against it", blockers.join("`, `"))),
            ([], 80..) => (Recommendation::Go, going(warned, failed)),
            ([], 60..) => (Recommendation::Conditional, doubtful(warned, failed)),
            ([], _) => (Recommendation::NoGo, doubtful(warned, failed)),
        };
        Self {
            score,
            recommendation,
            reason,
            passed,
            warned,
            failed,
            skipped,
            blocking_failures: blockers.len() as i64,
        }
    }

    /// As reports have it.
    pub fn to_value(&self) -> Value {
        json!({
            "score": self.score,
            "recommendation": self.recommendation.name(),
            "reason": self.reason,
            "summary": {
                "total": self.passed + self.warned + self.failed + self.skipped,
                "passed": self.passed,
                "warned": self.warned,
                "failed": self.failed,
                "skipped": self.skipped,
                "blocking_failures": self.blocking_failures,
            },
        })
    }
}

/// In whole numbers, rounded half up before anything is taken off.
fn score(passed: i64, warned: i64, failed: i64) -> i64 {
    let looked_at = passed + warned + failed;
    if looked_at == 0 {
        return 50;
    }
    let share = (passed * 200 + looked_at) / (looked_at * 2);
    (share - 5 * warned - 20 * failed).clamp(0, 100)
}

fn going(warned: i64, failed: i64) -> String {
    if warned + failed == 0 {
        "everything that was looked at is well".to_owned()
    } else {
        doubtful(warned, failed)
    }
}

fn doubtful(warned: i64, failed: i64) -> String {
    let words = [(failed, "failure"), (warned, "warning")];
    let told: Vec<_> = words
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| counted(*count as usize, what))
        .collect();
    if told.is_empty() { "nothing could be looked at".to_owned() } else { told.join(" and ") }
}
