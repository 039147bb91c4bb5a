//! `execute`: bring the project to its targets.

use std::time::Duration;

use super::{Conversation, args::Execute, command_line, exit, open, selection};
use crate::{
    exit::Exit,
    failure::Failure,
    pipeline::{
        order::{Errand, Goal, Order},
        outcome::Mode,
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
    let version = version::of_project(&project.dir, wanted.version.as_deref());
    if let Some(version) = &version {
        version::check(version)?;
    }
    let commit = version::commit(&project.dir);
    let goal = || Goal::Forward { version: version.clone(), commit: commit.clone() };
    let order = Order {
        project: &project,
        config: &config,
        errands: targets.into_iter().map(|target| Errand { target, goal: goal() }).collect(),
        plugins,
        mode: if wanted.talk.dry_run { Mode::DryRun } else { Mode::Deploy },
        actor: &version::actor(),
        command: command_line(),
        wait: wanted.talk.wait.map(Duration::from_secs),
        locked: wanted.talk.locked,
        interrupt: conversation.interrupt.clone(),
        redactor: conversation.redactor.clone(),
    };
    let report = carry_out(&order, conversation.reporter(&project), &|plans| conversation.confirm(plans))?;
    Ok(exit(&report, wanted.talk.detailed_exitcode))
}
