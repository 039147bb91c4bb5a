//! The web root: which path is what, and what is live.
//!
//! ```text
//! <dir>/current                        what is served: a link to a release, or a real folder
//! <dir>/releases/<id>                  a release
//! <dir>/releases/.tmp-<id>             one that is being made, or deleted
//! <dir>/releases/before-<id>           a folder that `current` was before <id>, not of our making; never deleted
//! <dir>/.pop-deploy/lock, owner.json   who deploys, and whose web root it is
//! <dir>/.pop-deploy/releases/<id>.json what the release consists of
//! ```

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::{Error, IoContext as _, Result};
use serde::{Deserialize, Serialize};

use crate::manifest::Head;

/// The folder that holds the web root and its bookkeeping.
#[derive(Debug, Clone)]
pub(crate) struct Webroot {
    pub(crate) base: PathBuf,
}

/// What `current` is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Current {
    /// Not there: nothing was deployed yet.
    Absent,
    /// A link to `releases/<id>`.
    Link(String),
    /// A real folder, by its inode.
    Folder(u64),
    /// Anything else, in words. No deployment touches it.
    Foreign(String),
}

impl Webroot {
    /// The place itself: two targets with one identity would fight over it.
    pub(crate) fn identity(&self) -> String {
        format!("dir:{}", self.base.display())
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.base.join("current")
    }

    pub(crate) fn releases(&self) -> PathBuf {
        self.base.join("releases")
    }

    pub(crate) fn release(&self, id: &str) -> PathBuf {
        self.releases().join(id)
    }

    /// Where a release is made, and where it is deleted: nobody takes it for one that is whole.
    pub(crate) fn temporary(&self, id: &str) -> PathBuf {
        self.releases().join(format!(".tmp-{id}"))
    }

    pub(crate) fn bookkeeping(&self) -> PathBuf {
        self.base.join(".pop-deploy")
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.bookkeeping().join("releases")
    }

    pub(crate) fn manifest(&self, id: &str) -> PathBuf {
        self.manifests().join(format!("{id}.json"))
    }

    pub(crate) fn manifest_being_written(&self, id: &str) -> PathBuf {
        self.manifests().join(format!("{id}.tmp"))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.bookkeeping().join("lock")
    }

    pub(crate) fn owner(&self) -> PathBuf {
        self.bookkeeping().join("owner.json")
    }

    /// Where the next `current` is made: a link's words count from where it ends up.
    pub(crate) fn next(&self) -> PathBuf {
        self.bookkeeping().join("next")
    }

    /// The folders that a first deployment makes, outermost first.
    pub(crate) fn missing_folders(&self) -> Vec<PathBuf> {
        let mut missing: Vec<_> =
            self.base.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        missing.reverse();
        let ours = [self.releases(), self.bookkeeping(), self.manifests()];
        missing.extend(ours.into_iter().filter(|folder| !folder.exists()));
        missing
    }

    /// Reads what is live.
    pub(crate) fn look(&self) -> Result<Current> {
        let path = self.current();
        let Some(found) = absent(path.symlink_metadata()).at("look at", &path)? else {
            return Ok(Current::Absent);
        };
        if found.is_dir() {
            return Ok(Current::Folder(found.ino()));
        }
        if !found.is_symlink() {
            return Ok(Current::Foreign("a file".to_owned()));
        }
        let to = fs::read_link(&path).at("read", &path)?;
        let from_base = to.strip_prefix(&self.base).unwrap_or(&to);
        let id = from_base.strip_prefix("releases").ok().and_then(Path::to_str).filter(|id| is_id(id));
        Ok(match id {
            Some(id) => Current::Link(id.to_owned()),
            None => Current::Foreign(format!("a link to `{}`", to.display())),
        })
    }

    /// The folder that `path` is, by its inode; none where there is none.
    pub(crate) fn folder_at(&self, path: &Path) -> Result<Option<u64>> {
        let found = absent(path.symlink_metadata()).at("look at", path)?;
        Ok(found.filter(fs::Metadata::is_dir).map(|found| found.ino()))
    }

    /// The inode of the folder that is served.
    pub(crate) fn live_folder(&self, current: &Current) -> Result<Option<u64>> {
        match current {
            Current::Link(id) => self.folder_at(&self.release(id)),
            Current::Folder(ino) => Ok(Some(*ino)),
            Current::Absent | Current::Foreign(_) => Ok(None),
        }
    }

    /// Makes changes to names in `folder` durable.
    pub(crate) fn sync(&self, folder: &Path) -> Result<()> {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)
    }
}

impl fmt::Display for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Link(id) => write!(f, "a link to release {id}"),
            Self::Folder(_) => f.write_str("a folder"),
            Self::Foreign(what) => f.write_str(what),
        }
    }
}

impl Current {
    /// The one of `heads` that is live.
    pub(crate) fn release<'h>(&self, heads: &'h [Head]) -> Option<&'h Head> {
        heads.iter().find(|head| match self {
            Self::Link(id) => head.release.id == *id,
            Self::Folder(ino) => head.root == *ino,
            Self::Absent | Self::Foreign(_) => false,
        })
    }
}

/// Whether `id` is safe as a file's name.
pub(crate) fn is_id(id: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !id.is_empty() && !id.starts_with(['.', '-']) && id.chars().all(safe)
}

/// Refuses an id that isn't safe as a file's name; the host promises that it is.
pub(crate) fn check_id(id: &str) -> Result<()> {
    if is_id(id) && !id.starts_with("before-") {
        return Ok(());
    }
    Err(Error::preflight(format!("`{id}` can't name a release")).hint("use letters, digits, `.` and `-`"))
}

/// Turns "not found" into none.
pub(crate) fn absent<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
