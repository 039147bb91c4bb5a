//! What a run did, kept so that it can be taken back after any crash: `deployments/<id>/` in the data folder.
//!
//! `journal.jsonl` has an intent before and a receipt after each step, on the disk before the run goes on. The run
//! holds a `flock` on that file, and so do the workers that inherit it: a journal without an end whose lock is free
//! is that of an interrupted run. Process ids play no part in this. Beside it lie the plans, `report.json` and `log`.

mod entry;
mod past;
mod read;
mod write;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use entry::{Entry, PlannedTarget, RunEnding, RunInfo, RunKind, TargetEnding, Until};
pub use past::{PastRun, PastStep, PastTarget};
pub use read::{interrupted, keep_only, open_canaries, read, receipts_of, run_ids, stored_plan};
pub use write::Journal;

/// How many runs are kept.
const KEPT: usize = 50;

/// Why a journal can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file or folder refuses.
    #[error("can't {verb} `{}`", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such run.
    #[error("there is no run `{id}` under `{}`", folder.display())]
    NoRun {
        /// The id asked for.
        id: String,
        /// Where runs are kept.
        folder: PathBuf,
    },
    /// A line before the last is damaged, or a stored plan is.
    #[error("`{}` is damaged at line {line}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A stored plan isn't what was stored.
    #[error("`{}` isn't the plan that was stored there", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
    },
    /// The journal of a run that is alive can't be continued.
    #[error("run `{id}` is still alive")]
    Alive {
        /// The run.
        id: String,
    },
    /// A value can't be JSON; a mistake of ours.
    #[error("can't write `{}` as JSON", path.display())]
    Json {
        /// The file it was for.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl JournalError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space on that file system"
            }
            Self::Io { .. } => "check who owns the data folder and that its file system isn't read-only",
            Self::NoRun { .. } => "see `pop-deploy history` for the runs there are",
            Self::Damaged { .. } => {
                "move that run's folder away, then look at the target itself with `pop-deploy verify`"
            }
            Self::Altered { .. } => "`pop-deploy rollback` takes the run back without it",
            Self::Alive { .. } => "wait for it to end",
            Self::Json { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Whether `id` is safe as the name of a run's folder. An id from history is somebody else's text.
pub fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 100
        && !id.starts_with('-')
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// The id that a run begun now would get, for dry runs: nothing is reserved.
pub fn proposed_id(data: &Path) -> String {
    let runs = runs_folder(data);
    let mut ids = ids_of_now();
    // The ids never end.
    ids.find(|id| !runs.join(id).exists()).unwrap_or_default()
}

/// The ids that a run begun in this second may have: the second one is `<id>-2`.
fn ids_of_now() -> impl Iterator<Item = String> {
    let id = jiff::Zoned::now().strftime("deploy-%Y%m%d-%H%M%S").to_string();
    std::iter::once(id.clone()).chain((2..).map(move |n: u32| format!("{id}-{n}")))
}

/// Now, as journals, history and reports write it: local time with its offset, ISO 8601 with microseconds.
pub fn timestamp() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()
}

/// The folder of a run, whether it is there or not; nothing where the id isn't one.
pub fn run_folder(data: &Path, id: &str) -> Option<PathBuf> {
    is_id(id).then(|| runs_folder(data).join(id))
}

fn runs_folder(data: &Path) -> PathBuf {
    data.join("deployments")
}

fn journal_file(run: &Path) -> PathBuf {
    run.join("journal.jsonl")
}

fn plan_file(run: &Path, target: &str) -> PathBuf {
    run.join(format!("plan-{}.json", crate::lock::file_name(target)))
}

fn io_at(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { verb, path, source }
}

#[cfg(test)]
mod tests;
