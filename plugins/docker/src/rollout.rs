//! The step that watches the new container until it has proved itself, on its own address.

use std::time::{Duration, Instant};

use pop_deploy_plugin_api::{
    Error, Process, Result, Session,
    health::{Attempt, Health, Probe, Question},
    protocol::{Command, Effect, Outcome, Phase, Receipt, RunRequest, Step},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    build::Built,
    command::{self, docker},
    config::Run,
    engine::{Container, Engine},
    runtime, steps,
    update::{Updated, now},
};

/// How often a container is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// `rollout`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rollout {
    container: String,
    /// How long it must have been up, in milliseconds.
    min_ready: u64,
    health: Option<Health>,
    /// The port that it answers at, where it publishes one.
    port: Option<u16>,
}

impl Rollout {
    /// The step: beside the old one in `Stage`, else in `Verify`.
    pub(crate) fn step(app: &App, run: &Run, container: &str) -> Step {
        let phase = if run.proxy.is_some() { Phase::Stage } else { Phase::Verify };
        let min_ready = app.config.min_ready();
        let rollout = Self {
            container: container.to_owned(),
            min_ready: u64::try_from(min_ready.as_millis()).unwrap_or(u64::MAX),
            health: app.config.health.clone(),
            port: port(run),
        };
        let mut step = Step::new("rollout", phase, Effect::None, format!("Watching {container}"))
            .reason(format!("it must be up for {} s without a restart", min_ready.as_secs_f64()));
        step.commands = looks(container, rollout.health.as_ref());
        step.data(rollout)
    }

    /// Watches.
    ///
    /// # Errors
    /// It ended, was started again, runs another image, or isn't healthy; with its last lines.
    pub(crate) fn run(&self, request: &RunRequest, engine: &Engine) -> Result<Receipt> {
        let updated = request.receipts.iter().find(|kept| kept.step == "update");
        let updated = updated.and_then(|kept| Updated::deserialize(&kept.receipt.data).ok());
        let watch = Watch { container: &self.container, engine };
        self.watch(&watch, updated.as_ref(), steps::built(request).as_ref())
            .map_err(|error| watch.with_logs(error))
    }

    fn watch(&self, watch: &Watch<'_>, updated: Option<&Updated>, built: Option<&Built>) -> Result<Receipt> {
        let begun = Instant::now();
        let first = watch.look()?;
        if let Some(built) = built {
            watch.check_image(&first, built)?;
        }
        let seen = Seen::of(&first, self.port);
        let asked = watch.wait_for_health(&seen, self.health.as_ref())?;
        let answered = now();
        while begun.elapsed() < Duration::from_millis(self.min_ready) {
            let left = Duration::from_millis(self.min_ready).saturating_sub(begun.elapsed());
            watch.engine.session.pause(left.min(LOOK))?;
            watch.look()?;
        }
        let mut words = vec![asked];
        if let Some(stopped_at) = updated.and_then(|updated| updated.stopped_at) {
            let gap = Duration::from_millis(answered.saturating_sub(stopped_at));
            words.push(Some(format!("nothing was served for {:.1} s", gap.as_secs_f64())));
        }
        let words: Vec<_> = words.into_iter().flatten().collect();
        Ok(Receipt::new(Outcome::Changed, words.join("; ")).data(seen))
    }
}

/// What `rollout` leaves: how the container is to be asked. It stays so as long as that isn't started again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    /// Where it answers.
    address: Option<String>,
    /// Whether its image has a HEALTHCHECK.
    has_healthcheck: bool,
}

impl Seen {
    fn of(container: &Container, port: Option<u16>) -> Self {
        Self {
            address: port.and_then(|port| container.address(port)),
            has_healthcheck: container.has_healthcheck(),
        }
    }
}

/// `health`: the last look, at the address that everybody uses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Public {
    container: String,
    health: Option<Health>,
    port: Option<u16>,
}

