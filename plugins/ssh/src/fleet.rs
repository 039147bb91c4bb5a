//! All hosts at once: a connection each, kept as long as the session lasts.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{Error, ErrorKind, Result, Session, words::counted};

use crate::{connection::Connection, lock, refusal, site::Site};

/// So long after the first one nobody tries to log in once more.
const LONGEST: Duration = Duration::from_secs(10);

/// Whether work on a host needs its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It only reads.
    Free,
    /// It writes.
    Locked,
}

/// Whether work is done again, on a new connection, when the old one was lost on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It looks first how far it came.
    Yes,
    /// Nobody knows what a second time would do.
    No,
}

/// What is known of a host before a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// There was a connection, which broke.
    WasThere,
}

/// The connections.
pub(crate) struct Fleet {
    seats: Vec<Mutex<Option<Connection>>>,
    session: Session,
}

/// What came of the work on one host.
pub(crate) type Outcome<T> = (usize, Result<T>);

impl Fleet {
    pub(crate) fn new(hosts: usize, session: &Session) -> Self {
        Self { seats: (0..hosts).map(|_| Mutex::default()).collect(), session: session.clone() }
    }

    /// All hosts.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.seats.len()).collect()
    }

    /// Works on these hosts, as many at a time as the config allows; the outcomes are in their order.
    pub(crate) fn each<T: Send>(
        &self,
        site: &Site,
        hosts: &[usize],
        hold: Hold,
        again: Again,
        work: impl Fn(usize, &mut Connection) -> Result<T> + Sync,
    ) -> Vec<Outcome<T>> {
        let next = AtomicUsize::new(0);
        let one = || {
            let mut done = Vec::new();
            while let Some(host) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((*host, self.on(site, *host, hold, again, &work)));
            }
            done
        };
        let workers = at_once(site, hosts);
        let mut outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(one)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        let place = |host: usize| hosts.iter().position(|other| *other == host);
        outcomes.sort_by_key(|(host, _)| place(*host));
        // A thread that panicked took its hosts with it.
        for host in hosts {
            if outcomes.iter().all(|(other, _)| other != host) {
                outcomes.push((
                    *host,
                    Err(Error::failed(format!("working on `{}` panicked", site.hosts[*host]))),
                ));
            }
        }
        outcomes
    }

    /// Works on one host.
    pub(crate) fn on<T>(
        &self,
        site: &Site,
        host: usize,
        hold: Hold,
        again: Again,
        work: &(impl Fn(usize, &mut Connection) -> Result<T> + Sync),
    ) -> Result<T> {
        let mut seat = self.seats[host].lock().unwrap_or_else(PoisonError::into_inner);
        let mut tried = 0;
        let mut known = Known::Nothing;
        loop {
            let result =
                self.seated(site, host, hold, known, &mut seat).and_then(|connection| work(host, connection));
            if seat.is_some() {
                known = Known::WasThere;
            }
            let lost = seat.as_ref().is_none_or(Connection::is_lost);
            let unfinished = matches!(&result, Err(error) if error.kind != ErrorKind::Unknown);
            if seat.as_ref().is_some_and(Connection::is_spent) {
                *seat = None;
            }
            let may_retry = lost && again == Again::Yes && tried == 0 && !self.session.cancelled();
            if !may_retry || result.is_ok() || unfinished {
                return result;
            }
            tried += 1;
            self.session.warn(format!("the connection to `{}` was lost; looking again", site.hosts[host]));
        }
    }

    /// The connection to a host: the one there is, or a new one.
    fn seated<'s>(
        &self,
        site: &Site,
        host: usize,
        hold: Hold,
        known: Known,
        seat: &'s mut Option<Connection>,
    ) -> Result<&'s mut Connection> {
        if seat.as_ref().is_some_and(Connection::is_spent) {
            *seat = None;
        }
        let connection = match seat {
            Some(connection) => connection,
            None => {
                let connection = seat.insert(self.open(site, host, known)?);
                // Not waited for: whatever is asked next comes after it.
                connection.begin(&["arrive", &site.bases[host]])?;
                connection
            }
        };
        if hold == Hold::Locked && !connection.locked {
            lock::take(site, host, "", None, connection, &self.session)?;
        }
        Ok(connection)
    }

    /// Logs in; again for some 3 s, or once where a look for a name takes longer than that, where the host has too many logins
    /// under way, or was there and may be back soon.
    fn open(&self, site: &Site, host: usize, known: Known) -> Result<Connection> {
        let open = || Connection::open(&site.hosts[host], &site.approach, &self.session);
        let is_passing = |words: &[String]| {
            refusal::is_passing(words) || (known == Known::WasThere && refusal::is_absence(words))
        };
        let (begun, mut delay) = (Instant::now(), Duration::from_millis(200));
        for _ in 0..4 {
            match open() {
                Err(error) if is_passing(&error.causes) && begun.elapsed() < LONGEST => {
                    self.session.pause(delay)?;
                    delay *= 2;
                }
                opened => return opened,
            }
        }
        open()
    }

    /// How often each host was asked something and waited for; the busiest.
    pub(crate) fn round_trips(&self) -> u32 {
        let trips = |seat: &Mutex<Option<Connection>>| {
            seat.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .map_or(0, |connection| connection.trips)
        };
        self.seats.iter().map(trips).max().unwrap_or(0)
    }

    /// Whether there is a connection to a host now.
    pub(crate) fn is_connected(&self, host: usize) -> bool {
        let seat = self.seats[host].lock().unwrap_or_else(PoisonError::into_inner);
        seat.as_ref().is_some_and(|connection| !connection.is_lost())
    }

    /// Whether somebody took the lock of a host from this run.
    pub(crate) fn has_forfeited(&self, host: usize) -> bool {
        let seat = self.seats[host].lock().unwrap_or_else(PoisonError::into_inner);
        seat.as_ref().is_some_and(|connection| connection.forfeited)
    }

    /// Lets go of all locks, and stays connected.
    pub(crate) fn unlock(&self, site: &Site) {
        let holds = |host: &usize| {
            let seat = self.seats[*host].lock().unwrap_or_else(PoisonError::into_inner);
            seat.as_ref().is_some_and(|connection| connection.locked)
        };
        let held: Vec<_> = self.all().into_iter().filter(holds).collect();
        let outcomes = self.each(site, &held, Hold::Free, Again::No, |_, connection| {
            let answer = connection.ask(&["unlock"]);
            connection.locked = false;
            answer
        });
        // Who can't be asked any more has let go.
        drop(outcomes);
    }

    /// Takes leave of all hosts, which lets go of the locks.
    pub(crate) fn close(&self) {
        thread::scope(|scope| {
            for seat in &self.seats {
                if let Some(connection) = seat.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    scope.spawn(|| connection.close());
                }
            }
        });
    }
}

