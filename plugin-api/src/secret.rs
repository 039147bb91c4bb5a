//! Secrets: references in deploy.json, values only where they are used.

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use crate::{Result, Session, protocol::method};

/// A reference to a secret: an environment variable, a file, or the output of a command. A literal is refused.
///
/// The host resolves it, with the user's environment, when [`reveal`](Self::reveal) is called; journal, plan and
/// receipts hold the reference only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// The value of an environment variable of the user.
    Env(String),
    /// The content of a file, without its last line end.
    File(PathBuf),
    /// The standard output of a program (an argv), without its last line end.
    Command(Vec<String>),
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Reference {
            Env(String),
            File(PathBuf),
            Command(Vec<String>),
        }
        // Never echo the value: it may be the very secret that must not be here.
        let refused = || {
            D::Error::custom(
                "a secret can't stand here itself; write {\"env\": \"NAME\"}, {\"file\": \"PATH\"} or {\"command\": [\"…\"]}",
            )
        };
        let value = Value::deserialize(deserializer)?;
        match serde_json::from_value(value).map_err(|_| refused())? {
            Reference::Env(name) => Ok(Self::Env(name)),
            Reference::File(path) => Ok(Self::File(path)),
            Reference::Command(argv) => Ok(Self::Command(argv)),
        }
    }
}

impl Secret {
    /// Asks the host for the value. From here on the session blots it out of everything it reports.
    ///
    /// # Errors
    /// When the variable, file or program isn't there; the message names the reference.
    pub fn reveal(&self, session: &Session) -> Result<Revealed> {
        let value: String = session.request(method::SECRET, self)?;
        session.redactor().learn(&value);
        Ok(Revealed(value))
    }
}

/// The value of a secret. Shows itself as `***`; hand it on by stdin or a file of mode 0600, never by argv.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed(String);

impl Revealed {
    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
