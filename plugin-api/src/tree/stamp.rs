//! What tells, without reading it, whether a file is still the one that was read.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

/// Kernels stamp files with a coarse clock (one tick, 1 to 10 ms): a file written twice within a tick keeps its
/// stamp. File systems without nanoseconds count in steps of up to 2 s.
const TICK: i64 = 50_000_000;
const COARSE_TICK: i64 = 2_000_000_000;

/// Inode and times of a file; its size stands beside it. Every write moves the ctime, which nobody can set back.
///
/// The device isn't part of it: its number changes between mounts, and two files that agree in all of this on
/// different devices don't happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, i64, i64)", into = "(u64, i64, i64)")]
pub struct Stamp {
    /// The inode.
    pub ino: u64,
    /// When its content was last written, as it says itself; in nanoseconds since 1970.
    pub mtime: i64,
    /// When anything of it was last changed; likewise.
    pub ctime: i64,
}

impl From<(u64, i64, i64)> for Stamp {
    fn from((ino, mtime, ctime): (u64, i64, i64)) -> Self {
        Self { ino, mtime, ctime }
    }
}

impl From<Stamp> for (u64, i64, i64) {
    fn from(stamp: Stamp) -> Self {
        (stamp.ino, stamp.mtime, stamp.ctime)
    }
}

impl Stamp {
    /// The stamp of a file that was looked at.
    pub fn of(stat: &Stat) -> Self {
        let nanos =
            |seconds: i64, nanos: u64| seconds.saturating_mul(1_000_000_000).saturating_add_unsigned(nanos);
        Self {
            ino: stat.st_ino,
            mtime: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether a write after `then` is sure to show in the stamp: git's racy problem, answered by waiting.
    pub fn settled(self, then: i64) -> bool {
        let tick = if self.ctime % 1_000_000_000 == 0 { COARSE_TICK } else { TICK };
        self.ctime.saturating_add(tick) < then
    }
}

/// The time since 1970, in nanoseconds.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
