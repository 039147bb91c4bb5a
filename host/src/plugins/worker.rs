//! A target's worker process, as the pipeline sees it.

use std::{
    hint,
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result,
    protocol::{Build, Event, OpenRequest, Proposal, TargetContext, method},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    cache::Ready,
    confine::{self, Limits},
    launch::{Options, Services, launch},
    watch::{Ending, Reply, Watched},
    wire::{Job, LARGEST_RECEIPT},
};

/// How long a plugin may take to close its session, if its grace isn't longer.
const CLOSE: Duration = Duration::from_secs(2);
/// How long an answer is watched for before the thread sleeps: being woken takes longer than a short call does.
const AWAKE: Duration = Duration::from_micros(50);
/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(1);

/// What older kernels and other systems leave to the plugin's word.
const NOT_ENFORCED: &str =
    "that a dry run writes nothing is not enforced here: this system can't confine a plugin";

/// A process that serves one target by one plugin. Dropping it closes the session, for which the plugin has the grace, and
/// ends the process.
///
/// Whatever the plugin does costs its own process: a call then ends with an error that names the plugin, what it
/// did and its last words.
pub struct Worker {
    watched: Arc<Watched>,
    build: Build,
    grace: Duration,
    limits: Limits,
    /// Whether the system keeps it from writing.
    confined: bool,
}

impl Worker {
    /// Starts a process, loads the plugin in it and opens a session there.
    ///
    /// # Errors
    /// The process can't start, the plugin can't be loaded or describes itself otherwise than its file, or
    /// what it answers to `open`.
    pub fn start(
        ready: &Ready,
        request: &OpenRequest,
        services: Arc<dyn Services>,
        options: &Options,
    ) -> Result<Self> {
        let worker = Self::load(ready, &request.context, services, options)?;
        let request = to_raw_value(request).map_err(|error| strange_question("open", &error))?;
        worker.ask("open", Some(options.start_deadline), |id| Job::Open { id, request })?;
        Ok(worker)
    }

    /// Starts a process that only reads, loads the plugin in it, and asks what target it would propose for the
    /// context's project.
    ///
    /// # Errors
    /// As [`start`](Self::start), and what the plugin answers.
    pub fn detect(
        ready: &Ready,
        context: &TargetContext,
        services: Arc<dyn Services>,
        options: &Options,
    ) -> Result<Option<Proposal>> {
        let worker = Self::load(ready, context, services, options)?;
        let params =
            to_raw_value(&context.project).map_err(|error| strange_question(method::DETECT, &error))?;
        let ask = |id| Job::Ask { id, method: method::DETECT.to_owned(), params };
        let answer = worker.ask(method::DETECT, Some(options.start_deadline), ask)?;
        worker.read(method::DETECT, &answer)
    }

    fn load(
        ready: &Ready,
        context: &TargetContext,
        services: Arc<dyn Services>,
        options: &Options,
    ) -> Result<Self> {
        ready.keep_copy().map_err(|error| cannot_start(ready, &context.project, &error))?;
        let watched = launch(options, context, &ready.build.plugin.environment)
            .and_then(|launched| Watched::new(launched, services.clone()))
            .map_err(|error| cannot_start(ready, &context.project, &error))?;
        let (grace, limits) = (options.grace, options.limits);
        let mut worker = Self { watched, build: ready.build.clone(), grace, limits, confined: false };
        let deadline = Some(options.start_deadline);
        let kept = i32::try_from(options.keep_open.len()).unwrap_or_default();
        let load = |id| Job::Load {
            id,
            plugin: ready.copy.clone(),
            expected: Box::new(ready.build.clone()),
            kept,
            limits: options.limits,
            only: context.read_only.then(|| context.scratch.clone()),
        };
        let loaded = worker.ask("load", deadline, load).map_err(|error| worker.cannot_load(ready, error))?;
        worker.confined = worker.read("load", &loaded)?;
        if context.read_only && !worker.confined {
            services.event(Event::Warning { message: NOT_ENFORCED.into() });
        }
        Ok(worker)
    }

