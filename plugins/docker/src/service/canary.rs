//! The steps that run a few tasks of the new image in a second service, on the same alias as the first: their share of
//! the requests is about their share of the tasks.

use std::{collections::BTreeSet, time::Instant};

use pop_deploy_plugin_api::{
    Error, Result,
    canary::{Ask, Share, refused},
    health::{Health, Question},
    protocol::{Command, Effect, Outcome, Phase, Receipt, RunRequest, Step, Undo},
};
use serde::{Deserialize, Serialize};

use super::{
    ask::is_public,
    spec::{START, Spec},
    state,
    update::{LOOK, accepted, push},
};
use crate::{
    app::App,
    canary::Turn,
    command::{IMAGE, docker},
    engine::Engine,
    labels::RUN,
    steps,
};

/// What the second service's name ends in, behind that of the app.
const SUFFIX: &str = "-canary";

/// A canary's step, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    name: String,
    to: Spec,
    #[serde(flatten)]
    turn: Turn,
}

/// The step that takes the second service away again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Retire {
    name: String,
}

/// Puts the canary's steps around the update of a service to `to`.
///
/// # Errors
/// There is no name by which two services share the requests, nothing is live, or a step isn't asked anything, or only the
/// old tasks.
pub(crate) fn add(
    app: &App,
    target: &str,
    to: &Spec,
    before: Option<&Spec>,
    plan: &mut Vec<Step>,
) -> Result<()> {
    let Some(at) = plan.iter().position(|step| step.id == "update") else { return Ok(()) };
    let Some(before) = before else {
        return Err(refused(target, "nothing is live that it could stand beside"));
    };
    let name = name(&app.name);
    let Some(to) = to.clone().beside(&app.name) else {
        return Err(refused(target, "its service is on no network, where a second one could share its name"));
    };
    if before.is_virtual() {
        return Err(refused(
            target,
            "its service has a virtual address, which counts as one beside each of the canary's tasks",
        )
        .hint("make the service anew with `service.endpoint_mode` dnsrr, or have a `service.proxy` name each task"));
    }
    let parts = Turn::all(app).into_iter().map(|turn| {
        let key = turn.key();
        for asked in turn.asked()? {
            if !is_public(asked) {
                return Err(Error::config(format!("{key} asks what only a task knows"))
                    .hint("ask by `http` or `tcp`, with the whole address that users use"));
            }
            if let Some(port) = port(asked).filter(|port| before.publishes(*port)) {
                return Err(Error::config(format!(
                    "{key} asks at port {port}, which the old tasks alone publish"
                ))
                .hint(
                    "ask at what leads to the service by its name, or have a `service.proxy` name each task",
                ));
            }
        }
        let mut to = to.clone();
        to.replicas = tasks(turn.shown()?.share(), before.replicas);
        Part { name: name.clone(), to, turn }.step(before.replicas, steps::logins(app))
    });
    let parts: Vec<_> = parts.collect::<Result<_>>()?;
    plan.splice(at..at, parts);
    let retire = plan.iter().position(|step| step.phase == Phase::Finalize).unwrap_or(plan.len());
    plan.insert(retire, Retire { name }.step());
    Ok(())
}

/// The port that a public question is put to.
fn port(health: &Health) -> Option<u16> {
    match health.question() {
        Question::Tcp(address) => address.rsplit(':').next()?.parse().ok(),
        Question::Http(address) => {
            let (scheme, rest) = address.split_once("://")?;
            let authority = rest.split(['/', '?', '#']).next()?;
            let usual = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
            match authority.rsplit_once(':') {
                Some((_, port)) if !port.contains(']') => port.parse().ok(),
                _ => Some(usual),
            }
        }
        Question::Command(_) | Question::Docker => None,
    }
}

/// What the second service of an app is called.
pub(crate) fn name(app: &str) -> String {
    format!("{app}{SUFFIX}")
}

/// How many tasks beside `old` ones come closest to that share.
fn tasks(share: Share, old: u64) -> u64 {
    match share {
        Share::Count(count) | Share::Hosts(count) => count.into(),
        Share::Percent(percent) => {
            let (percent, rest) = (u64::from(percent), u64::from(100_u32.saturating_sub(percent).max(1)));
            ((old * percent + rest / 2) / rest).max(1)
        }
    }
}

impl Part {
    fn step(&self, old: u64, logins: Vec<Command>) -> Result<Step> {
        let (name, new) = (&self.name, self.to.replicas);
        let about = new * 100 / (old + new).max(1);
        let effect = if self.turn.is_first() { Effect::Create } else { Effect::Update };
        let title = format!("Running {new} tasks of {name} beside {old}, about {about} % of the requests");
        let reason = "it is approximate: names lead to every task alike";
        let mut step = self.turn.step(effect, title)?.reason(reason).data(self);
        step.creates = vec![name.clone()];
        step.commands = logins;
        step.commands.extend([
            state::inspect(name),
            state::list_networks(),
            state::list_tasks(name),
            state::show_logs(name),
            self.scale(),
            state::remove(name),
            self.to.create(name),
        ]);
        Ok(step)
    }

    fn scale(&self) -> Command {
        let replicas = format!("--replicas={}", self.to.replicas);
        docker(["service", "update", "--detach", "--quiet", &replicas, &self.name])
    }

