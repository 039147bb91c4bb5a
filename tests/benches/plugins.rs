//! `make bench`: what it costs to keep plugins in processes of their own, and to look at many.
//!
//! With the static-site plugin that lies beside the executable. Medians; no assertion on time.

#![allow(clippy::print_stdout, reason = "the benchmark's output")]

#[path = "../../host/src/plugins/crafted.rs"]
mod crafted;
#[allow(dead_code, reason = "shared with the other benchmark")]
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use pop_deploy::plugins::{
    Folder, Options, Origin, PluginsLock, SearchPath, Services, Worker, choose, discover, private_copy_in,
};
use pop_deploy_plugin_api::{
    Error,
    protocol::{Event, OpenRequest, Stream, TargetContext, method},
};
use serde_json::{Value, json};
use table::{Goal, alone, head};

/// Hears nothing and knows nothing.
struct Deaf;

impl Services for Deaf {
    fn event(&self, _: Event) {}

    fn output(&self, _: Stream, _: &str) {}

    fn request(&self, method: &str, _: Value) -> Result<Value, Error> {
        Err(Error::unimplemented(method))
    }
}

fn main() {
    let executable = PathBuf::from(env!("CARGO_BIN_EXE_pop-deploy"));
    let plugin = executable.with_file_name("libpop_deploy_static_site.so");
    assert!(plugin.exists(), "`{}` is missing: build the workspace", plugin.display());
    let root = tempfile::tempdir().expect("there is room for temporary files");
    let bench = Bench::new(root.path(), &executable, &plugin);
    println!(
        "\nplugins, of {} kB each; medians\n",
        fs::metadata(&plugin).map_or(0, |meta| meta.len()) / 1000
    );
    head();
    bench.a_worker();
    bench.a_list();
}

struct Bench {
    root: PathBuf,
    executable: PathBuf,
}

impl Bench {
    fn new(root: &Path, executable: &Path, plugin: &Path) -> Self {
        let root = root.canonicalize().expect("the folder is there");
        for folder in ["plugins", "project", "scratch", "many"] {
            fs::create_dir(root.join(folder)).expect("a folder can be made");
        }
        let copy = root.join("plugins/libpop_deploy_static_site.so");
        fs::copy(plugin, &copy).expect("the plugin can be copied");
        Self { root, executable: executable.to_owned() }
    }

    fn lock(&self) -> PluginsLock {
        PluginsLock::empty(&self.root.join("plugins.lock"))
    }

    fn search(&self, folder: &str) -> SearchPath {
        let folder = Folder { path: self.root.join(folder), origin: Origin::Explicit };
        SearchPath::of([folder]).with_cache(Some(self.root.join("cache")))
    }

    /// Choosing, checking, copying and starting: everything before the first question to the plugin.
    fn deployment(&self, read_only: bool) -> Worker {
        let found = choose(&self.search("plugins"), &self.lock(), "static-site", None).expect("it is there");
        let ready = private_copy_in(&found, Some(&self.root.join("cache"))).expect("there is room");
        self.start(&ready, read_only)
    }

    fn start(&self, ready: &pop_deploy::plugins::Ready, read_only: bool) -> Worker {
        let context = TargetContext {
            target: "bench".into(),
            project_name: "bench".into(),
            project: self.root.join("project"),
            scratch: self.root.join("scratch"),
            data: self.root.join("data"),
            read_only,
            source_may_change: false,
            actor: "bench@localhost".into(),
            run_id: "bench".into(),
            canary: None,
            flags: String::new(),
        };
        let config = json!({"source": "public", "dir": "www"});
        let options = Options { executable: self.executable.clone(), ..Options::default() };
        Worker::start(ready, &OpenRequest { context, config }, Arc::new(Deaf), &options)
            .expect("the worker starts")
    }

    fn a_worker(&self) {
        let found = choose(&self.search("plugins"), &self.lock(), "static-site", None).expect("it is there");
        let ready = private_copy_in(&found, Some(&self.root.join("cache"))).expect("there is room");
        let start = median(50, || self.start(&ready, false));
        alone("worker: start to first answer", start, &Goal::Within(Duration::from_millis(5)));
        let confined = median(50, || self.start(&ready, true));
        alone("worker: the same in a dry run", confined, &Goal::None);
        let worker = self.start(&ready, false);
        // A name that no plugin knows: the way there and back, and nothing else.
        let call = median(10_000, || worker.call::<Value>("nothing", &(), None));
        alone("worker: a call, there and back", call, &Goal::Within(Duration::from_micros(50)));
        let known = median(20, || worker.call::<Value>(method::STATUS, &(), None));
        alone("worker: a status of static-site", known, &Goal::None);
        let all = median(50, || self.deployment(false));
        alone("deployment: choose, copy, start", all, &Goal::Within(Duration::from_millis(15)));
    }

    fn a_list(&self) {
        for number in 0..1000 {
            let id = format!("place-{number}");
            let manifest = crafted::manifest(&id, "1.0.0", &id);
            crafted::plugin(&self.root.join("many"), &format!("lib{number}.so"), &manifest);
        }
        let cold = median(5, || {
            fs::remove_dir_all(self.root.join("cache")).expect("the cache can go");
            assert_eq!(discover(&self.search("many"), &self.lock()).len(), 1000);
        });
        alone("list of 1,000: without an index", cold, &Goal::Within(Duration::from_secs(1)));
        let warm = median(20, || assert_eq!(discover(&self.search("many"), &self.lock()).len(), 1000));
        alone("list of 1,000: with it", warm, &Goal::Within(Duration::from_millis(100)));
        let command = median(10, || {
            let listed = Command::new(&self.executable)
                .args([
                    "--plugin-dir".as_ref(),
                    self.root.join("many").as_os_str(),
                    "plugin".as_ref(),
                    "list".as_ref(),
                ])
                .current_dir(self.root.join("project"))
                .env("HOME", self.root.join("home"))
                .env_remove("XDG_CACHE_HOME")
                .stdout(Stdio::null())
                .status();
            assert!(listed.is_ok_and(|status| status.success()), "`plugin list` fails");
        });
        alone("`plugin list` of 1,000, warm", command, &Goal::Within(Duration::from_millis(100)));
    }
}

/// The median of so many rounds.
fn median<T>(rounds: usize, mut measure: impl FnMut() -> T) -> Duration {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            // What it made goes after the clock was read.
            let made = measure();
            let took = begun.elapsed();
            drop(made);
            took
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
