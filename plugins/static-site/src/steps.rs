//! The steps of a deployment and of a rollback, as they stand in plans, and how each runs and is taken back.
//!
//! Step data is journaled, so it is small: ids, digests, what was before. Everything else is in memory, or on
//! the target for a process that never saw the plan.

use std::{fs, io, path::PathBuf};

use pop_deploy_plugin_api::{
    Error, ErrorKind, IoContext as _, Process, Result, Session,
    protocol::{Effect, Outcome, Phase, Receipt, Release, RunRequest, Step, Undo},
    tree::now,
    words::{bytes, counted, grouped},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    checks,
    config::Site,
    deploy,
    inspect::inspect,
    lock::{Lock, Owner},
    manifest::{Manifest, heads},
    pages, retention,
    stage::{self, Prepared},
    webroot::{Current, Webroot, absent},
};

/// Reads what a step was planned with.
///
/// # Errors
/// Another version of the plugin planned it.
pub(crate) fn data<D: DeserializeOwned>(step: &Step) -> Result<D> {
    D::deserialize(&step.data).map_err(|error| {
        Error::failed(format!("the step `{}` was planned by another version of the plugin", step.id))
            .because(&error)
            .hint("use the version that planned it, or plan again")
    })
}

/// `lock`: takes the web root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Locking {
    /// What is live.
    current: Current,
    /// The folders that aren't there yet, outermost first: made here, removed again by undo.
    #[serde(default)]
    missing: Vec<PathBuf>,
    /// Whether nobody owns the web root yet.
    #[serde(default)]
    ownerless: bool,
}

impl Locking {
    pub(crate) fn new(webroot: &Webroot, current: &Current) -> Result<Self> {
        let ownerless = absent(fs::metadata(webroot.owner())).at("look at", &webroot.owner())?.is_none();
        Ok(Self { current: current.clone(), missing: webroot.missing_folders(), ownerless })
    }

    pub(crate) fn step(&self, webroot: &Webroot) -> Step {
        let base = webroot.base.display();
        let (effect, title) = match self.missing.contains(&webroot.base) {
            true => (Effect::Create, format!("Making and locking {base}")),
            false => (Effect::None, format!("Locking {base}")),
        };
        let mut step = Step::new("lock", Phase::Preflight, effect, title)
            .reason("one deployment at a time, and what is live must be what was planned with");
        step.creates = self.missing.iter().map(|path| path.display().to_string()).collect();
        step.data(self)
    }

    /// Makes the folders, takes the lock, looks whether the plan still holds, and signs the web root.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`]; somebody else's web root; something else is live by now.
    pub(crate) fn run(
        &self,
        webroot: &Webroot,
        release: &Release,
        session: &Session,
        held: Option<Lock>,
    ) -> Result<Lock> {
        for folder in &self.missing {
            match fs::create_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.at("make", folder)?,
            }
        }
        let lock = held.map_or_else(|| Lock::acquire(webroot, session), Ok)?;
        let owner = Owner::of(session);
        owner.check(webroot)?;
        let current = webroot.look()?;
        if current != self.current {
            // A resumed run may have switched already.
            let heads = heads(webroot)?;
            if current.release(&heads).is_none_or(|head| head.release.id != release.id) {
                return Err(Error::preflight(format!(
                    "`{}` isn't what it was when the plan was made: it is {current}",
                    webroot.current().display()
                ))
                .hint("plan again: somebody else deployed meanwhile"));
            }
        }
        if self.ownerless {
            owner.write(webroot)?;
        }
        Ok(lock)
    }

    /// Lets go, and removes the folders again that nothing came into.
    ///
    /// # Errors
    /// A folder can't be removed.
    pub(crate) fn undo(&self, webroot: &Webroot, held: Option<Lock>, session: &Session) -> Result<Undo> {
        let lock = match held {
            Some(lock) => Some(lock),
            None if !webroot.lock().is_file() => None,
            None => match Lock::acquire(webroot, session) {
                Ok(lock) => Some(lock),
                // The run that holds it needs what is there.
                Err(error) if error.kind == ErrorKind::Locked => return Ok(Undo::Nothing),
                Err(error) => return Err(error),
            },
        };
        let mut removed = 0;
        let unused = heads(webroot)?.is_empty();
        if lock.is_some() && unused {
            removed += usize::from(self.unsign(webroot, session)?);
        }
        if unused && webroot.lock().is_file() && self.missing.contains(&webroot.bookkeeping()) {
            absent(fs::remove_file(webroot.lock())).at("remove", &webroot.lock())?;
        }
        for folder in self.missing.iter().rev() {
            match fs::remove_dir(folder) {
                Ok(()) => removed += 1,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::NotADirectory
                            | io::ErrorKind::DirectoryNotEmpty
                    ) => {}
                Err(error) => return Err(error).at("remove", folder),
            }
        }
        drop(lock);
        Ok(match removed {
            0 => Undo::Nothing,
            _ => Undo::Undone { summary: format!("removed what was made at `{}`", webroot.base.display()) },
        })
    }

    fn unsign(&self, webroot: &Webroot, session: &Session) -> Result<bool> {
        let ours = self.ownerless && Owner::read(webroot)?.is_some_and(|owner| owner == Owner::of(session));
        if ours {
            fs::remove_file(webroot.owner()).at("remove", &webroot.owner())?;
        }
        Ok(ours)
    }
}

