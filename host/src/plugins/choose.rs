//! Picks the plugin that serves a target.

use std::{cmp::Reverse, fmt, path::PathBuf};

use pop_deploy_plugin_api::protocol::Build;
use semver::{Version, VersionReq};

use super::{
    preflight::Refusal,
    search::{Folder, Origin, SearchPath},
    survey::Survey,
    trust::PluginsLock,
};

/// A plugin that was chosen and read. Everything later works on these very bytes: what happens to the file from
/// now on happens to somebody else.
pub struct Found {
    /// Where it was found.
    pub path: PathBuf,
    /// Why it was looked for there.
    pub origin: Origin,
    /// The whole manifest.
    pub build: Build,
    /// The hash of the file, in hexadecimal.
    pub sha256: String,
    pub(super) bytes: Vec<u8>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Build { version, plugin, .. } = &self.build;
        write!(f, "Found({} {version} at {}, {})", plugin.id, self.path.display(), self.sha256)
    }
}

/// Why no plugin was chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// No file that may be loaded serves the type.
    #[error("no plugin serves targets of type `{kind}`{}", asked(requirement.as_ref()))]
    NotFound {
        /// The type that was looked for.
        kind: String,
        /// The version that was asked for.
        requirement: Option<VersionReq>,
        /// Where was looked.
        folders: Vec<Folder>,
        /// What was found there and turned down.
        rejected: Vec<Rejection>,
        /// The type most like it that some plugin serves.
        nearest: Option<String>,
    },
    /// Two files claim to be the same version and aren't.
    #[error("`{first}` and `{second}` both say that they are `{id}` {version}, and differ")]
    Conflict {
        /// The plugin's id.
        id: String,
        /// The version that both claim.
        version: Version,
        /// The one in the folder that is searched first.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
}

impl ChooseError {
    /// What to try, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::NotFound { nearest: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::NotFound { rejected, .. } if !rejected.is_empty() => {
                "`pop-deploy plugin list` says what each file that was found lacks".into()
            }
            Self::NotFound { .. } => {
                "put the plugin into one of these folders, or name its folder with --plugin-dir".into()
            }
            Self::Conflict { .. } => {
                "remove one of them, or name the folder of the right one with --plugin-dir".into()
            }
        }
    }

    /// The lines under the message: where was looked and what was turned down.
    pub fn details(&self) -> Vec<String> {
        let Self::NotFound { folders, rejected, .. } = self else { return Vec::new() };
        let looked =
            folders.iter().map(|folder| format!("looked in `{}` ({})", folder.path.display(), folder.origin));
        rejected.iter().map(ToString::to_string).chain(looked).collect()
    }
}

fn asked(requirement: Option<&VersionReq>) -> String {
    requirement.map(|wanted| format!(" in a version that is {wanted}")).unwrap_or_default()
}

/// A file that was turned down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It may not be loaded at all.
    #[error("`{path}` {refusal}")]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// It serves the type, in another version.
    #[error("`{path}` is version {version}, and the target asks for {requirement}")]
    Version {
        /// Which.
        path: PathBuf,
        /// What it is.
        version: Version,
        /// What is asked for.
        requirement: VersionReq,
    },
}

/// Picks the plugin for a target of type `kind`: the highest version that `requirement` allows, a release before
/// any pre-release where nothing is required. Of copies that are equal the first folder's counts; where two differ and claim the same version, see
/// [`ChooseError::Conflict`], the one of `--plugin-dir` counts, else the one that `lock` has recorded, else the one beside the executable.
///
/// # Errors
/// See [`ChooseError`].
pub fn choose(
    search: &SearchPath,
    lock: &PluginsLock,
    kind: &str,
    requirement: Option<&VersionReq>,
) -> Result<Found, ChooseError> {
    let mut survey = Survey::new(search);
    let chosen = pick(&mut survey, lock, kind, requirement);
    let not_found = match &chosen {
        Ok(None) => Some(not_found(&survey, search, kind, requirement)),
        _ => None,
    };
    survey.save(search);
    match (chosen?, not_found) {
        (Some(found), _) => Ok(found),
        (None, error) => Err(error.unwrap_or_else(|| unreachable!("made above"))),
    }
}

