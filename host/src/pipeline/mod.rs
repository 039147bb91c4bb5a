//! The pipeline: plans are made, shown, walked and taken back here. Nothing in it prints.
//!
//! [`order`] is what commands ask for; [`run`] one run from its lock to its history record; [`member`] one target of
//! it with its worker and plan; [`engine`] walks the members' plans phase by phase; [`recover`] takes a run that died
//! back, [`resume`] finishes it; [`look`] reads a target without a run; [`objection`] says what stands against a plan; [`event`] is what
//! listeners hear; [`outcome`] how everything ends. In between, `hold` takes the locks, `seating` gives targets their
//! plugins, `record` keeps what happened.

pub mod canary;
pub mod engine;
pub mod event;
mod hold;
pub mod look;
pub mod member;
pub mod objection;
pub mod order;
pub mod outcome;
mod record;
pub mod recover;
mod reopened;
pub mod resume;
pub mod run;
mod seating;
