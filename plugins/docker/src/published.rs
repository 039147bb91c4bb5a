//! What is current of an app that nothing runs: the release that its moving tag stands for in the registry.

use pop_deploy_plugin_api::{
    Result,
    protocol::{Check, CheckStatus, Release},
};

use crate::{
    app::App,
    command,
    engine::{Engine, Info, Manifest},
    look::Sight,
};

/// The first tag that moves from release to release; none where every tag carries a version.
fn moving_tag(app: &App) -> Option<&String> {
    app.config.tags.iter().find(|tag| !tag.contains("{{"))
}

/// The release that `digest` is, which a tag stands for: known where the engine has that image, by its labels.
///
/// # Errors
/// The engine can't be read.
pub(crate) fn release(app: &App, engine: &Engine, digest: &str) -> Result<Option<Release>> {
    Ok(engine.image(&app.repository.at(digest))?.and_then(|image| image.release()))
}

/// What is current, and how that was found out.
///
/// # Errors
/// The engine can't be read.
pub(crate) fn read(app: &App, engine: &Engine, info: &Info) -> Result<(Option<Release>, Check)> {
    let skip = |why: &str| Check::new("published", CheckStatus::Skip, why);
    let Some(tag) = moving_tag(app).filter(|_| app.config.push) else {
        return Ok((None, skip("no tag says which release is the current one")));
    };
    let reference = app.repository.tagged(tag);
    let answer = engine.manifest(&command::manifest(&reference, info.insecure(app.repository.host())))?;
    Ok(match answer {
        Manifest::Digest(digest) => match release(app, engine, &digest)? {
            Some(release) => {
                (Some(release), Check::pass("published", format!("`{reference}` stands for {digest}")))
            }
            None => (
                None,
                Check::warn(
                    "published",
                    format!("`{reference}` stands for {digest}, which was not made here"),
                ),
            ),
        },
        Manifest::Absent => (None, skip("nothing was pushed yet")),
        Manifest::Refused(why) => {
            (None, Check::warn("published", format!("the registry doesn't let us look: {why}")))
        }
        Manifest::Unreachable(why) => {
            let hint = "start it, check `registry`, or the way to it";
            (None, Check::fail("published", format!("the registry doesn't answer: {why}"), hint))
        }
    })
}

/// The release that is current by what the registry said of the tags for a plan.
///
/// # Errors
/// The engine can't be read.
pub(crate) fn current(app: &App, engine: &Engine, sight: &Sight) -> Result<Option<Release>> {
    match moving_tag(app).and_then(|tag| sight.digest(tag)) {
        Some(digest) if !app.runs() => release(app, engine, &digest),
        _ => Ok(None),
    }
}
