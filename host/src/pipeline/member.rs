//! One target of a run: its worker, its plan, and what became of each step.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, ErrorKind, Secret,
    protocol::{
        self, Command, Diagnostic, OpenRequest, Phase, PlaceLock, Plan, PlanRequest, Receipt, Release,
        Rollout, RunRequest, Status, Step, StepReceipt, Stream, Undo, UndoRequest, UnlockRequest, method,
    },
    redact::Redactor,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    event::{Bus, Place, What},
    outcome::{RollbackReport, StepReport, TargetEnding, TargetReport},
};
use crate::{
    config::Deadlines,
    plugins::{Limits, Options, Ready, Services, Worker},
    scratch::Scratch,
    secrets,
    signals::Interrupt,
};

/// How long a step may take where deploy.json gives its phase no time.
const STEP: Duration = Duration::from_secs(60 * 60);

/// Everything that is needed to give a target a worker, and another one should it die.
pub struct Seat {
    /// The plugin that serves the target.
    pub plugin: Ready,
    /// What the session is opened with.
    pub open: OpenRequest,
    /// The descriptors that a worker holds as long as it lives: the run's locks.
    pub held: Vec<OwnedFd>,
    /// How long the plugin may take.
    pub deadlines: Deadlines,
    /// What a worker may use.
    pub limits: Limits,
}

/// A target of a run.
pub struct Member {
    /// The target's name.
    pub name: String,
    /// Whether it goes back by itself when it fails while live.
    pub auto_rollback: bool,
    /// The release that the run makes or goes back to.
    pub release: Release,
    /// Its plan, once there is one.
    pub plan: Option<Plan>,
    /// The receipts so far, in order.
    pub receipts: Vec<StepReceipt>,
    /// The steps so far, in order; of a step that ran twice, the later one counts.
    pub steps: Vec<StepReport>,
    /// Which steps of the plan were begun, by index and in order; undo walks them backwards.
    pub begun: Vec<usize>,
    /// Whether somebody else's run at its place may have outdated its plan.
    pub doubtful: bool,
    /// Whether users saw the new release at any time.
    pub was_live: bool,
    /// The exit code of the last command that the last step ran.
    pub exit_code: Option<i32>,
    /// How it stands.
    pub ending: TargetEnding,
    /// What went wrong first.
    pub error: Option<Error>,
    /// What was done to take it back.
    pub rollback: Option<RollbackReport>,
    /// How the place stood after that, where it was asked.
    pub after: Option<Status>,
    seat: Seat,
    worker: Option<Arc<Worker>>,
    desk: Arc<Desk>,
    interrupt: Arc<Interrupt>,
    since: Instant,
    /// How long the steps of each phase took so far.
    spent: BTreeMap<Phase, Duration>,
    _scratch: Scratch,
}

/// What a member needs of the run it belongs to.
#[derive(Clone)]
pub struct Surroundings {
    /// Where events go.
    pub bus: Arc<Bus>,
    /// Who may want the run to stop.
    pub interrupt: Arc<Interrupt>,
    /// What is blotted out everywhere.
    pub redactor: Redactor,
}

impl Member {
    /// A member whose worker starts with its first call. `scratch` is the folder that the session was told of.
    pub fn new(name: &str, release: Release, seat: Seat, scratch: Scratch, around: &Surroundings) -> Self {
        let desk = Desk {
            target: name.to_owned(),
            project: seat.open.context.project.clone(),
            config: seat.open.config.clone(),
            bus: Arc::clone(&around.bus),
            redactor: around.redactor.clone(),
            current: Mutex::default(),
        };
        Self {
            name: name.to_owned(),
            auto_rollback: true,
            release,
            plan: None,
            receipts: Vec::new(),
            steps: Vec::new(),
            begun: Vec::new(),
            doubtful: false,
            was_live: false,
            exit_code: None,
            ending: TargetEnding::Skipped,
            error: None,
            rollback: None,
            after: None,
            seat,
            worker: None,
            desk: Arc::new(desk),
            interrupt: Arc::clone(&around.interrupt),
            since: Instant::now(),
            spent: BTreeMap::new(),
            _scratch: scratch,
        }
    }

