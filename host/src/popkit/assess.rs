//! `rollback --action assess`: what is live and where a rollback would go.

use serde_json::{Map, Value, json};

use super::{Answer, Source, head};
use crate::{
    history::{Assessment, History, Record, Status},
    select,
};

/// The report.
pub fn assess(source: &Source<'_>) -> Answer {
    let chosen = select::for_popkit(source.config, source.target);
    let mut report = head("assess_rollback", source, chosen.is_ok());
    let history = History::of(source.config);
    match &chosen {
        Ok(target) => {
            report.insert("target".to_owned(), target.name.clone().into());
            describe(&mut report, &history.target(&target.name).assess());
        }
        Err(error) => {
            report.insert("target".to_owned(), source.target.into());
            // A target that isn't there has no records.
            describe(&mut report, &History::default().target("").assess());
            report.insert("error".to_owned(), error.to_string().into());
        }
    }
    Answer::report(report, chosen.is_ok())
}

fn describe(report: &mut Map<String, Value>, assessment: &Assessment<'_>) {
    let rollback = assessment.rollback;
    let time = rollback.and_then(|to| to.record).and_then(|record| record.timestamp.clone());
    report.insert("current_version".to_owned(), assessment.current_version.into());
    report.insert("current_status".to_owned(), assessment.current_status.map(Status::name).into());
    report.insert("rollback_version".to_owned(), rollback.and_then(|to| to.version).into());
    report.insert("rollback_commit".to_owned(), rollback.and_then(|to| to.commit).into());
    report.insert("rollback_timestamp".to_owned(), time.into());
    report.insert("total_deployments".to_owned(), assessment.total.into());
    report.insert("last_failed".to_owned(), assessment.last_failed.map_or(Value::Null, failure));
    report.insert("can_rollback".to_owned(), rollback.is_some().into());
}

fn failure(record: &Record) -> Value {
    json!({ "version": record.version, "timestamp": record.timestamp, "error": record.error })
}
