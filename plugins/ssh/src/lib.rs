//! Ships one release to many hosts over OpenSSH.
//!
//! On each host releases lie beside each other under `<base>/releases`, sharing the files that didn't change;
//! `<base>/current` is a link to the live one. The user's own `ssh` goes there, one process a host, and all that is done
//! there goes through the one shell that it starts: see `connection` and the scripts in `remote`.

#![forbid(unsafe_code)]

mod address;
mod canary;
mod command;
mod config;
mod connection;
mod deploy;
mod detect;
mod fleet;
mod ground;
mod lists;
mod lock;
mod login;
mod manifest;
mod origin;
mod planned;
mod prepared;
mod preview;
mod quote;
mod refusal;
mod retention;
mod rollback;
mod rollout;
mod shared;
mod shipment;
mod site;
mod source;
mod stage;
mod status;
mod steps;
mod strategy;
mod survey;
mod switch;
#[cfg(test)]
mod tests;
mod unlock;
mod verify;

use std::{collections::BTreeMap, path::Path};

use pop_deploy_plugin_api::{
    Error, Result, Session, Target, export_target,
    protocol::{
        Diagnostic, Manifest, Outcome, PlaceLock, Plan, PlanRequest, Proposal, Receipt, Release, RunRequest,
        Status, Undo, UndoRequest, UnlockRequest, capability,
    },
    serde_json,
};

use crate::{
    canary::Canary,
    config::Config,
    deploy::Wish,
    fleet::{Fleet, Hold},
    manifest::Head,
    prepared::Prepared,
    rollout::Rollout,
    site::Site,
    steps::{Finalize, Locking, Means, Once, Stage, Verify, data},
    survey::{Depth, Survey, check_id},
    switch::Switch,
};

/// Hosts that are reached by ssh.
struct Ssh {
    site: Site,
    fleet: Fleet,
    session: Session,
    /// The hosts as they were found. A process that only resumes looks again.
    surveys: Option<Vec<Result<Survey>>>,
    /// What the plan or the build found, for `stage`.
    prepared: Option<Prepared>,
}

impl Ssh {
    fn survey(&mut self, depth: Depth) -> &[Result<Survey>] {
        self.surveys.get_or_insert_with(|| survey::survey_all(&self.site, &self.fleet, depth))
    }
}

impl Target for Ssh {
    type Config = Config;

    fn manifest() -> Manifest {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Manifest {
            id: "ssh".into(),
            description: "Ships one release to many hosts over OpenSSH".into(),
            types: words(&["ssh"]),
            capabilities: words(&[
                "rollback",
                "status",
                "diagnose",
                "detect",
                "build",
                capability::CANARY,
                capability::KEPT,
                capability::UNLOCK,
            ]),
            environment: words(&["SSH_AUTH_SOCK", "SSH_SK_PROVIDER", "KRB5CCNAME"]),
            config: serde_json::Value::Null,
        }
    }

    fn open(config: Config, session: Session) -> Result<Self> {
        let site = Site::new(config, &session)?;
        let fleet = Fleet::new(site.hosts.len(), &session);
        Ok(Self { site, fleet, session, surveys: None, prepared: None })
    }

    fn status(&mut self) -> Result<Status> {
        self.surveys = None;
        self.survey(Depth::Heads);
        let surveys = self.surveys.as_deref().unwrap_or_default();
        Ok(status::read(&self.site, &self.fleet, surveys, &self.session))
    }

    fn plan(&mut self, request: &PlanRequest) -> Result<Plan> {
        self.surveys = None;
        match request {
            PlanRequest::Deploy { release, rollout, unreachable } => {
                check_id(&release.id)?;
                let (surveys, prepared) = deploy::look(&self.site, &self.fleet, release, &self.session)?;
                let wish = Wish { release, rollout: *rollout, unreachable: *unreachable };
                let plan = deploy::plan(&self.site, &wish, &surveys, prepared.as_ref(), &self.session)?;
                self.surveys = Some(surveys);
                self.prepared = prepared.filter(|_| self.site.made_by().is_none());
                Ok(plan)
            }
            PlanRequest::Rollback { to, .. } => {
                self.survey(Depth::Heads);
                let surveys = self.surveys.as_deref().unwrap_or_default();
                rollback::plan(&self.site, &self.fleet, to, surveys, &self.session)
            }
        }
    }

