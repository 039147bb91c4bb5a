//! What a program says, on its way to people: line by line, and no more than anybody reads.

use crate::{
    Session,
    protocol::{Event, Stream},
};

/// How many lines of a program are reported; what floods beyond that is counted.
const MOST_LINES: u64 = 100_000;
/// In bytes; what has no line end for longer comes in pieces.
pub(crate) const LONGEST_LINE: usize = 8 * 1024;

/// The output of one program that runs, for a plugin that runs it elsewhere than [`Process`](crate::Process) does.
#[derive(Debug, Clone, Default)]
pub struct Output {
    lines: u64,
}

impl Output {
    /// Reports a line, unless there were too many before it: that is said once. A very long one is reported in pieces, as
    /// if each were a line.
    pub fn report(&mut self, session: &Session, stream: Stream, text: &str) {
        let mut rest = text;
        while rest.len() > LONGEST_LINE {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(LONGEST_LINE));
            self.report_piece(session, stream, piece.to_owned());
            rest = after;
        }
        self.report_piece(session, stream, rest.to_owned());
    }

    fn report_piece(&mut self, session: &Session, stream: Stream, text: String) {
        self.lines += 1;
        match self.lines.saturating_sub(MOST_LINES) {
            0 => session.emit(&Event::Output { stream, text }),
            1 => session.warn(format!("only the first {MOST_LINES} lines of output are kept")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_flood_is_reported_up_to_a_bound_and_that_is_said_once() {
        let (session, recorder) = testing::session(std::path::Path::new("/"));
        let mut output = Output { lines: MOST_LINES - 1 };
        (1..=4).for_each(|line| output.report(&session, Stream::Stdout, &line.to_string()));
        let [Event::Output { text, .. }, Event::Warning { message }] = &recorder.take_events()[..] else {
            panic!("a line and a warning");
        };
        assert_eq!([text.as_str(), message], ["1", "only the first 100000 lines of output are kept"]);
    }

    #[test]
    fn a_very_long_line_is_reported_in_pieces_that_lose_nothing() {
        let (session, recorder) = testing::session(std::path::Path::new("/"));
        let line = "é".repeat(LONGEST_LINE + 1);
        Output::default().report(&session, Stream::Stdout, &format!("a{line}"));
        let pieces = recorder.take_events().into_iter().map(|event| match event {
            Event::Output { text, .. } => text,
            other => panic!("{other:?}"),
        });
        let pieces: Vec<_> = pieces.collect();
        assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.len() <= LONGEST_LINE));
        assert_eq!(pieces.concat(), format!("a{line}"));
    }
}
