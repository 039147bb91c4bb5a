//! The step that tidies up: the old container rests, the new one starts with its engine, those that nobody goes back to go.

use std::time::Duration;

use pop_deploy_plugin_api::{
    Result,
    protocol::{Effect, Outcome, Phase, Receipt, RunRequest, Step},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    command,
    config::{Proxy, Restart, Run},
    engine::{Container, Engine},
    labels::APP,
    runtime,
    switch::Switched,
};

/// The policy by which a container that was stopped stays so, and still counts as verified.
const CALM: &str = "unless-stopped";

/// `finalize`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finalize {
    /// The container that serves.
    container: String,
    /// The one before, where it still runs.
    rests: Option<String>,
    /// The one before, where its engine would start it again beside the one that serves: not only for a crash, but
    /// with `always`, and with `on-failure` after a stop that wasn't clean, whenever the engine itself starts.
    #[serde(default)]
    calms: Option<String>,
    /// How long it has for the requests that it has, in milliseconds.
    drain: u64,
    stop_grace: u64,
    restart: String,
    /// The containers that go.
    going: Vec<String>,
}

impl Finalize {
    /// `old` is the container that ran before; `going` those that nobody goes back to.
    pub(crate) fn new(
        app: &App,
        run: &Run,
        container: &str,
        old: Option<&Container>,
        going: Vec<String>,
    ) -> Self {
        let drain = run.proxy.as_ref().map_or(Duration::ZERO, Proxy::drain);
        Self {
            container: container.to_owned(),
            rests: old.filter(|_| app.proxy().is_some()).map(|old| old.name().to_owned()),
            calms: old
                .filter(|old| matches!(old.restart_policy(), "always" | "on-failure"))
                .map(|old| old.name().to_owned()),
            drain: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
            stop_grace: runtime::grace(run),
            restart: run.restart.name().to_owned(),
            going,
        }
    }

    pub(crate) fn step(&self, keep: usize) -> Step {
        let (effect, title) = match (self.going.as_slice(), &self.rests) {
            ([], None) => (Effect::Update, "Keeping all containers".to_owned()),
            ([], Some(old)) => (Effect::Update, format!("Stopping {old}, and keeping it")),
            ([one], _) => (Effect::Delete, format!("Removing {one}")),
            (many, _) => (Effect::Delete, format!("Removing {} old containers", many.len())),
        };
        let mut step = Step::new("finalize", Phase::Finalize, effect, title)
            .reason(format!("`keep` is {keep}; what is verified starts with the engine"))
            .data(self);
        step.commands = vec![command::restart_policy(&self.container, &self.restart)];
        step.commands.extend(self.calms.iter().map(|old| command::restart_policy(old, CALM)));
        step.commands.extend(self.rests.iter().map(|old| command::stop(old, self.stop_grace)));
        step.commands.extend(self.going.iter().map(|name| command::remove(name)));
        step
    }

    /// Tidies up.
    ///
    /// # Errors
    /// The engine refuses something.
    pub(crate) fn run(&self, request: &RunRequest, engine: &Engine) -> Result<Receipt> {
        engine.run(&command::restart_policy(&self.container, &self.restart))?;
        if let Some(old) = &self.calms {
            engine.run(&command::restart_policy(old, CALM))?;
        }
        if let Some(old) = &self.rests {
            Switched::drain(request, self.drain, &engine.session)?;
            engine.run(&command::stop(old, self.stop_grace))?;
        }
        for name in &self.going {
            engine.run(&command::remove(name))?;
        }
        let words = match self.going.len() {
            0 => String::new(),
            count => format!("{count} removed"),
        };
        Ok(Receipt::new(Outcome::Changed, words))
    }
}

/// The containers of an app that nobody goes back to: more verified ones than are kept, and what a dead run left.
/// Neither the one that is to run, nor the one that runs now, is ever among them.
pub(crate) fn going(app: &App, ours: &[Container], container: &str, old: Option<&str>) -> Vec<String> {
    let spared = |it: &&Container| it.name() != container && Some(it.name()) != old && !it.state.running;
    // One that was taken over has the policy that others gave it.
    let verified = |it: &&Container| {
        app.run().is_some_and(|run| run.restart == Restart::No)
            || it.restart_policy() != "no"
            || it.label(APP).is_none()
    };
    let (mut kept, left): (Vec<_>, Vec<_>) = ours.iter().filter(spared).partition(|it| verified(it));
    kept.sort_by(|a, b| b.created.cmp(&a.created));
    let room = app.config.keep.get().saturating_sub(usize::from(old.is_some()));
    kept.iter().skip(room).chain(&left).map(|it| it.name().to_owned()).collect()
}
