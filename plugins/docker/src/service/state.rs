//! A service as the Swarm tells it: its spec, how its update stands, its tasks.

use std::collections::{BTreeMap, BTreeSet};

use pop_deploy_plugin_api::{
    Error, Finished, Result,
    protocol::{Command, Release},
    serde_json::{self, Value, json},
};
use serde::{Deserialize, Deserializer};

use super::{
    spec::Spec,
    variable::{Hashes, hashes},
};
use crate::{
    command::docker,
    engine::Engine,
    labels::{self, APP},
};

/// A service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) created: String,
    pub(crate) spec: Spec,
    /// What the values of its variables come to, which are not recorded.
    pub(crate) values: Hashes,
    pub(crate) update: Option<UpdateStatus>,
}

/// How the last update of a service stands.
#[derive(Debug, Clone, Default, Deserialize)]
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
    #[serde(rename = "ID", default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    /// What its node publishes for it: `*:32768->80/tcp`, by commas.
    #[serde(default)]
    ports: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    desired_state: String,
    #[serde(default)]
    current_state: String,
    #[serde(default, deserialize_with = "unquoted")]
    pub(crate) error: String,
}

/// What docker puts quotes around.
fn unquoted<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    Ok(String::deserialize(text)?.trim_matches('"').to_owned())
}

impl Service {
    /// Whether a deployment of that app made it.
    pub(crate) fn is_of(&self, app: &str) -> bool {
        self.spec.labels.get(APP).is_some_and(|label| label == app)
    }

    /// Whether a deployment of that app made it, for a proxy to lead to.
    pub(crate) fn is_behind_a_proxy_of(&self, app: &str) -> bool {
        self.is_of(app) && self.spec.proxied().is_some()
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

    /// The port at which its node publishes one of its own.
    pub(crate) fn published(&self, port: u16) -> Option<u16> {
        let inside = format!("->{port}/tcp");
        let outside = self.ports.split(',').find_map(|it| it.trim().strip_suffix(&inside))?;
        outside.rsplit(':').next()?.parse().ok()
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

/// The command that takes a service away.
pub(crate) fn remove(name: &str) -> Command {
    docker(["service", "rm", name])
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
    if is_absent(&finished) {
        return Ok(None);
    }
    let found: Value = parsed(&finished.success()?.stdout, "docker service inspect")?;
    let Some(service) = found.get(0) else { return Ok(None) };
    let networks = match service.pointer("/Spec/TaskTemplate/Networks") {
        Some(Value::Array(_)) => networks(engine)?,
        _ => BTreeMap::new(),
    };
    let spec = Spec::read(&service["Spec"], &networks);
    Ok(Some(Service {
        name: name.to_owned(),
        created: service["CreatedAt"].as_str().unwrap_or_default().to_owned(),
        spec,
        values: hashes(&service["Spec"]),
        update: serde_json::from_value(service["UpdateStatus"].clone()).ok(),
    }))
}

/// Whether docker says that there is no such service.
pub(crate) fn is_absent(finished: &Finished) -> bool {
    let words = finished.stderr.to_lowercase();
    !finished.status.success()
        && (words.contains("no such service") || words.contains("service") && words.contains("not found"))
}

/// The names of an app's services, and of one that is called as it is, whoever made that.
///
/// # Errors
/// The Swarm can't be read.
pub(crate) fn names(app: &str, engine: &Engine) -> Result<BTreeSet<String>> {
    let list = |filter: String| -> Result<String> {
        Ok(engine.ask(&docker(["service", "ls", &filter, "--format={{.Name}}"]))?.success()?.stdout)
    };
    let (labelled, named) =
        (list(format!("--filter=label={APP}={app}"))?, list(format!("--filter=name={app}"))?);
    // The filter takes every name that begins so.
    let named = named.lines().filter(|name| *name == app);
    Ok(labelled.lines().chain(named).map(str::to_owned).collect())
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

/// The tasks of a service, newest first; none where there is no such service.
///
/// # Errors
/// The Swarm can't be read.
pub(crate) fn tasks(name: &str, engine: &Engine) -> Result<Vec<Task>> {
    let finished = engine.ask(&list_tasks(name))?;
    if is_absent(&finished) {
        return Ok(Vec::new());
    }
    finished.success()?.stdout.lines().map(|line| parsed(line, "docker service ps")).collect()
}

/// How many of these tasks run `image`.
pub(crate) fn running(tasks: &[Task], image: &str) -> u64 {
    tasks.iter().filter(|task| task.runs(image)).count() as u64
}

/// Refuses fewer tasks of a service than there are to be: one that is down just now is asked by nobody.
///
/// # Errors
/// That.
pub(crate) fn check_all_run(name: &str, running: u64, replicas: u64) -> Result<()> {
    if running >= replicas {
        return Ok(());
    }
    Err(Error::failed(format!("only {running} of {replicas} tasks of `{name}` run"))
        .hint("look at their last lines, and at `docker service ps` for what they wait for"))
}

/// The tasks that failed to run `image` so far: what is to be told from those that fail from now on.
///
/// # Errors
/// The Swarm can't be read.
pub(crate) fn failures(name: &str, image: &str, engine: &Engine) -> Result<BTreeSet<String>> {
    let tasks = tasks(name, engine)?;
    Ok(tasks.into_iter().filter(|task| task.failed(image)).map(|task| task.id).collect())
}

/// What the Swarm says of each task, for people who look for a failure.
///
/// # Errors
/// The Swarm can't be read.
pub(crate) fn states(name: &str, engine: &Engine) -> Result<Vec<Value>> {
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
