//! A target that misbehaves on purpose: in the hook that its config names, the way its config names. With a `place` it
//! deploys to that folder, and takes canaries.

#![deny(unsafe_code)]

use std::{
    env,
    path::{Path, PathBuf},
};

mod fault;
mod place;

use fault::Fault;
use place::{Canary, Place};
use pop_deploy_plugin_api::{
    Error, Result, Session, Target, export_target,
    protocol::{
        Diagnostic, Effect, Manifest, Outcome, Phase, Plan, PlanRequest, Proposal, Receipt, Release,
        RunRequest, Status, Step, Undo, UndoRequest, capability,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// What goes wrong where.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The hooks, with commas between: `open`, `status`, `plan`, `run`, `run:stage` and so on, `undo`, `kept`, `diagnose` or `drop`.
    #[serde(rename = "in", default)]
    hook: String,
    /// What happens there.
    #[serde(rename = "do", default)]
    fault: Fault,
    /// A file for faults that leave a trace: the process id of a child.
    #[serde(default)]
    note: String,
    /// A folder, relative to the project, to deploy to.
    #[serde(default)]
    place: Option<PathBuf>,
    /// What becomes of a canary there.
    #[serde(default = "promote")]
    canary: Canary,
}

fn promote() -> Canary {
    Canary::Promote
}

struct Faults {
    config: Config,
    session: Session,
}

impl Faults {
    fn place(&self) -> Option<Place> {
        let folder = self.session.project.join(self.config.place.as_ref()?);
        Some(Place { folder, canary: self.config.canary })
    }

    fn at(&self, hook: &str) -> Result<Value> {
        if self.config.hook.split(',').any(|chosen| chosen == hook) {
            return self.config.fault.commit(&self.session, &self.config.note);
        }
        Ok(Value::Null)
    }
}

/// Panics where the environment says so: there is no config before there is a session.
fn panic_in(hook: &str) {
    if env::var("CARGO_PKG_PANICS_IN").is_ok_and(|chosen| chosen == hook) {
        panic!("panicked on purpose");
    }
}

impl Target for Faults {
    type Config = Config;

    fn manifest() -> Manifest {
        panic_in("manifest");
        Manifest {
            id: "faults".into(),
            description: "Misbehaves on purpose.".into(),
            types: vec!["fault_y".into()],
            capabilities: ["diagnose", "detect", capability::CANARY, capability::KEPT].map(Into::into).into(),
            environment: vec!["CARGO_PKG_*".into()],
            config: Value::Null,
        }
    }

    fn detect(_: &Path) -> Result<Option<Proposal>> {
        panic_in("detect");
        Ok(None)
    }

    fn open(config: Config, session: Session) -> Result<Self> {
        let faults = Self { config, session };
        faults.at("open")?;
        Ok(faults)
    }

    fn status(&mut self) -> Result<Status> {
        self.at("status")?;
        if let Some(place) = self.place() {
            return place.status();
        }
        Ok(Status { identity: "fault:here".into(), live: None, checks: vec![] })
    }

    fn plan(&mut self, request: &PlanRequest) -> Result<Plan> {
        let data = self.at("plan")?;
        if let Some(place) = self.place() {
            return place.plan(request);
        }
        let unchecked = data.get("unchecked").cloned().unwrap_or_else(|| json!([]));
        let stage = Step::new("stage", Phase::Stage, Effect::Create, "Staging").data(data);
        Ok(Plan {
            identity: "fault:here".into(),
            fingerprint: "0".into(),
            steps: vec![
                stage,
                Step::new("switch", Phase::Switch, Effect::Replace, "Switching"),
                Step::new("verify", Phase::Verify, Effect::None, "Verifying"),
            ],
            unchecked: serde_json::from_value(unchecked).unwrap_or_default(),
            ..Plan::default()
        })
    }

    fn run(&mut self, request: &RunRequest) -> Result<Receipt> {
        self.session.progress("uploading", 3, 7, "files");
        let data = match self.at("run")? {
            Value::Null => self.at(&format!("run:{}", request.step.id))?,
            data => data,
        };
        if let Some(place) = self.place() {
            return place.run(request);
        }
        Ok(Receipt::new(Outcome::Changed, "ran").data(json!({"step": request.step.id, "found": data})))
    }

    fn undo(&mut self, request: &UndoRequest) -> Result<Undo> {
        self.at("undo")?;
        if let Some(place) = self.place() {
            return place.undo(request);
        }
        Ok(Undo::Undone { summary: String::new() })
    }

    fn kept(&mut self) -> Result<Vec<Release>> {
        self.at("kept")?;
        Err(Error::unimplemented("kept"))
    }

    fn diagnose(&mut self) -> Result<Vec<Diagnostic>> {
        Ok(vec![Diagnostic { source: "faults".into(), data: self.at("diagnose")? }])
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        // Whether the fault of a drop is an error has nobody to be told to.
        self.at("drop").map(drop).unwrap_or_default();
    }
}

export_target!(Faults);

#[cfg(test)]
#[test]
fn the_manifest_says_what_the_code_says() {
    pop_deploy_plugin_api::testing::check_manifest::<Faults>(env!("CARGO_MANIFEST_DIR")).unwrap();
}
