//! A user's day in a temporary folder: a project, the real binary, and what one sees of it.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

mod events;
mod skipped;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

pub(crate) use self::skipped::skipped;

/// A project with a static site, in a folder of its own.
pub struct Project {
    folder: tempfile::TempDir,
    /// Where its programs are looked for, where that isn't as usual.
    pub search_path: Option<OsString>,
}

/// How a command ended, and what it said.
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Said {
    /// Whatever a test does, the events that it sees are held against their schema.
    fn from(output: Output) -> Self {
        let said = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        events::check(&said.stdout);
        said
    }
}

impl Project {
    /// A project with two pages in `public` and a target `docs` that goes to `www`.
    pub fn new() -> Self {
        let project = Self::empty();
        project.write("public/index.html", "<h1>one</h1>");
        project.write("public/about.html", "<p>about</p>");
        project.config(r#"{"source": "public", "dir": "www"}"#);
        project
    }

    /// A folder with nothing in it.
    pub fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("project-").tempdir().unwrap();
        Self { folder, search_path: None }
    }

    /// Where the project is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// Writes deploy.json with one target `docs` of this config.
    pub fn config(&self, config: &str) {
        let json = format!(
            r#"{{"version": "1.0", "project_name": "handbook", "targets": {{"docs": {{"type": "static-site", "enabled": true, "primary": true, "config": {config}}}}}, "history": []}}"#
        );
        self.deploy_json(&json);
    }

    /// Writes deploy.json whole.
    pub fn deploy_json(&self, json: &str) {
        self.write(".pop-deploy/deploy.json", json);
    }

    /// Changes a part of deploy.json.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut json = serde_json::from_str(&self.read(".pop-deploy/deploy.json")).unwrap();
        change(&mut json);
        self.deploy_json(&format!("{json:#}"));
    }

    /// Has a shell line run at this point of every run.
    pub fn hook(&self, point: &str, line: &str) {
        self.edit(|json| json["hooks"][point] = serde_json::json!({"command": line, "shell": true}));
    }

    /// Makes this the first page, and deploys the project in that version.
    pub fn deploy(&self, version: &str, page: &str) {
        self.write("public/index.html", page);
        self.must(&["execute", "--yes", "--version", version]);
    }

    /// The first page as a reader sees it.
    pub fn page(&self) -> String {
        self.read("www/current/index.html")
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap_or_else(|error| format!("({error})"))
    }

    /// The history records in deploy.json.
    pub fn history(&self) -> Vec<Value> {
        let json: Value = serde_json::from_str(&self.read(".pop-deploy/deploy.json")).unwrap();
        json["history"].as_array().cloned().unwrap_or_default()
    }

    /// The command, ready to run in the project, with a home of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_through(&[], arguments)
    }

    /// The same, by another program that becomes it.
    pub fn command_through(&self, other: &[&str], arguments: &[&str]) -> Command {
        let words = [other, &[env!("CARGO_BIN_EXE_pop-deploy")], arguments].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(self.path())
            .env("HOME", self.path().join("home"))
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("POP_DEPLOY_PLUGIN_PATH")
            .env_remove("CLAUDE_PLUGIN_DATA")
            .env_remove("GITHUB_RUN_ID")
            .env_remove("CI")
            .env_remove("SSH_AUTH_SOCK")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(path) = &self.search_path {
            command.env("PATH", path);
        }
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs it; it must succeed.
    pub fn must(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}\n{}{}", said.stdout, said.stderr);
        said
    }

    /// Runs it and shows it as its user sees it, with what differs from run to run blotted out.
    pub fn see(&self, arguments: &[&str]) -> String {
        self.show(&self.run(arguments))
    }

    /// As [`see`](Self::see), with columns two spaces apart: how wide they are depends on names of this machine.
    pub fn see_table(&self, arguments: &[&str]) -> String {
        let mut seen = self.see(arguments);
        while seen.contains("   ") {
            seen = seen.replace("   ", "  ");
        }
        seen
    }

    /// What was said as its user sees it, with what differs from run to run blotted out.
    pub fn show(&self, said: &Said) -> String {
        let code = said.code.map_or("a signal".to_owned(), |code| code.to_string());
        let mut seen = self.steady(&said.stdout);
        if !said.stderr.is_empty() {
            seen.push_str(&format!("--- stderr\n{}", self.steady(&said.stderr)));
        }
        seen + &format!("--- exit {code}\n")
    }

    /// Starts it and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Has a run stop at this point until a file `go` is there; [`wait_at_gate`](Self::wait_at_gate) sees it arrive.
    pub fn gate(&self, point: &str) {
        self.hook(point, "echo $$ > at_gate; while [ ! -e go ]; do sleep 0.02; done");
    }

    /// What the journals of all its runs say so far.
    pub fn journals(&self) -> String {
        let runs = fs::read_dir(self.path().join(".pop-deploy/deployments")).into_iter().flatten().flatten();
        runs.filter_map(|run| fs::read_to_string(run.path().join("journal.jsonl")).ok()).collect()
    }

    /// Waits until a run is at the [gate](Self::gate).
    pub fn wait_at_gate(&self) {
        wait_for("the gate", || self.path().join("at_gate").exists().then_some(()));
    }

    /// Every file, link and folder below `path`, with its content: to compare byte for byte.
    pub fn snapshot(&self, path: &str) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        visit(&self.path().join(path), &mut found);
        found
    }

    /// Durations, ids, times and the project's folder, blotted out.
    pub fn steady(&self, text: &str) -> String {
        let beside = Path::new(env!("CARGO_BIN_EXE_pop-deploy")).parent().unwrap();
        let text = text
            .replace(&self.path().display().to_string(), "[project]")
            .replace(&beside.display().to_string(), "[bin]")
            .replace(&beside.parent().unwrap().display().to_string(), "[prefix]");
        let mut steady = String::new();
        for line in text.lines() {
            steady.push_str(steady_line(line).trim_end());
            steady.push('\n');
        }
        steady
    }
}