impl Public {
    pub(crate) fn step(app: &App, run: &Run, container: &str) -> Step {
        let public =
            Self { container: container.to_owned(), health: app.config.health.clone(), port: port(run) };
        let reason = match &public.health {
            Some(_) => "the public path must answer, and the container still be up",
            None => "the container must still be up; there is no `health` in the config",
        };
        let mut step =
            Step::new("health", Phase::Verify, Effect::None, format!("Checking {}", app.name)).reason(reason);
        step.commands = looks(container, public.health.as_ref());
        step.data(public)
    }

    /// Asks.
    ///
    /// # Errors
    /// It isn't healthy, or the container ended; with its last lines.
    pub(crate) fn run(&self, request: &RunRequest, engine: &Engine) -> Result<Receipt> {
        let watch = Watch { container: &self.container, engine };
        let rollout = request.receipts.iter().find(|kept| kept.step == "rollout");
        let seen = rollout.and_then(|kept| Seen::deserialize(&kept.receipt.data).ok());
        self.ask(&watch, seen).map_err(|error| watch.with_logs(error))
    }

    fn ask(&self, watch: &Watch<'_>, seen: Option<Seen>) -> Result<Receipt> {
        let words = match (&self.health, seen) {
            (Some(health), _) if is_public(health) => Some(watch.ask(health)?),
            (health, Some(seen)) => watch.wait_for_health(&seen, health.as_ref())?,
            // Another version of the plugin ran `rollout`.
            (health, None) => {
                let seen = Seen::of(&watch.look()?, self.port);
                watch.wait_for_health(&seen, health.as_ref())?
            }
        };
        watch.look()?;
        Ok(Receipt::new(Outcome::Changed, words.unwrap_or_default()))
    }
}

/// The port at which a container is asked: the proxied one, or the first that it publishes.
fn port(run: &Run) -> Option<u16> {
    match &run.proxy {
        Some(proxy) => Some(proxy.port),
        None => runtime::ports(run).find(|port| !port.udp).map(|port| port.inside),
    }
}

/// Whether the question has an address of its own, beside that of the instance.
fn is_public(health: &Health) -> bool {
    match health.question() {
        Question::Http(address) => !address.starts_with('/'),
        Question::Tcp(_) => true,
        Question::Command(_) | Question::Docker => false,
    }
}

/// The commands that looking at a container runs.
pub(crate) fn looks(container: &str, health: Option<&Health>) -> Vec<Command> {
    let exec = match health.map(Health::question) {
        Some(Question::Command(argv)) => Some(exec(container, argv)),
        _ => None,
    };
    [command::inspect([container]), command::logs(container)].into_iter().chain(exec).collect()
}

/// Runs a program in a container.
pub(crate) fn exec(container: &str, argv: &[String]) -> Command {
    docker(["exec", container].map(str::to_owned).into_iter().chain(argv.iter().cloned()))
}

/// A container under watch.
struct Watch<'a> {
    container: &'a str,
    engine: &'a Engine,
}

