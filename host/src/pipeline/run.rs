//! One run from its lock to its history record: what `execute` and `rollback` are underneath.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error,
    protocol::{CheckStatus, Effect, OpenRequest, PastRelease, Plan, PlanRequest, Release, TargetContext},
    redact::Redactor,
};
use semver::VersionReq;
use serde_json::{Map, Value};

use super::{
    engine::{Walk, before_live},
    event::{Announced, Bus, Listener, What},
    member::{Member, Seat, Surroundings, scratch},
    outcome::{Ending, Mode, Report, TargetEnding, TargetReport},
    record, recover,
};
use crate::{
    config::{DeployConfig, TargetConfig},
    failure::Failure,
    hooks::Hooks,
    journal::{self, Journal, JournalError, RunInfo, RunKind},
    lock::{self, Holder, LockError, TargetLock},
    plugins::{self, PluginsLock, Ready, SearchPath, Verdict},
    project::Project,
    reporter::log::Log,
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
    /// Whether only recorded plugins are used.
    pub locked: bool,
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

/// Carries an order out, telling `reporter` all along.
///
/// # Errors
/// What kept the run from beginning: nothing was changed, and no record was written. Whatever happens after the
/// locks are held is in the report.
pub fn carry_out(
    order: &Order<'_>,
    reporter: Box<dyn Listener>,
    confirm: Confirm<'_>,
) -> Result<Report, Failure> {
    if order.mode.is_dry() {
        return dry(order, reporter);
    }
    let journal = Journal::create(&order.project.data, &order.info())?;
    let begun =
        order.hold(&journal).and_then(|locks| Ok((held(&locks, &journal)?, log(order, &journal)?, locks)));
    let (held, log, locks) = match begun {
        Ok(begun) => begun,
        Err(failure) => {
            // Should the folder stay behind, what counts is still what kept the run from beginning.
            journal.discard().unwrap_or_default();
            return Err(failure);
        }
    };
    let run = Run::new(order, journal.id(), Bus::new(vec![reporter, Box::new(log)]), held);
    run.announce();
    let mut members = Vec::new();
    let report = match run.seat_all(&mut members).and_then(|()| run.plan_all(&mut members)) {
        Ok(()) if confirm(&plans(&members).collect::<Vec<_>>()) => run.walk(&journal, &mut members),
        Ok(()) => {
            journal.discard()?;
            return Err(order.stopped().unwrap_or(Failure::Declined));
        }
        Err(error) => run.failed_early(&members, error),
    };
    let report = record::kept(order, order.kind(), &journal, report);
    run.around.bus.tell(What::RunFinished(&report));
    // Released when nothing of the run is left to be written.
    drop(locks);
    Ok(report)
}

/// The descriptors that a worker holds as long as it lives.
fn held(locks: &[TargetLock], journal: &Journal) -> Result<Vec<OwnedFd>, Failure> {
    let held = locks.iter().map(AsFd::as_fd).chain([journal.as_fd()]);
    held.map(|fd| fd.try_clone_to_owned()).collect::<Result<_, _>>().map_err(Failure::Descriptors)
}

fn log(order: &Order<'_>, journal: &Journal) -> Result<Log, Failure> {
    Ok(Log::create(&journal.log_path(), order.redactor.clone())?)
}

/// Plans, and nothing else.
fn dry(order: &Order<'_>, reporter: Box<dyn Listener>) -> Result<Report, Failure> {
    let run =
        Run::new(order, &journal::proposed_id(&order.project.data), Bus::new(vec![reporter]), Vec::new());
    run.announce();
    run.name_obstacles()?;
    let mut members = Vec::new();
    let planned =
        run.seat_all(&mut members).and_then(|()| run.dry_hooks()).and_then(|()| run.plan_all(&mut members));
    let report = match planned {
        Ok(()) => {
            let pending = plans(&members).any(would_change);
            run.report(&members, Ending::Planned { pending }, None)
        }
        Err(error) => run.failed_early(&members, error),
    };
    run.around.bus.tell(What::RunFinished(&report));
    Ok(report)
}

impl Order<'_> {
    fn kind(&self) -> RunKind {
        if self.mode == Mode::Rollback { RunKind::Rollback } else { RunKind::Deploy }
    }

    fn info(&self) -> RunInfo {
        let version = self.errands.first().and_then(Errand::version);
        RunInfo {
            kind: self.kind(),
            targets: self.errands.iter().map(|errand| errand.target.name.clone()).collect(),
            environment: self.project.environment.clone(),
            actor: self.actor.to_owned(),
            command: self.command.clone(),
            version: version.map(str::to_owned),
            commit: self.errands.first().and_then(Errand::commit).map(str::to_owned),
        }
    }

    /// That a signal came, if one did.
    fn stopped(&self) -> Option<Failure> {
        self.interrupt.signal().map(|signal| Failure::Stopped { signal })
    }

    /// Takes the locks of these targets or none, in one order for everybody; `run` is who holds them.
    pub(super) fn lock_all(&self, names: &[&str], run: &str) -> Result<Vec<TargetLock>, Failure> {
        let holder = Holder {
            owner: self.actor.to_owned(),
            pid: std::process::id(),
            run_id: run.to_owned(),
            since: journal::timestamp(),
            command: self.command.clone(),
        };
        let mut names = names.to_vec();
        names.sort_unstable();
        let cancelled = || self.interrupt.signal().is_some();
        let folder = self.project.environment_folder();
        names
            .into_iter()
            .map(|name| TargetLock::acquire(&folder, name, &holder, self.wait, &cancelled))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| match (error, self.interrupt.signal()) {
                (LockError::Cancelled { .. }, Some(signal)) => Failure::Stopped { signal },
                (error, _) => error.into(),
            })
    }

    /// Takes the locks of all targets; then looks whether an earlier run died.
    fn hold(&self, journal: &Journal) -> Result<Vec<TargetLock>, Failure> {
        let names: Vec<_> = self.errands.iter().map(|errand| errand.target.name.as_str()).collect();
        let locks = self.lock_all(&names, journal.id())?;
        if self.kind() == RunKind::Rollback {
            self.refuse_outdated()?;
        }
        match recover::unfinished(self.project, &names)?.into_iter().next() {
            Some(run) => Err(Failure::Interrupted(Box::new(run))),
            None => Ok(locks),
        }
    }

    /// Where to go back to was read from history before the lock was held; who held it may have moved on since.
    fn refuse_outdated(&self) -> Result<(), Failure> {
        let now = DeployConfig::read(self.project)?;
        if now.history() == self.config.history() { Ok(()) } else { Err(Failure::Outdated) }
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

    fn release(&self, run: &str) -> Release {
        match &self.goal {
            Goal::Forward { version, commit } => {
                Release { id: run.to_owned(), version: version.clone(), commit: commit.clone() }
            }
            Goal::Back { to, .. } => to.release.clone(),
        }
    }

    fn request(&self, run: &str) -> PlanRequest {
        match &self.goal {
            Goal::Forward { .. } => PlanRequest::Deploy { release: self.release(run) },
            Goal::Back { to, from } => PlanRequest::Rollback { to: to.clone(), from: from.clone() },
        }
    }
}

