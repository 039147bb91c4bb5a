//! Runs the commands of a step: streamed, bounded in time, stoppable, redacted.
//!
//! Each program leads a process group of its own, so that a time-out or a cancel ends its children too. The group is
//! reported to the host, which ends it should this process die.

use std::{
    ffi::{OsStr, OsString},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    Error, ErrorKind, Output, Result, Session,
    context::TICK,
    output::LONGEST_LINE,
    protocol::{Command, Event, Stream},
    redact::RedactStream,
};

/// How much of the output stays in [`Finished`].
const TAIL: usize = 16 * 1024;
/// How long a program has between being asked to stop and being killed.
const GRACE: Duration = Duration::from_secs(5);
/// How much of a quiet program's output is kept.
const MOST_ANSWERED: u64 = 8 << 20;
/// How long the last lines of a program that has ended may take to come: the threads that read them may have to wait for
/// their turn, and they are what says why it failed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often it looks for the end of a program that has closed its output: that is about to come.
const BLINK: Duration = Duration::from_millis(1);

/// Checks an argv of a config, that stands at `key` there; for a target's `open`.
///
/// # Errors
/// It names no program, or an option in its place: a config error, with `hint` as what to try.
pub fn check_program(key: &str, argv: &[String], hint: &str) -> Result<()> {
    let wrong = match argv.first() {
        // What starts it for us would take that for an option of its own.
        Some(program) if program.starts_with('-') => {
            format!("`{}` is an option, not a program", program.escape_debug())
        }
        Some(program) if !program.is_empty() => return Ok(()),
        _ => "no program is named".to_owned(),
    };
    Err(Error::config(format!("`{key}`: {wrong}")).hint(hint))
}

/// A program to run: a [`Command`] of the step, with what must not stand in a plan.
#[derive(Debug, Clone)]
pub struct Process {
    command: Command,
    stdin: Option<Vec<u8>>,
    timeout: Option<Duration>,
    starter: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    quiet: bool,
}

/// A program that ran to its end, whatever its exit code.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// The end of its standard output, at most 16 KiB; more of a [quiet](Process::quiet) one.
    pub stdout: String,
    /// The end of its standard error, at most 16 KiB.
    pub stderr: String,
    /// How long it ran.
    pub duration: Duration,
    program: String,
}

impl Finished {
    /// Turns an exit code other than 0 into an error that quotes the last lines of standard error.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`] then.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended strangely".to_owned(),
        };
        let mut error = Error::failed(format!("`{}` {how}", self.program));
        let words = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<_> = words.trim_end().lines().collect();
        error.causes =
            lines[lines.len().saturating_sub(10)..].iter().map(|line| (*line).to_owned()).collect();
        Err(error)
    }
}

impl Process {
    /// A run of `command`.
    pub fn new(command: &Command) -> Self {
        Self {
            command: command.clone(),
            stdin: None,
            timeout: None,
            starter: Vec::new(),
            variables: Vec::new(),
            quiet: false,
        }
    }

    /// Hands `bytes` to the program's standard input: the way for secrets.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Sets a variable of the program to what must not stand in a plan: a temporary place; a secret, for programs that
    /// take one neither from standard input nor from a file.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// For a program that only looks: its output is an answer, kept whole up to 8 MiB, and no news to report.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Has another program start this one: it gets the command's words after its own. Messages still name this one.
    #[must_use]
    pub fn started_by(mut self, starter: impl IntoIterator<Item = OsString>) -> Self {
        self.starter = starter.into_iter().collect();
        self
    }

