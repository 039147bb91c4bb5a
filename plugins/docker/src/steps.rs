//! What all steps share: reading what they were planned with, logging in, and the image that this run runs.

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::{Command, RunRequest, Step},
};
use serde::{Deserialize as _, de::DeserializeOwned};

use crate::{app::App, build::Built, command, credentials::Credentials, engine::Engine, push};

/// Reads what a step was planned with.
///
/// # Errors
/// Another version of the plugin planned it.
pub(crate) fn data<D: DeserializeOwned>(step: &Step) -> Result<D> {
    D::deserialize(&step.data).map_err(|error| strange(step).because(&error))
}

/// A step that this version of the plugin didn't plan.
pub(crate) fn strange(step: &Step) -> Error {
    Error::failed(format!("the step `{}` was planned by another version of the plugin", step.id))
        .hint("use the version that planned it, or plan again")
}

/// The command that logs in, where the config says who.
pub(crate) fn login(app: &App) -> Option<Command> {
    app.config.login.as_ref().map(|login| command::login(&login.username, app.repository.host()))
}

/// The login that nodes fetch the image with, where it comes from a registry.
pub(crate) fn logins(app: &App) -> Vec<Command> {
    login(app).filter(|_| app.config.push).into_iter().collect()
}

/// Logs in, unless this process did already.
///
/// # Errors
/// The registry refuses, or doesn't answer.
pub(crate) fn log_in(app: &App, engine: &mut Engine) -> Result<()> {
    if let (Some(login), Some(command)) = (&app.config.login, login(app))
        && !engine.logged_in()
    {
        engine.with(Credentials::obtain(login, app.repository.host(), &command, &engine.session)?);
    }
    Ok(())
}

/// The image that the run makes live: by digest where it was pushed, else by the id that the build gave it.
///
/// # Errors
/// No step of the run made one.
pub(crate) fn image(app: &App, request: &RunRequest) -> Result<String> {
    if let Some(pushed) = push::pushed(request).next() {
        return Ok(app.repository.at(&pushed.digest));
    }
    built(request).map(|built| built.image).ok_or_else(|| Error::failed("no step of this run made an image"))
}

/// What the build of this run left, where there was one.
pub(crate) fn built(request: &RunRequest) -> Option<Built> {
    let build = request.receipts.iter().find(|kept| kept.step == "build")?;
    Built::deserialize(&build.receipt.data).ok()
}
