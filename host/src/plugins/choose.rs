//! Picks the plugin that serves a target.

use std::{cmp::Reverse, fmt, path::PathBuf, sync::Arc};

use pop_deploy_plugin_api::protocol::Build;
use semver::{Version, VersionReq};

use super::{
    outline::Outline,
    preflight::Refusal,
    search::{Folder, Origin, SearchPath},
    survey::{Sighted, Survey, Whole},
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
    pub(super) bytes: Arc<Vec<u8>>,
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
    /// No file that may be loaded is what was looked for.
    #[error(transparent)]
    NotFound(Box<NotFound>),
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

/// What was looked for, where, and what was found instead.
#[derive(Debug, thiserror::Error)]
#[error("no plugin {wanted}{}", asked(requirement.as_ref()))]
pub struct NotFound {
    /// What was looked for.
    pub wanted: Wanted,
    /// The version that was asked for.
    pub requirement: Option<VersionReq>,
    /// Where was looked.
    pub folders: Vec<Folder>,
    /// What was found there and turned down.
    pub rejected: Vec<Rejection>,
    /// The name most like it that there is.
    pub nearest: Option<String>,
}

impl ChooseError {
    /// What to try, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::NotFound(not_found) => not_found.hint(),
            Self::Conflict { .. } => {
                "remove one of them, or name with --plugin-dir a folder that has only the right one".into()
            }
        }
    }

    /// The lines under the message: where was looked and what was turned down.
    pub fn details(&self) -> Vec<String> {
        let Self::NotFound(not_found) = self else { return Vec::new() };
        let NotFound { folders, rejected, .. } = &**not_found;
        let looked =
            folders.iter().map(|folder| format!("looked in `{}` ({})", folder.path.display(), folder.origin));
        rejected.iter().map(ToString::to_string).chain(looked).collect()
    }
}

impl NotFound {
    fn hint(&self) -> String {
        let wrong_version = |rejection: &Rejection| matches!(rejection, Rejection::Version { .. });
        match &self.nearest {
            _ if self.rejected.iter().any(wrong_version) => {
                "ask for a version that is there, or install one that the target asks for".into()
            }
            Some(near) => format!("did you mean `{near}`?"),
            None if matches!(self.wanted, Wanted::Exactly(..)) => {
                "`pop-deploy plugin list` shows which versions there are".into()
            }
            None if self.rejected.is_empty() => {
                "put the plugin into one of these folders, or name its folder with --plugin-dir".into()
            }
            None => "`pop-deploy plugin list` says what each file that was found lacks".into(),
        }
    }
}

fn asked(requirement: Option<&VersionReq>) -> String {
    requirement.map(|wanted| format!(" in a version that is {wanted}")).unwrap_or_default()
}

/// What a plugin is looked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A type of target that it serves.
    Type(String),
    /// Its own id.
    Id(String),
    /// Its own id, and one version of it.
    Exactly(String, Version),
}

impl Wanted {
    fn is_met_by(&self, build: &Outline) -> bool {
        match self {
            Self::Type(kind) => build.serves(kind),
            Self::Id(id) => build.id() == id,
            Self::Exactly(id, version) => build.id() == id && build.version() == version,
        }
    }

    /// The names that a plugin could have been found by.
    fn names<'a>(&self, build: &'a Outline) -> Vec<&'a str> {
        match self {
            Self::Type(_) => build.types().iter().map(String::as_str).collect(),
            Self::Id(_) | Self::Exactly(..) => vec![build.id()],
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(kind) => write!(f, "serves targets of type `{kind}`"),
            Self::Id(id) => write!(f, "is called `{id}`"),
            Self::Exactly(id, version) => write!(f, "is `{id}` {version}"),
        }
    }
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

/// Picks the plugin for a target of type `kind`: one of that name before any other, of these the highest version that `requirement` allows, a release before
/// any pre-release where nothing is required. Of copies that are equal the first folder's counts; where two differ and claim the same version, see
/// [`ChooseError::Conflict`], the one of `--plugin-dir` counts (of two in one such folder neither), else the one that `lock` has recorded, else the one beside the executable.
///
/// # Errors
/// See [`ChooseError`].
pub fn choose(
    search: &SearchPath,
    lock: &PluginsLock,
    kind: &str,
    requirement: Option<&VersionReq>,
) -> Result<Found, ChooseError> {
    look_for(search, lock, Wanted::Type(kind.to_owned()), requirement)
}

/// Picks the plugin with this id, by the rules of [`choose`].
///
/// # Errors
/// See [`ChooseError`].
pub fn find(search: &SearchPath, lock: &PluginsLock, id: &str) -> Result<Found, ChooseError> {
    look_for(search, lock, Wanted::Id(id.to_owned()), None)
}

/// Picks the plugin with this id and in this very version.
///
/// # Errors
/// See [`ChooseError`].
pub fn find_version(
    search: &SearchPath,
    lock: &PluginsLock,
    id: &str,
    version: &Version,
) -> Result<Found, ChooseError> {
    look_for(search, lock, Wanted::Exactly(id.to_owned(), version.clone()), None)
}

fn look_for(
    search: &SearchPath,
    lock: &PluginsLock,
    wanted: Wanted,
    requirement: Option<&VersionReq>,
) -> Result<Found, ChooseError> {
    let mut survey = Survey::new(search);
    let picked = pick(&mut survey, lock, &wanted, requirement);
    let found = picked.and_then(|found| found.ok_or_else(|| not_found(&survey, search, wanted, requirement)));
    survey.save(search);
    found
}

