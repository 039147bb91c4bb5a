//! What a plugin holds of its host: the facts of the run, and the way back.

use std::{
    ops::Deref,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, ErrorKind, Result,
    protocol::{Event, Note, TargetContext},
    redact::Redactor,
};

/// How often whoever waits looks at the clock and the cancel flag.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// The way back to the host, as the boundary provides it. The test kit provides its own.
pub trait Host: Send + Sync {
    /// Takes one event, as JSON.
    fn emit(&self, event: &[u8]);
    /// Whether the current call should stop at its next safe point.
    fn cancelled(&self) -> bool;
    /// Answers a request by name; the error is an [`Error`] as JSON.
    ///
    /// # Errors
    /// Whatever the host answers, *unimplemented* among them.
    fn request(&self, method: &str, input: &[u8]) -> std::result::Result<Vec<u8>, Vec<u8>>;
}

/// The run that a target serves: dereferences to its [`TargetContext`]. Cheap to clone, and usable from any thread.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    context: TargetContext,
    host: Box<dyn Host>,
    redactor: Redactor,
}

impl Deref for Session {
    type Target = TargetContext;

    fn deref(&self) -> &TargetContext {
        &self.inner.context
    }
}

impl Session {
    /// A session over `host`. The boundary and the test kit make them; plugins receive them.
    pub fn new(context: TargetContext, host: Box<dyn Host>) -> Self {
        Self { inner: Arc::new(Inner { context, host, redactor: Redactor::default() }) }
    }

    /// Reports an event. Secrets that this session has revealed are blotted out first.
    pub fn emit(&self, event: &Event) {
        if let Ok(json) = serde_json::to_string(event) {
            self.inner.host.emit(self.inner.redactor.redact(&json).as_bytes());
        }
    }

    /// Reports how far the running step is; `unit` is `files`, `bytes`, …
    pub fn progress(&self, message: &str, done: u64, total: u64, unit: &str) {
        self.emit(&Event::Progress {
            message: message.to_owned(),
            done: Some(done),
            total: Some(total),
            unit: unit.to_owned(),
        });
    }

    /// Reports something that people should know though the step goes on.
    pub fn warn(&self, message: impl Into<String>) {
        self.emit(&Event::Warning { message: message.into() });
    }

    /// Whether the current call should stop. Ask between two things that are each safe to stop after.
    pub fn cancelled(&self) -> bool {
        self.inner.host.cancelled()
    }

    /// Stops here when the run was cancelled.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] then.
    pub fn checkpoint(&self) -> Result<()> {
        if self.cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        Ok(())
    }

    /// Waits for `span`, or until the run is cancelled.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] then.
    pub fn pause(&self, span: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.checkpoint()?;
            match span.checked_sub(begun.elapsed()) {
                None | Some(Duration::ZERO) => return Ok(()),
                Some(left) => thread::sleep(left.min(TICK)),
            }
        }
    }

    /// What a session that only reads couldn't look at, since the program that looks wants to write as well: for
    /// [`Plan::unchecked`](crate::protocol::Plan::unchecked).
    ///
    /// # Errors
    /// The same error, where it has another reason or this session may write.
    pub fn could_not_check(&self, what: &str, error: Error) -> Result<Note> {
        let denied = |text: &&String| text.to_lowercase().contains("permission denied");
        let why = error.causes.iter().chain([&error.message]).find(denied).filter(|_| self.read_only);
        match why {
            Some(why) => Ok(Note {
                what: what.to_owned(),
                why: format!("{}, which may not write in a dry run: {why}", error.message),
            }),
            None => Err(error),
        }
    }

    /// Asks the host for something by name.
    ///
    /// # Errors
    /// What the host answers; an answer of another shape than `R` is [`ErrorKind::Failed`].
    pub fn request<R: DeserializeOwned>(&self, method: &str, input: &impl Serialize) -> Result<R> {
        let input = serde_json::to_vec(input)
            .map_err(|error| Error::failed(format!("can't ask the host for `{method}`")).because(&error))?;
        let strange =
            |error| Error::failed(format!("the host answered `{method}` strangely")).because(&error);
        match self.inner.host.request(method, &input) {
            Ok(answer) => serde_json::from_slice(&answer).map_err(strange),
            Err(answer) => Err(serde_json::from_slice(&answer).unwrap_or_else(strange)),
        }
    }

    /// What this session blots out of everything it reports.
    pub fn redactor(&self) -> &Redactor {
        &self.inner.redactor
    }
}
