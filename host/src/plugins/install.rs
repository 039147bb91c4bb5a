//! Puts a plugin into the user's folder, and takes it out again.

use std::{
    env::consts::DLL_SUFFIX,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::protocol::Build;
use semver::Version;

use super::{
    outline::Outline,
    ownership::{self, Unsafe},
    preflight::{self, Refusal},
    search::SearchPath,
    survey::Survey,
};

/// Why a plugin can't be put there or taken away.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The file may not be loaded, so it isn't put where it would be.
    #[error("`{path}` {}", refusal.elsewhere())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// Nothing would be loaded from the folder.
    #[error("a plugin in `{folder}` wouldn't be loaded: {why}")]
    Unsafe {
        /// The user's folder.
        folder: PathBuf,
        /// What is wrong with it.
        why: Unsafe,
    },
    /// Another plugin has that file name.
    #[error("`{path}` is another plugin, `{id}` {version}")]
    Occupied {
        /// The file that is there.
        path: PathBuf,
        /// Its id.
        id: String,
        /// Its version.
        version: Version,
    },
    /// There is no folder of the user's: no home.
    #[error("there is no folder for plugins of this user")]
    NoFolder,
    /// No file in the user's folder is that plugin.
    #[error("there is neither a plugin nor a file `{id}` in `{folder}`")]
    NotThere {
        /// The plugin's id, or its file's name.
        id: String,
        /// The user's folder.
        folder: PathBuf,
    },
    /// The system refuses.
    #[error("can't {verb} `{path}`")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
}

impl InstallError {
    /// What to try, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::Refused { .. } => "nothing was copied; mend what is said above and add it again".into(),
            Self::Unsafe { .. } => "nothing was copied; add it again when the folder is safe".into(),
            Self::Occupied { id, .. } => {
                format!("give the file another name, or run `pop-deploy plugin remove {id}` first")
            }
            Self::NoFolder => "set HOME or XDG_DATA_HOME".into(),
            Self::NotThere { .. } => {
                "`pop-deploy plugin list` shows where it is; other folders are not ours to clean".into()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check how the path is spelt".into()
            }
            Self::Io { .. } => "check who owns it and who may write there".into(),
        }
    }
}

/// Copies the plugin at `path` into the user's folder, over an earlier build of it under that file name; says what it is
/// and where. A file that isn't called like a library gets its id as name.
///
/// # Errors
/// See [`InstallError`]; nothing was copied then.
pub fn add(search: &SearchPath, path: &Path) -> Result<(Build, PathBuf), InstallError> {
    let refused = |refusal| InstallError::Refused { path: path.to_owned(), refusal };
    let absolute = std::path::absolute(path).map_err(at("find", path))?;
    fs::metadata(&absolute).map_err(at("read", path))?;
    let (mut file, meta) = preflight::open(&absolute).map_err(refused)?;
    let bytes = preflight::read_whole(&mut file, meta.len()).map_err(refused)?;
    let build = preflight::manifest(bytes.as_slice(), meta.len()).map_err(refused)?;
    preflight::check_build(&build).map_err(refused)?;

    let folder = user_folder(search)?;
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder).map_err(at("make", &folder))?;
    ownership::check_folder(&folder).map_err(|why| InstallError::Unsafe { folder: folder.clone(), why })?;
    let to = folder.join(file_name(path, &build));
    check_free(&to, &build)?;
    let mut part = tempfile::NamedTempFile::new_in(&folder).map_err(at("write to", &folder))?;
    let written = part
        .write_all(&bytes)
        .and_then(|()| part.as_file().set_permissions(fs::Permissions::from_mode(0o644)))
        .and_then(|()| part.as_file().sync_all());
    written.map_err(at("write", part.path()))?;
    part.persist(&to).map_err(|error| at("write", &to)(error.error))?;
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(at("write to", &folder))?;
    Ok((build, to))
}

/// What is called like a library is looked at; anything else would lie there unseen.
fn file_name(path: &Path, build: &Build) -> OsString {
    let name = path.file_name().filter(|name| name.as_bytes().ends_with(DLL_SUFFIX.as_bytes()));
    name.map_or_else(|| format!("{}{DLL_SUFFIX}", build.plugin.id).into(), OsStr::to_owned)
}

/// Whether the place is free, or taken by what may be replaced: another build of the same plugin, or no plugin at all.
fn check_free(to: &Path, build: &Build) -> Result<(), InstallError> {
    match preflight::read(to) {
        Ok(Build { version, plugin, .. }) if plugin.id != build.plugin.id => {
            Err(InstallError::Occupied { path: to.to_owned(), id: plugin.id, version })
        }
        _ => Ok(()),
    }
}

/// Removes every file of the plugin `id`, or the file of that name, from the user's folder; says which. What is damaged has
/// no id.
///
/// # Errors
/// See [`InstallError`].
pub fn remove(search: &SearchPath, id: &str) -> Result<Vec<PathBuf>, InstallError> {
    let folder = user_folder(search)?;
    let survey = Survey::new(search);
    let is_it = |build: &Outline| build.id() == id;
    let is_there = |path: &Path| path.parent() == Some(&*folder);
    let paths: Vec<_> = survey
        .sighted
        .iter()
        .filter(|file| is_there(&file.path))
        .filter(|file| file.build.as_ref().is_ok_and(is_it) || file.path.file_name() == Some(OsStr::new(id)))
        .map(|file| file.path.clone())
        .collect();
    if paths.is_empty() {
        return Err(InstallError::NotThere { id: id.to_owned(), folder });
    }
    for path in &paths {
        fs::remove_file(path).map_err(at("remove", path))?;
    }
    Ok(paths)
}

fn user_folder(search: &SearchPath) -> Result<PathBuf, InstallError> {
    search.user_folder().map(Path::to_owned).ok_or(InstallError::NoFolder)
}

fn at<'p>(verb: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> InstallError + 'p {
    move |source| InstallError::Io { verb, path: path.to_owned(), source }
}
