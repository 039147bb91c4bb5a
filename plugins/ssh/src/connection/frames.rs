//! The bytes that a request takes, on their way.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::PoisonError,
    time::Instant,
};

use super::{Connection, TICK};

/// A body under way: what is written goes in frames of some size, and only [`Frames::end`] says that it is whole. Dropped
/// before that, it tells the far end that no more will come, which would otherwise take the next request for a frame.
pub(crate) struct Frames<'c> {
    connection: &'c mut Connection,
    buffer: Vec<u8>,
    /// How much goes into a frame.
    room: usize,
    /// The sizes of the frames that weren't taken yet.
    under_way: VecDeque<usize>,
    whole: bool,
    /// How many bytes went, as they crossed the wire.
    pub(crate) sent: u64,
}

/// So much may be under way that wasn't taken yet. What waits over there fills the buffers of `sshd`, which takes more of
/// its processor to have them grow than all else does.
const WINDOW: usize = 512 << 10;
/// On a long way it may be as much as a wire of so many bytes a second holds.
const PACE: f64 = 64e6;
/// Each frame costs the far end a process, so there are about so many of them, of these sizes.
const FRAMES: u64 = 32;
const SMALLEST: usize = 256 << 10;
const LARGEST: usize = 2 << 20;
/// So much is written between two looks at the cancel flag: on a slow wire a frame takes long.
const PIECE: usize = 64 << 10;

impl<'c> Frames<'c> {
    /// A body of about so many bytes for the request that was sent last.
    pub(crate) fn new(connection: &'c mut Connection, bytes: u64) -> Self {
        let wished = usize::try_from(bytes / FRAMES).unwrap_or(LARGEST);
        let room = wished.clamp(SMALLEST, LARGEST);
        let buffer = Vec::with_capacity(room);
        Self { connection, buffer, room, under_way: VecDeque::new(), whole: false, sent: 0 }
    }

    /// Whether nobody over there takes any of it: what is written then goes nowhere.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.connection.has_failed()
    }

    fn push(&mut self) -> io::Result<()> {
        if self.connection.should_stop() {
            return Err(stopped());
        }
        if self.is_in_vain() {
            self.buffer.clear();
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let waiting = Instant::now();
        self.await_room()?;
        let waited = waiting.elapsed();
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
            self.connection.thrift.went(self.buffer.len(), waited + begun.elapsed());
        }
        self.under_way.push_back(bytes.len());
        self.buffer.clear();
        Ok(())
    }

    /// Waits until enough was taken over there for another frame; not for one that has no use for it.
    fn await_room(&mut self) -> io::Result<()> {
        let way = self.connection.quickest.unwrap_or_default().as_secs_f64();
        let window = WINDOW.max((way * PACE) as usize);
        while !self.under_way.is_empty() && self.under_way.iter().sum::<usize>() + self.buffer.len() > window
        {
            if self.is_in_vain() {
                return Ok(());
            }
            match self.connection.taken.recv_timeout(TICK) {
                Ok(request) if request == self.connection.next => drop(self.under_way.pop_front()),
                // Of a body before.
                Ok(_) => {}
                Err(_) if self.connection.should_stop() => return Err(stopped()),
                Err(_) => {}
            }
        }
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

/// Not `Interrupted`, which writers take for "try again".
fn stopped() -> io::Error {
    io::Error::other("stopped")
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
