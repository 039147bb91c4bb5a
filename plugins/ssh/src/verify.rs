//! Looks whether what is live on a host is what was meant, and works.

use std::time::Duration;

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    health::{Attempt, Health, Question},
    protocol::Release,
};
use serde_json::json;

use crate::{
    address::Host,
    command,
    connection::{Answer, Connection},
    lock::{now, told},
    manifest::{Head, Manifest},
    site::Site,
    survey::Current,
};

/// What `check` and `seal` at the far end end with when what is there isn't what was sent.
pub(crate) const OTHER_TREE: i32 = 65;
pub(crate) const OTHER_CONTENT: i32 = 66;
/// And `check`, when nothing is.
const MISSING: i32 = 67;
/// And `approve`, when it can't write.
const UNWRITTEN: i32 = 73;

/// How closely a release is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Files that look as they did when they were last read aren't read again.
    Quick,
    /// Every file is read.
    Whole,
}

/// Compares a release on a host with what was deployed.
///
/// # Errors
/// [`ErrorKind::NoRelease`]: it isn't there, or isn't whole; the first file that differs is named.
pub(crate) fn compare(host: &Host, head: &Head, look: Look, connection: &mut Connection) -> Result<()> {
    let answer = connection.ask_beside(&check(head, look, &mut Digests::default()))?;
    judge(host, head, &answer, connection)
}

/// Digests as words, which have to live as long as the request that they stand in.
#[derive(Default)]
struct Digests([String; 2]);

fn check<'a>(head: &'a Head, look: Look, digests: &'a mut Digests) -> [&'a str; 5] {
    digests.0 = [head.tree.to_string(), head.content.to_string()];
    let look = if look == Look::Quick { "quick" } else { "whole" };
    ["check", &head.release.id, &digests.0[0], &digests.0[1], look]
}

fn judge(host: &Host, head: &Head, answer: &Answer, connection: &mut Connection) -> Result<()> {
    let id = &head.release.id;
    let gone = |what: String| {
        Error::new(ErrorKind::NoRelease, what).hint("choose another release, or deploy that version again")
    };
    match answer.status {
        0 => Ok(()),
        MISSING => Err(gone(format!("release {id} isn't kept on `{host}`"))),
        OTHER_TREE => {
            Err(gone(format!("release {id} on `{host}` isn't whole any more: names, modes or sizes differ")))
        }
        OTHER_CONTENT => {
            let which = first_difference(head, connection)?;
            Err(gone(format!("release {id} on `{host}` isn't whole any more: {which}")))
        }
        _ => Err(told(answer, format!("can't look at release {id} on `{host}`"))),
    }
}

/// The first file whose content isn't what the manifest says.
fn first_difference(head: &Head, connection: &mut Connection) -> Result<String> {
    let manifest = connection.ask(&["show_manifest", &head.release.id])?;
    let content = connection.ask_beside(&["list_content", &head.release.id])?;
    let Ok(manifest) = Manifest::read(&manifest.lines) else {
        return Ok("its manifest was changed".to_owned());
    };
    let mut pairs = manifest.files.iter().zip(&content.lines);
    let differing = pairs.find(|(file, found)| file.hash.to_string() != **found);
    Ok(match differing {
        Some((file, _)) => format!("`{}` was changed", file.path),
        None => "files can't be read".to_owned(),
    })
}

/// Looks whether the release is live on a host, whole and well.
///
/// # Errors
/// It isn't; or the connection is lost.
pub(crate) fn live(
    site: &Site,
    host: usize,
    head: &Head,
    connection: &mut Connection,
    session: &Session,
) -> Result<()> {
    let mut digests = Digests::default();
    let answers = look_at(head, &check(head, Look::Quick, &mut digests), connection)?;
    judge_live(site, host, head, &answers, connection)?;
    health(site, host, &head.release, connection, session)
}

