//! For people: one live line a target on a terminal, a plain line a step elsewhere.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pop_deploy_plugin_api::{
    protocol::{Outcome, Plan},
    redact::Redactor,
};

use super::{BAD, CAREFUL, GOOD, check_sign, effect_sign, error_lines, lost::output_lost, seconds};
use crate::{
    config::Environment,
    pipeline::{
        event::{Announced, Event, Listener, Place, What},
        outcome::{Ending, Mode, Report, TargetEnding, TargetReport},
    },
    signals::Interrupt,
};

/// More changes than this are counted, not listed.
const LISTED: usize = 40;

/// Writes for people, on standard output.
pub struct Human {
    screen: MultiProgress,
    live: bool,
    redactor: Redactor,
    interrupt: Arc<Interrupt>,
    /// What to say about the history at the end; absent for dry runs.
    history: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mode: Option<Mode>,
    several: bool,
    lines: BTreeMap<String, ProgressBar>,
}

impl Human {
    /// A reporter; `history` is the file that the end of a run names.
    pub fn new(redactor: Redactor, interrupt: Arc<Interrupt>, history: PathBuf) -> Self {
        let live = io::stdout().is_terminal();
        let screen = MultiProgress::with_draw_target(if live {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::hidden()
        });
        Self { screen, live, redactor, interrupt, history, state: Mutex::default() }
    }

