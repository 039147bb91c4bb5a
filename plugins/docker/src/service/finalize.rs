//! The step that tidies up behind a proxy: the services that no traffic goes to any more go themselves.

use std::time::Duration;

use pop_deploy_plugin_api::{
    Result,
    protocol::{Effect, Outcome, Phase, Receipt, RunRequest, Step},
};
use serde::{Deserialize, Serialize};

use super::state;
use crate::{engine::Engine, switch::Switched};

/// `finalize`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finalize {
    /// How long tasks that give way still serve, in milliseconds.
    drain: u64,
    going: Vec<String>,
}

impl Finalize {
    pub(crate) fn step(drain: Duration, going: Vec<String>) -> Step {
        let (effect, title) = match going.as_slice() {
            [] => (Effect::None, "Nothing is left over".to_owned()),
            [one] => (Effect::Delete, format!("Removing the service {one}")),
            many => (Effect::Delete, format!("Removing {} services", many.len())),
        };
        let drain = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
        let mut step = Step::new("finalize", Phase::Finalize, effect, title)
            .reason("no traffic goes there; a rollback makes a service again, by digest");
        step.commands = going.iter().map(|name| state::remove(name)).collect();
        step.data(Self { drain, going })
    }

    /// Waits until the requests there have been answered, and removes the services.
    ///
    /// # Errors
    /// The Swarm refuses.
    pub(crate) fn run(&self, request: &RunRequest, engine: &Engine) -> Result<Receipt> {
        if self.going.is_empty() {
            return Ok(Receipt::new(Outcome::Unchanged, ""));
        }
        Switched::drain(request, self.drain, &engine.session)?;
        for name in &self.going {
            let finished = engine.process(&state::remove(name)).run(&engine.session)?;
            if !state::is_absent(&finished) {
                finished.success()?;
            }
        }
        Ok(Receipt::new(Outcome::Changed, ""))
    }
}
