//! The pipeline: plans are made, shown, walked and taken back here. Nothing in it prints.
//!
//! [`run`] is one run from its lock to its history record; [`member`] one target of it with its worker and plan;
//! [`engine`] walks the members' plans phase by phase; [`recover`] takes a run that died back; [`look`] reads a
//! target without a run; [`event`] is what listeners hear; [`outcome`] how everything ends.

pub mod engine;
pub mod event;
pub mod look;
pub mod member;
pub mod outcome;
mod record;
pub mod recover;
pub mod run;