    /// Prints whole lines above the live ones.
    fn say(&self, text: &str) {
        let text = self.redactor.redact(text);
        let written = self.screen.suspend(|| {
            let mut out = anstream::stdout().lock();
            writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush())
        });
        if let Err(error) = written {
            output_lost(&error, &self.interrupt);
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

    fn begin(&self, target: &str, place: Place<'_>) {
        if !self.live {
            return;
        }
        let bar = self.screen.add(ProgressBar::new_spinner());
        // The template is a constant; a fallback keeps a typing mistake in it from costing a deployment.
        let style = ProgressStyle::with_template("{spinner} {prefix}{msg} ({elapsed})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(format!("{}... ", self.titled(target, place)));
        bar.enable_steady_tick(Duration::from_millis(120));
        self.state().lines.insert(target.to_owned(), bar);
    }

    fn progress(&self, target: &str, message: &str, done: Option<(u64, u64)>, unit: &str) {
        if let Some(bar) = self.state().lines.get(target) {
            let count = done.map_or(String::new(), |(done, total)| match unit {
                "bytes" => format!(" {}/{}", indicatif::HumanBytes(done), indicatif::HumanBytes(total)),
                unit => format!(" {}/{} {unit}", indicatif::HumanCount(done), indicatif::HumanCount(total)),
            });
            bar.set_message(self.redactor.redact(&format!("{message}{count}")).into_owned());
        }
    }

    fn titled(&self, target: &str, place: Place<'_>) -> String {
        let whose = if self.state().several { format!("{target}: ") } else { String::new() };
        format!("{whose}[{}/{}] {}", place.number, place.of, place.step.title)
    }

    fn end(&self, target: &str, place: Place<'_>, how: &str, took: Duration) {
        let bar = self.state().lines.remove(target);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        self.say(&format!("{}... {how} ({})", self.titled(target, place), seconds(took)));
    }

    fn plan(&self, target: &str, plan: &Plan) {
        let state = self.state();
        let (dry, several) = (state.mode.is_none_or(Mode::is_dry), state.several);
        drop(state);
        if dry {
            let whose = if several { format!("\n{target}\n") } else { "\n".to_owned() };
            self.say(&format!("{whose}{}", plan_text(plan)));
        } else if !plan.summary.is_empty() {
            let whose = if several { format!("{target}: ") } else { String::new() };
            self.say(&format!("{whose}Plan: {}", plan.summary));
        }
    }

    fn finish(&self, report: &Report) {
        for bar in std::mem::take(&mut self.state().lines).into_values() {
            bar.finish_and_clear();
        }
        self.say(&format!("\n{}", closing(report, &self.history.display().to_string())));
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
            What::StepStarted(place) => self.begin(target, *place),
            What::Progress { message, done, unit, .. } => self.progress(target, message, *done, unit),
            What::Output { text, .. } => self.progress(target, text, None, ""),
            What::StepFinished { place, result, took } => {
                let how = match result {
                    Ok((Outcome::Skipped, why)) => format!("skipped: {why}"),
                    Ok((Outcome::Unchanged, _)) => "unchanged".to_owned(),
                    Ok((Outcome::Changed, "")) => format!("{GOOD}done{GOOD:#}"),
                    Ok((Outcome::Changed, summary)) => format!("{GOOD}done{GOOD:#}, {summary}"),
                    Err(_) => format!("{BAD}failed{BAD:#}"),
                };
                self.end(target, *place, &how, *took);
            }
            What::Warning(message) => self.say(&format!("{CAREFUL}warning:{CAREFUL:#} {message}")),
            What::RollbackStarted { .. } => {
                self.say(&format!("{CAREFUL}Taking {target} back{CAREFUL:#}"));
            }
            What::Undone { step, result } => match result {
                Ok("") => {}
                Ok(summary) => self.say(&format!("  {}: {summary}", step.id)),
                Err(error) => {
                    self.say(&format!("  {}: {BAD}not taken back{BAD:#}\n{}", step.id, error_lines(error)))
                }
            },
            What::RunFinished(report) => self.finish(report),
            What::HealthAttempt { what, healthy: false, detail, .. } => {
                self.say(&format!("  {what}: not healthy, {detail}"));
            }
            What::HealthAttempt { .. }
            | What::CommandStarted { .. }
            | What::CommandFinished { .. }
            | What::Switched { .. } => {}
        }
    }
}

/// The three lists of a dry run: checked, would change, could not check; then the steps.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = String::from("Checked\n");
    for check in &plan.checked {
        let sign = check_sign(check.status);
        text.push_str(&format!("  {sign} {}: {}\n", check.name, check.message));
        if let Some(hint) = &check.hint {
            text.push_str(&format!("       hint: {hint}\n"));
        }
    }
    let summary = if plan.summary.is_empty() { "nothing" } else { &plan.summary };
    text.push_str(&format!("Would change: {summary}\n"));
    for change in plan.changes.iter().take(LISTED) {
        let detail = if change.detail.is_empty() { String::new() } else { format!(" ({})", change.detail) };
        text.push_str(&format!("  {} {}{detail}\n", effect_sign(change.effect), change.what));
    }
    if plan.changes.len() > LISTED {
        let more = indicatif::HumanCount((plan.changes.len() - LISTED) as u64);
        text.push_str(&format!("  … and {more} more; `--json` lists them all\n"));
    }
    if !plan.unchecked.is_empty() {
        text.push_str("Could not check\n");
        for note in &plan.unchecked {
            text.push_str(&format!("  {}: {}\n", note.what, note.why));
        }
    }
    text.push_str("Steps\n");
    for (index, step) in plan.steps.iter().enumerate() {
        let reason = if step.reason.is_empty() { String::new() } else { format!(": {}", step.reason) };
        let irreversible = if step.irreversible { " (can't be taken back)" } else { "" };
        text.push_str(&format!("  {}. {}{reason}{irreversible}\n", index + 1, step.title));
        for command in &step.commands {
            text.push_str(&format!("     $ {command}\n"));
        }
    }
    text
}

/// The end of a run: result, duration, where things are, what to do next.
fn closing(report: &Report, history: &str) -> String {
    let mut text = String::new();
    if let Some(error) = &report.error {
        text.push_str(&error_lines(error));
    }
    for target in report.targets.iter().filter(|_| report.targets.len() > 1 || report.error.is_some()) {
        text.push_str(&format!("{}: {}\n", target.name, target_result(target)));
    }
    let style = if report.ending.is_success() { GOOD } else { BAD };
    text.push_str(&format!("Result: {style}{}{style:#}\n", result(report)));
    text.push_str(&format!("Duration: {}\n", seconds(report.took)));
    if !report.mode.is_dry() {
        text.push_str(&format!("Deployment: {}\n", report.run));
        text.push_str(&format!("History: {history}\n"));
    }
    if let Some(log) = &report.log {
        text.push_str(&format!("Log: {}\n", log.display()));
    }
    text.push_str(&format!("Next: {}\n", next(report)));
    text
}

