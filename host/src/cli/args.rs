//! The command line, as clap reads it. What it means stands in the commands' own files.

use std::{fs, io, path::PathBuf, str::FromStr};

use super::completions::{self, Shell};
use crate::{config::Environment, history, reporter::human::Loudness};
use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PathBufValueParser, TypedValueParser as _},
};
use clap_complete::ArgValueCandidates;
use pop_deploy_plugin_api::protocol::Unreachable;
use semver::Version;

use crate::validate;

/// Deploys one project to many kinds of place, through plugins.
#[derive(Debug, Parser)]
#[command(name = "pop-deploy", version, max_term_width = 100)]
pub struct Cli {
    /// Look for plugins in this folder first; may be given several times
    #[arg(long, global = true, value_name = "DIR", value_parser = PathBufValueParser::new().try_map(folder))]
    pub plugin_dir: Vec<PathBuf>,
    /// Use only plugins that plugins.lock has recorded
    #[arg(long, global = true)]
    pub locked: bool,
    /// What to do; nothing: say where you are and what comes next
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first deploy.json, from what the plugins see in the project
    Init(Init),
    /// Show what is live where, and what waits for somebody
    Status(Status),
    /// Bring the project to its targets
    Execute(Execute),
    /// Make the release before live again, or take an interrupted run back
    Rollback(Rollback),
    /// Have an open canary go all the way
    Promote(Judge),
    /// Take an open canary back
    Abort(Judge),
    /// Show who has the locks of a target, or take them from a run that hangs
    Unlock(Unlock),
    /// Look whether a deployment would be wise: score, and go or no-go
    Validate(Validate),
    /// Look whether what is live is what history says, and works
    Verify(Verify),
    /// Show what was deployed when, by whom, and how it ended
    History(History),
    /// Show the whole output of a run
    Logs(Logs),
    /// Write a page about a run and the history around it
    Report(Report),
    /// Gather what helps to understand a failure
    Diagnose(Diagnose),
    /// Tell what went wrong, when, and what to do next
    Incident(Incident),
    /// Show the configuration as it counts
    #[command(subcommand)]
    Config(Config),
    /// Print the JSON Schema of deploy.json, with the config of every installed plugin
    Schema(Place),
    /// Show the plugins there are
    #[command(subcommand)]
    Plugin(Plugin),
    /// Print the script by which a shell completes commands, targets and versions
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages to a folder
    #[command(name = "__man", hide = true)]
    Man {
        /// The folder
        dir: PathBuf,
    },
}

impl Cli {
    /// Whether a program reads along.
    pub(super) fn speaks_json(&self) -> bool {
        match &self.command {
            Some(Command::Execute(wanted)) => wanted.talk.json,
            Some(Command::Rollback(wanted)) => wanted.talk.json,
            _ => false,
        }
    }
}

/// Where the project is.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The project folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// Where the project is, and in which environment to work on it.
#[derive(Debug, Clone, Args)]
pub struct Site {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Place,
    /// Work in this environment of deploy.json
    #[arg(long, value_name = "NAME", default_value = Environment::PRODUCTION, allow_hyphen_values = true)]
    #[arg(add = ArgValueCandidates::new(completions::environments))]
    pub environment: String,
}

/// Which targets.
#[derive(Debug, Args)]
pub struct Targets {
    /// This target; may be given several times [default: the primary one]
    #[arg(long, value_name = "NAME", conflicts_with = "all", add = ArgValueCandidates::new(completions::targets))]
    pub target: Vec<String>,
    /// Every enabled target
    #[arg(long)]
    pub all: bool,
}

/// How to talk, and to whom.
#[derive(Debug, Clone, Copy, Args)]
pub struct Talk {
    /// Go ahead without asking
    #[arg(long)]
    pub yes: bool,
    /// Show what would happen; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: exit with 10 when anything would change
    #[arg(long, requires = "dry_run")]
    pub detailed_exitcode: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub volume: Volume,
    /// Wait this many seconds for another run to end: here, and then at the place
    #[arg(long, value_name = "SECS")]
    pub wait: Option<u64>,
    /// One JSON object a line on standard output, nothing else
    #[arg(long)]
    pub json: bool,
}

/// How much to tell people.
#[derive(Debug, Default, Clone, Copy, Args)]
pub struct Volume {
    /// Tell only what went wrong, and the result
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Tell each command, and what it prints
    #[arg(short, long)]
    pub verbose: bool,
}

impl From<Volume> for Loudness {
    fn from(volume: Volume) -> Self {
        match (volume.quiet, volume.verbose) {
            (true, _) => Self::Quiet,
            (_, true) => Self::Loud,
            _ => Self::Usual,
        }
    }
}

impl Execute {
    /// What becomes of hosts that can't be reached.
    pub(super) fn unreachable(&self) -> Unreachable {
        if self.skip_unreachable { Unreachable::StaysBehind } else { Unreachable::Fails }
    }
}

impl Talk {
    /// Of a command that only reads, and has nothing to ask.
    pub(super) fn reading(json: bool) -> Self {
        let volume = Volume::default();
        Self { yes: true, dry_run: true, detailed_exitcode: false, volume, wait: None, json }
    }
}

