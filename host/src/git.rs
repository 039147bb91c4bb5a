//! Asks git about the repository around a folder.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// What git prints, where `dir` is in a repository and git succeeds: without one, starting git would be time for nothing.
pub fn ask(dir: &Path, args: &[&str]) -> Option<String> {
    dir.ancestors().find(|folder| folder.join(".git").exists())?;
    let said = Command::new("git")
        .arg("-C")
        .arg(dir)
        // A look runs no program that a repository's configuration names.
        .args(["-c", "core.fsmonitor=false"])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .ok()?;
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
}
