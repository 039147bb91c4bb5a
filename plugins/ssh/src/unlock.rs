//! Who has the locks of the hosts, and taking them from a run that hangs.
//!
//! Nobody here can end what runs over there; its own watchman does, once the claim by which it holds the lock is forfeited.

use std::time::{Duration, Instant};

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    protocol::{LockState, PlaceLock},
};

use crate::{
    address::Host,
    connection::Connection,
    fleet::{Again, Fleet, Hold, Outcome},
    lock::{Forfeit, Holder, is_claim, now, told},
    site::Site,
};

/// How long the far end of a run whose claim is forfeited may take to be gone: its watchman looks every 2 s, and what it ends
/// has 3 s, on machines that may have too much to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked whether it is gone.
const AGAIN: Duration = Duration::from_millis(200);

/// Who has the lock of each host.
pub(crate) fn look(site: &Site, fleet: &Fleet) -> Vec<PlaceLock> {
    let outcomes = fleet.each(site, &fleet.all(), Hold::Free, Again::Yes, |_, connection| holder(connection));
    as_they_stand(site, outcomes)
}

/// Takes the lock of each host from this run, where it has it; who has it then.
pub(crate) fn take_from(run: &str, site: &Site, fleet: &Fleet, session: &Session) -> Vec<PlaceLock> {
    let outcomes = fleet.each(site, &fleet.all(), Hold::Free, Again::Yes, |host, connection| {
        match holder(connection)? {
            Some(holder) if holder.origin.run == run => oust(&holder, &site.hosts[host], connection, session),
            other => Ok(other),
        }
    });
    as_they_stand(site, outcomes)
}

/// Who has the lock of the base that the far end is at.
fn holder(connection: &mut Connection) -> Result<Option<Holder>> {
    let answer = connection.ask(&["holder"])?;
    let Some(line) = answer.value("holder") else { return Ok(None) };
    let unsaid = || {
        Error::new(ErrorKind::Locked, "another run has just taken the lock, or is letting go of it")
            .hint("look again")
    };
    Holder::read(line).map(Some).ok_or_else(unsaid)
}

/// Has the holder's claim forfeited, and waits until nothing of it is left; who has the lock then.
fn oust(
    holder: &Holder,
    host: &Host,
    connection: &mut Connection,
    session: &Session,
) -> Result<Option<Holder>> {
    let run = &holder.origin.run;
    if !is_claim(&holder.claim) {
        return Err(Error::failed(format!(
            "run `{run}` on `{host}` is of a version that can't be told to end"
        ))
        .hint("end its shell over there: its connection's `sshd`, or what it runs"));
    }
    let forfeit = Forfeit {
        at: now(),
        event: "lock_taken".to_owned(),
        run: run.clone(),
        owner: holder.owner.clone(),
        actor: session.actor.clone(),
    };
    let line = serde_json::to_string(&forfeit)
        .map_err(|error| Error::failed("who takes the lock isn't representable as JSON").because(&error))?;
    let answer = connection.ask(&["forfeit", &holder.claim, &line])?;
    if answer.status != 0 {
        return Err(told(&answer, format!("can't take the lock on `{host}` from run `{run}`")));
    }
    let begun = Instant::now();
    loop {
        match self::holder(connection) {
            Ok(Some(still)) if still.claim == holder.claim => {}
            // Whoever comes next may be about to write its name.
            Err(error) if error.kind == ErrorKind::Locked => {}
            other => return other,
        }
        if begun.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(Error::failed(format!(
                "run `{run}` still has the lock on `{host}`, {seconds} s after it was taken away"
            ))
            .hint("look what its shell waits for over there: a dead disk, a stopped machine; one that is gone loses a lock that is a folder in some minutes, by itself"));
        }
        session.pause(AGAIN)?;
    }
}

fn as_they_stand(site: &Site, outcomes: Vec<Outcome<Option<Holder>>>) -> Vec<PlaceLock> {
    let one = |(host, outcome): Outcome<Option<Holder>>| {
        let state = match outcome {
            Ok(None) => LockState::Free,
            Ok(Some(holder)) => LockState::Held { holder: holder.place_holder() },
            Err(error) => LockState::Unclear { error },
        };
        PlaceLock { place: format!("`{}` on `{}`", site.bases[host], site.hosts[host]), state }
    };
    outcomes.into_iter().map(one).collect()
}
