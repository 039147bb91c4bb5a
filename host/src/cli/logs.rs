//! `logs`: the whole output of a run, as its log file keeps it.

use std::io::{ErrorKind, Write as _};

use super::{args::Logs, open, past::find};
use crate::{exit::Exit, failure::Failure};

pub(super) fn logs(wanted: &Logs) -> Result<Exit, Failure> {
    let (project, _) = open(&wanted.site)?;
    let run = find(&project, wanted.id.as_deref())?;
    let path = run.dir.join("log");
    let read = |source| Failure::Read { path: path.display().to_string(), source };
    let mut log = std::fs::File::open(&path).map_err(read)?;
    match std::io::copy(&mut log, &mut std::io::stdout().lock()) {
        Ok(_) => std::io::stdout().flush().map_err(read)?,
        // Who reads the beginning of a log only has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => return Err(read(error)),
    }
    Ok(Exit::Done)
}
