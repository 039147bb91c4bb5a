//! The host's eye on a worker: reads what it says, passes it on, and finds out how it ended.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::BufReader,
    os::unix::process::ExitStatusExt as _,
    panic::{self, AssertUnwindSafe},
    process::{Child, ExitStatus},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::{Event, Stream},
};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::{Value, value::RawValue};

use super::{
    groups::{Groups, kill_group},
    launch::{Launched, Services},
    outbox::Outbox,
    output::{Tail, pass_on},
    strays::Mark,
    wire::{self, Aside, FromWorker, Job},
};

/// How long a worker that closed its pipe may take to end by itself: on a busy machine one that crashed isn't gone at once.
const EXIT: Duration = Duration::from_secs(5);
/// How long its last words may take to arrive: a child that was left behind may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The same of one that crashed, on a busy machine.
const CRASH_WORDS: Duration = Duration::from_secs(5);
/// How often a process that is to end is looked at.
const TICK: Duration = Duration::from_millis(1);

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
    /// We killed it.
    Killed,
    /// It closed the connection, or broke it, and went on; so we killed it.
    Disconnected,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended by itself with exit code {code}"),
            Self::Signalled(signal) => match signal_hook::low_level::signal_name(*signal) {
                Some(name) => write!(f, "crashed with {name}"),
                None => write!(f, "crashed with signal {signal}"),
            },
            Self::Killed => f.write_str("was killed"),
            Self::Disconnected => f.write_str("broke its connection to pop-deploy"),
        }
    }
}

/// What somebody who waits for an answer hears.
pub(super) enum Reply {
    /// The answer.
    Answer(Result<Box<RawValue>>),
    /// The call was asked to stop.
    Cancelled,
    /// There won't be one.
    Ended(Ending),
}

/// A worker, as its threads share it.
pub(super) struct Watched {
    jobs: Outbox,
    asides: Outbox,
    pub(super) tail: Tail,
    services: Arc<dyn Services>,
    groups: Groups,
    state: Mutex<State>,
    ended: Condvar,
    killed: AtomicBool,
    mark: Mark,
}

struct State {
    /// Absent once it was waited for: its number may be another's then.
    child: Option<Child>,
    pending: BTreeMap<u64, mpsc::Sender<Reply>>,
    next: u64,
    /// What the running call said last of its progress.
    progress: Option<String>,
    ending: Option<Ending>,
}

impl Watched {
    /// Takes over a worker and starts to listen to it.
    pub(super) fn new(launched: Launched, services: Arc<dyn Services>) -> std::io::Result<Arc<Self>> {
        let Launched { mut child, mark, jobs, asides, answers } = launched;
        let pipes = (child.stdout.take(), child.stderr.take());
        let state =
            State { child: Some(child), pending: BTreeMap::new(), next: 1, progress: None, ending: None };
        let watched = Arc::new(Self {
            jobs: Outbox::new(jobs)?,
            asides: Outbox::new(asides)?,
            tail: Tail::default(),
            services,
            groups: Groups::default(),
            state: Mutex::new(state),
            ended: Condvar::new(),
            killed: AtomicBool::new(false),
            mark,
        });
        let (done, printed) = mpsc::channel();
        if let (Some(stdout), Some(stderr)) = pipes {
            watched.clone().read_output(stdout, Stream::Stdout, done.clone());
            watched.clone().read_output(stderr, Stream::Stderr, done);
        }
        let listener = watched.clone();
        thread::spawn(move || {
            // A reporter that panics must not leave those who wait for an answer waiting for ever.
            drop(panic::catch_unwind(AssertUnwindSafe(|| listener.listen(answers))));
            listener.bury(&printed);
        });
        Ok(watched)
    }

