//! `history`: what was deployed when, by whom, and how it ended; and what was interrupted.

use serde_json::Value;

use super::{args::History as Wanted, open, print_line};
use crate::{
    exit::Exit,
    failure::Failure,
    history::{History, Record, Status},
    journal,
};

pub(super) fn history(wanted: &Wanted) -> Result<Exit, Failure> {
    let (project, config) = open(&wanted.site)?;
    let history = History::of(&config);
    let fits =
        |record: &&Record| wanted.target.as_ref().is_none_or(|name| record.target.as_ref() == Some(name));
    let records: Vec<_> = history.records().iter().filter(fits).collect();
    if wanted.json {
        print_line!("{:#}", Value::from(records.iter().map(|record| record.raw.clone()).collect::<Vec<_>>()));
        return Ok(Exit::Done);
    }
    let died = journal::interrupted(&project.data)?.into_iter();
    for run in died.filter(|run| run.began_steps() && run.info.environment == project.environment) {
        print_line!("{}\n", Failure::Interrupted(Box::new(run)));
    }
    if records.is_empty() {
        print_line!("Nothing was deployed yet.");
    }
    for record in records {
        print_line!("{}", line(record));
    }
    Ok(Exit::Done)
}

fn line(record: &Record) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_else(|| "?".to_owned());
    let what = match record.status {
        Some(Status::Success) => format!("{} went live", text(&record.version)),
        Some(Status::RolledBack) => {
            format!("{} rolled back to {}", text(&record.version), text(&record.rollback_to))
        }
        Some(Status::Failed) => {
            let error = record.error.as_deref().unwrap_or("no reason recorded");
            let back = record.rollback.as_ref().filter(|back| back.success);
            let back =
                back.map_or(String::new(), |back| format!("; rolled back to {}", text(&back.to_version)));
            format!("{} failed: {error}{back}", text(&record.version))
        }
        None => "?".to_owned(),
    };
    let time = text(&record.timestamp);
    let time = time.get(..19).unwrap_or(&time).replace('T', " ");
    let who = record.actor.as_ref().map_or(String::new(), |actor| format!(" by {actor}"));
    format!("{time}  {}: {what}{who}", text(&record.target))
}
