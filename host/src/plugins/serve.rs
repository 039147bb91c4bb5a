//! The worker: a process that loads one plugin and lends it a voice.
//!
//! The main thread reads jobs and runs the plugin. A second one listens to the host all the time, so that a cancel arrives while
//! the plugin works and the end of the host is noticed whatever the plugin does.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader},
    path::Path,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use pop_deploy_plugin_api::{
    Error, Host, Result,
    ffi::{Foreign, ForeignSession},
    protocol::{Build, Event},
};
use rustix::process::{Signal, kill_current_process_group};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    cache::is_noexec,
    confine::{self, Limits},
    groups::Groups,
    loader::{self, LoadError, Pipes},
    strays::Mark,
    wire::{self, Aside, FromWorker, Job, LARGEST_ANSWER, LARGEST_EVENT},
};

/// The exit code of a process that was called as a worker by somebody who isn't its host.
const NOT_A_WORKER: u8 = 2;

/// Serves one plugin over the pipes that this process inherited, until the host says that it is over. To be called
/// before anything else when the first argument is `__worker`.
pub fn serve() -> ExitCode {
    let Ok(Pipes { jobs, asides, answers }) = loader::inherited_pipes() else {
        return ExitCode::from(NOT_A_WORKER);
    };
    let mark = Mark::inherited();
    if let Some(mark) = &mark {
        mark.put_on();
    }
    let link = Arc::new(Link::new(answers));
    let listening = link.clone();
    let listener = thread::spawn(move || {
        // However it ends, the host is gone.
        listen(asides, &listening).unwrap_or_default();
        listening.groups.kill();
        if let Some(mark) = mark {
            mark.kill_others();
        }
        // This process leads the group, and goes with it.
        kill_current_process_group(Signal::KILL).unwrap_or_default();
    });
    let mut plugin = Plugin { link, foreign: None, session: None };
    let Ok(End::Closed) = plugin.work(jobs) else {
        // The host is gone: the other thread ends this process, with all that it started.
        listener.join().unwrap_or_default();
        return ExitCode::FAILURE;
    };
    drop(plugin.session.take());
    ExitCode::SUCCESS
}

/// Hears what the host says besides jobs until it is gone.
fn listen(asides: File, link: &Link) -> io::Result<()> {
    let mut asides = BufReader::new(asides);
    let mut line = Vec::new();
    while wire::read_line(&mut asides, &mut line)? {
        match serde_json::from_slice(&line)? {
            Aside::Cancel { id } => link.cancelled.store(id, Ordering::Relaxed),
            Aside::Answer { id, result } => link.answer(id, result),
        }
    }
    Ok(())
}

/// The way back to the host.
struct Link {
    answers: Mutex<File>,
    /// The call that the plugin works on.
    current: AtomicU64,
    /// The call that should stop.
    cancelled: AtomicU64,
    /// Who waits for the answer to which request.
    waiting: Mutex<BTreeMap<u64, mpsc::Sender<Result<Box<RawValue>>>>>,
    next: AtomicU64,
    groups: Groups,
}

impl Link {
    fn new(answers: File) -> Self {
        Self {
            answers: Mutex::new(answers),
            current: AtomicU64::new(0),
            cancelled: AtomicU64::new(u64::MAX),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            groups: Groups::default(),
        }
    }

    /// Says something to the host. Should the host be gone, the listening thread ends this process.
    fn say(&self, message: &FromWorker) {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        wire::write(&*answers, message).unwrap_or_default();
    }

    fn answer(&self, id: u64, result: Result<Box<RawValue>>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(waiting) = waiting {
            // Whoever asked may have given up.
            waiting.send(result).unwrap_or_default();
        }
    }
}

/// What the plugin sees of the link.
struct Voice(Arc<Link>);