/// A run under way.
struct Run<'a> {
    order: &'a Order<'a>,
    id: String,
    around: Surroundings,
    held: Vec<OwnedFd>,
    begun: Instant,
}

impl<'a> Run<'a> {
    fn new(order: &'a Order<'a>, id: &str, bus: Bus, held: Vec<OwnedFd>) -> Self {
        let around = Surroundings {
            bus: Arc::new(bus),
            interrupt: Arc::clone(&order.interrupt),
            redactor: order.redactor.clone(),
        };
        Self { order, id: id.to_owned(), around, held, begun: Instant::now() }
    }

    fn announce(&self) {
        let errands = &self.order.errands;
        let targets = errands
            .iter()
            .map(|errand| Announced {
                name: &errand.target.name,
                primary: errand.target.primary,
                version: errand.version(),
            })
            .collect();
        self.around.bus.tell(What::RunStarted {
            run: &self.id,
            mode: self.order.mode,
            environment: self.order.config.named_environment(),
            targets,
        });
        for warning in &self.order.config.warnings {
            self.around.bus.tell(What::Warning(&warning.to_string()));
        }
    }

    /// What a real run would stumble over: somebody's lock, a run that died.
    fn name_obstacles(&self) -> Result<(), Failure> {
        for errand in &self.order.errands {
            let name = &errand.target.name;
            if let Some(holder) = lock::holder(&self.order.project.environment_folder(), name)? {
                let held = format!("target `{name}` is locked by {holder}; a real run would have to wait");
                self.around.bus.tell_of(name, What::Warning(&held));
            }
        }
        let names: Vec<_> = self.order.errands.iter().map(|errand| errand.target.name.as_str()).collect();
        for run in recover::unfinished(self.order.project, &names)? {
            self.around.bus.tell(What::Warning(&Failure::Interrupted(Box::new(run)).to_string()));
        }
        Ok(())
    }

