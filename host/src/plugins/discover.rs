//! Everything that is there, for `plugin list`.

use std::{collections::HashMap, path::PathBuf};

use pop_deploy_plugin_api::protocol::Build;

use super::{
    choose::{ChooseError, best_of, keep_namesakes, spelt_one_way},
    outline::Outline,
    preflight::{self, Refusal},
    search::{Origin, SearchPath},
    survey::Survey,
    trust::{self, PluginsLock, Verdict},
};

/// One file on the search path that is called like a plugin.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where it is.
    pub path: PathBuf,
    /// Why it was looked for there.
    pub origin: Origin,
    /// What its manifest says; absent where it was refused.
    pub build: Option<Outline>,
    /// Whether a target would be served by it.
    pub state: State,
    /// Whether we know it; absent where it was refused.
    pub trust: Option<Verdict>,
    /// Its hash, where something made it necessary to know.
    pub sha256: Option<String>,
}

impl Candidate {
    /// The whole manifest, read again.
    ///
    /// # Errors
    /// The file isn't what it was.
    pub fn read(&self) -> Result<Build, Refusal> {
        preflight::read(&self.path)
    }
}

/// What becomes of a file when a target asks for a type that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is the one for at least one of its types.
    Ready,
    /// Another file is preferred for all of its types.
    ShadowedBy(PathBuf),
    /// Another file claims the same version and differs; neither is loaded.
    InConflictWith(PathBuf),
    /// It is never loaded.
    Refused(Refusal),
}

/// Looks at every file of the search path, in its order. Nothing is executed, and one bad file stops nobody.
pub fn discover(search: &SearchPath, lock: &PluginsLock) -> Vec<Candidate> {
    let mut survey = Survey::new(search);
    let winners = winners(&mut survey, lock);
    let states: Vec<State> =
        (0..survey.sighted.len()).map(|number| state(&survey, &winners, number)).collect();
    let verdicts: Vec<Option<Verdict>> =
        (0..states.len()).map(|number| verdict(&mut survey, lock, number)).collect();
    let hashes: Vec<_> = (0..verdicts.len()).map(|number| survey.known(number).sha256).collect();
    let sighted = survey.save(search);
    let all = sighted.into_iter().zip(states).zip(verdicts).zip(hashes);
    all.map(|(((sighted, state), trust), sha256)| Candidate {
        path: sighted.path,
        origin: sighted.origin,
        build: sighted.build.ok(),
        state,
        trust,
        sha256,
    })
    .collect()
}

/// Who serves which type: worked out once for each, and not once for each file.
type Winners = HashMap<String, Result<Option<usize>, ChooseError>>;

fn winners(survey: &mut Survey, lock: &PluginsLock) -> Winners {
    let mut servants: HashMap<String, Vec<usize>> = HashMap::new();
    for (number, build) in survey.builds() {
        for kind in build.types() {
            servants.entry(spelt_one_way(kind)).or_default().push(number);
        }
    }
    let best = |(kind, mut numbers): (String, Vec<usize>)| {
        keep_namesakes(survey, &mut numbers, &kind);
        let best = best_of(survey, lock, &numbers, false);
        (kind, best)
    };
    servants.into_iter().map(best).collect()
}

fn state(survey: &Survey, winners: &Winners, number: usize) -> State {
    let types = match &survey.sighted[number].build {
        Ok(build) => build.types(),
        Err(refusal) => return State::Refused(refusal.clone()),
    };
    let mut state = State::Ready;
    for winner in types.iter().filter_map(|kind| winners.get(&spelt_one_way(kind))) {
        match winner {
            Ok(Some(winner)) if *winner == number => return State::Ready,
            Ok(Some(winner)) => state = State::ShadowedBy(survey.sighted[*winner].path.clone()),
            Err(ChooseError::Conflict { first, second, .. }) => {
                let other = if survey.sighted[number].path == *first { second } else { first };
                state = State::InConflictWith(other.clone());
            }
            Ok(None) | Err(ChooseError::NotFound(_)) => {}
        }
    }
    state
}

fn verdict(survey: &mut Survey, lock: &PluginsLock, number: usize) -> Option<Verdict> {
    let sighted = &survey.sighted[number];
    let build = sighted.build.as_ref().ok()?;
    if sighted.origin == Origin::BesideExecutable {
        return Some(Verdict::BesideExecutable);
    }
    // Only what has a record needs hashing.
    let Some(recorded) = lock.recorded(build.id(), build.version()) else { return Some(Verdict::New) };
    let sha256 = survey.sha256(number).ok()?;
    Some(trust::compare(recorded, &sha256))
}
