//! The steps that bring the image to the registry, one a tag; and those that move a tag from release to release.

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::{Effect, Outcome, Phase, Receipt, RunRequest, Step, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    command::{self, Insecure},
    engine::{Engine, Manifest},
    reference::is_digest,
};

/// `push:TAG`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Push {
    /// `repository:tag`.
    reference: String,
    repository: String,
    tag: String,
    /// What the tag stood for before, as far as the registry said.
    before: Option<String>,
    insecure: bool,
    /// Where the release was made before and may not have the tag here any more: its image, to be tagged first.
    image: Option<String>,
}

/// What a push leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pushed {
    /// The tag.
    pub(crate) tag: String,
    /// What it stands for now.
    pub(crate) digest: String,
}

/// A tag to be pushed: where it is now, and how it is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    pub(crate) tag: String,
    pub(crate) before: Option<String>,
    pub(crate) insecure: Insecure,
}

impl Push {
    /// The step that pushes a tag in `phase`; the image is given where it was built in an earlier run.
    pub(crate) fn step(app: &App, tag: &Tag, phase: Phase, image: Option<&str>) -> Step {
        let reference = app.repository.tagged(&tag.tag);
        let (effect, reason) = match &tag.before {
            None => (Effect::Create, "the registry has no such tag, as far as it says".to_owned()),
            Some(digest) => (Effect::Replace, format!("the tag stands for {digest} now")),
        };
        let push = Self {
            reference: reference.clone(),
            repository: app.repository.to_string(),
            tag: tag.tag.clone(),
            before: tag.before.clone(),
            insecure: tag.insecure == Insecure::Yes,
            image: image.map(str::to_owned),
        };
        let mut step = Step::new(&format!("push:{}", tag.tag), phase, effect, format!("Pushing {reference}"))
            .reason(reason)
            .data(&push);
        step.commands.extend(image.map(|image| command::tag(image, &reference)));
        step.commands.extend(crate::steps::login(app));
        step.commands.extend([command::push(&reference), command::manifest(&reference, tag.insecure)]);
        step.creates = vec![reference];
        step
    }

    fn read(&self, engine: &Engine) -> Result<Manifest> {
        let insecure = if self.insecure { Insecure::Yes } else { Insecure::No };
        engine.manifest(&command::manifest(&self.reference, insecure))
    }

    /// Pushes, and reads the digest back.
    ///
    /// # Errors
    /// The push is denied or fails; the registry has something else under the tag right afterwards.
    pub(crate) fn run(&self, engine: &Engine) -> Result<Receipt> {
        if let Some(image) = &self.image {
            engine.run(&command::tag(image, &self.reference))?;
        }
        let finished = engine.run(&command::push(&self.reference)).map_err(|error| self.explained(error))?;
        let Some(digest) = digest_in(&finished.stdout) else {
            return Err(Error::failed(format!(
                "the push of `{}` didn't say which digest it has",
                self.reference
            ))
            .hint("check which docker is in the PATH; 20.10 and later are known to work"));
        };
        match self.read(engine)? {
            Manifest::Digest(found) if found == digest || found.contains(' ') => {}
            Manifest::Digest(found) => {
                return Err(Error::failed(format!(
                    "`{}` was pushed as {digest}, and the registry has {found}",
                    self.reference
                ))
                .hint("find out who else pushes that tag, and deploy again"));
            }
            // It took the push: what it doesn't let us read isn't wrong for that.
            _ => {
                engine.session.warn(format!("the registry doesn't say what `{}` stands for", self.reference))
            }
        }
        let outcome =
            if self.before.as_ref() == Some(&digest) { Outcome::Unchanged } else { Outcome::Changed };
        let pushed = Pushed { tag: self.tag.clone(), digest: digest.clone() };
        Ok(Receipt::new(outcome, digest.clone()).data(pushed).fact("digest", digest))
    }

