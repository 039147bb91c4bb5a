//! Where a project is, and where its deploy.json and everything we write lie.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{config::Environment, lock};

/// The variable that names the data folder, where it is set and not empty.
pub const DATA_VARIABLE: &str = "CLAUDE_PLUGIN_DATA";

/// The data folder of the popkit wrapper, below the project folder.
const POPKIT_DATA: &str = ".claude/popkit";

/// Our own data folder, below the project folder.
const OWN_DATA: &str = ".pop-deploy";

/// A project with a deploy.json.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The project folder, absolute, links resolved. Relative paths in a config are relative to it.
    pub dir: PathBuf,
    /// The data folder, absolute: deploy.json, locks, journals, logs.
    pub data: PathBuf,
    /// The deploy.json in the data folder; may be a link.
    pub deploy_json: PathBuf,
    /// The environment that is worked in.
    pub environment: Environment,
}

/// Why there is no project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The folder that was given isn't there, or can't be entered.
    #[error("directory not found: `{}`", dir.display())]
    NoDirectory {
        /// The folder, made absolute.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was given is a file.
    #[error("`{}` is not a directory", dir.display())]
    NotADirectory {
        /// The path, made absolute.
        dir: PathBuf,
    },
    /// The folder's name can't go into reports, journals and plugins' requests, which are JSON.
    #[error("the path of `{}` is not UTF-8", dir.display())]
    NotUtf8 {
        /// The folder.
        dir: PathBuf,
    },
    /// None of the places has a deploy.json.
    #[error("no deploy.json found for `{}`; looked at {}", dir.display(), paths(looked))]
    NoDeployJson {
        /// The project folder, absolute, links resolved.
        dir: PathBuf,
        /// Each deploy.json that isn't there, in the order looked; never empty. The first is where the wrapper expects it.
        looked: Vec<PathBuf>,
    },
    /// Whether there is a deploy.json can't be told.
    #[error("can't look for `{}`", path.display())]
    Unreadable {
        /// The deploy.json.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ProjectError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoDirectory { .. } | Self::NotADirectory { .. } => "check the path given with `--dir`",
            Self::NotUtf8 { .. } => "rename the folder, or reach it by another path",
            Self::NoDeployJson { .. } => "`pop-deploy init` writes one; or point `--dir` at the project",
            Self::Unreadable { .. } => "check who owns that folder and who may read it",
        };
        Some(hint.to_owned())
    }
}

impl Project {
    /// The project that a person in `dir` means: the data folder is `$CLAUDE_PLUGIN_DATA`, or the nearest
    /// `.claude/popkit` or `.pop-deploy` from `dir` upwards to the repository's root (outside of a repository: at
    /// `dir` alone), each only with a deploy.json in it.
    ///
    /// The project folder is the one that the data folder was found in; with the variable it is `dir` itself, as in
    /// the wrapper's dialect.
    ///
    /// # Errors
    /// When `dir` isn't a folder, or nothing is found.
    pub fn for_people(dir: &Path) -> Result<Self, ProjectError> {
        Self::from_here_upwards(dir, from_variable())
    }

    fn from_here_upwards(dir: &Path, variable: Option<PathBuf>) -> Result<Self, ProjectError> {
        let dir = resolved(dir)?;
        let root = dir.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&dir);
        let mut places: Vec<(PathBuf, PathBuf)> =
            variable.into_iter().map(|data| (dir.clone(), data)).collect();
        for folder in dir.ancestors().take_while(|folder| folder.starts_with(root)) {
            for data in [POPKIT_DATA, OWN_DATA] {
                places.push((folder.to_owned(), folder.join(data)));
            }
        }
        first_with_deploy_json(&dir, places)
    }

    /// The project that the wrapper means: `$CLAUDE_PLUGIN_DATA`, else `.claude/popkit` in `dir` itself.
    ///
    /// # Errors
    /// When `dir` isn't a folder, or there is no deploy.json.
    pub fn for_popkit(dir: &Path) -> Result<Self, ProjectError> {
        let project = Self::of_popkit(dir)?;
        first_with_deploy_json(&project.dir, vec![(project.dir.clone(), project.data)])
    }

    /// The same, whether there is a deploy.json or not.
    ///
    /// # Errors
    /// When `dir` isn't a folder.
    pub fn of_popkit(dir: &Path) -> Result<Self, ProjectError> {
        let dir = resolved(dir)?;
        let data = from_variable().unwrap_or_else(|| dir.join(POPKIT_DATA));
        Ok(Self::at(dir, data))
    }

    /// Where `dir` would become a project: `$CLAUDE_PLUGIN_DATA`, or `.claude/popkit` where that folder is, else
    /// `.pop-deploy`. Nothing above `dir` counts, and nothing has to be there yet.
    ///
    /// # Errors
    /// When `dir` isn't a folder.
    pub fn to_begin(dir: &Path) -> Result<Self, ProjectError> {
        let dir = resolved(dir)?;
        let popkit = Some(dir.join(POPKIT_DATA)).filter(|data| data.is_dir());
        let data = from_variable().or(popkit).unwrap_or_else(|| dir.join(OWN_DATA));
        Ok(Self::at(dir, data))
    }

    /// A project whose data folder is known.
    pub fn at(dir: PathBuf, data: PathBuf) -> Self {
        let deploy_json = data.join("deploy.json");
        Self { dir, data, deploy_json, environment: Environment::default() }
    }

    /// The same project, to be worked on in another environment.
    pub fn in_environment(self, environment: Environment) -> Self {
        Self { environment, ..self }
    }

    /// Where the environment keeps what is its own: its locks. Production's is the data folder itself.
    pub fn environment_folder(&self) -> PathBuf {
        if self.environment.is_production() {
            return self.data.clone();
        }
        self.data.join("environments").join(lock::file_name(self.environment.name()))
    }
}

