//! The steps that give a new container a part of the traffic first, beside the old one, by the proxy's weights.

use pop_deploy_plugin_api::{
    Error, Process, Result, Session,
    canary::{Ask, Canary, CanaryStep, Share, refused},
    health::{Attempt, Health, Question},
    protocol::{Effect, Outcome, Phase, Receipt, Step, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{app::App, command, engine::Engine, rollout::exec, steps, switch::Switch};

/// What the ids of these steps begin with.
pub(crate) const PREFIX: &str = "canary:";

/// One of the steps of a target's canary, and what is asked meanwhile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Turn {
    canary: Canary,
    /// Which of the canary's steps.
    index: usize,
    health: Option<Health>,
}

impl Turn {
    /// The turns of an app's canary, in order.
    pub(crate) fn all(app: &App) -> Vec<Self> {
        let canary = app.config.canary.clone().unwrap_or_default();
        let turn = |index| Self { canary: canary.clone(), index, health: app.config.health.clone() };
        (0..canary.steps.len()).map(turn).collect()
    }

    /// Where it stands in the config.
    pub(crate) fn key(&self) -> String {
        format!("`config.canary.steps[{}]`", self.index)
    }

    /// Whether it is the first one.
    pub(crate) fn is_first(&self) -> bool {
        self.index == 0
    }

    /// What the config says of it.
    ///
    /// # Errors
    /// The plan was made by a config with more steps.
    pub(crate) fn shown(&self) -> Result<&CanaryStep> {
        self.canary.steps.get(self.index).ok_or_else(|| Error::failed("the canary has no such step"))
    }

    /// How many in a hundred requests go to `whom`, who can be given no other share.
    ///
    /// # Errors
    /// It is another kind of share.
    pub(crate) fn percent(&self, whom: &str) -> Result<u32> {
        match self.shown()?.share() {
            Share::Percent(percent) => Ok(percent),
            Share::Count(_) | Share::Hosts(_) => {
                Err(Error::config(format!("{}: of {whom} behind a proxy a part is a `percent`", self.key()))
                    .hint("write it like {\"percent\": 10, \"hold\": 60}"))
            }
        }
    }

    /// What is asked.
    ///
    /// # Errors
    /// Nothing is.
    pub(crate) fn asked(&self) -> Result<Vec<&Health>> {
        self.shown()?.asked(self.health.as_ref())
    }

    /// How it is judged; `watched` begins the sentence: `it is`.
    ///
    /// # Errors
    /// As [`shown`](Self::shown).
    pub(crate) fn reason(&self, watched: &str) -> Result<String> {
        let (seconds, errors) = (self.shown()?.seconds(), self.canary.max_errors);
        Ok(format!("{watched} watched for {seconds} s; more than {errors} % errors take it back"))
    }

    /// The step of a plan that takes this turn.
    ///
    /// # Errors
    /// As [`shown`](Self::shown).
    pub(crate) fn step(&self, effect: Effect, title: String) -> Result<Step> {
        let mut step = Step::new(&format!("{PREFIX}{}", self.index + 1), Phase::Switch, effect, title);
        step.hold = self.shown()?.seconds();
        step.awaits_verdict = self.index + 1 == self.canary.steps.len();
        Ok(step)
    }

    /// Asks until there is a verdict.
    ///
    /// # Errors
    /// The canary is bad, or the run was cancelled.
    pub(crate) fn watch(&self, session: &Session, asks: Vec<Ask<'_>>) -> Result<Receipt> {
        let seen = self.canary.watch(self.shown()?, session, asks)?;
        let verdict = seen.settle(&self.canary)?;
        Ok(Receipt::new(Outcome::Changed, seen.summary()).verdict(verdict))
    }
}

/// A canary's step, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    switch: Switch,
    /// How many in a hundred requests.
    percent: u32,
    #[serde(flatten)]
    turn: Turn,
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
    let parts = Turn::all(app).into_iter().map(|turn| {
        let percent = turn.percent("containers")?;
        Part { switch: switch.clone(), percent, turn }.step()
    });
    let parts: Vec<_> = parts.collect::<Result<_>>()?;
    plan.splice(at..at, parts);
    Ok(())
}

impl Part {
    fn step(&self) -> Result<Step> {
        let container = self.switch.container();
        let title = format!("Giving {container} {} % of the traffic", self.percent);
        let mut step = self.turn.step(Effect::Update, title)?.reason(self.turn.reason("it is")?).data(self);
        step.commands = self.switch.commands();
        step.commands.push(command::logs(container));
        for health in self.turn.asked()? {
            if let Question::Command(argv) = health.question() {
                step.commands.push(exec(container, argv));
            }
        }
        Ok(step)
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
        let address = self.switch.address(engine)?;
        let asks = self.turn.asked()?.into_iter().map(|health| self.ask(health, &address, engine));
        self.turn.watch(&engine.session, asks.collect::<Result<_>>()?)
    }

    fn ask<'a>(&'a self, health: &'a Health, address: &str, engine: &'a Engine) -> Result<Ask<'a>> {
        let (container, session) = (self.switch.container(), &engine.session);
        let interval = health.interval.span();
        Ok(match health.question() {
            Question::Http(_) | Question::Tcp(_) => Ask::probe(&health.toward(address), session)?,
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
