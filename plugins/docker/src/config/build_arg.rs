//! A value for the build: plain, or a secret by reference.

use pop_deploy_plugin_api::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// A build argument.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a text, a number, a boolean, or a reference like {\"env\": \"NAME\"}"
)]
pub(crate) enum BuildArg {
    /// A text.
    Text(String),
    /// A switch, as docker is given it in words.
    Switch(bool),
    /// A number, likewise.
    Number(serde_json::Number),
    /// A secret, by reference.
    Secret(Secret),
}

impl BuildArg {
    /// The value in words; nothing for a secret.
    pub(crate) fn plain(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Switch(on) => Some(on.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::Secret(_) => None,
        }
    }

    /// The reference of a secret.
    pub(crate) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Secret(secret) => Some(secret),
            _ => None,
        }
    }
}
