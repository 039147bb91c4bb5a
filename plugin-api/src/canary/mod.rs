//! Canaries: the keys of a target's `canary`, and watching a part of it until there is a verdict.
//!
//! ```json
//! "canary": { "steps": [{ "percent": 10, "hold": 60 }, { "percent": 50, "hold": 300 }] }
//! ```
//!
//! What a target that splits its users or hosts does to take `execute --canary`:
//!
//! 1. It names [`capability::CANARY`](crate::protocol::capability::CANARY) in its manifest and puts a [`Canary`] into
//!    its config; [`Canary::check`] belongs into `open`.
//! 2. Asked to plan a [`Rollout::Canary`](crate::protocol::Rollout::Canary), it plans one step of phase *switch* for
//!    each [`CanaryStep`], which gives the new release that [`Share`] and watches it, and then the one that goes all the way;
//!    *verify* and *finalize* follow as ever. The canary's steps say how long they [`hold`](crate::protocol::Step::hold), and the
//!    last of them [`awaits_verdict`](crate::protocol::Step::awaits_verdict). A place that can't be split is
//!    [`refused`], never deployed to in full.
//! 3. A canary's step runs [`Canary::watch`], and its receipt carries the [`Verdict`](crate::protocol::Verdict) of
//!    [`Watched::settle`]. A bad canary is the step's error: the host takes every step back, as after any failed switch.
//! 4. Undo of a canary's step leaves everybody at the release before; so does `status` call that one live all along, and
//!    [`TargetContext::canary`](crate::protocol::TargetContext::canary) says then who is meant to have the new one. Both are
//!    asked of new workers, perhaps days later: `promote` walks the stored plan on from the step after the canary's, `abort`
//!    takes the steps back, newest first.
//!
//! Needs the feature `health` of this crate.

mod config;
#[cfg(test)]
mod tests;
mod watch;

pub use config::{Canary, CanaryStep, OnInconclusive, Share, refused};
pub use watch::{Ask, Watched};
