//! Ships a folder of built pages to a web root.
//!
//! Releases lie beside each other under `<dir>/releases`, sharing the files that didn't change; `<dir>/current` is
//! the live one. See `webroot` for the layout and `steps` for what a deployment does.

#![forbid(unsafe_code)]

mod checks;
mod config;
mod copy;
mod deploy;
mod detect;
mod diff;
mod inspect;
mod lock;
mod manifest;
mod pages;
mod retention;
mod rollback;
mod stage;
mod status;
mod steps;
mod switch;
#[cfg(test)]
mod tests;
mod webroot;

use std::path::Path;

use pop_deploy_plugin_api::{
    Error, Result, Session, Target, export_target,
    protocol::{
        Diagnostic, Manifest, Outcome, PlaceLock, Plan, PlanRequest, Proposal, Receipt, Release, RunRequest,
        Status, Undo, UndoRequest, UnlockRequest, capability,
    },
    serde_json,
};

use crate::{
    config::{Config, Site},
    lock::Lock,
    stage::Prepared,
    steps::{Finalize, Locking, Stage, Verify, data},
    switch::Switch,
    webroot::{Webroot, check_id},
};

/// A web root on this machine.
struct StaticSite {
    site: Site,
    webroot: Webroot,
    session: Session,
    lock: Option<Lock>,
    /// What the plan or the build found, for `stage`. A process that only resumes finds it again.
    prepared: Option<Prepared>,
}

impl StaticSite {
    /// Holds the lock from here on: a resumed run, or an undo after a crash, never ran `lock` in this process.
    fn hold(&mut self) -> Result<()> {
        if self.lock.is_none() {
            self.lock = Some(Lock::acquire(&self.webroot, &self.session)?);
        }
        Ok(())
    }
}

impl Target for StaticSite {
    type Config = Config;

    fn manifest() -> Manifest {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Manifest {
            id: "static-site".into(),
            description: "Ships a folder of built pages to a web root".into(),
            types: words(&["static-site"]),
            capabilities: words(&[
                "rollback",
                "status",
                "diagnose",
                "detect",
                "build",
                capability::KEPT,
                capability::UNLOCK,
            ]),
            environment: words(&[
                "HTTP_PROXY",
                "HTTPS_PROXY",
                "NO_PROXY",
                "http_proxy",
                "https_proxy",
                "no_proxy",
            ]),
            config: serde_json::Value::Null,
        }
    }

    fn open(config: Config, session: Session) -> Result<Self> {
        let site = Site::new(config, &session)?;
        let webroot = Webroot { base: site.base.clone() };
        Ok(Self { site, webroot, session, lock: None, prepared: None })
    }

    fn status(&mut self) -> Result<Status> {
        status::read(&self.webroot, &self.session)
    }

    fn plan(&mut self, request: &PlanRequest) -> Result<Plan> {
        match request {
            PlanRequest::Deploy { release, .. } => {
                let (plan, prepared) = deploy::plan(&self.site, &self.webroot, release, &self.session)?;
                self.prepared = prepared.filter(|_| self.site.made_by().is_none());
                Ok(plan)
            }
            PlanRequest::Rollback { to, .. } => rollback::plan(&self.site, &self.webroot, to, &self.session),
        }
    }

    fn run(&mut self, request: &RunRequest) -> Result<Receipt> {
        let (step, id) = (&request.step, &request.release.id);
        check_id(id)?;
        if step.id == "lock" {
            let lock = data::<Locking>(step)?.run(
                &self.webroot,
                &request.release,
                &self.session,
                self.lock.take(),
            )?;
            self.lock = Some(lock);
            return Ok(Receipt::new(Outcome::Changed, ""));
        }
        self.hold()?;
        match step.id.as_str() {
            "build" => {
                let (receipt, prepared) = steps::build(&self.site, &self.webroot, step, &self.session)?;
                self.prepared = Some(prepared).filter(|_| !self.site.hooks_write);
                Ok(receipt)
            }
            "stage" => {
                let prepared = self.prepared.take();
                data::<Stage>(step)?.run(&self.site, &self.webroot, request, prepared, &self.session)
            }
            "check" => rollback::check(&self.webroot, id, &data(step)?),
            "switch" => {
                let (outcome, words) = match data::<Switch>(step)?.forward(&self.webroot, id)? {
                    true => (Outcome::Changed, ""),
                    false => (Outcome::Unchanged, "live already"),
                };
                Ok(Receipt::new(outcome, words))
            }
            "verify" => data::<Verify>(step)?.run(&self.site, &self.webroot, id, &self.session),
            "finalize" => data::<Finalize>(step)?.run(&self.webroot),
            other => Err(unknown_step(other)),
        }
    }

    fn undo(&mut self, request: &UndoRequest) -> Result<Undo> {
        let (step, id) = (&request.step, &request.release.id);
        check_id(id)?;
        match step.id.as_str() {
            "lock" => {
                let held = self.lock.take();
                return data::<Locking>(step)?.undo(&self.webroot, held, &self.session);
            }
            "build" | "check" | "finalize" => return Ok(Undo::Nothing),
            // Without bookkeeping nothing of it ever began.
            _ if !self.webroot.bookkeeping().exists() => return Ok(Undo::Nothing),
            _ => self.hold()?,
        }
        match step.id.as_str() {
            "stage" => stage::unstage(&self.webroot, id),
            "switch" => data::<Switch>(step)?.back(&self.webroot, id),
            "verify" => steps::unverify(&self.webroot, id, request.receipt.as_ref()),
            other => Err(unknown_step(other)),
        }
    }

    fn diagnose(&mut self) -> Result<Vec<Diagnostic>> {
        status::diagnose(&self.webroot)
    }

    fn kept(&mut self) -> Result<Vec<Release>> {
        status::kept(&self.webroot)
    }

    fn locks(&mut self) -> Result<Vec<PlaceLock>> {
        Ok(vec![lock::state(&self.webroot, &self.session)?])
    }

    fn unlock(&mut self, request: &UnlockRequest) -> Result<Vec<PlaceLock>> {
        lock::take_from(&self.webroot, request, &self.session)?;
        self.locks()
    }

    fn detect(project: &Path) -> Result<Option<Proposal>> {
        Ok(detect::built_site(project))
    }
}

fn unknown_step(id: &str) -> Error {
    Error::failed(format!("there is no step `{id}` in this version of the plugin"))
        .hint("use the version that planned it, or plan again")
}

export_target!(StaticSite);
