//! `rollback --action report`: the incident report, kept as a file.

use serde_json::json;

use super::{Answer, Source, execute::object};
use crate::incident::Saved;

/// What the wrapper is told when there is nothing to report.
pub const NO_INCIDENT: &str = "No failed deployment or rollback to report.";

/// Where the report is, or why there is none.
pub fn report(source: &Source<'_>, target: &str, saved: Result<&Saved, &str>) -> Answer {
    let mut body = object(json!({
        "operation": "generate_incident_report",
        "directory": source.project.dir.to_string_lossy(),
        "timestamp": source.timestamp,
        "target": target,
        "success": saved.is_ok(),
        "report_path": saved.ok().map(|saved| saved.path.to_string_lossy()),
        "filename": saved.ok().map(|saved| &saved.filename),
    }));
    if let Err(error) = saved {
        body.insert("error".to_owned(), error.into());
    }
    Answer::report(body, saved.is_ok())
}
