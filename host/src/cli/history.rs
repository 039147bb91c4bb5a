//! `history`: what was deployed when, by whom, and how it ended; and what was interrupted.

use std::time::Duration;

use serde_json::Value;

use super::{args::History as Wanted, open, print_line, table};
use crate::{
    config::{DeployConfig, nearest},
    exit::Exit,
    failure::Failure,
    history::{History, Record, Status, instant},
    reporter::{printable, seconds},
    select::SelectError,
    status::open_runs,
};

/// Which column of the table the result is.
const RESULT: usize = 3;

/// How wide it may be: every row is as wide as the longest.
const RESULT_WIDTH: usize = 72;

pub(super) fn history(wanted: &Wanted) -> Result<Exit, Failure> {
    let (project, config) = open(&wanted.site)?;
    let history = History::of(&config);
    if let Some(name) = &wanted.target {
        check_target(&config, &history, name)?;
    }
    let fitting = history.records().iter().filter(|record| fits(wanted, record));
    let records: Vec<_> = fitting.take(wanted.limit.unwrap_or(usize::MAX)).collect();
    if wanted.json {
        print_line!("{:#}", Value::from(records.iter().map(|record| record.raw.clone()).collect::<Vec<_>>()));
        return Ok(Exit::Done);
    }
    for run in open_runs(&project)?.0 {
        print_line!("{}\n", Failure::Interrupted(Box::new(run)));
    }
    if history.records().is_empty() {
        print_line!("Nothing was deployed yet.");
    } else if records.is_empty() {
        print_line!("No record fits.");
    } else {
        let head = ["When", "Target", "Version", "Result", "Took", "By", "Run"].map(str::to_owned).to_vec();
        let rows: Vec<_> = std::iter::once(head).chain(records.into_iter().map(row)).collect();
        for line in table::table(&rows) {
            print_line!("{line}");
        }
        if rows.iter().any(|row| row[RESULT].ends_with(table::CUT)) {
            let flag = project.environment.flag();
            print_line!("\n`pop-deploy incident{flag} RUN` has all of a result that is cut.");
        }
    }
    Ok(Exit::Done)
}

/// A target that deploy.json no longer has may still be in history.
fn check_target(config: &DeployConfig, history: &History, name: &str) -> Result<(), Failure> {
    let recorded = history.records().iter().filter_map(|record| record.target.as_deref());
    let names: Vec<_> = config.targets.iter().map(|target| target.name.as_str()).chain(recorded).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let nearest = nearest(name, names.iter().copied()).map(str::to_owned);
    let available = config.targets.iter().map(|target| target.name.clone()).collect();
    Err(SelectError::Unknown { name: name.to_owned(), available, nearest }.into())
}

fn fits(wanted: &Wanted, record: &Record) -> bool {
    let time = record.timestamp.as_deref().and_then(instant);
    wanted.target.as_ref().is_none_or(|name| record.target.as_ref() == Some(name))
        && wanted.status.is_none_or(|status| record.status == Some(status.into()))
        && wanted.since.is_none_or(|since| time.is_some_and(|time| time >= since))
}

/// `--since`: a date or time, or how long ago: `7d`, `2 weeks`.
pub(super) fn since(text: &str) -> Result<jiff::Timestamp, String> {
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::system()).ok();
    let ago = || jiff::Zoned::now().checked_sub(text.parse::<jiff::Span>().ok()?.abs()).ok();
    instant(text)
        .or_else(|| day().or_else(ago).map(|zoned| zoned.timestamp()))
        .ok_or_else(|| "write a date such as 2026-03-01, or how long ago, such as 7d".to_owned())
}

fn row(record: &Record) -> Vec<String> {
    let text = |field: &Option<String>| field.clone().unwrap_or_else(|| "?".to_owned());
    let took = record.duration_ms.map_or(String::new(), |ms| seconds(Duration::from_millis(ms)));
    let cells = [
        table::moment(&text(&record.timestamp)),
        text(&record.target),
        text(&record.version),
        table::cut(&result(record), Some(RESULT_WIDTH)),
        took,
        record.actor.clone().unwrap_or_default(),
        record.deployment_id.clone().unwrap_or_default(),
    ];
    // Others write history too.
    cells.iter().map(|cell| printable(cell)).collect()
}

fn result(record: &Record) -> String {
    let named = |version: &Option<String>| version.clone().unwrap_or_else(|| "nothing".to_owned());
    match record.status {
        Some(Status::Success) => "went live".to_owned(),
        Some(Status::RolledBack) => format!("rolled back to {}", named(&record.rollback_to)),
        Some(Status::Failed) => {
            // The rest of an error stands in the log; a table has one line for it.
            let error = record.error.as_deref().unwrap_or("no reason recorded");
            let error = error.lines().next().unwrap_or_default();
            let back = record.rollback.as_ref().filter(|back| back.success);
            let back = back.map_or(String::new(), |back| match (named(&back.to_version), back.performed) {
                (version, true) => format!("back to {version}; "),
                (version, false) => format!("{version} is live; "),
            });
            format!("failed; {back}{error}")
        }
        Some(Status::CanaryOpen) => "live for a part, as a canary".to_owned(),
        None => "?".to_owned(),
    }
}
