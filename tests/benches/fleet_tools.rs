//! The tools that are measured over ssh: each brings the same folder to the same hosts, release after release.

#![allow(clippy::print_stdout, reason = "the benchmark's output")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    run::{pop_deploy, timed},
    sshd::{Host, Lab, program},
};

/// How much of a tool's time ours may take at most.
#[derive(Clone, Copy, Default)]
pub(crate) struct Goals {
    pub(crate) first: Option<f64>,
    pub(crate) later: Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ours,
    /// What the goals are about: one connection for the files, one for the link.
    Rsync,
    /// The same, with what arrived written out to the disk before the link is switched, as ours has it.
    RsyncSynced,
    /// The first over one connection, which a knowing user would set up.
    RsyncOverMaster,
    Ansible,
    Capistrano,
}

/// A tool with a place for its own files.
pub(crate) struct Tool {
    kind: Kind,
    folder: PathBuf,
    source: PathBuf,
    lab: PathBuf,
    search_path: std::ffi::OsString,
    hosts: Vec<(String, PathBuf)>,
    release: u32,
    said: Vec<u8>,
}

impl Tool {
    /// Ours, and those that can be had here.
    pub(crate) fn all(lab: &Lab, hosts: &[Host], source: &Path) -> Vec<Self> {
        let mut kinds = vec![Kind::Ours];
        if program("rsync").is_some() {
            kinds.extend([Kind::Rsync, Kind::RsyncSynced, Kind::RsyncOverMaster]);
        }
        match ansible() {
            Some(_) => kinds.push(Kind::Ansible),
            None => println!("Ansible: not to be had here"),
        }
        match program("cap").and(program("git")) {
            Some(_) => kinds.push(Kind::Capistrano),
            None => println!("Capistrano: not to be had here"),
        }
        let tool = |kind: Kind| Self {
            kind,
            folder: lab.path().join(format!("tool-{}", kind as u8)),
            source: source.to_owned(),
            lab: lab.path().to_owned(),
            search_path: lab.search_path(),
            hosts: hosts.iter().map(|host| (host.name.clone(), host.srv())).collect(),
            release: 0,
            said: Vec::new(),
        };
        kinds.into_iter().map(tool).collect()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ours => "pop-deploy",
            Kind::Rsync => "rsync -a --checksum --link-dest, ssh ln",
            Kind::RsyncSynced => "the same, written out to the disk",
            Kind::RsyncOverMaster => "rsync over one connection",
            Kind::Ansible => "Ansible: unarchive, link",
            Kind::Capistrano => "Capistrano: git, link",
        }
    }

    pub(crate) fn goals(&self) -> Goals {
        match self.kind {
            Kind::Ours | Kind::RsyncSynced | Kind::RsyncOverMaster => Goals::default(),
            Kind::Rsync => Goals { first: Some(1.0), later: Some(0.6) },
            Kind::Ansible => Goals { first: Some(0.2), later: Some(0.2) },
            Kind::Capistrano => Goals { first: Some(1.0 / 3.0), later: Some(1.0 / 3.0) },
        }
    }

    /// Back to hosts that never saw a release.
    pub(crate) fn forget_everything(&mut self) {
        for (_, srv) in &self.hosts {
            remove(&srv.join(self.base_name()));
        }
        remove(&self.folder);
        for folder in [&self.folder, &self.lab.join("masters")] {
            fs::create_dir_all(folder).expect("the folder is made");
        }
        match self.kind {
            Kind::Ours => self.write_project(),
            Kind::Ansible => self.write_playbook(),
            Kind::Capistrano => self.write_capfile(),
            Kind::Rsync | Kind::RsyncSynced | Kind::RsyncOverMaster => {}
        }
        self.release = 0;
    }

    /// Brings the source, as it is now, to all hosts.
    pub(crate) fn deploy(&mut self) -> Duration {
        if self.kind == Kind::Capistrano {
            // What people commit before they deploy isn't measured.
            self.commit();
        }
        self.release += 1;
        let (said, time) = timed(&mut self.command());
        self.said = said;
        self.close_masters();
        time
    }

    /// What our last run said about them.
    pub(crate) fn round_trips(&self) -> String {
        let said = String::from_utf8_lossy(&self.said);
        let events = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut most = None;
        for event in events {
            largest(&event, "round_trips", &mut most);
        }
        match most {
            Some(most) => {
                format!("round trips: {most} a host; at most 8: {}", if most <= 8 { "met" } else { "missed" })
            }
            None => "round trips: the run reported none".to_owned(),
        }
    }

    fn base_name(&self) -> String {
        format!("base-{}", self.kind as u8)
    }

    /// The base, which has the same path on every host.
    fn base(&self) -> PathBuf {
        self.lab.join("app").join(self.base_name())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|(name, _)| name.as_str())
    }

    fn command(&self) -> Command {
        let mut command = match self.kind {
            Kind::Ours => {
                let mut command = pop_deploy(&self.folder.join("home"));
                let version = format!("1.{}.0", self.release);
                command.args(["execute", "--yes", "--json", "--version", &version]);
                command
            }
            Kind::Rsync | Kind::RsyncSynced | Kind::RsyncOverMaster => self.rsync(),
            Kind::Ansible => {
                let mut command = Command::new("sh");
                let line =
                    "tar -cf release.tar -C \"$1\" . && exec \"$2\" -i hosts -e release=\"$3\" playbook.yml";
                command
                    .args(["-ec", line, "sh"])
                    .arg(&self.source)
                    .args(ansible())
                    .arg(self.release.to_string());
                command
            }
            Kind::Capistrano => {
                let mut command = Command::new("cap");
                command.args(["production", "deploy"]);
                command
            }
        };
        command.env("PATH", &self.search_path).env_remove("SSH_AUTH_SOCK").current_dir(&self.folder);
        command
    }

    /// All hosts at once: `$1` the source, `$2` the base, `$3` the release, `$4` what opens connections, `$5` what is run
    /// there before the link is made, then the hosts.
    fn rsync(&self) -> Command {
        let line = r#"
            source=$1 base=$2 new=$3 old=$(($3 - 1)) ssh=$4 before=$5; shift 5
            jobs=
            for host; do
                {
                    rsync -e "$ssh" -a --checksum --mkpath --link-dest="../$old" "$source/" "$host:$base/releases/$new/" &&
                    $ssh "$host" "$before && ln -s releases/$new $base/next && mv -T $base/next $base/current"
                } >"said-$host" 2>&1 &
                jobs="$jobs $!"
            done
            for job in $jobs; do wait "$job" || { cat said-* >&2; exit 1; }; done
        "#;
        let ssh = match self.kind {
            Kind::RsyncOverMaster => {
                // By the host's short name: the whole path of a socket has to be short.
                format!(
                    "ssh -o ControlMaster=auto -o ControlPersist=30 -o ControlPath={}/masters/%n",
                    self.lab.display()
                )
            }
            _ => "ssh".to_owned(),
        };
        let mut command = Command::new("sh");
        command.args(["-c", line, "sh"]).arg(&self.source).arg(self.base());
        let before = match self.kind {
            Kind::RsyncSynced => format!("sync -f {}", self.base().display()),
            _ => "true".to_owned(),
        };
        command.arg(self.release.to_string()).args([ssh, before]).args(self.names());
        command
    }

    /// Connections that stay open would serve the next run.
    fn close_masters(&self) {
        if matches!(self.kind, Kind::RsyncOverMaster | Kind::Ansible) {
            for entry in fs::read_dir(self.lab.join("masters")).into_iter().flatten().flatten() {
                let control = format!("ControlPath={}", entry.path().display());
                let mut exit = Command::new("ssh");
                exit.args(["-o", &control, "-O", "exit", "host"]).stdout(Stdio::null()).stderr(Stdio::null());
                exit.status().expect("ssh starts");
            }
        }
    }

    fn write_project(&self) {
        let config = json!({
            "version": "1.0",
            "project_name": "bench",
            "targets": { "web": { "type": "ssh", "enabled": true, "primary": true, "config": {
                "hosts": self.names().collect::<Vec<_>>(), "base": self.base(), "source": self.source, "keep": 1000
            } } },
            "history": []
        });
        let data = self.folder.join(".pop-deploy");
        fs::create_dir(&data).expect("the data folder is made");
        fs::write(data.join("deploy.json"), config.to_string()).expect("deploy.json is written");
    }

    /// What its documentation calls fast: pipelining, no facts, as many forks as hosts, one archive.
    fn write_playbook(&self) {
        let settings = format!(
            "[defaults]\nforks = 16\ngathering = explicit\nhost_key_checking = False\n[ssh_connection]\npipelining = True\n\
             ssh_args = -o ControlMaster=auto -o ControlPersist=30s\ncontrol_path_dir = {}/masters\n",
            self.lab.display()
        );
        let base = self.base();
        let release = format!("{}/releases/{{{{ release }}}}", base.display());
        let link = format!(
            "ln -s releases/{{{{ release }}}} {0}/next && mv -T {0}/next {0}/current",
            base.display()
        );
        let playbook = json!([{ "hosts": "all", "gather_facts": false, "tasks": [
            { "file": { "path": release, "state": "directory" } },
            { "unarchive": { "src": "release.tar", "dest": release } },
            { "shell": link },
        ] }]);
        let python = "ansible_python_interpreter=/usr/bin/python3";
        let hosts: String = self.names().map(|name| format!("{name} {python}\n")).collect();
        for (file, text) in
            [("ansible.cfg", settings), ("playbook.yml", playbook.to_string()), ("hosts", hosts)]
        {
            fs::write(self.folder.join(file), text).expect("the file is written");
        }
    }

    /// A repository that the hosts fetch from by path: no other way is faster.
    fn write_capfile(&self) {
        let capfile = "require 'capistrano/setup'\nrequire 'capistrano/deploy'\nrequire 'capistrano/scm/git'\n\
                       install_plugin Capistrano::SCM::Git\n";
        let deploy = format!(
            "set :application, 'bench'\nset :repo_url, '{0}/repository'\nset :branch, 'main'\nset :deploy_to, '{1}'\n\
             set :keep_releases, 1000\nset :ssh_options, {{ config: '{2}/ssh_config' }}\n\
             set :git_wrapper_path, '{1}/git-ssh.sh'\n",
            self.folder.display(),
            self.base().display(),
            self.lab.display(),
        );
        let stage: String = self.names().map(|name| format!("server '{name}', roles: %w[app]\n")).collect();
        fs::create_dir_all(self.folder.join("config/deploy")).expect("the folder is made");
        for (file, text) in
            [("Capfile", capfile), ("config/deploy.rb", &deploy), ("config/deploy/production.rb", &stage)]
        {
            fs::write(self.folder.join(file), text).expect("the file is written");
        }
        self.git(&["init", "-q", "-b", "main", "."]);
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&[
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@localhost",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "x",
        ]);
    }

    fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(self.folder.join("repository")).arg("--work-tree").arg(&self.source);
        timed(git.args(arguments).current_dir(&self.source));
    }
}

/// `ansible-playbook`: what is in PATH, or what pip brings into a folder of ours.
fn ansible() -> Option<PathBuf> {
    if let Some(found) = program("ansible-playbook") {
        return Some(found);
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ansible");
    let playbook = venv.join("bin/ansible-playbook");
    let quiet = |command: &mut Command| {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let there = playbook.is_file()
        || quiet(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            && quiet(Command::new(venv.join("bin/pip")).args(["install", "-q", "ansible-core"]));
    there.then_some(playbook)
}

/// The largest number under `key`, anywhere in `value`.
fn largest(value: &Value, key: &str, most: &mut Option<u64>) {
    match value {
        Value::Object(object) => {
            *most = object.get(key).and_then(Value::as_u64).max(*most);
            object.values().for_each(|value| largest(value, key, most));
        }
        Value::Array(array) => array.iter().for_each(|value| largest(value, key, most)),
        _ => {}
    }
}

fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", folder.display()),
        _ => {}
    }
}
