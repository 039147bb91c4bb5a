//! For people: one live line a target on a terminal, a plain line a step elsewhere.

mod closing;
mod plan;
mod screen;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use indicatif::{HumanBytes, HumanCount};
use pop_deploy_plugin_api::{
    protocol::{Outcome, Plan},
    redact::Redactor,
};

use self::{closing::closing, plan::plan_warnings, screen::Screen};
use super::{BAD, CAREFUL, GOOD, error_lines, printable, seconds};
use crate::{
    config::Environment,
    pipeline::{
        event::{Announced, Event, Listener, Place, What},
        outcome::{Mode, Report},
    },
    signals::Interrupt,
};

pub use plan::plan_text;

/// How much people want to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Loudness {
    /// What went wrong, and the result.
    Quiet,
    /// Each step.
    #[default]
    Usual,
    /// Each command, and what it printed.
    Loud,
}

/// Writes for people, on standard output.
pub struct Human {
    screen: Arc<Screen>,
    loudness: Loudness,
    /// What to say about the history at the end; absent for dry runs.
    history: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mode: Option<Mode>,
    several: bool,
}

impl Human {
    /// A reporter; `history` is the file that the end of a run names.
    pub fn new(redactor: Redactor, interrupt: Arc<Interrupt>, history: PathBuf, loudness: Loudness) -> Self {
        Self { screen: Screen::new(redactor, interrupt), loudness, history, state: Mutex::default() }
    }

    /// Says what is to be read in any case.
    fn insist(&self, text: &str) {
        self.screen.say(text);
    }

    /// Says what is to be read unless somebody wants it quiet.
    fn say(&self, text: &str) {
        if self.loudness > Loudness::Quiet {
            self.screen.say(text);
        }
    }

    /// Says what is only to be read where somebody wants all of it.
    fn add(&self, target: &str, text: &str) {
        if self.loudness == Loudness::Loud {
            let whose = if self.state().several && !target.is_empty() {
                format!("{target}: ")
            } else {
                String::new()
            };
            self.screen.say(&format!("  {whose}{}", printable(text)));
        }
    }

    fn announce(&self, mode: Mode, environment: Option<&Environment>, targets: &[Announced<'_>]) {
        let mut state = self.state();
        state.mode = Some(mode);
        state.several = targets.len() > 1;
        drop(state);
        let place = environment.map_or(String::new(), |name| format!(" · Environment: {name}"));
        for target in targets {
            let primary = if target.primary { " (primary)" } else { "" };
            let version = target.version.unwrap_or("unknown");
            self.say(&format!(
                "Target: {}{primary}{place} · Mode: {} · Version: {version}",
                target.name,
                mode.name()
            ));
        }
    }

    fn begin(&self, target: &str, title: &str) {
        if self.loudness > Loudness::Quiet {
            self.screen.begin(target, title);
        }
    }

    fn titled(&self, target: &str, place: Place<'_>) -> String {
        let whose = if self.state().several { format!("{target}: ") } else { String::new() };
        format!("{whose}[{}/{}] {}", place.number, place.of, place.step.title)
    }

    fn end(&self, target: &str, text: &str) {
        self.screen.end(target);
        self.say(text);
    }

    fn plan(&self, target: &str, plan: &Plan) {
        let state = self.state();
        let (dry, several) = (state.mode.is_none_or(Mode::is_dry), state.several);
        drop(state);
        if dry {
            let whose = if several { format!("\n{target}\n") } else { "\n".to_owned() };
            self.say(&format!("{whose}{}", plan_text(plan)));
            return;
        }
        let whose = if several { format!("{target}: ") } else { String::new() };
        if !plan.summary.is_empty() {
            self.say(&format!("{whose}Plan: {}", plan.summary));
        }
        for warning in plan_warnings(plan) {
            self.insist(&format!("{whose}{warning}"));
        }
    }

    fn finish(&self, report: &Report) {
        self.screen.clear();
        self.insist(&closing(report, &self.history.display().to_string(), self.loudness));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Human {
    fn hear(&self, event: &Event<'_>) {
        let target = event.target.unwrap_or_default();
        match &event.what {
            What::RunStarted { mode, environment, targets, .. } => {
                self.announce(*mode, *environment, targets)
            }
            What::Planned(plan) => self.plan(target, plan),
            What::StepStarted(place) => self.begin(target, &self.titled(target, *place)),
            What::Progress { message, done, unit, .. } => {
                self.screen.progress(target, &format!("{message}{}", count(*done, unit)));
            }
            What::Output { text, .. } => {
                self.screen.progress(target, text);
                self.add(target, &format!("| {text}"));
            }
            What::CommandStarted { command, .. } => self.add(target, &format!("$ {command}")),
            What::CommandFinished { exit_code, took, .. } if *exit_code != Some(0) => {
                let code = exit_code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
                self.add(target, &format!("ended with {code} after {}", seconds(*took)));
            }
            What::StepFinished { place, result, took } => {
                let how = match result {
                    Ok((Outcome::Skipped, why)) => format!("skipped: {why}"),
                    Ok((Outcome::Unchanged, _)) => "unchanged".to_owned(),
                    Ok((Outcome::Changed, "")) => format!("{GOOD}done{GOOD:#}"),
                    Ok((Outcome::Changed, summary)) => format!("{GOOD}done{GOOD:#}, {summary}"),
                    Err(_) => format!("{BAD}failed{BAD:#}"),
                };
                self.end(target, &format!("{}... {how} ({})", self.titled(target, *place), seconds(*took)));
            }
            What::Warning(message) => self.insist(&format!("{CAREFUL}warning:{CAREFUL:#} {message}")),
            What::RollbackStarted { .. } => {
                self.insist(&format!("{CAREFUL}Taking {target} back{CAREFUL:#}"));
                self.begin(target, &format!("Taking {target} back"));
            }
            What::Undone { step, result } => match result {
                Ok("") => {}
                Ok(summary) => self.say(&format!("  {}: {summary}", step.id)),
                Err(error) => {
                    self.insist(&format!("  {}: {BAD}not taken back{BAD:#}\n{}", step.id, error_lines(error)))
                }
            },
            What::RunFinished(report) => self.finish(report),
            What::HealthAttempt { what, healthy: false, detail, .. } => {
                self.say(&format!("  {what}: not healthy, {detail}"));
            }
            What::HealthAttempt { what, detail, .. } => {
                self.add(target, &format!("{what}: healthy, {detail}"))
            }
            What::CommandFinished { .. } | What::Switched { .. } => {}
        }
    }
}

/// `, 3/7 files`; nothing where nobody counted.
fn count(done: Option<(u64, u64)>, unit: &str) -> String {
    match (done, unit) {
        (None, _) => String::new(),
        (Some((done, total)), "bytes") => format!(" {}/{}", HumanBytes(done), HumanBytes(total)),
        (Some((done, total)), unit) => format!(" {}/{} {unit}", HumanCount(done), HumanCount(total)),
    }
}
