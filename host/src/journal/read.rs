//! Reading runs of the past, whole or torn.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::{
    Error,
    protocol::{Phase, Plan, Step, StepReceipt, Undo},
};

use super::{
    Entry, JournalError, KEPT, PlannedTarget, RunEnding, RunInfo, TargetEnding, entry::Line, io_at, is_id,
    journal_file, plan_file, runs_folder,
};

/// A run, as its journal tells it.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// Its id.
    pub id: String,
    /// Its folder.
    pub dir: PathBuf,
    /// When it began.
    pub started_at: String,
    /// What it was for.
    pub info: RunInfo,
    /// Its planned targets, in order.
    pub targets: Vec<PastTarget>,
    /// How it ended; absent while it is alive and when it was interrupted.
    pub ending: Option<RunEnding>,
    /// Whether the run or one of its workers is alive.
    pub alive: bool,
}

/// A target of a run.
#[derive(Debug, Clone)]
pub struct PastTarget {
    /// What was known once it was planned.
    pub planned: PlannedTarget,
    /// The steps that were begun, in order.
    pub steps: Vec<PastStep>,
    /// How it ended, where it came that far.
    pub ending: Option<TargetEnding>,
}

/// A step that was begun.
#[derive(Debug, Clone)]
pub struct PastStep {
    /// The step as it was planned: the intent.
    pub step: Step,
    /// What it left behind, where it was done.
    pub receipt: Option<StepReceipt>,
    /// Why it failed, where it did.
    pub error: Option<Error>,
    /// Whether taking it back was begun.
    pub undo_begun: bool,
    /// How taking it back ended.
    pub undone: Option<Undo>,
}

impl PastRun {
    /// Whether it ended without saying so.
    pub fn is_interrupted(&self) -> bool {
        self.ending.is_none() && !self.alive
    }

    /// Whether any step was begun; without one there is nothing to mend.
    pub fn began_steps(&self) -> bool {
        self.targets.iter().any(|target| !target.steps.is_empty())
    }

    /// The target of that name, where it was planned.
    pub fn target(&self, name: &str) -> Option<&PastTarget> {
        self.targets.iter().find(|target| target.planned.target == name)
    }
}

impl PastTarget {
    /// Whether users may have seen its release: a begun switch counts as switched.
    pub fn was_live(&self) -> bool {
        self.steps.iter().any(|step| step.step.phase == Phase::Switch)
    }

    /// The steps still in effect as far as the journal knows, last first: what a rollback of the run takes back.
    pub fn to_undo(&self) -> impl Iterator<Item = &PastStep> {
        let settled = |step: &&PastStep| matches!(step.undone, Some(Undo::Undone { .. } | Undo::Nothing));
        self.steps.iter().rev().filter(move |step| !settled(step))
    }

    /// The receipts of the steps that are done and weren't taken back, in order.
    pub fn receipts(&self) -> Vec<StepReceipt> {
        let kept = self.steps.iter().filter(|step| step.undone.is_none());
        kept.filter_map(|step| step.receipt.clone()).collect()
    }
}

/// Reads a run. A torn last line, as a crash leaves it, is passed over.
///
/// # Errors
/// When there is no such run, or its journal can't be read or is damaged elsewhere.
pub fn read(data: &Path, id: &str) -> Result<PastRun, JournalError> {
    read_begun(data, id)?.ok_or_else(|| JournalError::NoRun { id: id.to_owned(), folder: runs_folder(data) })
}

/// The runs that ended without saying so, oldest first: none of their processes is alive.
///
/// # Errors
/// When a journal can't be read. A damaged one is an error too: what its run left behind must not be overlooked.
pub fn interrupted(data: &Path) -> Result<Vec<PastRun>, JournalError> {
    let mut found = Vec::new();
    for id in run_ids(data)? {
        if !has_ended(data, &id)?
            && let Some(run) = read_begun(data, &id)?
            && run.is_interrupted()
        {
            found.push(run);
        }
    }
    Ok(found)
}

/// Identity and receipts of one target of a run, for its [`PastRelease`](pop_deploy_plugin_api::protocol::PastRelease);
/// none where the journal is gone or doesn't have the target.
///
/// # Errors
/// When the journal is there and can't be read.
pub fn receipts_of(
    data: &Path,
    id: &str,
    target: &str,
) -> Result<Option<(String, Vec<StepReceipt>)>, JournalError> {
    let run = read_begun(data, id)?;
    Ok(run
        .as_ref()
        .and_then(|run| run.target(target))
        .map(|target| (target.planned.identity.clone(), target.receipts())))
}

/// The stored plan of a target, and its digest.
///
/// # Errors
/// When it isn't there or can't be read.
pub fn plan_of(data: &Path, id: &str, target: &str) -> Result<(Plan, String), JournalError> {
    if !is_id(id) {
        return Err(JournalError::NoRun { id: id.to_owned(), folder: runs_folder(data) });
    }
    let path = plan_file(&runs_folder(data).join(id), target);
    let bytes = fs::read(&path).map_err(io_at("read", &path))?;
    let plan = serde_json::from_slice(&bytes).map_err(|source| JournalError::Damaged {
        path,
        line: source.line(),
        source,
    })?;
    Ok((plan, super::write::digest(&bytes)))
}

