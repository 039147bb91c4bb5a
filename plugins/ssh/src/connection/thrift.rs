//! Whether bytes are compressed on their way: only where the wire is slower than the compressor.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};

/// Wires that take so many bytes a second together are as fast as one machine that compresses for all of them, beside all
/// that it encrypts. What looks a little slower than its compressor may be waiting for its processor.
const FAST: f64 = 32e6;
/// For so many frames it isn't tried again when it wasn't worth it.
const REST: u32 = 8;

/// What is known of the wire to one host.
#[derive(Debug, Default)]
pub(crate) struct Thrift {
    /// How many wires there are at the same time, where the far ends can unpack; 0 where this one can't.
    wires: usize,
    /// How many bytes a second it took last.
    speed: Option<f64>,
    rest: u32,
}

impl Thrift {
    /// The far end has gzip; so many are sent to at the same time.
    pub(crate) fn allow(&mut self, wires: usize) {
        self.wires = wires;
    }

    /// A frame went as it was, and took so long. The first one tells nothing: it fills buffers.
    pub(super) fn went(&mut self, bytes: usize, took: Duration) {
        self.speed = match self.speed {
            None => Some(f64::INFINITY),
            // More than there is to count.
            Some(_) => Some(bytes as f64 / took.as_secs_f64().max(1e-9)),
        };
    }

    /// The frame compressed, where that gets it there sooner.
    ///
    /// # Errors
    /// None: memory takes everything.
    pub(super) fn pack(&mut self, frame: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let is_slow = |speed: &f64| self.wires > 0 && speed * (self.wires as f64) < FAST;
        let Some(speed) = self.speed.filter(is_slow) else { return Ok(None) };
        if self.rest > 0 {
            self.rest -= 1;
            return Ok(None);
        }
        let begun = Instant::now();
        let mut encoder = GzEncoder::new(Vec::with_capacity(frame.len() / 2), Compression::fast());
        encoder.write_all(frame)?;
        let packed = encoder.finish()?;
        let saved = frame.len().saturating_sub(packed.len()) as f64 / speed;
        if begun.elapsed().as_secs_f64() < saved {
            return Ok(Some(packed));
        }
        self.rest = REST;
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn thrift(speed: usize, wires: usize) -> Thrift {
        let mut thrift = Thrift::default();
        thrift.allow(wires);
        thrift.went(speed, SECOND);
        thrift.went(speed, SECOND);
        thrift
    }

    #[test]
    fn a_slow_wire_gets_less_and_a_fast_one_what_there_is() {
        let text = "the same again and again, ".repeat(4_000).into_bytes();
        let packed = thrift(1_000, 16).pack(&text).unwrap().unwrap();
        assert!(packed.len() * 10 < text.len());
        assert_eq!(thrift(1_000_000_000, 1).pack(&text).unwrap(), None);
        assert_eq!(thrift(10_000_000, 16).pack(&text).unwrap(), None, "sixteen share a processor");
    }

    #[test]
    fn what_gains_nothing_goes_as_it_is_and_is_not_tried_each_time() {
        let noise: Vec<u8> = (0..1000_u32).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
        let mut thrift = thrift(1_000, 1);
        for _ in 0..=REST {
            assert_eq!(thrift.pack(&noise).unwrap(), None);
        }
        assert_eq!(thrift.rest, 0);
    }

    #[test]
    fn nothing_is_compressed_before_the_wire_is_known_or_without_gzip_over_there() {
        let text = vec![b'a'; 100_000];
        let mut first = Thrift::default();
        first.allow(1);
        first.went(100_000, 100 * SECOND);
        assert_eq!(first.pack(&text).unwrap(), None, "one frame tells nothing");
        let mut lacking = Thrift::default();
        lacking.went(1, SECOND);
        lacking.went(1, SECOND);
        assert_eq!(lacking.pack(&text).unwrap(), None);
    }
}