/// `stage`: makes the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stage {
    /// The digest of the source that was planned; none where the build makes it.
    pub(crate) source: Option<String>,
}

/// What `build` leaves for `stage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Built {
    /// The digest of the source as the build left it.
    source: String,
}

/// Runs the build command, and walks what it made.
///
/// # Errors
/// The command fails, or what it made is no site.
pub(crate) fn build(
    site: &Site,
    webroot: &Webroot,
    step: &Step,
    session: &Session,
) -> Result<(Receipt, Prepared)> {
    for command in &step.commands {
        Process::new(command).run(session)?.success()?;
    }
    checks::first_failure(vec![checks::source_folder(site)])?;
    let prepared = deploy::prepare(site, webroot, &webroot.look()?)?;
    checks::first_failure(deploy::judge(site, webroot, &prepared))?;
    let receipt = Receipt::new(Outcome::Changed, prepared.diff.summary());
    Ok((receipt.data(Built { source: prepared.tree.digest() }), prepared))
}

impl Stage {
    /// Makes the release, from what was prepared for the plan or, in a process that never saw it, prepared again.
    ///
    /// # Errors
    /// The source changed since; or see [`stage::stage`].
    pub(crate) fn run(
        &self,
        site: &Site,
        webroot: &Webroot,
        request: &RunRequest,
        prepared: Option<Prepared>,
        session: &Session,
    ) -> Result<Receipt> {
        let id = &request.release.id;
        if is_staged(webroot, id)? {
            return Ok(Receipt::new(Outcome::Unchanged, "staged already"));
        }
        let built = request.receipts.iter().find(|receipt| receipt.step == "build");
        let built: Option<Built> = built.and_then(|built| Built::deserialize(&built.receipt.data).ok());
        let wanted = built.map(|built| built.source).or_else(|| self.source.clone());
        // After the user's hooks nobody can say what the source should be.
        let wanted = wanted.filter(|_| !site.hooks_write);
        let current = webroot.look()?;
        let prepared = match prepared {
            Some(prepared) => prepared,
            None => {
                checks::first_failure(vec![checks::source_folder(site)])?;
                deploy::prepare(site, webroot, &current)?
            }
        };
        if wanted.is_some_and(|wanted| wanted != prepared.tree.digest()) {
            return Err(Error::failed(format!(
                "the source `{}` changed since the plan",
                site.source.display()
            ))
            .hint("deploy again; nothing else may write to the source meanwhile"));
        }
        checks::first_failure(deploy::judge(site, webroot, &prepared))?;
        let staged = stage::stage(webroot, site, &prepared, &request.release, session)?;
        let [copied, linked] = [staged.copied as u64, staged.linked as u64].map(grouped);
        let words = format!("{copied} copied ({}), {linked} linked", bytes(staged.bytes));
        Ok(Receipt::new(Outcome::Changed, words))
    }
}

/// Whether the release was staged by an earlier process of this run.
fn is_staged(webroot: &Webroot, id: &str) -> Result<bool> {
    let Some(manifest) = Manifest::known(webroot, id)? else { return Ok(false) };
    let is_root = |found: Option<u64>| found == Some(manifest.head.root);
    Ok(is_root(webroot.folder_at(&webroot.release(id))?) || is_root(webroot.live_folder(&webroot.look()?)?))
}

/// `check`, of a rollback, and `verify`: compare a release with its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verify {
    /// The release that is live before the switch: it vouches for the files it shares, and tells which pages change.
    pub(crate) before: Option<String>,
}

