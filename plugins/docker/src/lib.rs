//! Builds an image, pushes it, and runs it on a Docker engine, by the user's own `docker` program.
//!
//! Identity is the image's digest; tags are labels. See `runtime` for what a container is started with, `deploy` for the
//! steps of a deployment and their order.

#![forbid(unsafe_code)]

mod app;
mod build;
mod canary;
mod checks;
mod command;
mod config;
mod context;
mod credentials;
mod deploy;
mod detect;
mod engine;
mod finalize;
mod labels;
mod look;
mod platform;
mod proxy;
mod published;
mod push;
mod reference;
mod rollback;
mod rollout;
mod runtime;
mod service;
mod status;
mod steps;
mod switch;
#[cfg(test)]
mod tests;
mod update;

use std::path::Path;

use pop_deploy_plugin_api::{
    Result, Session, Target, export_target,
    protocol::{
        Diagnostic, Manifest, Plan, PlanRequest, Proposal, Receipt, RunRequest, Status, Undo, UndoRequest,
        capability,
    },
    serde_json,
};

use crate::{
    app::App, build::Build, canary::Part, config::Config, engine::Engine, finalize::Finalize, push::Push,
    rollback::Pull, steps::data, switch::Switch, update::Update,
};

/// An app on an engine.
struct Docker {
    app: App,
    engine: Engine,
}

impl Docker {
    /// The nodes of a Swarm fetch the image with the login of whoever updates the service.
    fn log_in_for_nodes(&mut self) -> Result<()> {
        match self.app.config.push {
            true => steps::log_in(&self.app, &mut self.engine),
            false => Ok(()),
        }
    }

    /// What is taken back is on its nodes already: a registry that refuses the login must not stop that.
    fn try_to_log_in(&mut self) {
        if let Err(error) = self.log_in_for_nodes() {
            self.engine.session.warn(format!("going back without a login: {}", error.message));
        }
    }

    /// The steps that are others for a service than for a container.
    fn run_of_service(&mut self, request: &RunRequest) -> Result<Receipt> {
        let step = &request.step;
        match step.id.as_str() {
            "update" => {
                self.log_in_for_nodes()?;
                data::<service::Update>(step)?.run(&self.app, request, &self.engine)
            }
            "switch" => data::<service::Switch>(step)?.run(&self.engine),
            "health" => data::<service::Public>(step)?.run(&self.engine),
            "finalize" => data::<service::Finalize>(step)?.run(request, &self.engine),
            "rollout" => data::<service::Rollout>(step)?.run(request, &self.engine),
            id if id.starts_with(canary::PREFIX) && self.app.is_proxied_service() => {
                data::<service::Weights>(step)?.run(&self.engine)
            }
            id if id.starts_with(canary::PREFIX) => {
                self.log_in_for_nodes()?;
                data::<service::Part>(step)?.run(&self.app, request, &self.engine)
            }
            _ => Err(steps::strange(step)),
        }
    }

    fn undo_of_service(&mut self, request: &UndoRequest) -> Result<Undo> {
        let step = &request.step;
        match step.id.as_str() {
            "update" => {
                self.try_to_log_in();
                data::<service::Update>(step)?.undo(&self.engine)
            }
            "switch" => {
                self.try_to_log_in();
                data::<service::Switch>(step)?.undo(&self.engine)
            }
            id if id.starts_with(canary::PREFIX) && self.app.is_proxied_service() => {
                data::<service::Weights>(step)?.undo(&self.engine)
            }
            id if id.starts_with(canary::PREFIX) => data::<service::Part>(step)?.undo(&self.engine),
            _ => Err(steps::strange(step)),
        }
    }
}

impl Target for Docker {
    type Config = Config;

