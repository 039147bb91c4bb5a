//! A target's `config`, and the hosts and folders it means.

use std::{num::NonZeroUsize, path::PathBuf};

use pop_deploy_plugin_api::{
    Error, Result, Session,
    health::{Health, Seconds},
    protocol::Release,
    template::Placeholders,
    tree::{self, Skip},
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    address::{Approach, Host, HostEntry},
    canary::CanaryStep,
};

/// The `config` of an ssh target.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The hosts, in the order in which a rolling deployment takes them: `"user@host:port"`, or objects. Your own
    /// `ssh` goes there, with your ssh config, your agent and your bastions.
    pub(crate) hosts: Vec<HostEntry>,
    /// The folder on each host, absolute; made on the first deployment. Releases lie in `<base>/releases`, the live one
    /// is `<base>/current`. `{{host}}`, `{{port}}` and `{{user}}` are filled in.
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
    #[serde(default)]
    pub(crate) run_once: Vec<RunOnce>,
    /// What tells whether a host is well after the switch: `http` or `tcp` asked from here, `command` run on the host.
    #[serde(default)]
    pub(crate) health: Option<Health>,
    /// How many verified releases to keep, at least 1. The live one and the one before it always stay.
    #[serde(default = "five")]
    pub(crate) keep: NonZeroUsize,
    /// `"parallel"`: all hosts at once. `"rolling"`: in batches, each verified before the next.
    #[serde(default)]
    pub(crate) strategy: Strategy,
    /// Which hosts `--canary` takes first, step by step, and how long each step is watched; without it the first host.
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

/// In which order hosts go live.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(from = "StrategyForm")]
#[schemars(with = "StrategyForm")]
pub(crate) enum Strategy {
    /// All at once.
    #[default]
    Parallel,
    /// One batch after the other.
    Rolling(Rolling),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected \"parallel\", \"rolling\" or {\"rolling\": {…}}")]
enum StrategyForm {
    /// By its name.
    Name(StrategyName),
    /// In batches, and how.
    Rolling(RollingObject),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StrategyName {
    /// All hosts at once.
    Parallel,
    /// One host after the other.
    Rolling,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RollingObject {
    /// How.
    rolling: Rolling,
}

impl From<StrategyForm> for Strategy {
    fn from(form: StrategyForm) -> Self {
        match form {
            StrategyForm::Name(StrategyName::Parallel) => Self::Parallel,
            StrategyForm::Name(StrategyName::Rolling) => Self::Rolling(Rolling::default()),
            StrategyForm::Rolling(RollingObject { rolling }) => Self::Rolling(rolling),
        }
    }
}

/// How a rolling deployment goes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rolling {
    /// How many hosts at once: a count, or a share like `"25%"`.
    pub(crate) batch: Batch,
    /// Seconds between two batches.
    pub(crate) wait: Option<Seconds>,
    /// How many hosts may fail, and are left on the release before, until all go back.
    pub(crate) max_failures: usize,
}

/// How many hosts at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "CountOrShare")]
#[schemars(with = "CountOrShare")]
pub(crate) enum Batch {
    /// So many.
    Count(NonZeroUsize),
    /// So many in a hundred, one at least.
    Percent(u8),
}

/// A number, or a text like `"25%"`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a count or a share like \"25%\"")]
enum CountOrShare {
    /// A count.
    Count(NonZeroUsize),
    /// A count or a share, in words.
    Text(String),
}

impl TryFrom<CountOrShare> for Batch {
    type Error = String;

