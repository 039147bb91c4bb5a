//! What becomes of a run whose standard output takes no more.

use std::io::{self, Write as _};

use pop_deploy_plugin_api::Error;

use super::error_lines;
use crate::signals::Interrupt;

/// Stops the run as by a signal: nobody hears what goes on. Says so, unless it is a reader that left, who knows.
pub(super) fn output_lost(error: &io::Error, interrupt: &Interrupt) {
    if interrupt.signal().is_none() && !is_closed(error) {
        // Where standard error takes no more either, the exit code has to do.
        io::stderr().write_all(error_lines(&unwritable(error)).as_bytes()).unwrap_or_default();
    }
    interrupt.output_closed();
}

/// Whether the reader left.
pub fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// That standard output can't be written.
pub fn unwritable(error: &io::Error) -> Error {
    Error::failed("can't write to standard output")
        .because(error)
        .hint("free some space where it goes, or send it elsewhere")
}
