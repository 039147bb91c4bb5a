//! Runs of programs, measured.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Runs `command` to its end; its output, and how long it took.
pub(crate) fn timed(command: &mut Command) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let time = begun.elapsed();
    let words = String::from_utf8_lossy(&output.stderr);
    let words: Vec<_> = words.lines().take(5).collect();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, words.join("\n"));
    (output.stdout, time)
}

/// Our program, in surroundings of its own.
pub(crate) fn pop_deploy(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pop-deploy"));
    command
        .env("HOME", home)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_DATA_HOME")
        .env_remove("CLAUDE_PLUGIN_DATA")
        .env_remove("POP_DEPLOY_PLUGIN_PATH");
    command
}

/// The median of so many rounds.
pub(crate) fn median(rounds: u64, measure: impl FnMut(u64) -> Duration) -> Duration {
    middle((0..rounds).map(measure).collect())
}

/// The one in the middle.
pub(crate) fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
