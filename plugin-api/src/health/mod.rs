//! Health: the keys of a target's `health`, and asking until the answer stands.
//!
//! ```json
//! "health": { "http": "http://localhost:8080/healthz", "interval": 1, "start_period": 30, "retries": 3 }
//! ```
//!
//! A plugin puts an `Option<Health>` into its config and calls [`Health::check`] in `open`. `http` and `tcp` are asked
//! here ([`Health::wait`]). How a `command` is run (locally, on a host, in a container) and what `docker` means is the
//! plugin's: it hands the attempt to [`Health::wait_by`] as a closure. Each attempt is an
//! [`Event::HealthAttempt`](crate::protocol::Event::HealthAttempt); a cancelled run stops the waiting at once.
//!
//! Before a switch the new instance is asked on its own address ([`Health::toward`]), after it the address in the config.
//!
//! Needs the feature `health` of this crate.

mod attempt;
mod config;
mod probe;
mod statuses;
#[cfg(test)]
mod tests;
mod wait;

pub use attempt::Attempt;
pub use config::{Header, Health, Question, Seconds};
pub use probe::Probe;
pub use statuses::Statuses;
pub use wait::Healthy;
