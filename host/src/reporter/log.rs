//! What a run's folder keeps for later, redacted, one line each: `log`, everything that happened and everything that
//! was printed, for people; `events.jsonl`, the lines that `--json` prints, for programs and for reports.

use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use pop_deploy_plugin_api::{Error, IoContext as _, protocol::Stream, redact::Redactor};

use super::{error_lines, json::Lines, seconds};
use crate::pipeline::event::{Event, Listener, What};

/// The name of the file beside the log.
pub const EVENTS: &str = "events.jsonl";

/// Writes `log` and `events.jsonl` in the run's folder.
pub struct Log {
    file: Mutex<File>,
    events: Mutex<(File, Lines)>,
    redactor: Redactor,
}

impl Log {
    /// Begins the file at `path`, and the events beside it; goes on with them where they are there.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(path: &Path, redactor: Redactor) -> Result<Self, Error> {
        let open =
            |path: &Path| File::options().create(true).append(true).mode(0o600).open(path).at("write", path);
        let events = open(&path.with_file_name(EVENTS))?;
        Ok(Self { file: Mutex::new(open(path)?), events: Mutex::new((events, Lines::default())), redactor })
    }

    fn keep(&self, event: &Event<'_>) {
        // How far a step got is of no use afterwards, and there is much of it.
        if matches!(event.what, What::Progress { .. }) {
            return;
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let line = events.1.of(event) + "\n";
        // As below.
        events.0.write_all(self.redactor.redact(&line).as_bytes()).unwrap_or_default();
    }
}

impl Listener for Log {
    fn hear(&self, event: &Event<'_>) {
        self.keep(event);
        let Some(text) = line(&event.what) else { return };
        let target = event.target.map_or(String::new(), |target| format!(" {target}:"));
        let mut lines = String::new();
        for line in text.lines() {
            lines.push_str(&format!("{}{target} {line}\n", event.at));
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end a deployment that is half way: the journal, which can, will notice it too.
        file.write_all(self.redactor.redact(&lines).as_bytes()).unwrap_or_default();
    }
}

fn line(what: &What<'_>) -> Option<String> {
    Some(match what {
        What::RunStarted { run, mode, .. } => format!("run {run} begins: {}", mode.name()),
        What::Planned(plan) => format!("planned {} steps: {}", plan.steps.len(), plan.summary),
        What::StepStarted(place) => {
            let commands: String =
                place.step.commands.iter().map(|command| format!("\n$ {command}")).collect();
            format!("[{}/{}] {} ({}){commands}", place.number, place.of, place.step.title, place.step.id)
        }
        What::Progress { .. } => return None,
        What::Output { of, stream, text } => {
            let sign = if *stream == Stream::Stdout { '|' } else { '!' };
            format!("{of} {sign} {text}")
        }
        What::CommandStarted { of, command } => format!("{of} $ {command}"),
        What::CommandFinished { of, exit_code, took } => match exit_code {
            Some(code) => format!("{of} ended with exit code {code} after {}", seconds(*took)),
            None => format!("{of} was ended after {}", seconds(*took)),
        },
        What::HealthAttempt { what, healthy, detail, .. } => {
            format!("{what}: {} {detail}", if *healthy { "healthy" } else { "not healthy" })
        }
        What::Warning(message) => format!("warning: {message}"),
        What::StepFinished { place, result, took } => match result {
            Ok((_, summary)) => {
                format!("[{}/{}] done after {} {summary}", place.number, place.of, seconds(*took))
            }
            Err(error) => {
                format!(
                    "[{}/{}] failed after {}\n{}",
                    place.number,
                    place.of,
                    seconds(*took),
                    error_lines(error)
                )
            }
        },
        What::Switched { to, .. } => format!("live: {}", to.id),
        What::RollbackStarted { because } => format!("taking back because: {because}"),
        What::Undone { step, result } => match result {
            Ok(summary) => format!("taken back: {} {summary}", step.id),
            Err(error) => format!("NOT taken back: {}\n{}", step.id, error_lines(error)),
        },
        What::RunFinished(report) => {
            format!("run ends: {} after {}", report.ending.name(), seconds(report.took))
        }
    })
}
