//! `logs`: the whole output of a run, as its log file keeps it.

use std::io::{BufRead as _, BufReader, ErrorKind, IsTerminal as _, Write as _};

use super::{args::Logs, open, past::find};
use crate::{exit::Exit, failure::Failure, reporter::printable};

pub(super) fn logs(wanted: &Logs) -> Result<Exit, Failure> {
    let (project, _) = open(&wanted.site)?;
    let run = find(&project, wanted.id.as_deref())?;
    let path = run.dir.join("log");
    let read = |source| Failure::Read { path: path.display().to_string(), source };
    let mut log = std::fs::File::open(&path).map_err(read)?;
    let mut out = std::io::stdout().lock();
    // What programs printed must not move the cursor of whoever reads it later; a pipe gets every byte.
    let copied = if out.is_terminal() {
        BufReader::new(log).lines().try_for_each(|line| writeln!(out, "{}", printable(&line?)))
    } else {
        std::io::copy(&mut log, &mut out).map(drop)
    };
    match copied {
        Ok(()) => out.flush().map_err(read)?,
        // Who reads the beginning of a log only has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => return Err(read(error)),
    }
    Ok(Exit::Done)
}