    fn run(&mut self, request: &RunRequest) -> Result<Receipt> {
        let (step, id) = (&request.step, &request.release.id);
        check_id(id)?;
        let (site, fleet, session) = (&self.site, &self.fleet, &self.session);
        match step.id.as_str() {
            "lock" => data::<Locking>(step)?.run(site, fleet, id, session),
            "build" => {
                let (receipt, prepared) = steps::build(site, step, request, session)?;
                self.prepared = Some(prepared).filter(|_| !self.site.hooks_write);
                Ok(receipt)
            }
            "stage" => {
                let prepared = self.prepared.take();
                self.survey(Depth::FirstManifest);
                let surveys = self.surveys.as_deref().unwrap_or_default();
                let means = Means { site: &self.site, fleet: &self.fleet, session: &self.session, surveys };
                data::<Stage>(step)?.run(&means, request, prepared)
            }
            "check" => {
                let heads: BTreeMap<String, Head> = data(step)?;
                let receipt = steps::check(site, fleet, &heads, Hold::Locked)?;
                let head = heads.into_values().next();
                Ok(receipt.data(head))
            }
            "switch" => {
                let (switch, head) = (data::<Switch>(step)?, steps::known_head(request)?);
                let hosts = steps::switched_hosts(site, &switch);
                let canaries = steps::canaries(request);
                let rollout = Rollout { site, fleet, session, switch: &switch, head: &head, canaries };
                let switched = rollout.forward(&hosts)?;
                let receipt = Receipt::new(Outcome::Changed, switched.words(hosts.len()));
                Ok(receipt.astray(switched.astray()).data(switched))
            }
            "verify" => data::<Verify>(step)?.run(site, fleet, request, session),
            "finalize" => data::<Finalize>(step)?.run(site, fleet, request),
            canary if canary.starts_with("canary_") => {
                let (canary, head) = (data::<Canary>(step)?, steps::known_head(request)?);
                let hosts = steps::switched_hosts(site, &canary.switch);
                let canaries = steps::canaries(request);
                let rollout = Rollout { site, fleet, session, switch: &canary.switch, head: &head, canaries };
                canary.run(&rollout, &hosts)
            }
            once if once.starts_with("run_once_") => data::<Once>(step)?.run(site, fleet, id, session),
            other => Err(unknown_step(other)),
        }
    }

    fn undo(&mut self, request: &UndoRequest) -> Result<Undo> {
        let (step, id) = (&request.step, &request.release.id);
        check_id(id)?;
        let (site, fleet) = (&self.site, &self.fleet);
        match step.id.as_str() {
            "lock" => Ok(data::<Locking>(step)?.undo(site, fleet)),
            "build" | "check" | "finalize" => Ok(Undo::Nothing),
            "stage" => data::<Stage>(step)?.undo(site, fleet, id, &self.session),
            "switch" => Ok(rollout::back(site, fleet, &data(step)?, &self.session)),
            "verify" => Ok(data::<Verify>(step)?.undo(site, fleet, id)),
            canary if canary.starts_with("canary_") => {
                Ok(rollout::back(site, fleet, &data::<Canary>(step)?.switch, &self.session))
            }
            once if once.starts_with("run_once_") => Ok(data::<Once>(step)?.undo(request.receipt.as_ref())),
            other => Err(unknown_step(other)),
        }
    }

    fn kept(&mut self) -> Result<Vec<Release>> {
        self.survey(Depth::Heads);
        status::kept(self.surveys.as_deref().unwrap_or_default())
    }

    fn locks(&mut self) -> Result<Vec<PlaceLock>> {
        Ok(unlock::look(&self.site, &self.fleet, &self.session))
    }

    fn unlock(&mut self, request: &UnlockRequest) -> Result<Vec<PlaceLock>> {
        Ok(unlock::take_from(&request.run, &self.site, &self.fleet, &self.session))
    }

    fn detect(project: &Path) -> Result<Option<Proposal>> {
        Ok(detect::propose(project))
    }

    fn diagnose(&mut self) -> Result<Vec<Diagnostic>> {
        self.surveys = None;
        self.survey(Depth::Heads);
        Ok(status::diagnose(&self.site, self.surveys.as_deref().unwrap_or_default()))
    }
}

fn unknown_step(id: &str) -> Error {
    Error::failed(format!("there is no step `{id}` in this version of the plugin"))
        .hint("use the version that planned it, or plan again")
}

export_target!(Ssh);
