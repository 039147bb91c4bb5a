//! The tools that are measured: each deploys the same folder, release after release.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::run::{pop_deploy, timed};

pub(crate) struct PopDeploy {
    project: PathBuf,
    version: u32,
}

impl PopDeploy {
    pub(crate) fn new(project: &Path) -> Self {
        Self { project: project.to_owned(), version: 0 }
    }

    /// Back to a project that was never deployed. Pruning old releases isn't measured: no peer does it.
    pub(crate) fn forget_everything(&mut self) {
        let data = self.project.join(".pop-deploy");
        remove(&data);
        remove(&self.project.join("www"));
        fs::create_dir_all(&data).expect("the data folder is made");
        let config = serde_json::json!({
            "version": "1.0",
            "project_name": "bench",
            "targets": { "site": {
                "type": "static-site", "enabled": true, "primary": true,
                "config": { "source": "public", "dir": "www", "keep": 1000 }
            } },
            "history": []
        });
        fs::write(data.join("deploy.json"), config.to_string()).expect("deploy.json is written");
    }

    pub(crate) fn deploy(&mut self) -> Duration {
        self.version += 1;
        let version = format!("1.{}.0", self.version);
        timed(self.command().args(["execute", "--yes", "--version", &version])).1
    }

    /// The whole command's time, and its switch steps'.
    pub(crate) fn roll_back(&self) -> (Duration, Vec<Duration>) {
        let (events, whole) = timed(self.command().args(["rollback", "--yes", "--json"]));
        let switches = String::from_utf8_lossy(&events)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["type"] == "step.finished" && event["phase"] == "switch")
            .filter_map(|event| event["duration_ms"].as_f64())
            .map(|ms| Duration::from_secs_f64(ms / 1e3))
            .collect();
        (whole, switches)
    }

    fn command(&self) -> Command {
        let mut command = pop_deploy(&self.project.join("home"));
        command.current_dir(&self.project);
        command
    }
}

/// A program with arguments that copies the source to a new release, linking to the one before where it can.
pub(crate) struct Peer {
    name: &'static str,
    source: PathBuf,
    releases: PathBuf,
    live: u32,
}

impl Peer {
    /// Those that are here.
    pub(crate) fn all(source: &Path, disk: &Path) -> Vec<Self> {
        let mut names = vec!["cp -a", "cp -al"];
        if Command::new("rsync").arg("--version").stdout(Stdio::null()).status().is_ok() {
            names.extend([
                "rsync -a --link-dest",
                "rsync -a --checksum --link-dest",
                "rsync -a --checksum --no-times --link-dest",
            ]);
        }
        let peer = |(number, name)| Self {
            name,
            source: source.to_owned(),
            releases: disk.join(format!("peer-{number}")),
            live: 0,
        };
        names.into_iter().enumerate().map(peer).collect()
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub(crate) fn forget_everything(&mut self) {
        remove(&self.releases);
        fs::create_dir(&self.releases).expect("the folder is made");
        self.live = 0;
    }

    /// Makes the next release; the one before the last goes, unmeasured.
    pub(crate) fn deploy(&mut self) -> Duration {
        let (old, live, new) =
            (self.release(self.live.wrapping_sub(1)), self.release(self.live), self.release(self.live + 1));
        self.live += 1;
        let mut words = self.name.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        for word in words {
            match word {
                "--link-dest" if live.exists() => command.arg(format!("--link-dest={}", live.display())),
                "--link-dest" => &mut command,
                _ => command.arg(word),
            };
        }
        match self.name.split(' ').next() {
            Some("rsync") => command.arg(self.source.join("")),
            _ => command.arg(&self.source),
        };
        let time = timed(command.arg(&new)).1;
        remove(&old);
        time
    }

    fn release(&self, number: u32) -> PathBuf {
        self.releases.join(number.to_string())
    }
}

fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", folder.display()),
        _ => {}
    }
}
