//! The step that watches an update until every task runs the intended image, and notices when the Swarm took it back.

use std::time::{Duration, Instant};

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::{Effect, Outcome, Phase, Receipt, RunRequest, Step},
};
use serde::{Deserialize, Serialize};

use super::{
    ask::Asked,
    spec::Spec,
    state::{self, Task},
    update::{Begun, LOOK},
};
use crate::engine::Engine;

/// `rollout`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rollout {
    name: String,
    replicas: u64,
    /// How long every task must have run, in milliseconds.
    monitor: u64,
    /// How long all of it may take, in milliseconds.
    patience: u64,
    asked: Option<Asked>,
}

impl Rollout {
    pub(crate) fn step(name: &str, spec: &Spec, asked: Option<Asked>) -> Step {
        let asking: Vec<_> = asked.iter().flat_map(Asked::commands).collect();
        let rollout = Self {
            name: name.to_owned(),
            replicas: spec.replicas,
            monitor: spec.monitor_ms,
            patience: u64::try_from(spec.patience().as_millis()).unwrap_or(u64::MAX),
            asked,
        };
        let mut step =
            Step::new("rollout", Phase::Verify, Effect::None, format!("Watching the service {name}")).reason(
                format!(
                    "{} tasks must run the new image for {:.1} s",
                    spec.replicas,
                    spec.monitor_ms as f64 / 1000.0
                ),
            );
        step.commands = vec![
            state::inspect(name),
            state::list_networks(),
            state::list_tasks(name),
            state::show_logs(name),
        ];
        step.commands.extend(asking);
        step.data(rollout)
    }

    /// Watches.
    ///
    /// # Errors
    /// The Swarm took the update back or paused it, a task failed, or the service isn't healthy; with its last lines.
    pub(crate) fn run(&self, request: &RunRequest, engine: &Engine) -> Result<Receipt> {
        let updated = request.receipts.iter().find(|kept| kept.step == "update");
        let begun = updated.and_then(|kept| Begun::deserialize(&kept.receipt.data).ok());
        let Some(begun) = begun else {
            return Err(Error::failed("no step of this run updated the service"));
        };
        self.watch(&begun, engine).map_err(|mut error| {
            error.causes.extend(state::logs(&self.name, engine));
            error
        })
    }

    fn watch(&self, updated: &Begun, engine: &Engine) -> Result<Receipt> {
        let image = &updated.updated.image;
        let begun = Instant::now();
        let (monitor, limit) = (Duration::from_millis(self.monitor), Duration::from_millis(self.patience));
        let mut all_since: Option<Instant> = None;
        loop {
            let mut tasks = state::tasks(&self.name, engine)?;
            tasks.retain(|task| !updated.failures.contains(&task.id));
            let is_updating = self.look(image, &tasks, engine)?;
            let running = state::running(&tasks, image);
            match (running >= self.replicas, all_since) {
                (true, None) => all_since = Some(Instant::now()),
                (true, Some(since)) if !is_updating && since.elapsed() >= monitor => break,
                (true, Some(_)) => {}
                (false, _) => all_since = None,
            }
            if begun.elapsed() > limit {
                return Err(explained(
                    Error::failed(format!("only {running} of {} tasks run the new image", self.replicas))
                        .hint("see `docker service ps` for what they wait for"),
                    &tasks,
                ));
            }
            engine.session.pause(LOOK)?;
        }
        let asked = self.asked.as_ref().map(|asked| asked.wait(image, self.replicas, engine)).transpose()?;
        // Who died while the others were asked.
        let tasks = state::tasks(&self.name, engine)?;
        let running = state::running(&tasks, image);
        state::check_all_run(&self.name, running, self.replicas).map_err(|error| explained(error, &tasks))?;
        let asked = asked.map_or(String::new(), |answer| format!("; {answer}"));
        Ok(Receipt::new(Outcome::Changed, format!("{} tasks{asked}", self.replicas)))
    }

    /// Looks once: whether the update goes on. Never trusts that the command which began it ended well.
    fn look(&self, image: &str, tasks: &[Task], engine: &Engine) -> Result<bool> {
        let name = &self.name;
        let Some(service) = state::read(name, engine)? else {
            return Err(
                Error::failed(format!("the service `{name}` is gone")).hint("find out who removed it")
            );
        };
        let message = service.update.as_ref().map_or("", |update| &update.message);
        let state = service.updating();
        if state.starts_with("rollback") || service.spec.image.as_deref() != Some(image) {
            return Err(explained(
                Error::failed(format!("the Swarm took the update of `{name}` back by itself: {message}"))
                    .hint("look at the last lines of its tasks"),
                tasks,
            ));
        }
        if state == "paused" {
            return Err(explained(
                Error::failed(format!("the Swarm paused the update of `{name}`: {message}")),
                tasks,
            ));
        }
        // Of an update the Swarm itself decides how many may fail; of a new service nobody does.
        if state.is_empty() && tasks.iter().any(|task| task.failed(image)) {
            return Err(explained(
                Error::failed(format!("a task of `{name}` failed")).hint("look at its last lines"),
                tasks,
            ));
        }
        Ok(state == "updating")
    }
}

/// The error with what the Swarm says of each task.
fn explained(mut error: Error, tasks: &[Task]) -> Error {
    let told = tasks.iter().filter(|task| !task.error.is_empty());
    error.causes.extend(told.take(5).map(|task| format!("{}: {}", task.name, task.error)));
    error
}