impl Host for Voice {
    fn emit(&self, event: &[u8]) {
        let Link { groups, .. } = &*self.0;
        let warn = |message: String| {
            self.emit(&serde_json::to_vec(&Event::Warning { message }).unwrap_or_default());
        };
        if event.len() > LARGEST_EVENT {
            return warn(format!("the plugin reported an event of {} bytes, which is left out", event.len()));
        }
        // An event of a newer vocabulary is for the host to judge.
        if let Ok(event) = serde_json::from_slice(event) {
            groups.note(&event);
        }
        match wire::one_line(String::from_utf8_lossy(event).into_owned()) {
            Ok(event) => self.0.say(&FromWorker::Event(event)),
            Err(error) => warn(format!("the plugin reported an event that isn't JSON: {error}")),
        }
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed) == self.0.current.load(Ordering::Relaxed)
    }

    fn request(&self, method: &str, input: &[u8]) -> std::result::Result<Vec<u8>, Vec<u8>> {
        let asked = self.ask(method, input);
        asked
            .map(|answer| answer.get().as_bytes().to_vec())
            .map_err(|error| serde_json::to_vec(&error).unwrap_or_default())
    }
}

impl Voice {
    fn ask(&self, method: &str, input: &[u8]) -> Result<Box<RawValue>> {
        let strange = |error: &(dyn std::error::Error + 'static)| {
            Error::failed(format!("the request `{method}` isn't JSON")).because(error)
        };
        let input = String::from_utf8(input.to_vec()).map_err(|error| strange(&error))?;
        let input = wire::one_line(input).map_err(|error| strange(&error))?;
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (send, receive) = mpsc::channel();
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, send);
        self.0.say(&FromWorker::Request { id, method: method.to_owned(), input });
        receive.recv().unwrap_or_else(|_| Err(Error::failed("the host is gone")))
    }
}

/// Why there are no more jobs.
enum End {
    /// The host said that it is over.
    Closed,
    /// The host is gone.
    Abandoned,
}

/// The plugin, on the main thread.
struct Plugin {
    link: Arc<Link>,
    foreign: Option<Foreign>,
    session: Option<ForeignSession>,
}

impl Plugin {
    /// Does one job after the other until it is told to close.
    fn work(&mut self, jobs: File) -> io::Result<End> {
        let mut jobs = BufReader::with_capacity(64 << 10, jobs);
        let mut line = Vec::new();
        while wire::read_line(&mut jobs, &mut line)? {
            let (id, result) = match serde_json::from_slice(&line)? {
                Job::Load { id, plugin, expected, kept, limits, only } => {
                    let prepared = prepare(kept, limits, only.as_deref());
                    let loaded = prepared.and_then(|confined| {
                        self.load(&plugin, &expected, limits)?;
                        Ok(confined)
                    });
                    (id, loaded)
                }
                Job::Open { id, request } => (id, self.open(id, &request)),
                Job::Ask { id, method, params } => (id, self.ask(&method, &params)),
                Job::Call { id, method, params } => (id, self.call(id, &method, &params)),
                Job::Close => return Ok(End::Closed),
            };
            self.link.say(&FromWorker::Answered { id, result });
        }
        Ok(End::Abandoned)
    }

    fn load(&mut self, plugin: &Path, expected: &Build, limits: Limits) -> Result<()> {
        let foreign = loader::load(plugin).map_err(|error| cannot_load(plugin, limits, &error))?;
        if foreign.describe()? != *expected {
            return Err(Error::failed("the plugin describes itself otherwise than its file does").hint(
                "build it again after its tests were run with POP_DEPLOY_BLESS=1, or ask its author to",
            ));
        }
        self.foreign = Some(foreign);
        Ok(())
    }

    fn open(&mut self, id: u64, request: &RawValue) -> Result<Box<RawValue>> {
        let foreign = self.foreign.ok_or_else(|| Error::failed("no plugin is loaded"))?;
        self.link.current.store(id, Ordering::Relaxed);
        let voice = Arc::new(Voice(self.link.clone()));
        self.session = Some(foreign.open(voice, request.get().as_bytes())?);
        Ok(null())
    }

    fn call(&self, id: u64, method: &str, params: &RawValue) -> Result<Box<RawValue>> {
        let session = self.session.as_ref().ok_or_else(|| Error::failed("no session is open"))?;
        self.link.current.store(id, Ordering::Relaxed);
        raw(method, session.call(method, params.get().as_bytes())?)
    }

    fn ask(&self, method: &str, params: &RawValue) -> Result<Box<RawValue>> {
        let foreign = self.foreign.ok_or_else(|| Error::failed("no plugin is loaded"))?;
        raw(method, foreign.ask(method, params.get().as_bytes())?)
    }
}

