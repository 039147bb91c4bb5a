//! Keeping an incident: `incidents/incident-YYYYMMDD-HHMMSS.md` in the data folder, and the same as `.json` beside it.

use std::{
    fs::{DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::redact::Redactor;

use super::{Incident, markdown};

/// Where an incident was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The Markdown.
    pub path: PathBuf,
    /// Its name.
    pub filename: String,
}

/// Writes both files. A second incident in the same second gets a suffix.
///
/// # Errors
/// With the path that can't be written.
pub fn save(incident: &Incident, data: &Path, redactor: &Redactor) -> Result<Saved, (PathBuf, io::Error)> {
    let folder = data.join("incidents");
    let made = DirBuilder::new().mode(0o700).recursive(true).create(&folder);
    made.map_err(|error| (folder.clone(), error))?;
    let stem = jiff::Zoned::now().strftime("incident-%Y%m%d-%H%M%S").to_string();
    let stems = std::iter::once(stem.clone()).chain((2..).map(|n: u32| format!("{stem}-{n}")));
    for stem in stems {
        let path = folder.join(format!("{stem}.md"));
        match write_new(&path, &redactor.redact(&markdown(incident))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err((path, error)),
        }
        let json = folder.join(format!("{stem}.json"));
        let text = format!("{:#}\n", incident.to_value());
        write_new(&json, &redactor.redact(&text)).map_err(|error| (json, error))?;
        return Ok(Saved { filename: format!("{stem}.md"), path });
    }
    unreachable!("the names never end")
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
