//! The step that moves the traffic from the tasks of one service to those of another, by the proxy's upstream file: no task
//! stops before the proxy has forgotten it.

use std::time::Duration;

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::{Command, Effect, Phase, Receipt, Step, Undo},
};
use serde::{Deserialize, Serialize};

use super::{address::Reach, spec::Spec, state, update::Update};
use crate::{
    engine::Engine,
    proxy::{Server, Upstream},
    switch::Switched,
};

/// The most weight that every kind of proxy takes.
const HEAVIEST: u64 = 256;

/// `switch`, as its step keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Switch {
    upstream: Upstream,
    /// The service that the traffic goes to.
    new: Reach,
    /// The one that has it now.
    old: Option<Served>,
    /// What the file says now.
    before: Option<String>,
    /// How long tasks that give way still serve, in milliseconds.
    drain: u64,
}

/// A service that has the traffic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) reach: Reach,
    /// What it is, should it have to be made again.
    pub(crate) spec: Spec,
}

impl Switch {
    /// # Errors
    /// The file can't be read.
    pub(crate) fn new(upstream: Upstream, new: Reach, old: Option<Served>, drain: Duration) -> Result<Self> {
        let before = upstream.read()?;
        Ok(Self { upstream, new, old, before, drain: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX) })
    }

    pub(crate) fn step(&self) -> Step {
        let file = self.upstream.file.display();
        let effect = if self.before.is_some() { Effect::Replace } else { Effect::Create };
        let mut step = Step::new(
            "switch",
            Phase::Switch,
            effect,
            format!("Moving the traffic to the tasks of {}", self.new.service),
        )
        .reason(format!("`{file}` names each of them from then on"))
        .data(self);
        step.commands = self.commands();
        step.creates = vec![file.to_string()];
        step
    }

    /// The service that the traffic goes to.
    pub(crate) fn new_service(&self) -> &Reach {
        &self.new
    }

    /// The service that has it now.
    pub(crate) fn old(&self) -> Option<&Served> {
        self.old.as_ref()
    }

    /// What changing the shares runs.
    pub(crate) fn commands(&self) -> Vec<Command> {
        let reaches = [&self.new].into_iter().chain(self.old.as_ref().map(|old| &old.reach));
        let look = |reach: &Reach| [vec![state::inspect(&reach.service)], reach.commands()].concat();
        [state::list_networks()]
            .into_iter()
            .chain(reaches.flat_map(look))
            .chain(self.upstream.commands())
            .collect()
    }

    /// Names the new tasks alone.
    ///
    /// # Errors
    /// None of them runs, or the proxy doesn't take the file: it is again what it was then.
    pub(crate) fn run(&self, engine: &Engine) -> Result<Receipt> {
        let servers = serving(&self.new, engine)?;
        Ok(Switched::receipt(self.upstream.set(&self.upstream.render(&servers), &engine.session)?))
    }

    /// Gives the new tasks together `percent` of the traffic, and the old ones the rest.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn share(&self, percent: u32, engine: &Engine) -> Result<()> {
        let new = serving(&self.new, engine)?;
        let old = self.old.as_ref().map_or(Ok(Vec::new()), |old| left_serving(&old.reach, engine))?;
        let servers = weighted(old, new, percent);
        self.upstream.put(&self.upstream.render(&servers), &engine.session)
    }

    /// Moves the traffic back; makes the old service again first, should it be gone.
    ///
    /// # Errors
    /// The Swarm can't be read, or the proxy doesn't take the file.
    pub(crate) fn undo(&self, engine: &Engine) -> Result<Undo> {
        let (now, is_unread) = (self.upstream.read()?, self.upstream.is_unread()?);
        let Some(Served { reach, spec }) = &self.old else {
            if now == self.before && !is_unread {
                return Ok(Undo::Nothing);
            }
            self.upstream.restore(self.before.as_deref(), &engine.session)?;
            return Ok(Undo::Undone {
                summary: format!("`{}` is what it was", self.upstream.file.display()),
            });
        };
        let there = state::read(&reach.service, engine)?.is_some();
        if there && now == self.before && !is_unread {
            return Ok(Undo::Nothing);
        }
        // Nobody but `finalize` touches it: as long as it is there, it stays as it is.
        let service = if there { Undo::Nothing } else { Update::back(&reach.service, spec).undo(engine)? };
        let servers = match (left_serving(reach, engine), &service) {
            (Err(_), Undo::Unknown { .. }) => return Ok(service),
            (servers, _) => servers?,
        };
        // They may have other addresses than then.
        let text = match &self.before {
            Some(before) if names_all(before, &servers) => before.clone(),
            _ => self.upstream.render(&servers),
        };
        if now.as_deref() == Some(&text) && !is_unread {
            return Ok(service);
        }
        self.upstream.put(&text, &engine.session)?;
        // The next undo removes the other service. Who can't wait cuts requests off; the traffic is back all the same.
        engine.session.pause(Duration::from_millis(self.drain)).unwrap_or_default();
        let summary = format!("the traffic goes to `{}` again", reach.service);
        Ok(match service {
            Undo::Unknown { why } => Undo::Unknown { why: format!("{why}; {summary}") },
            Undo::Nothing | Undo::Undone { .. } => Undo::Undone { summary },
        })
    }
}

