//! One JSON Schema (2020-12) for a whole deploy.json: ours for the host's keys, each installed plugin's for `config`.

use pop_deploy_plugin_api::protocol::{Manifest, Phase};
use serde_json::{Map, Value, json};

use crate::{
    config::HookPoint,
    plugins::{self, Candidate, Outline, PluginsLock, SearchPath, State},
};

/// The schema, with the config of every plugin that a target would be served by.
pub fn deploy_json(search: &SearchPath, known: &PluginsLock) -> Value {
    let mut chosen: Vec<(Outline, Candidate)> = Vec::new();
    for candidate in plugins::discover(search, known) {
        let Some(build) = candidate.build.clone().filter(|_| candidate.state == State::Ready) else {
            continue;
        };
        match chosen.iter_mut().find(|(other, _)| other.id() == build.id()) {
            Some(other) if other.0.precedence() < build.precedence() => *other = (build, candidate),
            Some(_) => {}
            None => chosen.push((build, candidate)),
        }
    }
    // Who can't read one any more can't be served by it either.
    let manifests: Vec<_> = chosen.iter().filter_map(|(_, it)| Some(it.read().ok()?.plugin)).collect();
    composed(&manifests)
}

/// The schema over these plugins.
pub fn composed(manifests: &[Manifest]) -> Value {
    let mut definitions = host_definitions();
    let mut cases = Vec::new();
    for manifest in manifests {
        let name = format!("config-{}", manifest.id);
        definitions.insert(name.clone(), embedded(&manifest.config, &format!("#/$defs/{name}")));
        for kind in &manifest.types {
            // `_` and `-` are the same in a type.
            let spellings = [kind.replace('_', "-"), kind.replace('-', "_")];
            cases.push(json!({
                "if": { "required": ["type"], "properties": { "type": { "enum": spellings } } },
                "then": { "properties": { "config": { "$ref": format!("#/$defs/{name}") } } },
            }));
        }
    }
    let kinds: Vec<_> = manifests.iter().flat_map(|manifest| &manifest.types).collect();
    definitions.insert("target".to_owned(), target(&kinds, &cases));
    definitions.insert("override".to_owned(), json!({
        "type": "object", "properties": target_keys(&kinds),
        "description": "What an environment changes in a target: objects are merged, everything else is replaced.",
    }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "deploy.json",
        "description": "What pop-deploy deploys where.",
        "type": "object",
        "properties": {
            "$schema": { "type": "string" },
            "version": { "type": "string", "description": "The version of this format: \"1.0\"." },
            "project_name": { "type": ["string", "null"] },
            "created_at": { "type": ["string", "null"] },
            "targets": {
                "type": "object",
                "description": "The places to deploy to, by name.",
                "additionalProperties": { "$ref": "#/$defs/target" },
                "properties": by_name(manifests),
            },
            "environments": {
                "type": "object",
                "description": "The same targets elsewhere, by the name that `--environment` gives.",
                "additionalProperties": {
                    "type": "object", "additionalProperties": { "$ref": "#/$defs/override" },
                },
            },
            "ci": { "type": ["object", "null"] },
            "auto_rollback": { "type": "boolean", "default": true,
                "description": "Whether a deployment that fails while live goes back by itself." },
            "on_partial": { "enum": ["rollback_all", "stop", "continue"], "default": "rollback_all",
                "description": "What becomes of the other targets when one fails." },
            "on_interrupt": { "enum": ["rollback", "leave"], "default": "rollback",
                "description": "What becomes of a run that a signal stops." },
            "hooks": { "$ref": "#/$defs/hooks" },
            "history": { "type": ["array", "null"], "items": { "type": "object" },
                "description": "Written by pop-deploy, newest first." },
            "histories": { "type": ["object", "null"], "additionalProperties": { "type": "array" },
                "description": "The histories of the environments beside production." },
        },
        "required": ["targets"],
        "$defs": definitions,
    })
}

