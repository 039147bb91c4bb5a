//! Numbers and errors as people read them.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use pop_deploy_plugin_api::{
    Error,
    protocol::{CheckStatus, Effect, Release},
};

/// What went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What went wrong.
pub const BAD: Style = AnsiColor::Red.on_default();
/// What people should look at.
pub const CAREFUL: Style = AnsiColor::Yellow.on_default();

/// A release as people call it: by its version, where it has one.
pub fn named(release: &Release) -> &str {
    release.version.as_deref().unwrap_or(&release.id)
}

/// `0.2s`, `75.0s`.
pub fn seconds(took: Duration) -> String {
    format!("{:.1}s", took.as_secs_f64())
}

/// The sign in front of a change: `+` new, `~` changed, `-` gone.
pub fn effect_sign(effect: Effect) -> char {
    match effect {
        Effect::Create => '+',
        Effect::Update | Effect::Replace => '~',
        Effect::Delete => '-',
        Effect::None => '=',
        Effect::Maybe => '?',
    }
}

/// How a check ended, four columns wide.
pub fn check_sign(status: CheckStatus) -> String {
    match status {
        CheckStatus::Pass => format!("{GOOD}ok{GOOD:#}  "),
        CheckStatus::Warn => format!("{CAREFUL}warn{CAREFUL:#}"),
        CheckStatus::Fail => format!("{BAD}fail{BAD:#}"),
        CheckStatus::Skip => "skip".to_owned(),
    }
}

/// Somebody else's text on one line: it doesn't move the cursor, and brings no colours.
pub fn printable(text: &str) -> String {
    console::strip_ansi_codes(text)
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect()
}

/// Somebody else's text of several lines: those below the first are set in, as no line of ours is.
fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n      ")
}

/// An error as lines: what, each cause, the hint.
pub fn error_lines(error: &Error) -> String {
    let mut lines = format!("error: {}\n", printable_lines(&error.message));
    for cause in &error.causes {
        lines.push_str(&format!("  caused by: {}\n", printable_lines(cause)));
    }
    if let Some(hint) = &error.hint {
        lines.push_str(&format!("  hint: {}\n", printable_lines(hint)));
    }
    lines
}
