//! One run from its lock to its history record: what `execute` and `rollback` are underneath.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, ErrorKind,
    protocol::{Effect, Plan, Rollout, capability},
};
use serde_json::{Map, Value};

use super::{
    engine::{PlanAnew, Walk, before_live},
    event::{Announced, Bus, Listener, What},
    hold,
    member::{Member, Surroundings},
    objection,
    order::{Confirm, Errand, Goal, Order},
    outcome::{Ending, Mode, Report, TargetEnding, TargetReport},
    record,
    seating::{Guest, Newcomer, Seated, Seating},
};
use crate::{
    failure::Failure,
    hooks::Hooks,
    journal::{self, Journal, JournalError, Until},
    lock,
    project::Project,
    reporter::log::Log,
};

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
    let begun = order
        .hold(&journal)
        .and_then(|locks| Ok((hold::shared(&locks, &journal)?, log(order, &journal)?, locks)));
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
    let planned = run.seat_all(&mut members).and_then(|newcomers| {
        run.plan_all(&mut members)?;
        run.record_all(&newcomers)
    });
    let report = match planned {
        Ok(()) if agrees(confirm, &members) => run.walk(&journal, &mut members, confirm),
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

fn log(order: &Order<'_>, journal: &Journal) -> Result<Log, Failure> {
    Ok(Log::create(&journal.log_path(), order.redactor.clone())?)
}

/// Plans, and nothing else.
fn dry(order: &Order<'_>, reporter: Box<dyn Listener>) -> Result<Report, Failure> {
    let run =
        Run::new(order, &journal::proposed_id(&order.project.data), Bus::new(vec![reporter]), Vec::new());
    run.announce();
    let obstacle = run.name_obstacles()?;
    let mut members = Vec::new();
    let planned =
        run.seat_all(&mut members).and_then(|_| run.dry_hooks()).and_then(|()| run.plan_all(&mut members));
    let report = match planned {
        Ok(()) => {
            // The plan holds; a real run would be refused all the same.
            if let Some(obstacle) = obstacle {
                return Err(obstacle);
            }
            let pending = plans(&members).any(would_change);
            run.report(&members, Ending::Planned { pending }, None)
        }
        Err(error) => run.failed_early(&members, error),
    };
    run.around.bus.tell(What::RunFinished(&report));
    Ok(report)
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

    /// What a real run would stumble over: somebody's lock, a run that died. What it would be refused for, if anything.
    fn name_obstacles(&self) -> Result<Option<Failure>, Failure> {
        for errand in &self.order.errands {
            let name = &errand.target.name;
            if let Some(holder) = lock::holder(&self.order.project.environment_folder(), name)? {
                let held = format!("target `{name}` is locked by {holder}; a real run would have to wait");
                self.around.bus.tell_of(name, What::Warning(&held));
            }
        }
        let unsettled = self.order.unsettled()?;
        for failure in &unsettled {
            self.around.bus.tell(What::Warning(&failure.to_string()));
        }
        Ok(unsettled.into_iter().next())
    }

    /// Finds each target's plugin and prepares its worker; says which plugins are new here.
    fn seat_all(&self, members: &mut Vec<Member>) -> Result<Vec<Newcomer>, Error> {
        let mut newcomers = Vec::new();
        for errand in &self.order.errands {
            let Seated { member, newcomer } = self.seat(errand).map_err(|failure| failure.to_error())?;
            members.push(member);
            newcomers.extend(newcomer);
        }
        Ok(newcomers)
    }

    /// Records the plugins that are new here. All have made their plans, so all were loaded and opened.
    fn record_all(&self, newcomers: &[Newcomer]) -> Result<(), Error> {
        let seating = Seating::of(self.order, &self.id, &self.held, &self.around);
        seating.record_all(newcomers).map_err(|failure| failure.to_error())
    }

    fn seat(&self, errand: &Errand<'_>) -> Result<Seated, Failure> {
        let (order, target) = (self.order, errand.target);
        let recorded = match &errand.goal {
            Goal::Forward { .. } => None,
            Goal::Back { to, .. } => recorded_config(order.project, &to.release.id, &target.name)?,
        };
        let mut seated = Seating::of(order, &self.id, &self.held, &self.around).seat(Guest {
            name: &target.name,
            kind: &target.kind,
            today: Some(target),
            config: recorded.unwrap_or_else(|| target.config.clone()),
            release: errand.release(&self.id),
            source_may_change: self.hooks().before_stage(&target.name),
            canary: None,
        })?;
        let wants_canary = order.mode.rollout() == Rollout::Canary;
        if wants_canary && !seated.member.is_capable_of(capability::CANARY) {
            return Err(Failure::NoCanary { target: target.name.clone() });
        }
        // A rollback that fails goes back where it was, whatever is said of deployments; and a bad canary never stays.
        seated.member.auto_rollback = target.auto_rollback || order.mode == Mode::Rollback || wants_canary;
        Ok(seated)
    }

    /// Has every plugin make its plan, at the same time; then looks at them together.
    fn plan_all(&self, members: &mut [Member]) -> Result<(), Error> {
        let errands = &self.order.errands;
        let failed = thread::scope(|scope| {
            let planning: Vec<_> = members
                .iter_mut()
                .zip(errands)
                .map(|(member, errand)| {
                    let request = errand.request(&self.id, self.order.mode.rollout());
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
                member.error = objection::to_walking(member, errand);
            }
        }
        objection::refuse_shared_places(members)?;
        let (project, config) = (self.order.project, self.order.config);
        objection::refuse_places_of_other_environments(project, config, members)?;
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

    fn walk(&self, journal: &Journal, members: &mut [Member], confirm: Confirm<'_>) -> Report {
        let record = |members: &[Member]| {
            record::plans(self.order, journal, members).map_err(|failure| failure.to_error())
        };
        if let Err(error) = record(members) {
            return self.failed_early(members, error);
        }
        let plan_anew: PlanAnew<'_> = &|members| {
            self.plan_all(members)?;
            if agrees(confirm, members) {
                return record(members);
            }
            Err(Error::new(ErrorKind::Cancelled, "the new plan wasn't confirmed"))
        };
        // What a rollback waited for may be what its user would rather keep.
        let is_forward = self.order.mode != Mode::Rollback;
        let walk = Walk {
            around: &self.around,
            journal,
            hooks: &self.hooks(),
            on_partial: self.order.config.on_partial,
            on_interrupt: self.order.config.on_interrupt,
            wait: self.order.wait,
            waiting: OnceLock::new(),
            until: match self.order.mode {
                Mode::Canary(until) => until,
                _ => Until::Verdict,
            },
        };
        let (ending, error) = walk.walk(members, is_forward.then_some(plan_anew));
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
            after: None,
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

/// The config that a release was made with; absent where its journal is gone.
fn recorded_config(project: &Project, id: &str, target: &str) -> Result<Option<Value>, Failure> {
    match journal::read(&project.data, id) {
        Ok(run) => Ok(run.target(target).map(|target| target.planned.config.clone())),
        Err(JournalError::NoRun { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether whoever decides agrees to the members' plans.
fn agrees(confirm: Confirm<'_>, members: &[Member]) -> bool {
    confirm(&plans(members).collect::<Vec<_>>())
}

fn plans(members: &[Member]) -> impl Iterator<Item = &Plan> {
    members.iter().filter_map(|member| member.plan.as_ref())
}

/// Whether anything would change, or only running can tell.
fn would_change(plan: &Plan) -> bool {
    plan.changes.iter().any(|change| change.effect != Effect::None)
        || plan.steps.iter().any(|step| step.effect == Effect::Maybe)
}