/// How many of these hosts are worked on at the same time.
pub(crate) fn at_once(site: &Site, hosts: &[usize]) -> usize {
    site.config.max_connections.get().min(hosts.len())
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.close();
    }
}

/// The results of all hosts, or one error that tells of every host that has one.
///
/// # Errors
/// The gravest of the kinds there are.
pub(crate) fn together<T>(site: &Site, outcomes: Vec<Outcome<T>>) -> Result<Vec<T>> {
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for (host, outcome) in outcomes {
        match outcome {
            Ok(value) => done.push(value),
            Err(error) => failed.push((host, error)),
        }
    }
    if failed.is_empty() { Ok(done) } else { Err(joined(site, failed)) }
}

/// One error for the troubles of some hosts: a line each.
pub(crate) fn joined(site: &Site, mut failed: Vec<(usize, Error)>) -> Error {
    let grave = |error: &Error| match error.kind {
        ErrorKind::Unknown => 4,
        ErrorKind::Locked => 3,
        ErrorKind::NoRelease => 2,
        ErrorKind::Cancelled => 0,
        _ => 1,
    };
    if failed.len() == 1 {
        let (host, error) = failed.remove(0);
        return named(site, host, error);
    }
    let kind = failed
        .iter()
        .max_by_key(|(_, error)| grave(error))
        .map_or(ErrorKind::Failed, |(_, error)| error.kind);
    let mut all = Error::new(kind, format!("{} of {} hosts failed", failed.len(), site.hosts.len()));
    all.causes = failed.into_iter().map(|(host, error)| line(site, host, error)).collect();
    all
}

/// An error that names its host.
fn named(site: &Site, host: usize, mut error: Error) -> Error {
    let name = format!("`{}`", site.hosts[host]);
    if !error.message.contains(&name) {
        error.message = format!("{name}: {}", error.message);
    }
    error
}

/// An error with its causes, on one line that names its host.
pub(crate) fn words(site: &Site, host: usize, error: Error) -> String {
    let error = named(site, host, error);
    std::iter::once(error.message).chain(error.causes).collect::<Vec<_>>().join(": ")
}

/// All of an error on one line.
fn line(site: &Site, host: usize, mut error: Error) -> String {
    match error.hint.take() {
        Some(hint) => format!("{} ({hint})", words(site, host, error)),
        None => words(site, host, error),
    }
}

/// `1 host`, `16 hosts`.
pub(crate) fn count(hosts: usize) -> String {
    counted(hosts, "host")
}
