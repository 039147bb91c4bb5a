//! The user's own commands around a run: when they run and how.

use std::{collections::BTreeMap, time::Duration};

use pop_deploy_plugin_api::protocol::Phase;
use serde_json::{Map, Value};

use super::{
    ConfigError, nearest,
    read::{Key, Reader, present},
};

const HOOK_KEYS: [&str; 5] = ["command", "timeout", "on_error", "dry_run", "shell"];

/// How long a hook may take when it doesn't say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// Before anything.
    BeforeAll,
    /// Before a phase. Never [`Phase::Preflight`]: nothing of the user's runs before the checks.
    Pre(Phase),
    /// After a phase that went well. Never [`Phase::Preflight`].
    Post(Phase),
    /// After everything went well.
    OnSuccess,
    /// After a failure, rolled back or not.
    OnFailure,
    /// After a rollback, automatic or asked for.
    OnRollback,
    /// At the very end, always.
    AfterAll,
}

impl HookPoint {
    /// Every point, in the order of a run.
    pub fn all() -> impl Iterator<Item = Self> {
        let phases = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Preflight);
        [Self::BeforeAll]
            .into_iter()
            .chain(phases.flat_map(|phase| [Self::Pre(phase), Self::Post(phase)]))
            .chain([Self::OnSuccess, Self::OnFailure, Self::OnRollback, Self::AfterAll])
    }

    /// The name, as in deploy.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeAll => "before_all",
            Self::Pre(Phase::Preflight) => "pre_preflight",
            Self::Pre(Phase::Build) => "pre_build",
            Self::Pre(Phase::Stage) => "pre_stage",
            Self::Pre(Phase::Switch) => "pre_switch",
            Self::Pre(Phase::Verify) => "pre_verify",
            Self::Pre(Phase::Finalize) => "pre_finalize",
            Self::Post(Phase::Preflight) => "post_preflight",
            Self::Post(Phase::Build) => "post_build",
            Self::Post(Phase::Stage) => "post_stage",
            Self::Post(Phase::Switch) => "post_switch",
            Self::Post(Phase::Verify) => "post_verify",
            Self::Post(Phase::Finalize) => "post_finalize",
            Self::OnSuccess => "on_success",
            Self::OnFailure => "on_failure",
            Self::OnRollback => "on_rollback",
            Self::AfterAll => "after_all",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::all().find(|point| point.name() == name)
    }
}

/// The hooks of a run or of a target, by when they run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks(BTreeMap<HookPoint, Vec<Hook>>);

impl Hooks {
    /// Those of one point, in file order.
    pub fn at(&self, point: HookPoint) -> &[Hook] {
        self.0.get(&point).map_or(&[], Vec::as_slice)
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }
}

/// A command of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Program and arguments, at least the program; with `shell` one word, which is the shell line.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// What its failure means.
    pub on_error: OnError,
    /// Whether a dry run runs it.
    pub dry_run: DryRun,
    /// Whether the user asked for a shell.
    pub shell: bool,
}

impl Hook {
    /// What to start: the command, or `sh -c` with the shell line.
    pub fn argv(&self) -> Vec<String> {
        if self.shell {
            ["sh", "-c"].into_iter().map(str::to_owned).chain(self.command.iter().cloned()).collect()
        } else {
            self.command.clone()
        }
    }
}

/// What a failing hook means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The run fails.
    #[default]
    Fail,
    /// A warning.
    Warn,
}

/// What a dry run does with a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DryRun {
    /// Doesn't run it.
    #[default]
    Skip,
    /// Runs it.
    Run,
}

impl Reader<'_> {
    pub(super) fn hooks(&mut self, object: &Map<String, Value>, key: &Key) -> Result<Hooks, ConfigError> {
        let mut hooks = Hooks::default();
        let Some(value) = present(object, key.last()) else { return Ok(hooks) };
        for (name, value) in self.object(value, key)? {
            let key = key.then(name);
            let point = HookPoint::named(name).ok_or_else(|| ConfigError::UnknownHook {
                path: self.path.to_owned(),
                key: key.shown(),
                nearest: nearest(name, HookPoint::all().map(HookPoint::name)).map(str::to_owned),
                at: self.at(&key),
            })?;
            hooks.0.insert(point, self.hooks_of_point(value, &key)?);
        }
        Ok(hooks)
    }

    /// One argv, one object, or a list of both.
    fn hooks_of_point(&mut self, value: &Value, key: &Key) -> Result<Vec<Hook>, ConfigError> {
        match value {
            Value::Array(items) if items.first().is_some_and(Value::is_string) => {
                Ok(vec![plain_hook(self.argv(value, key)?)])
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.hook(item, &key.then(&index.to_string())))
                .collect(),
            _ => Ok(vec![self.hook(value, key)?]),
        }
    }

    fn hook(&mut self, value: &Value, key: &Key) -> Result<Hook, ConfigError> {
        let object = match value {
            Value::Array(_) => return Ok(plain_hook(self.argv(value, key)?)),
            Value::Object(object) => object,
            _ => {
                return Err(self.shape(
                    key,
                    "a command (a list of words) or an object with `command`",
                    value,
                ));
            }
        };
        self.warn_of_keys(object, key, &HOOK_KEYS);
        let shell = self.boolean(object, &key.then("shell"))?.unwrap_or(false);
        let command = object.get("command").unwrap_or(&Value::Null);
        let command = match command {
            Value::String(line) if shell => vec![line.clone()],
            _ if shell && command.as_array().is_none_or(|words| words.len() != 1) => {
                return Err(self.shape(&key.then("command"), "one shell line, because of `shell`", command));
            }
            _ => self.argv(command, &key.then("command"))?,
        };
        let on_error = [("fail", OnError::Fail), ("warn", OnError::Warn)];
        let dry_run = [("skip", DryRun::Skip), ("run", DryRun::Run)];
        Ok(Hook {
            command,
            timeout: self.seconds(object, &key.then("timeout"))?.unwrap_or(DEFAULT_TIMEOUT),
            on_error: self.word(object, &key.then("on_error"), &on_error)?,
            dry_run: self.word(object, &key.then("dry_run"), &dry_run)?,
            shell,
        })
    }

    fn argv(&self, value: &Value, key: &Key) -> Result<Vec<String>, ConfigError> {
        let words: Option<Vec<String>> = value
            .as_array()
            .and_then(|words| words.iter().map(|word| word.as_str().map(str::to_owned)).collect());
        words
            .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
            .ok_or_else(|| self.shape(key, "a command (a list of words, the program first)", value))
    }
}

fn plain_hook(command: Vec<String>) -> Hook {
    Hook {
        command,
        timeout: DEFAULT_TIMEOUT,
        on_error: OnError::default(),
        dry_run: DryRun::default(),
        shell: false,
    }
}
