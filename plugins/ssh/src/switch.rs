//! Makes a release live on a host, and puts back what was live before.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    protocol::{Command, Release},
};
use serde::{Deserialize, Serialize};

use crate::{
    command::{self, Told},
    connection::Connection,
    lock::told,
    quote,
    site::Site,
    survey::Current,
};

/// What `point` at the far end ends with when `current` is something else than was thought.
const OTHER: i32 = 67;
/// And when it leads there already.
const ALREADY: i32 = 68;

/// What a switch needs to go forward, and back in a process that never saw the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Switch {
    /// What was live on each host before.
    pub(crate) before: BTreeMap<String, Before>,
    /// Where `current` is to lead.
    pub(crate) to: String,
}

/// What was live on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// Where `current` leads; empty where it isn't there.
    pub(crate) link: String,
    /// The release that this is, where it is one of ours.
    #[serde(default)]
    pub(crate) release: Option<Release>,
}

impl Before {
    fn release(&self) -> Release {
        let id = self.link.strip_prefix("releases/").unwrap_or_default();
        self.release.clone().unwrap_or_else(|| Release { id: id.to_owned(), version: None, commit: None })
    }
}

/// What a switch of one host came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It leads there now; and why the restart failed, where it did.
    Now(Result<()>),
    /// It did already.
    Already,
    /// It is something that this run didn't expect, and leaves alone.
    Elsewhere(Current),
}

/// Why a host isn't all as it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// `current` may still lead to the new release.
    Link(Error),
    /// `current` leads back, and the restart failed.
    Restart(Error),
}

impl Trouble {
    pub(crate) fn error(&self) -> &Error {
        match self {
            Self::Link(error) | Self::Restart(error) => error,
        }
    }

    /// In few words.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Link(_) => "couldn't be switched back",
            Self::Restart(_) => "was switched back, and its restart failed",
        }
    }
}

/// A way that `current` may go on one host.
#[derive(Debug, Clone)]
pub(crate) struct Move<'a> {
    pub(crate) site: &'a Site,
    pub(crate) host: usize,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    /// What is live afterwards, for the placeholders of `restart`.
    pub(crate) release: Release,
    pub(crate) told: Told,
}

impl Move<'_> {
    /// The line that a person would type for it.
    pub(crate) fn line(&self) -> String {
        let base = quote::shown(&self.site.bases[self.host]);
        match self.to {
            "" => format!("rm {base}/current"),
            to => format!(
                "cd {base} && ln -s {} .pop-deploy/next && mv -T .pop-deploy/next current",
                quote::shown(to)
            ),
        }
    }

    /// What is live afterwards, where anything is.
    fn live_afterwards(&self) -> Option<&Release> {
        (!self.to.is_empty()).then_some(&self.release)
    }

    /// What restarts there then.
    fn restart_command(&self) -> Result<Option<Vec<String>>> {
        self.live_afterwards().map_or(Ok(None), |release| self.site.restart(self.host, release))
    }

    fn current(&self) -> String {
        format!("{}/current", self.site.bases[self.host])
    }

    /// Switches, and restarts in the same breath. Where that was done but for the restart, it is made up for.
    ///
    /// # Errors
    /// The link can't be made; the connection is lost.
    pub(crate) fn run(&self, connection: &mut Connection, session: &Session) -> Result<Moved> {
        let host = &self.site.hosts[self.host];
        let restart = self.restart_command()?;
        let shown = host.shown(&self.line());
        self.told.begin(shown, session);
        let begun = std::time::Instant::now();
        let due = restart.as_ref().map_or("", |_| "restart");
        let point = connection.begin(&["point", self.from, self.to, due])?;
        let folder = self.current();
        let restarting = match &restart {
            Some(argv) => Some(command::start(host, &folder, argv, connection)?.told(self.told)),
            None => None,
        };
        let answer = connection.wait(point)?;
        self.told.end(Some(answer.status), begun.elapsed(), session);
        match answer.status {
            0 => {}
            OTHER => return Ok(Moved::Elsewhere(Current::of(&answer))),
            ALREADY if answer.says("due") => return moved(self.restart(connection, session)),
            ALREADY => return Ok(Moved::Already),
            _ => return Err(told(&answer, format!("can't switch `{folder}` on `{host}`"))),
        }
        if answer.says("gap") {
            session.warn(format!("`{host}` can't rename over a link: `current` was away for a moment"));
        }
        if let Some(restarting) = restarting {
            // Both were asked at once.
            connection.trips -= 1;
            return moved(restarting.succeed(connection, session).and_then(|()| settle(connection)));
        }
        Ok(Moved::Now(Ok(())))
    }

    /// Restarts what runs on the host, without switching.
    ///
    /// # Errors
    /// The restart fails; the connection is lost.
    pub(crate) fn restart(&self, connection: &mut Connection, session: &Session) -> Result<()> {
        if let Some(argv) = self.restart_command()? {
            let folder = self.current();
            // The end of a chain that failed, as far as the far end is concerned.
            connection.begin(&["current"])?;
            let running = command::start(&self.site.hosts[self.host], &folder, &argv, connection)?;
            let running = running.told(self.told);
            running.succeed(connection, session)?;
            settle(connection)?;
        }
        Ok(())
    }
}

