//! A run of the past that goes on, to be finished or to be taken back: its journal is open again, its targets are
//! locked.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, OnceLock},
    time::Instant,
};

use pop_deploy_plugin_api::Error;

use super::{
    engine::Walk,
    event::{Announced, Bus, Listener, What},
    hold,
    member::{Member, Surroundings},
    order::Order,
    outcome::{Ending, Mode, Report},
    record,
    seating::Seating,
};
use crate::{
    failure::Failure,
    hooks::Hooks,
    journal::{self, Journal, PastRun, RunEnding, RunKind, Until},
    lock::TargetLock,
    reporter::log::Log,
    scratch,
};

/// A run that died, in the hands of another process.
pub(super) struct Reopened<'a> {
    /// The run as its journal tells it, read while nobody else can change it.
    pub(super) past: PastRun,
    /// Where events go, who may stop it.
    pub(super) around: Surroundings,
    order: &'a Order<'a>,
    mode: Mode,
    /// Where it is kept what happens.
    pub(super) journal: Journal,
    held: Vec<OwnedFd>,
    begun: Instant,
    _locks: Vec<TargetLock>,
}

impl<'a> Reopened<'a> {
    /// Opens the run `id`, and announces it. The order's errands don't matter: the run's own targets do.
    ///
    /// # Errors
    /// The run lives after all, somebody holds a target, or somebody else mended it.
    pub(super) fn open(
        order: &'a Order<'a>,
        id: &str,
        mode: Mode,
        reporter: Box<dyn Listener>,
    ) -> Result<Self, Failure> {
        let begun = Instant::now();
        let journal = Journal::reopen(&order.project.data, id)?;
        let before = journal::read(&order.project.data, id)?;
        let names: Vec<_> = before.info.targets.iter().map(String::as_str).collect();
        let locks = order.lock_all(&names, id)?;
        scratch::sweep();
        // What was read before the locks were held may be mended by now.
        let past = journal::read(&order.project.data, id)?;
        let waits = matches!(mode, Mode::Promote | Mode::Abort).then_some(RunEnding::CanaryOpen);
        if past.ending != waits {
            return Err(Failure::Outdated);
        }
        let log = Log::create(&journal.log_path(), order.redactor.clone())?;
        let around = Surroundings {
            bus: Arc::new(Bus::new(vec![reporter, Box::new(log)])),
            interrupt: Arc::clone(&order.interrupt),
            redactor: order.redactor.clone(),
        };
        let held = hold::shared(&locks, &journal)?;
        let reopened = Self { past, around, order, mode, journal, held, begun, _locks: locks };
        reopened.announce();
        Ok(reopened)
    }

    fn announce(&self) {
        self.around.bus.tell(What::RunStarted {
            run: &self.past.id,
            mode: self.mode,
            environment: self.order.config.named_environment(),
            targets: announced(&self.past),
        });
    }

    /// What its members have in common.
    pub(super) fn seating(&self) -> Seating<'_> {
        Seating { mode: self.mode, ..Seating::of(self.order, &self.past.id, &self.held, &self.around) }
    }

    /// The hooks of today. A run that goes on is to them what it was.
    pub(super) fn hooks(&self) -> Hooks<'_> {
        let (order, past) = (self.order, &self.past);
        let of_targets = order.config.targets.iter().filter(|target| past.target(&target.name).is_some());
        let version = past.info.version.as_deref();
        Hooks {
            of_run: &order.config.hooks,
            of_targets: of_targets.map(|target| (target.name.as_str(), (&target.hooks, version))).collect(),
            mode: match (self.mode, past.info.kind) {
                (Mode::Resume, RunKind::Rollback) => Mode::Rollback,
                (Mode::Resume | Mode::Promote, _) => Mode::Deploy,
                (mode, _) => mode,
            },
            run: &past.id,
            actor: order.actor,
            project: &order.project.dir,
            environment: &order.project.environment,
            around: self.around.clone(),
        }
    }

    /// What walks its members.
    pub(super) fn walk<'w>(&'w self, hooks: &'w Hooks<'w>) -> Walk<'w> {
        Walk {
            around: &self.around,
            journal: &self.journal,
            hooks,
            on_partial: self.order.config.on_partial,
            on_interrupt: self.order.config.on_interrupt,
            wait: self.order.wait,
            waiting: OnceLock::new(),
            until: match self.mode {
                // What it waited for has come.
                Mode::Promote => Until::Verdict,
                _ => self.past.info.canary.unwrap_or(Until::Verdict),
            },
        }
    }

    /// Ends the workers, and keeps how it went.
    pub(super) fn finish(self, mut members: Vec<Member>, ending: Ending, error: Option<Error>) -> Report {
        members.iter_mut().for_each(Member::close);
        let report = Report {
            run: self.past.id.clone(),
            mode: self.mode,
            environment: self.order.config.named_environment().cloned(),
            ending,
            targets: members.iter().map(Member::report).collect(),
            error,
            log: None,
            took: self.begun.elapsed(),
        };
        let report = record::kept(self.order, self.past.info.kind, &self.journal, report);
        self.around.bus.tell(What::RunFinished(&report));
        report
    }
}

/// The targets of a run of the past, as a run that goes on with it announces them.
pub(super) fn announced(past: &PastRun) -> Vec<Announced<'_>> {
    let targets = past.targets.iter().map(|target| Announced {
        name: &target.planned.target,
        primary: false,
        version: target.planned.release.version.as_deref(),
    });
    targets.collect()
}