    /// The plugin's name and version.
    pub fn plugin(&self) -> (&str, &semver::Version) {
        let build = &self.seat.plugin.build;
        (&build.plugin.id, &build.version)
    }

    /// Whether the plugin says that it can do that.
    pub fn is_capable_of(&self, capability: &str) -> bool {
        self.seat.plugin.build.plugin.is_capable_of(capability)
    }

    /// The plugin's file, as it was found.
    pub fn plugin_path(&self) -> &Path {
        &self.seat.plugin.source
    }

    /// What the session is opened with.
    pub fn opened_with(&self) -> &OpenRequest {
        &self.seat.open
    }

    /// Starts its worker where there is none, and opens the session.
    ///
    /// # Errors
    /// What the plugin answers, or that it died.
    pub fn open(&mut self) -> Result<(), Error> {
        self.worker().map(drop)
    }

    /// Reads the place.
    ///
    /// # Errors
    /// What the plugin answers, or that it died.
    pub fn status(&mut self) -> Result<Status, Error> {
        self.call(method::STATUS, &(), self.seat.deadlines.plan)
    }

    /// Has the plugin gather what helps to understand a failure.
    ///
    /// # Errors
    /// What the plugin answers, or that it died.
    pub fn diagnose(&mut self) -> Result<Vec<Diagnostic>, Error> {
        self.call(method::DIAGNOSE, &(), self.seat.deadlines.plan)
    }

    /// Has the plugin say which releases are kept at the place.
    ///
    /// # Errors
    /// What the plugin answers, or that it died.
    pub fn kept(&mut self) -> Result<Vec<Release>, Error> {
        self.call(method::KEPT, &(), self.seat.deadlines.plan)
    }

    /// Has the plugin say who is at work at the place.
    ///
    /// # Errors
    /// What the plugin answers, or that it died.
    pub fn locks(&mut self) -> Result<Vec<PlaceLock>, Error> {
        self.call(method::LOCKS, &(), self.seat.deadlines.plan)
    }

    /// Has the plugin take the place from a run.
    ///
    /// # Errors
    /// What the plugin answers, or that it died.
    pub fn unlock(&mut self, request: &UnlockRequest) -> Result<Vec<PlaceLock>, Error> {
        self.call(method::UNLOCK, request, self.seat.deadlines.undo)
    }

    /// Has the plugin make a plan, and checks that it is one that can be walked.
    ///
    /// # Errors
    /// What the plugin answers, or what is wrong with its plan.
    pub fn make_plan(&mut self, request: &PlanRequest) -> Result<&Plan, Error> {
        let plan = self.plan_again(request)?;
        self.check(&plan)?;
        if let PlanRequest::Deploy { rollout: Rollout::Canary, .. } = request {
            self.check_canary(&plan)?;
        }
        self.desk.bus.tell_of(&self.name, What::Planned(&plan));
        Ok(self.plan.insert(plan))
    }

