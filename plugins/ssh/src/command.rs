//! Commands of the user's on a host: shown as they were planned, heard line by line, ended with all that they started.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, ErrorKind, Output, Result, Session,
    protocol::{Command, Event, Stream},
};

use crate::{
    address::Host,
    connection::{Connection, Sent, keep},
};

/// How long a command has between a signal and a stronger one.
const BETWEEN_SIGNALS: Duration = Duration::from_secs(3);
/// So many of its last lines are kept: they say why it failed.
const TAIL: usize = 10;
/// And so many bytes of each.
const LONGEST_REASON: usize = 1000;

/// How a command is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is one of the step's own.
    AsPlanned,
    /// It takes something back, which no plan has: a line of output.
    AsOutput,
}

impl Told {
    /// Says that a command begins.
    pub(crate) fn begin(self, command: Command, session: &Session) {
        session.emit(&match self {
            Self::AsPlanned => Event::CommandStarted { command, pid: None },
            Self::AsOutput => Event::Output { stream: Stream::Stdout, text: format!("$ {command}") },
        });
    }

    /// Says that it ended.
    pub(crate) fn end(self, exit_code: Option<i32>, took: Duration, session: &Session) {
        if self == Self::AsPlanned {
            let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            session.emit(&Event::CommandFinished { pid: None, exit_code, duration_ms });
        }
    }
}

/// A command on its way.
pub(crate) struct Running<'a> {
    host: &'a Host,
    argv: &'a [String],
    command: Command,
    sent: Sent,
    since: Instant,
    told: Told,
}

/// Sends a command off; in a chain, only if all before it went well.
///
/// # Errors
/// The connection is lost.
pub(crate) fn start<'a>(
    host: &'a Host,
    folder: &str,
    argv: &'a [String],
    connection: &mut Connection,
) -> Result<Running<'a>> {
    let command = host.shown_in(folder, argv);
    let sent = connection.run(folder, argv)?;
    Ok(Running { host, argv, command, sent, since: Instant::now(), told: Told::AsPlanned })
}

impl Running<'_> {
    /// Reports it otherwise than as a command of the step.
    pub(crate) fn told(self, told: Told) -> Self {
        Self { told, ..self }
    }

    /// Waits for its end; its output goes to the session. The exit code, those above 128 being signals', and the last lines.
    ///
    /// # Errors
    /// The connection is lost, the run cancelled, or the limit over: the command was ended then.
    pub(crate) fn end(
        self,
        limit: Option<Duration>,
        connection: &mut Connection,
        session: &Session,
    ) -> Result<(i32, VecDeque<String>)> {
        self.told.begin(self.command, session);
        let host = self.host;
        let (mut output, mut tail) = (Output::default(), VecDeque::new());
        let mut hear = |line: &str| {
            output.report(session, Stream::Stdout, &format!("{host}: {line}"));
            keep(&mut tail, TAIL, &line[..line.floor_char_boundary(LONGEST_REASON)]);
        };
        let status = match connection.wait_hearing(self.sent, limit, &mut hear) {
            Err(error) if error.kind == ErrorKind::Timeout => {
                stop(self.sent, connection)?;
                let limit = limit.unwrap_or_default().as_secs_f64();
                Err(Error::new(error.kind, format!("it took longer than {limit} s and was ended")))
            }
            status => status,
        };
        self.told.end(status.as_ref().ok().copied(), self.since.elapsed(), session);
        status.map(|status| (status, tail))
    }

    /// Waits for its end, which must be a good one.
    ///
    /// # Errors
    /// As [`end`](Self::end), or its exit code isn't 0.
    pub(crate) fn succeed(self, connection: &mut Connection, session: &Session) -> Result<()> {
        let (host, program) = (self.host, self.argv[0].clone());
        let (status, lines) = self.end(None, connection, session)?;
        match status {
            0 => Ok(()),
            _ => Err(failed(host, &program, status, lines)),
        }
    }
}

/// Ends a command with all that it started.
fn stop(sent: Sent, connection: &mut Connection) -> Result<()> {
    for signal in ["TERM", "KILL"] {
        connection.signal(signal)?;
        match connection.wait_hearing(sent, Some(BETWEEN_SIGNALS), &mut |_| {}) {
            Err(error) if error.kind == ErrorKind::Timeout => {}
            ended => return ended.map(drop),
        }
    }
    connection.abandon();
    Ok(())
}

/// The failure of a command, with the last it said.
fn failed(host: &Host, program: &str, status: i32, lines: VecDeque<String>) -> Error {
    let how = match status {
        129..=192 => format!("was ended by signal {}", status - 128),
        _ => format!("ended with exit code {status}"),
    };
    let mut error = Error::failed(format!("`{program}` on `{host}` {how}"));
    error.causes = lines.into();
    match status {
        127 => error.hint("install it there, or give its whole path: without a login the PATH is short"),
        126 => error.hint("look whether the file there may be executed"),
        _ => error,
    }
}
