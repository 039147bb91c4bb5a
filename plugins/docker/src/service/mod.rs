//! The Swarm service that runs the image: its spec from the config, what the Swarm says of it, and the steps that change it.
//!
//! Every change is `docker service update` with the words that lead from one [`Spec`] to another. That is also the way
//! back: a rollback pushes the spec that we recorded, since `docker service rollback` toggles between two and forgets after
//! an automatic one.

mod canary;
mod rollout;
mod spec;
mod state;
mod swarm;
mod update;

pub(crate) use self::{
    canary::{Part, Retire},
    rollout::Rollout,
    spec::check,
    state::{logs, states},
    swarm::Swarm,
    update::Update,
};
