//! Health of a service: asked at its public address, or of each task at its own.

use std::collections::BTreeSet;

use pop_deploy_plugin_api::{
    Error, Process, Result,
    health::{Attempt, Health, Probe, Question},
    protocol::Command,
};
use serde::{Deserialize, Serialize};

use super::{
    address::{self, Reach},
    state,
};
use crate::{command::docker, engine::Engine, rollout::exec};

/// The hole that a task's container goes into.
const CONTAINER: &str = "container";

/// Whom health asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asked {
    /// Whoever answers at the address that users use.
    Public(Health),
    /// Each task, at its own address.
    Tasks(Health, Reach),
    /// Each task of this service, in its own container.
    Containers(Health, String),
}

/// Whether the question has an address of its own.
pub(crate) fn is_public(health: &Health) -> bool {
    match health.question() {
        Question::Http(address) => !address.starts_with('/'),
        Question::Tcp(_) => true,
        Question::Command(_) | Question::Docker => false,
    }
}

impl Asked {
    /// Each task of `service`, at the address by which it is reached or in its container; nobody, where the question is put to
    /// an address and there is none.
    pub(crate) fn tasks(health: Health, service: &str, reach: Option<Reach>) -> Option<Self> {
        match health.question() {
            Question::Http(_) | Question::Tcp(_) => reach.map(|reach| Self::Tasks(health, reach)),
            Question::Command(_) | Question::Docker => Some(Self::Containers(health, service.to_owned())),
        }
    }

    /// The commands that asking runs.
    pub(crate) fn commands(&self) -> Vec<Command> {
        match self {
            Self::Public(_) => Vec::new(),
            Self::Tasks(_, reach) => reach.commands(),
            Self::Containers(health, service) => {
                let command = health.command.as_ref().map_or_else(has_healthcheck, |argv| in_container(argv));
                vec![state::list_tasks(service), address::list_containers(service), command]
            }
        }
    }

    /// Asks until everybody is healthy, and there are to be `replicas`; says what was answered.
    ///
    /// # Errors
    /// One isn't, doesn't run, or can't be asked.
    pub(crate) fn wait(&self, image: &str, replicas: u64, engine: &Engine) -> Result<String> {
        match self {
            Self::Public(health) => Ok(health.wait(&engine.session)?.detail),
            Self::Tasks(health, reach) => by_address(health, reach, image, replicas, engine),
            Self::Containers(health, service) => match &health.command {
                Some(argv) => by_command(health, &in_container(argv), service, image, engine),
                None => by_healthcheck(service, image, engine),
            },
        }
    }
}

fn by_address(health: &Health, reach: &Reach, image: &str, replicas: u64, engine: &Engine) -> Result<String> {
    let session = &engine.session;
    let before = state::failures(&reach.service, image, engine)?;
    let servers = reach.servers(image, engine)?;
    state::check_all_run(&reach.service, servers.len() as u64, replicas)?;
    let mut last = String::new();
    for server in servers {
        let own = health.toward(&server.address);
        let probe = Probe::new(&own, session)?;
        let healthy = own.wait_by(session, probe.what(), || {
            alive(probe.attempt(session)?, &reach.service, image, &before, engine)
        })?;
        last = healthy.detail;
    }
    Ok(last)
}

/// The attempt, unless it went wrong and a task has failed meanwhile: that will not answer any more.
fn alive(
    attempt: Attempt,
    service: &str,
    image: &str,
    before: &BTreeSet<String>,
    engine: &Engine,
) -> Result<Attempt> {
    if attempt.is_healthy() {
        return Ok(attempt);
    }
    let tasks = state::tasks(service, engine)?;
    match tasks.iter().find(|task| task.failed(image) && !before.contains(&task.id)) {
        None => Ok(attempt),
        Some(task) => Err(Error::failed(format!("the task `{}` failed: {}", task.name, task.error))
            .hint("look at its last lines")),
    }
}

fn by_command(
    health: &Health,
    command: &Command,
    service: &str,
    image: &str,
    engine: &Engine,
) -> Result<String> {
    let before = state::failures(service, image, engine)?;
    let containers = here(service, image, engine)?;
    if containers.is_empty() {
        return Err(Error::failed(format!(
            "no task of `{}` runs on this node, where it could be asked",
            service
        ))
        .hint("ask by `http` or `tcp`, with the whole address that users use"));
    }
    let mut last = String::new();
    for container in containers {
        let command = command.fill(CONTAINER, &container)?;
        let healthy = health.wait_by(&engine.session, &command.to_string(), || {
            let process = Process::new(&command).quiet().timeout(health.timeout.span());
            let attempt = Attempt::of_command(process.run(&engine.session))?;
            alive(attempt, service, image, &before, engine)
        })?;
        last = healthy.detail;
    }
    Ok(last)
}

/// A task whose image has a HEALTHCHECK only counts as running once that says healthy: what is left is to see that there is
/// one, where a task runs on this node.
fn by_healthcheck(service: &str, image: &str, engine: &Engine) -> Result<String> {
    for container in here(service, image, engine)? {
        let told = engine.ask(&has_healthcheck().fill(CONTAINER, &container)?)?.success()?.stdout;
        if matches!(told.trim(), "" | "null" | "[\"NONE\"]") {
            return Err(Error::failed("the image has no HEALTHCHECK, and `health.docker` is true")
                .hint("give it one in the Dockerfile, or ask by `http`, `tcp` or `command`"));
        }
    }
    Ok("HEALTHCHECK says healthy".to_owned())
}

/// The containers on this engine of the tasks that run `image`.
fn here(service: &str, image: &str, engine: &Engine) -> Result<Vec<String>> {
    let tasks = state::tasks(service, engine)?;
    let containers = address::containers(service, engine)?;
    let of_task = |it: &address::Local| tasks.iter().any(|task| task.runs(image) && it.is_of(task));
    Ok(containers.into_iter().filter(of_task).map(|it| it.id).collect())
}

fn in_container(argv: &[String]) -> Command {
    exec(&format!("<{CONTAINER}>"), argv).hole(CONTAINER)
}

fn has_healthcheck() -> Command {
    let words = ["container", "inspect", "--format={{with .Config.Healthcheck}}{{json .Test}}{{end}}"];
    docker(words.into_iter().chain([format!("<{CONTAINER}>").as_str()])).hole(CONTAINER)
}