/// `execute`.
#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub struct Execute {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub targets: Targets,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub talk: Talk,
    /// The version to deploy [default: what package.json, pyproject.toml, Cargo.toml or the last tag says]
    #[arg(long, value_name = "VERSION", allow_hyphen_values = true)]
    pub version: Option<String>,
    /// Deploy to a part of the users or hosts first, as the target's `canary` says
    #[arg(long, conflicts_with = "resume")]
    pub canary: bool,
    /// How long a canary waits [default: verdict]
    #[arg(long, value_enum, value_name = "WHAT", requires = "canary")]
    pub until: Option<Until>,
    /// Leave hosts that can't be reached on the release they have, where a target has several
    #[arg(long, conflicts_with = "resume")]
    pub skip_unreachable: bool,
    /// Go on with a run that was interrupted, from the first step that isn't done
    #[arg(long, conflicts_with_all = ["version", "dry_run", "mode", "action"])]
    pub resume: bool,
    /// What becomes of a step that nothing takes back, a migration say, and that the run was cut off in
    #[arg(long, value_enum, value_name = "WHAT", requires = "resume")]
    pub cut_off: Option<CutOff>,
    /// Speak the popkit wrapper's dialect
    #[arg(long, value_name = "ACTION", help_heading = "For the popkit wrapper")]
    pub action: Option<ExecuteAction>,
    /// Answer the question whether to look or to deploy, and none of the others [the dialect's default: dry_run]
    #[arg(long, value_enum)]
    pub mode: Option<PopkitMode>,
}

/// What becomes of a step that nothing takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CutOff {
    /// It was done: go on after it
    Done,
    /// Run it once more
    Again,
}

/// How long a canary waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// Until it was watched for long enough
    Verdict,
    /// Until somebody says `promote` or `abort`
    Manual,
}

/// `promote` and `abort`.
#[derive(Debug, Args)]
pub struct Judge {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    /// The canary at this target [default: the only open one]
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub talk: Talk,
}

/// `unlock`.
#[derive(Debug, Args)]
pub struct Unlock {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub targets: Targets,
    /// End the run that --run-id names, and take from it what it holds
    #[arg(long, requires = "run_id")]
    pub force: bool,
    /// The run that is to lose its locks, as whoever finds them held is told; nothing is taken from another
    #[arg(long, value_name = "ID", requires = "force", add = ArgValueCandidates::new(completions::runs))]
    pub run_id: Option<String>,
    /// How many seconds a run on this machine has to take itself back before it is killed
    #[arg(long, value_name = "SECS", default_value_t = 30)]
    pub wait: u64,
    /// One JSON object on standard output, nothing else
    #[arg(long)]
    pub json: bool,
}

/// The dialect's actions of `execute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExecuteAction {
    /// Say what would be deployed
    Prepare,
    /// Deploy
    Execute,
    /// Check the live release
    Verify,
}

/// How a deployment is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum PopkitMode {
    /// Change nothing
    DryRun,
    /// Deploy in full
    Deploy,
    /// Deploy to a part first
    Canary,
}

/// `rollback`.
#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub struct Rollback {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub targets: Targets,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub talk: Talk,
    /// Go back to this version [default: the newest good one before the live one]
    #[arg(long, value_name = "VERSION", allow_hyphen_values = true)]
    #[arg(add = ArgValueCandidates::new(completions::versions))]
    pub to: Option<String>,
    /// List the versions that one can go back to
    #[arg(long, conflicts_with = "json")]
    pub list: bool,
    /// Speak the popkit wrapper's dialect
    #[arg(long, value_name = "ACTION", help_heading = "For the popkit wrapper")]
    pub action: Option<RollbackAction>,
    /// The dialect's word for --to
    #[arg(long, value_name = "VERSION", allow_hyphen_values = true, requires = "action")]
    #[arg(help_heading = "For the popkit wrapper")]
    pub version: Option<String>,
}

/// The dialect's actions of `rollback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RollbackAction {
    /// Say where a rollback would go
    Assess,
    /// Gather what helps to understand the failure
    Investigate,
    /// Roll back
    Rollback,
    /// Check the live release
    Verify,
    /// Keep an incident report
    Report,
}

/// `validate`.
#[derive(Debug, Args)]
pub struct Validate {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub targets: Targets,
    /// How much to look at
    #[arg(long, value_enum, default_value_t = Scope::Standard)]
    pub scope: Scope,
    /// One JSON object on standard output, nothing else
    #[arg(long)]
    pub json: bool,
    /// Speak the popkit wrapper's dialect
    #[arg(long, value_name = "ACTION", help_heading = "For the popkit wrapper")]
    pub action: Option<ValidateAction>,
}

/// How much `validate` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// deploy.json, the targets with their plugins' own checks, the repository
    Quick,
    /// And how the project is built and tested, its dependencies, lockfile and variables
    Standard,
    /// And its Dockerfile
    Full,
}

