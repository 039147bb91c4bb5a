//! Ends the user's hooks should this process be killed: a second process that waits for its end.
//!
//! Workers notice by themselves that the host is gone, and end what they started. Hooks are the host's own children,
//! in process groups of their own, and SIGKILL leaves it no time for them. So the host tells the keeper of each group,
//! over a pipe that only the host holds: when that closes, the keeper ends the groups that are left, and itself.
//!
//! A hook begins as `__hook`, which waits for the first byte of its input before it becomes the user's command: the
//! host sends it once the keeper knows the group, so that no moment is left in which a hook could get away.

use std::{
    collections::HashSet,
    ffi::OsString,
    io::{self, BufRead as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{ChildStdin, Command, ExitCode, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::plugins::this_executable;

/// The hidden first argument that makes the executable a keeper.
pub const ARGUMENT: &str = "__keeper";
/// The one that makes it a hook that waits.
pub const HOOK_ARGUMENT: &str = "__hook";
/// What a shell answers for a program that isn't there.
const CANNOT_START: u8 = 127;

/// The host's end.
pub struct Keeper(ChildStdin);

impl Keeper {
    /// Starts the process: in a group of its own, so that Ctrl-C doesn't reach it, with nothing of ours open.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start() -> io::Result<Self> {
        let mut child = Command::new(this_executable())
            .arg0("pop-deploy")
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        child.stdin.take().map(Self).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Has it end this group with us.
    pub fn watch(&mut self, group: u32) {
        self.tell('+', group);
    }

    /// That group is gone.
    pub fn forget(&mut self, group: u32) {
        self.tell('-', group);
    }

    fn tell(&mut self, sign: char, group: u32) {
        // Without a keeper a hook may outlive a killed run; that isn't worth failing a deployment.
        writeln!(self.0, "{sign}{group}").unwrap_or_default();
    }
}

/// What starts a hook: this executable, as a hook that waits.
pub fn hook_starter() -> [OsString; 2] {
    [this_executable().into(), HOOK_ARGUMENT.into()]
}

/// What a hook's input is to begin with.
pub const GO: char = '\n';

/// A hook that waits for [`GO`], then becomes the command in the remaining arguments.
pub fn begin_hook() -> ExitCode {
    // Unbuffered: the rest of the input is the command's. Its end without a word means that the host is gone.
    if !matches!(rustix::io::read(rustix::stdio::stdin(), &mut [0; GO.len_utf8()]), Ok(1)) {
        return ExitCode::FAILURE;
    }
    let mut words = std::env::args_os().skip(2);
    let program = words.next().unwrap_or_default();
    let error = Command::new(&program).args(words).exec();
    writeln!(io::stderr(), "can't start `{}`: {error}", program.display()).unwrap_or_default();
    ExitCode::from(CANNOT_START)
}

/// The keeper process, until the host is gone.
pub fn serve() -> ExitCode {
    let mut groups = HashSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let group = line.get(1..).and_then(|group| group.parse().ok()).and_then(Pid::from_raw);
        match group {
            Some(group) if line.starts_with('+') => drop(groups.insert(group)),
            Some(group) => drop(groups.remove(&group)),
            None => {}
        }
    }
    for group in groups {
        // Gone already is what is wanted.
        kill_process_group(group, Signal::KILL).unwrap_or_default();
    }
    ExitCode::SUCCESS
}