impl Verify {
    pub(crate) fn step(&self, site: &Site) -> Step {
        let title = match &site.config.url {
            Some(url) => format!("Verifying what is live, and pages of {url}"),
            None => "Verifying what is live".to_owned(),
        };
        let reason = "only a verified release counts for `keep` and for a rollback";
        Step::new("verify", Phase::Verify, Effect::None, title).reason(reason).data(self)
    }

    /// The manifest of the release before.
    pub(crate) fn read_before(&self, webroot: &Webroot) -> Result<Option<Manifest>> {
        self.before.as_deref().map_or(Ok(None), |id| Manifest::known(webroot, id))
    }

    /// Compares what is live with the release, fetches pages where there is a `url`, and marks the release verified.
    ///
    /// # Errors
    /// What is live isn't the release, or what is served isn't.
    pub(crate) fn run(&self, site: &Site, webroot: &Webroot, id: &str, session: &Session) -> Result<Receipt> {
        let current = webroot.look()?;
        let Some(mut manifest) = Manifest::read(webroot, id)? else {
            return Err(Error::failed(format!("`{}` is missing", webroot.manifest(id).display()))
                .hint("find out what else writes there, then deploy again"));
        };
        if current.release(std::slice::from_ref(&manifest.head)).is_none() {
            return Err(Error::failed(format!(
                "`{}` is {current}, not release {id}",
                webroot.current().display()
            ))
            .hint("find out who changed it, then deploy again"));
        }
        let first = manifest.head.verified_at.is_none();
        // A release just made needs nobody to vouch for it.
        let before = if first && site.config.url.is_none() { None } else { self.read_before(webroot)? };
        let inspection = inspect(&webroot.current(), &manifest, before.as_ref())?;
        if !inspection.differences.is_empty() {
            return Err(Error::failed(format!("what is live isn't release {id}: {}", inspection.words()))
                .hint("find out what else writes there, then deploy again"));
        }
        let mut summary = counted(manifest.files.len(), "file");
        if let Some(url) = &site.config.url {
            let pages = pages::sample(&manifest, before.as_ref(), &site.config.index);
            let fetched = pages::check(url, &site.config.index, &pages, session)?;
            summary.push_str(&format!(", {} fetched", counted(fetched, "page")));
        }
        let touched = inspection.refresh(&mut manifest);
        if first {
            manifest.head.verified_at = Some(now() / 1_000_000);
        }
        if first || touched {
            manifest.save(webroot)?;
        }
        let outcome = if first { Outcome::Changed } else { Outcome::Unchanged };
        Ok(Receipt::new(outcome, summary).data(Verified { first }))
    }
}

/// What `verify` leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Verified {
    /// Whether the release was verified for the first time.
    first: bool,
}

/// Takes the mark of `verify` back; without a receipt only the undo of `stage` can, which removes the release.
///
/// # Errors
/// The manifest can't be read or written.
pub(crate) fn unverify(webroot: &Webroot, id: &str, receipt: Option<&Receipt>) -> Result<Undo> {
    let first =
        receipt.and_then(|receipt| Verified::deserialize(&receipt.data).ok()).is_some_and(|data| data.first);
    match Manifest::read(webroot, id)? {
        Some(mut manifest) if first && manifest.head.verified_at.is_some() => {
            manifest.head.verified_at = None;
            manifest.save(webroot)?;
            Ok(Undo::Undone { summary: format!("release {id} doesn't count as verified") })
        }
        _ => Ok(Undo::Nothing),
    }
}

/// `finalize`: removes what is no longer needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finalize {
    /// How many verified releases stay.
    pub(crate) keep: usize,
    /// What was live before this deployment; it stays too.
    #[serde(default)]
    pub(crate) before: Option<String>,
}

impl Finalize {
    /// Removes what may go.
    ///
    /// # Errors
    /// Something can't be removed.
    pub(crate) fn run(&self, webroot: &Webroot) -> Result<Receipt> {
        let removed = retention::tidy(webroot, self.before.as_deref(), self.keep)?;
        let mut words = Vec::new();
        if !removed.releases.is_empty() {
            words.push(format!("removed {}", removed.releases.join(", ")));
        }
        if removed.leftovers > 0 {
            words.push(format!("{} of runs that died", counted(removed.leftovers, "leftover")));
        }
        let outcome = if words.is_empty() { Outcome::Unchanged } else { Outcome::Changed };
        Ok(Receipt::new(outcome, words.join(", ")))
    }
}