/// The tasks of a service, all of which are to serve.
///
/// # Errors
/// One doesn't, or the Swarm can't be read.
pub(crate) fn serving(reach: &Reach, engine: &Engine) -> Result<Vec<Server>> {
    let (servers, replicas) = seen(reach, engine)?;
    state::check_all_run(&reach.service, servers.len() as u64, replicas)?;
    Ok(servers)
}

/// The tasks of a service that serve: one that has the traffic, or gets it back, isn't refused for a task that is down.
///
/// # Errors
/// None does, or the Swarm can't be read.
fn left_serving(reach: &Reach, engine: &Engine) -> Result<Vec<Server>> {
    Ok(seen(reach, engine)?.0)
}

/// The tasks of a service that serve, and how many are to.
fn seen(reach: &Reach, engine: &Engine) -> Result<(Vec<Server>, u64)> {
    let spec = state::read(&reach.service, engine)?.map(|service| service.spec);
    let (image, replicas) = spec.map_or((None, 0), |spec| (spec.image, spec.replicas));
    let servers = reach.servers(&image.unwrap_or_default(), engine)?;
    if servers.is_empty() {
        return Err(Error::failed(format!("no task of `{}` runs", reach.service))
            .hint("see `docker service ps` for what they wait for"));
    }
    Ok((servers, replicas))
}

/// Whether the proxy's file says of all of these that they get traffic.
pub(crate) fn names_all(upstream: &str, servers: &[Server]) -> bool {
    let named = |server: &Server| upstream.split([' ', '/', ';', '\n']).any(|word| word == server.address);
    servers.iter().all(named)
}

/// The servers with weights by which the new ones together get `percent`.
fn weighted(old: Vec<Server>, new: Vec<Server>, percent: u32) -> Vec<Server> {
    let count = |servers: &[Server]| u64::try_from(servers.len()).unwrap_or(u64::MAX).max(1);
    let of_new = u64::from(percent) * count(&old);
    let of_old = u64::from(100_u32.saturating_sub(percent).max(1)) * count(&new);
    let heaviest = of_new.max(of_old);
    let fitting = |weight: u64| {
        let weight = if heaviest > HEAVIEST { weight * HEAVIEST / heaviest } else { weight };
        u32::try_from(weight).unwrap_or(u32::MAX).max(1)
    };
    let old = old.into_iter().map(|server| Server { weight: fitting(of_old), ..server });
    let new = new.into_iter().map(|server| Server { weight: fitting(of_new), ..server });
    old.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(count: u32) -> Vec<Server> {
        (0..count)
            .map(|number| Server {
                name: format!("s{number}"),
                address: format!("10.0.0.{number}:1"),
                weight: 1,
            })
            .collect()
    }

    #[test]
    fn the_new_tasks_get_their_percentage_together_however_many_they_are() {
        let share = |old, new, percent| {
            let weights: Vec<_> =
                weighted(servers(old), servers(new), percent).into_iter().map(|it| it.weight).collect();
            let part: u32 = weights.iter().skip(old as usize).sum();
            (f64::from(part * 100) / f64::from(weights.iter().sum::<u32>())).round() as u32
        };
        assert_eq!([share(1, 1, 10), share(2, 2, 10), share(3, 5, 20), share(20, 20, 50)], [10, 10, 20, 50]);
        assert!(weighted(servers(40), servers(40), 1).iter().all(|it| (1..=256).contains(&it.weight)));
    }

    #[test]
    fn an_address_is_named_whole_or_not_at_all() {
        assert!(names_all("server 10.0.0.1:1 weight=1; # s1", &servers(2)[1..]));
        assert!(!names_all("server 10.0.0.1:12 weight=1;", &servers(2)[1..]));
        assert!(!names_all("server 10.0.0.1:1 weight=1;", &servers(2)));
    }
}
