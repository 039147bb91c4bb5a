//! What a host says of itself before anything is planned: one question, read whole.

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::{Check, Release},
    words::grouped,
};

use crate::{
    address::Host,
    canary::Opened,
    connection::Answer,
    fleet::{Again, Fleet, Hold},
    lock::{Holder, Owner},
    manifest::Head,
    site::Site,
};

/// Tools that there is no doing without.
const NEEDED: [&str; 5] = ["xargs", "find", "stat", "mkfifo", "hash"];
/// A clock that is off by more than this makes logs hard to read.
const SKEW: i64 = 300;

/// What `current` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Current {
    /// Nothing yet.
    Absent,
    /// A link, and where to.
    Link(String),
    /// Something that a link can't take the place of, in words.
    Other(&'static str),
}

impl Current {
    pub(crate) fn of(answer: &Answer) -> Self {
        match answer.value("current") {
            Some("absent") | None => Self::Absent,
            Some("folder") => Self::Other("a real folder"),
            Some("file") => Self::Other("a file"),
            Some(other) => match other.strip_prefix("link ") {
                Some(to) => Self::Link(to.to_owned()),
                None => Self::Other("a link with a strange name"),
            },
        }
    }

    /// The release it leads to, by its words.
    pub(crate) fn release(&self) -> Option<&str> {
        let Self::Link(to) = self else { return None };
        to.strip_prefix("releases/").filter(|id| is_id(id))
    }

    /// What `point` at the far end knows it by.
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Link(to) => to,
            Self::Absent | Self::Other(_) => "",
        }
    }
}