fn result(report: &Report) -> String {
    match report.ending {
        Ending::Succeeded if matches!(report.mode, Mode::Recovery | Mode::Abort) => {
            match report.targets.as_slice() {
                [TargetReport { before: Some(before), .. }] => {
                    format!("taken back, {} is live", before.version.as_deref().unwrap_or(&before.id))
                }
                [_] => "taken back, nothing is live".to_owned(),
                targets => format!("taken back, {} targets", targets.len()),
            }
        }
        Ending::Succeeded => match report.targets.as_slice() {
            [target] => {
                let to = target.release.version.as_deref().unwrap_or(&target.release.id);
                match target.before.as_ref().and_then(|before| before.version.as_deref()) {
                    Some(from) if from != to => format!("succeeded, {from} → {to}"),
                    _ => format!("succeeded, {to}"),
                }
            }
            targets => format!("succeeded, {} targets", targets.len()),
        },
        Ending::CanaryOpen { wanted: true } => "canary open, it waits for a verdict".to_owned(),
        Ending::CanaryOpen { wanted: false } => {
            "canary open: it couldn't be judged, and waits for a verdict".to_owned()
        }
        Ending::Planned { pending: true } => "dry run, nothing was changed".to_owned(),
        Ending::Planned { pending: false } => "dry run, nothing would change".to_owned(),
        Ending::Refused => "refused, nothing was tried".to_owned(),
        Ending::NotReady => "preflight failed, nothing was changed".to_owned(),
        Ending::Locked => "locked, nothing was changed".to_owned(),
        Ending::NoRelease => "nothing to go back to, nothing was changed".to_owned(),
        Ending::FailedBeforeLive => "failed, nothing live was changed".to_owned(),
        Ending::RolledBack => "failed and rolled back, the release before is live".to_owned(),
        Ending::Partial => "partly done, see the targets above".to_owned(),
        Ending::Stuck => "stuck, a person is needed: see the targets above".to_owned(),
        Ending::Interrupted { signal } => format!("stopped by signal {signal}"),
    }
}

fn target_result(target: &TargetReport) -> String {
    match target.ending {
        TargetEnding::Skipped => "nothing was changed".to_owned(),
        TargetEnding::Staged => "staged, not live".to_owned(),
        TargetEnding::CanaryOpen => {
            let version = target.release.version.as_deref().unwrap_or(&target.release.id);
            format!("{version} is live for a part, as a canary")
        }
        TargetEnding::Verified => {
            format!("{} is live", target.release.version.as_deref().unwrap_or(&target.release.id))
        }
        TargetEnding::RolledBack => match &target.before {
            Some(before) => {
                format!("rolled back, {} is live", before.version.as_deref().unwrap_or(&before.id))
            }
            None => "rolled back, nothing is live".to_owned(),
        },
        TargetEnding::Failed => "failed, nothing live was changed".to_owned(),
        TargetEnding::LeftLive => "failed while live, and left so, as deploy.json says".to_owned(),
        TargetEnding::RollbackFailed => "rollback failed; see above what is left".to_owned(),
        TargetEnding::Unknown => "nobody knows how it stands; see above".to_owned(),
    }
}

fn next(report: &Report) -> String {
    let flag = report.environment.as_ref().map_or(String::new(), Environment::flag);
    let command = |name: &str| format!("`pop-deploy {name}{flag}`");
    match report.ending {
        Ending::Succeeded if matches!(report.mode, Mode::Deploy | Mode::Resume) => {
            format!("{} looks again, {} goes back", command("verify"), command("rollback"))
        }
        Ending::Succeeded => {
            format!("{} looks again, {} shows what was", command("verify"), command("history"))
        }
        Ending::CanaryOpen { .. } => {
            format!("{} has it go all the way, {} takes it back", command("promote"), command("abort"))
        }
        Ending::Planned { pending: true } => "the same command without `--dry-run` does it".to_owned(),
        Ending::Planned { pending: false } => "nothing to do".to_owned(),
        Ending::Refused | Ending::NotReady | Ending::FailedBeforeLive | Ending::RolledBack => {
            "mend what the error names, then run it again".to_owned()
        }
        Ending::Locked => "try again later, or wait with `--wait SECS`".to_owned(),
        Ending::NoRelease => format!("{} shows what was deployed", command("history")),
        Ending::Partial => format!("{} takes a target back", command("rollback --target NAME")),
        Ending::Stuck => format!("mend it as said above, then {}", command("verify")),
        Ending::Interrupted { .. } => format!("{} shows how it stands", command("history")),
    }
}