/// Removes the folders of old runs: those beyond the newest 50 that history doesn't know. Never one of a run that is
/// alive or was interrupted, and none that can't be read.
///
/// # Errors
/// When a folder can't be removed.
pub fn keep_only(data: &Path, known: &[&str]) -> Result<(), JournalError> {
    let ids = run_ids(data)?;
    let old = ids.len().saturating_sub(KEPT);
    for id in ids[..old].iter().filter(|id| !known.contains(&id.as_str())) {
        let over = match read_begun(data, id) {
            Ok(Some(run)) => run.ending.is_some() && !run.alive,
            Ok(None) => true,
            Err(_) => false,
        };
        if over {
            let dir = runs_folder(data).join(id);
            fs::remove_dir_all(&dir).map_err(io_at("remove", &dir))?;
        }
    }
    Ok(())
}

/// The ids of all runs, oldest first.
fn run_ids(data: &Path) -> Result<Vec<String>, JournalError> {
    let runs = runs_folder(data);
    let entries = match fs::read_dir(&runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_at("read", &runs)(error)),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_at("read", &runs))?;
        let is_dir = entry.file_type().map_err(io_at("read", &entry.path()))?.is_dir();
        if let (true, Some(id)) = (is_dir, entry.file_name().to_str().filter(|id| is_id(id))) {
            ids.push(id.to_owned());
        }
    }
    ids.sort_by_cached_key(|id| order(id));
    Ok(ids)
}

/// `deploy-20260304-160255-10` comes after `…-9`.
fn order(id: &str) -> Vec<(u64, String)> {
    id.split('-').map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
}

/// The run, or nothing where it isn't there or died before its first entry was whole.
fn read_begun(data: &Path, id: &str) -> Result<Option<PastRun>, JournalError> {
    if !is_id(id) {
        return Ok(None);
    }
    let dir = runs_folder(data).join(id);
    let path = journal_file(&dir);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at("open", &path)(error)),
    };
    // First the lock, then the content: a run that ends in between has written its end already.
    let alive = crate::lock::is_locked(&file).map_err(io_at("lock", &path))?;
    let content = fs::read(&path).map_err(io_at("read", &path))?;
    let lines = lines(&content, &path)?;
    let Some((Line { time, entry: Entry::RunStarted(info) }, rest)) = lines.split_first() else {
        return Ok(None);
    };
    let mut run = PastRun {
        id: id.to_owned(),
        dir,
        started_at: time.clone(),
        info: info.clone(),
        targets: Vec::new(),
        ending: None,
        alive,
    };
    for line in rest {
        run.take(&line.entry);
    }
    Ok(Some(run))
}

fn lines(content: &[u8], path: &Path) -> Result<Vec<Line>, JournalError> {
    let mut lines = Vec::new();
    // What follows the last line end is torn, or nothing.
    let whole = content.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    for (index, line) in content[..whole].split(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(line) => lines.push(line),
            Err(_) if line.is_empty() => {}
            Err(source) => {
                return Err(JournalError::Damaged { path: path.to_owned(), line: index + 1, source });
            }
        }
    }
    Ok(lines)
}

/// Whether the journal's last line says that the run ended. A look at the tail alone: every command asks this of
/// every run, and receipts can be long.
fn has_ended(data: &Path, id: &str) -> Result<bool, JournalError> {
    const TAIL: u64 = 512;
    let path = journal_file(&runs_folder(data).join(id));
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_at("open", &path)(error)),
    };
    let mut tail = Vec::new();
    let length = file.metadata().map_err(io_at("read", &path))?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(TAIL)))
        .and_then(|_| file.read_to_end(&mut tail))
        .map_err(io_at("read", &path))?;
    let last = tail.strip_suffix(b"\n").and_then(|tail| tail.rsplit(|byte| *byte == b'\n').next());
    let line = last.and_then(|last| serde_json::from_slice::<Line>(last).ok());
    Ok(line.is_some_and(|line| matches!(line.entry, Entry::RunEnded { .. })))
}

impl PastRun {
    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::TargetPlanned(planned) => match self.past_target(&planned.target) {
                // A run that is resumed plans again; what it did before stays known.
                Some(target) => target.planned = planned.clone(),
                None => self.targets.push(PastTarget {
                    planned: planned.clone(),
                    steps: Vec::new(),
                    ending: None,
                }),
            },
            Entry::Intent { target, step } => {
                if let Some(target) = self.past_target(target) {
                    target.steps.push(PastStep {
                        step: step.clone(),
                        receipt: None,
                        error: None,
                        undo_begun: false,
                        undone: None,
                    });
                }
            }
            Entry::Receipt { target, receipt } => {
                if let Some(step) = self.past_step(target, &receipt.step) {
                    step.receipt = Some(receipt.clone());
                }
            }
            Entry::StepFailed { target, step, error } => {
                if let Some(step) = self.past_step(target, step) {
                    step.error = Some(error.clone());
                }
            }
            Entry::UndoBegun { target, step } => {
                if let Some(step) = self.past_step(target, step) {
                    step.undo_begun = true;
                }
            }
            Entry::Undone { target, step, outcome } => {
                if let Some(step) = self.past_step(target, step) {
                    step.undone = Some(outcome.clone());
                }
            }
            Entry::TargetEnded { target, ending } => {
                if let Some(target) = self.past_target(target) {
                    target.ending = Some(*ending);
                }
            }
            Entry::RunEnded { ending } => self.ending = Some(*ending),
            Entry::RunStarted(_) | Entry::Unknown => {}
        }
    }

    fn past_target(&mut self, name: &str) -> Option<&mut PastTarget> {
        self.targets.iter_mut().find(|target| target.planned.target == name)
    }

    /// The newest attempt at that step.
    fn past_step(&mut self, target: &str, step: &str) -> Option<&mut PastStep> {
        self.past_target(target)?.steps.iter_mut().rfind(|past| past.step.id == step)
    }
}
