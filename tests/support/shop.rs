//! A team's project with a docker target, on the engine and the registry that all tests of a file share.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command},
    sync::OnceLock,
    time::Duration,
};

pub(crate) use script::script;
use serde_json::{Value, json};

use crate::{
    engine::{Access, Engine, PASSWORD, Registry, free_port, missing, server},
    support::{Project, Said, wait_for},
};

#[path = "script.rs"]
mod script;

/// How the program in an image behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Well,
    /// Ends at once.
    Crash,
    /// Ends after five seconds.
    CrashLater,
    /// Answers, and says that it isn't well.
    Unwell,
}

impl Behaviour {
    fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Crash => "crash",
            Self::CrashLater => "crash-later",
            Self::Unwell => "unwell",
        }
    }
}

/// Everything that a dry run must leave as it is: of the app, or [of all](Shop::whole).
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    engine: Vec<String>,
    registry: Vec<PathBuf>,
    project: Vec<String>,
}

impl State {
    /// The engine and the registry alone.
    pub fn place(&self) -> (&[String], &[PathBuf]) {
        (&self.engine, &self.registry)
    }
}

/// A project and where it goes.
pub struct Shop {
    pub project: Project,
    pub engine: &'static Engine,
    pub registry: &'static Registry,
    pub name: &'static str,
}

impl Shop {
    /// A project that is called `name`, whose image has two tags, and which runs behind no proxy.
    ///
    /// # Errors
    /// Why there can be no engine here.
    pub fn open(name: &'static str) -> Result<Self, &'static str> {
        static PLACE: OnceLock<(Engine, Registry)> = OnceLock::new();
        if let Some(why) = missing() {
            return Err(why);
        }
        let (engine, registry) = PLACE.get_or_init(|| (Engine::start(), Registry::start(Access::Anybody)));
        let project = Project::empty();
        fs::copy(server(), project.path().join("server")).unwrap();
        let config = json!({
            "image_name": format!("acme/{name}"),
            "registry": registry.address,
            "tags": ["{{version}}", "latest"],
            "min_ready": 0.2,
            "health": {"http": "/healthz", "interval": 0.1, "start_period": 5, "retries": 2},
            "run": {"name": name},
        });
        let json = json!({
            "version": "1.0", "project_name": name, "history": [],
            "targets": {"docker": {"enabled": true, "primary": true, "config": config}},
        });
        project.deploy_json(&json.to_string());
        Ok(Self { project, engine, registry, name })
    }

    /// Changes the target's config.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        self.project.edit(|json| change(&mut json["targets"]["docker"]["config"]));
    }

    /// Publishes a fixed port, which is returned.
    pub fn fixed_port(&self) -> u16 {
        let port = free_port();
        self.edit(|config| {
            config["run"]["ports"] = json!([format!("127.0.0.1:{port}:8080")]);
            config["run"]["allow_downtime"] = json!(true);
        });
        port
    }

    /// Writes the Dockerfile of that version. What differs comes last: the rest is built once on each engine.
    pub fn dockerfile(&self, version: &str, behaviour: Behaviour) {
        let behaviour = behaviour.name();
        let check = match self.project.path().join("with-healthcheck").exists() {
            true => "HEALTHCHECK --interval=1s --retries=1 CMD [\"/server\", \"check\"]\n",
            false => "",
        };
        let name = self.name;
        self.project.write(
            "Dockerfile",
            &format!(
                "FROM scratch\nCOPY server /server\n{check}STOPSIGNAL SIGKILL\nENTRYPOINT [\"/server\"]\nENV APP={name} VERSION={version} BEHAVIOUR={behaviour}\n"
            ),
        );
        self.project.write(".dockerignore", ".pop-deploy\nhome\n");
    }

    /// Has its images ask themselves how they are.
    pub fn healthcheck(&self) {
        self.project.write("with-healthcheck", "");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command
            .env("DOCKER_HOST", self.engine.host())
            .env("DOCKER_CONFIG", self.project.path().join("home/.docker"))
            .env("REGISTRY_PASSWORD", PASSWORD)
            .env("WRONG_PASSWORD", "not-the-password")
            .env("PLANTED_KEY", "planted-key-7a1");
        command
    }

    /// The same with a docker that first does what a script says, which may end it; `$*` are its words.
    pub fn spied(&self, before: &str, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        let docker = format!("#!/bin/sh\n{before}\nPATH='{path}' exec docker \"$@\"\n");
        let spy = self.project.path().join("spy");
        fs::create_dir_all(&spy).unwrap();
        script(&spy.join("docker"), &docker);
        let mut command = self.command(arguments);
        command.env("PATH", format!("{}:{path}", spy.display()));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    pub fn must(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}\n{}{}", said.stdout, said.stderr);
        said
    }

