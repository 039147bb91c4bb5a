//! Adding records to deploy.json without touching another byte of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{Gid, Uid},
    io::Errno,
};
use serde_json::Value;

use super::{HistoryError, KEPT, Record, rules::History, splice};
use crate::{
    config::{Environment, environment::HISTORIES},
    lock::{Waited, lock_within},
    project::Project,
};

/// A write of deploy.json takes milliseconds; who has its lock for longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts `records` (newest first) before those that deploy.json has of the project's environment, and forgets what is beyond 50, oldest first;
/// what a target's next rollback needs is forgotten last.
///
/// Only the bytes of `history` change. Under the lock `deploy.json.lock` the file is read again and replaced as a
/// whole: no reader sees half of it, and no writer loses another's records. Where deploy.json is a link, the file it
/// leads to is replaced.
///
/// # Errors
/// When the file isn't JSON any more or can't be replaced; then it is as it was.
pub fn append(project: &Project, records: &[Record]) -> Result<(), HistoryError> {
    if records.is_empty() {
        return Ok(());
    }
    let _lock = lock(project)?;
    let path = fs::canonicalize(&project.deploy_json).map_err(io_at("find", &project.deploy_json))?;
    let old = fs::read(&path).map_err(io_at("read", &path))?;
    let new = with_records(&old, records, &path, &project.environment)?;
    replace(&path, new.as_bytes())
}

/// Keeps every other writer of deploy.json away, until what it gives is dropped.
///
/// # Errors
/// When the lock file can't be used, or somebody has had it for too long.
pub fn lock(project: &Project) -> Result<File, HistoryError> {
    let path = project.data.join("deploy.json.lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_at("open", &path))?;
    match lock_within(&lock, PATIENCE, &|| false).map_err(io_at("lock", &path))? {
        Waited::Locked => Ok(lock),
        _ => Err(io_at("lock", &path)(io::ErrorKind::TimedOut.into())),
    }
}

fn with_records(
    old: &[u8],
    records: &[Record],
    path: &Path,
    environment: &Environment,
) -> Result<String, HistoryError> {
    let json = |source| HistoryError::Json { path: path.to_owned(), source };
    let value: Value = serde_json::from_slice(old).map_err(json)?;
    let shape = |what| HistoryError::Shape { path: path.to_owned(), what };
    let top = value.as_object().ok_or_else(|| shape("the top is not an object"))?;
    if !environment.is_production()
        && top.get(HISTORIES).is_some_and(|all| !all.is_object() && !all.is_null())
    {
        return Err(shape("`histories` is not an object"));
    }
    let past = match environment.history(&value) {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(past)) => past,
        Some(_) if environment.is_production() => return Err(shape("`history` is not a list")),
        Some(_) => return Err(shape("a history in `histories` is not a list")),
    };
    let new = records.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>().map_err(json)?;
    let all: Vec<Value> = new.iter().chain(past).cloned().collect();
    let kept: Vec<usize> = kept(&History::from_values(&all));
    // serde_json accepts nothing but UTF-8, so this is the whole text.
    let text = String::from_utf8_lossy(old);
    splice::with_history(&text, environment, &all, new.len(), &kept).map_err(json)
}

/// The indexes of the records to keep, newest first.
fn kept(history: &History) -> Vec<usize> {
    let records = history.records();
    let mut kept: Vec<usize> = (0..records.len()).collect();
    if kept.len() <= KEPT {
        return kept;
    }
    let mut needed: Vec<&Record> = Vec::new();
    for name in records.iter().filter_map(|record| record.target.as_deref()) {
        let target = history.target(name);
        needed.extend([target.live(), target.previous()].iter().flatten().filter_map(|past| past.record));
    }
    while kept.len() > KEPT {
        let spare = |index: &usize| !needed.iter().any(|record| std::ptr::eq(*record, &records[*index]));
        let oldest = kept.iter().rposition(spare).unwrap_or(kept.len() - 1);
        kept.remove(oldest);
    }
    kept
}

fn replace(path: &Path, content: &[u8]) -> Result<(), HistoryError> {
    let folder = path.parent().unwrap_or(path);
    let metadata = fs::metadata(path).map_err(io_at("read", path))?;
    let mut temporary = tempfile::Builder::new()
        .prefix(".deploy.json.")
        .tempfile_in(folder)
        .map_err(io_at("create a file in", folder))?;
    let file = temporary.as_file_mut();
    let owner = file.metadata().map_err(io_at("read", path))?;
    if (owner.uid(), owner.gid()) != (metadata.uid(), metadata.gid()) {
        let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
        match rustix::fs::fchown(&*file, Some(uid), Some(gid)) {
            // Only root can give a file away; everybody else becomes the owner, as with any editor that renames.
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => return Err(io_at("set the owner of", path)(error.into())),
        }
    }
    file.set_permissions(metadata.permissions())
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all())
        .map_err(io_at("write beside", path))?;
    temporary.persist(path).map_err(|error| io_at("replace", path)(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_at("sync", folder))
}

fn io_at(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HistoryError {
    let path = path.to_owned();
    move |source| HistoryError::Io { verb, path, source }
}