fn steady_line(line: &str) -> String {
    line.split(' ').map(steady_word).collect::<Vec<_>>().join(" ")
}

fn steady_word(word: &str) -> String {
    let inner = word.trim_matches(['(', ')', ',', ':', ';']);
    let is_duration =
        inner.strip_suffix('s').is_some_and(|number| number.contains('.') && number.parse::<f64>().is_ok());
    if is_duration {
        return word.replace(inner, "[t]");
    }
    // The free space of a disk; nothing in a test has so many digits.
    if inner.len() >= 10 && inner.contains(',') && inner.chars().all(|c| c.is_ascii_digit() || c == ',') {
        return word.replace(inner, "[n]");
    }
    if inner.contains('@') {
        return word.replace(inner, "[actor]");
    }
    if inner.get(..11).is_some_and(|day| is_like(day, "0000-00-00T")) {
        return word.replace(inner, "[time]");
    }
    if is_like(inner, "0000-00-00") {
        return word.replace(inner, "[date]");
    }
    if is_like(inner, "00:00:00") {
        return word.replace(inner, "[time]");
    }
    if let Some(at) = word.find("deploy-20") {
        let end = word[at..]
            .char_indices()
            .skip(7)
            .find(|(_, c)| !(c.is_ascii_digit() || *c == '-'))
            .map_or(word.len(), |(index, _)| at + index);
        return format!("{}[id]{}", &word[..at], &word[end..]);
    }
    word.to_owned()
}

/// Whether `text` has digits where `form` has zeros, and the same everywhere else.
fn is_like(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text
            .chars()
            .zip(form.chars())
            .all(|(c, form)| if form == '0' { c.is_ascii_digit() } else { c == form })
}

fn visit(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    let content = if meta.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            visit(&entry.unwrap().path(), found);
        }
        "folder".to_owned()
    } else {
        use std::os::unix::fs::MetadataExt as _;
        format!("{:o} {} {:?}", meta.mode(), meta.mtime(), fs::read(path).unwrap())
    };
    found.insert(path.to_owned(), content);
}

/// Both streams, for a look at what was said.
pub fn all(said: &Said) -> String {
    format!("{}{}", said.stdout, said.stderr)
}

/// Asks until there is an answer.
pub fn wait_for<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}: waited in vain");
        thread::sleep(pause);
        // Asking may be dear: it leaves some of the machine to what is waited for.
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Waits until a run has another name than one that has just begun in another folder.
pub fn another_second() {
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = second();
    wait_for("another second", || (second() != now).then_some(()));
}

/// The worker process of a run.
pub fn worker_of(run: &Child) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap_or_default();
    let all_threads = fs::read_dir(format!("/proc/{}/task", run.id()))
        .ok()?
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: String = std::iter::once(children).chain(all_threads).collect::<Vec<_>>().join(" ");
    let is_worker = |pid: &u32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.contains("__worker")
    };
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_worker)
}
