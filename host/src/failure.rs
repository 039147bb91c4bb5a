//! What keeps a command from beginning, and the one place that says how each such failure is told and which exit code it has.

use std::{error, io, path::PathBuf};

use pop_deploy_plugin_api::{Error, ErrorKind, protocol::unlock_command};

use crate::{
    config::{ConfigError, Environment},
    exit::Exit,
    history::HistoryError,
    journal::{JournalError, PastRun},
    lock::{Held, LockError},
    plugins::{ChooseError, CopyError, InstallError, Refusal, TrustError},
    project::ProjectError,
    select::SelectError,
    version::VersionError,
};

/// Everything that can stand in a command's way before its run begins.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each is the failure of the module it is named after")]
pub enum Failure {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error("target `{target}`: {source}")]
    Choose { target: String, source: Box<ChooseError> },
    #[error(transparent)]
    Find(Box<ChooseError>),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Somebody else has the target's lock.
    #[error("{held}")]
    Held { held: Box<Held>, environment: Environment },
    /// What is to be taken from a run is another's.
    #[error("{what} isn't held by run `{run}`, but by {by}")]
    HeldByAnother { what: String, by: String, run: String },
    /// Runs of two folders that began in one second.
    #[error("two runs have the id `{run}`: {one}, and {other}")]
    OneIdForTwo { run: String, one: String, other: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Plugin(#[from] Error),
    /// A run died while it was at one of the targets.
    #[error("run `{}` was interrupted{}; {}", .0.id, by_whom(.0), how_it_stands(.0))]
    Interrupted(Box<PastRun>),
    /// It can't be gone on with.
    #[error("run `{}` can't be resumed", run.id)]
    CantResume { run: Box<PastRun>, source: Box<Error> },
    /// Nobody knows whether a step that nothing takes back was done.
    #[error("{}", cut_off(.0))]
    CutOff(Box<PastRun>),
    /// Nothing died.
    #[error("there is nothing to resume: no run at {targets} was interrupted")]
    NothingToResume { targets: String },
    /// A canary waits for its verdict at one of the targets.
    #[error("{}", canary_stands(.0))]
    CanaryOpen(Box<PastRun>),
    /// There is no canary to judge.
    #[error("there is no open canary{}", .target.as_ref().map_or(String::new(), |target| format!(" at target `{target}`")))]
    NoOpenCanary { target: Option<String> },
    /// Canaries at several targets are open.
    #[error("several canaries are open, at {}", .targets.join(", "))]
    SeveralCanaries { targets: Vec<String> },
    /// One person's verdict is about one target.
    #[error("`--until manual` waits at one target, and this is about {}", .targets.join(", "))]
    ManualForSeveral { targets: Vec<String> },
    /// A canary can't be promoted.
    #[error("the canary of run `{}` can't be promoted", run.id)]
    CantPromote { run: Box<PastRun>, source: Box<Error> },
    /// Another run wrote history between reading it and holding the lock.
    #[error("another run changed what there is to go back to")]
    Outdated,
    /// A signal came while it waited for a lock.
    #[error("stopped by signal {signal} before anything was begun; nothing was changed")]
    Stopped { signal: i32 },
    /// History has nothing to go back to.
    #[error("there is nothing to roll target `{target}` back to")]
    NothingToGoBackTo { target: String },
    /// History doesn't have that version.
    #[error("target `{target}` was never deployed in version `{version}`")]
    NeverDeployed { target: String, version: String, there: Vec<String> },
    /// Nobody is there to say yes.
    #[error("this would change `{targets}`, and nobody is there to confirm it")]
    Unconfirmed { targets: String },
    /// A program has to decide, and to call again.
    #[error("`{id}` is not decided: {question}")]
    Undecided { id: &'static str, question: String },
    /// The command that somebody chose to go on with doesn't start.
    #[error("can't go on with the next command")]
    GoOn(#[source] io::Error),
    /// Somebody said no.
    #[error("not confirmed; nothing was changed")]
    Declined,
    /// The target's plugin can't split traffic.
    #[error("target `{target}` can't take a canary: its plugin can't split it")]
    NoCanary { target: String },
    /// `init` overwrites nothing by itself.
    #[error("there is a deploy.json already: `{}`", path.display())]
    AlreadyThere { path: PathBuf },
    /// There is no such run.
    #[error("there is no run `{id}`")]
    NoRun { id: String, nearest: Option<String> },
    /// The run was in another environment.
    #[error("run `{id}` was in environment `{}`", .environment.name())]
    RunElsewhere { id: String, environment: Environment },
    /// Nothing was ever run here.
    #[error("nothing was deployed here yet")]
    NoRuns,
    /// There is no such plugin.
    #[error("there is no plugin `{name}`")]
    NoPlugin { name: String, nearest: Option<String> },
    /// A file that was listed can't be read after all.
    #[error("`{path}` {refusal}")]
    PluginFile { path: PathBuf, refusal: Refusal },
    #[error("can't share the run's locks with its workers")]
    Descriptors(#[source] io::Error),
    #[error("can't catch signals")]
    Signals(#[source] io::Error),
    /// A mistake of ours; the journal is left as of a run that died.
    #[error("pop-deploy itself panicked; this is a bug in it")]
    Panicked,
    /// A mistake of ours.
    #[error("the page's template is broken; this is a bug in pop-deploy")]
    Page(#[source] minijinja::Error),
    #[error("can't read `{path}`")]
    Read { path: String, source: io::Error },
    #[error("can't write `{path}`")]
    Write { path: String, source: io::Error },
}

impl Failure {
    /// Which exit code it has; the same table stands in README.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Project(_)
            | Self::Config(_)
            | Self::Select(_)
            | Self::Version(_)
            | Self::NeverDeployed { .. }
            | Self::Unconfirmed { .. }
            | Self::NothingToResume { .. }
            | Self::Undecided { .. }
            | Self::NoCanary { .. }
            | Self::SeveralCanaries { .. }
            | Self::ManualForSeveral { .. }
            | Self::Find(_)
            | Self::Install(_)
            | Self::AlreadyThere { .. }
            | Self::NoRun { .. }
            | Self::RunElsewhere { .. }
            | Self::NoRuns
            | Self::NoPlugin { .. } => Exit::Usage,
            Self::Choose { .. }
            | Self::Trust(_)
            | Self::Copy(_)
            | Self::PluginFile { .. }
            | Self::Descriptors(_)
            | Self::GoOn(_)
            | Self::Signals(_) => Exit::NotReady,
            Self::Held { .. } | Self::HeldByAnother { .. } | Self::OneIdForTwo { .. } | Self::Outdated => {
                Exit::Locked
            }
            Self::Stopped { signal } => Exit::Signal(*signal),
            Self::CanaryOpen(_) | Self::NoOpenCanary { .. } | Self::CantPromote { .. } => Exit::NotReady,
            Self::Lock(_) | Self::Journal(_) | Self::History(_) | Self::Read { .. } | Self::Write { .. } => {
                Exit::NotReady
            }
            Self::Plugin(error) => match error.kind {
                ErrorKind::Config => Exit::Usage,
                ErrorKind::Locked => Exit::Locked,
                ErrorKind::NoRelease => Exit::NoRelease,
                ErrorKind::Unknown => Exit::Stuck,
                _ => Exit::NotReady,
            },
            Self::Interrupted(_) | Self::CantResume { .. } => Exit::InterruptedRun,
            Self::NothingToGoBackTo { .. } => Exit::NoRelease,
            Self::Declined => Exit::Failed,
            Self::CutOff(_) | Self::Panicked => Exit::Stuck,
            Self::Page(_) => Exit::Failed,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Project(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Select(error) => error.hint(),
            Self::Version(error) => error.hint(),
            Self::Choose { source, .. } => Some(source.hint()),
            Self::Find(error) => Some(error.hint()),
            Self::Install(error) => Some(error.hint()),
            Self::Trust(error) => Some(error.hint()),
            Self::Copy(_) => Some("check who owns that folder, or set XDG_CACHE_HOME to another one".into()),
            Self::Lock(error) => error.hint(),
            Self::Held { held, environment } => {
                let Held { target, holder } = &**held;
                let wait = "wait for it to end, or let this run wait with `--wait SECS`";
                let command = unlock_command(&holder.run_id, &environment.flags(target));
                Some(match holder.run_id.is_empty() {
                    true => wait.to_owned(),
                    false => format!("{wait}; if it hangs, `{command}` ends it"),
                })
            }
            Self::HeldByAnother { .. } => Some(
                "look with `pop-deploy unlock`, which changes nothing; then name the run that hangs".into(),
            ),
            Self::OneIdForTwo { .. } => {
                Some("stop the one that waits for the other, then unlock what the other one has".into())
            }
            Self::Journal(error) => error.hint(),
            Self::History(error) => error.hint(),
            Self::Plugin(error) => error.hint.clone(),
            Self::Interrupted(run) => {
                let flags = run.info.flags();
                let back = format!("`pop-deploy rollback{flags}` takes it back");
                Some(match run.is_being_taken_back() {
                    true => back,
                    false => format!("`pop-deploy execute --resume{flags}` goes on with it, {back}"),
                })
            }
            Self::CantResume { run, .. } => {
                Some(format!("`pop-deploy rollback{}` takes it back", run.info.flags()))
            }
            Self::CutOff(run) => {
                let resume = format!("pop-deploy execute --resume{}", run.info.flags());
                Some(format!(
                    "look there whether it was done: `{resume} --cut-off done` goes on after it, `{resume} --cut-off again` runs it once more, `pop-deploy rollback{}` takes back all the rest",
                    run.info.flags()
                ))
            }
            Self::NothingToResume { .. } => Some("leave out `--resume`".into()),
            Self::CanaryOpen(run) => {
                let flag = run.info.environment.flag();
                Some(format!(
                    "`pop-deploy promote{flag}` has it go all the way, `pop-deploy abort{flag}` takes it back"
                ))
            }
            Self::CantPromote { run, .. } => {
                Some(format!("`pop-deploy abort{}` takes it back", run.info.environment.flag()))
            }
            Self::NoOpenCanary { .. } => Some("`pop-deploy history` shows what was deployed".into()),
            Self::SeveralCanaries { .. } => Some("name one with `--target`".into()),
            Self::ManualForSeveral { .. } => Some("name one with `--target`, and the others after it".into()),
            Self::Outdated => Some("run it again".into()),
            Self::NothingToGoBackTo { .. } => Some("`pop-deploy history` shows what was deployed".into()),
            Self::NeverDeployed { there, .. } if there.is_empty() => {
                Some("`pop-deploy history` shows what was deployed".into())
            }
            Self::NeverDeployed { there, .. } => Some(format!("go to one of {}", there.join(", "))),
            Self::Unconfirmed { .. } => Some("look with `--dry-run`, then go ahead with `--yes`".into()),
            Self::AlreadyThere { .. } => Some(
                "look at it with `pop-deploy config show`, or begin anew with `--force`, which keeps a copy"
                    .into(),
            ),
            Self::NoRun { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::NoRun { .. } => Some("`pop-deploy history` shows the runs there are".into()),
            Self::RunElsewhere { environment, .. } if environment.is_production() => {
                Some("leave `--environment` out".into())
            }
            Self::RunElsewhere { environment, .. } => Some(format!("add `{}`", environment.flag().trim())),
            Self::NoRuns => Some("look with `pop-deploy execute --dry-run`".into()),
            Self::Undecided { .. } => Some("ask, then call again with the `arguments` of the answer".into()),
            Self::NoPlugin { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::NoPlugin { .. } => Some("`pop-deploy plugin list` shows what there is".into()),
            Self::NoCanary { .. } => Some(
                "deploy in full instead, without `--canary`; in the wrapper's dialect with `--mode deploy`"
                    .into(),
            ),
            Self::Panicked => Some(
                "`pop-deploy verify` shows what is live; `pop-deploy rollback` takes an interrupted run back"
                    .into(),
            ),
            Self::Declined
            | Self::Page(_)
            | Self::GoOn(_)
            | Self::PluginFile { .. }
            | Self::Stopped { .. }
            | Self::Descriptors(_)
            | Self::Signals(_) => None,
            Self::Read { .. } => Some("check that it is there and who may read it".into()),
            Self::Write { .. } => Some("check who owns it and who may write there".into()),
        }
    }

    /// The failure as reporters render every error: message, causes, hint.
    pub fn to_error(&self) -> Error {
        if let Self::Plugin(error) = self {
            return error.clone();
        }
        let kind = match self.exit() {
            Exit::Usage => ErrorKind::Config,
            Exit::Locked => ErrorKind::Locked,
            Exit::NoRelease => ErrorKind::NoRelease,
            Exit::Stuck => ErrorKind::Unknown,
            _ => ErrorKind::Preflight,
        };
        let mut error = Error::new(kind, self.to_string());
        if let Self::Choose { source, .. } | Self::Find(source) = self {
            error.causes = source.details();
        } else if let Self::CantResume { source, .. } = self {
            error.causes.push(source.message.clone());
            error.causes.extend(source.causes.clone());
        } else {
            let mut cause = error::Error::source(self);
            while let Some(next) = cause {
                error.causes.push(next.to_string());
                cause = next.source();
            }
        }
        error.hint = self.hint();
        error
    }
}

fn canary_stands(run: &PastRun) -> String {
    let version =
        run.info.version.as_deref().map_or(String::new(), |version| format!(" of version {version}"));
    let target = run.open_target().map_or("?", |target| &target.planned.target);
    format!("a canary{version} is open at target `{target}`, since {} by {}", run.started_at, run.info.actor)
}

fn cut_off(run: &PastRun) -> String {
    let steps = run.cut_off().map(|(target, past)| {
        let commands: Vec<_> = past.step.commands.iter().map(|command| format!(" `{command}`")).collect();
        format!("`{}` at target `{target}`,{}", past.step.id, commands.concat())
    });
    let steps = steps.collect::<Vec<_>>().join(", and ");
    format!("run `{}` was cut off in {steps}: it may have run, and nothing takes it back", run.id)
}

fn by_whom(run: &PastRun) -> String {
    run.lock_taken_by.as_ref().map_or_else(String::new, |by| format!(" by {by}, who took its lock"))
}

fn how_it_stands(run: &PastRun) -> String {
    let targets = run.targets.iter().filter(|target| !target.steps.is_empty()).map(|target| {
        let name = &target.planned.target;
        match target.to_undo().next() {
            Some(last) if last.receipt.is_some() => {
                format!("target `{name}` has done `{}`, the {} of it", last.step.id, last.step.phase)
            }
            Some(last) => {
                format!("target `{name}` was in the middle of `{}`, its {}", last.step.id, last.step.phase)
            }
            None => format!("target `{name}` is taken back already"),
        }
    });
    targets.collect::<Vec<_>>().join("; ")
}