fn pick(
    survey: &mut Survey,
    lock: &PluginsLock,
    wanted: &Wanted,
    requirement: Option<&VersionReq>,
) -> Result<Option<Found>, ChooseError> {
    // A file that can't be read after all, or says something new, was not the best: look again. One that never
    // stops changing isn't worth waiting for.
    for _ in 0..=2 * survey.sighted.len() {
        let Some(number) = best(survey, lock, wanted, requirement)? else { break };
        let before = survey.known(number);
        if let Ok(whole) = survey.read(number)
            && survey.confirms(number, &before)
        {
            let Sighted { path, origin, .. } = &survey.sighted[number];
            let Whole { build, bytes, sha256 } = whole;
            let bytes = Arc::new(bytes);
            return Ok(Some(Found { path: path.clone(), origin: *origin, build, sha256, bytes }));
        }
    }
    Ok(None)
}

/// The number of the best file, by what the survey knows.
fn best(
    survey: &mut Survey,
    lock: &PluginsLock,
    wanted: &Wanted,
    requirement: Option<&VersionReq>,
) -> Result<Option<usize>, ChooseError> {
    let fits = |build: &Outline| {
        wanted.is_met_by(build) && requirement.is_none_or(|range| range.matches(build.version()))
    };
    let mut fitting: Vec<usize> =
        survey.builds().filter(|(_, build)| fits(build)).map(|(number, _)| number).collect();
    if let Wanted::Type(kind) = wanted {
        keep_namesakes(survey, &mut fitting, kind);
    }
    // Who asks for a range names pre-releases there.
    best_of(survey, lock, &fitting, requirement.is_some())
}

/// Of plugins that serve type `kind`, those of that name count before all others: versions of different plugins say
/// nothing about each other, and whoever adds one for a type of ours must not take over the targets there are.
pub(super) fn keep_namesakes(survey: &Survey, numbers: &mut Vec<usize>, kind: &str) {
    let kind = spelt_one_way(kind);
    let is_namesake = |number: &usize| {
        survey.sighted[*number].build.as_ref().is_ok_and(|build| spelt_one_way(build.id()) == kind)
    };
    if numbers.iter().any(is_namesake) {
        numbers.retain(is_namesake);
    }
}

/// `_` and `-` are the same in a type's name.
pub(super) fn spelt_one_way(kind: &str) -> String {
    kind.replace('_', "-")
}

/// The number of the best of the files `numbers`, all of which would do.
pub(super) fn best_of(
    survey: &mut Survey,
    lock: &PluginsLock,
    numbers: &[usize],
    pre_releases: bool,
) -> Result<Option<usize>, ChooseError> {
    let builds =
        || numbers.iter().filter_map(|number| Some((*number, survey.sighted[*number].build.as_ref().ok()?)));
    let rank = |number, build: &'_ Outline| {
        let (is_release, version) = build.precedence();
        (pre_releases || is_release, version.clone(), Reverse(number))
    };
    let Some((_, top)) = builds().max_by_key(|(number, build)| rank(*number, build)) else { return Ok(None) };
    let (id, version) = (top.id().to_owned(), top.version().clone());
    let same = builds().filter(|(_, build)| build.id() == id && *build.version() == version);
    let same: Vec<usize> = same.map(|(number, _)| number).collect();
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
    let origin = |number: usize| survey.sighted[number].origin;
    let folder = |number: usize| survey.sighted[number].path.parent();
    // Who names a folder means the files there; which of two that differ they didn't say.
    let named = hashed.iter().find(|(number, _)| origin(*number) == Origin::Explicit);
    let rivals = || {
        hashed.iter().filter(|(number, _)| named.is_none_or(|(named, _)| folder(*named) == folder(*number)))
    };
    let Some((first, hash)) = rivals().next() else { return Ok(None) };
    let Some((other, _)) = rivals().find(|(_, other)| other != hash) else { return Ok(Some(*first)) };
    let recorded = lock.recorded(id, version);
    let winner = rivals()
        .find(|(_, hash)| recorded == Some(hash.as_str()))
        .or_else(|| rivals().find(|(number, _)| origin(*number) == Origin::BesideExecutable));
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
    wanted: Wanted,
    requirement: Option<&VersionReq>,
) -> ChooseError {
    let rejected = survey.sighted.iter().filter_map(|sighted| {
        let path = sighted.path.clone();
        match (&sighted.build, requirement) {
            (Err(refusal), _) => Some(Rejection::Refused { path, refusal: refusal.clone() }),
            (Ok(build), Some(range)) if wanted.is_met_by(build) => Some(Rejection::Version {
                path,
                version: build.version().clone(),
                requirement: range.clone(),
            }),
            _ => None,
        }
    });
    let rejected = rejected.collect();
    let (Wanted::Type(name) | Wanted::Id(name) | Wanted::Exactly(name, _)) = &wanted;
    let nearest = survey
        .builds()
        .flat_map(|(_, build)| wanted.names(build))
        .filter(|other| other.replace('_', "-") != name.replace('_', "-"))
        .map(|other| (strsim::damerau_levenshtein(other, name), other))
        .filter(|(distance, other)| *distance <= other.len().max(name.len()) / 3)
        .min()
        .map(|(_, other)| other.to_owned());
    let (folders, requirement) = (search.folders().to_vec(), requirement.cloned());
    ChooseError::NotFound(Box::new(NotFound { wanted, requirement, folders, rejected, nearest }))
}