    /// What the wrapper reads when it runs this.
    pub fn report(&self, arguments: &[&str]) -> Value {
        let mut command = self.command(arguments);
        command.env("CLAUDE_PLUGIN_DATA", self.project.path().join(".pop-deploy"));
        let said = Said::from(command.output().unwrap());
        serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", said.stdout, said.stderr))
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub fn deploy(&self, version: &str, behaviour: Behaviour) -> Said {
        self.dockerfile(version, behaviour);
        self.run(&["execute", "--yes", "--version", version])
    }

    pub fn must_deploy(&self, version: &str, behaviour: Behaviour) -> Said {
        self.dockerfile(version, behaviour);
        self.must(&["execute", "--yes", "--version", version])
    }

    /// What a visitor gets at that port.
    pub fn get(&self, port: u16) -> String {
        wait_for("an answer", || get(port, "/").ok())
    }

    /// The image's name, without a tag.
    pub fn image(&self) -> String {
        format!("{}/acme/{}", self.registry.address, self.name)
    }

    /// What the registry says a tag stands for.
    pub fn digest(&self, tag: &str) -> String {
        let reference = format!("{}:{tag}", self.image());
        let said = self.engine.must(&["manifest", "inspect", "--insecure", "--verbose", &reference]);
        let manifest: Value = serde_json::from_str(&said).unwrap();
        manifest["Descriptor"]["digest"].as_str().unwrap().to_owned()
    }

    /// Has the registry lose a tag and what it stands for.
    pub fn forget_registry(&self, tag: &str) {
        self.registry.forget(&format!("acme/{}", self.name), tag, &self.digest(tag));
    }

    /// All containers of the app, running or not.
    pub fn containers(&self) -> Vec<String> {
        let filter = format!("label=pop-deploy.app={}", self.name);
        let said = self.engine.must(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
        said.lines().map(str::to_owned).collect()
    }

    /// The one that runs.
    pub fn running(&self) -> String {
        let filter = format!("label=pop-deploy.app={}", self.name);
        self.engine.must(&["ps", "--filter", &filter, "--format", "{{.Names}}"])
    }

    /// The images that the engine has under the app's name.
    pub fn images(&self) -> String {
        self.engine.must(&["images", "--quiet", &self.image()])
    }

    pub fn state(&self) -> State {
        let of = |arguments: &[&str]| self.engine.must(arguments);
        let label = format!("label=pop-deploy.app={}", self.name);
        let containers = of(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]);
        let mut engine: Vec<_> = containers.lines().map(|id| of(&["inspect", id])).collect();
        engine.push(of(&[
            "images",
            "--no-trunc",
            "--format={{.Repository}} {{.Tag}} {{.Digest}} {{.ID}}",
            &self.image(),
        ]));
        engine.push(of(&["network", "ls", "--no-trunc"]));
        let history = self.project.read(".pop-deploy/deploy.json");
        let runs =
            fs::read_dir(self.project.path().join(".pop-deploy/deployments")).map_or(0, Iterator::count);
        State {
            engine,
            registry: self.registry.content(&format!("acme/{}", self.name)),
            project: vec![history, runs.to_string()],
        }
    }

    /// The whole engine with all its specs, and the catalogue of the registry: for a test that has both to itself.
    pub fn whole(&self) -> Vec<String> {
        let of = |arguments: &[&str]| self.engine.must(arguments);
        let images = of(&[
            "image",
            "ls",
            "--all",
            "--no-trunc",
            "--format={{.ID}} {{.Repository}} {{.Tag}} {{.Digest}}",
        ]);
        let mut whole: Vec<_> = images.lines().map(str::to_owned).collect();
        // Those of the same second come in any order.
        whole.sort();
        whole.push(format!("{:?}", self.registry.content("")));
        for kind in ["container", "image", "network", "volume"] {
            let all: &[&str] = if kind == "container" { &["--all"] } else { &[] };
            let listed = of(&[&[kind, "ls", "--quiet"], all].concat());
            let names: BTreeSet<_> = listed.lines().collect();
            whole.extend(names.into_iter().map(|name| of(&[kind, "inspect", name])));
        }
        whole
    }
}

/// Asks a server on this machine; the answer's body.
///
/// # Errors
/// It doesn't answer, or not with 200.
pub fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(answer)),
    }
}
