//! The two sides of the boundary, next to each other: what a plugin exports and how a host calls it.
//!
//! Nothing here needs `dlopen`: [`entry`] of a target can be handed straight to [`Foreign`], which is how the tests
//! of the boundary and the test kit work.

mod export;
mod foreign;
mod shim;

pub use export::{Described, SECTION, describe_json, header, joined, joined_len};
pub use foreign::{Foreign, ForeignSession, HostCalls};
pub use pop_deploy_abi as abi;
pub use shim::entry;

#[cfg(test)]
mod round_trip;