    /// Calls a method and reads its answer as an `R`.
    ///
    /// When the deadline passes, or [`cancel`](Self::cancel) is called meanwhile, the plugin is asked to stop; when it hasn't
    /// answered after the grace, the process is killed with everything it started. A success that arrives within
    /// the grace counts: the step is done, and its receipt is what undo needs.
    ///
    /// # Errors
    /// What the plugin answers; [`ErrorKind::Timeout`]; [`ErrorKind::Cancelled`]; [`ErrorKind::Panic`]; that the process
    /// ended, and how; an answer that is no `R`.
    pub fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
        deadline: Option<Duration>,
    ) -> Result<R> {
        let params = to_raw_value(params).map_err(|error| strange_question(method, &error))?;
        let call = |id| Job::Call { id, method: method.to_owned(), params };
        let answer = self.ask(method, deadline, call)?;
        self.read(method, &answer)
    }

    /// Asks the calls that are running to stop. Later calls are not concerned.
    pub fn cancel(&self) {
        self.watched.cancel();
    }

    /// Kills the process and everything it started, at once.
    pub fn kill(&self) {
        self.watched.kill();
    }

    /// Whether the process is there to be called.
    pub fn alive(&self) -> bool {
        self.watched.ending().is_none() && !self.watched.is_killed()
    }

    /// The manifest of the plugin.
    pub fn build(&self) -> &Build {
        &self.build
    }

    /// Asks something and waits for the answer.
    fn ask(
        &self,
        method: &str,
        deadline: Option<Duration>,
        question: impl FnOnce(u64) -> Job,
    ) -> Result<Box<RawValue>> {
        let (id, replies) = self.watched.expect();
        self.watched.give(&question(id))?;
        let mut stopping: Option<ErrorKind> = None;
        let mut until = deadline.and_then(in_so_long);
        loop {
            match next(&replies, until) {
                Some(Reply::Answer(Ok(answer))) => return Ok(answer),
                Some(Reply::Answer(Err(error))) => {
                    return Err(self.answered(method, deadline, stopping, error));
                }
                Some(Reply::Ended(_)) if stopping.is_some() => {
                    return Err(self.stopped(method, deadline, stopping));
                }
                Some(Reply::Ended(ending)) => return Err(self.ended(method, ending)),
                Some(Reply::Cancelled) if stopping.is_some() => {}
                Some(Reply::Cancelled) => {
                    stopping = Some(ErrorKind::Cancelled);
                    until = in_so_long(self.grace);
                }
                None if stopping.is_none() => {
                    stopping = Some(ErrorKind::Timeout);
                    until = in_so_long(self.grace);
                    self.watched.ask_to_stop(id);
                }
                None => {
                    self.watched.kill();
                    self.watched.wait(GONE);
                    return Err(self.stopped(method, deadline, stopping));
                }
            }
        }
    }

    fn read<R: DeserializeOwned>(&self, method: &str, answer: &RawValue) -> Result<R> {
        let text = answer.get();
        if method == method::RUN && text.len() > LARGEST_RECEIPT {
            let much = text.len();
            let name = self.name();
            return Err(self.report(Error::failed(format!(
                "{name} answered `{method}` with a receipt of {much} bytes, more than {LARGEST_RECEIPT}"
            ))));
        }
        serde_json::from_str(text).map_err(|error| {
            let name = self.name();
            self.report(
                Error::failed(format!("{name} answered `{method}` with something that can't be read"))
                    .because(&error),
            )
        })
    }

    /// `plugin `acme` 0.3.1`.
    fn name(&self) -> String {
        format!("plugin `{}` {}", self.build.plugin.id, self.build.version)
    }

    /// An error of the plugin's own.
    fn answered(
        &self,
        method: &str,
        deadline: Option<Duration>,
        stopping: Option<ErrorKind>,
        mut error: Error,
    ) -> Error {
        if error.kind == ErrorKind::Panic {
            let words = error.message.trim_start_matches("the plugin panicked: ");
            error.message = format!("{} panicked in `{method}`: {words}", self.name());
            return self.report(error);
        }
        if self.confined && confine::denied(&error) {
            let message = format!("{} tried to write during a dry run", self.name());
            let causes = std::iter::once(error.message).chain(error.causes).collect();
            return self.report(Error { message, causes, hint: None, ..error });
        }
        // It stopped because it was asked to, and it was asked because it took too long.
        if stopping == Some(ErrorKind::Timeout) && error.kind == ErrorKind::Cancelled {
            return self.stopped(method, deadline, stopping);
        }
        error
    }

    fn stopped(&self, method: &str, deadline: Option<Duration>, why: Option<ErrorKind>) -> Error {
        let name = self.name();
        let after = self.after();
        match (why, deadline) {
            (Some(ErrorKind::Timeout), Some(limit)) => {
                let seconds = limit.as_secs_f64();
                let message =
                    format!("{name} took longer than {seconds} s in `{method}`{after} and was stopped");
                Error::new(ErrorKind::Timeout, message)
                    .hint("give it more time, or find out what it waits for")
            }
            _ => {
                let message =
                    format!("{name} was stopped in `{method}`{after} because the run was cancelled");
                Error::new(ErrorKind::Cancelled, message)
            }
        }
    }

    fn ended(&self, method: &str, ending: Ending) -> Error {
        let (name, after) = (self.name(), self.after());
        let mut error = Error::failed(format!("{name} {ending} in `{method}`{after}"));
        if ending == Ending::Killed {
            error.kind = ErrorKind::Cancelled;
            return error;
        }
        let lines = self.watched.tail.lines();
        if !lines.is_empty() {
            error.causes.push("its last lines:".into());
            error.causes.extend(lines);
        }
        let error = self.report(error);
        // Whoever gets no memory aborts, whatever the reason is that it tells.
        match self.limits.memory_advice().filter(|_| matches!(ending, Ending::Signalled(_))) {
            Some(advice) => {
                let otherwise = error.hint.map_or(String::new(), |hint| format!("; otherwise {hint}"));
                Error { hint: Some(advice + &otherwise), ..error }
            }
            None => error,
        }
    }

    /// Where the call had got to.
    fn after(&self) -> String {
        self.watched.progress().map(|progress| format!(" after `{progress}`")).unwrap_or_default()
    }

    fn cannot_load(&self, ready: &Ready, mut error: Error) -> Error {
        error.causes.insert(0, format!("{} from `{}`", self.name(), ready.source.display()));
        error
    }

    /// Says whom to tell, unless there is better advice.
    fn report(&self, error: Error) -> Error {
        match &*self.build.homepage {
            _ if error.hint.is_some() => error,
            "" => error.hint("report it to the plugin's author"),
            homepage => error.hint(format!("report it to {homepage}")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.watched.close();
        if !self.watched.wait(self.grace.max(CLOSE)) {
            self.watched.kill();
            self.watched.wait(GONE);
        }
    }
}

/// The time in so long; none where that is beyond the clock's end.
fn in_so_long(span: Duration) -> Option<Instant> {
    Instant::now().checked_add(span)
}

/// The next reply; none when the time has come.
fn next(replies: &mpsc::Receiver<Reply>, until: Option<Instant>) -> Option<Reply> {
    // The sender goes only after it has sent the ending.
    let gone = Reply::Ended(Ending::Disconnected);
    let begun = Instant::now();
    while begun.elapsed() < AWAKE {
        match replies.try_recv() {
            Ok(reply) => return Some(reply),
            Err(mpsc::TryRecvError::Disconnected) => return Some(gone),
            Err(mpsc::TryRecvError::Empty) => hint::spin_loop(),
        }
    }
    match until {
        None => Some(replies.recv().unwrap_or(gone)),
        Some(until) => match replies.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(reply) => Some(reply),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(gone),
        },
    }
}

fn strange_question(method: &str, error: &serde_json::Error) -> Error {
    Error::failed(format!("what `{method}` is to be asked isn't representable as JSON")).because(error)
}

fn cannot_start(ready: &Ready, project: &Path, error: &(dyn std::error::Error + 'static)) -> Error {
    let id = &ready.build.plugin.id;
    let failed = Error::failed(format!("can't start a worker for plugin `{id}`")).because(error);
    if project.is_dir() {
        return failed;
    }
    failed.hint(format!("make the project folder `{}`, which it is to run in", project.display()))
}
