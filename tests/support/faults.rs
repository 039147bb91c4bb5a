//! The faulty plugin, and a place for its workers to work in.

#![allow(dead_code, reason = "shared by tests that each use a part of it")]

use std::{
    env, fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Condvar, LazyLock, Mutex},
    thread,
    time::{Duration, Instant},
};

use pop_deploy::plugins::{
    Folder, Limits, Options, Origin, PluginsLock, Ready, SearchPath, Services, Worker, choose,
    private_copy_in,
};
use pop_deploy_plugin_api::{
    Error,
    protocol::{Event, OpenRequest, Stream, TargetContext},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Keeps everything that a worker says.
#[derive(Default)]
pub(crate) struct Recorder {
    heard: Mutex<(Vec<Event>, Vec<String>)>,
    news: Condvar,
}

impl Services for Recorder {
    fn event(&self, event: Event) {
        self.heard.lock().unwrap().0.push(event);
        self.news.notify_all();
    }

    fn output(&self, _: Stream, line: &str) {
        self.heard.lock().unwrap().1.push(line.to_owned());
    }

    fn request(&self, method: &str, input: Value) -> Result<Value, Error> {
        match method {
            "secret" => Ok(json!({"asked": input})),
            _ => Err(Error::unimplemented(method)),
        }
    }
}

impl Recorder {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.heard.lock().unwrap().0.clone()
    }

    pub(crate) fn output(&self) -> Vec<String> {
        self.heard.lock().unwrap().1.clone()
    }

    pub(crate) fn take(&self) {
        *self.heard.lock().unwrap() = Default::default();
    }

    /// Waits for an event.
    pub(crate) fn wait_for(&self, wanted: impl Fn(&Event) -> bool) {
        let heard = self.heard.lock().unwrap();
        let limit = Duration::from_secs(60);
        let waited =
            self.news.wait_timeout_while(heard, limit, |heard| !heard.0.iter().any(&wanted)).unwrap();
        assert!(!waited.1.timed_out(), "the event didn't come");
    }
}

/// A project folder, a cache, and somebody who listens.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    pub(crate) services: Arc<Recorder>,
    /// Whether sessions may only read.
    read_only: bool,
    /// What workers may use.
    limits: Limits,
    _temporary: Option<TempDir>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let place = Self::at(temporary.path());
        Self { _temporary: Some(temporary), ..place }
    }

    /// A place whose sessions may only read.
    pub(crate) fn read_only() -> Self {
        Self { read_only: true, ..Self::new() }
    }

    /// A place whose workers are limited.
    pub(crate) fn limited(limits: Limits) -> Self {
        Self { limits, ..Self::new() }
    }

    /// A place in a folder that somebody else cleans up.
    pub(crate) fn at(root: &Path) -> Self {
        fs::create_dir_all(root.join("project")).unwrap();
        fs::create_dir_all(root.join("scratch")).unwrap();
        Self {
            root: root.to_owned(),
            services: Arc::default(),
            read_only: false,
            limits: Limits::default(),
            _temporary: None,
        }
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.root.join("project")
    }

    pub(crate) fn note(&self) -> PathBuf {
        self.project().join("note")
    }

    /// The process id that a fault left in its note.
    pub(crate) fn noted_pid(&self) -> i32 {
        wait_until("a note", || fs::read_to_string(self.note()).ok()).trim().parse().unwrap()
    }

    /// A worker in which `fault` happens in `hook`.
    pub(crate) fn worker(&self, hook: &str, fault: &str) -> Worker {
        self.try_worker(hook, fault).unwrap()
    }

    pub(crate) fn try_worker(&self, hook: &str, fault: &str) -> Result<Worker, Error> {
        self.start(&PLUGIN, hook, fault)
    }

    pub(crate) fn worker_that_keeps(&self, file: OwnedFd) -> Worker {
        let options = Options { keep_open: vec![file], ..options("nothing") };
        self.start_with(&PLUGIN, "none", "nothing", &options).unwrap()
    }

    /// Starts a worker with the plugin at `plugin`.
    pub(crate) fn start(&self, plugin: &Path, hook: &str, fault: &str) -> Result<Worker, Error> {
        self.start_with(plugin, hook, fault, &Options { limits: self.limits, ..options(fault) })
    }

    fn start_with(&self, plugin: &Path, hook: &str, fault: &str, options: &Options) -> Result<Worker, Error> {
        let ready = self.ready(plugin);
        let context = TargetContext {
            target: "test".into(),
            project_name: "test".into(),
            project: self.project(),
            scratch: self.root.join("scratch"),
            data: self.root.join("data"),
            read_only: self.read_only,
            source_may_change: false,
            actor: "tester@localhost".into(),
            run_id: "run".into(),
            canary: None,
            flags: String::new(),
        };
        let config = json!({"in": hook, "do": fault, "note": self.note()});
        Worker::start(&ready, &OpenRequest { context, config }, self.services.clone(), options)
    }

    fn ready(&self, plugin: &Path) -> Ready {
        let folder = Folder { path: plugin.parent().unwrap().to_owned(), origin: Origin::Explicit };
        let lock = PluginsLock::empty(&self.root.join("plugins.lock"));
        let found = choose(&SearchPath::of([folder]), &lock, "fault-y", None).unwrap();
        private_copy_in(&found, Some(&self.root.join("cache"))).unwrap()
    }
}

/// The plugin's file with another manifest in it.
pub(crate) fn altered(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bytes = fs::read(&*PLUGIN).unwrap();
    let begin = b"{\"format\":1,";
    let manifest = |at: usize| {
        let mut values = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<Value>();
        Some((at, values.next()?.ok()?, values.byte_offset()))
    };
    let mut places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(begin));
    let (at, mut manifest, len) = places.find_map(manifest).unwrap();
    change(&mut manifest);
    // The author's part is pretty, and this isn't: what is left over is white space.
    let text = format!("{:len$}", manifest.to_string());
    bytes[at..at + len].copy_from_slice(text.as_bytes());
    bytes
}

/// Only what never stops when it is asked to uses up its grace: whatever else does has much of it, as the machine may be
/// busy.
fn options(fault: &str) -> Options {
    let grace = if matches!(fault, "sleep" | "spin" | "deadlock") { 2 } else { 60 };
    Options {
        executable: env!("CARGO_BIN_EXE_pop-deploy").into(),
        start_deadline: Duration::from_secs(60),
        grace: Duration::from_secs(grace),
        ..Options::default()
    }
}

/// The faulty plugin, built by the compiler that builds the tests, and from what is built for them already.
pub(crate) static PLUGIN: LazyLock<PathBuf> = LazyLock::new(|| {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    build(Command::new(cargo))
});

fn build(mut cargo: Command) -> PathBuf {
    let faults = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/faults").canonicalize().unwrap();
    let target = faults.join("target/stable");
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let built = cargo
        .args(["build", "--locked", "--manifest-path"])
        .arg(faults.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .arg("--config")
        .arg(format!("build.build-dir={:?}", shared))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug/libpop_deploy_faults.so")
}

/// Waits until `check` finds something.
pub(crate) fn wait_until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} takes too long");
        thread::sleep(Duration::from_millis(5));
    }
}
