//! What host and worker say to each other: one JSON object a line, over three pipes.
//!
//! Jobs and what can't wait for the end of a job come on a pipe each, so that the thread that does the jobs reads them itself: in a short
//! call the time goes into waking threads.
//!
//! Both ends are the same executable, so nothing here needs to stay compatible. The plugin's own words travel as raw
//! JSON: the worker checks that they are JSON at all, and only the host looks into them.

use std::{
    io::{self, BufRead, Read as _, Write},
    path::PathBuf,
};

use pop_deploy_plugin_api::{Error, protocol::Build};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::confine::Limits;

/// The file descriptor on which a worker reads jobs. High, so that a plugin that closes low numbers doesn't hit it.
pub(super) const JOBS: i32 = 200;
/// The file descriptor on which it reads asides.
pub(super) const ASIDES: i32 = 201;
/// The file descriptor on which a worker answers.
pub(super) const ANSWERS: i32 = 202;
/// The first of the descriptors that a worker only keeps open.
pub(super) const FIRST_KEPT: i32 = 203;

/// The largest answer of a plugin, in bytes.
pub(super) const LARGEST_ANSWER: usize = 64 << 20;
/// The largest receipt, in bytes.
pub(super) const LARGEST_RECEIPT: usize = 1 << 20;
/// The largest event, in bytes; a larger one is dropped with a warning.
pub(super) const LARGEST_EVENT: usize = 256 << 10;
/// The longest line: an answer and its envelope.
const LONGEST_LINE: u64 = (LARGEST_ANSWER as u64) + 4096;

/// From the host to its worker: what it does one after the other.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Job {
    /// Load this plugin, which must describe itself like this. The answer says whether writing is confined.
    Load {
        id: u64,
        plugin: PathBuf,
        expected: Box<Build>,
        kept: i32,
        limits: Limits,
        /// The only folder that may be written; none: no such restriction.
        only: Option<PathBuf>,
    },
    /// Open the session.
    Open { id: u64, request: Box<RawValue> },
    /// Ask the plugin itself, without a session.
    Ask { id: u64, method: String, params: Box<RawValue> },
    /// Call a method of the session.
    Call { id: u64, method: String, params: Box<RawValue> },
    /// End the session and the process.
    Close,
}

/// From the host to its worker: what it hears while a job is running.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Aside {
    /// The call with this number should stop.
    Cancel { id: u64 },
    /// The answer to the plugin's request with this number.
    Answer { id: u64, result: Result<Box<RawValue>, Error> },
}

/// From a worker to its host.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromWorker {
    /// The answer to the load, open or call with this number.
    Answered { id: u64, result: Result<Box<RawValue>, Error> },
    /// The plugin reports something.
    Event(Box<RawValue>),
    /// The plugin asks for something.
    Request { id: u64, method: String, input: Box<RawValue> },
}

/// A message as a line.
pub(super) fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Writes a message as a line, at once.
pub(super) fn write(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&line(message)?)
}

/// Reads a line into `line`, and says whether there was one.
pub(super) fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    from.take(LONGEST_LINE).read_until(b'\n', line)?;
    match line.last() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end")),
    }
}

/// Foreign text as JSON on one line. A line break in JSON can only lie between its words.
pub(super) fn one_line(text: String) -> serde_json::Result<Box<RawValue>> {
    let text = if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text };
    RawValue::from_string(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_message_with_line_breaks_stays_one_line() {
        let pretty = one_line("{\n  \"a\": [1,\r\n 2]\n}".into()).unwrap();
        let sent = line(&FromWorker::Answered { id: 7, result: Ok(pretty) }).unwrap();
        assert_eq!(sent.iter().filter(|byte| **byte == b'\n').count(), 1);
        let mut got = Vec::new();
        assert!(read_line(&mut sent.as_slice(), &mut got).unwrap());
        let FromWorker::Answered { id: 7, result: Ok(value) } = serde_json::from_slice(&got).unwrap() else {
            panic!("{got:?}")
        };
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(value.get()).unwrap(),
            serde_json::json!({"a": [1, 2]})
        );
        assert!(one_line("{\"a\": \"b\nc\"".into()).is_err());
    }

    #[test]
    fn a_line_that_breaks_off_is_an_error_and_none_is_the_end() {
        let mut line = Vec::new();
        assert!(!read_line(&mut &b""[..], &mut line).unwrap());
        assert!(read_line(&mut &b"{\"event\""[..], &mut line).is_err());
    }
}
