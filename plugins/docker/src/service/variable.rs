//! The environment variables of a service: what the config says, secrets by reference, and what somebody else set.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{Secret, serde_json::Value};
use serde::{Deserialize, Serialize};

use crate::config::Environment;

/// An environment variable of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Variable {
    /// What the config said.
    Text(String),
    /// A secret, by reference.
    Secret(Secret),
    /// Set by somebody else. It may be a secret: its value goes into no journal and no command, so it stays what it is.
    Theirs,
}

impl From<&Environment> for Variable {
    fn from(value: &Environment) -> Self {
        match value {
            Environment::Text(text) => Self::Text(text.clone()),
            Environment::Secret(secret) => Self::Secret(secret.clone()),
        }
    }
}

/// Hashes of the values of a service's variables, by name.
pub(crate) type Hashes = BTreeMap<String, String>;

/// A variable as docker is told it; the value of a secret comes from the environment of the docker program, and of somebody
/// else's nothing is told.
pub(super) fn variable(name: &str, value: &Variable) -> Option<String> {
    match value {
        Variable::Text(text) => Some(format!("{name}={text}")),
        Variable::Secret(_) => Some(name.to_owned()),
        Variable::Theirs => None,
    }
}

/// The variables of a service as the Swarm has it.
pub(super) fn variables(spec: &Value) -> impl Iterator<Item = (&str, &str)> {
    let pairs = spec.pointer("/TaskTemplate/ContainerSpec/Env").and_then(Value::as_array);
    let pairs = pairs.into_iter().flatten().filter_map(Value::as_str);
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Hashes of the values of the variables of a service as the Swarm has it.
pub(crate) fn hashes(spec: &Value) -> Hashes {
    variables(spec).map(|(name, value)| (name.to_owned(), hash(value))).collect()
}

/// What stands for a value that isn't recorded.
pub(super) fn hash(value: &str) -> String {
    blake3::hash(value.as_bytes()).to_hex()[..16].to_owned()
}
