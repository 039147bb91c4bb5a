//! From the JSON value to [`DeployConfig`]: typed, with errors that point.

use std::{path::Path, time::Duration};

use semver::VersionReq;
use serde_json::{Map, Value};

use super::{
    ConfigError, Deadlines, DeployConfig, Environment, OnInterrupt, OnPartial, Position, TargetConfig,
    Warning,
    environment::{HISTORIES, OVERRIDES, overlaid},
    nearest, text,
};
use crate::plugins::Limits;

/// A longer target name is refused.
const LONGEST_NAME: usize = 200;
const TOP_KEYS: [&str; 13] = [
    "$schema",
    "version",
    "project_name",
    "created_at",
    "targets",
    "ci",
    "history",
    OVERRIDES,
    HISTORIES,
    "auto_rollback",
    "on_partial",
    "on_interrupt",
    "hooks",
];
const TARGET_KEYS: [&str; 9] =
    ["enabled", "primary", "config", "type", "plugin", "auto_rollback", "hooks", "deadlines", "limits"];

pub(super) fn config(
    path: &Path,
    bytes: &[u8],
    environment: &Environment,
) -> Result<DeployConfig, ConfigError> {
    let raw: Value = serde_json::from_slice(bytes)
        .map_err(|source| ConfigError::Json { path: path.to_owned(), source })?;
    // serde_json accepts nothing but UTF-8, so this is the whole text.
    let text = &String::from_utf8_lossy(bytes);
    let mut reader = Reader { path, text, environment, warnings: Vec::new() };
    let top = reader.object(&raw, &Key::default())?;
    reader.warn_of_keys(top, &Key::default(), &TOP_KEYS);
    reader.warn_of_duplicates();

    let key = |name: &str| Key::default().then(name);
    let auto_rollback = reader.boolean(top, &key("auto_rollback"))?.unwrap_or(true);
    let mut targets = Vec::new();
    let (environments, overrides) = reader.environments(top)?;
    if let Some(value) = present(top, "targets") {
        for (name, value) in reader.object(value, &key("targets"))? {
            let here = overrides.get(name).map(|over| overlaid(value, over));
            targets.push(reader.target(name, here.as_ref().unwrap_or(value), auto_rollback)?);
        }
    }
    let primaries: Vec<_> =
        targets.iter().filter(|target| target.primary).map(|target| target.name.clone()).collect();
    if primaries.len() > 1 {
        reader.warnings.push(Warning::Primaries { names: primaries });
    }
    let ci_provider = match present(top, "ci") {
        Some(ci) => {
            let ci = reader.object(ci, &key("ci"))?;
            reader.string(ci, &key("ci").then("provider"))?
        }
        None => None,
    };
    if let Some(history) = present(top, "history")
        && !history.is_array()
    {
        return Err(reader.shape(&key("history"), "a list", history));
    }
    reader.histories(top)?;
    let on_partial = [
        ("rollback_all", OnPartial::RollbackAll),
        ("stop", OnPartial::Stop),
        ("continue", OnPartial::Continue),
    ];
    let on_interrupt = [("rollback", OnInterrupt::Rollback), ("leave", OnInterrupt::Leave)];
    Ok(DeployConfig {
        path: path.to_owned(),
        environment: environment.clone(),
        environments,
        project_name: reader.string(top, &key("project_name"))?,
        ci_provider,
        targets,
        hooks: reader.hooks(top, &key("hooks"))?,
        on_partial: reader.word(top, &key("on_partial"), &on_partial)?,
        on_interrupt: reader.word(top, &key("on_interrupt"), &on_interrupt)?,
        auto_rollback,
        warnings: reader.warnings,
        raw,
    })
}

/// The path of a key.
#[derive(Clone, Default)]
pub(super) struct Key(Vec<String>);

impl Key {
    pub(super) fn then(&self, name: &str) -> Self {
        Self(self.0.iter().cloned().chain([name.to_owned()]).collect())
    }

    pub(super) fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    pub(super) fn shown(&self) -> String {
        if self.0.is_empty() { "the whole file".to_owned() } else { self.0.join(".") }
    }
}

