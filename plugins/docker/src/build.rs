//! The step that makes the image, with every tag.

use std::{collections::BTreeMap, path::Path};

use pop_deploy_plugin_api::{
    Error, Result, Secret,
    protocol::{Command, Effect, Outcome, Phase, Receipt, Release, Step, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, Tags, local},
    command::{self, inspect_image},
    engine::Engine,
    labels,
    platform::Platform,
};

/// `build`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Build {
    /// Each name that the image gets, with the image that had it before.
    tags: BTreeMap<String, Option<String>>,
    /// The platform that the image must be for, where one is named or it is to run here.
    platform: Option<String>,
    /// What the Dockerfile may mount, by id.
    secrets: BTreeMap<String, Secret>,
}

/// What `build` leaves for the steps after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Built {
    /// The image's id.
    pub(crate) image: String,
}

impl Build {
    /// The step. `before` are the images that have the tags' names now; `platform` is the engine's own.
    pub(crate) fn step(
        app: &App,
        release: &Release,
        tags: &Tags,
        before: BTreeMap<String, Option<String>>,
        platform: &Platform,
    ) -> Step {
        let names: Vec<_> = tags.all.iter().map(|tag| app.repository.tagged(tag)).collect();
        let build = Self { tags: before, platform: wanted(app, platform), secrets: secrets(app) };
        let mut step =
            Step::new("build", Phase::Build, Effect::Create, format!("Building {}", app.repository))
                .reason(format!("the image of this version, as {}", names.join(", ")))
                .data(&build);
        step.commands = vec![build_command(app, release, &names, platform)];
        step.commands.extend(names.first().map(|name| inspect_image(name)));
        step.creates = names;
        step
    }

    /// Builds, and looks what came out.
    ///
    /// # Errors
    /// The build fails, or makes an image for another platform than it is to run on.
    pub(crate) fn run(&self, step: &Step, engine: &Engine) -> Result<Receipt> {
        let [build, ..] = step.commands.as_slice() else { return Err(crate::steps::strange(step)) };
        let mut process = engine.process(build);
        for (name, secret) in &self.secrets {
            process = process.variable(name, secret.reveal(&engine.session)?.expose());
        }
        process.run(&engine.session)?.success()?;
        let name = self.tags.keys().find(|name| step.creates.first() == Some(*name));
        let Some(image) = name.map(|name| engine.image(name)).transpose()?.flatten() else {
            return Err(Error::failed("the build ended well, and the image isn't there")
                .hint("check whether the builder keeps its result elsewhere (`docker buildx ls`)"));
        };
        let made = image.platform();
        if let Some(wanted) = &self.platform
            && !Platform::parse(wanted).is_some_and(|wanted| wanted.fits(&made))
        {
            return Err(Error::failed(format!("the image is for {made}, and was to be for {wanted}"))
                .hint("correct `platforms`, or what the Dockerfile is FROM"));
        }
        let short = image.id.trim_start_matches("sha256:").get(..12).unwrap_or_default().to_owned();
        Ok(Receipt::new(Outcome::Changed, format!("image {short}")).data(Built { image: image.id }))
    }

    /// Gives the names back to the images that had them.
    ///
    /// # Errors
    /// The engine can't be read.
    pub(crate) fn undo(&self, engine: &Engine) -> Result<Undo> {
        let mut changed = 0;
        for (name, before) in &self.tags {
            let now = engine.image(name)?.map(|image| image.id);
            if now == *before {
                continue;
            }
            changed += 1;
            match before {
                Some(image) if engine.image(image)?.is_some() => {
                    drop(engine.run(&command::tag(image, name))?)
                }
                _ => drop(engine.process(&command::untag(name)).run(&engine.session)?),
            }
        }
        Ok(match changed {
            0 => Undo::Nothing,
            _ => Undo::Undone { summary: "gave the image's names back".to_owned() },
        })
    }
}

/// The secrets that the build may mount.
pub(crate) fn secrets(app: &App) -> BTreeMap<String, Secret> {
    let secret =
        |(name, value): (&String, &crate::config::BuildArg)| Some((name.clone(), value.secret()?.clone()));
    app.config.build_args.iter().filter_map(secret).collect()
}

fn build_command(app: &App, release: &Release, names: &[String], platform: &Platform) -> Command {
    let mut build = command::Build::default();
    build.option("file", local(&app.config.dockerfile).display().to_string());
    for name in names {
        build.option("tag", name);
    }
    // What runs has them on its container; an image that is only pushed must say itself which release it is.
    for (name, value) in labels::of(&app.name, release).into_iter().filter(|_| !app.runs()) {
        build.option("label", format!("{name}={value}"));
    }
    // The engine's own platform needs no word, and the old builder takes none.
    if let Some(wanted) = app.platforms().find(|wanted| !wanted.fits(platform)) {
        build.option("platform", wanted.to_string());
    }
    for (name, value) in &app.config.build_args {
        match value.plain() {
            Some(value) => build.option("build-arg", format!("{name}={value}")),
            None => build.option("secret", format!("id={name},env={name}")),
        }
    }
    let mut command = build.command(&local(&app.config.build_context));
    if needs_buildkit(app, platform) {
        command.env.insert("DOCKER_BUILDKIT".to_owned(), "1".to_owned());
    }
    command
}

/// Only BuildKit keeps a secret out of the image, or builds for another platform than the engine's.
pub(crate) fn needs_buildkit(app: &App, platform: &Platform) -> bool {
    app.config.build_args.values().any(|value| value.secret().is_some())
        || app.platforms().any(|wanted| !wanted.fits(platform))
}

/// The platform that the image must be for.
fn wanted(app: &App, platform: &Platform) -> Option<String> {
    let named = app.config.platforms.first().cloned();
    named.or_else(|| app.runs().then(|| platform.to_string()))
}

/// The names among `secrets` that a Dockerfile takes as an `ARG`: they would never arrive.
pub(crate) fn secret_args<'s>(
    dockerfile: &str,
    secrets: impl Iterator<Item = &'s String>,
) -> Vec<&'s String> {
    let args: Vec<_> = dockerfile
        .lines()
        .filter_map(|line| {
            let (word, rest) = line.trim_start().split_once(char::is_whitespace)?;
            word.eq_ignore_ascii_case("arg").then(|| rest.trim().split('=').next().unwrap_or_default())
        })
        .collect();
    secrets.filter(|name| args.contains(&name.as_str())).collect()
}

/// Whether a Dockerfile has several stages.
pub(crate) fn is_multi_stage(dockerfile: &Path) -> bool {
    let text = std::fs::read_to_string(dockerfile).unwrap_or_default();
    let begins =
        |line: &&str| line.trim_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case("from "));
    text.lines().filter(begins).count() > 1
}
