//! Puts a plugin into the user's folder, and takes it out again.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::protocol::Build;

use super::{
    preflight::{self, Refusal},
    search::{Origin, SearchPath},
    survey::Survey,
};

/// Why a plugin can't be put there or taken away.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The file may not be loaded, so it isn't put where it would be.
    #[error("`{path}` {refusal}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// There is no folder of the user's: no home.
    #[error("there is no folder for plugins of this user")]
    NoFolder,
    /// No file in the user's folder is that plugin.
    #[error("there is no plugin `{id}` in `{folder}`")]
    NotThere {
        /// The plugin's id.
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
            Self::NoFolder => "set HOME or XDG_DATA_HOME".into(),
            Self::NotThere { .. } => {
                "`pop-deploy plugin list` shows where it is; other folders are not ours to clean".into()
            }
            Self::Io { .. } => "check who owns it and who may write there".into(),
        }
    }
}

/// Copies the plugin at `path` into the user's folder, over an earlier one of that file name; says what it is and where.
///
/// # Errors
/// See [`InstallError`]; nothing was copied then.
pub fn add(search: &SearchPath, path: &Path) -> Result<(Build, PathBuf), InstallError> {
    let refused = |refusal| InstallError::Refused { path: path.to_owned(), refusal };
    let absolute = std::path::absolute(path).map_err(at("find", path))?;
    let (mut file, meta) = preflight::open(&absolute).map_err(refused)?;
    let bytes = preflight::read_whole(&mut file, meta.len()).map_err(refused)?;
    let build = preflight::manifest(bytes.as_slice(), meta.len()).map_err(refused)?;
    preflight::check_build(&build).map_err(refused)?;

    let folder = user_folder(search)?;
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder).map_err(at("make", &folder))?;
    let name = path.file_name().ok_or(InstallError::NoFolder)?;
    let to = folder.join(name);
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

/// Removes every file of the plugin `id` from the user's folder; says which.
///
/// # Errors
/// See [`InstallError`].
pub fn remove(search: &SearchPath, id: &str) -> Result<Vec<PathBuf>, InstallError> {
    let folder = user_folder(search)?;
    let survey = Survey::new(search);
    let is_it = |build: &Build| build.plugin.id == id;
    let paths: Vec<_> = survey
        .sighted
        .iter()
        .filter(|file| file.origin == Origin::User && file.build.as_ref().is_ok_and(is_it))
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
    let folder = search.folders().iter().find(|folder| folder.origin == Origin::User);
    folder.map(|folder| folder.path.clone()).ok_or(InstallError::NoFolder)
}

fn at<'p>(verb: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> InstallError + 'p {
    move |source| InstallError::Io { verb, path: path.to_owned(), source }
}
