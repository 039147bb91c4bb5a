//! The vocabulary of the boundary, as serde types: what host and plugin say to each other, and what the journal keeps.
//!
//! Compatibility: fields are only ever added, with a default; enums that may grow have a variant for words
//! that this copy doesn't know. Receipts of older plugin versions stay readable.

mod call;
mod command;
mod event;
mod lock;
mod manifest;
mod plan;
mod release;

pub use call::{
    Check, CheckStatus, Diagnostic, OpenCanary, OpenRequest, PlanRequest, Proposal, Rollout, RunRequest,
    Status, TargetContext, Undo, UndoRequest, Unreachable, Verdict, capability, method,
};
pub use command::Command;
pub use event::{Event, Stream};
pub use lock::{LockState, PlaceHolder, PlaceLock, UnlockRequest, unlock_command};
pub use manifest::{Build, FORMAT, Manifest};
pub use plan::{Change, Effect, Note, Phase, Plan, Step};
pub use release::{Outcome, PastRelease, Receipt, Release, StepReceipt};
