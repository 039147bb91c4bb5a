//! One deployment at a time on a host, and one target a base.

use std::time::{Duration, Instant};

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    protocol::{PlaceHolder, TargetContext},
};
use serde::{Deserialize, Serialize};

use crate::{
    address::Host,
    connection::{Answer, Connection},
    origin::Origin,
    site::Site,
};

/// What `lock` at the far end ends with when somebody has it.
const HELD: i32 = 75;
/// And when it was taken from this run.
const FORFEITED: i32 = 76;
/// How much of a hash tells one process of a run from all others.
const LENGTH: usize = 16;

/// How long a far end of this run that lost its other end may take to notice. Where the connection was closed that is a
/// moment. Where it went silent, as when a router forgot it, the far end has to miss a minute of beats, counted in naps of 2 s,
/// which take twice as long where its machine has too much to do.
const PATIENCE: Duration = Duration::from_secs(130);
/// What passes by itself has passed by then; who waits for longer is told so.
const SOON: Duration = Duration::from_secs(5);

/// Who holds a lock, as its file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) owner: String,
    #[serde(flatten)]
    pub(crate) origin: Origin,
    pub(crate) target: String,
    pub(crate) since: String,
    /// By what the far end knows the process that took it; empty where an older version did.
    #[serde(default)]
    pub(crate) claim: String,
    /// What deploy.json calls the host; empty where an older version took it.
    #[serde(default)]
    pub(crate) host: String,
}

impl Holder {
    fn of(session: &Session, host: &Host) -> Self {
        Self {
            owner: session.actor.clone(),
            origin: Origin::of(session),
            target: session.target.clone(),
            since: now(),
            claim: claim(session),
            host: host.name.clone(),
        }
    }

    /// Reads what a host says; its holder may be just about to write it.
    pub(crate) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// The same, for people.
    pub(crate) fn words(line: &str) -> String {
        Self::read(line)
            .map_or_else(|| "another run".to_owned(), |holder| holder.place_holder("").to_string())
    }

    /// The holder as the host of the plugin knows holders; an older version wrote no maker down.
    pub(crate) fn place_holder(self, maker: &str) -> PlaceHolder {
        let Self { owner, origin: Origin { run, maker: its }, target, since, .. } = self;
        PlaceHolder { owner, run, target, since, ours: (!its.is_empty()).then(|| its == maker) }
    }
}

/// By what the far end knows this process of a run, whichever of its workers and connections it deals with. A run that is
/// resumed by another process has another claim: it may have what its first one lost.
fn claim(session: &Session) -> String {
    let Origin { run, maker } = Origin::of(session);
    let seed = format!("{run} {maker} {}", session.scratch.display());
    blake3::hash(seed.as_bytes()).to_hex()[..LENGTH].to_owned()
}

