//! The step that makes the service what a release is, and the way back to what it was.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, Process, Result,
    protocol::{Command, Effect, Outcome, Phase, Receipt, RunRequest, Step, Undo},
};
use serde::{Deserialize, Serialize};

use super::{spec::Spec, state};
use crate::{app::App, command::IMAGE, engine::Engine, labels::RUN, steps, update::Updated};

/// How often the Swarm is asked.
pub(crate) const LOOK: Duration = Duration::from_millis(250);
/// What the Swarm calls an update, or its own way back, that it has given up.
const PAUSED: [&str; 2] = ["paused", "rollback_paused"];
/// How long a change is tried where the Swarm writes to the service itself, as when an update of its own begins or ends.
const CROSSED: Duration = Duration::from_secs(60);

/// `update`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Update {
    name: String,
    /// What it is to be; without an image until that is built.
    to: Spec,
    /// What it is: absent where it isn't there. What goes back goes there.
    before: Option<Spec>,
}

/// What `update` leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Begun {
    #[serde(flatten)]
    pub(crate) updated: Updated,
    /// The tasks that failed to run the same image before.
    #[serde(default)]
    pub(crate) failures: BTreeSet<String>,
}

impl Update {
    /// What leads back to `before`, whatever the service is now.
    pub(crate) fn back(name: &str, before: &Spec) -> Self {
        Self { name: name.to_owned(), to: before.clone(), before: Some(before.clone()) }
    }

    /// The step that makes the service `name` beside those that serve.
    pub(crate) fn beside(app: &App, name: &str, to: Spec, before: Option<&Spec>) -> Step {
        let step = Self::step(app, name, to, before);
        Step { phase: Phase::Stage, title: format!("Starting the service {name}"), ..step }
            .reason("beside what serves now: no traffic goes to it yet")
    }

    /// The step that has the service `name` be `to`.
    pub(crate) fn step(app: &App, name: &str, to: Spec, before: Option<&Spec>) -> Step {
        let (effect, reason) = match before {
            None => (Effect::Create, "there is no such service yet".to_owned()),
            Some(_) => (
                Effect::Update,
                format!(
                    "task by task, {}; the Swarm itself goes back when one fails",
                    match to.starts_first() {
                        true => "each new one before its old one stops",
                        false => "each old one stops first",
                    }
                ),
            ),
        };
        let mut step =
            Step::new("update", Phase::Switch, effect, format!("Updating the service {name}")).reason(reason);
        if before.is_none() {
            step.creates = vec![name.to_owned()];
        }
        step.commands = steps::logins(app);
        step.commands.extend([state::inspect(name), state::list_networks(), state::list_tasks(name)]);
        step.commands.extend(to.commands(name, before));
        step.data(Self { name: name.to_owned(), to, before: before.cloned() })
    }

    /// Pushes the spec; that it comes true is what the rollout looks at.
    ///
    /// # Errors
    /// No step made an image; the Swarm refuses.
    pub(crate) fn run(&self, app: &App, request: &RunRequest, engine: &Engine) -> Result<Receipt> {
        let Some(planned) = request.step.commands.last() else { return Err(steps::strange(&request.step)) };
        let (command, image) = match &self.to.image {
            Some(image) => (planned.clone(), image.clone()),
            None => {
                let image = steps::image(app, request)?;
                (planned.fill(IMAGE, &image)?, image)
            }
        };
        let begun = Begun {
            failures: state::failures(&self.name, &image, engine)?,
            updated: Updated { container: self.name.clone(), image: image.clone(), stopped_at: None },
        };
        let there = state::read(&self.name, engine)?;
        if there.is_some_and(|there| there.spec == self.to.clone().with(&image)) {
            return Ok(Receipt::new(Outcome::Unchanged, "is that already").data(begun));
        }
        let mut commands = self.to.commands(&self.name, self.before.as_ref());
        if let Some(last) = commands.last_mut() {
            *last = command;
        }
        push(&self.name, &self.to, &commands, engine)?;
        Ok(Receipt::new(Outcome::Changed, "").data(begun))
    }

    /// Pushes the spec that was recorded before, whatever the Swarm did meanwhile, and waits until it is true.
    ///
    /// # Errors
    /// The Swarm can't be read, or refuses.
    pub(crate) fn undo(&self, engine: &Engine) -> Result<Undo> {
        let Some(there) = self.settled(engine)? else {
            return match &self.before {
                None => Ok(Undo::Nothing),
                Some(before) => self.restore(before, None, engine),
            };
        };
        match &self.before {
            // Somebody else made one of that name meanwhile.
            None if there.spec.labels.get(RUN) != self.to.labels.get(RUN) => Ok(Undo::Nothing),
            None => {
                engine.run(&state::remove(&self.name))?;
                Ok(Undo::Undone { summary: format!("removed the service `{}`", self.name) })
            }
            Some(before) => self.restore(before, Some(&there), engine),
        }
    }

