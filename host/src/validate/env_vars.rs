//! `env_vars`: whether the variables are set that the project's examples list and the targets' secrets refer to.
//! Names are told, never values.

use std::{collections::BTreeSet, env, fs, path::Path};

use pop_deploy_plugin_api::{protocol::CheckStatus, words::counted};
use serde_json::Value;

use super::Finding;
use crate::config::TargetConfig;

/// What a repository shows instead of its `.env`.
const EXAMPLES: [&str; 4] = [".env.example", ".env.sample", ".env.template", ".env.dist"];
/// Where the variables may stand beside the environment itself.
const FILES: [&str; 4] = [".env", ".env.local", ".env.production", ".env.production.local"];

pub(super) fn env_vars(dir: &Path, targets: &[&TargetConfig]) -> Finding {
    let referred: BTreeSet<_> = targets.iter().flat_map(|target| references(&target.config)).collect();
    let example = EXAMPLES.iter().find_map(|name| Some((*name, fs::read_to_string(dir.join(name)).ok()?)));
    let listed: Vec<_> = example.iter().flat_map(|(_, text)| names(text)).collect();
    if referred.is_empty() && listed.is_empty() {
        return Finding::new("env_vars", CheckStatus::Skip, "no variables are asked for");
    }
    // A secret is resolved from the environment alone; a program may read `.env` itself.
    let unset: Vec<_> = referred.iter().filter(|name| env::var_os(name).is_none()).cloned().collect();
    if !unset.is_empty() {
        let message =
            format!("{} that the target's config refers to: not set", counted(unset.len(), "variable"));
        return Finding::new("env_vars", CheckStatus::Fail, message).with(unset);
    }
    let in_files: BTreeSet<_> = FILES
        .iter()
        .filter_map(|name| fs::read_to_string(dir.join(name)).ok())
        .flat_map(|text| names(&text))
        .collect();
    let is_set = |name: &String| env::var_os(name).is_some() || in_files.contains(name);
    let unset: Vec<_> = listed.iter().filter(|name| !is_set(name)).cloned().collect();
    if !unset.is_empty() {
        let file = example.map_or("", |(name, _)| name);
        let message = format!("{} of `{file}`: not set", counted(unset.len(), "variable"));
        return Finding::new("env_vars", CheckStatus::Warn, message).with(unset);
    }
    let message = format!("{} asked for, each is set", counted(referred.len() + listed.len(), "variable"));
    Finding::new("env_vars", CheckStatus::Pass, message)
}

/// The variables that `{"env": "X"}` refers to, wherever it stands.
fn references(config: &Value) -> Vec<String> {
    match config {
        Value::Object(object) => match object.get("env").and_then(Value::as_str) {
            Some(name) if object.len() == 1 => vec![name.to_owned()],
            _ => object.values().flat_map(references).collect(),
        },
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The names that a dotenv file sets.
fn names(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let line = line.trim();
        let (name, _) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let name = name.trim();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then(|| name.to_owned())
    };
    text.lines().filter_map(name).collect()
}
