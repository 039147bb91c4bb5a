//! A look at every file of the search path: what discovery and choice both start from.
//!
//! Of most files only the headers are read. Those that claim one version of one plugin are read whole and compared: one may differ,
//! and then neither is loaded. A thousand copies of a large one take their time, once: the index keeps what they were. Links
//! to one file are that file.

use std::{
    collections::HashMap,
    env::consts::DLL_SUFFIX,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::protocol::Build;

use super::{
    cache::reads_as,
    index::{Index, Said, Stamp},
    outline::Outline,
    ownership::{self, Unsafe},
    preflight::{self, Refusal},
    search::{Folder, Origin, SearchPath},
    sha256_of,
};

/// One file that is called like a plugin.
pub(super) struct Sighted {
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
    /// What its manifest says.
    pub(super) build: Result<Outline, Refusal>,
    stamp: Option<Stamp>,
}

/// Everything on the search path, in its order.
pub(super) struct Survey {
    pub(super) sighted: Vec<Sighted>,
    index: Index,
    /// The file that was hashed last, and how it looked.
    hashed: Option<(Option<Stamp>, Whole)>,
}

/// What is known of a file, or was.
pub(super) struct Known {
    build: Result<Outline, Refusal>,
    pub(super) sha256: Option<String>,
}

/// A file that was read as a whole.
pub(super) struct Whole {
    pub(super) build: Build,
    pub(super) bytes: Vec<u8>,
    pub(super) sha256: String,
}

impl Survey {
    /// Looks at every file; opens only those that look different from last time.
    pub(super) fn new(search: &SearchPath) -> Self {
        let mut survey = Self { sighted: Vec::new(), index: Index::read(search.index_file()), hashed: None };
        let mut folders = Folders::default();
        for folder in search.folders() {
            survey.folder(folder, &mut folders);
        }
        survey
    }

    fn folder(&mut self, folder: &Folder, folders: &mut Folders) {
        let files = match plugin_files(&folder.path) {
            Ok(files) => files,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return;
            }
            Err(error) => {
                let build = Err(Refusal::Unreadable(error.to_string()));
                self.sighted.push(Sighted {
                    path: folder.path.clone(),
                    origin: folder.origin,
                    build,
                    stamp: None,
                });
                return;
            }
        };
        for (path, is_link) in files {
            let (stamp, build) = match self.look(&path, is_link, folders) {
                Ok((stamp, build)) => (Some(stamp), Ok(build)),
                Err(refusal) => (None, Err(refusal)),
            };
            self.sighted.push(Sighted { path, origin: folder.origin, build, stamp });
        }
    }

    fn look(
        &mut self,
        path: &Path,
        is_link: bool,
        folders: &mut Folders,
    ) -> Result<(Stamp, Outline), Refusal> {
        let meta = fs::metadata(path).map_err(|error| Refusal::Unreadable(error.to_string()))?;
        preflight::check_stat(path, &meta)?;
        folders.check(path, is_link)?;
        let stamp = Stamp::of(&meta);
        match self.index.said(path, stamp) {
            Some(Said::Build(build)) => {
                build.check()?;
                return Ok((stamp, *build));
            }
            Some(Said::Refused(refusal)) => return Err(refusal),
            None => {}
        }
        let (file, meta) = preflight::open(path)?;
        let stamp = Stamp::of(&meta);
        let read = preflight::read_headers(file, meta.len());
        let build = Outline::of(read.inspect_err(|refusal| self.index.refuse(path, stamp, refusal))?);
        self.index.put(path, stamp, &build, None);
        Ok((stamp, build))
    }

    /// The files that may be loaded.
    pub(super) fn builds(&self) -> impl Iterator<Item = (usize, &Outline)> {
        let all = self.sighted.iter().enumerate();
        all.filter_map(|(number, sighted)| Some((number, sighted.build.as_ref().ok()?)))
    }

    /// Reads the file again, all of it. Afterwards the survey says what it says now.
    pub(super) fn read(&mut self, number: usize) -> Result<Whole, Refusal> {
        let path = self.sighted[number].path.clone();
        let whole = preflight::open(&path).and_then(|(mut file, meta)| {
            // The folders were checked when the file was sighted; what is read now is what will be loaded.
            let bytes = preflight::read_whole(&mut file, meta.len())?;
            let build = preflight::manifest(&*bytes, bytes.len() as u64)?;
            let sha256 = sha256_of(&bytes);
            Ok((Stamp::of(&meta), Whole { build, bytes, sha256 }))
        });
        match whole {
            Ok((stamp, whole)) => {
                let (build, sha256) = (Outline::of(whole.build.clone()), Some(&*whole.sha256));
                if self.index.sha256(&path, stamp).as_deref() != sha256 {
                    self.index.put(&path, stamp, &build, sha256);
                }
                self.sighted[number].build = Ok(build);
                self.sighted[number].stamp = Some(stamp);
                Ok(whole)
            }
            Err(refusal) => {
                self.sighted[number].build = Err(refusal.clone());
                Err(refusal)
            }
        }
    }

    /// What is known of a file without reading it again.
    pub(super) fn known(&self, number: usize) -> Known {
        let sighted = &self.sighted[number];
        let sha256 = sighted.stamp.and_then(|stamp| self.index.sha256(&sighted.path, stamp));
        Known { build: sighted.build.clone(), sha256 }
    }

    /// Whether what is known now is what was known `before`, and perhaps more.
    pub(super) fn confirms(&self, number: usize, before: &Known) -> bool {
        let now = self.known(number);
        now.build == before.build && (before.sha256.is_none() || now.sha256 == before.sha256)
    }

    /// The hash of the file, read only where it isn't known.
    pub(super) fn sha256(&mut self, number: usize) -> Result<String, Refusal> {
        if let Some(known) = self.known(number).sha256.or_else(|| self.hash_of_twin(number)) {
            return Ok(known);
        }
        let whole = self.read(number)?;
        let sha256 = whole.sha256.clone();
        self.hashed = Some((self.sighted[number].stamp, whole));
        Ok(sha256)
    }

    /// The hash of a file that is the one that was hashed last, byte by byte: of a thousand copies one is hashed.
    fn hash_of_twin(&mut self, number: usize) -> Option<String> {
        let (looks, hashed) = self.hashed.as_ref()?;
        let sighted = &mut self.sighted[number];
        if sighted.stamp.is_some() && sighted.stamp == *looks {
            return Some(hashed.sha256.clone());
        }
        let (file, meta) = preflight::open(&sighted.path).ok()?;
        let is_twin = meta.len() == hashed.bytes.len() as u64 && reads_as(file, &hashed.bytes).ok()?;
        if !is_twin {
            return None;
        }
        let (stamp, build) = (Stamp::of(&meta), Outline::of(hashed.build.clone()));
        self.index.put(&sighted.path, stamp, &build, Some(&hashed.sha256));
        sighted.build = Ok(build);
        sighted.stamp = Some(stamp);
        Some(hashed.sha256.clone())
    }

    /// Keeps what was learnt for the next run.
    pub(super) fn save(self, search: &SearchPath) -> Vec<Sighted> {
        let Self { sighted, mut index, .. } = self;
        let folders: Vec<_> = search.folders().iter().map(|folder| folder.path.as_path()).collect();
        let seen: std::collections::HashSet<_> = sighted.iter().map(|seen| seen.path.as_path()).collect();
        index.retain(&folders, &|path| seen.contains(path));
        index.save();
        sighted
    }
}

/// The files of a folder that are called like a library, by name, and whether each is a link.
fn plugin_files(folder: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_bytes().ends_with(DLL_SUFFIX.as_bytes()) {
            files.push((folder.join(name), entry.file_type()?.is_symlink()));
        }
    }
    files.sort();
    Ok(files)
}

/// Folders that were checked already.
#[derive(Default)]
struct Folders(HashMap<PathBuf, Result<(), Unsafe>>);

impl Folders {
    /// Checks the folder of `path` and, for a link, the folder of what it leads to.
    fn check(&mut self, path: &Path, is_link: bool) -> Result<(), Unsafe> {
        let mut of = |path: &Path| {
            let folder = path.parent().unwrap_or(path);
            if let Some(known) = self.0.get(folder) {
                return known.clone();
            }
            let checked = ownership::check_folder(folder);
            self.0.insert(folder.to_owned(), checked.clone());
            checked
        };
        of(path)?;
        match is_link.then(|| path.canonicalize()) {
            Some(Ok(real)) => of(&real),
            _ => Ok(()),
        }
    }
}
