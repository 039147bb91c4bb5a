//! A real terminal of a chosen size, in which the program runs and whose screen can be read: tmux, on a socket of its own.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use super::support::{Project, skipped, wait_for};

/// A terminal with one program in it.
pub struct Terminal {
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Terminal {
    /// Runs the program in a terminal of so many columns, with these variables beside those of
    /// [`Project::command`]; nothing where there is no tmux.
    pub fn start(
        project: &Project,
        columns: u16,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Option<Self> {
        if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
            skipped("no tmux");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let terminal = Self { socket: folder.path().join("tmux"), _folder: folder };
        let program = project.command(arguments);
        let mut tmux = terminal.tmux();
        tmux.args([
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "0",
            "-x",
            &columns.to_string(),
            "-y",
            "50",
        ]);
        tmux.arg("-c").arg(project.path());
        let mut line = String::from("env -u CI -u CLAUDE_PLUGIN_DATA -u NO_COLOR");
        for (name, value) in program.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            line.push_str(&format!(" '{}={}'", name.display(), value.display()));
        }
        for (name, value) in variables {
            line.push_str(&format!(" '{name}={value}'"));
        }
        let words = std::iter::once(program.get_program()).chain(program.get_args());
        words.for_each(|word| line.push_str(&format!(" '{}'", word.display())));
        // The program's end must not be the screen's; tmux itself doesn't always hear how it ended, nor has it always read
        // by then what the program wrote before.
        tmux.args(["--", "sh", "-c", "read -r line; eval \"$line\"; echo \"[ended with $?]\"; read -r line"]);
        assert!(tmux.status().unwrap().success(), "tmux doesn't start");
        terminal.enter(&line);
        Some(terminal)
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(&self.socket).env_remove("TMUX").env("TERM", "xterm-256color");
        tmux
    }

    fn ask(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.tmux().args(arguments).output().unwrap().stdout).unwrap()
    }

    /// Types a line.
    pub fn enter(&self, line: &str) {
        assert!(self.tmux().args(["send-keys", "-l", "--", line]).status().unwrap().success());
        assert!(self.tmux().args(["send-keys", "Enter"]).status().unwrap().success());
    }

    /// What the screen shows, row by row, after the line that started the program.
    pub fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// What the screen shows, with the codes of its colours.
    pub fn coloured(&self) -> String {
        self.ask(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen shows this, and gives it.
    pub fn wait_for(&self, text: &str) -> String {
        wait_for(text, || Some(self.screen()).filter(|screen| screen.contains(text)))
    }

    /// Waits until the screen shows the program's end below all that it said, and gives its exit code.
    pub fn exit_code(&self) -> i32 {
        wait_for("the end of the program", || {
            self.screen().rsplit_once("[ended with ")?.1.split_once(']')?.0.parse().ok()
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The program may have ended, and tmux with it.
        self.tmux().arg("kill-server").stderr(Stdio::null()).status().unwrap();
    }
}
