//! Who listens to a run: people at a terminal or a log of CI, programs, the log file. Siblings that never call back.

pub mod human;
pub mod json;
pub mod log;
mod lost;
mod words;

pub use lost::{is_closed, unwritable};
pub use words::{BAD, CAREFUL, GOOD, check_sign, effect_sign, error_lines, named, printable, seconds};