/// What a person would type to restart what runs on a host, where a release is live, and to have the host know.
pub(crate) fn restart_by_hand(site: &Site, host: usize, release: &Release) -> Option<Command> {
    // What can't be filled is found when the config is read.
    let argv = site.restart(host, release).unwrap_or_default()?;
    let [current, due] = ["current", ".pop-deploy/restart-due"]
        .map(|inner| quote::shown(&format!("{}/{inner}", site.bases[host])));
    Some(site.hosts[host].shown(&format!("cd {current} && {} && rm -f {due}", quote::line(&argv))))
}

/// What a switch came to whose restart ended like this.
fn moved(restarted: Result<()>) -> Result<Moved> {
    match restarted {
        // A command that failed. After all else nobody knows whether it ran.
        Err(error) if error.kind != ErrorKind::Failed => Err(error),
        restarted => Ok(Moved::Now(restarted)),
    }
}

/// A release as people know it.
pub(crate) fn in_words(release: &Release) -> String {
    match &release.version {
        Some(version) => format!("version {version} (release {})", release.id),
        None => format!("release {}", release.id),
    }
}

/// Has the host know that what runs there is what `current` leads to. Not waited for: at worst it restarts once more.
fn settle(connection: &mut Connection) -> Result<()> {
    connection.begin(&["settled"]).map(drop)
}

impl Switch {
    /// The way forward on a host.
    pub(crate) fn forward<'a>(&'a self, site: &'a Site, host: usize, release: &Release) -> Move<'a> {
        Move {
            site,
            host,
            from: self.link(site, host),
            to: &self.to,
            release: release.clone(),
            told: Told::AsPlanned,
        }
    }

    /// The way back on a host.
    pub(crate) fn back<'a>(&'a self, site: &'a Site, host: usize) -> Move<'a> {
        let release = self.before.get(&site.hosts[host].name).map(Before::release);
        let nothing = || Release { id: String::new(), version: None, commit: None };
        let release = release.unwrap_or_else(nothing);
        Move { site, host, from: &self.to, to: self.link(site, host), release, told: Told::AsOutput }
    }

    fn link(&self, site: &Site, host: usize) -> &str {
        self.before.get(&site.hosts[host].name).map_or("", |before| &before.link)
    }

    /// Makes the release live on a host. Where it is already, an earlier attempt was cut off before the restart.
    ///
    /// # Errors
    /// As [`Move::run`]; something else is live there.
    pub(crate) fn go(
        &self,
        site: &Site,
        host: usize,
        release: &Release,
        connection: &mut Connection,
        session: &Session,
    ) -> Result<()> {
        let forward = self.forward(site, host, release);
        match forward.run(connection, session)? {
            Moved::Now(restarted) => restarted,
            Moved::Already => forward.restart(connection, session),
            Moved::Elsewhere(current) => Err(Error::failed(format!(
                "`{}/current` on `{}` isn't what it was when the plan was made: it is {current}",
                site.bases[host], site.hosts[host]
            ))
            .hint("find out who changed it, then deploy again")),
        }
    }

    /// Puts back on a host what was live there before. Where `current` is away, a switch was cut off between taking the old
    /// link away and putting the new one there, as on hosts that can't rename over a link.
    ///
    /// # Errors
    /// As [`Move::run`].
    pub(crate) fn go_back(
        &self,
        site: &Site,
        host: usize,
        connection: &mut Connection,
        session: &Session,
    ) -> Result<Moved> {
        let back = self.back(site, host);
        match back.run(connection, session)? {
            Moved::Elsewhere(Current::Absent) => Move { from: "", ..back }.run(connection, session),
            moved => Ok(moved),
        }
    }

    /// What a host had before, in words.
    pub(crate) fn before_words(&self, site: &Site, host: usize) -> String {
        match self.before.get(&site.hosts[host].name) {
            None => "nothing".to_owned(),
            Some(before) if before.link.is_empty() => "nothing live".to_owned(),
            Some(Before { link, release: None }) => format!("`{link}`"),
            Some(Before { release: Some(release), .. }) => in_words(release),
        }
    }

    /// What is left where not all could be put back, and how a person mends it.
    pub(crate) fn mend(&self, site: &Site, host: usize, trouble: &Trouble) -> String {
        let (name, back) = (&site.hosts[host], self.back(site, host));
        let error = trouble.error();
        let causes = std::iter::once(&error.message).chain(&error.causes).map(String::as_str);
        let causes = causes.collect::<Vec<_>>().join(": ");
        let left = match (trouble, error.kind) {
            (Trouble::Restart(_), _) => {
                let before = self.before_words(site, host);
                format!("has {before} again, and its restart failed ({causes})")
            }
            (Trouble::Link(_), ErrorKind::Unknown | ErrorKind::Preflight) => {
                format!("couldn't be reached ({causes}), so `{}` may be live there", self.to)
            }
            (Trouble::Link(_), _) => {
                format!("couldn't be switched back ({causes}), so `{}` may be live there", self.to)
            }
        };
        let link = matches!(trouble, Trouble::Link(_)).then(|| name.shown(&back.line()));
        let restart = back.live_afterwards().and_then(|release| restart_by_hand(site, host, release));
        let commands: Vec<_> = link.into_iter().chain(restart).map(|command| command.to_string()).collect();
        format!("`{name}` {left}; to mend it: {}", commands.join(", then "))
    }
}