/// The same, and writes down on the host that the release is good, and which places are `lacking` it: for `keep`, for
/// rollbacks, and in the host's own history. All in one go where nobody has to be asked how it does.
///
/// # Errors
/// As [`live`]; it can't be written there.
pub(crate) fn approve(
    site: &Site,
    host: usize,
    head: &Head,
    lacking: &str,
    connection: &mut Connection,
    session: &Session,
) -> Result<()> {
    let Head { release, .. } = head;
    let line = json!({
        "at": now(),
        "event": "verified",
        "release": release.id,
        "version": release.version,
        "commit": release.commit,
        "run": session.run_id,
        "actor": session.actor,
    });
    let line = line.to_string();
    if site.health(host, release)?.is_some() {
        live(site, host, head, connection, session)?;
        let answer = connection.ask(&["vouch", &release.id, &line, lacking])?;
        return match answer.status {
            0 => {
                warn_of_unwritten(&site.hosts[host], &answer, session);
                Ok(())
            }
            _ => Err(unwritten(&site.hosts[host], &answer)),
        };
    }
    let mut digests = Digests::default();
    let [_, words @ ..] = check(head, Look::Quick, &mut digests);
    let answers = look_at(head, &[&["approve", &line, lacking], &words[..]].concat(), connection)?;
    match answers[1].status {
        UNWRITTEN => Err(unwritten(&site.hosts[host], &answers[1])),
        _ => {
            judge_live(site, host, head, &answers, connection)?;
            warn_of_unwritten(&site.hosts[host], &answers[1], session);
            Ok(())
        }
    }
}

/// Where `current` leads, and how the request that compares the release ended.
fn look_at(head: &Head, checking: &[&str], connection: &mut Connection) -> Result<Vec<Answer>> {
    let leads = connection.begin(&["leads_to", &link_to(head)])?;
    let checking = connection.send_beside(checking)?;
    connection.wait_all(&[leads, checking])
}

/// Where `current` leads when the release is live.
fn link_to(head: &Head) -> String {
    format!("releases/{}", head.release.id)
}

fn unwritten(host: &Host, answer: &Answer) -> Error {
    told(answer, format!("can't write the history on `{host}`"))
}

/// Says so where a release that was known to be good went live and the host couldn't note it.
fn warn_of_unwritten(host: &Host, answer: &Answer, session: &Session) {
    if answer.says("unwritten") {
        let why = answer.lines.iter().find(|line| *line != "unwritten");
        let why = why.map_or(String::new(), |line| format!(": {line}"));
        session.warn(format!("can't write the history on `{host}`, which lacks this run now{why}"));
    }
}

fn judge_live(
    site: &Site,
    host: usize,
    head: &Head,
    answers: &[Answer],
    connection: &mut Connection,
) -> Result<()> {
    let name = &site.hosts[host];
    let current = Current::of(&answers[0]);
    if current.release() != Some(head.release.id.as_str()) {
        return Err(Error::failed(format!("`{}/current` on `{name}` is {current}", site.bases[host]))
            .hint("find out who changed it, then deploy again"));
    }
    judge(name, head, &answers[1], connection).map_err(|mut error| {
        error.kind = ErrorKind::Failed;
        error.hint("find out what else writes there, then deploy again")
    })
}

fn health(
    site: &Site,
    host: usize,
    release: &Release,
    connection: &mut Connection,
    session: &Session,
) -> Result<()> {
    let Some(health) = site.health(host, release)? else { return Ok(()) };
    let name = &site.hosts[host];
    let healthy = match health.question() {
        Question::Command(argv) => by_command(site, host, &health, argv, connection, session),
        _ => health.wait(session).map(drop),
    };
    healthy.map_err(|mut error| {
        if error.kind == ErrorKind::Failed {
            error.message = format!("`{name}`: {}", error.message);
        }
        error
    })
}

fn by_command(
    site: &Site,
    host: usize,
    health: &Health,
    argv: &[String],
    connection: &mut Connection,
    session: &Session,
) -> Result<()> {
    let folder = format!("{}/current", site.bases[host]);
    let what = site.hosts[host].shown_in(&folder, argv).to_string();
    health.wait_by(session, &what, || attempt(site, host, health, argv, connection, session)).map(drop)
}

/// Runs the health command on a host once.
///
/// # Errors
/// The connection is lost, the run cancelled.
pub(crate) fn attempt(
    site: &Site,
    host: usize,
    health: &Health,
    argv: &[String],
    connection: &mut Connection,
    session: &Session,
) -> Result<Attempt> {
    let folder = format!("{}/current", site.bases[host]);
    let limit = health.timeout.span().max(Duration::from_millis(1));
    connection.begin(&["current"])?;
    let running = command::start(&site.hosts[host], &folder, argv, connection)?;
    match running.end(Some(limit), connection, session) {
        Ok((0, _)) => Ok(Attempt::Healthy("exit code 0".to_owned())),
        Ok((status, lines)) => {
            let last = lines.back().map_or(String::new(), |line| format!(": {line}"));
            Ok(Attempt::Unhealthy(format!("exit code {status}{last}")))
        }
        Err(error) if error.kind == ErrorKind::Timeout => Ok(Attempt::Unhealthy(error.message)),
        Err(error) => Err(error),
    }
}
