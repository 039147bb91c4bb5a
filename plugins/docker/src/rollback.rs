//! The plan of a rollback: nothing is built. The container was kept, or is made again of its image, by digest.

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result,
    protocol::{Change, Check, CheckStatus, Effect, Outcome, PastRelease, Phase, Plan, Receipt, Step},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    app::App,
    build::Built,
    checks, command,
    deploy::{facts, fingerprint, identity, pushes, running},
    engine::{Container, Engine, Manifest},
    look::Sight,
    published,
    push::Pushed,
    service::Swarm,
    steps,
    update::{Source, Updated},
};

/// `pull`, as its step keeps it: an image that only the registry has any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pull {
    image: String,
}

/// Plans to make the release `to` live again.
///
/// # Errors
/// [`ErrorKind::NoRelease`] when neither its container nor its image is anywhere.
pub(crate) fn plan(app: &App, engine: &Engine, to: &PastRelease) -> Result<Plan> {
    let release = &to.release;
    let tags = app.tags(release)?;
    let sight = Sight::take(app, engine, &tags.moving)?;
    let swarm = Swarm::take(app, engine)?;
    let identity = identity(app, &sight, swarm.as_ref());
    if let Some(other) = to.identity.as_ref().filter(|other| **other != identity) {
        return Err(Error::preflight(format!(
            "release {} went to `{other}`, and this target is `{identity}`",
            release.id
        ))
        .hint("set DOCKER_HOST or the names back to what they were, or deploy that version again"));
    }
    let live = sight.live(app);
    let container = app.container(&release.id);
    let kept = sight.ours.iter().find(|it| it.name() == container);
    let image = Artefact::find(app, engine, to, kept, &sight)?;
    let mut checked = checks::engine(app, &sight.info);
    checked.push(Check::pass("release", image.words(&container)));
    let mut unchecked = Vec::new();
    if app.config.push && !sight.manifests.is_empty() {
        checked.extend(checks::registry(app, &sight.manifests, &mut unchecked));
    }
    // The nodes of a Swarm fetch it themselves; to move a tag to it, it must be here.
    let moves = app.config.push && !tags.moving.is_empty();
    let mut steps: Vec<Step> = image.pull(app).filter(|_| swarm.is_none() || moves).into_iter().collect();
    if let (Some(swarm), Some(service)) = (&swarm, &app.config.service) {
        checked.extend(swarm.checks(app, service, &sight.info, Some(&image.name))?);
        steps.extend(swarm.steps(app, service, release, Some(&image.name), &engine.session)?);
    }
    if let Some(run) = app.run() {
        checked.push(checks::live(app, live));
        let source = match kept {
            Some(_) => Source::Kept(&image.name),
            None => Source::Image(&image.name),
        };
        steps.extend(running(app, run, engine, release, &source, live, &sight.ours)?);
    }
    if app.config.push {
        let phase = if app.runs() { Phase::Finalize } else { Phase::Switch };
        steps.extend(pushes(app, &tags.moving, &sight, phase, Some(&image.name)));
    }
    let ready = !checked.iter().any(|check| check.status == CheckStatus::Fail);
    let version = release.version.clone().unwrap_or_else(|| release.id.clone());
    Ok(Plan {
        identity,
        fingerprint: fingerprint(app),
        live: match &swarm {
            Some(swarm) => swarm.live(),
            None if app.runs() => live.and_then(Container::release),
            None => published::current(app, engine, &sight)?,
        },
        steps: if ready { steps } else { Vec::new() },
        changes: vec![Change {
            effect: Effect::Replace,
            what: app.name.clone(),
            detail: format!("{version} again"),
        }],
        summary: format!("{version} again, of {}", image.name),
        facts: facts(app, &tags),
        checked,
        unchecked,
    })
}

/// The image of a former release, and where it is.
struct Artefact {
    /// By digest, or by the id it has here.
    name: String,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A container of it was kept.
    Container,
    /// On the engine.
    Engine,
    /// Only in the registry.
    Registry,
}

impl Artefact {
    fn find(
        app: &App,
        engine: &Engine,
        to: &PastRelease,
        kept: Option<&Container>,
        sight: &Sight,
    ) -> Result<Self> {
        let digest = receipts::<Pushed>(to, "push:").next().map(|pushed| app.repository.at(&pushed.digest));
        let updated = receipts::<Updated>(to, "update").next().map(|updated| updated.image);
        let built = receipts::<Built>(to, "build").next().map(|built| built.image);
        if let Some(kept) = kept {
            let name = digest.unwrap_or_else(|| kept.image.clone());
            return Ok(Self { name, place: Place::Container });
        }
        let names: Vec<_> = [digest.clone(), updated, built].into_iter().flatten().collect();
        for name in names {
            if engine.image(&name)?.is_some() {
                return Ok(Self { name, place: Place::Engine });
            }
        }
        if let Some(name) = digest
            && let Manifest::Digest(_) = engine.manifest(&command::manifest(&name, sight.insecure(app)))?
        {
            return Ok(Self { name, place: Place::Registry });
        }
        Err(Error::new(
            ErrorKind::NoRelease,
            format!("neither a container nor the image of release {} is there any more", to.release.id),
        )
        .hint("choose another release, or deploy that version again"))
    }

    fn words(&self, container: &str) -> String {
        match self.place {
            Place::Container => format!("`{container}` was kept"),
            Place::Engine => format!("the engine has its image {}", self.name),
            Place::Registry => format!("the registry has its image {}", self.name),
        }
    }

    fn pull(&self, app: &App) -> Option<Step> {
        if self.place != Place::Registry {
            return None;
        }
        let mut step = Step::new("pull", Phase::Stage, Effect::Create, format!("Pulling {}", self.name))
            .reason("only the registry has it any more")
            .data(Pull { image: self.name.clone() });
        step.commands = steps::login(app).into_iter().chain([command::pull(&self.name)]).collect();
        Some(step)
    }
}

impl Pull {
    /// Fetches the image.
    ///
    /// # Errors
    /// The registry doesn't give it.
    pub(crate) fn run(&self, engine: &Engine) -> Result<Receipt> {
        engine.run(&command::pull(&self.image))?;
        Ok(Receipt::new(Outcome::Changed, ""))
    }
}

/// What the steps whose id begins so left behind.
fn receipts<'p, D: DeserializeOwned + 'p>(
    to: &'p PastRelease,
    step: &'p str,
) -> impl Iterator<Item = D> + 'p {
    let of_step = to.receipts.iter().filter(move |kept| kept.step.starts_with(step));
    of_step.filter_map(|kept| D::deserialize(&kept.receipt.data).ok())
}