    /// Ends the program, and its children, after `limit`.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Runs the program to its end, reporting its output line by line.
    ///
    /// # Errors
    /// The program isn't there or can't start; [`ErrorKind::Timeout`]; [`ErrorKind::Cancelled`]. An exit code other
    /// than 0 is no error here: see [`Finished::success`].
    pub fn run(self, session: &Session) -> Result<Finished> {
        if let Some(hole) = self.command.holes.first() {
            return Err(Error::failed(format!("nothing was filled in for <{hole}> in `{}`", self.command)));
        }
        let begun = Instant::now();
        let mut child = self.spawn(session)?;
        let pid = child.id();
        session.emit(&Event::CommandStarted { command: self.command.clone(), pid: Some(pid) });
        let result = self.attend(session, &mut child, begun);
        let exit_code = match &result {
            Ok(finished) => finished.status.code(),
            Err(_) => None,
        };
        session.emit(&Event::CommandFinished {
            pid: Some(pid),
            exit_code,
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        result
    }

    fn program(&self) -> &str {
        self.command.argv.first().map_or("", String::as_str)
    }

    fn spawn(&self, session: &Session) -> Result<Child> {
        let cwd = self.command.cwd.as_deref().unwrap_or(&session.project);
        let mut words =
            self.starter.iter().map(OsString::as_os_str).chain(self.command.argv.iter().map(OsStr::new));
        std::process::Command::new(words.next().unwrap_or_default())
            .args(words)
            .envs(&self.command.env)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(cwd)
            .process_group(0)
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.cannot_start(&error, cwd))
    }

    fn cannot_start(&self, error: &io::Error, cwd: &Path) -> Error {
        let failed = Error::failed(format!("can't start `{}`", self.program())).because(error);
        if !cwd.is_dir() {
            return failed.hint(format!("make the folder `{}`, which it is to run in", cwd.display()));
        }
        match error.kind() {
            io::ErrorKind::NotFound => failed.hint("install it, or give its whole path"),
            io::ErrorKind::PermissionDenied => failed.hint("check that the file may be executed"),
            _ => failed,
        }
    }

    fn attend(&self, session: &Session, child: &mut Child, begun: Instant) -> Result<Finished> {
        let group = ProcessGroup(child.id());
        thread::scope(|scope| {
            if let (Some(bytes), Some(mut stdin)) = (&self.stdin, child.stdin.take()) {
                // A program that doesn't read its input closes the pipe: its exit code tells whether that is an error.
                scope.spawn(move || stdin.write_all(bytes).unwrap_or_default());
            }
            // Bounded: a program that floods waits for us, not the other way round.
            let (send, receive) = mpsc::sync_channel(1024);
            for (stream, pipe) in [
                (Stream::Stdout, child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>)),
                (Stream::Stderr, child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>)),
            ] {
                let (Some(pipe), send) = (pipe, send.clone()) else { continue };
                let redact = session.redactor().stream();
                // Detached on purpose: a grandchild that keeps the pipe open must not keep the step waiting.
                match self.quiet {
                    true => thread::spawn(move || collect(pipe, stream, &send)),
                    false => thread::spawn(move || forward(pipe, redact, stream, &send)),
                };
            }
            drop(send);
            let mut tails = [String::new(), String::new()];
            let mut output = Output::default();
            let mut take = |(stream, text): (Stream, String)| {
                let tail = &mut tails[usize::from(stream == Stream::Stderr)];
                if self.quiet {
                    *tail = text;
                    return;
                }
                keep_tail(tail, &text);
                output.report(session, stream, &text);
            };
            let mut ending: Option<Ending> = None;
            let status = loop {
                match receive.recv_timeout(TICK) {
                    Ok(line) => take(line),
                    Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(BLINK),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                }
                if let Some(status) = child.try_wait().at("wait for", Path::new(self.program()))? {
                    break status;
                }
                match &ending {
                    None if session.cancelled() => ending = Some(Ending::begin(ErrorKind::Cancelled, &group)),
                    None if self.timeout.is_some_and(|limit| begun.elapsed() > limit) => {
                        ending = Some(Ending::begin(ErrorKind::Timeout, &group));
                    }
                    Some(ending) if ending.since.elapsed() > GRACE => group.signal(Signal::KILL),
                    _ => {}
                }
            };
            // What the program wrote before its end is in the pipes already; a grandchild may hold them open.
            // An answer comes in one piece, and only then is it one.
            let until = Instant::now() + if self.quiet { GRACE } else { LAST_WORDS };
            while let left = until.saturating_duration_since(Instant::now())
                && !left.is_zero()
                && let Ok(line) = receive.recv_timeout(left)
            {
                take(line);
            }
            if let Some(ending) = ending {
                group.signal(Signal::KILL);
                return Err(self.ended(ending.kind));
            }
            let [stdout, stderr] = tails;
            Ok(Finished {
                status,
                stdout,
                stderr,
                duration: begun.elapsed(),
                program: self.program().to_owned(),
            })
        })
    }

    fn ended(&self, kind: ErrorKind) -> Error {
        let program = self.program();
        match (kind, self.timeout) {
            (ErrorKind::Timeout, Some(limit)) => Error::new(
                kind,
                format!("`{program}` took longer than {} s and was ended", limit.as_secs_f64()),
            )
            .hint("give it more time, or find out what it waits for"),
            _ => Error::new(kind, format!("`{program}` was ended because the run was cancelled")),
        }
    }
}

use crate::IoContext as _;

struct ProcessGroup(u32);

impl ProcessGroup {
    /// Sends a signal to every process of the group; one that is gone already is what was wanted.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.0).ok().and_then(Pid::from_raw) {
            kill_process_group(pid, signal).unwrap_or_default();
        }
    }
}

struct Ending {
    kind: ErrorKind,
    since: Instant,
}

impl Ending {
    fn begin(kind: ErrorKind, group: &ProcessGroup) -> Self {
        group.signal(Signal::TERM);
        Self { kind, since: Instant::now() }
    }
}

fn forward(
    pipe: impl Read,
    mut redact: RedactStream,
    stream: Stream,
    send: &mpsc::SyncSender<(Stream, String)>,
) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A read error on a pipe is its end.
        let read = (&mut reader).take(LONGEST_LINE as u64).read_until(b'\n', &mut line).unwrap_or(0);
        let whole_line = read == 0 || line.ends_with(b"\n");
        let mut text = redact.push(&String::from_utf8_lossy(&line));
        if whole_line {
            text.push_str(&redact.finish());
        }
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        if (read > 0 || !text.is_empty()) && send.send((stream, text)).is_err() {
            return;
        }
        if read == 0 {
            return;
        }
    }
}

/// Hands the whole output on, once it is complete.
fn collect(pipe: impl Read, stream: Stream, send: &mpsc::SyncSender<(Stream, String)>) {
    let mut whole = Vec::new();
    // A read error on a pipe is its end; a receiver that is gone doesn't wait for an answer.
    pipe.take(MOST_ANSWERED).read_to_end(&mut whole).unwrap_or_default();
    send.send((stream, String::from_utf8_lossy(&whole).into_owned())).unwrap_or_default();
}

fn keep_tail(tail: &mut String, text: &str) {
    tail.push_str(text);
    tail.push('\n');
    if tail.len() > TAIL {
        let mut cut = tail.len() - TAIL;
        while !tail.is_char_boundary(cut) {
            cut += 1;
        }
        tail.drain(..cut);
    }
}
