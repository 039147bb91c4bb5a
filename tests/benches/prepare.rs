//! Start-up: `execute --action prepare` against a script, and what 1,000 plugin files around it cost.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    run::{median, pop_deploy, timed},
    table::{Goal, alone, compare},
};

const ROUNDS: u64 = 21;
const PLUGIN_FILES: usize = 1_000;

pub(crate) fn measure(disk: &Path) {
    let project = Small::create(&disk.join("small"));
    let (bare, crowded) = (disk.join("no-plugins"), disk.join("plugins"));
    fs::create_dir(&bare).expect("the folder is made");
    fill(&crowded);
    // Once, unmeasured: the index of the crowd.
    timed(&mut project.prepare(&crowded));

    let ours = median(ROUNDS, |_| timed(&mut project.prepare(&crowded)).1);
    let interpreter = interpreter();
    let python = median(ROUNDS, |_| timed(&mut project.prepare_in_python(&interpreter)).1);
    compare(
        "prepare, 1,000 plugin files",
        ours,
        "a Python script that does the same",
        python,
        &Goal::Ratio(0.1),
    );
    let empty = median(ROUNDS, |_| timed(&mut project.prepare(&bare)).1);
    compare("prepare, 1,000 plugin files", ours, "the same, without the files", empty, &Goal::None);

    let dry_run = |plugins| median(ROUNDS, |_| timed(&mut project.dry_run(plugins)).1);
    let (with, without) = (dry_run(&crowded), dry_run(&bare));
    compare("dry run, 1,000 plugin files", with, "the same, without the files", without, &Goal::None);

    let cold = median(5, |_| {
        fs::remove_dir_all(project.home()).expect("the cache is removed");
        timed(&mut project.list(&crowded)).1
    });
    alone("plugin list of 1,000 files, cold", cold, &Goal::None);
    let warm = median(ROUNDS, |_| timed(&mut project.list(&crowded)).1);
    alone("plugin list of 1,000 files, warm", warm, &Goal::None);
}

/// A project of one page in a git repository.
struct Small(PathBuf);

impl Small {
    fn create(folder: &Path) -> Self {
        let data = folder.join(".claude/popkit");
        fs::create_dir_all(&data).expect("the data folder is made");
        fs::create_dir_all(folder.join("public")).expect("the source is made");
        fs::create_dir_all(folder.join("home")).expect("the home is made");
        fs::write(folder.join("public/index.html"), "<h1>Small</h1>\n").expect("the page is written");
        let config = serde_json::json!({
            "version": "1.0",
            "project_name": "small",
            "targets": { "site": {
                "type": "static-site", "enabled": true, "primary": true,
                "config": { "source": "public", "dir": "www" }
            } },
            "history": [
                { "timestamp": "2026-01-02T03:04:05Z", "target": "site", "version": "v0.9.0", "status": "success" }
            ]
        });
        fs::write(data.join("deploy.json"), config.to_string()).expect("deploy.json is written");
        for args in [
            &["init", "-q"][..],
            &["add", "public"],
            &["-c", "user.name=bench", "-c", "user.email=bench@site.test", "commit", "-qm", "one page"],
            &["tag", "v1.0.0"],
        ] {
            timed(Command::new("git").args(args).current_dir(folder));
        }
        Self(folder.to_owned())
    }

    fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    fn command(&self, plugins: &Path) -> Command {
        let mut command = pop_deploy(&self.home());
        command.arg("--plugin-dir").arg(plugins).current_dir(&self.0);
        command
    }

    fn prepare(&self, plugins: &Path) -> Command {
        let mut command = self.command(plugins);
        command.args(["execute", "--action", "prepare", "--dir", "."]);
        command
    }

    fn prepare_in_python(&self, interpreter: &str) -> Command {
        let mut command = Command::new(interpreter);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/benches/prepare.py");
        command.arg(script).arg(&self.0);
        command
    }

    fn dry_run(&self, plugins: &Path) -> Command {
        let mut command = self.command(plugins);
        command.args(["execute", "--dry-run"]);
        command
    }

    fn list(&self, plugins: &Path) -> Command {
        let mut command = self.command(plugins);
        command.args(["plugin", "list"]);
        command
    }
}

/// Python itself: a `python3` on the path may be a slow script in front of it.
fn interpreter() -> String {
    let (path, _) = timed(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]));
    String::from_utf8(path).expect("a path in UTF-8").trim().to_owned()
}

/// Copies of the real plugin, copies cut short, and what isn't a library at all.
fn fill(folder: &Path) {
    fs::create_dir(folder).expect("the folder is made");
    let beside = Path::new(env!("CARGO_BIN_EXE_pop-deploy")).parent().unwrap_or(Path::new("."));
    let real = fs::read(beside.join(format!("{DLL_PREFIX}pop_deploy_static_site{DLL_SUFFIX}")))
        .expect("`cargo build --release` put the plugin beside the executable");
    for number in 0..PLUGIN_FILES {
        let content = match number % 10 {
            0 => &real[..],
            1..6 => &real[..real.len().min(1_000 + number * 40)],
            _ => &b"#!/bin/sh\nexit 0\n"[..],
        };
        fs::write(folder.join(format!("{DLL_PREFIX}plugin_{number}{DLL_SUFFIX}")), content)
            .expect("the file is written");
    }
}
