//! What history says over time: how often, how well, how fast back, how long.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use serde::Serialize;

use super::{
    facts::{Facts, millis},
    plot::{Bars, Dots, Stack},
    timeline::duration,
};
use crate::history::{Record, Status, instant};

/// How many weeks are shown.
const WEEKS: usize = 12;

/// The figures of an environment.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// How many records they are made of.
    records: usize,
    per_week: String,
    weeks: Bars,
    failure_rate: String,
    failures: Bars,
    restore: String,
    restores: Dots,
    duration: String,
    durations: Dots,
}

impl Figures {
    pub(super) fn of(facts: &Facts) -> Self {
        let dated: Vec<_> = facts
            .records
            .iter()
            .rev()
            .filter_map(|record| Some((instant(record.timestamp.as_deref()?)?, record)))
            .collect();
        let weeks = weeks(&runs(&dated), facts.now);
        let (live, bad): (usize, usize) =
            weeks.iter().fold((0, 0), |(live, bad), week| (live + week.live + week.bad, bad + week.bad));
        let shown = weeks.iter().skip_while(|week| week.is_empty()).count().max(1);
        let all: usize = weeks.iter().map(|week| week.live + week.bad + week.early).sum();
        let restores = restores(&dated);
        let durations = durations(&dated);
        Self {
            records: facts.records.len(),
            per_week: format!("{:.1}", all as f64 / shown as f64),
            weeks: Bars::of(&weeks.iter().map(Week::stack).collect::<Vec<_>>()),
            failure_rate: (bad * 100)
                .checked_div(live)
                .map_or_else(|| "–".to_owned(), |rate| format!("{rate} %")),
            failures: Bars::of(&weeks.iter().map(Week::rate).collect::<Vec<_>>()),
            restore: median(&restores).map_or_else(|| "–".to_owned(), duration),
            restores: Dots::of(&restores),
            duration: median(&durations).map_or_else(|| "–".to_owned(), duration),
            durations: Dots::of(&durations),
        }
    }
}

/// One record a run: with several targets the one that went worst, since a deployment is as good as that.
fn runs<'r>(dated: &[(Timestamp, &'r Record)]) -> Vec<(Timestamp, &'r Record)> {
    let badness = |record: &Record| match record.status {
        Some(Status::Failed) if record.switched != Some(false) => 3,
        Some(Status::Failed) => 2,
        Some(Status::RolledBack) => 1,
        _ => 0,
    };
    let mut runs: Vec<(Timestamp, &Record)> = Vec::new();
    for (time, record) in dated {
        let same = |(_, other): &&mut (Timestamp, &Record)| {
            record.deployment_id.is_some() && other.deployment_id == record.deployment_id
        };
        match runs.iter_mut().find(same) {
            Some(known) if badness(record) > badness(known.1) => *known = (*time, record),
            Some(_) => {}
            None => runs.push((*time, record)),
        }
    }
    runs
}

/// What happened in a week.
#[derive(Default)]
struct Week {
    label: String,
    /// Went live and stayed.
    live: usize,
    /// Went live, and back.
    bad: usize,
    /// Failed before anything was live.
    early: usize,
}

impl Week {
    fn is_empty(&self) -> bool {
        self.live + self.bad + self.early == 0
    }

    fn stack(&self) -> Stack {
        let title = format!(
            "Week of {}: {} went live, {} went back, {} failed before",
            self.label, self.live, self.bad, self.early
        );
        let parts = vec![("good", self.live), ("bad", self.bad), ("idle", self.early)];
        Stack { label: self.label.clone(), title, parts }
    }

    fn rate(&self) -> Stack {
        let rate = (self.bad * 100).checked_div(self.live + self.bad).unwrap_or(0);
        let title = format!("Week of {}: {rate} % of what went live went back", self.label);
        Stack { label: self.label.clone(), title, parts: vec![("bad", rate)] }
    }
}

/// The last weeks, oldest first.
fn weeks(dated: &[(Timestamp, &Record)], now: Timestamp) -> Vec<Week> {
    let monday = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::system()).date();
        date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).unwrap_or(date)
    };
    let this = monday(now);
    let mondays = (0..WEEKS).rev().filter_map(|ago| this.checked_sub((ago as i64).weeks()).ok());
    let mut weeks: Vec<(Date, Week)> = mondays
        .map(|date| (date, Week { label: date.strftime("%b %-d").to_string(), ..Week::default() }))
        .collect();
    for (time, record) in dated {
        let date = monday(*time);
        let Some((_, week)) = weeks.iter_mut().find(|(monday, _)| *monday == date) else { continue };
        match record.status {
            Some(Status::Success) => week.live += 1,
            // The deployment that is gone back from was counted when it went live.
            Some(Status::RolledBack) => {
                week.bad += 1;
                week.live = week.live.saturating_sub(1);
            }
            Some(Status::Failed) if record.switched == Some(false) => week.early += 1,
            Some(Status::Failed) => week.bad += 1,
            Some(Status::CanaryOpen) | None => {}
        }
    }
    weeks.into_iter().map(|(_, week)| week).collect()
}

/// From each release that was bad while live until a good one was live again.
fn restores(dated: &[(Timestamp, &Record)]) -> Vec<(String, u64)> {
    let mut restores = Vec::new();
    for (index, (time, record)) in dated.iter().enumerate() {
        let same = |(_, other): &&(Timestamp, &Record)| other.target == record.target;
        let much = match record.status {
            Some(Status::Failed) if record.switched == Some(false) => None,
            Some(Status::Failed) if record.rollback.as_ref().is_some_and(|back| back.success) => {
                record.duration_ms
            }
            Some(Status::Failed) => dated[index + 1..]
                .iter()
                .filter(same)
                .find(|(_, later)| matches!(later.status, Some(Status::Success | Status::RolledBack)))
                .map(|(mended, _)| millis(*time, *mended)),
            Some(Status::RolledBack) => dated[..index]
                .iter()
                .rev()
                .filter(same)
                .find(|(_, earlier)| {
                    earlier.status == Some(Status::Success) && earlier.version == record.version
                })
                .map(|(live, _)| millis(*live, *time)),
            _ => None,
        };
        restores.extend(much.map(|much| (label(*time, record, much), much)));
    }
    restores
}

fn durations(dated: &[(Timestamp, &Record)]) -> Vec<(String, u64)> {
    let good = dated.iter().filter(|(_, record)| record.status == Some(Status::Success));
    good.filter_map(|(time, record)| Some((label(*time, record, record.duration_ms?), record.duration_ms?)))
        .collect()
}

fn label(time: Timestamp, record: &Record, much: u64) -> String {
    let target = record.target.as_deref().unwrap_or("?");
    let version = record.version.as_deref().unwrap_or("?");
    let day = time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d").to_string();
    format!("{day}, {target} {version}: {}", duration(much))
}

fn median(values: &[(String, u64)]) -> Option<u64> {
    let mut sorted: Vec<_> = values.iter().map(|(_, value)| *value).collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