    /// Has the plugin make a plan to compare another with; it is not the member's.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn plan_again(&mut self, request: &PlanRequest) -> Result<Plan, Error> {
        self.call(method::PLAN, request, self.seat.deadlines.plan)
    }

    /// A full deployment in the disguise of a canary.
    fn check_canary(&self, plan: &Plan) -> Result<(), Error> {
        let mut switches = plan.steps.iter().filter(|step| step.phase == Phase::Switch).peekable();
        if switches.peek().is_some() && !switches.any(|step| step.awaits_verdict) {
            return Err(self.broken("it is to be a canary, and no step of it awaits a verdict"));
        }
        Ok(())
    }

    fn broken(&self, what: &str) -> Error {
        let (id, version) = self.plugin();
        let homepage = &self.seat.plugin.build.homepage;
        Error::failed(format!("plugin `{id}` {version} made a plan that can't be walked: {what}"))
            .hint(format!("report it to {homepage}"))
    }

    /// The plugin's mistakes that the pipeline can't live with.
    fn check(&self, plan: &Plan) -> Result<(), Error> {
        for (index, step) in plan.steps.iter().enumerate() {
            let earlier = &plan.steps[..index];
            if earlier.iter().any(|other| other.id == step.id) {
                return Err(self.broken(&format!("two steps are called `{}`", step.id)));
            }
            if earlier.last().is_some_and(|last| last.phase > step.phase) {
                return Err(self.broken(&format!("step `{}` goes back to phase `{}`", step.id, step.phase)));
            }
        }
        Ok(())
    }

    /// Goes forward again after steps were taken back: the first signal stops it.
    pub fn unshield(&self) {
        self.worker.iter().for_each(|worker| self.interrupt.unshield(worker));
    }

    /// Why its plan doesn't hold any more, where that was to be doubted.
    pub fn outdated(&self) -> Option<&Error> {
        self.error.as_ref().filter(|error| self.doubtful && error.kind == ErrorKind::Preflight)
    }

    /// Forgets its plan and what came of it, once that is taken back: another plan takes its place, made by another worker,
    /// which the first signal stops again.
    pub fn forget_plan(&mut self) {
        self.close();
        self.plan = None;
        self.receipts.clear();
        self.steps.clear();
        self.begun.clear();
        self.spent.clear();
        self.doubtful = false;
        self.error = None;
    }

    /// The plan's steps; none without a plan.
    pub fn planned(&self) -> &[Step] {
        self.plan.as_ref().map_or(&[], |plan| &plan.steps)
    }

    /// The steps of `phase` that aren't done, by index.
    pub fn left_to_do(&self, phase: Phase) -> Vec<usize> {
        let done = |step: &Step| self.receipts.iter().any(|kept| kept.step == step.id);
        let steps = self.planned().iter().enumerate();
        steps.filter(|(_, step)| step.phase == phase && !done(step)).map(|(index, _)| index).collect()
    }

    /// Whether a step of `phase`, or of a later one, was begun.
    pub fn has_begun(&self, phase: Phase) -> bool {
        self.begun.iter().any(|index| self.planned()[*index].phase >= phase)
    }

    /// Runs the step at `index` of the plan.
    ///
    /// # Errors
    /// What the plugin answers, that it died, or that it ran a command which the step doesn't have.
    pub fn run(&mut self, index: usize) -> Result<Receipt, Error> {
        let step = self.planned()[index].clone();
        let request = RunRequest { step, release: self.release.clone(), receipts: self.receipts.clone() };
        self.desk.seat(Some(Current::new(&request.step, index + 1, self.planned().len())));
        let (phase, begun) = (request.step.phase, Instant::now());
        let spent = self.spent.get(&phase).copied().unwrap_or_default();
        let hold = Duration::from_secs(request.step.hold);
        let left = self.seat.deadlines.phases.get(&phase).map_or(STEP, |whole| whole.saturating_sub(spent));
        let result = self.call(method::RUN, &request, left.saturating_add(hold));
        self.spent.insert(phase, spent + begun.elapsed().saturating_sub(hold));
        let current = self.desk.seat(None);
        self.exit_code = current.as_ref().and_then(|current| current.exit_code);
        let receipt = result?;
        match current.and_then(|current| current.unplanned) {
            Some(command) => {
                let (id, version) = self.plugin();
                Err(Error::failed(format!(
                    "plugin `{id}` {version} ran a command that its plan doesn't have"
                ))
                .because(&Error::failed(format!("`{command}` in step `{}`", request.step.id))))
            }
            None => Ok(receipt),
        }
    }

    /// Takes the step at `index` back; in a fresh worker, should the last one have died.
    ///
    /// # Errors
    /// What the plugin answers: then nobody knows how the place stands.
    pub fn undo(&mut self, index: usize) -> Result<String, Error> {
        let step = self.planned()[index].clone();
        let receipt = self.receipts.iter().find(|kept| kept.step == step.id).map(|kept| kept.receipt.clone());
        let request = UndoRequest { step, release: self.release.clone(), receipt };
        self.desk.seat(Some(Current::new(&request.step, index + 1, self.planned().len())));
        let answer = self.worker().and_then(|worker| {
            self.interrupt.shield(&worker);
            worker.call(method::UNDO, &request, Some(self.seat.deadlines.undo))
        });
        self.desk.seat(None);
        let undone = answer.and_then(|undo| match undo {
            Undo::Undone { summary } => Ok(summary),
            Undo::Nothing => Ok(String::new()),
            Undo::Unknown { why } => Err(Error::new(ErrorKind::Unknown, why)),
        });
        undone.map_err(|error| self.desk.blotted(error))
    }

    /// What of the place is in a state that nobody knows although the release is live, as the receipts have it.
    pub fn astray(&self) -> Option<Error> {
        let causes: Vec<_> = self.receipts.iter().flat_map(|kept| kept.receipt.astray.clone()).collect();
        if causes.is_empty() {
            return None;
        }
        let message =
            format!("the release is live at `{}`, but for a part that nobody could take back", self.name);
        let error = Error { causes, ..Error::new(ErrorKind::Unknown, message) };
        Some(self.desk.blotted(error.hint("mend each as it says; the release stays live where it is well")))
    }

    /// Ends the worker, and with it whatever the session holds.
    pub fn close(&mut self) {
        self.worker = None;
    }

    fn call<R: DeserializeOwned>(
        &mut self,
        name: &str,
        input: &impl Serialize,
        limit: Duration,
    ) -> Result<R, Error> {
        let answer = self.worker().and_then(|worker| worker.call(name, input, Some(limit)));
        answer.map_err(|error| self.desk.blotted(error))
    }

    fn worker(&mut self) -> Result<Arc<Worker>, Error> {
        match &self.worker {
            Some(worker) if worker.alive() => Ok(Arc::clone(worker)),
            _ => self.start(),
        }
    }

    fn start(&mut self) -> Result<Arc<Worker>, Error> {
        let desk: Arc<dyn Services> = Arc::clone(&self.desk) as _;
        let held = self.seat.held.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>();
        let keep_open =
            held.map_err(|error| Error::failed("can't share the run's locks with a worker").because(&error))?;
        let options = Options {
            keep_open,
            limits: self.seat.limits,
            start_deadline: self.seat.deadlines.start,
            grace: self.seat.deadlines.grace,
            ..Options::default()
        };
        let worker = Arc::new(Worker::start(&self.seat.plugin, &self.seat.open, desk, &options)?);
        self.interrupt.watch(&worker);
        self.worker = Some(Arc::clone(&worker));
        Ok(worker)
    }

    /// What the plan says for reports, and over it what the steps found out.
    fn facts(&self) -> Map<String, Value> {
        let mut facts = self.plan.as_ref().map(|plan| plan.facts.clone()).unwrap_or_default();
        facts.extend(self.receipts.iter().flat_map(|kept| kept.receipt.facts.clone()));
        facts
    }

    /// The member as it went.
    pub fn report(&self) -> TargetReport {
        let went = |step: &Step| {
            let went = self.steps.iter().rfind(|went| went.id == step.id);
            went.cloned().unwrap_or_else(|| StepReport::not_run(step))
        };
        TargetReport {
            name: self.name.clone(),
            ending: self.ending,
            release: self.release.clone(),
            before: self.plan.as_ref().and_then(|plan| plan.live.clone()),
            plan: self.plan.clone(),
            steps: self.planned().iter().map(went).collect(),
            was_live: self.was_live,
            error: self.error.clone(),
            rollback: self.rollback.clone(),
            after: self.after.clone(),
            facts: self.facts(),
            took: self.since.elapsed(),
        }
    }
}

