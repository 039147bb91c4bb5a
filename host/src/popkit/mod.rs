//! The dialect of the popkit wrapper: one JSON object, its stream and an exit code for every request.
//!
//! Pure: nothing here reads a target or prints. Keys stand in the order that the dialect lists them.

mod assess;
mod execute;
mod investigate;
mod mask;
mod prepare;
mod refusal;
mod report;
mod rollback;
mod step;
mod validate;
mod verify;

use serde_json::{Map, Value};

use crate::config::Environment;

pub use assess::assess;
pub use execute::{Asked, execute, told};
pub use investigate::investigate;
pub use mask::masked;
pub use prepare::{Source, prepare};
pub use refusal::{
    Tool, config_error, config_refused, project_error, project_refused, refused_before_work, target_refused,
};
pub use report::{NO_INCIDENT, report};
pub use rollback::{NOTHING, refused, rollback};
pub use step::{StepReport, StepStatus, one_decimal, stderr_tail};
pub use validate::{Validated, config_not_loaded, load_config, validate};
pub use verify::verify;

/// Where an answer goes. The other stream stays empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: every report, that of a failed run too.
    Stdout,
    /// Standard error: what was wrong before any work.
    Stderr,
}

/// The one JSON object that the wrapper gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The object.
    pub json: Value,
    /// Where it goes.
    pub stream: Stream,
    /// The exit code: 0 or 1; usage errors (2) have no object.
    pub exit: u8,
}

impl Answer {
    /// A report on stdout; exit code 0 where it tells of success.
    pub fn report(json: Map<String, Value>, success: bool) -> Self {
        Self { json: Value::Object(json), stream: Stream::Stdout, exit: u8::from(!success) }
    }

    /// The same, saying which environment it is about, where deploy.json has several: as the last key, so that
    /// readers who don't know it find every other key where it was.
    pub fn in_environment(mut self, environment: Option<&Environment>) -> Self {
        if let (Value::Object(json), Some(environment)) = (&mut self.json, environment) {
            json.insert("environment".to_owned(), environment.name().into());
        }
        self
    }

    /// The object as the wrapper reads it: indented by 2, with a line end.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.json)
    }
}

/// What every report begins with.
fn head(operation: &str, source: &Source<'_>, success: bool) -> Map<String, Value> {
    let mut report = Map::new();
    report.insert("operation".to_owned(), operation.into());
    report.insert("directory".to_owned(), source.project.dir.to_string_lossy().into());
    report.insert("timestamp".to_owned(), source.timestamp.into());
    report.insert("success".to_owned(), success.into());
    report
}

#[cfg(test)]
mod tests;
