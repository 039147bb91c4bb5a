//! The engine, as the user's own `docker` program reaches it: what it is, and what it holds.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, Finished, Process, Result, Session,
    protocol::{Command, Release},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    command::{self, Insecure},
    credentials::Credentials,
    labels::{self, Labels},
    platform::Platform,
};

/// How long a question may take: an engine or registry that says nothing for so long is as good as gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a container that is being stopped is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long the engine may take to stop a container, beside what that has for itself.
const SLACK: Duration = Duration::from_secs(5);

/// The way to the engine and to the registry.
pub(crate) struct Engine {
    pub(crate) session: Session,
    credentials: Option<Credentials>,
}

/// What the engine says of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Info {
    #[serde(rename = "ID", default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) server_version: String,
    #[serde(default, rename = "OSType")]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) docker_root_dir: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) server_errors: Vec<String>,
    #[serde(default)]
    registry_config: Option<RegistryConfig>,
    #[serde(default)]
    client_info: Option<ClientInfo>,
}

/// The docker program: what it says of itself since 23.0.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ClientInfo {
    #[serde(default)]
    version: String,
    #[serde(default)]
    context: String,
    #[serde(default)]
    plugins: Option<Vec<ClientPlugin>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ClientPlugin {
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RegistryConfig {
    #[serde(default)]
    index_configs: BTreeMap<String, Index>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    #[serde(default)]
    secure: bool,
}

/// Any container, as a list shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) app: String,
    #[serde(default)]
    pub(crate) ports: String,
}

/// A container, as `docker container inspect` tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Container {
    name: String,
    #[serde(default)]
    pub(crate) created: String,
    /// The image's id.
    pub(crate) image: String,
    pub(crate) state: State,
    #[serde(default)]
    pub(crate) restart_count: u64,
    config: ContainerConfig,
    host_config: HostConfig,
    network_settings: NetworkSettings,
}

/// How a container stands.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) running: bool,
    #[serde(default)]
    pub(crate) restarting: bool,
    #[serde(default)]
    pub(crate) exit_code: i64,
    #[serde(default, rename = "OOMKilled")]
    pub(crate) out_of_memory: bool,
    #[serde(default)]
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) health: Option<Health>,
}

/// What the image's own HEALTHCHECK says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) log: Option<Vec<HealthLog>>,
}

/// One run of a HEALTHCHECK.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HealthLog {
    #[serde(default)]
    pub(crate) exit_code: i64,
    #[serde(default)]
    pub(crate) output: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerConfig {
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(default)]
    healthcheck: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    restart_policy: RestartPolicy,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    #[serde(default)]
    host_ip: String,
    #[serde(default)]
    host_port: String,
}

/// An image, as the engine holds it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Image {
    pub(crate) id: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    repo_digests: Vec<String>,
    #[serde(default)]
    config: Option<ImageConfig>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfig {
    #[serde(default)]
    labels: Option<Labels>,
}

/// What a registry says of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manifest {
    /// It is there, with this digest.
    Digest(String),
    /// The registry answers, and has no such thing.
    Absent,
    /// The registry answers, and doesn't let us look.
    Refused(String),
    /// It doesn't answer.
    Unreachable(String),
}

impl Info {
    /// Whether the engine talks to that registry in clear, or without looking at its certificate.
    pub(crate) fn insecure(&self, host: &str) -> Insecure {
        let told = self.registry_config.as_ref().and_then(|config| config.index_configs.get(host));
        if told.is_some_and(|index| !index.secure) { Insecure::Yes } else { Insecure::by_default(host) }
    }

    /// Whether the docker program can build with BuildKit: up to 20.10 by itself, later with the plugin buildx.
    pub(crate) fn has_buildkit(&self) -> bool {
        let Some(client) = &self.client_info else { return true };
        let plugins = client.plugins.as_deref().unwrap_or_default();
        client.version.is_empty() || plugins.iter().any(|plugin| plugin.name == "buildx")
    }

    /// Whether the engine is on this machine, as far as can be told.
    pub(crate) fn is_here(&self) -> bool {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let context = self.client_info.as_ref().map_or("", |client| &client.context);
        (host.is_empty() && matches!(context, "" | "default")) || host.starts_with("unix:")
    }

    /// The engine's own platform, in the words of images.
    pub(crate) fn platform(&self) -> Platform {
        let (architecture, variant) = match self.architecture.as_str() {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", ""),
            "armv7l" => ("arm", "v7"),
            "armv6l" => ("arm", "v6"),
            "i686" => ("386", ""),
            other => (other, ""),
        };
        Platform::new(&self.os, architecture, variant)
    }
}

impl Container {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    fn labels(&self) -> Option<&Labels> {
        self.config.labels.as_ref()
    }

    /// The release that it runs, where a deployment of ours made it.
    pub(crate) fn release(&self) -> Option<Release> {
        self.labels().and_then(labels::release)
    }

