//! Where plugins are looked for, in which order.

use std::{
    env,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
};

/// Why a folder is on the search path. The order of the variants is the order of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Named by `--plugin-dir`.
    Explicit,
    /// Named by `$POP_DEPLOY_PLUGIN_PATH`.
    Environment,
    /// The user's data folder.
    User,
    /// The system's folder, or the one of the installation that the executable belongs to.
    System,
    /// The folder that the executable lies in.
    BesideExecutable,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explicit => "--plugin-dir",
            Self::Environment => "$POP_DEPLOY_PLUGIN_PATH",
            Self::User => "user",
            Self::System => "system",
            Self::BesideExecutable => "beside the executable",
        })
    }
}

/// One folder of the search path. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder, absolute.
    pub path: PathBuf,
    /// Why it is searched.
    pub origin: Origin,
}

/// The folders that plugins are looked for in, most wanted first, and where what was read is remembered.
#[derive(Debug, Clone)]
pub struct SearchPath {
    folders: Vec<Folder>,
    user: Option<PathBuf>,
    cache: Option<PathBuf>,
    locked: bool,
}

impl SearchPath {
    /// The search path of this process, with `explicit` folders first.
    ///
    /// Relative entries of the environment are left out: the working directory never takes part by itself. A
    /// relative `explicit` folder was typed by the user, who knows where they are.
    pub fn new(explicit: &[PathBuf]) -> Self {
        let home = env::var_os("HOME").map(PathBuf::from);
        let user = absolute(env::var_os("XDG_DATA_HOME").as_deref())
            .or_else(|| home.as_ref().map(|home| home.join(".local/share")))
            .map(|data| data.join("pop-deploy/plugins"));
        let executable = env::current_exe().ok().and_then(|path| path.canonicalize().ok());
        let beside = executable.as_deref().and_then(Path::parent).map(Path::to_owned);
        let installed =
            beside.as_deref().and_then(Path::parent).map(|prefix| prefix.join("lib/pop-deploy/plugins"));
        let listed = env::var_os("POP_DEPLOY_PLUGIN_PATH").unwrap_or_default();

        let explicit = explicit.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        let system = ["/usr/local/lib/pop-deploy/plugins", "/usr/lib/pop-deploy/plugins"].map(PathBuf::from);
        let folders = explicit
            .map(|path| (path, Origin::Explicit))
            .chain(env::split_paths(&listed).map(|path| (path, Origin::Environment)))
            .chain(user.map(|path| (path, Origin::User)))
            .chain(installed.map(|path| (path, Origin::System)))
            .chain(system.map(|path| (path, Origin::System)))
            .chain(beside.map(|path| (path, Origin::BesideExecutable)))
            .map(|(path, origin)| Folder { path, origin });
        Self::of(folders).with_cache(user_cache())
    }

    /// A search path of just these folders, which remembers nothing. Relative folders and repetitions are left out.
    pub fn of(folders: impl IntoIterator<Item = Folder>) -> Self {
        let mut kept: Vec<Folder> = Vec::new();
        let mut user = None;
        for folder in folders {
            // It stays the user's own where it was named before under another heading.
            if folder.origin == Origin::User {
                user = user.or_else(|| Some(folder.path.clone()));
            }
            if folder.path.is_absolute() && kept.iter().all(|other| other.path != folder.path) {
                kept.push(folder);
            }
        }
        Self { folders: kept, user, cache: None, locked: false }
    }

    /// Remembers in the folder `cache` what files said; without one every file is read every time.
    #[must_use]
    pub fn with_cache(mut self, cache: Option<PathBuf>) -> Self {
        self.cache = cache;
        self
    }

    /// Lets in only what `plugins.lock` has recorded, where `locked`.
    #[must_use]
    pub fn locked(mut self, locked: bool) -> Self {
        self.locked = locked;
        self
    }

    /// Whether only what `plugins.lock` has recorded is let in.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// The folders, most wanted first.
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// The user's own folder, in which plugins are put and taken out; none without a home.
    pub fn user_folder(&self) -> Option<&Path> {
        self.user.as_deref()
    }

    /// Where what was read is remembered.
    pub(super) fn index_file(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join("index.json"))
    }
}

/// `$XDG_CACHE_HOME/pop-deploy` or its default; none without a home.
pub(super) fn user_cache() -> Option<PathBuf> {
    absolute(env::var_os("XDG_CACHE_HOME").as_deref())
        .or_else(|| absolute(env::var_os("HOME").as_deref()).map(|home| home.join(".cache")))
        .map(|cache| cache.join("pop-deploy"))
}

/// The XDG specification: a relative path in such a variable is to be ignored.
fn absolute(path: Option<&OsStr>) -> Option<PathBuf> {
    path.map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_folders_come_first_and_the_executables_last() {
        let path = SearchPath::new(&["/opt/plugins".into(), "/opt/plugins".into()]);
        let origins: Vec<_> = path.folders().iter().map(|folder| folder.origin).collect();
        assert_eq!(path.folders()[0], Folder { path: "/opt/plugins".into(), origin: Origin::Explicit });
        assert_eq!(origins.iter().filter(|origin| **origin == Origin::Explicit).count(), 1);
        assert_eq!(origins.last(), Some(&Origin::BesideExecutable));
        assert!(origins.is_sorted());
    }

    #[test]
    fn relative_folders_are_left_out() {
        let folders = ["plugins", "./x", "", "/srv/plugins"].map(PathBuf::from);
        let path = SearchPath::of(folders.map(|path| Folder { path, origin: Origin::Environment }));
        assert_eq!(path.folders().len(), 1);
    }
}
