//! The pipeline: plans are made, shown, walked and taken back here. Nothing in it prints.
//!
//! [`member`] is one target of a run with its worker and plan; [`engine`] walks the members' plans phase by phase;
//! [`recover`] takes a run that died back; [`event`] is what listeners hear; [`outcome`] how everything ends.

pub mod engine;
pub mod event;
pub mod member;
pub mod outcome;
pub mod recover;
