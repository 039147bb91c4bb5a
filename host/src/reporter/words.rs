//! Numbers and errors as people read them.

use std::time::Duration;

use pop_deploy_plugin_api::{Error, protocol::Effect};

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

/// An error as lines: what, each cause, the hint.
pub fn error_lines(error: &Error) -> String {
    let mut lines = format!("error: {}\n", error.message);
    for cause in &error.causes {
        lines.push_str(&format!("  caused by: {cause}\n"));
    }
    if let Some(hint) = &error.hint {
        lines.push_str(&format!("  hint: {hint}\n"));
    }
    lines
}
