//! Asks until the answer stands.

use std::time::{Duration, Instant};

use super::{Attempt, Health, Probe};
use crate::{Error, Result, Session};

/// What an instance was that answered well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthy {
    /// How often it was asked.
    pub attempts: u32,
    /// How long it took.
    pub took: Duration,
    /// What it answered last.
    pub detail: String,
}

impl Health {
    /// Asks by `http` or `tcp` until the instance is healthy, or unhealthy for good.
    ///
    /// # Errors
    /// It is unhealthy: the error holds the number of attempts, the last status and the start of the body. The run was
    /// cancelled. See [`Probe::new`] for questions that can't be asked.
    pub fn wait(&self, session: &Session) -> Result<Healthy> {
        let probe = Probe::new(self, session)?;
        self.wait_by(session, probe.what(), || probe.attempt(session))
    }

    /// Asks by `attempt` instead, for what only the plugin can ask; `what` names it for people. An error of `attempt`
    /// ends the waiting: for an instance that is gone, say.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and those of `attempt`.
    pub fn wait_by(
        &self,
        session: &Session,
        what: &str,
        mut attempt: impl FnMut() -> Result<Attempt>,
    ) -> Result<Healthy> {
        let begun = Instant::now();
        let (mut attempts, mut failures, mut in_a_row) = (0, 0, 0);
        loop {
            session.checkpoint()?;
            attempts += 1;
            let answer = attempt()?;
            answer.tell(what, session);
            if answer.is_healthy() {
                in_a_row += 1;
            } else {
                in_a_row = 0;
                failures += u32::from(begun.elapsed() >= self.start_period.span());
            }
            if in_a_row == self.successes.get() {
                let detail = answer.detail().to_owned();
                return Ok(Healthy { attempts, took: begun.elapsed(), detail });
            }
            if failures == self.retries.get() {
                return Err(unhealthy(what, attempts, begun.elapsed(), &answer));
            }
            session.pause(self.interval.span())?;
        }
    }
}

fn unhealthy(what: &str, attempts: u32, took: Duration, last: &Attempt) -> Error {
    let times = if attempts == 1 { "attempt" } else { "attempts" };
    let mut error = Error::failed(format!(
        "`{what}` isn't healthy after {attempts} {times} in {:.1} s",
        took.as_secs_f64()
    ));
    let (cause, hint) = match last {
        Attempt::Unmeasured(detail) => (
            format!("it couldn't be asked: {detail}"),
            "check that the address in `health` is right from here",
        ),
        _ => (
            format!("the last one: {}", last.detail()),
            "look at the instance's own log, or give it more time with `start_period` and `retries`",
        ),
    };
    error.causes.push(cause);
    error.hint(hint)
}
