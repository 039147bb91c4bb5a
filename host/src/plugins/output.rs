//! What a plugin prints although it shouldn't: captured, attributed, bounded, and never in its way.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    sync::{Arc, Mutex, PoisonError},
};

use pop_deploy_plugin_api::protocol::Stream;

use super::launch::Services;

/// A longer line is passed on in pieces.
const LONGEST_LINE: u64 = 8 << 10;
/// What a worker may print on one stream, in bytes; the rest is read and forgotten.
const MOST: usize = 1 << 20;
/// The lines that a report of a crash quotes.
const TAIL: usize = 10;

/// The last lines that a worker printed.
#[derive(Default)]
pub(super) struct Tail(Mutex<VecDeque<String>>);

impl Tail {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// The lines, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Reads `pipe` to its end and passes it on line by line.
pub(super) fn pass_on(pipe: impl Read, stream: Stream, services: &Arc<dyn Services>, tail: &Tail) {
    let mut reader = BufReader::with_capacity(64 << 10, pipe);
    let mut line = Vec::new();
    let mut passed = 0;
    loop {
        line.clear();
        // A read error on a pipe is its end.
        let read = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).unwrap_or(0);
        if read == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        tail.push(text);
        if passed <= MOST {
            services.output(stream, text);
        }
        if passed <= MOST && passed + read > MOST {
            services.output(stream, "(more than 1 MiB was printed; the rest is left out)");
        }
        passed += read;
    }
}