    /// Runs the tasks, and watches them.
    ///
    /// # Errors
    /// A task failed, or the canary is bad; with its last lines.
    pub(crate) fn run(&self, app: &App, request: &RunRequest, engine: &Engine) -> Result<Receipt> {
        let image = match &self.to.image {
            Some(image) => image.clone(),
            None => steps::image(app, request)?,
        };
        let failures = state::failures(&self.name, &image, engine)?;
        match state::read(&self.name, engine)? {
            Some(there) if !is_of(&there, &self.name) => {
                return Err(Error::failed(format!("the service `{}` isn't a canary of ours", self.name))
                    .hint("rename it, or choose another `service.name`"));
            }
            Some(there) if self.is_of_this_release(&there.spec, &image) => {
                accepted(&self.name, engine, || Ok(engine.process(&self.scale())))?;
            }
            left_over => {
                if left_over.is_some() {
                    engine.run(&state::remove(&self.name))?;
                }
                let create = self.to.create(&self.name);
                let create = if create.holes.contains(IMAGE) { create.fill(IMAGE, &image)? } else { create };
                push(&self.name, &self.to, &[create], engine)?;
            }
        }
        self.started(&image, &failures, engine).and_then(|()| self.watch(engine)).map_err(|mut error| {
            error.causes.extend(state::logs(&self.name, engine));
            error
        })
    }

    /// Whether a service that is there is what this canary made: another release's was left over.
    fn is_of_this_release(&self, there: &Spec, image: &str) -> bool {
        there.image.as_deref() == Some(image) && there.labels.get(RUN) == self.to.labels.get(RUN)
    }

    fn started(&self, image: &str, before: &BTreeSet<String>, engine: &Engine) -> Result<()> {
        let begun = Instant::now();
        loop {
            let tasks = state::tasks(&self.name, engine)?;
            if tasks.iter().any(|task| task.failed(image) && !before.contains(&task.id)) {
                return Err(
                    Error::failed(format!("a task of `{}` failed", self.name)).hint("look at its last lines")
                );
            }
            if state::running(&tasks, image) >= self.to.replicas {
                return Ok(());
            }
            if begun.elapsed() > START {
                return Err(Error::failed(format!("the tasks of `{}` don't start", self.name))
                    .hint("see `docker service ps` for what they wait for"));
            }
            engine.session.pause(LOOK)?;
        }
    }

    fn watch(&self, engine: &Engine) -> Result<Receipt> {
        let session = &engine.session;
        let asks = self.turn.asked()?.into_iter().map(|health| Ask::probe(health, session));
        self.turn.watch(session, asks.collect::<Result<_>>()?)
    }

    /// Takes the second service away.
    ///
    /// # Errors
    /// The Swarm can't be read, or refuses.
    pub(crate) fn undo(&self, engine: &Engine) -> Result<Undo> {
        match remove(&self.name, engine)? {
            true => Ok(Undo::Undone { summary: format!("removed the service `{}`", self.name) }),
            false => Ok(Undo::Nothing),
        }
    }
}

impl Retire {
    fn step(&self) -> Step {
        let mut step = Step::new(
            "retire",
            Phase::Finalize,
            Effect::Delete,
            format!("Removing the service {}", self.name),
        )
        .reason("the first one runs the new image everywhere")
        .data(self);
        step.commands = vec![state::inspect(&self.name), state::list_networks(), state::remove(&self.name)];
        step
    }

    /// Takes the second service away.
    ///
    /// # Errors
    /// The Swarm can't be read, or refuses.
    pub(crate) fn run(&self, engine: &Engine) -> Result<Receipt> {
        let outcome = if remove(&self.name, engine)? { Outcome::Changed } else { Outcome::Unchanged };
        Ok(Receipt::new(outcome, ""))
    }
}

/// Whether a service of that name is a canary of the app, and not another service that happens to be called so.
fn is_of(there: &state::Service, name: &str) -> bool {
    name.strip_suffix(SUFFIX).is_some_and(|app| there.is_of(app))
}

fn remove(name: &str, engine: &Engine) -> Result<bool> {
    if !state::read(name, engine)?.is_some_and(|there| is_of(&there, name)) {
        return Ok(false);
    }
    engine.run(&state::remove(name))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_question_is_its_own_or_the_usual_one() {
        let of = |key: &str, address: &str| {
            let health = serde_json::json!({ key: address });
            serde_json::from_value::<Health>(health).ok().and_then(|health| port(&health))
        };
        assert_eq!(of("tcp", "[::1]:5432"), Some(5432));
        assert_eq!(of("http", "https://shop.example/a:1"), Some(443));
        assert_eq!(of("http", "http://[::1]/"), Some(80));
        assert_eq!(of("http", "http://shop.example:8080/healthz"), Some(8080));
    }

    #[test]
    fn a_share_of_the_requests_is_the_nearest_share_of_the_tasks() {
        let of = |percent| [1, 2, 9, 18].map(|old| tasks(Share::Percent(percent), old));
        assert_eq!(of(10), [1, 1, 1, 2]);
        assert_eq!(of(50), [1, 2, 9, 18]);
        assert_eq!(tasks(Share::Count(3), 9), 3);
    }
}