    fn restore(&self, before: &Spec, there: Option<&state::Service>, engine: &Engine) -> Result<Undo> {
        let image = before.image.clone().unwrap_or_default();
        // An update that the Swarm has given up goes on once it is pushed again.
        let is_pushed = there.is_none_or(|it| it.spec != *before || PAUSED.contains(&it.updating()));
        if is_pushed {
            let now = there.map(|there| &there.spec);
            push(&self.name, before, &before.commands(&self.name, now), engine)?;
            let lost: Vec<_> = before.theirs().filter(|_| now.is_none()).map(String::as_str).collect();
            if !lost.is_empty() {
                engine.session.warn(format!(
                    "`{}` was set by somebody else and isn't recorded: `{}` runs without",
                    lost.join("`, `"),
                    self.name
                ));
            }
        }
        if let Some(why) = self.unfinished(before, is_pushed, engine)? {
            return Ok(Undo::Unknown { why });
        }
        match is_pushed {
            true => Ok(Undo::Undone { summary: format!("`{}` runs {image} again", self.name) }),
            false => Ok(Undo::Nothing),
        }
    }

    /// Waits until the service is what it was `before`, pushed just now or there already; why it isn't, in the end.
    fn unfinished(&self, before: &Spec, is_pushed: bool, engine: &Engine) -> Result<Option<String>> {
        let (name, image) = (&self.name, before.image.as_deref().unwrap_or_default());
        let begun = Instant::now();
        // The first look may come before the Swarm has seen what was pushed, and old tasks may run the same image.
        let mut was_calm = !is_pushed;
        loop {
            let tasks = state::tasks(name, engine)?;
            let all_run = state::running(&tasks, image) >= before.replicas;
            let update = state::read(name, engine)?.and_then(|there| there.update).unwrap_or_default();
            let state = update.state.as_str();
            if PAUSED.contains(&state) || (is_pushed && state.starts_with("rollback")) {
                let (state, why) = (state.replace('_', " "), update.message);
                return Ok(Some(format!("the way of `{name}` back to {image} is {state}: {why}")));
            }
            // As long as it watches them, the Swarm may still take them back, and nobody can deploy.
            let is_calm = all_run && !matches!(state, "updating" | "rollback_started");
            if is_calm && was_calm {
                return Ok(None);
            }
            if begun.elapsed() > before.patience() {
                let why = match all_run {
                    true => format!("the Swarm doesn't come to an end with `{name}`"),
                    false => format!("not all tasks of `{name}` run {image} again"),
                };
                return Ok(Some(format!("{why}; see `docker service ps`")));
            }
            was_calm = is_calm;
            engine.session.pause(LOOK)?;
        }
    }

    /// The service, once the Swarm isn't taking it back by itself any more.
    fn settled(&self, engine: &Engine) -> Result<Option<state::Service>> {
        let begun = Instant::now();
        loop {
            let there = state::read(&self.name, engine)?;
            match &there {
                Some(service)
                    if service.updating() == "rollback_started" && begun.elapsed() < self.to.patience() =>
                {
                    engine.session.pause(LOOK)?;
                }
                _ => return Ok(there),
            }
        }
    }
}

/// Runs the commands that make the service `name` what `spec` says, the last of them with the values of its secrets.
///
/// # Errors
/// A secret can't be had, or the Swarm refuses.
pub(crate) fn push(name: &str, spec: &Spec, commands: &[Command], engine: &Engine) -> Result<()> {
    let Some((last, first)) = commands.split_last() else { return Ok(()) };
    for command in first {
        accepted(name, engine, || Ok(engine.process(command)))?;
    }
    accepted(name, engine, || {
        spec.secrets().try_fold(engine.process(last), |process, (name, secret)| {
            Ok(process.variable(name, secret.reveal(&engine.session)?.expose()))
        })
    })
}

/// Runs a change of the service `name`, again where the Swarm wrote something to the service between docker's reading it
/// and writing it: then it refuses, and nothing has changed.
///
/// # Errors
/// The command can't be made, or the Swarm refuses.
pub(super) fn accepted(name: &str, engine: &Engine, change: impl Fn() -> Result<Process>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let finished = change()?.run(&engine.session)?;
        let is_crossed = !finished.status.success() && finished.stderr.contains("update out of sequence");
        if !is_crossed || begun.elapsed() > CROSSED {
            return finished.success().map(drop).map_err(|error| Error {
                message: format!("the Swarm doesn't take the service `{name}`"),
                ..error
            });
        }
        engine.session.pause(LOOK)?;
    }
}
