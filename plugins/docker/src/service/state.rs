//! A service as the Swarm tells it: its spec, how its update stands, its tasks.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::{Command, Release},
    serde_json::{self, Value, json},
};
use serde::Deserialize;

use super::spec::Spec;
use crate::{
    command::docker,
    engine::Engine,
    labels::{self, APP},
};

/// A service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) spec: Spec,
    pub(crate) update: Option<UpdateStatus>,
}

/// How the last update of a service stands.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateStatus {
    #[serde(default)]
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// A task.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Task {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    desired_state: String,
    #[serde(default)]
    current_state: String,
    #[serde(default)]
    pub(crate) error: String,
}

impl Service {
    /// Whether a deployment of that app made it.
    pub(crate) fn is_of(&self, app: &str) -> bool {
        self.spec.labels.get(APP).is_some_and(|label| label == app)
    }

    /// The release that it runs, where a deployment of ours made it.
    pub(crate) fn release(&self) -> Option<Release> {
        labels::release(&self.spec.labels)
    }

    /// How its update stands, in the Swarm's word; empty where there was none.
    pub(crate) fn updating(&self) -> &str {
        self.update.as_ref().map_or("", |update| &update.state)
    }
}

impl Task {
    /// Whether it runs that image, and is to.
    pub(crate) fn runs(&self, image: &str) -> bool {
        self.image == image && self.desired_state == "Running" && self.is("Running")
    }

    /// Whether it was to run that image, and didn't.
    pub(crate) fn failed(&self, image: &str) -> bool {
        self.image == image && (self.is("Failed") || self.is("Rejected"))
    }

    fn is(&self, state: &str) -> bool {
        self.current_state.split(' ').next() == Some(state)
    }
}

/// The command that tells of a service.
pub(crate) fn inspect(name: &str) -> Command {
    docker(["service", "inspect", name])
}

/// The command that lists a service's tasks.
pub(crate) fn list_tasks(name: &str) -> Command {
    docker(["service", "ps", "--no-trunc", "--format={{json .}}", name])
}

/// The command that shows the end of a service's log.
pub(crate) fn show_logs(name: &str) -> Command {
    docker(["service", "logs", "--tail=50", "--raw", name])
}

/// The command that names the networks of a Swarm.
pub(crate) fn list_networks() -> Command {
    docker(["network", "ls", "--no-trunc", "--format={{json .}}"])
}

/// A service, where it is there.
///
/// # Errors
/// The Swarm can't be read.
pub(crate) fn read(name: &str, engine: &Engine) -> Result<Option<Service>> {
    let finished = engine.ask(&inspect(name))?;
    if !finished.status.success() && finished.stderr.to_lowercase().contains("no such service") {
        return Ok(None);
    }
    let found: Value = parsed(&finished.success()?.stdout, "docker service inspect")?;
    let Some(service) = found.get(0) else { return Ok(None) };
    let networks = match service.pointer("/Spec/TaskTemplate/Networks") {
        Some(Value::Array(_)) => networks(engine)?,
        _ => BTreeMap::new(),
    };
    let spec = Spec::read(&service["Spec"], &networks);
    Ok(Some(Service { spec, update: serde_json::from_value(service["UpdateStatus"].clone()).ok() }))
}

fn networks(engine: &Engine) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Network {
        #[serde(rename = "ID")]
        id: String,
        #[serde(rename = "Name")]
        name: String,
    }
    let finished = engine.ask(&list_networks())?.success()?;
    let networks = finished.stdout.lines().map(|line| parsed::<Network>(line, "docker network ls"));
    networks.map(|network| network.map(|network| (network.id, network.name))).collect()
}

/// The tasks of a service, newest first.
///
/// # Errors
/// The Swarm can't be read.
pub(crate) fn tasks(name: &str, engine: &Engine) -> Result<Vec<Task>> {
    let finished = engine.ask(&list_tasks(name))?.success()?;
    finished.stdout.lines().map(|line| parsed(line, "docker service ps")).collect()
}

/// What the Swarm says of each task, for people who look for a failure.
///
/// # Errors
/// The Swarm can't be read.
pub(crate) fn states(name: &str, engine: &Engine) -> Result<Value> {
    let told = |task: Task| json!({ "task": task.name, "image": task.image, "state": task.current_state, "error": task.error });
    Ok(tasks(name, engine)?.into_iter().map(told).collect())
}

/// The last lines that a service's tasks wrote; none where they can't be read.
pub(crate) fn logs(name: &str, engine: &Engine) -> Vec<String> {
    let Ok(finished) = engine.ask(&show_logs(name)) else { return Vec::new() };
    finished.stdout.lines().chain(finished.stderr.lines()).map(str::to_owned).collect()
}

pub(crate) fn parsed<D: serde::de::DeserializeOwned>(text: &str, program: &str) -> Result<D> {
    serde_json::from_str(text).map_err(|error| {
        Error::failed(format!("`{program}` answered strangely"))
            .because(&error)
            .hint("check which docker is in the PATH; 20.10 and later are known to work")
    })
}
