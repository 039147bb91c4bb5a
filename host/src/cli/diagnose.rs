//! `diagnose`: what the plugins can gather that helps to understand a failure.

use serde_json::{Value, json};

use super::{
    Conversation,
    args::{Diagnose, Talk},
    open, print_line, selection,
};
use crate::{exit::Exit, failure::Failure, pipeline::look, plugins::SearchPath, select, version};

pub(super) fn diagnose(wanted: &Diagnose, plugins: &SearchPath) -> Result<Exit, Failure> {
    Conversation::hold(&Talk::reading(wanted.json), |conversation| {
        let actor = version::actor();
        let (project, config) = open(&wanted.site)?;
        let mut results = Vec::new();
        for target in select::select(&config, &selection(&wanted.targets))? {
            let found = look::diagnose(&conversation.view((&project, &config), target, plugins, &actor))?;
            if wanted.json {
                results.push(json!({ "target": target.name, "diagnostics": found }));
                continue;
            }
            print_line!("Target: {}", target.name);
            if found.is_empty() {
                print_line!("  Its plugin gathers nothing");
            }
            for diagnostic in &found {
                let text = conversation.redactor.redact(&text(&diagnostic.data)).into_owned();
                print_line!("  {}", diagnostic.source);
                for line in text.lines() {
                    print_line!("    {line}");
                }
            }
        }
        if wanted.json {
            let whole = json!({ "v": 1, "type": "diagnose", "targets": results }).to_string();
            print_line!("{}", conversation.redactor.redact(&whole));
        }
        Ok(Exit::Done)
    })
}

/// Lines as they are, everything else as JSON.
fn text(data: &Value) -> String {
    match data {
        Value::String(text) => text.clone(),
        Value::Array(lines) if lines.iter().all(Value::is_string) => {
            lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
        }
        other => format!("{other:#}"),
    }
}