    /// Finds each target's plugin and prepares its worker.
    fn seat_all(&self, members: &mut Vec<Member>) -> Result<(), Error> {
        for errand in &self.order.errands {
            members.push(self.seat(errand).map_err(|failure| failure.to_error())?);
        }
        Ok(())
    }

    fn seat(&self, errand: &Errand<'_>) -> Result<Member, Failure> {
        let (order, target) = (self.order, errand.target);
        let (plugin, note) = admit(
            order.plugins,
            &target.name,
            &target.kind,
            target.plugin.as_ref(),
            &order.project.data,
            order.mode,
            order.locked,
        )?;
        if let Some(note) = note {
            self.around.bus.tell_of(&target.name, What::Warning(&note));
        }
        let config = match &errand.goal {
            Goal::Forward { .. } => target.config.clone(),
            Goal::Back { to, .. } => recorded_config(&order.project.data, &to.release.id, &target.name)?
                .unwrap_or_else(|| target.config.clone()),
        };
        let scratch = scratch()?;
        let context = TargetContext {
            target: target.name.clone(),
            project_name: order.config.project_name_or_folder(order.project),
            project: order.project.dir.clone(),
            scratch: scratch.path().to_owned(),
            data: order.project.data.clone(),
            read_only: order.mode.is_dry(),
            source_may_change: self.hooks().before_stage(&target.name),
            actor: order.actor.to_owned(),
            run_id: self.id.clone(),
        };
        let held = self
            .held
            .iter()
            .map(OwnedFd::try_clone)
            .collect::<Result<_, _>>()
            .map_err(Failure::Descriptors)?;
        let seat = Seat {
            plugin,
            open: OpenRequest { context, config },
            held,
            deadlines: target.deadlines.clone(),
            limits: target.limits,
        };
        let release = errand.release(&self.id);
        let mut member = Member::new(&target.name, target.primary, release, seat, scratch, &self.around);
        // A rollback that fails goes back where it was, whatever is said of deployments.
        member.auto_rollback = target.auto_rollback || order.mode == Mode::Rollback;
        Ok(member)
    }

    /// Has every plugin make its plan, at the same time; then looks at them together.
    fn plan_all(&self, members: &mut [Member]) -> Result<(), Error> {
        let errands = &self.order.errands;
        let failed = thread::scope(|scope| {
            let planning: Vec<_> = members
                .iter_mut()
                .zip(errands)
                .map(|(member, errand)| {
                    let request = errand.request(&self.id);
                    scope.spawn(move || {
                        let planned = member.make_plan(&request).map(|_| ());
                        member.error = planned.err();
                    })
                })
                .collect();
            planning.into_iter().any(|thread| thread.join().is_err())
        });
        if failed {
            return Err(Error::failed(
                "the host itself panicked while planning; this is a bug in pop-deploy",
            ));
        }
        for (member, errand) in members.iter_mut().zip(errands) {
            if member.error.is_none() {
                member.error = objection(member, errand);
            }
        }
        refuse_shared_places(members)?;
        members.iter().find_map(|member| member.error.clone()).map_or(Ok(()), Err)
    }

    fn dry_hooks(&self) -> Result<(), Error> {
        self.hooks().run_dry()
    }

    fn hooks(&self) -> Hooks<'_> {
        let order = self.order;
        let of_targets = order
            .errands
            .iter()
            .map(|errand| (errand.target.name.as_str(), (&errand.target.hooks, errand.version())));
        Hooks {
            of_run: &order.config.hooks,
            of_targets: of_targets.collect(),
            mode: order.mode,
            run: &self.id,
            actor: order.actor,
            project: &order.project.dir,
            environment: &order.project.environment,
            around: self.around.clone(),
        }
    }

    fn walk(&self, journal: &Journal, members: &mut [Member]) -> Report {
        if let Err(failure) = record::plans(self.order, journal, members) {
            return self.failed_early(members, failure.to_error());
        }
        let walk = Walk {
            around: &self.around,
            journal,
            hooks: &self.hooks(),
            on_partial: self.order.config.on_partial,
            on_interrupt: self.order.config.on_interrupt,
        };
        let (ending, error) = walk.walk(members);
        for member in members.iter_mut() {
            member.close();
        }
        self.report(members, ending, error)
    }

    fn failed_early(&self, members: &[Member], error: Error) -> Report {
        let signal = self.around.interrupt.signal();
        let ending = signal.map_or(before_live(&error, true), |signal| Ending::Interrupted { signal });
        if !self.order.mode.is_dry() {
            self.hooks().close(ending);
        }
        self.report(members, ending, Some(error))
    }

    fn report(&self, members: &[Member], ending: Ending, error: Option<Error>) -> Report {
        let unseated = self.order.errands.iter().skip(members.len()).map(|errand| TargetReport {
            name: errand.target.name.clone(),
            ending: TargetEnding::Skipped,
            release: errand.release(&self.id),
            before: None,
            plan: None,
            steps: Vec::new(),
            was_live: false,
            error: None,
            rollback: None,
            facts: Map::new(),
            took: Duration::ZERO,
        });
        Report {
            run: self.id.clone(),
            mode: self.order.mode,
            environment: self.order.config.named_environment().cloned(),
            ending,
            targets: members.iter().map(Member::report).chain(unseated).collect(),
            error,
            log: None,
            took: self.begun.elapsed(),
        }
    }
}

