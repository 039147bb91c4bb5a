//! The steps that give a new container a part of the traffic first, beside the old one, by the proxy's weights.

use pop_deploy_plugin_api::{
    Error, Process, Result,
    canary::{Ask, Canary, Share, refused},
    health::{Attempt, Health, Probe, Question},
    protocol::{Effect, Outcome, Phase, Receipt, Step, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{app::App, command, engine::Engine, rollout::exec, steps, switch::Switch};

/// What the ids of these steps begin with.
pub(crate) const PREFIX: &str = "canary:";

/// A canary's step, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
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
/// Nothing can split the traffic, nothing is live to stand beside, or a step isn't asked anything.
pub(crate) fn add(app: &App, target: &str, plan: &mut Vec<Step>) -> Result<()> {
    if plan.is_empty() {
        return Ok(());
    }
    let Some(at) = plan.iter().position(|step| step.id == "switch") else {
        return Err(refused(target, "nothing can split its traffic: it has no `run.proxy`"));
    };
    let switch: Switch = steps::data(&plan[at])?;
    if switch.old().is_none() {
        return Err(refused(target, "nothing is live that it could stand beside"));
    }
    let canary = app.config.canary.clone().unwrap_or_default();
    let parts = canary.steps.iter().enumerate().map(|(index, step)| {
        let Share::Percent(percent) = step.share() else {
            return Err(Error::config(format!(
                "`config.canary.steps[{index}]`: of containers behind a proxy a part is a `percent`"
            ))
            .hint("write it like {\"percent\": 10, \"hold\": 60}"));
        };
        step.asked(app.config.health.as_ref())?;
        let (canary, health) = (canary.clone(), app.config.health.clone());
        Ok(Part { switch: switch.clone(), percent, canary, index, health }.step())
    });
    let parts: Vec<_> = parts.collect::<Result<_>>()?;
    plan.splice(at..at, parts);
    Ok(())
}

impl Part {
    fn step(&self) -> Step {
        let (container, of) = (self.switch.container(), self.canary.steps.len());
        let shown = &self.canary.steps[self.index];
        let mut step = Step::new(
            &format!("{PREFIX}{}", self.index + 1),
            Phase::Switch,
            Effect::Update,
            format!("Giving {container} {} % of the traffic", self.percent),
        )
        .reason(format!(
            "it is watched for {} s; more than {} % errors take it back",
            shown.seconds(),
            self.canary.max_errors
        ))
        .data(self);
        step.hold = shown.seconds();
        step.awaits_verdict = self.index + 1 == of;
        step.commands = self.switch.commands();
        step.commands.push(command::logs(container));
        for health in shown.asked(self.health.as_ref()).unwrap_or_default() {
            if let Question::Command(argv) = health.question() {
                step.commands.push(exec(container, argv));
            }
        }
        step
    }

    /// Gives the part, and watches it.
    ///
    /// # Errors
    /// The proxy doesn't take the file, or the canary is bad; with its last lines.
    pub(crate) fn run(&self, engine: &Engine) -> Result<Receipt> {
        self.switch.share(self.percent, engine)?;
        self.watch(engine).map_err(|mut error| {
            // The error that there is counts more than one in reading the log.
            error.causes.extend(engine.logs(self.switch.container()).unwrap_or_default());
            error
        })
    }

    fn watch(&self, engine: &Engine) -> Result<Receipt> {
        let step =
            self.canary.steps.get(self.index).ok_or_else(|| Error::failed("the canary has no such step"))?;
        let address = self.switch.address(engine)?;
        let asks = step.asked(self.health.as_ref())?;
        let asks =
            asks.into_iter().map(|health| self.ask(health, &address, engine)).collect::<Result<_>>()?;
        let seen = self.canary.watch(step, &engine.session, asks)?;
        let verdict = seen.settle(&self.canary)?;
        Ok(Receipt::new(Outcome::Changed, seen.summary()).verdict(verdict))
    }

    fn ask<'a>(&'a self, health: &'a Health, address: &str, engine: &'a Engine) -> Result<Ask<'a>> {
        let (container, session) = (self.switch.container(), &engine.session);
        let interval = health.interval.span();
        Ok(match health.question() {
            Question::Http(_) | Question::Tcp(_) => {
                let probe = Probe::new(&health.toward(address), session)?;
                let what = probe.what().to_owned();
                Ask { what, interval, attempt: Box::new(move || probe.attempt(session)) }
            }
            Question::Command(argv) => {
                let command = exec(container, argv);
                let what = command.to_string();
                let attempt = move || {
                    let process = Process::new(&command).quiet().timeout(health.timeout.span());
                    Attempt::of_command(process.run(session))
                };
                Ask { what, interval, attempt: Box::new(attempt) }
            }
            Question::Docker => {
                let attempt = move || {
                    let found = engine.container(container)?;
                    let status = found.and_then(|found| found.state.health).map(|health| health.status);
                    Ok(match status.as_deref() {
                        Some("healthy") => Attempt::Healthy("healthy".to_owned()),
                        Some(status) => Attempt::Unhealthy(status.to_owned()),
                        None => Attempt::Unmeasured("it has no HEALTHCHECK, or is gone".to_owned()),
                    })
                };
                Ask { what: "HEALTHCHECK".to_owned(), interval, attempt: Box::new(attempt) }
            }
        })
    }

    /// Gives all the traffic to the old container again.
    ///
    /// # Errors
    /// As [`Switch::undo`].
    pub(crate) fn undo(&self, engine: &Engine) -> Result<Undo> {
        self.switch.undo(engine)
    }
}
