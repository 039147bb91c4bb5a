//! Completion for shells: of commands and flags by clap, of names and versions by what the project has.
//!
//! The script that a shell loads asks this program for every completion, so it never grows stale.

use std::{io::Write as _, path::Path};

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::{CompleteEnv, CompletionCandidate, env::Shells};

use super::args::Cli;
use crate::{
    config::{DeployConfig, Environment},
    exit::Exit,
    failure::Failure,
    history::History,
    journal,
    plugins::{PluginsLock, SearchPath, discover},
    project::Project,
};

/// The variable by which a shell's script asks for completions.
const VARIABLE: &str = "POP_DEPLOY_COMPLETE";

/// A shell that can be told to ask us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// The Z shell
    Zsh,
    /// fish
    Fish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

/// Prints the script that a shell is to load.
pub(super) fn completions(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    let written = Shells::builtins().completer(shell.name()).map(|shell| {
        let program = "pop-deploy";
        shell.write_registration(VARIABLE, program, program, program, &mut script)
    });
    let failed = |source| Failure::Write { path: "standard output".to_owned(), source };
    written.transpose().map_err(failed)?;
    std::io::stdout().lock().write_all(&script).map_err(failed)?;
    Ok(Exit::Done)
}

/// Answers a shell's script, if it is one that asks; says whether it was.
pub(super) fn answered() -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    let answering = CompleteEnv::with_factory(Cli::command).var(VARIABLE);
    // A shell that can't be answered goes without; whatever was printed would land on the user's command line.
    answering.try_complete(std::env::args_os(), None).unwrap_or(true)
}

/// The targets of the project here.
pub(super) fn targets() -> Vec<CompletionCandidate> {
    let Some(config) = config_here() else { return Vec::new() };
    let described = |target: &crate::config::TargetConfig| {
        CompletionCandidate::new(&target.name).help(Some(target.kind.clone().into()))
    };
    config.targets.iter().map(described).collect()
}

/// The environments of the project here.
pub(super) fn environments() -> Vec<CompletionCandidate> {
    let others = config_here().map(|config| config.environments).unwrap_or_default();
    std::iter::once(Environment::PRODUCTION.to_owned()).chain(others).map(CompletionCandidate::new).collect()
}

/// The versions that were once deployed here, newest first.
pub(super) fn versions() -> Vec<CompletionCandidate> {
    let Some(config) = config_here() else { return Vec::new() };
    let ordered = History::of_all_environments(&config).names().into_iter().enumerate();
    ordered.map(|(order, version)| CompletionCandidate::new(version).display_order(Some(order))).collect()
}

/// The runs that are kept here, newest first.
pub(super) fn runs() -> Vec<CompletionCandidate> {
    let ids =
        Project::for_people(Path::new(".")).ok().and_then(|project| journal::run_ids(&project.data).ok());
    let newest_first = ids.unwrap_or_default().into_iter().rev().enumerate();
    newest_first.map(|(order, id)| CompletionCandidate::new(id).display_order(Some(order))).collect()
}

/// The plugins that there are.
pub(super) fn plugins() -> Vec<CompletionCandidate> {
    let known = PluginsLock::empty(Path::new("plugins.lock"));
    let found = discover(&SearchPath::new(&[]), &known).into_iter().filter_map(|candidate| candidate.build);
    found
        .map(|build| CompletionCandidate::new(build.id()).help(Some(build.description().to_owned().into())))
        .collect()
}

fn config_here() -> Option<DeployConfig> {
    DeployConfig::read(&Project::for_people(Path::new(".")).ok()?).ok()
}
