//! The host of pop-deploy: everything that must be right every time.
//!
//! [`cli`] reads the command line; [`pipeline`] makes, walks and takes back plans; [`plugins`] finds and contains the
//! plugins that know the places; [`journal`], [`history`] and [`lock`] are what stays on disk. ARCHITECTURE.md
//! beside the workspace has the map.

#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod exit;
pub mod failure;
pub mod git;
pub mod history;
pub mod hooks;
pub mod incident;
pub mod init;
pub mod journal;
pub mod keeper;
pub mod lock;
pub mod page;
pub mod pipeline;
pub mod plugins;
pub mod popkit;
pub mod project;
pub mod reporter;
pub mod schema;
pub mod scratch;
pub mod secrets;
pub mod select;
pub mod signals;
pub mod status;
pub mod unlock;
pub mod validate;
pub mod version;
