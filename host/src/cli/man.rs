//! Man pages, for `make install`.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::args::Cli;
use crate::{exit::Exit, failure::Failure};

/// Writes a page for the program and one for each command.
pub(super) fn man(dir: &Path) -> Result<Exit, Failure> {
    let written = fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .and_then(|()| fs::write(dir.join("pop-deploy.1"), program_page()?));
    written.map_err(|source| Failure::Write { path: dir.display().to_string(), source })?;
    Ok(Exit::Done)
}

/// The program's own page: what clap knows, and what scripts want to know.
fn program_page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(Cli::command().name("pop-deploy")).render(&mut page)?;
    writeln!(page, ".SH \"EXIT STATUS\"")?;
    for (code, meaning) in Exit::TABLE {
        writeln!(page, ".TP\n.B {code}\n{meaning}")?;
    }
    for (title, rows) in [("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        writeln!(page, ".SH {title}")?;
        for (name, meaning) in rows {
            writeln!(page, ".TP\n.I {name}\n{meaning}")?;
        }
    }
    Ok(page)
}

const FILES: &[(&str, &str)] = &[
    (
        ".pop\\-deploy/deploy.json",
        "What is deployed where, and its history; `.claude/popkit/deploy.json` counts first.",
    ),
    (".pop\\-deploy/plugins.lock", "The plugins that this project was deployed with, and their hashes."),
    (".pop\\-deploy/deployments/", "A folder a run: its journal, plans, report and log."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("POP_DEPLOY_PLUGIN_PATH", "More folders to look for plugins in."),
    ("CLAUDE_PLUGIN_DATA", "The data folder, in the place of `.pop\\-deploy`."),
    (
        "POP_DEPLOY_HEARTBEAT",
        "Seconds between the lines of a step that takes long, where output isn't a terminal.",
    ),
    ("NO_COLOR", "No colours."),
    ("CI", "Plain lines, even on a terminal."),
];
