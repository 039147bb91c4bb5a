//! A target's `config`, as deploy.json has it.

use std::{num::NonZeroUsize, path::PathBuf};

use pop_deploy_plugin_api::health::Health;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{address::HostEntry, canary::CanaryStep, strategy::Strategy};

/// The `config` of an ssh target.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The hosts, in the order in which a rolling deployment takes them: `"user@host:port"`, or objects
    /// with `host` and any of `port`, `user`, `identity_file`, `host_key` and `labels`, such as `{"host": "db1", "labels": ["db"]}`.
    /// Your own `ssh` goes there, with your ssh config, your agent and your bastions.
    pub(crate) hosts: Vec<HostEntry>,
    /// The folder on each host, absolute; made on the first deployment. Releases lie in `<base>/releases`, the live one
    /// is `<base>/current`. `{{host}}`, `{{port}}` and `{{user}}` are filled in as `hosts` has them; port
    /// and user that it leaves out are what your ssh config says.
    pub(crate) base: String,
    /// What is shipped: a folder, relative to the project.
    pub(crate) source: PathBuf,
    /// What stays behind, as globs. Without a `/` a pattern is matched against names at any depth, else against the
    /// path from `source`; `*` stops at a `/`, `**` doesn't. `.git` and pop-deploy's own data never go along.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    /// A command that makes `source`: program and arguments, run here in the project folder. No shell.
    #[serde(default)]
    pub(crate) build: Option<Vec<String>>,
    /// What all releases share, in `<base>/shared`: folders end in `/` and are made, files must be there. In each release a
    /// link stands in their place.
    #[serde(default)]
    pub(crate) shared: Vec<String>,
    /// A command to run on each host after `current` leads to another release: program and arguments, run in
    /// `<base>/current`. No shell. `{{host}}`, `{{port}}`, `{{user}}`, `{{version}}` and `{{release}}` are filled in,
    /// here and in the other commands.
    #[serde(default)]
    pub(crate) restart: Option<Vec<String>>,
    /// Commands to run once, on one host, before any host goes live; migrations, say. Nothing takes them back.
    /// Such as `[{"command": ["bin/migrate"], "host": "db"}]`; without `host`, the first of all.
    #[serde(default)]
    pub(crate) run_once: Vec<RunOnce>,
    /// What tells whether a host is well after the switch: `http` or `tcp` asked from here, `command` run on the host.
    #[serde(default)]
    pub(crate) health: Option<Health>,
    /// How many verified releases to keep, at least 1. The live one and the one before it always stay, and so does the
    /// newest that all hosts have, those that can't be reached too.
    #[serde(default = "five")]
    pub(crate) keep: NonZeroUsize,
    /// `"parallel"`: all hosts at once. `"rolling"`: one by one, each verified before the next;
    /// `{"rolling": {"batch": "25%", "wait": 5, "max_failures": 1}}`: in batches.
    #[serde(default)]
    pub(crate) strategy: Strategy,
    /// Which hosts `--canary` takes first, step by step, and how long each step is watched; without it the first host.
    /// Such as `[{"count": 1, "hold": 60}, {"percent": 25, "hold": 300}]`; `{"hosts": ["edge"]}` takes some by name or label.
    #[serde(default)]
    pub(crate) canary: Vec<CanaryStep>,
    /// Whether the key of a host that was never seen is taken for good, and remembered in your known_hosts.
    #[serde(default)]
    pub(crate) accept_new_host_keys: bool,
    /// How many hosts are worked on at the same time.
    #[serde(default = "sixteen")]
    pub(crate) max_connections: NonZeroUsize,
}

fn five() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(4)
}

fn sixteen() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(15)
}

/// A command for one host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunOnce {
    /// The host, by its name or by a label: the first that has it. Without it, the first of all.
    #[serde(default)]
    pub(crate) host: Option<String>,
    /// Program and arguments, run in the new release. No shell.
    pub(crate) command: Vec<String>,
}
