//! The docker commands, as values: what a dry run shows is what a step runs.

use std::{net::Ipv4Addr, path::Path};

use pop_deploy_plugin_api::protocol::Command;

/// The hole that the image goes into: `repository@digest`, or an image id where nothing was pushed.
pub(crate) const IMAGE: &str = "image";

/// The hole that the port goes into at which the proxy finds the container: one that is free when it is made.
pub(crate) const OWN_PORT: &str = "own-port";

/// `docker` with these words.
pub(crate) fn docker<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Command {
    Command::new(std::iter::once("docker".to_owned()).chain(words.into_iter().map(Into::into)))
}

/// Logs in; the password comes by standard input.
pub(crate) fn login(username: &str, registry: &str) -> Command {
    docker(["login", &format!("--username={username}"), "--password-stdin", registry])
}

/// Pushes one tag.
pub(crate) fn push(reference: &str) -> Command {
    docker(["push", reference])
}

/// Fetches an image by digest.
pub(crate) fn pull(reference: &str) -> Command {
    docker(["pull", reference])
}

/// Gives an image a name.
pub(crate) fn tag(image: &str, reference: &str) -> Command {
    docker(["tag", image, reference])
}

/// Takes a name of an image away, and the image with its last one. The untagged ones that it was made from stay: with
/// the engine's old builder somebody else's build may just be standing on them, and would fail.
pub(crate) fn untag(reference: &str) -> Command {
    docker(["image", "rm", "--no-prune", reference])
}

/// Asks the registry what a reference stands for. `insecure` is what the engine says of that registry.
pub(crate) fn manifest(reference: &str, insecure: Insecure) -> Command {
    let words: &[&str] = match insecure {
        Insecure::Yes => &["manifest", "inspect", "--insecure", "--verbose", reference],
        Insecure::No => &["manifest", "inspect", "--verbose", reference],
    };
    docker(words.iter().copied())
}

/// Whether the engine talks to a registry without asking who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Insecure {
    Yes,
    No,
}

impl Insecure {
    /// What holds for a registry unless the engine was told otherwise: it trusts every one on its own machine.
    pub(crate) fn by_default(host: &str) -> Self {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let local = name == "localhost" || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
        if local { Self::Yes } else { Self::No }
    }
}

/// What the engine knows of an image.
pub(crate) fn inspect_image(reference: &str) -> Command {
    docker(["image", "inspect", "--format={{json .}}", reference])
}

/// The tags of a repository on the engine, each with its image on a line.
pub(crate) fn tagged(repository: &str) -> Command {
    docker(["image", "ls", "--no-trunc", "--format={{.Tag}} {{.ID}}", repository])
}

/// What the engine knows of containers.
pub(crate) fn inspect<S: AsRef<str>>(containers: impl IntoIterator<Item = S>) -> Command {
    let words = ["container", "inspect"].map(str::to_owned);
    docker(words.into_iter().chain(containers.into_iter().map(|name| name.as_ref().to_owned())))
}

/// All containers, each on a line of JSON.
pub(crate) fn list() -> Command {
    docker([
        "ps",
        "--all",
        "--no-trunc",
        "--format={\"name\":{{json .Names}},\"state\":{{json .State}},\"app\":{{json (.Label \"pop-deploy.app\")}},\"ports\":{{json .Ports}}}",
    ])
}

/// The names of an app's containers that run.
pub(crate) fn running(app: &str) -> Command {
    docker(["ps", &format!("--filter=label=pop-deploy.app={app}"), "--format={{.Names}}"])
}

/// The engine itself.
pub(crate) fn info() -> Command {
    docker(["info", "--format={{json .}}"])
}

/// The end of a container's log.
pub(crate) fn logs(container: &str) -> Command {
    docker(["logs", "--tail=50", container])
}

/// Starts a container that is there.
pub(crate) fn start(container: &str) -> Command {
    docker(["start", container])
}

/// Stops a container, and kills it after `grace` seconds.
pub(crate) fn stop(container: &str, grace: u64) -> Command {
    docker(["stop", &format!("--time={grace}"), container])
}

/// What began and ended a container in the last `seconds`, in order: `kill` is the last word while it is being stopped.
pub(crate) fn ends_of(container: &str, seconds: u64) -> Command {
    docker([
        "events",
        &format!("--since={seconds}s"),
        // Times are whole seconds: until now would leave out what happened in this one.
        "--until=-1s",
        &format!("--filter=container={container}"),
        "--filter=event=kill",
        "--filter=event=die",
        "--filter=event=start",
        "--format={{.Action}}",
    ])
}

/// Removes a container, running or not, with the volumes that nobody named.
pub(crate) fn remove(container: &str) -> Command {
    docker(["rm", "--force", "--volumes", container])
}

/// Says when the engine starts a container again.
pub(crate) fn restart_policy(container: &str, policy: &str) -> Command {
    docker(["update", &format!("--restart={policy}"), container])
}

/// A build, with what it is told.
#[derive(Debug, Default)]
pub(crate) struct Build {
    pub(crate) words: Vec<String>,
}

impl Build {
    pub(crate) fn option(&mut self, name: &str, value: impl AsRef<str>) {
        self.words.push(format!("--{name}={}", value.as_ref()));
    }

    /// The command that sends `context` to the builder.
    pub(crate) fn command(self, context: &Path) -> Command {
        let context = context.display().to_string();
        docker(std::iter::once("build".to_owned()).chain(self.words).chain([context]))
    }
}
