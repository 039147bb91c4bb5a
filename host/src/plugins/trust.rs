//! Trust on first use: the hashes of the plugins that were deployed with.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::TRIPLE;
use rustix::fs::{FlockOperation, flock};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    choose::Found,
    regular,
    search::{Origin, SearchPath},
};

/// The shape of the file that this host writes.
const VERSION: u64 = 1;

/// How a plugin relates to what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The very file that was recorded.
    Recorded,
    /// Its version was never recorded for this platform.
    New,
    /// Its version was recorded with another hash, namely this.
    Changed(String),
    /// It lies beside the executable and is trusted like that.
    BesideExecutable,
}

/// Why `plugins.lock` can't be used, or doesn't let a plugin in.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file changed under its version.
    #[error("`{path}` is not the `{id}` {version} that was deployed with before: its content changed")]
    Changed {
        /// Where the plugin is.
        path: PathBuf,
        /// Its id.
        id: String,
        /// The version that it claims.
        version: Version,
    },
    /// `--locked`, and it isn't recorded.
    #[error("`{id}` {version} at `{path}` isn't recorded in plugins.lock, and --locked asks for that")]
    NotRecorded {
        /// Where the plugin is.
        path: PathBuf,
        /// Its id.
        id: String,
        /// Its version.
        version: Version,
    },
    /// The file isn't what we write.
    #[error("can't read `{path}`")]
    Broken {
        /// The lock file.
        path: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// The file was written by a newer host.
    #[error(
        "`{path}` was written by a newer pop-deploy: it has version {version}, and this one reads version {VERSION}"
    )]
    Future {
        /// The lock file.
        path: PathBuf,
        /// The number it has.
        version: u64,
    },
    /// The system refuses.
    #[error("can't {verb} `{path}`")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The lock file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
}

impl TrustError {
    /// What to try, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::Changed { id, version, .. } => {
                format!(
                    "find out who changed it; if it was you, run `pop-deploy plugin trust {id}@{version}`"
                )
            }
            Self::NotRecorded { id, version, .. } => {
                format!(
                    "run `pop-deploy plugin trust {id}@{version}` and commit plugins.lock, or leave --locked out"
                )
            }
            Self::Broken { .. } => {
                "restore it from version control, or remove it and trust the plugins anew".into()
            }
            Self::Future { .. } => "upgrade pop-deploy".into(),
            Self::Io { .. } => "check that it is a file, who owns it and who may write there".into(),
        }
    }
}

/// What `plugins.lock` holds: id → version → triple → hash.
type Records = BTreeMap<String, BTreeMap<Version, BTreeMap<String, String>>>;

#[derive(Serialize, Deserialize)]
struct Document {
    v: u64,
    #[serde(default)]
    plugins: Records,
    #[serde(flatten)]
    other: Others,
}

/// What every version of the file has: read first, so that a newer one is refused for its number and not for its shape.
#[derive(Deserialize)]
struct Numbered {
    v: u64,
}

/// What isn't ours in the file, and stays.
type Others = BTreeMap<String, serde_json::Value>;

/// The records of one project.
#[derive(Debug, Clone)]
pub struct PluginsLock {
    path: PathBuf,
    records: Records,
    other: Others,
}

impl PluginsLock {
    /// Reads `path`; a file that isn't there is one without records.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let bytes = match regular::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::empty(path)),
            Err(source) => return Err(TrustError::Io { verb: "read", path: path.to_owned(), source }),
        };
        let broken = |source| TrustError::Broken { path: path.to_owned(), source };
        let Numbered { v: version } = serde_json::from_slice(&bytes).map_err(broken)?;
        if version > VERSION {
            return Err(TrustError::Future { path: path.to_owned(), version });
        }
        let Document { plugins, other, .. } = serde_json::from_slice(&bytes).map_err(broken)?;
        Ok(Self { path: path.to_owned(), records: plugins, other })
    }

    /// No records yet, to be kept at `path`.
    pub fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), records: Records::new(), other: Others::new() }
    }

    /// The hash that was recorded for a plugin on this platform.
    pub fn recorded(&self, id: &str, version: &Version) -> Option<&str> {
        Some(self.records.get(id)?.get(version)?.get(TRIPLE)?)
    }

    /// Records `found`, in place of what was recorded for its version on this platform, and writes the file: what others
    /// recorded meanwhile stays.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn record(&mut self, found: &Found) -> Result<(), TrustError> {
        let path = self.path.clone();
        let io = |verb| {
            let path = path.clone();
            move |source| TrustError::Io { verb, path, source }
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(io("make the folder of"))?;
        // The folder is what is locked: a lock file of the lock file would stay behind.
        let guard = File::open(folder).map_err(io("lock"))?;
        flock(&guard, FlockOperation::LockExclusive).map_err(io::Error::from).map_err(io("lock"))?;
        let mut now = Self::read(&path)?;
        let versions = now.records.entry(found.build.plugin.id.clone()).or_default();
        let hashes = versions.entry(found.build.version.clone()).or_default();
        hashes.insert(TRIPLE.to_owned(), found.sha256.clone());
        write(folder, &path, &now).map_err(io("write"))?;
        *self = now;
        Ok(())
    }
}

fn write(folder: &Path, path: &Path, lock: &PluginsLock) -> io::Result<()> {
    let (plugins, other) = (lock.records.clone(), lock.other.clone());
    let mut text = serde_json::to_string_pretty(&Document { v: VERSION, plugins, other })?;
    text.push('\n');
    let mut part = tempfile::Builder::new().permissions(permissions()).tempfile_in(folder)?;
    part.write_all(text.as_bytes())?;
    part.as_file().sync_all()?;
    part.persist(path)?;
    File::open(folder)?.sync_all()
}

/// Readable by others, as the file belongs into version control; the umask takes what it wants.
fn permissions() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o666)
}

/// Says how `found` relates to what was recorded. Records nothing.
pub fn check(found: &Found, lock: &PluginsLock) -> Verdict {
    if found.origin == Origin::BesideExecutable {
        return Verdict::BesideExecutable;
    }
    match lock.recorded(&found.build.plugin.id, &found.build.version) {
        Some(recorded) => compare(recorded, &found.sha256),
        None => Verdict::New,
    }
}

/// Turns a verdict that doesn't let the plugin in into an error, with the caution of the `search` that found it.
///
/// # Errors
/// [`TrustError::Changed`], [`TrustError::NotRecorded`].
pub fn admit(found: &Found, lock: &PluginsLock, search: &SearchPath) -> Result<Verdict, TrustError> {
    let (path, id, version) =
        (found.path.clone(), found.build.plugin.id.clone(), found.build.version.clone());
    match check(found, lock) {
        Verdict::Changed(_) => Err(TrustError::Changed { path, id, version }),
        Verdict::New if search.is_locked() => Err(TrustError::NotRecorded { path, id, version }),
        verdict => Ok(verdict),
    }
}

pub(super) fn compare(recorded: &str, sha256: &str) -> Verdict {
    if recorded == sha256 { Verdict::Recorded } else { Verdict::Changed(recorded.to_owned()) }
}