    /// One of its labels.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels()?.get(name).map(String::as_str)
    }

    /// Whether the engine starts it again by itself: only what was verified is.
    pub(crate) fn restart_policy(&self) -> &str {
        &self.host_config.restart_policy.name
    }

    /// Whether its image has a HEALTHCHECK, and not one that only says there is none.
    pub(crate) fn has_healthcheck(&self) -> bool {
        let check = self.config.healthcheck.as_ref();
        check.and_then(|check| check["Test"][0].as_str()).is_some_and(|word| word != "NONE")
    }

    /// Where its port is published, as `host:port` to be reached from the engine's own machine.
    pub(crate) fn address(&self, port: u16) -> Option<String> {
        let bindings = self.network_settings.ports.as_ref()?.get(&format!("{port}/tcp"))?.as_ref()?;
        let binding = bindings.iter().find(|binding| !binding.host_ip.contains(':')).or(bindings.first())?;
        let host = match binding.host_ip.as_str() {
            "" | "0.0.0.0" => "127.0.0.1",
            ip => ip,
        };
        Some(format!("{host}:{}", binding.host_port))
    }
}

impl Image {
    /// The release that it is, where a deployment of ours built it to be pushed only.
    pub(crate) fn release(&self) -> Option<Release> {
        self.config.as_ref()?.labels.as_ref().and_then(labels::release)
    }

    /// What it is for.
    pub(crate) fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }

    /// Whether a registry gave it that digest.
    pub(crate) fn has_digest(&self, digest: &str) -> bool {
        self.repo_digests.iter().any(|name| name.rsplit_once('@').is_some_and(|(_, its)| its == digest))
    }
}

impl Engine {
    pub(crate) fn new(session: Session) -> Self {
        Self { session, credentials: None }
    }

    /// Uses these credentials for the registry from here on.
    pub(crate) fn with(&mut self, credentials: Credentials) {
        self.credentials = Some(credentials);
    }

    /// Whether a login of this session is in use.
    pub(crate) fn logged_in(&self) -> bool {
        self.credentials.is_some()
    }

    /// A command, with the login of this session where there is one.
    pub(crate) fn process(&self, command: &Command) -> Process {
        match &self.credentials {
            Some(credentials) => credentials.lend(Process::new(command)),
            None => Process::new(command),
        }
    }

    /// Runs a command that changes something, and reports what it says.
    ///
    /// # Errors
    /// It can't start, is cancelled, or ends with another exit code than 0.
    pub(crate) fn run(&self, command: &Command) -> Result<Finished> {
        self.process(command).run(&self.session)?.success()
    }

    /// Runs a command that only looks.
    ///
    /// # Errors
    /// It can't start, is cancelled, or takes too long.
    pub(crate) fn ask(&self, command: &Command) -> Result<Finished> {
        self.process(command).quiet().timeout(PATIENCE).run(&self.session)
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// [`ErrorKind::Preflight`](pop_deploy_plugin_api::ErrorKind::Preflight): there is no docker program, no engine,
    /// or no right to talk to it; which of them is said.
    pub(crate) fn info(&self) -> Result<Info> {
        let finished = self.ask(&command::info()).map_err(no_program)?;
        let words = finished.stderr.clone();
        let info: Info = match serde_json::from_str(finished.stdout.trim()) {
            Ok(info) => info,
            Err(_) => return Err(unreachable_engine(&words)),
        };
        if info.id.is_empty() || !info.server_errors.is_empty() {
            return Err(unreachable_engine(&[info.server_errors.join("\n"), words].join("\n")));
        }
        Ok(info)
    }

    /// Every container there is.
    ///
    /// # Errors
    /// The engine can't be read.
    pub(crate) fn list(&self) -> Result<Vec<Listed>> {
        let finished = self.ask(&command::list())?.success()?;
        finished.stdout.lines().map(|line| parsed(line, "docker ps")).collect()
    }

    /// The names of an app's containers that run.
    ///
    /// # Errors
    /// The engine can't be read.
    pub(crate) fn running(&self, app: &str) -> Result<Vec<String>> {
        let finished = self.ask(&command::running(app))?.success()?;
        Ok(finished.stdout.lines().map(str::to_owned).collect())
    }

    /// These containers; those that are gone are left out.
    ///
    /// # Errors
    /// The engine can't be read.
    pub(crate) fn containers<S: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Vec<Container>> {
        let names: Vec<_> = names.into_iter().collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let finished = self.ask(&command::inspect(names.iter().map(AsRef::as_ref)))?;
        if !finished.status.success() && !is_absent(&finished.stderr) {
            finished.success()?;
            return Ok(Vec::new());
        }
        parsed(&finished.stdout, "docker container inspect")
    }

    /// One container, where it is there.
    ///
    /// # Errors
    /// The engine can't be read.
    pub(crate) fn container(&self, name: &str) -> Result<Option<Container>> {
        Ok(self.containers([name])?.into_iter().next())
    }

    /// Whether a container that runs also goes on running. The engine stops it to the end although nobody waits for
    /// that any more: a run that was cancelled meanwhile finds it running still, for the `grace` seconds that it has.
    ///
    /// # Errors
    /// The engine can't be read.
    pub(crate) fn goes_on(&self, container: &str, grace: u64) -> Result<bool> {
        let patience = Duration::from_secs(grace).saturating_add(SLACK);
        let told = self.ask(&command::ends_of(container, patience.as_secs()))?.success()?;
        if !matches!(told.stdout.lines().next_back(), Some("kill" | "die")) {
            return Ok(true);
        }
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if !self.container(container)?.is_some_and(|there| there.state.running) {
                return Ok(false);
            }
            self.session.pause(LOOK)?;
        }
        Ok(true)
    }