fn pick(
    survey: &mut Survey,
    lock: &PluginsLock,
    kind: &str,
    requirement: Option<&VersionReq>,
) -> Result<Option<Found>, ChooseError> {
    loop {
        let Some(number) = best(survey, lock, kind, requirement)? else { return Ok(None) };
        let before = survey.sighted[number].build.clone();
        // A file that can't be read after all, or says something new, was not the best: look again.
        if let Ok(whole) = survey.read(number)
            && survey.sighted[number].build == before
        {
            let sighted = &survey.sighted[number];
            let (path, origin) = (sighted.path.clone(), sighted.origin);
            return Ok(Some(Found {
                path,
                origin,
                build: whole.build,
                sha256: whole.sha256,
                bytes: whole.bytes,
            }));
        }
    }
}

/// The number of the best file for `kind`, by what the survey knows.
pub(super) fn best(
    survey: &mut Survey,
    lock: &PluginsLock,
    kind: &str,
    requirement: Option<&VersionReq>,
) -> Result<Option<usize>, ChooseError> {
    let fits = |build: &Build| {
        build.plugin.serves(kind) && requirement.is_none_or(|wanted| wanted.matches(&build.version))
    };
    let candidates = survey.sighted.iter().enumerate();
    let candidates = candidates.filter_map(|(number, sighted)| Some((number, sighted.build.as_ref().ok()?)));
    let top = candidates.filter(|(_, build)| fits(build)).max_by_key(|(number, build)| {
        let release = requirement.is_some() || build.version.pre.is_empty();
        (release, build.version.clone(), Reverse(*number))
    });
    let Some((_, top)) = top else { return Ok(None) };
    let (id, version) = (top.plugin.id.clone(), top.version.clone());
    let same: Vec<usize> = (0..survey.sighted.len())
        .filter(|number| {
            let build = survey.sighted[*number].build.as_ref();
            build.is_ok_and(|build| fits(build) && build.plugin.id == id && build.version == version)
        })
        .collect();
    settle(survey, lock, &id, &version, &same)
}

/// Which of several files that claim to be the same version counts.
fn settle(
    survey: &mut Survey,
    lock: &PluginsLock,
    id: &str,
    version: &Version,
    same: &[usize],
) -> Result<Option<usize>, ChooseError> {
    if let [only] = same {
        return Ok(Some(*only));
    }
    // One that can't be read any more is out; the survey has noted why.
    let hashed: Vec<(usize, String)> =
        same.iter().filter_map(|number| Some((*number, survey.sha256(*number).ok()?))).collect();
    let Some((first, hash)) = hashed.first() else { return Ok(None) };
    let Some((other, _)) = hashed.iter().find(|(_, other)| other != hash) else { return Ok(Some(*first)) };
    let from = |origin| hashed.iter().find(|(number, _)| survey.sighted[*number].origin == origin);
    let recorded = lock.recorded(id, version);
    let winner = from(Origin::Explicit)
        .or_else(|| hashed.iter().find(|(_, hash)| recorded == Some(hash.as_str())))
        .or_else(|| from(Origin::BesideExecutable));
    match winner {
        Some((number, _)) => Ok(Some(*number)),
        None => Err(ChooseError::Conflict {
            id: id.to_owned(),
            version: version.clone(),
            first: survey.sighted[*first].path.clone(),
            second: survey.sighted[*other].path.clone(),
        }),
    }
}

fn not_found(
    survey: &Survey,
    search: &SearchPath,
    kind: &str,
    requirement: Option<&VersionReq>,
) -> ChooseError {
    let rejected = survey.sighted.iter().filter_map(|sighted| {
        let path = sighted.path.clone();
        match (&sighted.build, requirement) {
            (Err(refusal), _) => Some(Rejection::Refused { path, refusal: refusal.clone() }),
            (Ok(build), Some(wanted)) if build.plugin.serves(kind) => {
                Some(Rejection::Version { path, version: build.version.clone(), requirement: wanted.clone() })
            }
            _ => None,
        }
    });
    let served = survey.sighted.iter().filter_map(|sighted| sighted.build.as_ref().ok());
    let nearest = served
        .flat_map(|build| &build.plugin.types)
        .map(|served| (strsim::damerau_levenshtein(served, kind), served))
        .filter(|(distance, served)| *distance > 0 && *distance <= served.len().max(kind.len()) / 3)
        .min();
    ChooseError::NotFound {
        kind: kind.to_owned(),
        requirement: requirement.cloned(),
        folders: search.folders().to_vec(),
        rejected: rejected.collect(),
        nearest: nearest.map(|(_, served)| served.clone()),
    }
}
