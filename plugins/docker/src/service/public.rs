//! The last look at a service behind a proxy: at the address that everybody uses.

use pop_deploy_plugin_api::{
    Result,
    protocol::{Effect, Outcome, Phase, Receipt, Step},
};
use serde::{Deserialize, Serialize};

use super::{ask::Asked, state};
use crate::engine::Engine;

/// `health`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Public {
    service: String,
    replicas: u64,
    asked: Option<Asked>,
}

impl Public {
    pub(crate) fn step(service: &str, replicas: u64, asked: Option<Asked>) -> Step {
        let reason = match &asked {
            Some(_) => "the public path must answer, and every task still run",
            None => "every task must still run; there is no `health` in the config",
        };
        let mut step =
            Step::new("health", Phase::Verify, Effect::None, format!("Checking {service}")).reason(reason);
        step.commands = [
            state::inspect(service),
            state::list_networks(),
            state::list_tasks(service),
            state::show_logs(service),
        ]
        .into_iter()
        .chain(asked.iter().flat_map(Asked::commands))
        .collect();
        step.data(Self { service: service.to_owned(), replicas, asked })
    }

    /// Asks.
    ///
    /// # Errors
    /// It isn't healthy, or a task ended; with its last lines.
    pub(crate) fn run(&self, engine: &Engine) -> Result<Receipt> {
        self.ask(engine).map_err(|mut error| {
            error.causes.extend(state::logs(&self.service, engine));
            error
        })
    }

    fn ask(&self, engine: &Engine) -> Result<Receipt> {
        let service = state::read(&self.service, engine)?;
        let image = service.and_then(|service| service.spec.image).unwrap_or_default();
        let words = self.asked.as_ref().map(|asked| asked.wait(&image, self.replicas, engine)).transpose()?;
        let tasks = state::tasks(&self.service, engine)?;
        let running = state::running(&tasks, &image);
        state::check_all_run(&self.service, running, self.replicas)?;
        Ok(Receipt::new(Outcome::Changed, words.unwrap_or_default()))
    }
}
