//! Environments: the same targets, pointed elsewhere, with locks and a history of their own.

use std::fmt;

use pop_deploy_plugin_api::protocol::Command;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The key of deploy.json that holds what each environment changes in the targets.
pub(super) const OVERRIDES: &str = "environments";
/// The key of deploy.json that holds the histories of all environments but production.
pub(crate) const HISTORIES: &str = "histories";
/// The key of deploy.json that holds production's history.
pub(crate) const HISTORY: &str = "history";

/// Where a run takes place: production, or one of the environments that deploy.json names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Environment(String);

impl Environment {
    /// The environment that is meant where none is named.
    pub const PRODUCTION: &'static str = "production";

    /// The environment of that name, whether or not there is one.
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether it is the one that is meant where none is named.
    pub fn is_production(&self) -> bool {
        self.0 == Self::PRODUCTION
    }

    /// What a command line needs to mean it too: nothing, or ` --environment NAME`.
    pub fn flag(&self) -> String {
        if self.is_production() {
            String::new()
        } else {
            format!(" {}", Command::new(["--environment", &self.0]))
        }
    }

    /// What a command line needs to mean that target in it: ` --target NAME --environment NAME`.
    pub fn flags(&self, target: &str) -> String {
        format!(" {}{}", Command::new(["--target", target]), self.flag())
    }

    /// The records of its history in a whole deploy.json.
    pub(crate) fn history<'v>(&self, deploy_json: &'v Value) -> Option<&'v Value> {
        match self.is_production() {
            true => deploy_json.get(HISTORY),
            false => deploy_json.get(HISTORIES)?.get(self.name()),
        }
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::named(Self::PRODUCTION)
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A target's object with an environment's own values in it: objects are merged, everything else is replaced. A secret
/// that lies elsewhere there is another value: `{"env": …, "file": …}` would be none.
pub(super) fn overlaid(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) if !(is_reference(base) && is_reference(over)) => {
            let mut merged: Map<String, Value> = base.clone();
            for (key, over) in over {
                let value = merged.get(key).map_or_else(|| over.clone(), |base| overlaid(base, over));
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        _ => over.clone(),
    }
}

/// Whether it says where a secret is.
fn is_reference(object: &Map<String, Value>) -> bool {
    object.len() == 1 && ["env", "file", "command"].iter().any(|place| object.contains_key(*place))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_that_lies_elsewhere_is_replaced_and_other_objects_are_merged() {
        let base = json!({ "password": { "env": "P" }, "health": { "http": "h", "retries": 3 } });
        let over = json!({ "password": { "file": "p" }, "health": { "retries": 5 } });
        assert_eq!(
            overlaid(&base, &over),
            json!({ "password": { "file": "p" }, "health": { "http": "h", "retries": 5 } })
        );
    }
}