    /// One image, where the engine holds it.
    ///
    /// # Errors
    /// The engine can't be read.
    pub(crate) fn image(&self, reference: &str) -> Result<Option<Image>> {
        let finished = self.ask(&command::inspect_image(reference))?;
        if !finished.status.success() && is_absent(&finished.stderr) {
            return Ok(None);
        }
        parsed(&finished.success()?.stdout, "docker image inspect").map(Some)
    }

    /// The tags of a repository on the engine, and the image that each stands for.
    ///
    /// # Errors
    /// The engine can't be read.
    pub(crate) fn tagged(&self, repository: &str) -> Result<BTreeMap<String, String>> {
        let finished = self.ask(&command::tagged(repository))?.success()?;
        let pair = |line: &str| line.split_once(' ').map(|(tag, id)| (tag.to_owned(), id.to_owned()));
        Ok(finished.stdout.lines().filter_map(pair).collect())
    }

    /// What the registry says of a reference.
    ///
    /// # Errors
    /// The docker program can't start, or the run is cancelled. What keeps the registry from answering is an answer.
    pub(crate) fn manifest(&self, command: &Command) -> Result<Manifest> {
        let finished = match self.ask(command) {
            Ok(finished) => finished,
            Err(error) if error.kind == pop_deploy_plugin_api::ErrorKind::Timeout => {
                return Ok(Manifest::Unreachable(error.message));
            }
            Err(error) => return Err(error),
        };
        if finished.status.success() {
            return digest(&finished.stdout).map(Manifest::Digest);
        }
        let words = finished.stderr.trim().to_owned();
        let lower = words.to_lowercase();
        let any = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
        Ok(if any(&["no such manifest", "manifest unknown", "name unknown", "not found"]) {
            Manifest::Absent
        } else if any(&["no basic auth", "unauthorized", "denied", "forbidden", "401", "403"]) {
            Manifest::Refused(words)
        } else {
            Manifest::Unreachable(words)
        })
    }

    /// The last lines that a container wrote, both streams.
    ///
    /// # Errors
    /// The engine can't be read.
    pub(crate) fn logs(&self, container: &str) -> Result<Vec<String>> {
        let finished = self.ask(&command::logs(container))?;
        if !finished.status.success() {
            return Ok(Vec::new());
        }
        Ok(finished.stdout.lines().chain(finished.stderr.lines()).map(str::to_owned).collect())
    }
}

/// The digest in a manifest as `docker manifest inspect --verbose` prints it. A list of several platforms has none in
/// there: it is told by the digests of its parts.
fn digest(text: &str) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Described {
        descriptor: Descriptor,
    }
    #[derive(Deserialize)]
    struct Descriptor {
        digest: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer {
        One(Described),
        Several(Vec<Described>),
    }
    match parsed(text, "docker manifest inspect")? {
        Answer::One(one) => Ok(one.descriptor.digest),
        Answer::Several(several) => {
            Ok(several.into_iter().map(|one| one.descriptor.digest).collect::<Vec<_>>().join(" "))
        }
    }
}

fn parsed<D: DeserializeOwned>(text: &str, program: &str) -> Result<D> {
    serde_json::from_str(text).map_err(|error| {
        Error::failed(format!("`{program}` answered strangely"))
            .because(&error)
            .hint("check which docker is in the PATH; 20.10 and later are known to work")
    })
}

fn is_absent(words: &str) -> bool {
    let words = words.to_lowercase();
    words.contains("no such") || words.contains("not found")
}

fn no_program(error: Error) -> Error {
    match error.message.starts_with("can't start") {
        true => Error { kind: pop_deploy_plugin_api::ErrorKind::Preflight, ..error }
            .hint("install the docker program, or put it into the PATH"),
        false => error,
    }
}

fn unreachable_engine(words: &str) -> Error {
    let (message, hint) = if words.contains("permission denied") {
        ("no permission to talk to the docker engine", "join the group `docker`, or run as a user who may")
    } else {
        ("the docker engine doesn't answer", "start it, or check DOCKER_HOST and `docker context ls`")
    };
    let mut error = Error::preflight(message).hint(hint);
    error.causes =
        words.lines().map(str::trim).filter(|line| !line.is_empty()).take(5).map(str::to_owned).collect();
    error
}
