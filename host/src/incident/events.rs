//! What the runs of an incident kept of themselves: the lines of their `events.jsonl`.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::{Failed, Moment};
use crate::reporter::log::EVENTS;

/// More lines of output than these last ones are left to the log.
const OUTPUT: usize = 50;

/// The events of a target, and those of its runs as a whole, in order.
pub(super) struct Events {
    events: Vec<Value>,
}

impl Events {
    /// Reads what is there; a torn last line, or a file that is gone, is passed over: the report is made all the same.
    pub(super) fn read(folders: &[PathBuf], target: &str) -> Self {
        let texts = folders.iter().filter_map(|folder| fs::read_to_string(folder.join(EVENTS)).ok());
        let mut events = Vec::new();
        for text in texts {
            let parsed = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            events.extend(parsed.filter(|event| event.get("target").is_none_or(|of| of == target)));
        }
        Self { events }
    }

    fn of(&self, kind: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.events.iter().filter(move |event| event["type"] == kind)
    }

    /// What happened when, as sentences.
    pub(super) fn timeline(&self) -> Vec<Moment> {
        let moment = |event: &Value| Some(Moment { time: local(event)?, what: sentence(event)? });
        self.events.iter().filter_map(moment).collect()
    }

    pub(super) fn last_time(&self) -> Option<String> {
        self.events.last().and_then(local)
    }

    /// The version that the first run was to bring.
    pub(super) fn version(&self) -> Option<String> {
        let started = self.of("run.started").next()?;
        started["targets"].as_array()?.iter().find_map(|target| text(&target["version"]))
    }

    /// The step that failed first, with what it said; where none did, the error of the run.
    pub(super) fn failure(&self) -> Failed {
        let health = self
            .of("health.attempt")
            .filter_map(|event| Some(Moment { time: local(event)?, what: sentence(event)? }));
        let health = health.collect();
        let failed = self.of("step.finished").find(|event| event["status"] == "failed");
        let error = failed.map(|event| &event["error"]).or_else(|| {
            let mut finished = self.of("run.finished").map(|event| &event["error"]);
            finished.find(|error| error.is_object())
        });
        let step = failed.and_then(|event| text(&event["step"])).or_else(|| hook(error?));
        let started = self.of("step.started").find(|event| text(&event["step"]) == step && step.is_some());
        let ended = self.of("command.finished").rfind(|event| text(&event["step"]) == step && step.is_some());
        Failed {
            title: started.and_then(|event| text(&event["title"])),
            error: error.and_then(|error| text(&error["message"])),
            causes: error.map_or_else(Vec::new, |error| texts(&error["causes"])),
            hint: error.and_then(|error| text(&error["hint"])),
            exit_code: ended.and_then(|event| event["exit_code"].as_i64()),
            output: self.output(step.as_deref()),
            health,
            step,
        }
    }

    fn output(&self, step: Option<&str>) -> Vec<String> {
        let Some(step) = step else { return Vec::new() };
        let lines: Vec<_> = self
            .of("step.output")
            .filter(|event| event["step"] == step)
            .filter_map(|event| text(&event["text"]))
            .collect();
        lines[lines.len().saturating_sub(OUTPUT)..].to_vec()
    }

    /// What was taken back, as sentences.
    pub(super) fn taken_back(&self) -> Vec<String> {
        self.of("rollback.step").filter_map(sentence).collect()
    }

    /// How long going back by itself took.
    pub(super) fn rollback_duration(&self) -> Option<i64> {
        let from = self.of("rollback.started").next().and_then(instant)?;
        let until = self.of("rollback.step").next_back().and_then(instant)?;
        Some((until.as_millisecond() - from.as_millisecond()).max(0))
    }

    /// From when until when users may have seen what the first run brought; nothing where it never went live.
    pub(super) fn exposure(&self) -> Option<(String, Option<String>)> {
        let mut switches = self.of("switch");
        let live = switches.next()?;
        let taken_back = self.of("rollback.step").rfind(|event| event["success"] == true);
        let until = taken_back.or_else(|| switches.next());
        Some((local(live)?, until.and_then(local)))
    }
}

/// An event as a sentence; nothing for what is no part of the story.
fn sentence(event: &Value) -> Option<String> {
    let of = |key: &str| text(&event[key]).unwrap_or_default();
    let error = || text(&event["error"]["message"]).unwrap_or_default();
    let version = |release: &Value| text(&release["version"]).or_else(|| text(&release["id"]));
    Some(match event["type"].as_str()? {
        "run.started" => format!("run `{}` begins: {}", of("run"), of("mode").replace('_', " ")),
        "plan" => format!("planned: {}", text(&event["plan"]["summary"]).unwrap_or_default()),
        "step.started" => format!("`{}` begins: {}", of("step"), of("title")),
        "step.finished" if event["status"] == "failed" => format!("`{}` failed: {}", of("step"), error()),
        "step.finished" => format!("`{}` is done: {}", of("step"), of("status")),
        "health.attempt" => {
            let how = if event["healthy"] == true { "healthy" } else { "not healthy" };
            format!("{}: {how}, {}", of("what"), of("detail"))
        }
        "switch" => format!("{} is live", version(&event["to"]).unwrap_or_default()),
        "warning" => format!("warning: {}", of("message")),
        "rollback.started" => "taking it back begins".to_owned(),
        "rollback.step" if event["success"] == true => format!("`{}` is taken back", of("step")),
        "rollback.step" => format!("`{}` can't be taken back: {}", of("step"), error()),
        "run.finished" => format!("run ends: {}", of("ending").replace('_', " ")),
        _ => return None,
    })
}

/// The hook that an error names: "hook `pre_verify`: …".
fn hook(error: &Value) -> Option<String> {
    let message = text(&error["message"])?;
    let (name, _) = message.strip_prefix("hook `")?.split_once('`')?;
    Some(name.to_owned())
}

fn instant(event: &Value) -> Option<jiff::Timestamp> {
    event["ts"].as_str()?.parse().ok()
}

fn local(event: &Value) -> Option<String> {
    let time = instant(event)?.to_zoned(jiff::tz::TimeZone::system());
    Some(time.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(text).collect()
}
