//! What a plugin says of itself, readable without running it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The format of the embedded manifest that this crate writes.
pub const FORMAT: u32 = 1;

/// The manifest as it lies in the link section `.popdply` of a plugin: facts of the build around the author's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// The format of this very object; a reader refuses a number it doesn't know.
    pub format: u32,
    /// The plugin's version, from its Cargo.toml.
    pub version: semver::Version,
    /// Where to report problems; may be empty.
    #[serde(default)]
    pub homepage: String,
    /// An SPDX expression; may be empty.
    #[serde(default)]
    pub license: String,
    /// Lowest and highest protocol version that the plugin speaks.
    pub api: [u32; 2],
    /// The target triple that the plugin was built for.
    pub triple: String,
    /// The compiler, as `rustc --version` says it.
    pub rustc: String,
    /// `unwind`; a plugin that aborts on panic doesn't compile.
    pub panic: String,
    /// The author's part.
    pub plugin: Manifest,
}

/// The author's part: checked in as the crate's `manifest.json`; the test kit compares it with the code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's name: lowercase letters, digits and `-`.
    pub id: String,
    /// One sentence for `plugin list`.
    pub description: String,
    /// The target types it serves. `_` and `-` are the same.
    pub types: Vec<String>,
    /// Optional methods and features that it has, by name (`detect`, `diagnose`, …).
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Environment variables it wants to see, by name; everything else is kept from it.
    #[serde(default)]
    pub environment: Vec<String>,
    /// The JSON Schema (2020-12) of a target's `config`.
    pub config: Value,
}

impl Manifest {
    /// Whether targets of type `kind` are served.
    pub fn serves(&self, kind: &str) -> bool {
        // Asked of a thousand manifests in a run: no copies.
        let one_way = |byte: u8| if byte == b'_' { b'-' } else { byte };
        self.types.iter().any(|served| served.bytes().map(one_way).eq(kind.bytes().map(one_way)))
    }

    /// Whether it has an optional feature, by its name in `capabilities`.
    pub fn is_capable_of(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|has| has == capability)
    }
}
