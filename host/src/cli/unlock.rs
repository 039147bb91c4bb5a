//! `unlock`: who has the locks of a target, and taking them from a run that hangs.

use std::time::Duration;

use pop_deploy_plugin_api::protocol::{LockState, unlock_command};
use serde_json::{Value, json};

use super::{
    Conversation,
    args::{Talk, Unlock},
    open, print_line, say_on_stderr, selection,
};
use crate::{
    exit::Exit,
    failure::Failure,
    journal::PastRun,
    pipeline::look::View,
    plugins::SearchPath,
    project::Project,
    reporter::{error_lines, printable},
    select,
    unlock::{TargetLocks, cut_off, refuse_others, take},
    version,
};

pub(super) fn unlock(wanted: &Unlock, plugins: &SearchPath) -> Result<Exit, Failure> {
    Conversation::hold(&Talk::reading(wanted.json), |conversation| {
        let actor = version::actor();
        let (project, config) = open(&wanted.site)?;
        let targets = select::select(&config, &selection(&wanted.targets))?;
        let views: Vec<_> = targets
            .into_iter()
            .map(|target| conversation.view((&project, &config), target, plugins, &actor))
            .collect();
        let found = views.iter().map(TargetLocks::look).collect::<Result<Vec<_>, _>>()?;
        let stand = match &wanted.run_id {
            Some(run) if wanted.force => force(&project, &views, found, run, &actor, wanted.wait)?,
            _ => Stand { found, taken: Vec::new(), run: None, left: None },
        };
        let text = if wanted.json { stand.to_value().to_string() } else { stand.text(&project) };
        for line in conversation.redactor.redact(&text).lines() {
            // Names of holders and words of plugins are somebody else's.
            print_line!("{}", printable(line));
        }
        Ok(conversation.interrupt.signal().map_or_else(|| stand.exit(), Exit::Signal))
    })
}

/// Takes from that run what it has, unless another has something.
fn force(
    project: &Project,
    views: &[View<'_>],
    found: Vec<TargetLocks>,
    run: &str,
    actor: &str,
    seconds: u64,
) -> Result<Stand, Failure> {
    refuse_others(&found, run)?;
    let held: Vec<_> = found.iter().map(|locks| !locks.runs().is_empty()).collect();
    if !held.contains(&true) {
        return Ok(Stand { found, taken: Vec::new(), run: Some(run.to_owned()), left: None });
    }
    say_on_stderr(&format!(
        "Ending run `{}`; where it can be asked to stop it has {seconds} s to take itself back\n",
        printable(run)
    ));
    let mut after = Vec::new();
    let mut taken = Vec::new();
    for (view, locks) in views.iter().zip(found) {
        if locks.runs().is_empty() {
            after.push(locks);
            continue;
        }
        let now = take(view, run, Duration::from_secs(seconds))?;
        taken.extend(gone(&locks, &now));
        after.push(now);
    }
    let left = cut_off(project, run, actor)?;
    Ok(Stand { found: after, taken, run: Some(run.to_owned()), left })
}

/// What a run had and has no more.
fn gone(before: &TargetLocks, now: &TargetLocks) -> Vec<String> {
    let here = before.here.iter().map(|_| format!("target `{}` here", before.target));
    let unclear = |place: &str| {
        now.place.is_err() || now.parts().any(|part| part.place == place && is_unclear(&part.state))
    };
    let there = before.parts().filter(|part| part.state.holder().is_some() && !unclear(&part.place));
    here.chain(there.map(|part| part.place.clone())).collect()
}

fn is_unclear(state: &LockState) -> bool {
    matches!(state, LockState::Unclear { .. })
}

/// How the locks stand, and what was done about them.
struct Stand {
    found: Vec<TargetLocks>,
    /// What was taken.
    taken: Vec<String>,
    /// From which run, where that was asked for.
    run: Option<String>,
    /// That run, where it is to be mended.
    left: Option<PastRun>,
}

impl Stand {
    fn is_locked(&self) -> bool {
        self.found.iter().any(|locks| !locks.runs().is_empty())
    }

    fn has_doubts(&self) -> bool {
        let unclear =
            |locks: &TargetLocks| locks.place.is_err() || locks.parts().any(|part| is_unclear(&part.state));
        self.found.iter().any(unclear)
    }

    /// What another run took by now is no failure of an unlocking.
    fn exit(&self) -> Exit {
        match (self.run.is_some(), self.is_locked(), self.has_doubts()) {
            (false, true, _) => Exit::Locked,
            (_, _, true) => Exit::Failed,
            _ => Exit::Done,
        }
    }

    fn text(&self, project: &Project) -> String {
        let mut text = String::new();
        if let Some(run) = self.run.as_ref().filter(|_| !self.taken.is_empty()) {
            text.push_str(&format!("Taken from run `{run}`: {}\n", self.taken.join(", ")));
        }
        for locks in &self.found {
            text.push_str(&self.target_text(locks, project));
        }
        if text.is_empty() {
            text.push_str("Nothing is locked\n");
        }
        if let Some(run) = &self.left {
            let interrupted = Failure::Interrupted(Box::new(run.clone()));
            text.push_str(&format!("{interrupted}\n"));
            text.extend(interrupted.hint().map(|hint| format!("  hint: {hint}\n")));
        }
        text
    }

    /// What there is to say of a target; nothing where all of it is free.
    fn target_text(&self, locks: &TargetLocks, project: &Project) -> String {
        let mut text = String::new();
        if let Some(holder) = &locks.here {
            text.push_str(&format!("  here: {holder}\n"));
        }
        for part in locks.parts() {
            match &part.state {
                LockState::Free => {}
                LockState::Held { holder } => text.push_str(&format!("  {}: {holder}\n", part.place)),
                LockState::Unclear { error } => text.push_str(&indented(&error_lines(error))),
            }
        }
        if let Err(error) = &locks.place {
            text.push_str(&indented(&error_lines(error)));
        }
        for run in locks.runs() {
            let command = unlock_command(run, &project.environment.flags(&locks.target));
            text.push_str(&format!("  hint: if run `{run}` hangs, `{command}` ends it\n"));
        }
        if text.is_empty() { text } else { format!("Target: {}\n{text}", locks.target) }
    }

    fn to_value(&self) -> Value {
        let targets = self.found.iter().map(|locks| {
            let error = locks.place.as_ref().err();
            let place = locks.parts().collect::<Vec<_>>();
            json!({ "target": locks.target, "here": locks.here, "place": place, "error": error })
        });
        json!({
            "v": 1, "type": "unlock", "targets": targets.collect::<Vec<_>>(), "run": self.run, "taken": self.taken,
            "interrupted": self.left.as_ref().map(|run| &run.id),
        })
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
