//! `plugin info`: one plugin, and what targets of it could and couldn't do.

use pop_deploy_plugin_api::protocol::{Build, capability};
use serde_json::{Value, json};

use super::{list, print_line, printable, say};
use crate::{
    config::nearest,
    failure::Failure,
    plugins::{BASE_ENVIRONMENT, Candidate, State},
};

/// What this host never asks of a plugin that doesn't claim it, and what its user misses then.
const MISSED: [(&str, &str); 4] = [
    (capability::CANARY, "`--canary` is refused"),
    ("detect", "`init` never proposes it"),
    (capability::KEPT, "`rollback --list` and `status` don't say what is gone"),
    (capability::UNLOCK, "`unlock` takes nothing at its place"),
];

pub(super) fn print(found: &[Candidate], name: &str) -> Result<(), Failure> {
    let (candidate, build) = chosen(found, name)?;
    say!("{} {}: {}", build.plugin.id, build.version, build.plugin.description);
    say!("  file          {} ({})", candidate.path.display(), list::state(candidate));
    say!("  serves        {}", build.plugin.types.join(", "));
    say!("  can           {}", or(&build.plugin.capabilities, "deploy and take back, nothing beside it"));
    say!("  can't         {}", or(&missing(&build), "nothing that other plugins can"));
    say!("  environment   {}", [BASE_ENVIRONMENT, &wishes(&build)].concat().join(", "));
    print_line!(
        "  dry runs      may write to a scratch folder alone, where the kernel enforces it; sockets stay open"
    );
    print_line!(
        "  other runs    work as you, in a process of their own: your files, your network, your programs"
    );
    say!("  built         api {}-{}, {}, {}", build.api[0], build.api[1], build.triple, build.rustc);
    say!("  licence       {}", build.license);
    say!("  homepage      {}", build.homepage);
    print_line!("  config keys");
    keys(&build.plugin.config);
    Ok(())
}

/// The manifest, and how the file stands.
pub(super) fn to_json(found: &[Candidate], name: &str) -> Result<Value, Failure> {
    let (candidate, build) = chosen(found, name)?;
    let mut json = json!(build);
    let standing = list::to_json(candidate);
    let standing = standing.as_object().into_iter().flatten().filter(|(key, _)| *key != "manifest");
    for (key, value) in standing {
        json[key] = value.clone();
    }
    json["sees"] = json!([BASE_ENVIRONMENT, &wishes(&build)].concat());
    json["misses"] = json!(missing(&build));
    Ok(json)
}

/// The file that would serve targets, or the newest that there is, and what it says when it is read again.
fn chosen<'c>(found: &'c [Candidate], name: &str) -> Result<(&'c Candidate, Build), Failure> {
    let usable = || found.iter().filter_map(|candidate| Some((candidate, candidate.build.as_ref()?)));
    let chosen = usable()
        .filter(|(_, build)| build.id() == name || build.serves(name))
        .max_by_key(|(candidate, build)| (candidate.state == State::Ready, build.version().clone()));
    let Some((candidate, _)) = chosen else {
        let nearest = nearest(name, usable().map(|(_, build)| build.id())).map(str::to_owned);
        return Err(Failure::NoPlugin { name: name.to_owned(), nearest });
    };
    let unread = |refusal| Failure::PluginFile { path: candidate.path.clone(), refusal };
    Ok((candidate, candidate.read().map_err(unread)?))
}

fn wishes(build: &Build) -> Vec<&str> {
    build.plugin.environment.iter().map(String::as_str).collect()
}

fn missing(build: &Build) -> Vec<String> {
    let missed = MISSED.iter().filter(|(capability, _)| !build.plugin.is_capable_of(capability));
    missed.map(|(capability, cost)| format!("{capability} ({cost})")).collect()
}

fn or(words: &[String], nothing: &str) -> String {
    if words.is_empty() { nothing.to_owned() } else { words.join(", ") }
}

/// The top-level keys of a config schema, with their documentation.
fn keys(schema: &Value) {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object();
    for (key, property) in properties.into_iter().flatten() {
        let must = if required.contains(&key.as_str()) { " (required)" } else { "" };
        let default = match &property["default"] {
            Value::Null => String::new(),
            value => format!(" [default: {value}]"),
        };
        say!("    {key}{must}{default}");
        let text = property["description"].as_str().unwrap_or_default();
        for line in text.lines().take_while(|line| !line.is_empty()) {
            print_line!("        {}", printable(line));
        }
    }
}
