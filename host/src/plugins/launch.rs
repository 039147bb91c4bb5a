//! Starting a worker process: its pipes, its environment, what it inherits.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};
use pop_deploy_plugin_api::{
    Error,
    protocol::{Event, Stream, TargetContext},
};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::Value;

use super::{
    confine::Limits,
    strays::Mark,
    wire::{ANSWERS, ASIDES, FIRST_KEPT, JOBS},
};

/// The hidden first argument that makes the executable a worker.
pub const ARGUMENT: &str = "__worker";

/// What every worker sees of the environment; the manifest may ask for more. A trailing `*` stands for any ending.
pub const ENVIRONMENT: &[&str] =
    &["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_*", "TZ", "TMPDIR", "SHELL", "XDG_*", "RUST_BACKTRACE"];

/// What a worker's host does for it. Called from threads of the worker's own.
pub trait Services: Send + Sync {
    /// Takes what the plugin reports. While it runs, the worker's events and answers wait.
    fn event(&self, event: Event);
    /// Takes a line that the plugin printed, or a piece of a very long one.
    fn output(&self, stream: Stream, line: &str);
    /// Answers what the plugin asks for; a name that isn't known is [`Error::unimplemented`].
    ///
    /// # Errors
    /// Whatever the plugin is to be told.
    fn request(&self, method: &str, input: Value) -> Result<Value, Error>;
}

/// How a worker is started and ended.
#[derive(Debug)]
pub struct Options {
    /// The executable that serves plugins when its first argument is `__worker`: this one.
    pub executable: PathBuf,
    /// Files that the worker keeps open until it is gone: the locks of the run.
    pub keep_open: Vec<OwnedFd>,
    /// What the worker may use.
    pub limits: Limits,
    /// How long loading, describing and opening may take, each.
    pub start_deadline: Duration,
    /// How long a call may go on after it was asked to stop, and how long closing the session may take.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            executable: this_executable(),
            keep_open: Vec::new(),
            limits: Limits::default(),
            start_deadline: Duration::from_secs(10),
            grace: Duration::from_secs(5),
        }
    }
}

/// The running executable, even when another file has taken its name meanwhile.
pub fn this_executable() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return running.to_owned();
    }
    env::current_exe().unwrap_or_else(|_| "pop-deploy".into())
}

/// A worker process and the host's ends of its pipes.
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) mark: Mark,
    pub(super) jobs: File,
    pub(super) asides: File,
    pub(super) answers: File,
}

/// Starts a worker in the project folder that sees the base environment and what `wishes` name.
pub(super) fn launch(options: &Options, context: &TargetContext, wishes: &[String]) -> io::Result<Launched> {
    let (to_do, jobs) = pipe_with(PipeFlags::CLOEXEC)?;
    let (to_hear, asides) = pipe_with(PipeFlags::CLOEXEC)?;
    let (answers, to_say) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut mappings = vec![
        FdMapping { parent_fd: to_do, child_fd: JOBS },
        FdMapping { parent_fd: to_hear, child_fd: ASIDES },
        FdMapping { parent_fd: to_say, child_fd: ANSWERS },
    ];
    for (child_fd, kept) in (FIRST_KEPT..).zip(&options.keep_open) {
        mappings.push(FdMapping { parent_fd: kept.try_clone()?, child_fd });
    }
    let mark = Mark::new();
    // Where nothing else may be written, temporary files belong there too.
    let temporary = context.read_only.then_some(("TMPDIR", &context.scratch));
    let child = Command::new(&options.executable)
        .arg0("pop-deploy")
        .arg(ARGUMENT)
        .current_dir(&context.project)
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| is_wanted(name, wishes)))
        .envs(temporary)
        .envs([mark.variable()])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .fd_mappings(mappings)
        .map_err(io::Error::other)?
        .spawn()?;
    Ok(Launched { child, mark, jobs: jobs.into(), asides: asides.into(), answers: answers.into() })
}

fn is_wanted(name: &OsString, wishes: &[String]) -> bool {
    let name = name.as_encoded_bytes();
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        // Everything is no wish.
        Some(start) => !start.is_empty() && name.starts_with(start.as_bytes()),
        None => OsStr::new(pattern).as_encoded_bytes() == name,
    };
    ENVIRONMENT.iter().copied().any(matches) || wishes.iter().map(String::as_str).any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_the_base_set_and_what_the_manifest_names() {
        let wishes = ["DOCKER_*".to_owned(), "SSH_AUTH_SOCK".to_owned()];
        let wanted = |name: &str| is_wanted(&name.into(), &wishes);
        for name in ["PATH", "LC_ALL", "XDG_RUNTIME_DIR", "DOCKER_HOST", "SSH_AUTH_SOCK"] {
            assert!(wanted(name), "{name}");
        }
        for name in ["AWS_SECRET_ACCESS_KEY", "PATHS", "LD_PRELOAD", "SSH_AUTH_SOCKET", "docker_host"] {
            assert!(!wanted(name), "{name}");
        }
    }
}
