//! What is remembered of a plugin: its manifest without the schema of its config.

use pop_deploy_plugin_api::protocol::Build;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::preflight::{self, Refusal};

/// A manifest without the config schema, which is long and only of interest for one that was chosen:
/// [`Candidate::read`](super::Candidate::read) has the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outline(Build);

impl Outline {
    pub(super) fn of(mut build: Build) -> Self {
        build.plugin.config = Value::Null;
        Self(build)
    }

    /// The plugin's id.
    pub fn id(&self) -> &str {
        &self.0.plugin.id
    }

    /// Its version.
    pub fn version(&self) -> &Version {
        &self.0.version
    }

    /// By what the better one of two versions is known: a release comes before any pre-release.
    pub(crate) fn precedence(&self) -> (bool, &Version) {
        (self.version().pre.is_empty(), self.version())
    }

    /// Its author's sentence about it.
    pub fn description(&self) -> &str {
        &self.0.plugin.description
    }

    /// The types of target that it serves.
    pub fn types(&self) -> &[String] {
        &self.0.plugin.types
    }

    /// Whether it serves targets of type `kind`.
    pub fn serves(&self, kind: &str) -> bool {
        self.0.plugin.serves(kind)
    }

    /// Whether it has an optional feature.
    pub fn is_capable_of(&self, capability: &str) -> bool {
        self.0.plugin.is_capable_of(capability)
    }

    /// Lowest and highest protocol version that it speaks.
    pub fn api(&self) -> [u32; 2] {
        self.0.api
    }

    /// The manifest as its author wrote it, without what it says of the config.
    pub fn to_json(&self) -> Value {
        let mut json = serde_json::to_value(&self.0).unwrap_or_default();
        if let Some(plugin) = json["plugin"].as_object_mut() {
            plugin.remove("config");
        }
        json
    }

    /// What suited an older version of this host need not suit this one.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        preflight::check_build(&self.0)
    }
}
