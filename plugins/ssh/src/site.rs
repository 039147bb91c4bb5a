//! The hosts and folders that a target's `config` means.

use std::path::PathBuf;

use pop_deploy_plugin_api::{
    Error, Result, Session, check_program,
    health::Health,
    protocol::Release,
    template::Placeholders,
    tree::{self, Skip},
};

use crate::{
    address::{Approach, Host, HostEntry},
    config::{Config, RunOnce},
    login, shared,
};

/// A config that holds together, with its hosts and folders found.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) hosts: Vec<Host>,
    /// What stands for each host in the words of the config.
    placeholders: Vec<Placeholders>,
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
    /// The places of all hosts but these.
    pub(crate) fn places_beside(&self, hosts: &[usize]) -> Vec<String> {
        let others = (0..self.hosts.len()).filter(|host| !hosts.contains(host));
        others.map(|host| self.hosts[host].place()).collect()
    }

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
        let placeholders = login::placeholders(&hosts, &config)?;
        let bases = placeholders.iter().map(|host| base(&config.base, host)).collect::<Result<_>>()?;
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
            if let Some(argv) = argv {
                let hint = "give program and arguments, such as [\"systemctl\", \"restart\", \"app\"]";
                check_program(&format!("config.{field}"), argv, hint)?;
            }
        }
        shared::check(&config.shared)?;
        let approach = Approach { accept_new: config.accept_new_host_keys, scratch: session.scratch.clone() };
        let hooks_write = session.source_may_change;
        let site = Self { config, hosts, placeholders, bases, approach, source, skip, hooks_write };
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
        self.placeholders[host]
            .clone()
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

/// The base on a host: absolute, a folder of its own, and free of steps back.
fn base(template: &str, host: &Placeholders) -> Result<String> {
    let filled = host.fill("config.base", template)?;
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
