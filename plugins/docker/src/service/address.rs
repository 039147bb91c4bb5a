//! Where the tasks of a service answer one by one: what a proxy on this machine names, and what health asks.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use pop_deploy_plugin_api::{Error, Finished, Result, protocol::Command, serde_json::Value};
use serde::{Deserialize, Serialize};

use super::state::{self, Task, parsed};
use crate::{command::docker, engine::Engine, proxy::Server};

/// The hole that a task's id goes into.
const TASK: &str = "task";
/// The hole that a node's id goes into.
const NODE: &str = "node";

/// How the tasks of a service are reached at one of their ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    pub(crate) service: String,
    pub(crate) port: u16,
    pub(crate) way: Way,
}

/// The way to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// At the port that its node publishes for it: from wherever the nodes are reached.
    Node,
    /// At its address on a bridge of the engine: from the engine's own machine.
    Bridge,
}

/// A container of a task, on this engine.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Local {
    pub(crate) id: String,
    name: String,
}

impl Reach {
    /// The commands that finding the tasks runs.
    pub(crate) fn commands(&self) -> Vec<Command> {
        match self.way {
            Way::Node => vec![state::list_tasks(&self.service), inspect_task(), inspect_node()],
            Way::Bridge => {
                vec![state::list_tasks(&self.service), list_containers(&self.service), inspect_bridges()]
            }
        }
    }

    /// Every task that runs `image` and is to, with its address.
    ///
    /// # Errors
    /// The Swarm can't be read; one of them has no address here.
    pub(crate) fn servers(&self, image: &str, engine: &Engine) -> Result<Vec<Server>> {
        let found = self.found(image, engine)?.into_iter();
        found
            .map(|(task, address)| address.map(|it| server(&task, it)).ok_or_else(|| self.lost(&task)))
            .collect()
    }

    /// The same; nothing where one of them has no address here.
    ///
    /// # Errors
    /// The Swarm can't be read.
    pub(crate) fn reachable(&self, image: &str, engine: &Engine) -> Result<Option<Vec<Server>>> {
        let found = self.found(image, engine)?.into_iter();
        Ok(found.map(|(task, address)| address.map(|it| server(&task, it))).collect())
    }

    fn found(&self, image: &str, engine: &Engine) -> Result<Vec<(Task, Option<String>)>> {
        let tasks = state::tasks(&self.service, engine)?;
        let mut tasks: Vec<_> = tasks.into_iter().filter(|task| task.runs(image)).collect();
        tasks.sort_by(|a, b| a.name.cmp(&b.name));
        let addresses = match self.way {
            Way::Node => self.at_nodes(&tasks, engine)?,
            Way::Bridge => self.on_bridges(&tasks, engine)?,
        };
        Ok(tasks.into_iter().zip(addresses).collect())
    }

    fn lost(&self, task: &Task) -> Error {
        Error::failed(format!("the task `{}` has no address here at port {}", task.name, self.port))
            .hint("publish that port with `mode: host`, or keep the tasks on this node by `constraints`")
    }

    fn at_nodes(&self, tasks: &[Task], engine: &Engine) -> Result<Vec<Option<String>>> {
        let told = |command: Command| Ok(engine.ask(&command)?.success()?.stdout.trim().to_owned());
        let mut nodes: HashMap<String, Option<IpAddr>> = HashMap::new();
        let mut found = Vec::new();
        for task in tasks {
            // A list of tasks only has the names of nodes, which several may share.
            let node: String = told(inspect_task().fill(TASK, &task.id)?)?;
            if !nodes.contains_key(&node) {
                let address: String = told(inspect_node().fill(NODE, &node)?)?;
                nodes.insert(node.clone(), address.parse().ok());
            }
            found.push((task, nodes.get(&node).copied().flatten()));
        }
        let host = |address: IpAddr| match address {
            // A manager of a single node may not know its own.
            address if address.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let address = |(task, node): (&Task, Option<IpAddr>)| {
            Some(format!("{}:{}", host(node?), task.published(self.port)?))
        };
        Ok(found.into_iter().map(address).collect())
    }

    fn on_bridges(&self, tasks: &[Task], engine: &Engine) -> Result<Vec<Option<String>>> {
        let containers = containers(&self.service, engine)?;
        let addresses = bridges(engine)?;
        let address = |task: &Task| {
            let container = containers.iter().find(|it| it.is_of(task))?;
            Some(format!("{}:{}", addresses.get(&container.id)?, self.port))
        };
        Ok(tasks.iter().map(address).collect())
    }
}

impl Local {
    /// Whether it is the container of that task.
    pub(crate) fn is_of(&self, task: &Task) -> bool {
        self.name == format!("{}.{}", task.name, task.id)
    }
}

fn server(task: &Task, address: String) -> Server {
    Server { name: task.name.replace('.', "-"), address, weight: 1 }
}

fn inspect_task() -> Command {
    docker(["inspect", "--type=task", "--format={{.NodeID}}", &format!("<{TASK}>")]).hole(TASK)
}

fn inspect_node() -> Command {
    docker(["node", "inspect", "--format={{.Status.Addr}}", &format!("<{NODE}>")]).hole(NODE)
}

/// The command that lists the containers that this engine runs for a service.
pub(crate) fn list_containers(service: &str) -> Command {
    docker([
        "ps",
        "--no-trunc",
        &format!("--filter=label=com.docker.swarm.service.name={service}"),
        "--format={\"id\":{{json .ID}},\"name\":{{json .Names}}}",
    ])
}

/// The containers that this engine runs for a service.
///
/// # Errors
/// The engine can't be read.
pub(crate) fn containers(service: &str, engine: &Engine) -> Result<Vec<Local>> {
    let finished = engine.ask(&list_containers(service))?.success()?;
    finished.stdout.lines().map(|line| parsed(line, "docker ps")).collect()
}

/// The bridges that lead from the engine's machine to the tasks: the Swarm's own for those on overlay networks, else the
/// engine's usual one.
fn inspect_bridges() -> Command {
    docker(["network", "inspect", "--format={{json .Containers}}", "docker_gwbridge", "bridge"])
}

/// The addresses on these bridges, by the container's id.
fn bridges(engine: &Engine) -> Result<BTreeMap<String, IpAddr>> {
    let finished = engine.ask(&inspect_bridges())?;
    // An engine may lack one of the two: what there is of the other is told all the same.
    let told = if lacks_networks(&finished) { finished } else { finished.success()? }.stdout;
    let mut addresses = BTreeMap::new();
    for line in told.lines().filter(|line| line.starts_with('{')) {
        let containers: BTreeMap<String, Value> = parsed(line, "docker network inspect")?;
        addresses.extend(containers.into_iter().filter_map(|(id, it)| Some((id, address(&it)?))));
    }
    Ok(addresses)
}

/// Whether all that docker complains of is that networks aren't there.
fn lacks_networks(finished: &Finished) -> bool {
    let words = finished.stderr.to_lowercase();
    let is_absent = |line: &str| line.contains("no such network") || line.contains("not found");
    let mut complaints = words.lines().filter(|line| !line.trim().is_empty()).peekable();
    complaints.peek().is_some() && complaints.all(is_absent)
}

fn address(endpoint: &Value) -> Option<IpAddr> {
    endpoint["IPv4Address"].as_str()?.split('/').next()?.parse().ok()
}