/// Whether a word that a host says can be a claim: it becomes the name of a file.
pub(crate) fn is_claim(word: &str) -> bool {
    word.len() == LENGTH && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Who took a lock from a run, as a host keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forfeit {
    pub(crate) at: String,
    /// What it is in the host's history.
    pub(crate) event: String,
    /// The run that lost it, and whose that was.
    pub(crate) run: String,
    pub(crate) owner: String,
    pub(crate) actor: String,
}

/// The failure of a run that somebody took the lock from.
fn forfeited(base: &str, host: &Host, line: Option<&str>) -> Error {
    let by = line.and_then(|line| serde_json::from_str::<Forfeit>(line).ok());
    let by = by.map_or_else(String::new, |Forfeit { actor, at, .. }| format!(" by {actor}, at {at}"));
    // Nothing more is tried: somebody asked for just that.
    Error::new(ErrorKind::Cancelled, format!("the lock of `{base}` on `{host}` was taken from this run{by}"))
        .hint("leave the hosts as they are, and look with `pop-deploy verify` once the next run is through")
}

/// That somebody is at work at a base.
pub(crate) fn held(base: &str, host: &Host, holder: &str) -> String {
    format!("`{base}` on `{host}` is being deployed to by {holder}")
}

/// The time, for people.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What a host keeps of somebody, as the one line that it is.
pub(crate) fn line_of(name: &str, what: &impl Serialize) -> Result<String> {
    serde_json::to_string(what)
        .map_err(|error| Error::failed(format!("{name} isn't representable as JSON")).because(&error))
}

/// Takes the lock of a host's base, making what it needs there; says what `current` is, which quickly is told if it is
/// `live`. Where a release is to be `made`, no other run may have one of that name there.
///
/// # Errors
/// [`ErrorKind::Locked`], naming the holder; the base can't be made; the release's name is taken.
pub(crate) fn take(
    site: &Site,
    host: usize,
    live: &str,
    made: Option<&str>,
    connection: &mut Connection,
    session: &Session,
) -> Result<Answer> {
    let holder = line_of("the holder", &Holder::of(session, &site.hosts[host]))?;
    let owner = line_of("the owner", &Owner::of(session))?;
    let (base, Origin { maker, .. }) = (&site.bases[host], Origin::of(session));
    let claim = claim(session);
    let words = ["lock", base, &holder, &owner, live, made.unwrap_or_default(), &maker, &claim];
    let answer = ask(&site.hosts[host], connection, &words, &claim, session)?;
    if let Some(holder) = answer.value("expired") {
        session.warn(format!(
            "`{}`: the lock of {} was left behind; taken over",
            site.hosts[host],
            Holder::words(holder)
        ));
    }
    match answer.status {
        0 if answer.value("owner").is_some_and(|line| line != owner) => {
            Err(Error::preflight(format!("`{base}` on `{}` belongs to another target", site.hosts[host]))
                .hint("choose another `base`, or remove .pop-deploy/owner there if that target is gone"))
        }
        0 => {
            connection.locked = true;
            match made.filter(|_| answer.says("taken")) {
                Some(id) => Err(name_taken(&site.hosts[host], id)),
                None => Ok(answer),
            }
        }
        HELD => {
            let line = answer.value("holder").unwrap_or_default();
            if let Some(other) = namesake(line, &claim, &site.hosts[host]) {
                return Err(same_place(base, &site.hosts[host], &other));
            }
            let command = Holder::read(line).and_then(|holder| session.unlock_command(&holder.origin.run));
            let ends =
                command.map_or_else(String::new, |command| format!("; if it hangs, `{command}` ends it"));
            Err(Error::new(ErrorKind::Locked, held(base, &site.hosts[host], &Holder::words(line)))
                .hint(format!("wait until that run has ended{ends}")))
        }
        FORFEITED => {
            connection.forfeited = true;
            Err(forfeited(base, &site.hosts[host], answer.value("forfeited")))
        }
        _ => Err(told(&answer, format!("can't lock `{base}` on `{}`", site.hosts[host]))),
    }
}

/// What else deploy.json calls a host whose lock this very process holds already, by a connection to that name.
fn namesake(holder: &str, claim: &str, host: &Host) -> Option<String> {
    let holder = Holder::read(holder).filter(|holder| holder.claim == claim)?;
    (!holder.host.is_empty() && holder.host != host.name).then_some(holder.host)
}

fn same_place(base: &str, host: &Host, other: &str) -> Error {
    Error::preflight(format!("`config.hosts`: `{other}` and `{host}` are one machine, with one `{base}`"))
        .hint("name it once, or give each a `base` of its own with {{host}} in it")
}

/// The failure to make a release where another run has one of its name.
pub(crate) fn name_taken(host: &Host, id: &str) -> Error {
    Error::failed(format!("`{host}` has a release {id} already"))
        .hint("run it again: the next release gets another name")
}

/// Asks for the lock; an earlier connection of this very run may be about to let go of it.
fn ask(
    host: &Host,
    connection: &mut Connection,
    words: &[&str],
    claim: &str,
    session: &Session,
) -> Result<Answer> {
    let (begun, us) = (Instant::now(), Origin::of(session));
    let mut told = false;
    loop {
        let answer = connection.ask(words)?;
        let holder = answer.value("holder").unwrap_or_default();
        if answer.status != HELD || namesake(holder, claim, host).is_some() {
            return Ok(answer);
        }
        match wait_for(holder, &us, begun.elapsed()) {
            Wait::Not => return Ok(answer),
            Wait::Silently => {}
            Wait::Telling if told => {}
            Wait::Telling => {
                told = true;
                session.warn(format!(
                    "`{host}` hasn't noticed yet that a connection of this run was lost; waiting for it to let go of the lock, {} s at most",
                    PATIENCE.as_secs()
                ));
            }
        }
        session.pause(Duration::from_millis(200))?;
    }
}

/// Whether a lock is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Not,
    Silently,
    Telling,
}

