//! The step that starts the container of a release: beside the old one, or in its place.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use pop_deploy_plugin_api::{
    Error, Result, Secret,
    protocol::{Effect, Event, Outcome, Phase, Receipt, Release, RunRequest, Step, Stream, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, Tags},
    command::{self, IMAGE, Insecure, OWN_PORT},
    config::Run,
    engine::{Container, Engine, Manifest},
    labels::APP,
    look::joined,
    push, runtime, steps,
};

/// `update`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Update {
    app: String,
    /// The container that is to run.
    pub(crate) container: String,
    /// Whether this step makes it, or it was kept.
    makes: bool,
    /// The container that gives way first, where two can't run at a time.
    stops: Option<String>,
    /// The containers of the app that ran when this was planned.
    #[serde(default)]
    known: Vec<String>,
    stop_grace: u64,
    /// The image that it runs, where that is known before.
    #[serde(default)]
    image: Option<String>,
    /// The variables that are secrets.
    secrets: BTreeMap<String, Secret>,
    /// The tags that must still stand for what was pushed.
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    insecure: bool,
}

/// What `update` leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Updated {
    /// The container that runs now.
    pub(crate) container: String,
    /// The image that it runs, by digest where it has one.
    pub(crate) image: String,
    /// When the old one was told to stop, in milliseconds since 1970; nothing where none was.
    #[serde(default)]
    pub(crate) stopped_at: Option<u64>,
}