/// A file that is being read.
pub(super) struct Reader<'t> {
    pub(super) path: &'t Path,
    text: &'t str,
    environment: &'t Environment,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    /// The environments beside production, and what the one that is read for changes in the targets.
    fn environments(
        &mut self,
        top: &Map<String, Value>,
    ) -> Result<(Vec<String>, Map<String, Value>), ConfigError> {
        let key = Key::default().then(OVERRIDES);
        let nothing = Map::new();
        let all =
            present(top, OVERRIDES).map(|value| self.object(value, &key)).transpose()?.unwrap_or(&nothing);
        let targets = top.get("targets").and_then(Value::as_object).unwrap_or(&nothing);
        for (name, overrides) in all {
            let key = key.then(name);
            self.check_name(name, "environment")?;
            for (target, over) in self.object(overrides, &key)? {
                let key = key.then(target);
                if !targets.contains_key(target) {
                    return Err(ConfigError::UnknownOverride {
                        path: self.path.to_owned(),
                        key: key.shown(),
                        nearest: nearest(target, targets.keys().map(String::as_str)).map(str::to_owned),
                        at: self.at(&key),
                    });
                }
                let over = self.object(over, &key)?;
                self.warn_of_keys(over, &key, &TARGET_KEYS);
            }
        }
        let wanted = self.environment.name();
        let here = all.get(wanted).and_then(Value::as_object).cloned();
        if here.is_none() && !self.environment.is_production() {
            let production = Environment::PRODUCTION.to_owned();
            let others = all.keys().filter(|name| **name != production).cloned();
            let available: Vec<_> = std::iter::once(production.clone()).chain(others).collect();
            return Err(ConfigError::UnknownEnvironment {
                path: self.path.to_owned(),
                name: wanted.to_owned(),
                nearest: nearest(wanted, available.iter().map(String::as_str)).map(str::to_owned),
                available,
            });
        }
        let names = all.keys().filter(|name| *name != Environment::PRODUCTION).cloned().collect();
        Ok((names, here.unwrap_or_default()))
    }

    /// The histories of the environments beside production: lists, by name.
    fn histories(&self, top: &Map<String, Value>) -> Result<(), ConfigError> {
        let key = Key::default().then(HISTORIES);
        let Some(all) = present(top, HISTORIES) else { return Ok(()) };
        match self.object(all, &key)?.iter().find(|(_, history)| !history.is_array()) {
            Some((name, history)) => Err(self.shape(&key.then(name), "a list", history)),
            None => Ok(()),
        }
    }

    /// A name that a terminal, a file or a hook would stumble over is refused.
    fn check_name(&self, name: &str, what: &'static str) -> Result<(), ConfigError> {
        let usable = !name.is_empty()
            && name.len() <= LONGEST_NAME
            && !name.starts_with('-')
            && !name.contains(char::is_control)
            && ![".", ".."].contains(&name);
        match usable {
            true => Ok(()),
            false => Err(ConfigError::Name { path: self.path.to_owned(), what, name: name.to_owned() }),
        }
    }

    fn target(
        &mut self,
        name: &str,
        value: &Value,
        auto_rollback: bool,
    ) -> Result<TargetConfig, ConfigError> {
        let key = Key::default().then("targets").then(name);
        self.check_name(name, "target")?;
        let target = self.object(value, &key)?;
        self.warn_of_keys(target, &key, &TARGET_KEYS);
        let config = present(target, "config").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        self.object(&config, &key.then("config"))?;
        Ok(TargetConfig {
            name: name.to_owned(),
            kind: self.string(target, &key.then("type"))?.unwrap_or_else(|| name.to_owned()),
            enabled: self.boolean(target, &key.then("enabled"))?.unwrap_or(true),
            primary: self.boolean(target, &key.then("primary"))?.unwrap_or(false),
            plugin: self.version_requirement(target, &key.then("plugin"))?,
            auto_rollback: self.boolean(target, &key.then("auto_rollback"))?.unwrap_or(auto_rollback),
            config,
            hooks: self.hooks(target, &key.then("hooks"))?,
            deadlines: Deadlines::read(self, target, &key.then("deadlines"))?,
            limits: self.limits(target, &key.then("limits"))?,
            raw: value.clone(),
        })
    }

    fn version_requirement(
        &self,
        object: &Map<String, Value>,
        key: &Key,
    ) -> Result<Option<VersionReq>, ConfigError> {
        let Some(text) = self.string(object, key)? else { return Ok(None) };
        VersionReq::parse(&text).map(Some).map_err(|source| ConfigError::PluginVersion {
            path: self.path.to_owned(),
            key: key.shown(),
            text,
            at: self.at(key),
            source,
        })
    }

    fn limits(&mut self, object: &Map<String, Value>, key: &Key) -> Result<Limits, ConfigError> {
        let Some(value) = present(object, key.last()) else { return Ok(Limits::default()) };
        let value = self.object(value, key)?;
        self.warn_of_keys(value, key, &["memory_mb", "files"]);
        let number = |key: Key| {
            let number = |found: &Value| {
                let number = found.as_u64().filter(|number| *number > 0);
                number.ok_or_else(|| self.shape(&key, "a whole number above 0", found))
            };
            present(value, key.last()).map(number).transpose()
        };
        Ok(Limits { memory_mb: number(key.then("memory_mb"))?, files: number(key.then("files"))? })
    }

    pub(super) fn object<'v>(
        &self,
        value: &'v Value,
        key: &Key,
    ) -> Result<&'v Map<String, Value>, ConfigError> {
        value.as_object().ok_or_else(|| self.shape(key, "an object", value))
    }

    pub(super) fn boolean(
        &self,
        object: &Map<String, Value>,
        key: &Key,
    ) -> Result<Option<bool>, ConfigError> {
        present(object, key.last())
            .map(|value| value.as_bool().ok_or_else(|| self.shape(key, "true or false", value)))
            .transpose()
    }

    fn string(&self, object: &Map<String, Value>, key: &Key) -> Result<Option<String>, ConfigError> {
        present(object, key.last())
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| self.shape(key, "a string", value)))
            .transpose()
    }

    pub(super) fn seconds(
        &self,
        object: &Map<String, Value>,
        key: &Key,
    ) -> Result<Option<Duration>, ConfigError> {
        present(object, key.last())
            .map(|value| {
                let seconds = value.as_f64().filter(|seconds| *seconds > 0.0);
                seconds
                    .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                    .ok_or_else(|| self.shape(key, "a number of seconds above 0", value))
            })
            .transpose()
    }

    pub(super) fn word<W: Copy + Default>(
        &self,
        object: &Map<String, Value>,
        key: &Key,
        words: &[(&str, W)],
    ) -> Result<W, ConfigError> {
        let Some(value) = present(object, key.last()) else { return Ok(W::default()) };
        let named = words.iter().find(|(word, _)| value.as_str() == Some(*word));
        named.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let choices: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.shape(key, &choices.join(" or "), value)
        })
    }

    pub(super) fn shape(&self, key: &Key, expected: &str, found: &Value) -> ConfigError {
        ConfigError::Shape {
            path: self.path.to_owned(),
            key: self.written_at(key).shown(),
            expected: expected.to_owned(),
            found: found_words(found),
            at: self.at(key),
        }
    }

    /// Where the value of a target's key stands in the file: with the environment, if that changes it.
    fn written_at(&self, key: &Key) -> Key {
        let Some(("targets", rest)) = key.0.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
            return key.clone();
        };
        let prefix = [OVERRIDES, self.environment.name()].map(str::to_owned);
        let changed = Key(prefix.into_iter().chain(rest.iter().cloned()).collect());
        if text::find(self.text, &changed.0).is_some() { changed } else { key.clone() }
    }

    pub(super) fn at(&self, key: &Key) -> Option<Position> {
        text::find(self.text, &self.written_at(key).0).map(|span| text::position(self.text, span.start))
    }

    pub(super) fn warn_of_keys(&mut self, object: &Map<String, Value>, key: &Key, known: &[&str]) {
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            // A known key beside it means that this one isn't a slip of it.
            let free = known.iter().copied().filter(|known| !object.contains_key(*known));
            if let Some(nearest) = nearest(name, free) {
                let key = key.then(name);
                let at = self.at(&key);
                self.warnings.push(Warning::UnknownKey { key: key.shown(), nearest: nearest.to_owned(), at });
            }
        }
    }

    /// At the top and among the targets: a second target of one name would vanish silently.
    fn warn_of_duplicates(&mut self) {
        let top = text::members(self.text, &text::whole(self.text));
        let targets = top.iter().rfind(|member| member.key == "targets");
        let targets = targets.map(|targets| text::members(self.text, &targets.value)).unwrap_or_default();
        for (prefix, members) in [("", top), ("targets.", targets)] {
            for (index, member) in members.iter().enumerate() {
                if members[..index].iter().any(|earlier| earlier.key == member.key) {
                    self.warnings.push(Warning::DuplicateKey {
                        key: format!("{prefix}{}", member.key),
                        at: Some(text::position(self.text, member.key_span.start)),
                    });
                }
            }
        }
    }
}

/// The value, where it is there and not null.
pub(super) fn present<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn found_words(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(word) => word.to_string(),
        Value::Number(number) => number.to_string(),
        // A literal where a secret should be must not be echoed; a short plain word helps and is none.
        Value::String(text)
            if text.len() <= 12 && text.chars().all(|c| c.is_ascii_lowercase() || c == '_') =>
        {
            format!("\"{text}\"")
        }
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
