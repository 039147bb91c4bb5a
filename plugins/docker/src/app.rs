//! A config that holds together: the app that a target builds, pushes and runs.

use std::path::{Component, Path, PathBuf};

use pop_deploy_plugin_api::{
    Error, Result, Session, health::Question, protocol::Release, template::Placeholders,
};

use crate::{
    config::{Config, Proxy, Run},
    platform::Platform,
    reference::{Repository, check_name, check_tag, name_from},
    runtime, service,
};

/// An app.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    /// Its name: of its containers, its service, and in labels.
    pub(crate) name: String,
    /// Where its image goes.
    pub(crate) repository: Repository,
}

/// The tags of one release's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tags {
    /// Those that carry the version: pushed before anything is switched.
    pub(crate) fixed: Vec<String>,
    /// Those that move from release to release: they move last.
    pub(crate) moving: Vec<String>,
    /// All of them, in the config's order.
    pub(crate) all: Vec<String>,
}

impl App {
    /// Checks the config by itself.
    ///
    /// # Errors
    /// Values that can't be right.
    pub(crate) fn new(config: Config, session: &Session) -> Result<Self> {
        let fallback = name_from(&session.project_name);
        let repository =
            Repository::new(&config.registry, config.image_name.as_deref().unwrap_or(&fallback))?;
        let named = config
            .run
            .as_ref()
            .map(|run| ("config.run.name", &run.name))
            .or(config.service.as_ref().map(|service| ("config.service.name", &service.name)));
        let name = named.and_then(|(_, name)| name.clone()).unwrap_or(fallback);
        check_name(named.map_or("project_name", |(key, _)| key), &name)?;
        if config.run.is_some() && config.service.is_some() {
            return Err(Error::config("`config` has both `run` and `service`")
                .hint("keep `run` for one engine, or `service` for a Swarm"));
        }
        check_inside("build_context", &config.build_context)?;
        check_inside("dockerfile", &config.dockerfile)?;
        check_build(&config)?;
        if let Some(health) = &config.health {
            health.check("config.health")?;
        }
        if let Some(canary) = &config.canary {
            canary.check("config.canary")?;
        }
        if let Some(service) = &config.service {
            service::check(service)?;
            service::check_room(service, &name)?;
        }
        if let Some(run) = &config.run {
            runtime::check(run, &config)?;
            check_reachable(run, &config)?;
        }
        Ok(Self { config, name, repository })
    }

    /// The container's section, where one engine runs it.
    pub(crate) fn run(&self) -> Option<&Run> {
        self.config.run.as_ref()
    }

    /// The proxy in front of the container.
    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.run()?.proxy.as_ref()
    }

    /// Whether a proxy names the tasks of its service.
    pub(crate) fn is_proxied_service(&self) -> bool {
        self.config.service.as_ref().is_some_and(|service| service.proxy.is_some())
    }

    /// Whether anything runs the image, or it is only built and pushed.
    pub(crate) fn runs(&self) -> bool {
        self.config.run.is_some() || self.config.service.is_some()
    }

    /// The platforms that the config names.
    pub(crate) fn platforms(&self) -> impl Iterator<Item = Platform> {
        self.config.platforms.iter().filter_map(|text| Platform::parse(text))
    }

    /// The container that a release of that id has.
    pub(crate) fn container(&self, id: &str) -> String {
        format!("{}-{id}", self.name)
    }

    /// The tags that `release` gets.
    ///
    /// # Errors
    /// A tag that docker doesn't take, or one with a version where there is none.
    pub(crate) fn tags(&self, release: &Release) -> Result<Tags> {
        let values = Placeholders::new(
            [("version", &release.version), ("commit", &release.commit)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.clone()?)))
                .chain([("id", release.id.clone())]),
        );
        let mut tags = Tags { fixed: Vec::new(), moving: Vec::new(), all: Vec::new() };
        for (index, template) in self.config.tags.iter().enumerate() {
            let key = format!("config.tags[{index}]");
            if template.contains("{{version}}") && release.version.is_none() {
                return Err(Error::config(format!("`{key}`: there is no version to put into `{template}`"))
                    .hint("name one with --version, or take the tag out"));
            }
            let tag = values.fill(&key, template)?;
            check_tag(&key, &tag)?;
            let kind = if tag == *template { &mut tags.moving } else { &mut tags.fixed };
            if !kind.contains(&tag) {
                kind.push(tag.clone());
                tags.all.push(tag);
            }
        }
        if tags.all.is_empty() {
            return Err(Error::config("`config.tags` is empty").hint("name one at least, such as latest"));
        }
        Ok(tags)
    }
}

/// Refuses a question that has nowhere to go: of a container that publishes nothing.
fn check_reachable(run: &Run, config: &Config) -> Result<()> {
    let asks_a_path = config
        .health
        .as_ref()
        .is_some_and(|health| matches!(health.question(), Question::Http(path) if path.starts_with('/')));
    if asks_a_path && run.proxy.is_none() && runtime::ports(run).all(|port| port.udp) {
        return Err(Error::config("`config.health.http` is a path, and the container publishes no port")
            .hint("publish one in `run.ports`, or ask by `command` or `docker`"));
    }
    Ok(())
}

fn check_build(config: &Config) -> Result<()> {
    for (index, platform) in config.platforms.iter().enumerate() {
        if Platform::parse(platform).is_none() {
            let platform = platform.escape_debug();
            return Err(Error::config(format!("`config.platforms[{index}]`: `{platform}` is no platform"))
                .hint("write it like linux/amd64"));
        }
    }
    for (name, value) in &config.build_args {
        check_variable("config.build_args", name)?;
        if value.secret().is_some() {
            check_lendable("config.build_args", name)?;
        }
    }
    if let Some(login) = &config.login
        && (login.username.is_empty() || login.username.chars().any(char::is_control))
    {
        return Err(Error::config("`config.login.username` is no user").hint("give the registry's user name"));
    }
    Ok(())
}

/// Refuses what no environment variable is called.
///
/// # Errors
/// That.
pub(crate) fn check_variable(key: &str, name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.starts_with(|c: char| fits(c) && !c.is_ascii_digit()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(Error::config(format!("`{key}`: `{}` is no name of a variable", name.escape_debug()))
        .hint("use letters, digits and `_`, beginning with a letter"))
}

/// Refuses a variable that the docker program itself would take for its own: secrets reach it by its environment.
///
/// # Errors
/// That.
pub(crate) fn check_lendable(key: &str, name: &str) -> Result<()> {
    let its_own = ["PATH", "HOME", "TMPDIR"].contains(&name);
    if its_own || ["DOCKER_", "LD_", "BUILDX_", "BUILDKIT_"].iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Error::config(format!(
            "`{key}`: `{name}` can't be a secret: docker reads that variable itself"
        ))
        .hint("give it another name, or write its value here"));
    }
    Ok(())
}

/// Refuses a path that leads out of the project.
fn check_inside(key: &str, path: &Path) -> Result<()> {
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let plain = !path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control);
    if inside && plain && !path.as_os_str().is_empty() {
        return Ok(());
    }
    let shown = path.display().to_string();
    Err(Error::config(format!("`config.{key}`: `{}` isn't within the project", shown.escape_debug()))
        .hint("give a path from the project's folder, without `..`"))
}

/// A path of the config as docker is given it: never to be taken for an option or an address.
pub(crate) fn local(path: &Path) -> PathBuf {
    match path.strip_prefix(".").unwrap_or(path) {
        here if here.as_os_str().is_empty() => PathBuf::from("."),
        path => Path::new(".").join(path),
    }
}