/// Finds the plugin of a target, checks that it is the one we know, and makes the private copy. The text says what
/// was recorded, if anything was.
///
/// # Errors
/// There is none that serves it, or it isn't the one we know.
pub(super) fn admit(
    search: &SearchPath,
    target: &str,
    kind: &str,
    requirement: Option<&VersionReq>,
    data: &Path,
    mode: Mode,
    locked: bool,
) -> Result<(Ready, Option<String>), Failure> {
    let mut known = PluginsLock::read(&data.join("plugins.lock"))?;
    let found = plugins::choose(search, &known, kind, requirement)
        .map_err(|source| Failure::Choose { target: target.to_owned(), source: Box::new(source) })?;
    let verdict = plugins::trust::admit(&found, &known, locked)?;
    let note = if verdict == Verdict::New && !mode.is_dry() {
        known.record(&found)?;
        let (id, version) = (&found.build.plugin.id, &found.build.version);
        Some(format!("plugin `{id}` {version} is new here; recorded its hash in plugins.lock"))
    } else {
        None
    };
    Ok((plugins::private_copy(&found)?, note))
}

/// The config that a release was made with; absent where its journal is gone.
fn recorded_config(data: &Path, id: &str, target: &str) -> Result<Option<Value>, Failure> {
    match journal::read(data, id) {
        Ok(run) => Ok(run.target(target).map(|target| target.planned.config.clone())),
        Err(JournalError::NoRun { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What stands against walking a member's plan: failed checks, or another place than the release went to.
fn objection(member: &Member, errand: &Errand<'_>) -> Option<Error> {
    let plan = member.plan.as_ref()?;
    if let Goal::Back { to, .. } = &errand.goal
        && to.identity.as_ref().is_some_and(|identity| *identity != plan.identity)
    {
        let was = to.identity.as_deref().unwrap_or_default();
        return Some(
            Error::preflight(format!(
                "release `{}` went to `{was}`, not to `{}`",
                to.release.id, plan.identity
            ))
            .hint("point the target back at that place, or deploy that version anew"),
        );
    }
    let failed: Vec<_> = plan.checked.iter().filter(|check| check.status == CheckStatus::Fail).collect();
    match failed.as_slice() {
        [] => None,
        [check] => {
            let error = Error::preflight(check.message.clone());
            Some(match &check.hint {
                Some(hint) => error.hint(hint),
                None => error,
            })
        }
        several => {
            let mut error = Error::preflight(format!("{} things aren't ready", several.len()));
            error.causes = several
                .iter()
                .map(|check| match &check.hint {
                    Some(hint) => format!("{} ({hint})", check.message),
                    None => check.message.clone(),
                })
                .collect();
            Some(error)
        }
    }
}

/// Two targets of one run in one place would take turns overwriting each other.
fn refuse_shared_places(members: &[Member]) -> Result<(), Error> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for member in members {
        let Some(plan) = &member.plan else { continue };
        if let Some(other) = seen.insert(&plan.identity, &member.name) {
            let message =
                format!("targets `{other}` and `{}` go to the same place, `{}`", member.name, plan.identity);
            return Err(Error::config(message).hint("give each target a place of its own in deploy.json"));
        }
    }
    Ok(())
}

fn plans(members: &[Member]) -> impl Iterator<Item = &Plan> {
    members.iter().filter_map(|member| member.plan.as_ref())
}

/// Whether anything would change, or only running can tell.
fn would_change(plan: &Plan) -> bool {
    plan.changes.iter().any(|change| change.effect != Effect::None)
        || plan.steps.iter().any(|step| step.effect == Effect::Maybe)
}
