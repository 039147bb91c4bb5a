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
    lock::{Forfeit, Holder, is_claim, line_of, now, told},
    origin::Origin,
    site::Site,
};

/// How long the far end of a run whose claim is forfeited may take to be gone: its watchman looks every 2 s, and what it ends
/// has 3 s, on machines that may have too much to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked whether it is gone.
const AGAIN: Duration = Duration::from_millis(200);

/// Who has the lock of each host.
pub(crate) fn look(site: &Site, fleet: &Fleet, session: &Session) -> Vec<PlaceLock> {
    as_they_stand(site, holders(site, fleet), session)
}

/// Takes the lock of each host from this run, where it has it; who has it then. A process of a run has one claim on all hosts:
/// it loses that on those too to which its connection was lost, since it may come back there.
pub(crate) fn take_from(run: &str, site: &Site, fleet: &Fleet, session: &Session) -> Vec<PlaceLock> {
    let found = holders(site, fleet);
    let of_run = found.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()?.clone());
    let mut claims: Vec<_> = of_run.filter(|holder| holder.origin.run == run).collect();
    claims.sort_by(|one, other| one.claim.cmp(&other.claim));
    claims.dedup_by(|one, other| one.claim == other.claim);
    if claims.is_empty() {
        return as_they_stand(site, found, session);
    }
    // On one where somebody is just taking the lock, it may be this very run.
    let is_reached =
        |(_, outcome): &Outcome<_>| !matches!(outcome, Err(error) if error.kind != ErrorKind::Locked);
    let (reached, unclear): (Vec<_>, Vec<_>) = found.into_iter().partition(is_reached);
    let reached: Vec<_> = reached.into_iter().map(|(host, _)| host).collect();
    let mut outcomes = fleet.each(site, &reached, Hold::Free, Again::Yes, |host, connection| {
        let oust = |holder| oust(holder, &site.hosts[host], connection, session);
        claims.iter().map(oust).collect::<Result<Vec<_>>>().map(|stands| stands.into_iter().last().flatten())
    });
    outcomes.extend(unclear);
    outcomes.sort_by_key(|(host, _)| *host);
    as_they_stand(site, outcomes, session)
}

fn holders(site: &Site, fleet: &Fleet) -> Vec<Outcome<Option<Holder>>> {
    fleet.each(site, &fleet.all(), Hold::Free, Again::Yes, |_, connection| holder(connection))
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
        let now = self::holder(connection)?;
        if now.as_ref().is_none_or(|now| now.origin != holder.origin) {
            return Ok(now);
        }
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
    let line = line_of("who takes the lock", &forfeit)?;
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

fn as_they_stand(site: &Site, outcomes: Vec<Outcome<Option<Holder>>>, session: &Session) -> Vec<PlaceLock> {
    let Origin { maker, .. } = Origin::of(session);
    let one = |(host, outcome): Outcome<Option<Holder>>| {
        let state = match outcome {
            Ok(None) => LockState::Free,
            Ok(Some(holder)) => LockState::Held { holder: holder.place_holder(&maker) },
            Err(error) => LockState::Unclear { error },
        };
        PlaceLock { place: format!("`{}` on `{}`", site.bases[host], site.hosts[host]), state }
    };
    outcomes.into_iter().map(one).collect()
}
