//! The step that moves the traffic from the old container to the new one, by the proxy's upstream file.

use std::time::Duration;

use pop_deploy_plugin_api::{
    Error, Result, Session,
    health::{Health, Question},
    protocol::{Command, Effect, Outcome, Phase, Receipt, RunRequest, Step, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    command,
    config::Proxy,
    engine::Engine,
    proxy::{Server, Upstream},
    runtime,
    update::now,
};

/// `switch`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Switch {
    upstream: Upstream,
    /// The container that the traffic goes to.
    container: String,
    /// The one that has it now.
    old: Option<String>,
    port: u16,
    /// What the file says now.
    before: Option<String>,
    /// How long a container that gives way still serves, in milliseconds.
    #[serde(default)]
    drain: u64,
    /// How many seconds the old one has to stop.
    #[serde(default)]
    stop_grace: u64,
    /// How a container is asked that has to be started again.
    #[serde(default)]
    health: Option<Health>,
}

/// What `switch` leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Switched {
    /// When, in milliseconds since 1970.
    at: u64,
}

impl Switched {
    /// The receipt of a switch that ends now.
    pub(crate) fn receipt(outcome: Outcome) -> Receipt {
        Receipt::new(outcome, "").data(Self { at: now() })
    }

    /// Waits until those who were on their way when the run switched have been answered: `drain` milliseconds from then.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(crate) fn drain(request: &RunRequest, drain: u64, session: &Session) -> Result<()> {
        let switched = request.receipts.iter().find(|kept| kept.step == "switch");
        let at = switched.and_then(|kept| Self::deserialize(&kept.receipt.data).ok()).map(|it| it.at);
        let since = at.map_or(0, |at| now().saturating_sub(at));
        session.pause(Duration::from_millis(drain.saturating_sub(since)))
    }
}

impl Switch {
    /// # Errors
    /// The file can't be read.
    pub(crate) fn new(
        app: &App,
        proxy: &Proxy,
        upstream: Upstream,
        container: &str,
        old: Option<&str>,
    ) -> Result<Self> {
        let before = upstream.read()?;
        Ok(Self {
            upstream,
            container: container.to_owned(),
            old: old.map(str::to_owned),
            port: proxy.port,
            before,
            drain: u64::try_from(proxy.drain().as_millis()).unwrap_or(u64::MAX),
            stop_grace: app.run().map_or(0, runtime::grace),
            health: app.config.health.clone(),
        })
    }

    pub(crate) fn step(&self) -> Step {
        let file = self.upstream.file.display();
        let effect = if self.before.is_some() { Effect::Replace } else { Effect::Create };
        let mut step =
            Step::new("switch", Phase::Switch, effect, format!("Moving the traffic to {}", self.container))
                .reason(format!("`{file}` names it from then on"))
                .data(self);
        step.commands = self.commands();
        step.creates = vec![file.to_string()];
        step
    }

    /// The container that the traffic goes to.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }

    /// The one that has it now.
    pub(crate) fn old(&self) -> Option<&str> {
        self.old.as_deref()
    }

    /// What changing the shares runs.
    pub(crate) fn commands(&self) -> Vec<Command> {
        let containers = [&self.container].into_iter().chain(&self.old);
        containers.map(|name| command::inspect([name])).chain(self.upstream.commands()).collect()
    }

    /// Gives the new container `percent` of the traffic, and the old one the rest.
    ///
    /// # Errors
    /// A container isn't there, or the proxy doesn't take the file.
    pub(crate) fn share(&self, percent: u32, engine: &Engine) -> Result<()> {
        let new = Server { weight: percent, ..self.server(&self.container, engine)? };
        let old = self.old.as_ref().map(|old| self.server(old, engine)).transpose()?;
        let old = old.map(|old| Server { weight: 100_u32.saturating_sub(percent).max(1), ..old });
        let servers: Vec<_> = old.into_iter().chain([new]).collect();
        self.upstream.put(&self.upstream.render(&servers), &engine.session)
    }

    /// Where the new container answers.
    ///
    /// # Errors
    /// It isn't there, or publishes no such port.
    pub(crate) fn address(&self, engine: &Engine) -> Result<String> {
        Ok(self.server(&self.container, engine)?.address)
    }

    /// Writes the file, tested, and has the proxy read it.
    ///
    /// # Errors
    /// The container isn't there, or the proxy doesn't take the file: it is again what it was then.
    pub(crate) fn run(&self, engine: &Engine) -> Result<Receipt> {
        let text = self.upstream.render(&[self.server(&self.container, engine)?]);
        Ok(Switched::receipt(self.upstream.set(&text, &engine.session)?))
    }

    fn server(&self, container: &str, engine: &Engine) -> Result<Server> {
        let found = engine.container(container)?;
        let address = found.as_ref().and_then(|found| found.address(self.port));
        let Some(address) = address else {
            return Err(Error::failed(format!("`{container}` publishes no port {}", self.port))
                .hint("check `run.proxy.port`, and whether the container still runs"));
        };
        Ok(Server { name: container.to_owned(), address, weight: 1 })
    }

    /// Waits until a container that was started again answers. Where it doesn't, there is nothing better to go back to.
    fn wait_for(&self, container: &str, engine: &Engine) -> Result<()> {
        let Some(health) = &self.health else { return Ok(()) };
        if matches!(health.question(), Question::Http(_) | Question::Tcp(_)) {
            let own = health.toward(&self.server(container, engine)?.address);
            if let Err(error) = own.wait(&engine.session) {
                engine.session.warn(error.message);
            }
        }
        Ok(())
    }

    /// Moves the traffic back; starts the old container first, should it be down already.
    ///
    /// # Errors
    /// The engine can't be read, or the proxy doesn't take the file.
    pub(crate) fn undo(&self, engine: &Engine) -> Result<Undo> {
        let is_back = self.upstream.read()? == self.before && !self.upstream.is_unread()?;
        let Some(old) = &self.old else {
            if is_back {
                return Ok(Undo::Nothing);
            }
            self.upstream.restore(self.before.as_deref(), &engine.session)?;
            return Ok(Undo::Undone {
                summary: format!("`{}` is what it was", self.upstream.file.display()),
            });
        };
        let runs = match engine.container(old)? {
            None => {
                return Ok(Undo::Unknown {
                    why: format!("the container `{old}`, which was live, is gone; deploy its version again"),
                });
            }
            Some(there) => there.state.running && engine.goes_on(old, self.stop_grace)?,
        };
        if runs && is_back {
            return Ok(Undo::Nothing);
        }
        let text = match (runs, &self.before) {
            (true, Some(before)) if before.contains(&self.server(old, engine)?.address) => before.clone(),
            // It may have another address than then.
            _ => {
                if !runs {
                    engine.run(&command::start(old))?;
                    self.wait_for(old, engine)?;
                }
                self.upstream.render(&[self.server(old, engine)?])
            }
        };
        self.upstream.put(&text, &engine.session)?;
        // The next undo removes the other container. Who can't wait cuts requests off; the traffic is back all the same.
        engine.session.pause(Duration::from_millis(self.drain)).unwrap_or_default();
        Ok(Undo::Undone { summary: format!("the traffic goes to `{old}` again") })
    }
}