/// Where a plugin's events and requests arrive while its member works.
struct Desk {
    target: String,
    project: PathBuf,
    config: Value,
    bus: Arc<Bus>,
    redactor: Redactor,
    current: Mutex<Option<Current>>,
}

/// The step that runs now.
struct Current {
    step: Step,
    number: usize,
    of: usize,
    unplanned: Option<Command>,
    exit_code: Option<i32>,
}

impl Current {
    fn new(step: &Step, number: usize, of: usize) -> Self {
        Self { step: step.clone(), number, of, unplanned: None, exit_code: None }
    }
}

impl Desk {
    /// Puts another step in the place of the current one, and returns that.
    fn seat(&self, next: Option<Current>) -> Option<Current> {
        std::mem::replace(&mut *self.current.lock().unwrap_or_else(PoisonError::into_inner), next)
    }

    /// Whether a secret's reference stands in the target's config, or in the step that runs: a step that goes back to a release may need
    /// what the config of that time said.
    fn refers_to(&self, reference: &Value) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let in_step =
            || current.as_ref().is_some_and(|current| secrets::stands_in(reference, &current.step.data));
        secrets::stands_in(reference, &self.config) || in_step()
    }

    fn tell(&self, what: What<'_>) {
        self.bus.tell_of(&self.target, what);
    }

    /// A plugin's error without the secrets that it was given: from here it goes to journal, pages and terminals.
    fn blotted(&self, error: Error) -> Error {
        let blot = |text: &String| self.redactor.redact(text).into_owned();
        Error {
            message: blot(&error.message),
            causes: error.causes.iter().map(blot).collect(),
            hint: error.hint.as_ref().map(blot),
            ..error
        }
    }
}

