//! A place of two files: `live` is what everybody sees, `part` what a canary's part sees.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::{
    Error, IoContext as _, Result,
    protocol::{
        Check, CheckStatus, Effect, Outcome, Phase, Plan, PlanRequest, Receipt, Release, Rollout, RunRequest,
        Status, Step, Undo, UndoRequest, Verdict,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;

/// What becomes of a canary at the place.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub enum Canary {
    /// It is good.
    Promote,
    /// It is bad.
    Rollback,
    /// It can't be judged.
    Inconclusive,
    /// It is none: everybody gets the release.
    Disguise,
}

/// A place in this folder.
pub struct Place {
    pub folder: PathBuf,
    pub canary: Canary,
}

impl Place {
    pub fn status(&self) -> Result<Status> {
        let mut checks = Vec::new();
        if let Some(part) = read(&self.folder.join("part"))? {
            checks.push(Check::new("canary", CheckStatus::Pass, format!("a part has {}", part.id)));
        }
        Ok(Status { identity: self.identity(), live: read(&self.folder.join("live"))?, checks })
    }

    fn identity(&self) -> String {
        format!("place:{}", self.folder.display())
    }

    pub fn plan(&self, request: &PlanRequest) -> Result<Plan> {
        let live = read(&self.folder.join("live"))?;
        let mut steps = vec![Step::new("stage", Phase::Stage, Effect::None, "Staging")];
        if let PlanRequest::Deploy { rollout: Rollout::Canary, .. } = request
            && !matches!(self.canary, Canary::Disguise)
        {
            let mut part = Step::new("canary", Phase::Switch, Effect::Create, "Switching a part");
            part.awaits_verdict = true;
            steps.push(part);
        }
        steps.push(Step::new("switch", Phase::Switch, Effect::Replace, "Switching").data(&live));
        steps.push(Step::new("verify", Phase::Verify, Effect::None, "Verifying"));
        steps.push(Step::new("tidy", Phase::Finalize, Effect::Delete, "Tidying"));
        Ok(Plan { identity: self.identity(), fingerprint: "0".into(), live, steps, ..Plan::default() })
    }

    pub fn run(&self, request: &RunRequest) -> Result<Receipt> {
        let receipt = Receipt::new(Outcome::Changed, "");
        match request.step.id.as_str() {
            "canary" => {
                write(&self.folder.join("part"), &request.release)?;
                match self.canary {
                    Canary::Rollback => Err(Error::failed("the canary is bad")),
                    Canary::Inconclusive => Ok(receipt.verdict(Verdict::Inconclusive)),
                    _ => Ok(receipt.verdict(Verdict::Promote)),
                }
            }
            "switch" => {
                write(&self.folder.join("live"), &request.release)?;
                remove(&self.folder.join("part"))?;
                Ok(receipt)
            }
            _ => Ok(receipt),
        }
    }

    pub fn undo(&self, request: &UndoRequest) -> Result<Undo> {
        match request.step.id.as_str() {
            "canary" => remove(&self.folder.join("part"))?,
            "switch" => match serde_json::from_value::<Option<Release>>(request.step.data.clone()) {
                Ok(Some(before)) => write(&self.folder.join("live"), &before)?,
                _ => remove(&self.folder.join("live"))?,
            },
            _ => return Ok(Undo::Nothing),
        }
        Ok(Undo::Undone { summary: String::new() })
    }
}

fn read(file: &Path) -> Result<Option<Release>> {
    match fs::read(file) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", file),
    }
}

fn write(file: &Path, release: &Release) -> Result<()> {
    fs::write(file, serde_json::to_vec(release).unwrap_or_default()).at("write", file)
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", file),
        _ => Ok(()),
    }
}
