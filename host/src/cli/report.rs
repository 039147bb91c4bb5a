//! `report --html`: a page about a run and the history around it.

use std::{io::Write as _, path::Path};

use super::{args::Report, open, past::find, print_line};
use crate::{
    exit::Exit,
    failure::Failure,
    page::{Facts, Page},
};

pub(super) fn report(wanted: &Report) -> Result<Exit, Failure> {
    let (project, config) = open(&wanted.site)?;
    let run = find(&project, wanted.id.as_deref())?;
    let html = Page::of(Facts::of(&project, &config, &run)?).html().map_err(Failure::Page)?;
    match &wanted.output {
        Some(path) if path == Path::new("-") => {
            let written = std::io::stdout().lock().write_all(html.as_bytes());
            written.map_err(|source| Failure::Write { path: "standard output".to_owned(), source })?;
        }
        chosen => {
            let path = chosen.clone().unwrap_or_else(|| run.dir.join("report.html"));
            let written = std::fs::write(&path, html);
            written.map_err(|source| Failure::Write { path: path.display().to_string(), source })?;
            print_line!("Wrote {}", path.display());
        }
    }
    Ok(Exit::Done)
}