    fn try_from(raw: CountOrShare) -> Result<Self, String> {
        let text = match raw {
            CountOrShare::Count(count) => return Ok(Self::Count(count)),
            CountOrShare::Text(text) => text,
        };
        let parsed = match text.trim().strip_suffix('%') {
            Some(share) => {
                share.trim().parse().ok().filter(|share| (1..=100).contains(share)).map(Self::Percent)
            }
            None => text.trim().parse().ok().map(Self::Count),
        };
        parsed.ok_or_else(|| format!("`{text}` is neither a count from 1 on nor a share like \"25%\""))
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::Count(NonZeroUsize::MIN)
    }
}

impl Batch {
    /// How many of `hosts` go at once.
    pub(crate) fn of(self, hosts: usize) -> usize {
        match self {
            Self::Count(count) => count.get(),
            Self::Percent(share) => (hosts * usize::from(share)).div_ceil(100).max(1),
        }
    }
}

/// A config that holds together, with its hosts and folders found.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) hosts: Vec<Host>,
    /// The base on each host.
    pub(crate) bases: Vec<String>,
    pub(crate) approach: Approach,
    /// The source, absolute; its own links resolved as far as it exists.
    pub(crate) source: PathBuf,
    /// What doesn't go along.
    pub(crate) skip: Skip,
    /// Whether hooks of the user may change the source until the stage.
    pub(crate) hooks_write: bool,
}