/// How the container of a release comes to run.
pub(crate) enum Source<'a> {
    /// Of the image that this run builds.
    Built(&'a Tags, Insecure),
    /// Of an image that is there, by this name.
    Image(&'a str),
    /// It is there, stopped; this is its image.
    Kept(&'a str),
}

/// What a container comes to.
pub(crate) struct Place<'a> {
    /// The one that serves now.
    pub(crate) old: Option<&'a str>,
    /// All of the app that run.
    pub(crate) running: Vec<String>,
}

impl Update {
    /// The step that starts the container of `release` at that place.
    pub(crate) fn step(
        app: &App,
        run: &Run,
        release: &Release,
        source: &Source<'_>,
        place: &Place<'_>,
    ) -> Step {
        let old = place.old;
        let container = app.container(&release.id);
        let stops = old.filter(|_| run.proxy.is_none()).map(str::to_owned);
        let (references, insecure) = match source {
            Source::Built(tags, insecure) if app.config.push => {
                (tags.fixed.iter().map(|tag| app.repository.tagged(tag)).collect(), *insecure)
            }
            _ => (Vec::new(), Insecure::No),
        };
        let grace = runtime::grace(run);
        let mut commands: Vec<_> =
            references.iter().map(|reference| command::manifest(reference, insecure)).collect();
        commands.extend([command::running(&app.name), command::inspect([&container])]);
        commands.extend(stops.iter().map(|old| command::stop(old, grace)));
        commands.push(match source {
            Source::Built(..) => runtime::run_command(app, run, release, None),
            Source::Image(image) => runtime::run_command(app, run, release, Some(image)),
            Source::Kept(_) => command::start(&container),
        });
        let phase = if run.proxy.is_some() { Phase::Stage } else { Phase::Switch };
        let (effect, reason) = match (&stops, old) {
            (Some(old), _) => (Effect::Replace, format!("`{old}` gives way first: it is stopped, and kept")),
            (None, Some(old)) => (Effect::Create, format!("beside `{old}`, which goes on serving")),
            (None, None) => (Effect::Create, "nothing of this app runs yet".to_owned()),
        };
        let update = Self {
            app: app.name.clone(),
            container: container.clone(),
            makes: !matches!(source, Source::Kept(_)),
            stops,
            known: place.running.clone(),
            stop_grace: grace,
            image: match source {
                Source::Built(..) => None,
                Source::Image(image) | Source::Kept(image) => Some((*image).to_owned()),
            },
            secrets: runtime::secrets(run),
            references,
            insecure: insecure == Insecure::Yes,
        };
        let mut step = Step::new("update", phase, effect, format!("Starting {container}")).reason(reason);
        if update.makes {
            step.creates = vec![container];
        }
        step.commands = commands;
        step.data(update)
    }

    /// Starts the container.
    ///
    /// # Errors
    /// A tag was moved meanwhile; the engine can't start it.
    pub(crate) fn run(&self, app: &App, request: &RunRequest, engine: &Engine) -> Result<Receipt> {
        // A resumed run may have started it already.
        if let Some(there) = self.look(request, engine)? {
            self.check_ours(there.label(APP))?;
            if there.state.running {
                let updated = Updated {
                    container: self.container.clone(),
                    image: there.image.clone(),
                    stopped_at: self.make_room(engine)?,
                };
                return Ok(Receipt::new(Outcome::Unchanged, "runs already").data(updated));
            }
        }
        let Some(planned) = request.step.commands.last() else { return Err(steps::strange(&request.step)) };
        let (start, image) = match planned.holes.contains(IMAGE) {
            true => {
                let image = steps::image(app, request)?;
                (planned.fill(IMAGE, &image)?, image)
            }
            false => (planned.clone(), self.image.clone().unwrap_or_default()),
        };
        let start = match start.holes.contains(OWN_PORT) {
            true => start.fill(OWN_PORT, &free_port()?.to_string())?,
            false => start,
        };
        let stopped_at = self.make_room(engine)?;
        let mut process = engine.process(&start);
        for (name, secret) in &self.secrets {
            process = process.variable(name, secret.reveal(&engine.session)?.expose());
        }
        process.run(&engine.session)?.success().map_err(|error| self.explained(error))?;
        Ok(Receipt::new(Outcome::Changed, "").data(Updated {
            container: self.container.clone(),
            image,
            stopped_at,
        }))
    }

    /// Stops the container that gives way, and says when.
    fn make_room(&self, engine: &Engine) -> Result<Option<u64>> {
        let Some(old) = &self.stops else { return Ok(None) };
        let now = now();
        engine.run(&command::stop(old, self.stop_grace))?;
        Ok(Some(now))
    }

    /// The container, where it is there already. What else must be so is looked at meanwhile.
    fn look(&self, request: &RunRequest, engine: &Engine) -> Result<Option<Container>> {
        thread::scope(|scope| {
            let there = scope.spawn(|| engine.container(&self.container));
            let place = scope.spawn(|| self.check_place(engine));
            let tags = self.check_tags(request, engine);
            let (there, place) = (joined(there), joined(place));
            tags.and(place).and(there)
        })
    }

    fn explained(&self, error: Error) -> Error {
        let words = error.causes.join("\n");
        let hint = if words.contains("port is already allocated") || words.contains("address already in use")
        {
            "run it again, or free the port, or choose another in `run.ports`"
        } else if words.contains("exec format error") {
            "build for the engine's platform: see `platforms`"
        } else {
            "see what the engine says above, and correct `run`"
        };
        Error { message: format!("can't start `{}`", self.container), ..error }.hint(hint)
    }

    /// What was pushed must be what the tags stand for: somebody may have moved one.
    fn check_tags(&self, request: &RunRequest, engine: &Engine) -> Result<()> {
        let insecure = if self.insecure { Insecure::Yes } else { Insecure::No };
        for pushed in push::pushed(request) {
            let Some(reference) = self.references.iter().find(|it| it.ends_with(&format!(":{}", pushed.tag)))
            else {
                continue;
            };
            if let Manifest::Digest(now) = engine.manifest(&command::manifest(reference, insecure))?
                && now != pushed.digest
                && !now.contains(' ')
            {
                return Err(Error::failed(format!(
                    "`{reference}` was moved: {} was pushed, and it stands for {now}",
                    pushed.digest
                ))
                .hint("find out who else pushes that tag, and deploy again"));
            }
        }
        Ok(())
    }

    /// Nobody else may have deployed since this was planned: the lock of a run holds on its own machine alone.
    fn check_place(&self, engine: &Engine) -> Result<()> {
        let running = engine.running(&self.app)?;
        match running.iter().find(|name| **name != self.container && !self.known.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::failed(format!("`{name}` was started meanwhile, by somebody else"))
                .hint("see what it is, then run this again: it is planned anew")),
        }
    }

    fn check_ours(&self, app: Option<&str>) -> Result<()> {
        match app {
            Some(app) if app == self.app => Ok(()),
            _ => Err(Error::failed(format!("the container `{}` isn't ours", self.container))
                .hint("rename it, or choose another `run.name`")),
        }
    }

    /// Takes the new container away, and has the old one run again.
    ///
    /// # Errors
    /// The engine can't be read, or doesn't start the old one.
    pub(crate) fn undo(&self, engine: &Engine) -> Result<Undo> {
        let mut done = Vec::new();
        let old = self.stops.as_ref().map(|old| Ok((old, engine.container(old)?))).transpose()?;
        if let Some((old, None)) = old {
            // Nothing else is left that could serve: the new one stays as it is.
            return Ok(Undo::Unknown {
                why: format!("the container `{old}`, which was live, is gone; deploy its version again"),
            });
        }
        if let Some(new) = engine.container(&self.container)? {
            self.check_ours(new.label(APP))?;
            if self.makes {
                keep_logs(&self.container, engine)?;
                engine.run(&command::remove(&self.container))?;
                done.push(format!("removed `{}`", self.container));
            } else if new.state.running {
                engine.run(&command::stop(&self.container, self.stop_grace))?;
                done.push(format!("stopped `{}`", self.container));
            }
        }
        if let Some((old, Some(there))) = old
            && !(there.state.running && engine.goes_on(old, self.stop_grace)?)
        {
            engine.run(&command::start(old))?;
            done.push(format!("`{old}` runs again"));
        }
        Ok(match done.is_empty() {
            true => Undo::Nothing,
            false => Undo::Undone { summary: done.join(", ") },
        })
    }
}

/// Has the log of this run keep the last lines of a container that goes.
fn keep_logs(container: &str, engine: &Engine) -> Result<()> {
    for text in engine.logs(container)? {
        engine.session.emit(&Event::Output { stream: Stream::Stdout, text: format!("{container}: {text}") });
    }
    Ok(())
}

/// A port that nobody has on this machine's own address now; should somebody take it meanwhile, the engine says so.
fn free_port() -> Result<u16> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    Ok(port.map_err(|error| Error::failed("can't find a free port").because(&error))?.port())
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