    fn read_output(
        self: Arc<Self>,
        pipe: impl std::io::Read + Send + 'static,
        stream: Stream,
        done: mpsc::Sender<()>,
    ) {
        thread::spawn(move || {
            pass_on(pipe, stream, &self.services, &self.tail);
            drop(done);
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a question and hands out its number, and where the answer will arrive.
    pub(super) fn expect(&self) -> (u64, mpsc::Receiver<Reply>) {
        let (send, receive) = mpsc::channel();
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.progress = None;
        match state.ending {
            Some(ending) => send.send(Reply::Ended(ending)).unwrap_or_default(),
            None => drop(state.pending.insert(id, send)),
        }
        (id, receive)
    }

    /// Gives the worker something to do, after what it does now.
    pub(super) fn give(&self, job: &Job) -> Result<()> {
        let line = wire::line(job)
            .map_err(|error| Error::failed("a question isn't representable as JSON").because(&error))?;
        self.jobs.send(line);
        Ok(())
    }

    /// Tells the worker something while it works. A number, JSON and strings are always representable.
    fn tell(&self, aside: &Aside) {
        self.asides.send(wire::line(aside).unwrap_or_default());
    }

    /// Asks the worker to end.
    pub(super) fn close(&self) {
        // A message without content is always representable.
        self.give(&Job::Close).unwrap_or_default();
    }

    /// Asks every call that is running to stop.
    pub(super) fn cancel(&self) {
        let waiting: Vec<_> = self.state().pending.iter().map(|(id, reply)| (*id, reply.clone())).collect();
        for (id, reply) in waiting {
            self.ask_to_stop(id);
            // Whoever waited may have the answer by now.
            reply.send(Reply::Cancelled).unwrap_or_default();
        }
    }

    /// Asks one call to stop.
    pub(super) fn ask_to_stop(&self, id: u64) {
        self.tell(&Aside::Cancel { id });
    }

    /// Kills the worker and all that it started.
    pub(super) fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        let state = self.state();
        if let Some(child) = &state.child {
            leader(child).into_iter().for_each(kill_group);
            self.groups.kill();
        }
    }

    /// Whether it was killed, and is about to end.
    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// How the worker ended, where it did.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.state().ending
    }

    /// What the running call said last of its progress.
    pub(super) fn progress(&self) -> Option<String> {
        self.state().progress.clone()
    }

    /// Waits for the end, at most so long; says whether it came.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let waiting = self.ended.wait_timeout_while(self.state(), limit, |state| state.ending.is_none());
        !waiting.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Reads until the worker closes its pipe, or says something that no worker of ours would.
    fn listen(self: &Arc<Self>, from: File) {
        let mut from = BufReader::with_capacity(64 << 10, from);
        let mut line = Vec::new();
        while wire::read_line(&mut from, &mut line).unwrap_or(false) {
            match serde_json::from_slice(&line) {
                Ok(FromWorker::Answered { id, result }) => {
                    let waiting = self.state().pending.remove(&id);
                    if let Some(waiting) = waiting {
                        // Whoever waited may have given up.
                        waiting.send(Reply::Answer(result)).unwrap_or_default();
                    }
                }
                Ok(FromWorker::Event(event)) => self.event(&event),
                Ok(FromWorker::Request { id, method, input }) => self.request(id, method, &input),
                Err(_) => return,
            }
            // One huge answer shouldn't cost its memory for the rest of the run.
            line.shrink_to(1 << 20);
        }
    }

    fn event(&self, event: &RawValue) {
        let event = serde_json::from_str(event.get()).unwrap_or(Event::Unknown);
        self.groups.note(&event);
        if let Event::Progress { message, done, total, .. } = &event {
            let count = match (done, total) {
                (Some(done), Some(total)) => format!(" {done}/{total}"),
                (Some(done), None) => format!(" {done}"),
                _ => String::new(),
            };
            self.state().progress = Some(format!("{message}{count}"));
        }
        self.services.event(event);
    }

    /// Answers a request on a thread of its own: a secret that takes long must not hold up the events.
    fn request(self: &Arc<Self>, id: u64, method: String, input: &RawValue) {
        let input: serde_json::Result<Value> = serde_json::from_str(input.get());
        let asked = self.clone();
        thread::spawn(move || {
            let strange = |error| Error::failed(format!("can't read the request `{method}`")).because(&error);
            let answer = input.map_err(strange).and_then(|input| {
                let request = AssertUnwindSafe(|| asked.services.request(&method, input));
                let broken = |_| Err(Error::failed(format!("the host broke down over `{method}`")));
                panic::catch_unwind(request).unwrap_or_else(broken)
            });
            let result = answer.and_then(|answer| {
                wire::one_line(answer.to_string())
                    .map_err(|error| Error::failed("the host's answer isn't JSON").because(&error))
            });
            asked.tell(&Aside::Answer { id, result });
        });
    }

    /// Waits for the process, kills what it left behind, and tells everybody who still waits.
    fn bury(&self, printed: &mpsc::Receiver<()>) {
        let pid = self.state().child.as_ref().and_then(leader);
        let exited = pid.is_none_or(has_exited);
        // The number stays the worker's until it is waited for, so the group can't be somebody else's.
        let child = self.state().child.take();
        pid.into_iter().for_each(kill_group);
        self.groups.kill();
        self.mark.kill_others();
        let status = child.and_then(|mut child| child.wait().ok());
        let killed = self.killed.load(Ordering::Relaxed);
        let ending = match status {
            _ if killed => Ending::Killed,
            Some(status) if exited => Ending::of(status),
            _ => Ending::Disconnected,
        };
        let patience = if matches!(ending, Ending::Signalled(_)) { CRASH_WORDS } else { LAST_WORDS };
        printed.recv_timeout(patience).unwrap_or_default();
        let mut state = self.state();
        state.ending = Some(ending);
        for waiting in std::mem::take(&mut state.pending).into_values() {
            // Whoever waited may have given up.
            waiting.send(Reply::Ended(ending)).unwrap_or_default();
        }
        self.jobs.close();
        self.asides.close();
        self.ended.notify_all();
    }
}

impl Ending {
    fn of(status: ExitStatus) -> Self {
        status.signal().map_or_else(|| Self::Exited(status.code().unwrap_or_default()), Self::Signalled)
    }
}

/// The worker leads its process group: both have one number.
fn leader(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Whether the process ends by itself soon. It is not waited for: it keeps its number.
fn has_exited(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let begun = Instant::now();
    while begun.elapsed() < EXIT {
        match waitid(WaitId::Pid(pid), options) {
            Ok(None) => thread::sleep(TICK),
            Ok(Some(_)) | Err(_) => return true,
        }
    }
    false
}
