//! The trait that plugin authors implement.

use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    Error, Result, Session,
    protocol::{
        Diagnostic, Manifest, PlaceLock, Plan, PlanRequest, Proposal, Receipt, Release, RunRequest, Status,
        Undo, UndoRequest, UnlockRequest,
    },
};

/// A kind of place that can be deployed to.
///
/// One value serves one target for one run, in a process of its own. The host calls, in order: [`open`](Self::open),
/// [`status`](Self::status) or [`plan`](Self::plan), [`run`](Self::run) for each step of that plan and
/// [`undo`](Self::undo) for those it takes back. After a crash `undo` is called in a fresh process that never saw
/// the plan: everything it needs stands in the step and the receipt.
///
/// Panics are caught at the boundary and reported as errors of the plugin.
pub trait Target: Sized + Send + 'static {
    /// A target's `config` in deploy.json. Use `#[serde(deny_unknown_fields)]` so that typing mistakes are found;
    /// doc comments of the fields become the documentation in `plugin info`.
    type Config: DeserializeOwned + JsonSchema;

    /// Name, description, types served, capabilities, environment. The schema in `config` is filled in by
    /// [`manifest_of`]; leave it null.
    fn manifest() -> Manifest;

    /// Checks the config by itself and prepares a session. Reads nothing of the place yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for values that can't be right.
    fn open(config: Self::Config, session: Session) -> Result<Self>;

    /// Reads what is live and whether it is whole. Called at any time, also when nothing was ever deployed.
    ///
    /// # Errors
    /// When the place can't be read at all; whatever can be said otherwise is a check.
    fn status(&mut self) -> Result<Status>;

    /// Proposes steps, from reading alone: `session.read_only` may be true, and then writing fails, also for programs.
    /// What one of those couldn't look at therefore is no failure: see [`Session::could_not_check`].
    ///
    /// # Errors
    /// [`ErrorKind::Preflight`](crate::ErrorKind::Preflight) when no plan can be made. Prefer failed checks in the
    /// plan: they are reported together.
    fn plan(&mut self, request: &PlanRequest) -> Result<Plan>;

    /// Runs one step of the plan, as it was planned.
    ///
    /// # Errors
    /// Any failure; the host then calls [`undo`](Self::undo) for this step without a receipt, and for those before it.
    fn run(&mut self, request: &RunRequest) -> Result<Receipt>;

    /// Takes a step back. Idempotent, and right for a step that never began, is half done, or is done.
    ///
    /// # Errors
    /// A failure means that the state is not known; the host tells a person.
    fn undo(&mut self, request: &UndoRequest) -> Result<Undo>;

    /// Gathers logs and states that help to understand a failure. Optional.
    ///
    /// # Errors
    /// Nothing that can be gathered; recorded, and never hides the failure that led here.
    fn diagnose(&mut self) -> Result<Vec<Diagnostic>> {
        Err(Error::unimplemented("diagnose"))
    }

    /// Says which releases the place has still, in every part of it, the live one too: where people can go back to. From a
    /// quick look: the plan of a rollback says whether one is whole. Optional, and asked only of a plugin with
    /// [`capability::KEPT`](crate::protocol::capability::KEPT).
    ///
    /// # Errors
    /// When a part of the place can't be read.
    fn kept(&mut self) -> Result<Vec<Release>> {
        Err(Error::unimplemented("kept"))
    }

    /// Says who is at work at each part of the place; changes nothing. Optional, and asked only of a plugin with
    /// [`capability::UNLOCK`](crate::protocol::capability::UNLOCK).
    ///
    /// # Errors
    /// When no part can be asked; what can't be said of one is part of the answer.
    fn locks(&mut self) -> Result<Vec<PlaceLock>> {
        Err(Error::unimplemented("locks"))
    }

    /// Takes every part of the place from the run that is named, and from no other; says how each part stands then.
    /// That run must never write there again, nor take away what the next one makes. Optional, as [`locks`](Self::locks).
    ///
    /// # Errors
    /// When no part can be asked.
    fn unlock(&mut self, request: &UnlockRequest) -> Result<Vec<PlaceLock>> {
        let _ = request;
        Err(Error::unimplemented("unlock"))
    }

    /// Proposes a target for a project without deploy.json. Optional.
    ///
    /// # Errors
    /// When the project can't be read.
    fn detect(project: &Path) -> Result<Option<Proposal>> {
        let _ = project;
        Err(Error::unimplemented("detect"))
    }
}

/// The manifest of a target, its config schema included: what `manifest.json` must hold.
pub fn manifest_of<T: Target>() -> Manifest {
    let mut manifest = T::manifest();
    manifest.config = schemars::schema_for!(T::Config).to_value();
    manifest
}
