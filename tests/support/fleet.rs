//! A project that goes to hosts of a lab.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::{
    sshd::{Host, Kind, Lab},
    support::{Project, Said, skipped, wait_for},
};

/// A project, its hosts, and the lab they are in. Each host is called by an alias of the user's ssh config.
pub struct Fleet {
    pub project: Project,
    pub hosts: Vec<Host>,
    pub lab: Lab,
}

/// Pages that change with every version. `same.txt` never does.
const PAGES: [&str; 3] = ["index.html", "a/deep.txt", "b/deeper/still.txt"];

impl Fleet {
    /// So many ordinary hosts; none where that can't be had here.
    pub fn new(count: usize) -> Option<Self> {
        Self::with(|lab| lab.hosts(count))
    }

    /// One host of a kind.
    pub fn of_one(name: &str, kind: Kind) -> Option<Self> {
        Self::with(|lab| vec![lab.host(name, kind)])
    }

    /// Hosts that `make` makes.
    pub fn with(make: impl FnOnce(&Lab) -> Vec<Host>) -> Option<Self> {
        let lab = Lab::new().map_err(|why| skipped(&why)).ok()?;
        let hosts = make(&lab);
        let project = Self::project_in(&lab);
        let fleet = Self { project, hosts, lab };
        fleet.config(json!({}));
        Some(fleet)
    }

    /// A folder of one more operator, with nothing in it yet.
    pub fn project_in(lab: &Lab) -> Project {
        let mut project = Project::empty();
        project.search_path = Some(lab.search_path());
        project.write("public/same.txt", &"the same\n".repeat(1000));
        fill(&project, "one");
        project
    }

    /// Writes deploy.json; `more` goes over the keys of the target's config.
    pub fn config(&self, more: Value) {
        self.config_of(&self.project, more);
    }

    /// The same for another operator's project.
    pub fn config_of(&self, project: &Project, more: Value) {
        let names: Vec<_> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        let mut config = json!({"hosts": names, "base": self.base_of("{{host}}"), "source": "public"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // Taking leave of many hosts takes long where the machine that all of them are on is busy.
        let deadlines = json!({"grace": 60});
        let target = json!({"type": "ssh", "enabled": true, "primary": true, "deadlines": deadlines, "config": config});
        let json =
            json!({"version": "1.0", "project_name": "shop", "targets": {"web": target}, "history": []});
        project.deploy_json(&format!("{json:#}"));
    }

    /// The base on a host, as the host sees it.
    pub fn base_of(&self, host: &str) -> String {
        format!("{}/hosts/{host}/srv/app", self.lab.path().display())
    }

    /// The same, as it can be looked into from here.
    pub fn base(&self, host: usize) -> PathBuf {
        self.hosts[host].srv_seen_from_here().join("app")
    }

    /// Makes the pages say `word`, and deploys them as that version.
    pub fn deploy(&self, word: &str) -> Said {
        self.fill(word);
        self.project.must(&["execute", "--yes", "--version", word])
    }

    /// Makes the pages say `word`, and tries to deploy them as that version.
    pub fn try_deploy(&self, word: &str) -> Said {
        self.fill(word);
        self.project.run(&["execute", "--yes", "--version", word])
    }

    /// Has another operator try to deploy while somebody does. Two folders that begin in one second want one name for the
    /// release; that is said, and another second comes.
    pub fn try_meanwhile(other: &Project, word: &str) -> Said {
        wait_for("another second", || {
            let said = other.run(&["execute", "--yes", "--version", word]);
            (!(said.stdout.contains("has a release") || said.stderr.contains("has a release")))
                .then_some(said)
        })
    }

    /// Starts to deploy them, and leaves that running.
    pub fn start(&self, word: &str) -> Child {
        self.fill(word);
        self.project.start(&["execute", "--yes", "--version", word])
    }

    /// Makes the pages say `word`.
    pub fn fill(&self, word: &str) {
        fill(&self.project, word);
    }

    /// What the pages of the hosts say, in their order: one word each, `-` where nothing is live.
    pub fn live(&self) -> Vec<String> {
        (0..self.hosts.len()).map(|host| live_in(&self.base(host)).unwrap_or_else(|| "-".into())).collect()
    }

    /// Fails unless every host says `word`.
    pub fn all_say(&self, word: &str) {
        assert_eq!(self.live(), vec![word; self.hosts.len()]);
    }

    /// Types a command that was shown, in the terminal of whoever deploys.
    pub fn typed(&self, line: &str) -> Said {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env("PATH", self.lab.search_path()).env_remove("SSH_AUTH_SOCK");
        shell.stdin(Stdio::null()).output().unwrap().into()
    }

    /// The releases on a host, finished or not.
    pub fn releases(&self, host: usize) -> BTreeSet<String> {
        let entries = fs::read_dir(self.base(host).join("releases"));
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map_or_else(|_| BTreeSet::new(), |entries| entries.flatten().map(name).collect())
    }

    /// Reads all hosts without pause while `work` goes on; what each said, in the order of first sight.
    pub fn read_during<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<Vec<String>>) {
        let done = AtomicBool::new(false);
        let read = || {
            let mut seen = vec![Vec::new(); self.hosts.len()];
            while !done.load(Ordering::Relaxed) {
                for (host, seen) in seen.iter_mut().enumerate() {
                    let word = live_in(&self.base(host)).expect("something is always live");
                    if !seen.contains(&word) {
                        seen.push(word);
                    }
                }
            }
            seen
        };
        thread::scope(|scope| {
            let reader = scope.spawn(read);
            let stop = Stop(&done);
            let result = work();
            drop(stop);
            (result, reader.join().unwrap())
        })
    }
}

/// Stops the reader also when what they read during panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes the pages of a project say `word`.
pub fn fill(project: &Project, word: &str) {
    for page in PAGES {
        project.write(&format!("public/{page}"), &format!("{word}\n").repeat(100));
    }
}

/// The word that all pages of the live release say. The release is looked up once, as a request handler would; one
/// that was taken away meanwhile is looked up again.
fn live_in(base: &Path) -> Option<String> {
    loop {
        let link = fs::read_link(base.join("current")).ok()?;
        let release = base.join(&link);
        let pages = PAGES
            .map(|page| fs::read_to_string(release.join(page)).unwrap_or_else(|error| format!("({error})")));
        let whole = pages.iter().all(|page| *page == pages[0]) && release.join("same.txt").exists();
        if whole {
            return pages[0].lines().next().map(str::to_owned);
        }
        let still = fs::read_link(base.join("current")).ok();
        assert_ne!(still, Some(link), "a mixture is live: {pages:?}");
    }
}
