//! Private copies of plugins: what is loaded can't be changed by anybody else, and an upgrade in place can't hurt a run.

use std::{
    fs::{self, DirBuilder, File, FileTimes},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use pop_deploy_plugin_api::protocol::Build;
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::{choose::Found, ownership, search::user_cache};
use crate::scratch::Scratch;

/// A copy that nobody asked for this long is removed.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A plugin that is ready to be loaded: its manifest, and a copy of the very bytes that were checked.
#[derive(Debug)]
pub struct Ready {
    /// The whole manifest.
    pub build: Build,
    /// Where the plugin was found; what people know it by.
    pub source: PathBuf,
    /// The copy.
    pub copy: PathBuf,
    bytes: Arc<Vec<u8>>,
    /// The folder of a copy that couldn't be cached; goes with it.
    _folder: Option<Scratch>,
}

impl Ready {
    /// Makes the copy hold what was checked, before each load: a cache may be emptied, or a copy replaced, while a run is on.
    ///
    /// # Errors
    /// It holds something else, and its place can't be written.
    pub(super) fn keep_copy(&self) -> Result<(), CopyError> {
        let folder = self.copy.parent().unwrap_or(Path::new("/"));
        private_folder(folder)
            .and_then(
                |()| if holds(&self.copy, &self.bytes) { Ok(()) } else { write(&self.copy, &self.bytes) },
            )
            .map_err(|source| CopyError { plugin: self.source.clone(), to: self.copy.clone(), source })
    }
}

/// Why there is no private copy.
#[derive(Debug, thiserror::Error)]
#[error("can't copy `{plugin}` to `{to}`")]
pub struct CopyError {
    /// Which plugin.
    pub plugin: PathBuf,
    /// Where to.
    pub to: PathBuf,
    /// The system's words.
    pub source: io::Error,
}

/// Copies a plugin into the user's cache, or finds a copy there, which each load compares with what was checked. Where the cache
/// can't be written, or nothing in it may run, the copy lies in a temporary folder as long as the answer lives.
///
/// # Errors
/// Neither place can be written.
pub fn private_copy(found: &Found) -> Result<Ready, CopyError> {
    private_copy_in(found, user_cache().as_deref())
}

/// Like [`private_copy`], with the cache at `root`.
///
/// # Errors
/// Neither place can be written.
pub fn private_copy_in(found: &Found, root: Option<&Path>) -> Result<Ready, CopyError> {
    let ready = |copy, folder| Ready {
        build: found.build.clone(),
        source: found.path.clone(),
        copy,
        bytes: Arc::clone(&found.bytes),
        _folder: folder,
    };
    if let Some(Ok(copy)) = root.map(|root| cached(found, &root.join("plugins"))) {
        return Ok(ready(copy, None));
    }
    let failed = |to: PathBuf| move |source| CopyError { plugin: found.path.clone(), to, source };
    let folder = Scratch::make().map_err(failed(std::env::temp_dir()))?;
    let copy = folder.path().join(file_name(found));
    write(&copy, &found.bytes).map_err(failed(copy.clone()))?;
    Ok(ready(copy, Some(folder)))
}

fn cached(found: &Found, plugins: &Path) -> io::Result<PathBuf> {
    private_folder(plugins)?;
    if is_noexec(plugins) {
        return Err(io::Error::other("nothing may run there"));
    }
    // Whoever may write above it can put another folder in its place.
    ownership::check_folder(plugins).map_err(io::Error::other)?;
    let folder = plugins.join(&found.sha256);
    private_folder(&folder)?;
    let copy = folder.join(file_name(found));
    // What it holds is looked at before each load.
    if fs::symlink_metadata(&copy).is_ok_and(|meta| meta.is_file() && meta.len() == found.bytes.len() as u64)
    {
        File::open(&folder)?.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
    } else {
        write(&copy, &found.bytes)?;
        // A new copy is rare enough to pay for looking at the old ones.
        sweep(plugins).unwrap_or_default();
    }
    Ok(copy)
}

/// Whether the system maps nothing as code that lies at `path`: its file system is mounted so.
pub(super) fn is_noexec(path: &Path) -> bool {
    statvfs(path).is_ok_and(|mounted| mounted.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

fn file_name(found: &Found) -> &Path {
    Path::new(found.path.file_name().unwrap_or("plugin".as_ref()))
}

/// Makes a folder that only we can enter, or checks that it is one.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let meta = fs::symlink_metadata(path)?;
    let ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if ours { Ok(()) } else { Err(io::Error::other("not a private folder")) }
}

/// Whether a copy is ours alone and is what was checked. Comparing with the bytes in hand says more than a hash would, and
/// costs less.
fn holds(copy: &Path, bytes: &[u8]) -> bool {
    let private = |meta: &fs::Metadata| {
        meta.is_file()
            && meta.len() == bytes.len() as u64
            && meta.uid() == rustix::process::geteuid().as_raw()
            && meta.mode() & 0o022 == 0
    };
    fs::symlink_metadata(copy).is_ok_and(|meta| private(&meta))
        && File::open(copy).and_then(|file| reads_as(file, bytes)).unwrap_or(false)
}

/// Whether a file's content is `bytes`, without another copy of it in memory.
pub(super) fn reads_as(mut file: File, mut bytes: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let got = file.read(&mut buffer)?;
        match bytes.split_at_checked(got) {
            Some((_, rest)) if got == 0 => return Ok(rest.is_empty()),
            Some((same, rest)) if same == &buffer[..got] => bytes = rest,
            _ => return Ok(false),
        }
    }
}

fn write(copy: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = copy.parent().unwrap_or(Path::new("/"));
    let mut part = tempfile::NamedTempFile::new_in(folder)?;
    part.write_all(bytes)?;
    part.as_file().set_permissions(fs::Permissions::from_mode(0o500))?;
    part.persist(copy)?;
    Ok(())
}

/// Removes the copies that nobody used for long. A worker that runs one keeps what it mapped.
fn sweep(plugins: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    for entry in fs::read_dir(plugins)? {
        let entry = entry?;
        let age = now.duration_since(entry.metadata()?.modified()?).unwrap_or_default();
        if age > UNUSED {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