/// A target whose name is its type.
fn by_name(manifests: &[Manifest]) -> Map<String, Value> {
    let kinds = manifests.iter().flat_map(|manifest| {
        let name = format!("config-{}", manifest.id);
        manifest.types.iter().map(move |kind| (kind.clone(), name.clone()))
    });
    kinds
        .map(|(kind, name)| {
            let config = json!({ "properties": { "config": { "$ref": format!("#/$defs/{name}") } } });
            let unless_typed = json!({ "if": { "not": { "required": ["type"] } }, "then": config });
            (kind, json!({ "allOf": [{ "$ref": "#/$defs/target" }, unless_typed] }))
        })
        .collect()
}

fn target(kinds: &[&String], cases: &[Value]) -> Value {
    json!({ "type": "object", "properties": target_keys(kinds), "allOf": cases })
}

fn target_keys(kinds: &[&String]) -> Value {
    let seconds: Map<_, _> = Phase::ALL
        .iter()
        .map(|phase| (phase.name().to_owned(), json!({ "type": "number", "exclusiveMinimum": 0 })))
        .collect();
    json!({
        "type": { "type": "string", "examples": kinds,
            "description": "Which plugin serves it; where it is absent, the target's name says it." },
        "enabled": { "type": "boolean", "default": true },
        "primary": { "type": "boolean", "default": false,
            "description": "Whether it is the one that is meant where none is named." },
        "plugin": { "type": "string", "description": "A version requirement on the plugin, such as \"^1.2\"." },
        "auto_rollback": { "type": "boolean" },
        "config": { "type": "object" },
        "hooks": { "$ref": "#/$defs/hooks" },
        "deadlines": { "type": "object", "properties": seconds,
            "description": "Seconds for all steps of a phase together." },
        "limits": {
            "type": "object",
            "properties": {
                "memory_mb": { "type": "integer", "minimum": 1 },
                "files": { "type": "integer", "minimum": 1 },
            },
            "description": "What the plugin and the programs that it runs may use.",
        },
    })
}

fn host_definitions() -> Map<String, Value> {
    let command = json!({
        "type": "array", "items": { "type": "string" }, "minItems": 1,
        "description": "Program and arguments; no shell.",
    });
    let hook = json!({ "anyOf": [
        { "$ref": "#/$defs/command" },
        {
            "type": "object",
            "required": ["command"],
            "properties": {
                "command": { "anyOf": [{ "$ref": "#/$defs/command" }, { "type": "string" }] },
                "shell": { "type": "boolean", "default": false },
                "timeout": { "type": "number", "exclusiveMinimum": 0, "default": 300, "description": "Seconds." },
                "on_error": { "enum": ["fail", "warn"], "default": "fail" },
                "dry_run": { "enum": ["skip", "run"], "default": "skip" },
            },
        },
    ] });
    let at_point = json!({ "anyOf": [
        { "$ref": "#/$defs/hook" },
        { "type": "array", "items": { "$ref": "#/$defs/hook" } },
    ] });
    let points: Map<_, _> =
        HookPoint::all().map(|point| (point.name().to_owned(), at_point.clone())).collect();
    let hooks = json!({ "type": "object", "properties": points, "additionalProperties": false,
        "description": "Commands of your own around a run." });
    Map::from_iter(
        [("command", command), ("hook", hook), ("hooks", hooks)].map(|(key, value)| (key.to_owned(), value)),
    )
}

/// A plugin's schema as a part of another: its references lead to itself.
fn embedded(schema: &Value, root: &str) -> Value {
    match schema {
        Value::Object(object) => Value::Object(
            object
                .iter()
                .filter(|(key, _)| *key != "$schema")
                .map(|(key, value)| match value.as_str().filter(|_| key == "$ref") {
                    Some(reference) => (key.clone(), reference.replacen('#', root, 1).into()),
                    None => (key.clone(), embedded(value, root)),
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(|item| embedded(item, root)).collect(),
        other => other.clone(),
    }
}
