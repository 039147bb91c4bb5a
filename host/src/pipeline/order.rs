//! What is to be done, to which targets: the words in which commands speak to the pipeline.

use std::{sync::Arc, time::Duration};

use pop_deploy_plugin_api::{
    protocol::{PastRelease, Plan, PlanRequest, Release, Rollout, Unreachable},
    redact::Redactor,
};

use super::outcome::Mode;
use crate::{
    config::{DeployConfig, TargetConfig},
    journal::{RunInfo, RunKind},
    plugins::SearchPath,
    project::Project,
    select::{self, Selection},
    signals::Interrupt,
};

/// What is to be done, to which targets.
pub struct Order<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its deploy.json.
    pub config: &'a DeployConfig,
    /// The targets, in file order, each with what it is to have.
    pub errands: Vec<Errand<'a>>,
    /// Where plugins are.
    pub plugins: &'a SearchPath,
    /// What to do.
    pub mode: Mode,
    /// Who does it.
    pub actor: &'a str,
    /// The command line, for those who find the lock held.
    pub command: String,
    /// How long to wait for another run to end.
    pub wait: Option<Duration>,
    /// Who may want it to stop.
    pub interrupt: Arc<Interrupt>,
    /// What is blotted out everywhere.
    pub redactor: Redactor,
}

/// What one target is to have.
pub struct Errand<'a> {
    /// The target.
    pub target: &'a TargetConfig,
    /// What it is to have.
    pub goal: Goal,
}

/// Where a target is to go.
pub enum Goal {
    /// To the project as it is now.
    Forward {
        /// The project's version.
        version: Option<String>,
        /// The commit.
        commit: Option<String>,
        /// What becomes of hosts that can't be reached.
        unreachable: Unreachable,
    },
    /// Back to a former release.
    Back {
        /// Which.
        to: PastRelease,
        /// What history says is live.
        from: Option<Release>,
    },
}

/// What decides, once the plans are there, whether they are walked. Never asked in a dry run.
pub type Confirm<'a> = &'a dyn Fn(&[&Plan]) -> bool;

impl Order<'_> {
    /// The names of its targets, in order.
    pub fn target_names(&self) -> Vec<&str> {
        self.errands.iter().map(|errand| errand.target.name.as_str()).collect()
    }

    /// What kind of run it is in the journal.
    pub(super) fn kind(&self) -> RunKind {
        if self.mode == Mode::Rollback { RunKind::Rollback } else { RunKind::Deploy }
    }

    /// What the journal is to know of the run when it begins.
    pub(super) fn info(&self) -> RunInfo {
        let version = self.errands.first().and_then(Errand::version);
        RunInfo {
            kind: self.kind(),
            targets: self.errands.iter().map(|errand| errand.target.name.clone()).collect(),
            to_name: self.to_name(),
            environment: self.project.environment.clone(),
            actor: self.actor.to_owned(),
            command: self.command.clone(),
            version: version.map(str::to_owned),
            commit: self.errands.first().and_then(Errand::commit).map(str::to_owned),
            canary: match self.mode {
                Mode::Canary(until) => Some(until),
                _ => None,
            },
            unreachable: self.errands.first().map(Errand::unreachable).unwrap_or_default(),
        }
    }

    /// The target that a later command must name to mean this run: where nobody names any, the primary one is meant.
    fn to_name(&self) -> Option<String> {
        let meant = select::select(self.config, &Selection::Primary).unwrap_or_default();
        let is_meant = |errand: &Errand<'_>| meant.iter().any(|target| target.name == errand.target.name);
        let first = self.errands.first().filter(|_| !self.errands.iter().any(is_meant));
        first.map(|errand| errand.target.name.clone())
    }
}

impl Errand<'_> {
    /// The version that the target is to have.
    pub fn version(&self) -> Option<&str> {
        match &self.goal {
            Goal::Forward { version, .. } => version.as_deref(),
            Goal::Back { to, .. } => to.release.version.as_deref(),
        }
    }

    fn commit(&self) -> Option<&str> {
        match &self.goal {
            Goal::Forward { commit, .. } => commit.as_deref(),
            Goal::Back { to, .. } => to.release.commit.as_deref(),
        }
    }

    fn unreachable(&self) -> Unreachable {
        match &self.goal {
            Goal::Forward { unreachable, .. } => *unreachable,
            Goal::Back { .. } => Unreachable::Fails,
        }
    }

    /// The release that run `run` makes, or goes back to.
    pub(super) fn release(&self, run: &str) -> Release {
        match &self.goal {
            Goal::Forward { version, commit, .. } => {
                Release { id: run.to_owned(), version: version.clone(), commit: commit.clone() }
            }
            Goal::Back { to, .. } => to.release.clone(),
        }
    }

    /// What the target's plugin is asked to plan.
    pub(super) fn request(&self, run: &str, rollout: Rollout) -> PlanRequest {
        match &self.goal {
            Goal::Forward { unreachable, .. } => {
                PlanRequest::Deploy { release: self.release(run), rollout, unreachable: *unreachable }
            }
            Goal::Back { to, from } => PlanRequest::Rollback { to: to.clone(), from: from.clone() },
        }
    }
}
