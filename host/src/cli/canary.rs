//! `promote` and `abort`: a person's verdict on an open canary.

use std::time::Duration;

use super::{Conversation, args::Judge, command_line, exit, open, questions};
use crate::{
    exit::Exit,
    failure::Failure,
    journal::PastRun,
    pipeline::{canary, order::Order, outcome::Mode, recover},
    plugins::SearchPath,
    project::Project,
    version,
};

pub(super) fn promote(wanted: &Judge, plugins: &SearchPath) -> Result<Exit, Failure> {
    let mode = if wanted.talk.dry_run { Mode::PromoteDryRun } else { Mode::Promote };
    judge(wanted, plugins, mode, "Have it go all the way")
}

pub(super) fn abort(wanted: &Judge, plugins: &SearchPath) -> Result<Exit, Failure> {
    let mode = if wanted.talk.dry_run { Mode::AbortDryRun } else { Mode::Abort };
    judge(wanted, plugins, mode, "Take it back")
}

fn judge(wanted: &Judge, plugins: &SearchPath, mode: Mode, verdict: &str) -> Result<Exit, Failure> {
    Conversation::hold(&wanted.talk, |conversation| {
        let (project, config) = open(&wanted.site)?;
        let past = find(&project, wanted.target.as_deref())?;
        let names: Vec<_> = past.info.targets.iter().map(String::as_str).collect();
        conversation.find_somebody(&names)?;
        let order = Order {
            project: &project,
            config: &config,
            errands: Vec::new(),
            plugins,
            mode,
            actor: &version::actor(),
            command: command_line(),
            wait: wanted.talk.wait.map(Duration::from_secs),
            interrupt: conversation.interrupt.clone(),
            redactor: conversation.redactor.clone(),
        };
        let how_it_stands = Failure::CanaryOpen(Box::new(past.clone())).to_string();
        let confirmation = questions::confirm_verdict(&how_it_stands, verdict);
        if conversation.is_asked_by_a_program() {
            conversation.decide(&confirmation)?;
        }
        if !conversation.confirm_text("", &confirmation) {
            return Err(Failure::Declined);
        }
        let reporter = conversation.reporter(&project);
        let report = match mode {
            Mode::Promote => canary::promote(&order, &past, reporter),
            Mode::Abort => recover::take_back(&order, &past, reporter),
            _ => canary::preview(&order, &past, reporter),
        }?;
        Ok(exit(&report, wanted.talk.detailed_exitcode))
    })
}

/// The canary at that target, or the only one.
fn find(project: &Project, target: Option<&str>) -> Result<PastRun, Failure> {
    let mut runs = match target {
        Some(target) => canary::open_at(project, &[target])?,
        None => canary::open(project)?,
    };
    match (runs.pop(), runs.is_empty()) {
        (None, _) => Err(Failure::NoOpenCanary { target: target.map(str::to_owned) }),
        (Some(run), true) => Ok(run),
        (Some(last), false) => {
            let targets = runs.iter().chain([&last]).flat_map(|run| run.info.targets.clone());
            Err(Failure::SeveralCanaries { targets: targets.collect() })
        }
    }
}
