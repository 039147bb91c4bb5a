//! What a plugin reports while it works.

use serde::{Deserialize, Serialize};

use super::Command;

/// Which stream of a program a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error. Also what a newer word reads as.
    #[serde(other)]
    Stderr,
}

/// One thing that happened, on its way to the reporters, the log and the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// How far the running step is.
    Progress {
        /// What is going on: `copying`, `uploading layer 3`.
        message: String,
        /// How much is done, in `unit`.
        #[serde(default)]
        done: Option<u64>,
        /// How much there is, in `unit`.
        #[serde(default)]
        total: Option<u64>,
        /// `files`, `bytes`, …; may be empty.
        #[serde(default)]
        unit: String,
    },
    /// A program of the step is about to run.
    CommandStarted {
        /// Which; must be one of the step's.
        command: Command,
        /// Its process id, which is also its process group: whoever ends this worker ends that group too.
        #[serde(default)]
        pid: Option<u32>,
    },
    /// A program of the step ended.
    CommandFinished {
        /// The process id it had.
        #[serde(default)]
        pid: Option<u32>,
        /// Its exit code; absent when a signal ended it.
        #[serde(default)]
        exit_code: Option<i32>,
        /// How long it ran, in milliseconds.
        #[serde(default)]
        duration_ms: u64,
    },
    /// A line of a program's output, or a part of a very long one.
    Output {
        /// Where it came from.
        stream: Stream,
        /// The text, without its line end.
        text: String,
    },
    /// One attempt of a health check.
    HealthAttempt {
        /// What was asked: a URL, an address, a command.
        what: String,
        /// Whether it was well.
        healthy: bool,
        /// Status, start of the body, error.
        #[serde(default)]
        detail: String,
    },
    /// Something that people should know though the step goes on.
    Warning {
        /// What.
        message: String,
    },
    /// A word that this copy doesn't know. The host logs it and goes on.
    #[serde(other)]
    Unknown,
}