fn first_with_deploy_json(dir: &Path, places: Vec<(PathBuf, PathBuf)>) -> Result<Project, ProjectError> {
    let mut looked = Vec::new();
    for (folder, data) in places {
        let project = Project::at(folder, data);
        match fs::metadata(&project.deploy_json) {
            Ok(_) => return Ok(project),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                looked.push(project.deploy_json);
            }
            Err(source) => return Err(ProjectError::Unreadable { path: project.deploy_json, source }),
        }
    }
    Err(ProjectError::NoDeployJson { dir: dir.to_owned(), looked })
}

fn resolved(dir: &Path) -> Result<PathBuf, ProjectError> {
    let absolute = || std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let resolved =
        fs::canonicalize(dir).map_err(|source| ProjectError::NoDirectory { dir: absolute(), source })?;
    if !resolved.is_dir() {
        return Err(ProjectError::NotADirectory { dir: absolute() });
    }
    if resolved.to_str().is_none() {
        return Err(ProjectError::NotUtf8 { dir: resolved });
    }
    Ok(resolved)
}

fn from_variable() -> Option<PathBuf> {
    std::env::var_os(DATA_VARIABLE).filter(|value| !value.is_empty()).map(data_folder)
}

fn data_folder(value: OsString) -> PathBuf {
    let path = PathBuf::from(value);
    std::path::absolute(&path).unwrap_or(path)
}

fn paths(looked: &[PathBuf]) -> String {
    looked.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// A repository with a project in `app`, and the folder of that name.
    fn repository(data: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("repo/.git")).unwrap();
        fs::create_dir_all(root.join("repo/app/src")).unwrap();
        for data in data {
            fs::create_dir_all(root.join(data)).unwrap();
            fs::write(root.join(data).join("deploy.json"), "{}").unwrap();
        }
        (folder, root)
    }

    #[test]
    fn the_nearest_data_folder_below_the_repository_root_counts() {
        let (_folder, root) =
            repository(&["repo/app/.pop-deploy", "repo/.claude/popkit", ".pop-deploy", "data"]);
        let found = |dir: &str| Project::from_here_upwards(&root.join(dir), None).unwrap();
        assert_eq!(found("repo/app/src").data, root.join("repo/app/.pop-deploy"));
        assert_eq!(found("repo/app/src").dir, root.join("repo/app"));
        assert_eq!(found("repo").data, root.join("repo/.claude/popkit"));
        let variable =
            Project::from_here_upwards(&root.join("repo/app/src"), Some(root.join("data"))).unwrap();
        assert_eq!((variable.dir, variable.data), (root.join("repo/app/src"), root.join("data")));
    }

    #[test]
    fn nothing_above_the_repository_or_outside_of_one_is_taken() {
        let (_folder, root) = repository(&[".pop-deploy"]);
        let inside = Project::from_here_upwards(&root.join("repo/app"), None).unwrap_err();
        let ProjectError::NoDeployJson { looked, .. } = &inside else { panic!("{inside}") };
        let looked: Vec<_> = looked.iter().map(|path| path.strip_prefix(&root).unwrap()).collect();
        let places =
            ["repo/app/.claude/popkit", "repo/app/.pop-deploy", "repo/.claude/popkit", "repo/.pop-deploy"];
        assert_eq!(looked, places.map(|place| Path::new(place).join("deploy.json")));

        fs::remove_dir(root.join("repo/.git")).unwrap();
        let outside = Project::from_here_upwards(&root.join("repo/app"), None).unwrap_err();
        assert!(matches!(outside, ProjectError::NoDeployJson { looked, .. } if looked.len() == 2));
        assert_eq!(Project::from_here_upwards(&root, None).unwrap().data, root.join(".pop-deploy"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_in_full() {
        let error = Project::for_people(Path::new("no-such-folder")).unwrap_err();
        let full = std::env::current_dir().unwrap().join("no-such-folder");
        assert_eq!(error.to_string(), format!("directory not found: `{}`", full.display()));
    }
}
