//! The steps that give the tasks of a new service a part of the traffic first, by the proxy's weights.

use pop_deploy_plugin_api::{
    Error, Result,
    canary::{Ask, refused},
    health::Question,
    protocol::{Effect, Receipt, Step, Undo},
};
use serde::{Deserialize, Serialize};

use super::{
    state,
    switch::{Switch, serving},
};
use crate::{app::App, canary::Turn, engine::Engine, steps};

/// A canary's step, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Weights {
    switch: Switch,
    /// How many in a hundred requests.
    percent: u32,
    #[serde(flatten)]
    turn: Turn,
}

/// Puts the canary's steps before the switch of a plan.
///
/// # Errors
/// Nothing is live to stand beside, or a step isn't asked what can be asked of each task.
pub(crate) fn add(app: &App, target: &str, plan: &mut Vec<Step>) -> Result<()> {
    let Some(at) = plan.iter().position(|step| step.id == "switch") else { return Ok(()) };
    let switch: Switch = steps::data(&plan[at])?;
    if switch.old().is_none() {
        return Err(refused(target, "nothing is live that it could stand beside"));
    }
    let parts = Turn::all(app).into_iter().map(|turn| {
        let percent = turn.percent("tasks")?;
        if turn.asked()?.iter().any(|it| matches!(it.question(), Question::Command(_) | Question::Docker)) {
            return Err(Error::config(format!("{} asks in a container", turn.key()))
                .hint("ask by `http` or `tcp`: each new task is asked at its own address"));
        }
        Weights { switch: switch.clone(), percent, turn }.step()
    });
    let parts: Vec<_> = parts.collect::<Result<_>>()?;
    plan.splice(at..at, parts);
    Ok(())
}

impl Weights {
    fn step(&self) -> Result<Step> {
        let service = &self.switch.new_service().service;
        let title = format!("Giving the tasks of {service} {} % of the traffic", self.percent);
        let mut step =
            self.turn.step(Effect::Update, title)?.reason(self.turn.reason("they are")?).data(self);
        step.commands = self.switch.commands();
        step.commands.push(state::show_logs(service));
        Ok(step)
    }

    /// Gives the part, and watches it.
    ///
    /// # Errors
    /// The proxy doesn't take the file, or the canary is bad; with its last lines.
    pub(crate) fn run(&self, engine: &Engine) -> Result<Receipt> {
        self.switch.share(self.percent, engine)?;
        self.watch(engine).map_err(|mut error| {
            error.causes.extend(state::logs(&self.switch.new_service().service, engine));
            error
        })
    }

    fn watch(&self, engine: &Engine) -> Result<Receipt> {
        let mut asks = Vec::new();
        for server in serving(self.switch.new_service(), engine)? {
            for health in self.turn.asked()? {
                asks.push(Ask::probe(&health.toward(&server.address), &engine.session)?);
            }
        }
        self.turn.watch(&engine.session, asks)
    }

    /// Gives all the traffic to the old tasks again.
    ///
    /// # Errors
    /// As [`Switch::undo`].
    pub(crate) fn undo(&self, engine: &Engine) -> Result<Undo> {
        self.switch.undo(engine)
    }
}
