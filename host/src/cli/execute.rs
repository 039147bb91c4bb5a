//! `execute`: bring the project to its targets.

use std::time::Duration;

use super::{Conversation, args::Execute, command_line, exit, open, selection};
use crate::{
    exit::Exit,
    failure::Failure,
    pipeline::{
        order::{Errand, Goal, Order},
        outcome::{Mode, Report},
        recover, resume,
        run::carry_out,
    },
    plugins::SearchPath,
    select, version,
};

pub(super) fn execute(wanted: &Execute, plugins: &SearchPath) -> Result<Exit, Failure> {
    Conversation::hold(&wanted.talk, |conversation| talk(wanted, plugins, conversation))
}

fn talk(wanted: &Execute, plugins: &SearchPath, conversation: &Conversation) -> Result<Exit, Failure> {
    let (project, config) = open(&wanted.site)?;
    let targets = select::select(&config, &selection(&wanted.targets))?;
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    conversation.find_somebody(&names)?;
    let mut order = Order {
        project: &project,
        config: &config,
        errands: Vec::new(),
        plugins,
        mode: match wanted.talk.dry_run {
            true => Mode::DryRun,
            false if wanted.resume => Mode::Resume,
            false => Mode::Deploy,
        },
        actor: &version::actor(),
        command: command_line(),
        wait: wanted.talk.wait.map(Duration::from_secs),
        locked: wanted.talk.locked,
        interrupt: conversation.interrupt.clone(),
        redactor: conversation.redactor.clone(),
    };
    let report = if wanted.resume {
        go_on(&order, &names, conversation)?
    } else {
        let version = version::of_project(&project.dir, wanted.version.as_deref());
        if let Some(version) = &version {
            version::check(version)?;
        }
        let commit = version::commit(&project.dir);
        let goal = || Goal::Forward { version: version.clone(), commit: commit.clone() };
        order.errands = targets.into_iter().map(|target| Errand { target, goal: goal() }).collect();
        carry_out(&order, conversation.reporter(&project), &|plans| conversation.confirm(plans))?
    };
    Ok(exit(&report, wanted.talk.detailed_exitcode))
}

/// Finishes the oldest run that died at one of these targets.
fn go_on(order: &Order<'_>, targets: &[&str], conversation: &Conversation) -> Result<Report, Failure> {
    let Some(past) = recover::unfinished(order.project, targets)?.into_iter().next() else {
        return Err(Failure::NothingToResume { targets: targets.join(", ") });
    };
    let how_it_stands = Failure::Interrupted(Box::new(past.clone())).to_string();
    if !conversation.confirm_text(&format!("{how_it_stands}\n\nIt is to be gone on with.\n")) {
        return Err(Failure::Declined);
    }
    resume::go_on(order, &past, conversation.reporter(order.project))
}