    fn manifest() -> Manifest {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Manifest {
            id: "docker".into(),
            description: "Ships an image to a registry and runs it on a Docker engine".into(),
            types: words(&["docker"]),
            capabilities: words(&["rollback", "status", "diagnose", "detect", "build", capability::CANARY]),
            environment: words(&[
                "DOCKER_HOST",
                "DOCKER_CONTEXT",
                "DOCKER_CONFIG",
                "DOCKER_TLS",
                "DOCKER_TLS_VERIFY",
                "DOCKER_CERT_PATH",
                "DOCKER_API_VERSION",
                "DOCKER_BUILDKIT",
                "DOCKER_CONTENT_TRUST",
                "DOCKER_DEFAULT_PLATFORM",
                "BUILDKIT_PROGRESS",
                "BUILDX_BUILDER",
                "BUILDX_CONFIG",
                "SSH_AUTH_SOCK",
                "XDG_RUNTIME_DIR",
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
        let app = App::new(config, &session)?;
        Ok(Self { app, engine: Engine::new(session) })
    }

    fn status(&mut self) -> Result<Status> {
        status::read(&self.app, &self.engine)
    }

    fn plan(&mut self, request: &PlanRequest) -> Result<Plan> {
        if self.app.config.push {
            steps::log_in(&self.app, &mut self.engine)?;
        }
        match request {
            PlanRequest::Deploy { release, rollout, .. } => {
                deploy::plan(&self.app, &self.engine, release, *rollout)
            }
            PlanRequest::Rollback { to, .. } => rollback::plan(&self.app, &self.engine, to),
        }
    }

    fn run(&mut self, request: &RunRequest) -> Result<Receipt> {
        let step = &request.step;
        match step.id.as_str() {
            "build" => data::<Build>(step)?.run(step, &self.engine),
            "pull" => {
                steps::log_in(&self.app, &mut self.engine)?;
                data::<Pull>(step)?.run(&self.engine)
            }
            id if id.starts_with("push:") => {
                steps::log_in(&self.app, &mut self.engine)?;
                data::<Push>(step)?.run(&self.engine)
            }
            "retire" => data::<service::Retire>(step)?.run(&self.engine),
            _ if self.app.config.service.is_some() => self.run_of_service(request),
            "update" => data::<Update>(step)?.run(&self.app, request, &self.engine),
            "rollout" | "health" => rollout::run(request, &self.engine),
            "switch" => data::<Switch>(step)?.run(&self.engine),
            "finalize" => data::<Finalize>(step)?.run(request, &self.engine),
            id if id.starts_with(canary::PREFIX) => data::<Part>(step)?.run(&self.engine),
            _ => Err(steps::strange(step)),
        }
    }

    fn undo(&mut self, request: &UndoRequest) -> Result<Undo> {
        let step = &request.step;
        match step.id.as_str() {
            "build" => data::<Build>(step)?.undo(&self.engine),
            "pull" | "rollout" | "health" | "finalize" | "retire" => Ok(Undo::Nothing),
            id if id.starts_with("push:") => {
                // Who was logged in elsewhere may still push, and there is nothing better to try.
                if let Err(error) = steps::log_in(&self.app, &mut self.engine) {
                    let words: Vec<_> = std::iter::once(error.message).chain(error.causes).collect();
                    self.engine.session.warn(words.join(": "));
                }
                data::<Push>(step)?.undo(request.receipt.as_ref(), &self.engine)
            }
            _ if self.app.config.service.is_some() => self.undo_of_service(request),
            "update" => data::<Update>(step)?.undo(&self.engine),
            "switch" => data::<Switch>(step)?.undo(&self.engine),
            id if id.starts_with(canary::PREFIX) => data::<Part>(step)?.undo(&self.engine),
            _ => Err(steps::strange(step)),
        }
    }

    fn diagnose(&mut self) -> Result<Vec<Diagnostic>> {
        status::diagnose(&self.app, &self.engine)
    }

    fn detect(project: &Path) -> Result<Option<Proposal>> {
        detect::propose(project)
    }
}

export_target!(Docker);
