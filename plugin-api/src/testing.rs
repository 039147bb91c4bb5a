//! The test kit for plugin authors: drives a target through the real boundary, without `dlopen` and without a host.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Error, Host, Result, Session, Target,
    ffi::{Described, Foreign, ForeignSession, entry},
    protocol::{
        Event, OpenRequest, Phase, Plan, PlanRequest, Receipt, Release, Rollout, RunRequest, Status,
        StepReceipt, TargetContext, Undo, UndoRequest, Unreachable, method,
    },
    target::manifest_of,
};

/// Compares the crate's checked-in `manifest.json` with what the code says, and rewrites it when the
/// environment variable `POP_DEPLOY_BLESS` is set. Call it from a test with `env!("CARGO_MANIFEST_DIR")`.
///
/// # Errors
/// A sentence that says what differs and what to do.
pub fn check_manifest<T: Target>(crate_folder: &str) -> Result<(), String> {
    let path = Path::new(crate_folder).join("manifest.json");
    let mut wanted = serde_json::to_string_pretty(&manifest_of::<T>()).map_err(|error| error.to_string())?;
    wanted.push('\n');
    if std::env::var_os("POP_DEPLOY_BLESS").is_some() {
        return std::fs::write(&path, wanted)
            .map_err(|error| format!("can't write `{}`: {error}", path.display()));
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found == wanted {
        return Ok(());
    }
    Err(format!("`{}` is out of date; run the tests once with POP_DEPLOY_BLESS=1", path.display()))
}

/// A target opened in a project folder, as a run of the host would.
pub struct Harness {
    session: ForeignSession,
    host: Recorder,
}

/// Collects the events, and plays the user who presses Ctrl-C. A clone is the same one.
#[derive(Default, Clone)]
pub struct Recorder(Arc<Recorded>);

#[derive(Default)]
struct Recorded {
    events: Mutex<Vec<Event>>,
    cancelled: AtomicBool,
}

impl Recorder {
    /// Plays Ctrl-C: from now on the target is asked to stop.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// The events so far; they are forgotten here.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Host for Recorder {
    fn emit(&self, event: &[u8]) {
        let event = serde_json::from_slice(event).unwrap_or(Event::Unknown);
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    fn request(&self, method: &str, _: &[u8]) -> std::result::Result<Vec<u8>, Vec<u8>> {
        Err(serde_json::to_vec(&Error::unimplemented(method)).unwrap_or_default())
    }
}

impl Harness {
    /// Opens `T` with `config` in `project`, ready to write. Temporary files go to `scratch` in the project.
    ///
    /// # Errors
    /// What the target answers.
    pub fn open<T: Target + Described>(project: &Path, config: Value) -> Result<Self> {
        let input = serde_json::to_vec(&OpenRequest { context: context(project), config })
            .map_err(|error| Error::failed("the config isn't representable as JSON").because(&error))?;
        let host = Recorder::default();
        let session = Foreign::new(entry::<T>()).open(Arc::new(host.clone()), &input)?;
        Ok(Self { session, host })
    }

    /// Calls a method with any input.
    ///
    /// # Errors
    /// What the target answers, or an answer of another shape than `R`.
    pub fn call<R: DeserializeOwned>(&self, name: &str, input: &impl Serialize) -> Result<R> {
        let strange = |error| Error::failed(format!("`{name}` answered strangely")).because(&error);
        let input = serde_json::to_vec(input).map_err(strange)?;
        serde_json::from_str(&self.session.call(name, &input)?).map_err(strange)
    }

    /// Plans a deployment of version `version` as release `id`.
    ///
    /// # Errors
    /// What the target answers.
    pub fn plan_deploy(&self, id: &str, version: &str) -> Result<Plan> {
        self.call(
            method::PLAN,
            &PlanRequest::Deploy {
                release: release(id, version),
                rollout: Rollout::Full,
                unreachable: Unreachable::Fails,
            },
        )
    }

    /// Plans a canary of version `version` as release `id`.
    ///
    /// # Errors
    /// What the target answers.
    pub fn plan_canary(&self, id: &str, version: &str) -> Result<Plan> {
        let request = PlanRequest::Deploy {
            release: release(id, version),
            rollout: Rollout::Canary,
            unreachable: Unreachable::Fails,
        };
        self.call(method::PLAN, &request)
    }

    /// Reads the place.
    ///
    /// # Errors
    /// What the target answers.
    pub fn status(&self) -> Result<Status> {
        self.call(method::STATUS, &())
    }

    /// Runs the steps of `plan` up to and including `last`, as the host does; returns their receipts.
    ///
    /// # Errors
    /// What the first failing step answers.
    pub fn run_through(&self, plan: &Plan, release: &Release, last: Phase) -> Result<Vec<StepReceipt>> {
        let mut receipts = Vec::new();
        for step in plan.steps.iter().filter(|step| step.phase <= last) {
            let request =
                RunRequest { step: step.clone(), release: release.clone(), receipts: receipts.clone() };
            let receipt: Receipt = self.call(method::RUN, &request)?;
            receipts.push(StepReceipt {
                step: step.id.clone(),
                plugin_version: semver::Version::new(0, 0, 0),
                receipt,
            });
        }
        Ok(receipts)
    }

    /// Takes the steps of `plan` up to and including `last` back, newest first. Steps without a receipt are
    /// undone as after a crash.
    ///
    /// # Errors
    /// What the first failing undo answers.
    pub fn undo_from(
        &self,
        plan: &Plan,
        release: &Release,
        last: Phase,
        receipts: &[StepReceipt],
    ) -> Result<Vec<Undo>> {
        let steps = plan.steps.iter().filter(|step| step.phase <= last).rev();
        steps
            .map(|step| {
                let receipt =
                    receipts.iter().find(|kept| kept.step == step.id).map(|kept| kept.receipt.clone());
                self.call(
                    method::UNDO,
                    &UndoRequest { step: step.clone(), release: release.clone(), receipt },
                )
            })
            .collect()
    }

    /// Plays Ctrl-C: from now on the target is asked to stop.
    pub fn cancel(&self) {
        self.host.cancel();
    }

    /// The events so far; they are forgotten here.
    pub fn take_events(&self) -> Vec<Event> {
        self.host.take_events()
    }
}

/// A session in a project folder, for what a plugin does below its target; the recorder is its host.
pub fn session(project: &Path) -> (Session, Recorder) {
    let host = Recorder::default();
    (Session::new(context(project), Box::new(host.clone())), host)
}

fn context(project: &Path) -> TargetContext {
    TargetContext {
        target: "test".into(),
        project_name: "test-project".into(),
        project: project.to_owned(),
        scratch: project.join("scratch"),
        data: project.join(".pop-deploy"),
        read_only: false,
        source_may_change: false,
        actor: "tester@localhost".into(),
        run_id: "test-run".into(),
        canary: None,
        flags: " --target test".into(),
    }
}

/// A release for tests.
pub fn release(id: &str, version: &str) -> Release {
    Release { id: id.into(), version: Some(version.into()), commit: None }
}
