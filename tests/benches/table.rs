//! What a person reads: one row a comparison, the ratio against the peer as its main column.

#![allow(clippy::print_stdout, reason = "the benchmark's output")]

use std::time::Duration;

/// What a row is held against.
pub(crate) enum Goal {
    /// At most this much of the peer's time.
    Ratio(f64),
    /// At most this long.
    Within(Duration),
    /// For comparison only.
    None,
}

pub(crate) fn head() {
    println!("{:<34} {:>10}  {:<42} {:>10} {:>8}  goal", "", "pop-deploy", "against", "its time", "ratio");
}

/// A row against a peer.
pub(crate) fn compare(what: &str, ours: Duration, peer: &str, theirs: Duration, goal: &Goal) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    let goal = match *goal {
        Goal::Ratio(limit) => format!("at most {limit:.2}×: {}", met(ratio <= limit)),
        Goal::Within(limit) => format!("at most {}: {}", show(limit), met(ours <= limit)),
        Goal::None => String::new(),
    };
    println!("{what:<34} {:>10}  {peer:<42} {:>10} {ratio:>7.2}×  {goal}", show(ours), show(theirs));
}

/// A row that stands alone.
pub(crate) fn alone(what: &str, ours: Duration, goal: &Goal) {
    let goal = match *goal {
        Goal::Within(limit) => format!("at most {}: {}", show(limit), met(ours <= limit)),
        Goal::Ratio(_) | Goal::None => String::new(),
    };
    println!("{what:<34} {:>10}  {:<42} {:>10} {:>8}  {goal}", show(ours), "", "", "");
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

fn show(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 1.0 {
        return format!("{:.0} µs", ms * 1e3);
    }
    if ms < 100.0 { format!("{ms:.1} ms") } else { format!("{:.2} s", ms / 1e3) }
}