/// Whether to go on waiting for the holder that a host names: for `us`, not for other runs. One that isn't named is just
/// taking the lock, or letting go of it.
fn wait_for(holder: &str, us: &Origin, waited: Duration) -> Wait {
    match serde_json::from_str::<Holder>(holder) {
        Ok(holder) if holder.origin != *us => Wait::Not,
        _ if waited <= SOON => Wait::Silently,
        Ok(_) if waited <= PATIENCE => Wait::Telling,
        _ => Wait::Not,
    }
}

/// A failure of the far end, with the words it said, and what helps against the usual ones.
pub(crate) fn told(answer: &Answer, message: String) -> Error {
    let mut error = Error::failed(message);
    let is_news = |line: &&String| !line.starts_with("current ") && *line != "touched";
    error.causes = answer.lines.iter().filter(is_news).cloned().collect();
    let says = |word: &str| answer.lines.iter().any(|line| line.to_lowercase().contains(word));
    if says("no space left") || says("quota exceeded") {
        error.hint("free some space and some inodes on that file system, or keep fewer releases")
    } else if says("permission denied") || says("operation not permitted") {
        error.hint("check who owns it and who may write there, or log in as another user")
    } else if says("read-only file system") {
        error.hint("the file system there is mounted read-only; remount it for writing")
    } else {
        error
    }
}

/// Whose base it is, as `.pop-deploy/owner` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) project: String,
    pub(crate) target: String,
}

impl Owner {
    /// The target of a session.
    pub(crate) fn of(context: &TargetContext) -> Self {
        Self { project: context.project_name.clone(), target: context.target.clone() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_far_end_of_the_same_run_is_waited_for_until_it_must_have_noticed_and_no_other_is() {
        let origin = |run: &str, maker: &str| Origin { run: run.to_owned(), maker: maker.to_owned() };
        let us = origin("run", "maker");
        let after = |origin: Origin, seconds| {
            let [owner, target, claim, host] = ["me", "web", "", ""].map(str::to_owned);
            let holder = Holder { owner, origin, target, since: now(), claim, host };
            let line = serde_json::to_string(&holder).unwrap();
            wait_for(&line, &us, Duration::from_secs(seconds))
        };
        assert_eq!(after(us.clone(), 1), Wait::Silently);
        // A far end whose naps take twice as long, and one more.
        assert_eq!(after(us.clone(), 120 + 2), Wait::Telling);
        assert_eq!(after(us.clone(), 131), Wait::Not);
        assert_eq!(after(origin("run", "another"), 1), Wait::Not);
        assert_eq!(after(origin("another", "maker"), 1), Wait::Not);
        let after = |line: &str, seconds| wait_for(line, &us, Duration::from_secs(seconds));
        assert_eq!([after("", 1), after("half a li", 1)], [Wait::Silently; 2]);
        assert_eq!(after("", 6), Wait::Not);
    }
}
