//! Reading runs of the past, whole or torn.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    path::Path,
};

use pop_deploy_plugin_api::protocol::{Plan, StepReceipt};

use super::{
    Entry, JournalError, KEPT, PastRun, PlannedTarget, RunEnding, entry::Line, io_at, is_id, journal_file,
    plan_file, runs_folder, write::digest,
};

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
        if last_ending(data, &id)?.is_none()
            && let Some(run) = read_begun(data, &id)?
            && run.is_interrupted()
        {
            found.push(run);
        }
    }
    Ok(found)
}

/// The runs whose canary waits for a verdict, oldest first.
///
/// # Errors
/// When a journal can't be read.
pub fn open_canaries(data: &Path) -> Result<Vec<PastRun>, JournalError> {
    let mut found = Vec::new();
    for id in run_ids(data)? {
        if last_ending(data, &id)? == Some(RunEnding::CanaryOpen)
            && let Some(run) = read_begun(data, &id)?
            && !run.is_over()
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

/// The plan of a target as it was stored before the run walked it.
///
/// # Errors
/// When it can't be read, or isn't what was stored.
pub fn stored_plan(run: &PastRun, planned: &PlannedTarget) -> Result<Plan, JournalError> {
    let path = plan_file(&run.dir, &planned.target);
    let bytes = fs::read(&path).map_err(io_at("read", &path))?;
    if digest(&bytes) != planned.plan_digest {
        return Err(JournalError::Altered { path });
    }
    serde_json::from_slice(&bytes).map_err(|source| JournalError::Damaged {
        path,
        line: source.line(),
        source,
    })
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
            Ok(Some(run)) => run.is_over() && !run.alive,
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
///
/// # Errors
/// When the folder of runs can't be read.
pub fn run_ids(data: &Path) -> Result<Vec<String>, JournalError> {
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
        ended_at: None,
        lock_taken_by: None,
        alive,
    };
    for line in rest {
        run.take(line);
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

/// What the journal's last line says of the run's end. A look at the tail alone: every command asks this of every run,
/// and receipts can be long.
fn last_ending(data: &Path, id: &str) -> Result<Option<RunEnding>, JournalError> {
    const TAIL: u64 = 512;
    let path = journal_file(&runs_folder(data).join(id));
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at("open", &path)(error)),
    };
    let mut tail = Vec::new();
    let length = file.metadata().map_err(io_at("read", &path))?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(TAIL)))
        .and_then(|_| file.read_to_end(&mut tail))
        .map_err(io_at("read", &path))?;
    let last = tail.strip_suffix(b"\n").and_then(|tail| tail.rsplit(|byte| *byte == b'\n').next());
    let line = last.and_then(|last| serde_json::from_slice::<Line>(last).ok());
    Ok(line.and_then(|line| match line.entry {
        Entry::RunEnded { ending } => Some(ending),
        _ => None,
    }))
}
