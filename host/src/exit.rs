//! Exit codes, for people and CI. The popkit dialect keeps to 0, 1 and 2.

use std::process::ExitCode;

/// Every way for the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or nothing to do.
    Done,
    /// 1: failed, nothing live changed.
    Failed,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: preflight failed.
    NotReady,
    /// 4: a rollback failed, or the state is unknown.
    Stuck,
    /// 5: locked by another run.
    Locked,
    /// 6: nothing to roll back to.
    NoRelease,
    /// 7: an interrupted run was found.
    InterruptedRun,
    /// 8: the switch had begun, and was rolled back.
    RolledBack,
    /// 9: some targets have it, others don't.
    Partial,
    /// 10: a dry run with `--detailed-exitcode` found changes.
    Pending,
    /// 128 + n: signal n ended the run.
    Signal(i32),
}

impl Exit {
    /// What each number means, for the manual. The same table stands in README.
    pub const TABLE: [(&'static str, &'static str); 12] = [
        ("0", "Done, or nothing to do."),
        ("1", "Failed; nothing live was changed."),
        ("2", "Wrong usage or configuration."),
        ("3", "Preflight failed; nothing was changed."),
        ("4", "A rollback failed, or the state is unknown: a person is needed."),
        ("5", "Locked by another run."),
        ("6", "Nothing to roll back to."),
        ("7", "An interrupted run was found."),
        ("8", "The switch had begun, and was rolled back."),
        ("9", "Some targets have the new release, others don't."),
        ("10", "A dry run with --detailed-exitcode found changes."),
        ("130, 143, ...", "Ended by a signal (128 + its number)."),
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotReady => 3,
            Self::Stuck => 4,
            Self::Locked => 5,
            Self::NoRelease => 6,
            Self::InterruptedRun => 7,
            Self::RolledBack => 8,
            Self::Partial => 9,
            Self::Pending => 10,
            Self::Signal(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