/// Whose fault it is: the plugin's is what is left.
fn cannot_load(plugin: &Path, limits: Limits, error: &LoadError) -> Error {
    let failed = Error::failed("the plugin can't be loaded").because(error);
    let hint = if is_noexec(plugin) {
        let folder = plugin.parent().unwrap_or(plugin).display();
        format!("set XDG_CACHE_HOME or TMPDIR to a folder that isn't mounted noexec, as `{folder}` is")
    } else {
        limits
            .advice_on(&failed)
            .unwrap_or_else(|| "get a build of it for this pop-deploy and this system".to_owned())
    };
    failed.hint(hint)
}

/// A plugin's answer, once it is seen to be JSON of a size that can be handed on.
fn raw(method: &str, answer: String) -> Result<Box<RawValue>> {
    if answer.len() > LARGEST_ANSWER {
        let much = answer.len();
        return Err(Error::failed(format!("`{method}` answered {much} bytes, more than {LARGEST_ANSWER}")));
    }
    wire::one_line(answer).map_err(|error| {
        Error::failed(format!("`{method}` answered something that isn't JSON")).because(&error)
    })
}

/// Everything that must be so before the plugin's first instruction. Says, as JSON, whether writing is confined.
fn prepare(kept: i32, limits: Limits, only: Option<&Path>) -> Result<Box<RawValue>> {
    loader::keep_inherited(kept)
        .map_err(|error| Error::failed("the worker didn't inherit the locks of the run").because(&error))?;
    confine::limit(limits).map_err(|error| {
        Error::failed("the worker can't limit itself")
            .because(&error)
            .hint("lower `limits` of the target to what this user may use: `ulimit -H -v -n` shows it")
    })?;
    let confined = only.is_some_and(|scratch| confine::read_only(scratch).unwrap_or(false));
    to_raw_value(&confined).map_err(|error| Error::failed("true or false isn't JSON").because(&error))
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use pop_deploy_plugin_api::ffi::abi::{
        Answer, EntryV1, HostV1,
        abi_stable::{
            prefix_type::PrefixTypeTrait as _,
            std_types::{RErr, ROk, RResult, RSlice, RStr, RVec},
        },
    };

    use super::*;

    extern "C" fn describe() -> Answer {
        ROk(b"{}".to_vec().into())
    }

    extern "C" fn open(_: HostV1, _: RSlice<'_, u8>) -> RResult<u64, RVec<u8>> {
        ROk(1)
    }

    extern "C" fn close(_: u64) {}

    /// Answers what no plugin of our macro can.
    extern "C" fn call(_: u64, method: RStr<'_>, _: RSlice<'_, u8>) -> Answer {
        let bytes: &[u8] = match method.as_str() {
            "empty" => b"",
            "half" => b"{\"outcome\":",
            "two" => b"{} {}",
            "nul" => b"{\"a\":\"\0\"}",
            "not_utf8" => b"\"\xff\xfe\"",
            "pretty" => b"{\n\"a\": 1\n}",
            _ => return RErr(b"\xff no error either".to_vec().into()),
        };
        ROk(bytes.to_vec().into())
    }

    #[test]
    fn answers_that_are_no_json_are_errors_of_the_plugin() {
        let foreign = Foreign::new(EntryV1 { describe, open, call, close }.leak_into_prefix());
        let link = Arc::new(Link::new(File::create("/dev/null").unwrap()));
        let mut plugin = Plugin { link, foreign: Some(foreign), session: None };
        plugin.open(1, &null()).unwrap();
        let answer = |method: &str| plugin.call(2, method, &null());
        for method in ["empty", "half", "two", "nul"] {
            let error = answer(method).unwrap_err();
            assert_eq!(error.message, format!("`{method}` answered something that isn't JSON"));
        }
        assert_eq!(answer("not_utf8").unwrap_err().message, "`not_utf8` answered bytes that aren't UTF-8");
        assert_eq!(
            answer("broken").unwrap_err().message,
            "the plugin failed with an error that can't be read"
        );
        assert_eq!(answer("pretty").unwrap().get(), "{ \"a\": 1 }");
    }
}
