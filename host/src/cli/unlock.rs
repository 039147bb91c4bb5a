//! `unlock`: who has the locks of a target, and taking them from a run that hangs.

use std::{sync::Arc, time::Duration};

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
    pipeline::{
        event::{Bus, Event, Listener, What},
        look::View,
    },
    plugins::SearchPath,
    project::Project,
    reporter::{error_lines, printable},
    select,
    unlock::{TargetLocks, left_behind, record_taking, refuse_others, take},
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
            // It comes with `--force` alone.
            Some(run) => force(&project, &views, found, run, &actor, wanted.wait)?,
            None => Stand { found, taken: Vec::new(), run: None, left: None },
        };
        let text = if wanted.json { stand.to_value().to_string() } else { stand.text(&project) };
        for line in conversation.redactor.redact(&text).lines() {
            print_line!("{line}");
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
    if found.iter().all(|locks| locks.runs().is_empty()) {
        return Ok(Stand { found, taken: Vec::new(), run: Some(run.to_owned()), left: None });
    }
    say_on_stderr(&format!(
        "Ending run `{}`; where it can be asked to stop it has {seconds} s to take itself back\n",
        printable(run)
    ));
    // A run that has lost its life already may have something over there still.
    let was_alive = found.iter().any(|locks| locks.is_held_here_by(run));
    let bus = Arc::new(Bus::new(vec![Box::new(Careful)]));
    let mut after = Vec::new();
    let mut taken = Vec::new();
    for (view, locks) in views.iter().zip(found) {
        if locks.runs().is_empty() {
            after.push(locks);
            continue;
        }
        let now = take(view, run, Duration::from_secs(seconds), &bus)?;
        taken.extend(gone(&locks, &now, run));
        after.push(now);
    }
    let mut left = left_behind(project, run)?;
    if was_alive && left.as_ref().is_some_and(PastRun::is_interrupted) {
        record_taking(project, run, actor)?;
        left = left_behind(project, run)?;
    }
    Ok(Stand { found: after, taken, run: Some(run.to_owned()), left })
}

/// Passes on what there is to be careful about.
struct Careful;

impl Listener for Careful {
    fn hear(&self, event: &Event<'_>) {
        if let What::Warning(message) = event.what {
            say_on_stderr(&printed(&format!("warning: {message}")));
        }
    }
}

/// What the run had and has no more, as far as that is known.
fn gone(before: &TargetLocks, now: &TargetLocks, run: &str) -> Vec<String> {
    let lost_here = before.is_held_here_by(run) && !now.is_held_here_by(run);
    let here = lost_here.then(|| format!("target `{}` here", before.target));
    let is_lost = |place: &str| {
        let state = now.parts().find(|part| part.place == place).map(|part| &part.state);
        state.is_some_and(|state| !is_unclear(state) && !state.is_held_by(run))
    };
    let there = before.parts().filter(|part| part.state.is_held_by(run) && is_lost(&part.place));
    here.into_iter().chain(there.map(|part| part.place.clone())).collect()
}

fn is_unclear(state: &LockState) -> bool {
    matches!(state, LockState::Unclear { .. } | LockState::Unknown)
}

/// How the locks stand, and what was done about them.
struct Stand {
    found: Vec<TargetLocks>,
    /// What was taken.
    taken: Vec<String>,
    /// From which run, where that was asked for.
    run: Option<String>,
    /// That run, where it ended by itself or is to be mended.
    left: Option<PastRun>,
}

impl Stand {
    fn is_locked(&self) -> bool {
        self.found.iter().any(TargetLocks::is_held)
    }

    fn has_doubts(&self) -> bool {
        let unclear =
            |locks: &TargetLocks| locks.place.is_err() || locks.parts().any(|part| is_unclear(&part.state));
        self.found.iter().any(unclear)
    }

    fn interrupted(&self) -> Option<&PastRun> {
        self.left.as_ref().filter(|run| run.is_interrupted())
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
            text.push_str(&printed(&format!("Taken from run `{run}`: {}", self.taken.join(", "))));
        }
        for locks in &self.found {
            text.push_str(&self.target_text(locks, project));
        }
        if text.is_empty() {
            text.push_str("Nothing is locked\n");
        }
        if let Some(run) = self.left.as_ref().filter(|run| run.is_over()) {
            text.push_str(&format!(
                "run `{}` ended by itself: `pop-deploy logs {}` shows how\n",
                run.id, run.id
            ));
        }
        if let Some(run) = self.interrupted() {
            let interrupted = Failure::Interrupted(Box::new(run.clone()));
            text.push_str(&printed(&interrupted.to_string()));
            text.extend(interrupted.hint().map(|hint| printed(&format!("  hint: {hint}"))));
        }
        text
    }

    /// What there is to say of a target; nothing where all of it is free.
    fn target_text(&self, locks: &TargetLocks, project: &Project) -> String {
        let mut text = String::new();
        if let Some(holder) = &locks.here {
            text.push_str(&printed(&format!("  here: {holder}")));
        }
        for part in locks.parts() {
            match &part.state {
                LockState::Free => {}
                LockState::Held { holder } => {
                    text.push_str(&printed(&format!("  {}: {holder}", part.place)));
                }
                LockState::Unclear { error } => text.push_str(&indented(&error_lines(error))),
                LockState::Unknown => {
                    text.push_str(&printed(&format!(
                        "  {}: in a state that this version doesn't know",
                        part.place
                    )));
                }
            }
        }
        if let Err(error) = &locks.place {
            text.push_str(&indented(&error_lines(error)));
        }
        for run in locks.runs() {
            let command = unlock_command(run, &project.environment.flags(&locks.target));
            text.push_str(&printed(&format!("  hint: if run `{run}` hangs, `{command}` ends it")));
        }
        if locks.is_held() && locks.runs().is_empty() {
            text.push_str("  hint: look again: that run doesn't say yet which it is\n");
        }
        if text.is_empty() {
            text
        } else {
            format!("{}{text}", printed(&format!("Target: {}", locks.target)))
        }
    }

    fn to_value(&self) -> Value {
        let targets = self.found.iter().map(|locks| {
            let error = locks.place.as_ref().err();
            let place = locks.parts().collect::<Vec<_>>();
            json!({ "target": locks.target, "here": locks.here, "place": place, "error": error })
        });
        json!({
            "v": 1, "type": "unlock", "targets": targets.collect::<Vec<_>>(), "run": self.run, "taken": self.taken,
            "ended_by_itself": self.left.as_ref().map(PastRun::is_over),
            "interrupted": self.interrupted().map(|run| &run.id),
        })
    }
}

/// A line of its own: names of holders and words of plugins are somebody else's.
fn printed(line: &str) -> String {
    format!("{}\n", printable(line))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
