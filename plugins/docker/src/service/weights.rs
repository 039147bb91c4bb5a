//! The steps that give the tasks of a new service a part of the traffic first, by the proxy's weights.

use pop_deploy_plugin_api::{
    Error, Result,
    canary::{Ask, Canary, Share, refused},
    health::{Health, Probe, Question},
    protocol::{Effect, Outcome, Phase, Receipt, Step, Undo},
};
use serde::{Deserialize, Serialize};

use super::{
    state,
    switch::{Switch, serving},
};
use crate::{app::App, canary::PREFIX, engine::Engine, steps};

/// A canary's step, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Weights {
    switch: Switch,
    /// How many in a hundred requests.
    percent: u32,
    canary: Canary,
    /// Which of the canary's steps.
    index: usize,
    health: Option<Health>,
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
    let canary = app.config.canary.clone().unwrap_or_default();
    let parts = canary.steps.iter().enumerate().map(|(index, step)| {
        let key = format!("`config.canary.steps[{index}]`");
        let Share::Percent(percent) = step.share() else {
            return Err(Error::config(format!("{key}: of tasks behind a proxy a part is a `percent`"))
                .hint("write it like {\"percent\": 10, \"hold\": 60}"));
        };
        let asked = step.asked(app.config.health.as_ref())?;
        if asked.iter().any(|it| matches!(it.question(), Question::Command(_) | Question::Docker)) {
            return Err(Error::config(format!("{key} asks in a container"))
                .hint("ask by `http` or `tcp`: each new task is asked at its own address"));
        }
        let (canary, health) = (canary.clone(), app.config.health.clone());
        Ok(Weights { switch: switch.clone(), percent, canary, index, health }.step())
    });
    let parts: Vec<_> = parts.collect::<Result<_>>()?;
    plan.splice(at..at, parts);
    Ok(())
}

impl Weights {
    fn step(&self) -> Step {
        let service = &self.switch.new_service().service;
        let shown = &self.canary.steps[self.index];
        let mut step = Step::new(
            &format!("{PREFIX}{}", self.index + 1),
            Phase::Switch,
            Effect::Update,
            format!("Giving the tasks of {service} {} % of the traffic", self.percent),
        )
        .reason(format!(
            "they are watched for {} s; more than {} % errors take it back",
            shown.seconds(),
            self.canary.max_errors
        ))
        .data(self);
        step.hold = shown.seconds();
        step.awaits_verdict = self.index + 1 == self.canary.steps.len();
        step.commands = self.switch.commands();
        step.commands.push(state::show_logs(service));
        step
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
        let step =
            self.canary.steps.get(self.index).ok_or_else(|| Error::failed("the canary has no such step"))?;
        let session = &engine.session;
        let mut asks = Vec::new();
        for server in serving(self.switch.new_service(), engine)? {
            for health in step.asked(self.health.as_ref())? {
                let probe = Probe::new(&health.toward(&server.address), session)?;
                asks.push(Ask {
                    what: probe.what().to_owned(),
                    interval: health.interval.span(),
                    attempt: Box::new(move || probe.attempt(session)),
                });
            }
        }
        let seen = self.canary.watch(step, session, asks)?;
        let verdict = seen.settle(&self.canary)?;
        Ok(Receipt::new(Outcome::Changed, seen.summary()).verdict(verdict))
    }

    /// Gives all the traffic to the old tasks again.
    ///
    /// # Errors
    /// As [`Switch::undo`].
    pub(crate) fn undo(&self, engine: &Engine) -> Result<Undo> {
        self.switch.undo(engine)
    }
}
