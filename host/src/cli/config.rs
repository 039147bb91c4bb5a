//! `config show`: deploy.json as it counts, with every literal secret blotted out.

use serde_json::{Map, Value, json};

use super::{args::Config, open, print_line};
use crate::{
    config::{
        DeployConfig, TargetConfig,
        environment::{HISTORIES, HISTORY},
    },
    exit::Exit,
    failure::Failure,
    plugins::{self, PluginsLock, SearchPath},
    popkit::masked,
    project::Project,
};

pub(super) fn config(wanted: &Config, search: &SearchPath) -> Result<Exit, Failure> {
    let Config::Show { site, resolved } = wanted;
    let (project, config) = open(site)?;
    let shown =
        if *resolved { resolved_value(&project, &config, search)? } else { without_histories(&config.raw) };
    print_line!("{:#}", masked(&shown));
    Ok(Exit::Done)
}

fn without_histories(raw: &Value) -> Value {
    let mut shown = raw.clone();
    if let Value::Object(top) = &mut shown {
        top.retain(|key, _| key != HISTORY && key != HISTORIES);
    }
    shown
}

/// What counts once environment and defaults are in place. References stay references.
fn resolved_value(project: &Project, config: &DeployConfig, search: &SearchPath) -> Result<Value, Failure> {
    let known = PluginsLock::read(&project.data.join("plugins.lock"))?;
    let targets: Map<_, _> = config
        .targets
        .iter()
        .map(|target| (target.name.clone(), target_value(target, search, &known)))
        .collect();
    let Value::Object(mut shown) = without_histories(&config.raw) else { return Ok(config.raw.clone()) };
    shown.remove("environments");
    shown.insert("environment".to_owned(), config.environment.name().into());
    shown.insert("project_name".to_owned(), config.project_name_or_folder(project).into());
    shown.insert("auto_rollback".to_owned(), config.auto_rollback.into());
    shown.insert("targets".to_owned(), targets.into());
    Ok(shown.into())
}

fn target_value(target: &TargetConfig, search: &SearchPath, known: &PluginsLock) -> Value {
    let mut shown = target.raw.as_object().cloned().unwrap_or_default();
    let found = plugins::choose(search, known, &target.kind, target.plugin.as_ref());
    let (served_by, settings) = match &found {
        Ok(found) => {
            let plugin =
                json!({ "id": found.build.plugin.id, "version": found.build.version, "path": found.path });
            (plugin, with_defaults(&target.config, &found.build.plugin.config))
        }
        Err(error) => (json!({ "error": error.to_string() }), target.config.clone()),
    };
    for (key, value) in [
        ("type", json!(target.kind)),
        ("enabled", target.enabled.into()),
        ("primary", target.primary.into()),
        ("auto_rollback", target.auto_rollback.into()),
        ("config", settings),
        ("served_by", served_by),
    ] {
        shown.insert(key.to_owned(), value);
    }
    shown.into()
}

/// The config, with the schema's default for every key that it doesn't have.
fn with_defaults(config: &Value, schema: &Value) -> Value {
    let mut settings = config.as_object().cloned().unwrap_or_default();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(default) = property.get("default").filter(|default| !default.is_null()) {
            settings.entry(key.clone()).or_insert_with(|| default.clone());
        }
    }
    settings.into()
}
