//! Write target plugins for `pop-deploy`.
//!
//! A plugin is a `cdylib` crate that implements [`Target`] for its kind of place and ends with one line:
//!
//! ```ignore
//! pop_deploy_plugin_api::export_target!(MyTarget);
//! ```
//!
//! The host owns what must be right every time (order, dry run, locks, journal, history, rollback, redaction,
//! output). A plugin reads its place and proposes a [`Plan`](protocol::Plan), runs the steps of that very plan one by one, and takes
//! each of them back when asked. It never prints: it reports [`Event`](protocol::Event)s through its
//! [`Session`].
//!
//! What crosses the boundary is JSON in the types of [`protocol`]. A field added there is optional with a
//! default, for ever: plugins built against an older copy of this crate keep loading.

#![deny(unsafe_code)]

#[cfg(feature = "health")]
pub mod canary;
mod context;
mod error;
pub mod ffi;
#[cfg(feature = "health")]
pub mod health;
pub mod holding;
mod nearest;
mod output;
mod process;
pub mod protocol;
pub mod redact;
mod secret;
mod target;
pub mod template;
pub mod testing;
#[cfg(feature = "tree")]
pub mod tree;
pub mod words;

pub use context::{Host, Session};
pub use error::{Error, ErrorKind, IoContext, Result};
pub use nearest::nearest;
pub use output::Output;
pub use process::{Finished, Process, check_program};
pub use secret::{Revealed, Secret};
pub use target::{Target, manifest_of};

/// Re-exported, so that a plugin's derives and ours agree on the version.
pub use {schemars, serde, serde_json};

/// The range of protocol versions that this copy of the crate speaks: lowest, highest.
pub const API: [u32; 2] = [1, 1];
/// The target triple that this copy of the crate is built for: the host compares it with that in a manifest.
pub const TRIPLE: &str = env!("PLUGIN_API_TARGET");
