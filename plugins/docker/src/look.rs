//! One look at everything that a plan is made from: the engine, its containers, the registry. Asked at the same time,
//! since each question takes the docker program a while.

use std::{collections::BTreeMap, thread};

use pop_deploy_plugin_api::{Error, Result};

use crate::{
    app::App,
    command::{self, Insecure},
    engine::{Container, Engine, Info, Listed, Manifest},
    proxy::Upstream,
};

/// What was seen.
pub(crate) struct Sight {
    pub(crate) info: Info,
    /// Every container of the engine.
    pub(crate) all: Vec<Listed>,
    /// Those of the app, and one that is to be taken over.
    pub(crate) ours: Vec<Container>,
    /// Each tag, and what the registry says of it.
    pub(crate) manifests: Vec<(String, Manifest)>,
    /// Each tag's name, and the image that has it on the engine.
    pub(crate) images: BTreeMap<String, Option<String>>,
    /// What the proxy's file says.
    pub(crate) upstream: Option<String>,
    /// Whether the proxy may have read something else.
    pub(crate) is_unread: bool,
}

impl Sight {
    /// Looks; `tags` are those that a plan is about.
    ///
    /// # Errors
    /// There is no engine, or something can't be read.
    pub(crate) fn take(app: &App, engine: &Engine, tags: &[String]) -> Result<Self> {
        let (upstream, is_unread) = match app.proxy() {
            Some(proxy) => {
                let upstream = Upstream::new(proxy, &app.name, &engine.session)?;
                (upstream.read()?, upstream.is_unread()?)
            }
            None => (None, false),
        };
        thread::scope(|scope| {
            let containers = scope.spawn(|| containers(app, engine));
            let images = scope.spawn(|| images(app, engine, tags));
            let ask = |insecure| -> Vec<_> {
                let pushed = tags.iter().filter(|_| app.config.push);
                pushed.map(|tag| scope.spawn(move || manifest(app, engine, tag, insecure))).collect()
            };
            // The engine takes the longest to answer, and rarely has anything to say of the registry.
            let host = app.repository.host();
            let likely = Insecure::by_default(host);
            let early = ask(likely);
            // Its own answer says best why there is no other.
            let info = engine.info()?;
            let manifests = if info.insecure(host) == likely { early } else { ask(info.insecure(host)) };
            let (all, ours) = joined(containers)?;
            Ok(Self {
                info,
                all,
                ours,
                manifests: manifests.into_iter().map(joined).collect::<Result<_>>()?,
                images: joined(images)?,
                upstream,
                is_unread,
            })
        })
    }

    /// How the engine talks to the registry.
    pub(crate) fn insecure(&self, app: &App) -> Insecure {
        self.info.insecure(app.repository.host())
    }

    /// What the registry says a tag stands for.
    pub(crate) fn digest(&self, tag: &str) -> Option<String> {
        self.manifests.iter().find_map(|(name, manifest)| match manifest {
            Manifest::Digest(digest) if name == tag => Some(digest.clone()),
            _ => None,
        })
    }

    /// The container that serves.
    pub(crate) fn live(&self, app: &App) -> Option<&Container> {
        live(app, &self.ours, self.upstream.as_deref())
    }
}

/// The container that serves: the one that the proxy's file names, or did before it was started again; without a proxy the
/// one that runs, of several the one that was verified, of these the newest.
pub(crate) fn live<'c>(app: &App, ours: &'c [Container], upstream: Option<&str>) -> Option<&'c Container> {
    let running = || ours.iter().filter(|it| it.state.running);
    let verified = |it: &Container| it.restart_policy() != "no";
    match (app.proxy(), upstream) {
        // Of two the newer one is a canary. One that was started again has another port than the file says: it serves
        // nothing any more, and still is what gives way to the next.
        (Some(proxy), Some(text)) => running()
            .filter(|it| is_named(it, proxy.port, text))
            .min_by(|a, b| a.created.cmp(&b.created))
            .or_else(|| running().filter(|it| verified(it)).max_by(|a, b| a.created.cmp(&b.created))),
        _ => running().max_by(|a, b| (verified(a), &a.created).cmp(&(verified(b), &b.created))),
    }
}

/// Whether the proxy's file gives a container traffic.
pub(crate) fn is_named(container: &Container, port: u16, upstream: &str) -> bool {
    let address = container.address(port);
    address.is_some_and(|address| upstream.split([' ', '/', ';', '\n']).any(|word| word == address))
}

/// All containers, and those of the app in full.
pub(crate) fn containers(app: &App, engine: &Engine) -> Result<(Vec<Listed>, Vec<Container>)> {
    if app.run().is_none() {
        return Ok(Default::default());
    }
    let all = engine.list()?;
    let adopted = |it: &Listed| app.config.adopt && it.name == app.name;
    let names = all.iter().filter(|it| it.app == app.name || adopted(it)).map(|it| it.name.as_str());
    let ours = engine.containers(names)?;
    Ok((all, ours))
}

/// A tag, and what the registry says of it.
fn manifest(app: &App, engine: &Engine, tag: &str, insecure: Insecure) -> Result<(String, Manifest)> {
    let reference = app.repository.tagged(tag);
    Ok((tag.to_owned(), engine.manifest(&command::manifest(&reference, insecure))?))
}

/// The names that the app's image has by `tags`, and the images that have them on the engine.
fn images(app: &App, engine: &Engine, tags: &[String]) -> Result<BTreeMap<String, Option<String>>> {
    if tags.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tagged = engine.tagged(&app.repository.listed())?;
    Ok(tags.iter().map(|tag| (app.repository.tagged(tag), tagged.get(tag).cloned())).collect())
}

/// The answer of a thread that looked.
///
/// # Errors
/// That of the thread.
pub(crate) fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::failed("looking at the engine panicked")))
}
