//! Watches a canary until there is a verdict.

use std::time::{Duration, Instant};

use super::{Canary, CanaryStep, OnInconclusive};
use crate::{
    Error, Result, Session,
    health::{Attempt, Health, Probe},
    protocol::Verdict,
};

/// One thing to ask of a canary, again and again: a check, at one instance.
pub struct Ask<'a> {
    /// What is asked, for people: the address.
    pub what: String,
    /// How long to wait between two times.
    pub interval: Duration,
    /// Asks once. An error ends the watching, and is the step's: an instance that is gone, say.
    pub attempt: Box<dyn FnMut() -> Result<Attempt> + 'a>,
}

impl<'a> Ask<'a> {
    /// Asks what `health` says by http or tcp.
    ///
    /// # Errors
    /// As [`Probe::new`].
    pub fn probe(health: &Health, session: &'a Session) -> Result<Self> {
        let probe = Probe::new(health, session)?;
        Ok(Self {
            what: probe.what().to_owned(),
            interval: health.interval.span(),
            attempt: Box::new(move || probe.attempt(session)),
        })
    }
}

/// What a canary's step saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// What it comes to.
    pub verdict: Verdict,
    /// How many requests were answered, well or not.
    pub requests: u32,
    /// How many of them weren't answered well.
    pub errors: u32,
    /// How many couldn't be asked.
    pub unmeasured: u32,
    /// What came last that wasn't well.
    pub last: Option<String>,
}

impl Canary {
    /// Asks for as long as `step` holds and until enough was answered, or until it is clear that the canary is bad or
    /// can't be judged.
    ///
    /// # Errors
    /// The run was cancelled, or an attempt ended the watching.
    pub fn watch(&self, step: &CanaryStep, session: &Session, mut asks: Vec<Ask<'_>>) -> Result<Watched> {
        let begun = Instant::now();
        let mut seen =
            Watched { verdict: Verdict::Promote, requests: 0, errors: 0, unmeasured: 0, last: None };
        let mut due: Vec<_> = asks.iter().map(|_| begun).collect();
        while !(begun.elapsed() >= step.hold.span() && self.is_enough(&seen)) {
            let Some((next, ask)) = due.iter_mut().zip(&mut asks).min_by_key(|(next, _)| **next) else {
                return Err(Error::config("nothing is asked of the canary"));
            };
            session.pause(next.saturating_duration_since(Instant::now()))?;
            // From the start of the attempt on, and never at once: a slow answer doesn't make the next come late.
            *next = Instant::now() + ask.interval.max(Duration::from_millis(1));
            let answer = (ask.attempt)()?;
            answer.tell(&ask.what, session);
            seen.count(&ask.what, &answer);
            if let Some(verdict) = self.early_verdict(&seen) {
                return Ok(Watched { verdict, ..seen });
            }
        }
        Ok(seen)
    }

    fn is_enough(&self, seen: &Watched) -> bool {
        seen.requests >= self.min_requests.get()
    }

    fn early_verdict(&self, seen: &Watched) -> Option<Verdict> {
        if self.is_enough(seen) && seen.error_rate() > self.max_errors {
            return Some(Verdict::Rollback);
        }
        (seen.unmeasured > self.max_unmeasured.get()).then_some(Verdict::Inconclusive)
    }
}

impl Watched {
    fn count(&mut self, what: &str, answer: &Attempt) {
        match answer {
            Attempt::Healthy(_) => self.requests += 1,
            Attempt::Unhealthy(_) => {
                self.requests += 1;
                self.errors += 1;
            }
            Attempt::Unmeasured(_) => self.unmeasured += 1,
        }
        if !answer.is_healthy() {
            self.last = Some(format!("`{what}`: {}", answer.detail()));
        }
    }

    /// How many in a hundred weren't answered well.
    pub fn error_rate(&self) -> f64 {
        f64::from(self.errors) * 100.0 / f64::from(self.requests.max(1))
    }

    /// The verdict for the step's receipt; a bad canary is its error, and one that can't be judged is too, where the
    /// config says so.
    ///
    /// # Errors
    /// The canary is to be taken back.
    pub fn settle(&self, canary: &Canary) -> Result<Verdict> {
        let wait = canary.on_inconclusive == OnInconclusive::Wait;
        let error = match self.verdict {
            Verdict::Promote => return Ok(Verdict::Promote),
            Verdict::Inconclusive if wait => return Ok(Verdict::Inconclusive),
            Verdict::Inconclusive => Error::failed(format!(
                "the canary can't be judged: {} checks couldn't be asked",
                self.unmeasured
            ))
            .hint("check what `canary` asks from here; `on_inconclusive` says what becomes of such a canary"),
            Verdict::Rollback => Error::failed(format!(
                "the canary is bad: {} of {} requests failed ({:.0} %, and {} % may)",
                self.errors,
                self.requests,
                self.error_rate(),
                canary.max_errors
            ))
            .hint("look at the canary's own log"),
        };
        let mut error = error;
        error.causes.extend(self.last.as_ref().map(|last| format!("the last one: {last}")));
        Err(error)
    }

    /// What was seen, for the step's receipt: `20 requests, 1 failed`.
    pub fn summary(&self) -> String {
        let mut words = format!("{} requests, {} failed", self.requests, self.errors);
        if self.unmeasured > 0 {
            words.push_str(&format!(", {} couldn't be asked", self.unmeasured));
        }
        words
    }
}
