//! `plugin list`: every file that is called like a plugin, and what becomes of it.

use serde_json::{Value, json};

use super::{print_line, say};
use crate::plugins::{Candidate, Outline, SearchPath, State, Verdict};

pub(super) fn print(found: &[Candidate], search: &SearchPath) {
    for candidate in found {
        match &candidate.build {
            Some(build) => say!(
                "{} {}  serves {}  api {}-{}  {}",
                build.id(),
                build.version(),
                build.types().join(", "),
                build.api()[0],
                build.api()[1],
                state(candidate),
            ),
            None => say!("?  {}", state(candidate)),
        }
        say!("  {} ({})", candidate.path.display(), candidate.origin);
    }
    if found.is_empty() {
        print_line!("There are no plugins. Looked in:");
        for folder in search.folders() {
            say!("  {} ({})", folder.path.display(), folder.origin);
        }
    }
}

/// How a file stands, for people.
pub(super) fn state(candidate: &Candidate) -> String {
    let trust = match &candidate.trust {
        Some(Verdict::Recorded) => ", recorded",
        Some(Verdict::New) => ", new here",
        Some(Verdict::Changed(_)) => ", CHANGED since it was recorded",
        Some(Verdict::BesideExecutable) | None => "",
    };
    match reason(candidate) {
        None => format!("ready{trust}"),
        Some(reason) => format!("{reason}{trust}"),
    }
}

/// Why a file would serve nothing; none where it would.
fn reason(candidate: &Candidate) -> Option<String> {
    match &candidate.state {
        State::Ready => None,
        State::ShadowedBy(other) => Some(format!("shadowed by {}", other.display())),
        State::InConflictWith(other) => {
            Some(format!("in conflict with {}, which claims the same version and differs", other.display()))
        }
        State::Refused(refusal) => Some(format!("refused: it {refusal}")),
    }
}

/// How a file stands, for programs: the words of `state` and `trust` stay.
pub(super) fn to_json(candidate: &Candidate) -> Value {
    let (word, other) = match &candidate.state {
        State::Ready => ("ready", None),
        State::ShadowedBy(other) => ("shadowed", Some(other)),
        State::InConflictWith(other) => ("conflict", Some(other)),
        State::Refused(_) => ("refused", None),
    };
    let trust = candidate.trust.as_ref().map(|verdict| match verdict {
        Verdict::New => "new",
        Verdict::Recorded => "recorded",
        Verdict::Changed(_) => "changed",
        Verdict::BesideExecutable => "beside_executable",
    });
    // What isn't UTF-8 can't stand in JSON; a name that is nearly right is better than none.
    let text = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    let other = other.map(text);
    json!({
        "path": text(&candidate.path),
        "found": candidate.origin.to_string(),
        "state": word,
        "ready": word == "ready",
        "reason": reason(candidate),
        "shadowed_by": other.as_ref().filter(|_| word == "shadowed"),
        "conflicts_with": other.as_ref().filter(|_| word == "conflict"),
        "trust": trust,
        "sha256": candidate.sha256,
        "manifest": candidate.build.as_ref().map(Outline::to_json),
    })
}