impl std::fmt::Display for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("not there yet"),
            Self::Link(to) => write!(f, "a link to {to}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// Whether a name can be that of a release of ours: no other one is ever touched.
pub(crate) fn is_id(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// Refuses the id of a release that no folder should have.
pub(crate) fn check_id(id: &str) -> Result<()> {
    if is_id(id) {
        Ok(())
    } else {
        Err(Error::failed(format!("`{}` is no name for a release", id.escape_debug())))
    }
}

/// A release that a host keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) head: Head,
    /// When it was first seen live and well, by the host's clock; without it, it counts as a leftover.
    pub(crate) verified_at: Option<i64>,
    /// The places that didn't have it when it was verified here.
    pub(crate) lacking: Vec<String>,
    /// The canary that it is of, as long as it isn't verified.
    pub(crate) canary: Option<Opened>,
}

impl Kept {
    pub(crate) fn id(&self) -> &str {
        &self.head.release.id
    }

    /// What the newest has the greatest of. Of two that were verified in one second, the names tell: they have the second of
    /// the run in them.
    pub(crate) fn when(&self) -> (Option<i64>, &str) {
        (self.verified_at, self.id())
    }
}

/// A host as it is.
#[derive(Debug, Clone)]
pub(crate) struct Survey {
    answer: Answer,
    pub(crate) current: Current,
    pub(crate) kept: Vec<Kept>,
    /// The manifest of the live release, where it was asked for.
    pub(crate) manifest: Vec<String>,
}

impl Survey {
    pub(crate) fn of(mut answer: Answer) -> Self {
        let manifest = answer.values("entry").map(str::to_owned).collect();
        answer.lines.retain(|line| !line.starts_with("entry "));
        let current = Current::of(&answer);
        let verified: Vec<(i64, &str)> = answer
            .values("verified")
            .filter_map(|line| line.split_once(' ').and_then(|(at, id)| Some((at.parse().ok()?, id))))
            .collect();
        let heads = answer.values("head").filter_map(|line| serde_json::from_str::<Head>(line).ok());
        let there: Vec<_> = answer.values("release").collect();
        let kept = heads
            .filter(|head| is_id(&head.release.id) && there.contains(&head.release.id.as_str()))
            .map(|head| {
                let at = verified.iter().find(|(_, id)| *id == head.release.id).map(|(at, _)| *at);
                let lacking = answer.values("lacking").filter_map(|line| line.split_once(' '));
                let lacking = lacking.filter(|(id, _)| *id == head.release.id);
                let lacking = lacking.flat_map(|(_, places)| places.split(' ').map(str::to_owned)).collect();
                let mut canaries = answer.values("canary").filter_map(|line| line.split_once(' '));
                let canary = canaries.find(|(id, _)| *id == head.release.id);
                let canary = canary.and_then(|(_, line)| serde_json::from_str(line).ok());
                Kept { head, verified_at: at, lacking, canary }
            })
            .collect();
        Self { current, kept, answer, manifest }
    }

    /// The live release, where it is one of ours.
    pub(crate) fn live(&self) -> Option<&Kept> {
        let id = self.current.release()?;
        self.kept.iter().find(|kept| kept.head.release.id == id).filter(|_| !self.answer.says("dangling"))
    }

    pub(crate) fn live_release(&self) -> Option<&Release> {
        self.live().map(|kept| &kept.head.release)
    }

    pub(crate) fn has(&self, tool: &str) -> bool {
        match tool {
            "hash" => self.answer.value("hash").is_some_and(|tool| !tool.is_empty()),
            _ => self.answer.values("tool").any(|known| known == tool),
        }
    }

    /// Whether the release `id` is there already.
    pub(crate) fn has_release(&self, id: &str) -> bool {
        self.answer.values("release").any(|known| known == id)
    }

    /// Whether somebody has the lock, in words.
    pub(crate) fn holder(&self) -> Option<String> {
        self.answer.value("holder").map(Holder::words)
    }

    /// Whether nobody knows that what runs there is what is live: the last restart failed, or was cut off.
    pub(crate) fn is_restart_due(&self) -> bool {
        self.answer.says("due")
    }

    /// Whether the base is still to be made.
    pub(crate) fn is_new(&self) -> bool {
        self.answer.value("base") == Some("missing")
    }

    fn number(&self, word: &str) -> Option<i64> {
        self.answer.value(word)?.trim().parse().ok()
    }

    /// Everything that must be right before a deployment, and isn't.
    pub(crate) fn troubles(&self, host: &Host, base: &str, owner: &Owner) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut fail =
            |name: &str, message: String, hint: &str| checks.push(Check::fail(name, message, hint));
        let known = self.answer.value("user").filter(|user| !user.is_empty()).or(host.user.as_deref());
        let user = known.map_or_else(|| "whoever logs in".to_owned(), |user| format!("`{user}`"));
        if self.answer.value("base") == Some("blocked") {
            fail(
                "base",
                format!("`{base}` on `{host}` can't be a folder: something else is in the way"),
                "choose another `base`, or move that away",
            );
        } else if !self.answer.says("writable") {
            fail(
                "base",
                format!("`{base}` on `{host}` can't be written by {user}"),
                "make the folder there and give it to that user: chown",
            );
        }
        for inner in self.answer.values("unwritable") {
            fail(
                "base",
                format!("`{base}/{inner}` on `{host}` can't be written by {user}"),
                "give it to that user: chown -R",
            );
        }
        if let Current::Other(what) = &self.current {
            fail(
                "current",
                format!("`{base}/current` on `{host}` is {what}, not a link"),
                "move it away: `current` becomes a link to the live release",
            );
        }
        for shared in self.answer.values("unshared") {
            let (what, hint) = if shared.ends_with('/') {
                ("is no folder", "move it away: a folder is made there")
            } else {
                ("isn't there, or is no file", "put it there; folders in `shared` end in /, and are made")
            };
            fail("shared", format!("`{base}/shared/{shared}` on `{host}` {what}"), hint);
        }
        let missing: Vec<_> = NEEDED.into_iter().filter(|tool| !self.has(tool)).map(name).collect();
        if !missing.is_empty() {
            fail(
                "tools",
                format!("`{host}` lacks {}", missing.join(", ")),
                "install coreutils and findutils there, or BusyBox",
            );
        }
        if self.answer.value("exact").is_none_or(str::is_empty) {
            fail(
                "tools",
                format!("`dd` on `{host}` knows no iflag=fullblock"),
                "install coreutils there, or BusyBox",
            );
        }
        if let Some(other) = self.owner().filter(|other| other != owner) {
            fail(
                "owner",
                format!(
                    "`{base}` on `{host}` belongs to the target `{}` of `{}`",
                    other.target, other.project
                ),
                "choose another `base`, or remove .pop-deploy/owner there if that target is gone",
            );
        }
        checks
    }

    /// What is worth a look.
    pub(crate) fn doubts(&self, host: &Host, base: &str, now: i64) -> Vec<Check> {
        let mut checks = Vec::new();
        if let Some(off) = self.number("clock").map(|clock| clock - now).filter(|off| off.abs() > SKEW) {
            checks.push(Check::warn("clock", format!("the clock of `{host}` is off by {off} s")));
        }
        if let Current::Link(to) = &self.current
            && self.live().is_none()
        {
            let what =
                if self.answer.says("dangling") { "leads nowhere" } else { "is no release of this target" };
            checks.push(Check::warn(
                "live",
                format!("`{base}/current` on `{host}` leads to `{to}`, which {what}"),
            ));
        }
        checks
    }

    /// Whether there is room for `bytes` in `files` files.
    pub(crate) fn space(&self, host: &Host, base: &str, bytes: u64, files: u64) -> Option<Check> {
        let hint = "free some there, or keep fewer releases";
        let free = self.number("free").and_then(|free| u64::try_from(free).ok()).map(|kib| kib * 1024);
        let inodes = self.number("inodes").and_then(|free| u64::try_from(free).ok());
        // A file system that makes inodes as it goes says 0 of 0.
        match (free, inodes) {
            (Some(free), _) if free < bytes => Some(Check::fail(
                "space",
                format!(
                    "`{base}` on `{host}` has {} bytes free, and {} are to be written",
                    grouped(free),
                    grouped(bytes)
                ),
                hint,
            )),
            (_, Some(inodes)) if inodes > 0 && inodes < files => Some(Check::fail(
                "space",
                format!(
                    "`{base}` on `{host}` has {} inodes free, and {} are needed",
                    grouped(inodes),
                    grouped(files)
                ),
                hint,
            )),
            _ => None,
        }
    }

    fn owner(&self) -> Option<Owner> {
        serde_json::from_str(self.answer.value("owner")?).ok()
    }
}

/// What of the live releases is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Their heads.
    Heads,
    /// And the manifest of the first host's, which usually is that of all others.
    FirstManifest,
}

/// Asks every host what it is like, all at once.
pub(crate) fn survey_all(site: &Site, fleet: &Fleet, depth: Depth) -> Vec<Result<Survey>> {
    let outcomes = fleet.each(site, &fleet.all(), Hold::Free, Again::Yes, |host, connection| {
        let whole = if host == 0 && depth == Depth::FirstManifest { "whole" } else { "head" };
        let mut question = vec!["survey", site.bases[host].as_str(), whole];
        question.extend(site.config.shared.iter().map(String::as_str));
        connection.ask(&question).map(Survey::of)
    });
    outcomes.into_iter().map(|(_, survey)| survey).collect()
}

/// A tool as people know it.
fn name(tool: &str) -> &str {
    if tool == "hash" { "sha256sum" } else { tool }
}
