//! How a project stands: what is live against what history says, who is at work, what was left unfinished.

use std::thread;

use pop_deploy_plugin_api::{Error, protocol::Release};

use crate::{
    config::TargetConfig,
    failure::Failure,
    history::History,
    journal::{self, PastRun},
    lock::{self, Holder},
    pipeline::{
        canary,
        look::{self, Sight, View},
    },
    project::Project,
};

/// How a target stands.
pub struct TargetStatus<'a> {
    /// The target.
    pub target: &'a TargetConfig,
    /// What the place says, or why it can't be asked.
    pub seen: Result<Sight, Error>,
    /// The releases that the place has still, where it says so.
    pub kept: Option<Vec<Release>>,
    /// What history says is live.
    pub known: Option<Release>,
    /// Where a rollback would go.
    pub previous: Option<Release>,
    /// The run that is at work there.
    pub holder: Option<Holder>,
}

/// Looks at several targets at the same time.
///
/// # Errors
/// When a lock file can't be read; a place that can't be is part of the answer.
pub fn of_targets<'a>(views: &[View<'a>]) -> Result<Vec<TargetStatus<'a>>, Failure> {
    views
        .iter()
        .zip(at_once(views, look::at_all))
        .map(|(view, seen)| {
            let (seen, kept) =
                seen.map_or_else(|error| (Err(error), None), |(sight, kept)| (Ok(sight), kept));
            let history = History::of(view.config);
            let history = history.target(&view.target.name);
            Ok(TargetStatus {
                target: view.target,
                seen,
                kept,
                known: history.live().map(|live| live.release()),
                previous: history.previous().map(|previous| previous.release()),
                holder: lock::holder(&view.project.environment_folder(), &view.target.name)?,
            })
        })
        .collect()
}

/// Has several targets looked at in the same way at the same time.
pub fn at_once<T: Send>(
    views: &[View<'_>],
    look: impl Fn(&View<'_>) -> Result<T, Failure> + Sync,
) -> Vec<Result<T, Error>> {
    let panicked = || Error::failed("the host itself panicked; this is a bug in pop-deploy");
    thread::scope(|scope| {
        let looking: Vec<_> = views.iter().map(|view| scope.spawn(|| look(view))).collect();
        let ended = looking.into_iter().map(|thread| thread.join());
        ended
            .map(|seen| {
                seen.map_or_else(|_| Err(panicked()), |seen| seen.map_err(|failure| failure.to_error()))
            })
            .collect()
    })
}

/// Whether a place that has `kept` of its releases has that one no more.
pub fn is_gone(release: &Release, kept: Option<&[Release]>) -> bool {
    kept.is_some_and(|kept| kept.iter().all(|other| other.id != release.id))
}

/// The runs of the project's environment that wait for somebody: those that died, and canaries without a verdict.
///
/// # Errors
/// When a journal can't be read.
pub fn open_runs(project: &Project) -> Result<(Vec<PastRun>, Vec<PastRun>), Failure> {
    let here = |run: &PastRun| run.info.environment == project.environment;
    let mut died = journal::interrupted(&project.data)?;
    died.retain(|run| run.began_steps() && here(run));
    Ok((died, canary::open(project)?))
}
