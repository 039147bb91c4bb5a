//! The Swarm service that runs the image: its spec from the config, what the Swarm says of it, and the steps that change it.
//!
//! Every change is `docker service update` with the words that lead from one [`Spec`] to another. That is also the way
//! back: a rollback pushes the spec that we recorded, since `docker service rollback` toggles between two and forgets after
//! an automatic one.
//!
//! Behind a proxy no task may stop before the proxy has forgotten it, and the Swarm stops each one as soon as its
//! successor runs. So there a release is a service of its own, beside the old one, and traffic moves from one to the other.

mod address;
mod ask;
mod canary;
mod change;
mod check;
mod finalize;
mod live;
mod node;
mod objections;
mod port;
mod public;
mod rollout;
mod spec;
mod state;
mod swarm;
mod switch;
mod update;
mod variable;
mod weights;

pub(crate) use self::{
    canary::{Part, Retire},
    check::{check, check_room},
    finalize::Finalize,
    public::Public,
    rollout::Rollout,
    state::{logs, names, states},
    swarm::Swarm,
    switch::Switch,
    update::Update,
    weights::Weights,
};