impl Site {
    /// Checks the config by itself.
    ///
    /// # Errors
    /// Values that can't be right.
    pub(crate) fn new(config: Config, session: &Session) -> Result<Self> {
        let resolve = |entry: &HostEntry| entry.resolve(&session.project);
        let hosts: Vec<_> = config.hosts.iter().map(resolve).collect::<Result<_>>()?;
        if hosts.is_empty() {
            return Err(Error::config("`config.hosts` is empty").hint("name one host at least"));
        }
        for (index, host) in hosts.iter().enumerate() {
            if hosts[..index].iter().any(|other| other.place() == host.place()) {
                return Err(Error::config(format!("`config.hosts`: `{host}` stands there twice"))
                    .hint("name each host once"));
            }
        }
        let bases = hosts.iter().map(|host| base(&config.base, host)).collect::<Result<_>>()?;
        let source = tree::folder("source", &config.source, session)?;
        let skip = Skip::new(&config.exclude, &source, session)?;
        if let Some(health) = &config.health {
            health.check("config.health")?;
            if health.docker {
                return Err(Error::config("`config.health.docker` means nothing on a host")
                    .hint("ask by http, tcp or command"));
            }
        }
        let once = config.run_once.iter().map(|once| ("run_once", Some(&once.command)));
        for (field, argv) in
            once.chain([("build", config.build.as_ref()), ("restart", config.restart.as_ref())])
        {
            if argv.is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
                return Err(Error::config(format!("`config.{field}`: no program is named"))
                    .hint("give program and arguments, such as [\"systemctl\", \"restart\", \"app\"]"));
            }
        }
        for shared in &config.shared {
            check_shared(shared)?;
        }
        let approach = Approach { accept_new: config.accept_new_host_keys, scratch: session.scratch.clone() };
        let site =
            Self { config, hosts, bases, approach, source, skip, hooks_write: session.source_may_change };
        // What can't be filled is found before anything begins.
        let release = Release { id: "release".to_owned(), version: Some("1".to_owned()), commit: None };
        for host in 0..site.hosts.len() {
            site.restart(host, &release)?;
            site.health(host, &release)?;
        }
        for step in &site.config.canary {
            step.check(&site)?;
        }
        for once in &site.config.run_once {
            let host = site.host_for(once)?;
            site.fill("run_once.command", &once.command, host, &release)?;
        }
        Ok(site)
    }

    /// The command that restarts what runs on a host.
    ///
    /// # Errors
    /// A placeholder that isn't there, or a value that doesn't fit.
    pub(crate) fn restart(&self, host: usize, release: &Release) -> Result<Option<Vec<String>>> {
        let fill = |argv: &Vec<String>| self.fill("restart", argv, host, release);
        self.config.restart.as_ref().map(fill).transpose()
    }

    /// The health check of a host.
    ///
    /// # Errors
    /// As [`restart`](Self::restart).
    pub(crate) fn health(&self, host: usize, release: &Release) -> Result<Option<Health>> {
        let Some(health) = &self.config.health else { return Ok(None) };
        let values = self.placeholders(host, release);
        let mut health = health.clone();
        if let Some(http) = &mut health.http {
            *http = values.fill("config.health.http", http)?;
            if http.starts_with('/') {
                *http = format!("http://{}{http}", bracketed(&self.hosts[host].host));
            }
        }
        if let Some(tcp) = &mut health.tcp {
            *tcp = values.fill("config.health.tcp", tcp)?;
        }
        if let Some(argv) = &mut health.command {
            *argv = values.fill_command("config.health.command", argv)?;
        }
        health.check("config.health")?;
        Ok(Some(health))
    }

    /// The host that a command runs on once.
    ///
    /// # Errors
    /// No host goes by that name.
    pub(crate) fn host_for(&self, once: &RunOnce) -> Result<usize> {
        let Some(name) = &once.host else { return Ok(0) };
        self.hosts.iter().position(|host| host.is_called(name)).ok_or_else(|| {
            let names: Vec<_> = self.hosts.iter().map(|host| format!("`{host}`")).collect();
            Error::config(format!("`config.run_once`: no host is called `{}`", name.escape_debug()))
                .hint(format!("name one of {}, or a label of one", names.join(", ")))
        })
    }

    /// A command with its placeholders filled.
    ///
    /// # Errors
    /// As [`restart`](Self::restart).
    pub(crate) fn fill(
        &self,
        field: &str,
        argv: &[String],
        host: usize,
        release: &Release,
    ) -> Result<Vec<String>> {
        self.placeholders(host, release).fill_command(&format!("config.{field}"), argv)
    }

    fn placeholders(&self, host: usize, release: &Release) -> Placeholders {
        of_host(&self.hosts[host])
            .with("version", release.version.clone().unwrap_or_default())
            .with("release", release.id.clone())
    }

    /// Who may change the source between the plan and the stage, if anybody: what is planned is then a preview.
    pub(crate) fn made_by(&self) -> Option<&'static str> {
        match (&self.config.build, self.hooks_write) {
            (Some(_), false) => Some("the build"),
            (Some(_), true) => Some("the build and the hooks"),
            (None, true) => Some("the hooks"),
            (None, false) => None,
        }
    }

    /// The places themselves, whoever goes there and however.
    pub(crate) fn identity(&self) -> String {
        let mut places: Vec<_> = self
            .hosts
            .iter()
            .zip(&self.bases)
            .map(|(host, base)| format!("{}{base}", host.place()))
            .collect();
        places.sort_unstable();
        format!("ssh {}", places.join(" "))
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn of_host(host: &Host) -> Placeholders {
    let user = host.user.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    Placeholders::new([
        ("host", host.host.clone()),
        ("port", host.port.unwrap_or(22).to_string()),
        ("user", user),
    ])
}

/// The base on a host: absolute, a folder of its own, and free of steps back.
fn base(template: &str, host: &Host) -> Result<String> {
    let filled = of_host(host).fill("config.base", template)?;
    let base = filled.trim_end_matches('/');
    let refused = |what: &str| {
        Error::config(format!("`config.base`: `{}` {what}", filled.escape_debug()))
            .hint("give the whole path of a folder for this target alone, such as /srv/app")
    };
    if !filled.starts_with('/') {
        return Err(refused("isn't absolute"));
    }
    if base.is_empty() {
        return Err(refused("is the root of everything"));
    }
    if base.contains('\0') {
        return Err(refused("contains a NUL byte"));
    }
    if base.len() > 1024 {
        return Err(refused("is too long for a path"));
    }
    if base.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        return Err(refused("has steps in it that lead nowhere or back"));
    }
    Ok(base.to_owned())
}

fn check_shared(shared: &str) -> Result<()> {
    let name = shared.strip_suffix('/').unwrap_or(shared);
    let fits = !name.is_empty()
        && !name.contains('\0')
        && !name.contains('\n')
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if fits {
        return Ok(());
    }
    Err(Error::config(format!("`config.shared`: `{}` is no path within a release", shared.escape_debug()))
        .hint("give a relative path such as `.env`, or `uploads/` for a folder"))
}