impl Services for Desk {
    fn event(&self, event: protocol::Event) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let of = current.as_ref().map_or("plan", |current| &current.step.id).to_owned();
        let of = of.as_str();
        match &event {
            protocol::Event::Progress { message, done, total, unit } => {
                if let Some(Current { step, number, of, .. }) = current.as_ref() {
                    let place = Place { step, number: *number, of: *of };
                    self.tell(What::Progress { place, message, done: done.zip(*total), unit });
                }
            }
            protocol::Event::CommandStarted { command, .. } => {
                if let Some(current) = current.as_mut()
                    && !current.step.commands.iter().any(|planned| planned.admits(command))
                {
                    current.unplanned.get_or_insert_with(|| command.clone());
                }
                self.tell(What::CommandStarted { of, command });
            }
            protocol::Event::CommandFinished { exit_code, duration_ms, .. } => {
                if let Some(current) = current.as_mut() {
                    current.exit_code = *exit_code;
                }
                let took = Duration::from_millis(*duration_ms);
                self.tell(What::CommandFinished { of, exit_code: *exit_code, took });
            }
            protocol::Event::Output { stream, text } => self.tell(What::Output { of, stream: *stream, text }),
            protocol::Event::HealthAttempt { what, healthy, detail } => {
                self.tell(What::HealthAttempt { of, what, healthy: *healthy, detail });
            }
            protocol::Event::Warning { message } => self.tell(What::Warning(message)),
            // A newer plugin's word for something that this host has no place for.
            _ => {}
        }
    }

    fn output(&self, stream: Stream, line: &str) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let of = current.as_ref().map_or("plugin", |current| &current.step.id);
        self.tell(What::Output { of, stream, text: line });
    }

    fn request(&self, name: &str, input: Value) -> Result<Value, Error> {
        match name {
            method::SECRET => {
                let (asked, is_known) = (input.to_string(), self.refers_to(&input));
                let secret: Secret = serde_json::from_value(input)
                    .map_err(|error| Error::config("not a secret reference").because(&error))?;
                if !is_known {
                    return Err(Error::config(format!("the plugin asks for the secret `{asked}`, which the target's config doesn't refer to"))
                        .hint("name it in the target's config where the plugin has a key for it; otherwise report it to the plugin's author"));
                }
                let value = secrets::resolve(&secret, &self.project)?;
                self.redactor.learn(&value);
                Ok(Value::from(value))
            }
            _ => Err(Error::unimplemented(name)),
        }
    }
}
