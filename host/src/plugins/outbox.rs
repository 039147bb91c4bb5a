//! Sending lines to a worker that may have stopped reading: the sender never waits.

use std::{
    fs::File,
    io::{self, Write as _},
    mem,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
};

/// The write end of a worker's pipe.
pub(super) struct Outbox(Mutex<Way>);

/// How lines go.
enum Way {
    /// Straight into the pipe: the usual case, and the quick one.
    Straight(File),
    /// Through a thread that waits for the pipe: once the pipe was full, for good, so that the order stays.
    Behind(mpsc::Sender<Vec<u8>>),
    /// Nowhere: the worker is gone.
    Closed,
}

impl Outbox {
    pub(super) fn new(pipe: File) -> io::Result<Self> {
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
        Ok(Self(Mutex::new(Way::Straight(pipe))))
    }

    /// Sends a line, or nothing when the worker is gone: whoever waits for the answer hears of that.
    pub(super) fn send(&self, line: Vec<u8>) {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *way = match mem::replace(&mut *way, Way::Closed) {
            Way::Straight(pipe) => straight(pipe, line),
            Way::Behind(queue) if queue.send(line).is_ok() => Way::Behind(queue),
            Way::Behind(_) | Way::Closed => Way::Closed,
        };
    }

    /// Closes the pipe, after what is on its way.
    pub(super) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Way::Closed;
    }
}

fn straight(mut pipe: File, mut line: Vec<u8>) -> Way {
    match write_some(&mut pipe, &line) {
        Ok(written) if written == line.len() => Way::Straight(pipe),
        Ok(written) => {
            line.drain(..written);
            let (queue, lines) = mpsc::channel();
            // The receiver lives in this function still.
            queue.send(line).unwrap_or_default();
            thread::spawn(move || write_behind(pipe, &lines).unwrap_or_default());
            Way::Behind(queue)
        }
        Err(_) => Way::Closed,
    }
}

/// As much as goes without waiting.
fn write_some(pipe: &mut File, line: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < line.len() {
        match pipe.write(&line[written..]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

fn write_behind(mut pipe: File, lines: &mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    for line in lines {
        let mut rest = line.as_slice();
        loop {
            rest = &rest[write_some(&mut pipe, rest)?..];
            if rest.is_empty() {
                break;
            }
            poll(&mut [PollFd::new(&pipe, PollFlags::OUT)], None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_reader_that_sleeps_stops_nobody_and_loses_nothing() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let outbox = Outbox::new(write.into()).unwrap();
        let lines: Vec<Vec<u8>> = (0..40u8).map(|byte| vec![byte; 10_000]).collect();
        lines.iter().for_each(|line| outbox.send(line.clone()));
        outbox.close();
        let mut got = Vec::new();
        File::from(read).read_to_end(&mut got).unwrap();
        assert!(got == lines.concat());
    }
}