impl Watch<'_> {
    /// Looks at it once.
    ///
    /// # Errors
    /// It isn't up, or was started again.
    fn look(&self) -> Result<Container> {
        let name = self.container;
        let Some(container) = self.engine.container(name)? else {
            return Err(
                Error::failed(format!("the container `{name}` is gone")).hint("find out who removed it")
            );
        };
        let state = &container.state;
        if state.running && !state.restarting && container.restart_count == 0 {
            return Ok(container);
        }
        let mut error = Error::failed(match container.restart_count {
            0 => format!("`{name}` {}, with exit code {}", state.status, state.exit_code),
            times => format!("`{name}` was started again {times} times, with exit code {}", state.exit_code),
        });
        if state.out_of_memory {
            error.causes.push("it ran out of memory".to_owned());
        }
        if !state.error.is_empty() {
            error.causes.push(state.error.clone());
        }
        Err(error.hint("look at its last lines, and run the image by hand"))
    }

    fn check_image(&self, container: &Container, built: &Built) -> Result<()> {
        if container.image == built.image {
            return Ok(());
        }
        let (name, image, wanted) = (self.container, &container.image, &built.image);
        Err(Error::failed(format!("`{name}` runs {image}, and {wanted} was built"))
            .hint("find out who else starts containers of that name"))
    }

    /// Waits until it is healthy on its own address; says what it answered.
    fn wait_for_health(&self, seen: &Seen, health: Option<&Health>) -> Result<Option<String>> {
        let answer = match health.map(|health| (health, health.question())) {
            None if !seen.has_healthcheck => return Ok(None),
            None | Some((_, Question::Docker)) => self.wait_for_docker(&self.engine.session),
            Some((health, Question::Command(argv))) => self.ask_within(health, argv),
            Some((health, _)) => match &seen.address {
                Some(address) => self.ask(&health.toward(address)),
                // Nothing is published: only the address in the config is left.
                None => self.ask(health),
            },
        };
        answer.map(Some)
    }

    /// Asks by a command in the container.
    fn ask_within(&self, health: &Health, argv: &[String]) -> Result<String> {
        let session = &self.engine.session;
        let command = exec(self.container, argv);
        let healthy = health.wait_by(session, &command.to_string(), || {
            self.look()?;
            let asked = Process::new(&command).quiet().timeout(health.timeout.span()).run(session);
            Attempt::of_command(asked)
        })?;
        Ok(healthy.detail)
    }

    /// Asks by `http` or `tcp`; a container that isn't up any more ends the waiting.
    fn ask(&self, health: &Health) -> Result<String> {
        let session = &self.engine.session;
        let probe = Probe::new(health, session)?;
        let healthy = health.wait_by(session, probe.what(), || {
            let attempt = probe.attempt(session)?;
            if !attempt.is_healthy() {
                self.look()?;
            }
            Ok(attempt)
        })?;
        Ok(healthy.detail)
    }

    /// Waits for the verdict of the image's own HEALTHCHECK.
    fn wait_for_docker(&self, session: &Session) -> Result<String> {
        let mut told = String::new();
        loop {
            let container = self.look()?;
            let Some(health) = container.state.health else {
                return Err(Error::failed("the image has no HEALTHCHECK, and `health.docker` is true")
                    .hint("give it one in the Dockerfile, or ask by `http`, `tcp` or `command`"));
            };
            let last = health.log.unwrap_or_default().pop();
            let detail = last
                .as_ref()
                .map_or(String::new(), |log| format!("{} ({})", log.output.trim(), log.exit_code));
            if health.status != told {
                let attempt = match health.status.as_str() {
                    "healthy" => Attempt::Healthy("healthy".to_owned()),
                    status => Attempt::Unhealthy(format!("{status} {detail}").trim().to_owned()),
                };
                attempt.tell("HEALTHCHECK", session);
                told = health.status.clone();
            }
            match health.status.as_str() {
                "healthy" => return Ok("HEALTHCHECK says healthy".to_owned()),
                "unhealthy" => {
                    let error =
                        Error::failed(format!("`{}` isn't healthy, by its own HEALTHCHECK", self.container));
                    return Err(Error { causes: vec![detail], ..error }
                        .hint("look at its last lines, or give it more time in the HEALTHCHECK"));
                }
                _ => session.pause(LOOK)?,
            }
        }
    }

    /// The error with the last lines that the container wrote.
    fn with_logs(&self, mut error: Error) -> Error {
        // The error that there is counts more than one in reading the log.
        error.causes.extend(self.engine.logs(self.container).unwrap_or_default());
        error
    }
}

/// Runs what a step of this module was planned with.
///
/// # Errors
/// As [`Rollout::run`] and [`Public::run`].
pub(crate) fn run(request: &RunRequest, engine: &Engine) -> Result<Receipt> {
    match request.step.id.as_str() {
        "rollout" => steps::data::<Rollout>(&request.step)?.run(request, engine),
        _ => steps::data::<Public>(&request.step)?.run(request, engine),
    }
}
