//! The bytes that a request takes, on their way.

use std::{
    io::{self, Write},
    sync::PoisonError,
    time::Instant,
};

use super::Connection;

/// A body under way: what is written goes in frames of some size, and only [`Frames::end`] says that it is whole. Dropped
/// before that, it tells the far end that no more will come, which would otherwise take the next request for a frame.
pub(crate) struct Frames<'c> {
    connection: &'c mut Connection,
    buffer: Vec<u8>,
    /// How much goes into the frame that is being filled.
    room: usize,
    frames: u32,
    whole: bool,
    /// How many bytes went, as they crossed the wire.
    pub(crate) sent: u64,
}

/// Each frame costs the far end a process; this many bytes make that little.
const FRAME: usize = 2 << 20;
/// So much goes in the first two, which tell how fast the wire is.
const TRIAL: usize = 512 << 10;
/// So much is written between two looks at the cancel flag: on a slow wire a frame takes long.
const PIECE: usize = 64 << 10;

impl<'c> Frames<'c> {
    /// A body for the request that was sent last.
    pub(crate) fn new(connection: &'c mut Connection) -> Self {
        Self { connection, buffer: Vec::with_capacity(TRIAL), room: TRIAL, frames: 0, whole: false, sent: 0 }
    }

    /// Whether nobody over there takes any of it: what is written then goes nowhere.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.connection.has_failed()
    }

    fn push(&mut self) -> io::Result<()> {
        // Not `Interrupted`, which writers take for "try again".
        let stopped = || io::Error::other("stopped");
        if self.connection.should_stop() {
            return Err(stopped());
        }
        if self.is_in_vain() {
            self.buffer.clear();
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let packed = self.connection.thrift.pack(&self.buffer)?;
        let (mark, bytes) = match &packed {
            Some(packed) => ("z", packed),
            None => ("", &self.buffer),
        };
        let begun = Instant::now();
        // Held for the whole frame: a beat in the middle of it would become a part of some file.
        let mut input = self.connection.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.write_all(format!("{mark}{}\n", bytes.len()).as_bytes())?;
        for piece in bytes.chunks(PIECE) {
            if self.connection.session.cancelled() {
                drop(input);
                // The far end waits for the rest of the frame, and ends when the connection does.
                self.connection.abandoned = true;
                return Err(stopped());
            }
            input.write_all(piece)?;
        }
        drop(input);
        self.sent += bytes.len() as u64;
        if packed.is_none() {
            self.connection.thrift.went(self.buffer.len(), begun.elapsed());
        }
        self.buffer.clear();
        self.frames += 1;
        self.room = if self.frames < 2 { TRIAL } else { FRAME };
        Ok(())
    }

    /// Sends what is left, and that this was all.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn end(mut self) -> io::Result<u64> {
        self.push()?;
        self.connection.write(b".\n")?;
        self.whole = true;
        Ok(self.sent)
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        if !self.whole && !self.connection.abandoned {
            // Should the far end be gone, it has noticed already.
            self.connection.write(b"stop\n").unwrap_or_default();
        }
    }
}

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == self.room {
            self.push()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
