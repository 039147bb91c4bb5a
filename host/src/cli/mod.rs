//! The command line: reads what the user wants, calls the library, and is, beside the reporters, the only place that prints.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where text meets the terminal")]

pub mod args;
mod canary;
mod completions;
mod config;
mod conversation;
mod decision;
mod diagnose;
mod execute;
mod history;
mod incident;
mod init;
mod logs;
mod man;
mod overview;
mod past;
mod plugin;
mod popkit;
mod questions;
mod report;
mod rollback;
mod schema;
mod status;
mod table;
mod unlock;
mod validate;
mod verify;

use std::{ffi::OsStr, io::Write as _, process::ExitCode};

use clap::Parser as _;
use pop_deploy_plugin_api::Error;
use signal_hook::consts::SIGPIPE;

use self::{
    args::{Cli, Command, Site, Targets},
    conversation::{Conversation, last_words},
};
use crate::{
    config::{DeployConfig, Environment},
    exit::Exit,
    failure::Failure,
    keeper,
    pipeline::outcome::{Ending, Report},
    plugins::SearchPath,
    project::Project,
    reporter::{error_lines, is_closed, unwritable},
    select::Selection,
};

/// Runs the program: a helper process when the host started it as one, else what the command line says.
pub fn main() -> ExitCode {
    match std::env::args_os().nth(1).as_deref().and_then(OsStr::to_str) {
        Some(crate::plugins::WORKER_ARGUMENT) => return crate::plugins::serve(),
        Some(keeper::ARGUMENT) => return keeper::serve(),
        Some(keeper::HOOK_ARGUMENT) => return keeper::begin_hook(),
        _ => {}
    }
    if completions::answered() {
        return Exit::Done.into();
    }
    let cli = Cli::parse();
    let plugins = || SearchPath::new(&cli.plugin_dir).locked(cli.locked);
    let Some(command) = &cli.command else {
        return overview::overview().unwrap_or_else(|failure| tell(&failure)).into();
    };
    let done = match command {
        Command::Init(wanted) => init::init(wanted, &plugins()),
        Command::Status(wanted) => status::status(wanted, &plugins()),
        Command::Logs(wanted) => logs::logs(wanted),
        Command::Report(wanted) => report::report(wanted),
        Command::Diagnose(wanted) => diagnose::diagnose(wanted, &plugins()),
        Command::Incident(wanted) => incident::incident(wanted, &plugins()),
        Command::Config(wanted) => config::config(wanted, &plugins()),
        Command::Schema(place) => schema::schema(place, &plugins()),
        Command::Execute(wanted) if wanted.action.is_some() => return popkit::execute(wanted, &plugins()),
        Command::Rollback(wanted) if wanted.action.is_some() => return popkit::rollback(wanted, &plugins()),
        Command::Validate(wanted) if wanted.action.is_some() => return popkit::validate(wanted, &plugins()),
        Command::Execute(wanted) => execute::execute(wanted, &plugins()),
        Command::Rollback(wanted) => rollback::rollback(wanted, &plugins()),
        Command::Validate(wanted) => validate::validate(wanted, &plugins()),
        Command::Promote(wanted) => canary::promote(wanted, &plugins()),
        Command::Abort(wanted) => canary::abort(wanted, &plugins()),
        Command::Unlock(wanted) => unlock::unlock(wanted, &plugins()),
        Command::Verify(wanted) => verify::verify(wanted, &plugins()),
        Command::History(wanted) => history::history(wanted),
        Command::Plugin(wanted) => plugin::plugin(wanted, &plugins()),
        Command::Completions { shell } => completions::completions(*shell),
        Command::Man { dir } => man::man(dir),
    };
    done.unwrap_or_else(|failure| tell(&failure)).into()
}

/// Prints a line on standard output. Where nobody reads any more, that is the end, as it is of any filter.
macro_rules! print_line {
    ($($text:tt)*) => { $crate::cli::print_or_end(format_args!($($text)*)) };
}
use print_line;

fn print_or_end(line: std::fmt::Arguments<'_>) {
    // Colours go to terminals only.
    match writeln!(anstream::stdout().lock(), "{line}") {
        Err(error) if is_closed(&error) => {
            std::process::exit(Exit::Signal(SIGPIPE).code().into());
        }
        Err(error) => {
            say_on_stderr(&error_lines(&unwritable(&error)));
            std::process::exit(Exit::Failed.code().into());
        }
        Ok(()) => {}
    }
}

/// Tells a failure on standard error.
fn tell(failure: &Failure) -> Exit {
    say_on_stderr(&error_lines(&failure.to_error()));
    failure.exit()
}

/// Tells an error that keeps nobody from going on.
fn tell_warning(what: &str, error: &Error) {
    say_on_stderr(&format!("warning: {what}\n{}", error_lines(error)));
}

/// Where nobody reads standard error any more, the exit code has to do.
fn say_on_stderr(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

/// The command line as it was typed, for those who find a lock held.
fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    pop_deploy_plugin_api::protocol::Command::new(std::iter::once("pop-deploy".to_owned()).chain(words))
        .to_string()
}

/// A project as people mean it, with its deploy.json.
fn open(site: &Site) -> Result<(Project, DeployConfig), Failure> {
    let project = Project::for_people(&site.place.dir)?.in_environment(Environment::named(&site.environment));
    let config = DeployConfig::read(&project)?;
    Ok((project, config))
}

fn selection(targets: &Targets) -> Selection {
    match (targets.all, targets.target.as_slice()) {
        (true, _) => Selection::All,
        (false, []) => Selection::Primary,
        (false, names) => Selection::Named(names.to_vec()),
    }
}

/// The exit code of a run that came to its end.
fn exit(report: &Report, detailed: bool) -> Exit {
    match report.ending {
        Ending::Planned { pending: true } if detailed => Exit::Pending,
        ending => ending.exit(),
    }
}
