//! The host of pop-deploy: everything that must be right every time.

#![deny(unsafe_code)]

pub mod config;
pub mod history;
pub mod journal;
pub mod lock;
pub mod pipeline;
pub mod plugins;
pub mod popkit;
pub mod project;
pub mod select;
pub mod version;