impl From<Scope> for validate::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Quick => Self::Quick,
            Scope::Standard => Self::Standard,
            Scope::Full => Self::Full,
        }
    }
}

/// The dialect's actions of `validate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ValidateAction {
    /// Say what deploy.json has
    LoadConfig,
    /// Say whether to deploy
    Validate,
}

/// `incident`.
#[derive(Debug, Args)]
pub struct Incident {
    /// The run that failed or was gone back from [default: the newest]
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub targets: Targets,
    /// Keep it under `incidents` in the data folder, as Markdown and as JSON
    #[arg(long)]
    pub save: bool,
    /// One JSON object on standard output, nothing else [default: Markdown]
    #[arg(long)]
    pub json: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub targets: Targets,
    /// One JSON object on standard output, nothing else
    #[arg(long)]
    pub json: bool,
}

/// `history`.
#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    /// Of this target only
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completions::targets))]
    pub target: Option<String>,
    /// Only records that ended so
    #[arg(long, value_name = "STATUS")]
    pub status: Option<Ended>,
    /// Only those since a date, or not longer ago than `7d`
    #[arg(long, value_name = "WHEN", value_parser = super::history::since)]
    pub since: Option<jiff::Timestamp>,
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// The records as a JSON array
    #[arg(long)]
    pub json: bool,
}

/// How a record of history ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Ended {
    /// The version went live
    Success,
    /// It didn't, or not for long
    Failed,
    /// Somebody went back
    RolledBack,
}

impl From<Ended> for history::Status {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Success => Self::Success,
            Ended::Failed => Self::Failed,
            Ended::RolledBack => Self::RolledBack,
        }
    }
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Place,
    /// Begin anew where there is a deploy.json; a copy of it, and its histories, are kept
    #[arg(long)]
    pub force: bool,
    /// Show what would be written; write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    /// This target; may be given several times [default: all]
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completions::targets))]
    pub target: Vec<String>,
    /// One JSON object on standard output, nothing else
    #[arg(long)]
    pub json: bool,
}

/// `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    /// The run, as `history` names it [default: the newest]
    #[arg(value_name = "ID", add = ArgValueCandidates::new(completions::runs))]
    pub id: Option<String>,
}

/// `report`.
#[derive(Debug, Args)]
pub struct Report {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    /// As one self-contained page of HTML
    #[arg(long, required = true)]
    pub html: bool,
    /// Where to write it, `-` for standard output [default: report.html in the run's folder]
    #[arg(long, short, value_name = "FILE", allow_hyphen_values = true)]
    pub output: Option<PathBuf>,
    /// The run, as `history` names it [default: the newest]
    #[arg(value_name = "ID", add = ArgValueCandidates::new(completions::runs))]
    pub id: Option<String>,
}

/// `diagnose`.
#[derive(Debug, Args)]
pub struct Diagnose {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: Site,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub targets: Targets,
    /// One JSON object on standard output, nothing else
    #[arg(long)]
    pub json: bool,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print deploy.json without its histories; literal secrets are blotted out
    Show {
        #[command(flatten)]
        #[allow(missing_docs)]
        site: Site,
        /// With the environment's overrides and every default in place
        #[arg(long)]
        resolved: bool,
    },
}

/// `plugin`.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Every plugin file there is, and whether it could be used
    List {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Copy a plugin into your own folder of plugins
    Add {
        /// The file
        path: PathBuf,
    },
    /// Remove a plugin from your own folder of plugins
    Remove {
        /// The plugin, or the name of a file in that folder
        #[arg(add = ArgValueCandidates::new(completions::plugins))]
        name: String,
    },
    /// Record a plugin as it is now in this project's plugins.lock
    Trust {
        /// The plugin, in the version that a target would get or in the one named
        #[arg(value_name = "NAME[@VERSION]", add = ArgValueCandidates::new(completions::plugins))]
        plugin: Named,
        #[command(flatten)]
        #[allow(missing_docs)]
        place: Place,
    },
    /// One plugin: what it serves, its config keys, what it can do
    Info {
        /// The plugin, or a target type that it serves
        #[arg(add = ArgValueCandidates::new(completions::plugins))]
        name: String,
        /// The manifest as JSON
        #[arg(long)]
        json: bool,
    },
}

/// A plugin, and perhaps which version of it.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// The version that is meant.
    pub version: Option<Version>,
}

impl FromStr for Named {
    type Err = semver::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, version) = text.split_once('@').map_or((text, None), |(id, version)| (id, Some(version)));
        Ok(Self { id: id.to_owned(), version: version.map(Version::parse).transpose()? })
    }
}

/// A folder that somebody named must be there: passed over, it would be searched in vain.
fn folder(path: PathBuf) -> io::Result<PathBuf> {
    fs::read_dir(&path).map(|_| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_would_be_passed_over_are_refused() {
        for words in [
            &["execute", "--resume", "--mode", "dry_run"][..],
            &["rollback", "--version", "1.0", "--yes"],
            &["rollback", "--list", "--json"],
        ] {
            let read = Cli::try_parse_from([&["pop-deploy"], words].concat());
            assert!(read.is_err(), "{words:?}");
        }
    }
}
