//! Man pages, for `make install`.

use std::path::Path;

use clap::CommandFactory as _;

use super::args::Cli;
use crate::{exit::Exit, failure::Failure};

pub(super) fn man(dir: &Path) -> Result<Exit, Failure> {
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|source| Failure::Write { path: dir.display().to_string(), source })?;
    Ok(Exit::Done)
}
