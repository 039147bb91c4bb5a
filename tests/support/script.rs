//! Programs that tests write and have somebody run.

use std::{path::Path, process::Command};

/// Writes a program. A process of its own does it: this one may be starting others, which hold what it writes open for a
/// moment, and what is open for writing can't be executed.
pub(crate) fn script(path: &Path, text: &str) {
    let write = r#"printf %s "$2" >"$1" && chmod 755 "$1""#;
    let written = Command::new("sh").args(["-c", write, "sh"]).arg(path).arg(text).output();
    assert!(written.as_ref().is_ok_and(|output| output.status.success()), "{}: {written:?}", path.display());
}