    fn explained(&self, error: Error) -> Error {
        let words = error.causes.join("\n").to_lowercase();
        let hint = if ["denied", "unauthorized", "no basic auth", "forbidden"]
            .iter()
            .any(|sign| words.contains(sign))
        {
            "log in with `docker login`, or set `login`, as a user who may push there"
        } else {
            "check that the registry is up and has room"
        };
        Error { message: format!("can't push `{}`", self.reference), ..error }.hint(hint)
    }

    /// Has the tag stand for what it stood for. A tag that is new stays: the docker program can't take it away. One that
    /// somebody else moved since is theirs.
    ///
    /// # Errors
    /// The registry can't be read, or refuses.
    pub(crate) fn undo(&self, receipt: Option<&Receipt>, engine: &Engine) -> Result<Undo> {
        let now = match self.read(engine)? {
            Manifest::Digest(now) => now,
            Manifest::Absent => return Ok(Undo::Nothing),
            Manifest::Refused(why) | Manifest::Unreachable(why) => {
                // What couldn't be asked for the push's sake was hardly pushed either.
                return Ok(match receipt {
                    None => Undo::Nothing,
                    Some(_) => Undo::Undone {
                        summary: format!("`{}` stays as it was pushed: {why}", self.reference),
                    },
                });
            }
        };
        match &self.before {
            Some(before) if *before == now => Ok(Undo::Nothing),
            _ if !self.is_ours(&now, receipt, engine)? => Ok(Undo::Undone {
                summary: format!("`{}` stays: somebody else moved it to {now} since", self.reference),
            }),
            Some(before) if is_digest(before) => {
                self.move_to(before, engine)?;
                Ok(Undo::Undone { summary: format!("`{}` stands for {before} again", self.reference) })
            }
            _ => Ok(Undo::Undone { summary: format!("`{}` stays in the registry, unused", self.reference) }),
        }
    }

    /// Whether the tag stands for what this step pushed. Without a receipt the engine knows: it keeps the digest of a push
    /// that ended well.
    fn is_ours(&self, now: &str, receipt: Option<&Receipt>, engine: &Engine) -> Result<bool> {
        match receipt.and_then(|receipt| Pushed::deserialize(&receipt.data).ok()) {
            // A list has no digest in there: as in `run`, that isn't held against it.
            Some(pushed) => Ok(pushed.digest == now || now.contains(' ')),
            None => Ok(engine.image(&self.reference)?.is_some_and(|image| image.has_digest(now))),
        }
    }

    fn move_to(&self, digest: &str, engine: &Engine) -> Result<()> {
        let image = format!("{}@{digest}", self.repository);
        if engine.image(&image)?.is_none() {
            engine.run(&command::pull(&image))?;
        }
        engine.run(&command::tag(&image, &self.reference))?;
        engine.run(&command::push(&self.reference)).map(|_| ())
    }
}

/// The digest in what `docker push` says: `1.2: digest: sha256:… size: 528`.
fn digest_in(output: &str) -> Option<String> {
    output.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("digest: ")?;
        let digest = rest.split_whitespace().next()?;
        is_digest(digest).then(|| digest.to_owned())
    })
}

/// What the tags of this run that were pushed stand for.
pub(crate) fn pushed(request: &RunRequest) -> impl Iterator<Item = Pushed> {
    let of_push = request.receipts.iter().filter(|kept| kept.step.starts_with("push:"));
    of_push.filter_map(|kept| Pushed::deserialize(&kept.receipt.data).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_what_the_push_says_and_nothing_like_it() {
        let digest = format!("sha256:{}", "a1".repeat(32));
        let said =
            format!("The push refers to repository [r/a]\nabc: Pushed\n1.2: digest: {digest} size: 528\n");
        assert_eq!(digest_in(&said), Some(digest));
        assert_eq!(digest_in("1.2: digest: sha256:short size: 1"), None);
        assert_eq!(digest_in("denied"), None);
    }
}
