//! What files said when they were last read, so that the next run only looks at their stat.
//!
//! A cache and nothing more: missing, broken or read-only, it costs time. Whoever chooses a file reads it again.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{outline::Outline, preflight::Refusal, regular};

/// The shape of the file; another number is an index that isn't ours.
const VERSION: u32 = 3;
/// Files of folders that aren't on the search path now are kept up to this many.
const MOST: usize = 10_000;

/// Device, inode, size, and the times of the last change of content and of inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp(u64, u64, u64, i64, i64, i64, i64);

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        let m = meta;
        Self(m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
    }
}

/// What one file said.
#[derive(Serialize, Deserialize)]
struct Entry {
    stamp: Stamp,
    said: Said,
    #[serde(default)]
    sha256: Option<String>,
}

/// What a file was found to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// A plugin.
    Build(Box<Outline>),
    /// Nothing that could be loaded, by its content alone: another host or another day won't change that.
    Refused(Refusal),
}

#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    files: BTreeMap<String, Entry>,
}

/// The index, in memory.
pub(super) struct Index {
    file: Option<PathBuf>,
    files: BTreeMap<String, Entry>,
    changed: bool,
}

impl Index {
    /// Reads `file`; anything wrong with it is an empty index.
    pub(super) fn read(file: Option<PathBuf>) -> Self {
        let bytes = file.as_ref().and_then(|file| regular::read(file).ok()).unwrap_or_default();
        let files = match serde_json::from_slice::<Document>(&bytes) {
            Ok(document) if document.v == VERSION => document.files,
            _ => BTreeMap::new(),
        };
        Self { file, files, changed: false }
    }

    /// What the file at `path` said when it looked the same.
    pub(super) fn said(&self, path: &Path, stamp: Stamp) -> Option<Said> {
        self.entry(path, stamp).map(|entry| entry.said.clone())
    }

    /// The hash of the file at `path` when it looked the same.
    pub(super) fn sha256(&self, path: &Path, stamp: Stamp) -> Option<String> {
        self.entry(path, stamp).and_then(|entry| entry.sha256.clone())
    }

    fn entry(&self, path: &Path, stamp: Stamp) -> Option<&Entry> {
        self.files.get(path.to_str()?).filter(|entry| entry.stamp == stamp)
    }

    /// Remembers what a file says.
    pub(super) fn put(&mut self, path: &Path, stamp: Stamp, build: &Outline, sha256: Option<&str>) {
        self.keep(path, stamp, Said::Build(Box::new(build.clone())), sha256);
    }

    /// Remembers that a file can't be loaded, where its content alone decides that.
    pub(super) fn refuse(&mut self, path: &Path, stamp: Stamp, refusal: &Refusal) {
        if refusal.is_of_content() {
            self.keep(path, stamp, Said::Refused(refusal.clone()), None);
        }
    }

    fn keep(&mut self, path: &Path, stamp: Stamp, said: Said, sha256: Option<&str>) {
        let Some(path) = path.to_str() else { return };
        let entry = Entry { stamp, said, sha256: sha256.map(str::to_owned) };
        self.files.insert(path.to_owned(), entry);
        self.changed = true;
    }

    /// Forgets what is no longer in `folders`, given what was just `seen` there.
    pub(super) fn retain(&mut self, folders: &[&Path], seen: &dyn Fn(&Path) -> bool) {
        let before = self.files.len();
        let surveyed = |path: &Path| path.parent().is_some_and(|parent| folders.contains(&parent));
        let crowded = before > MOST;
        self.files.retain(|path, _| {
            let path = Path::new(path);
            seen(path) || !(crowded || surveyed(path))
        });
        self.changed |= self.files.len() != before;
    }

    /// Writes the index where it changed. A failure is of no consequence: the next run reads the files again.
    pub(super) fn save(self) {
        if let (true, Some(file)) = (self.changed, &self.file) {
            let document = Document { v: VERSION, files: self.files };
            write(file, &document).unwrap_or_default();
        }
    }
}

fn write(file: &Path, document: &Document) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut part = tempfile::NamedTempFile::new_in(folder)?;
    part.write_all(&serde_json::to_vec(document)?)?;
    part.persist(file)?;
    Ok(())
}
