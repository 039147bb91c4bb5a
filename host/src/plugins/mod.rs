//! Target plugins: found, checked, trusted, copied, and served by a worker process of their own.
//!
//! The way of a plugin through the rooms: `search` names the folders, `preflight` reads a file without running it,
//! [`choose()`] picks one for a target, [`trust`] says whether it is the one that we know, `cache` makes
//! a private copy, and a [`Worker`] loads that copy in another process and lends it its voice.

mod cache;
mod choose;
mod confine;
#[cfg(test)]
mod crafted;
mod discover;
mod glibc;
mod groups;
mod index;
mod install;
mod launch;
mod loader;
mod outbox;
mod outline;
mod output;
mod ownership;
mod preflight;
mod propose;
mod regular;
mod search;
mod serve;
mod strays;
mod survey;
#[cfg(test)]
mod tests;
pub mod trust;
mod watch;
mod wire;
mod worker;

pub use cache::{CopyError, Ready, private_copy, private_copy_in};
pub use choose::{ChooseError, Found, NotFound, Rejection, Wanted, choose, find, find_version};
pub use confine::Limits;
pub use discover::{Candidate, State, discover};
pub use install::{InstallError, add, remove};
pub use launch::{
    ARGUMENT as WORKER_ARGUMENT, ENVIRONMENT as BASE_ENVIRONMENT, Options, Services, this_executable,
};
pub use outline::Outline;
pub use ownership::Unsafe;
pub use preflight::Refusal;
pub use propose::{Proposed, proposals};
pub use search::{Folder, Origin, SearchPath};
pub use serve::serve;
pub use trust::{PluginsLock, TrustError, Verdict};
pub use worker::Worker;

/// The SHA-256 of `bytes`, in hexadecimal.
fn sha256_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in <sha2::Sha256 as sha2::Digest>::digest(bytes) {
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}
