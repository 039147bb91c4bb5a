//! The command line: reads what the user wants, calls the library, and is, beside the reporters, the only place that prints.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where text meets the terminal")]

pub mod args;
mod execute;
mod history;
mod man;
mod plugin;
mod popkit;
mod rollback;
mod verify;

use std::{
    ffi::OsStr,
    io::{IsTerminal as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use clap::Parser as _;
use pop_deploy_plugin_api::{protocol::Plan, redact::Redactor};
use signal_hook::consts::SIGPIPE;

use crate::{
    config::DeployConfig,
    exit::Exit,
    failure::Failure,
    keeper,
    pipeline::{
        event::Listener,
        outcome::{Ending, Report},
    },
    plugins::SearchPath,
    project::Project,
    reporter::{
        error_lines,
        human::{Human, plan_text},
        json::Json,
    },
    select::Selection,
    signals::Interrupt,
};
use args::{Cli, Command, Talk, Targets};

/// Runs the program: a helper process when the host started it as one, else what the command line says.
pub fn main() -> ExitCode {
    match std::env::args_os().nth(1).as_deref().and_then(OsStr::to_str) {
        Some(crate::plugins::WORKER_ARGUMENT) => return crate::plugins::serve(),
        Some(keeper::ARGUMENT) => return keeper::serve(),
        Some(keeper::HOOK_ARGUMENT) => return keeper::begin_hook(),
        _ => {}
    }
    let cli = Cli::parse();
    let plugins = || SearchPath::new(&cli.plugin_dir);
    let done = match &cli.command {
        Command::Execute(wanted) if wanted.action.is_some() => return popkit::execute(wanted, &plugins()),
        Command::Rollback(wanted) if wanted.action.is_some() => return popkit::rollback(wanted, &plugins()),
        Command::Execute(wanted) => execute::execute(wanted, &plugins()),
        Command::Rollback(wanted) => rollback::rollback(wanted, &plugins()),
        Command::Verify(wanted) => verify::verify(wanted, &plugins()),
        Command::History(wanted) => history::history(wanted),
        Command::Plugin(wanted) => plugin::plugin(wanted, &plugins()),
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
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(Exit::Signal(SIGPIPE).code().into());
    }
}

/// Tells a failure on standard error.
fn tell(failure: &Failure) -> Exit {
    say_on_stderr(&error_lines(&failure.to_error()));
    failure.exit()
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
fn open(dir: &Path) -> Result<(Project, DeployConfig), Failure> {
    let project = Project::for_people(dir)?;
    let config = DeployConfig::read(&project.deploy_json)?;
    Ok((project, config))
}

fn selection(targets: &Targets) -> Selection {
    match (targets.all, targets.target.as_slice()) {
        (true, _) => Selection::All,
        (false, []) => Selection::Primary,
        (false, names) => Selection::Named(names.to_vec()),
    }
}

/// What a second signal leaves people with.
fn last_words() {
    let words = "Stopped at once; what was begun stands as it is. `pop-deploy rollback` takes it back.";
    say_on_stderr(&format!("{words}\n"));
}

/// A conversation with whoever runs the command: who listens, and who confirms.
struct Conversation {
    interrupt: Arc<Interrupt>,
    redactor: Redactor,
    json: Option<Arc<Json>>,
    asks: bool,
}

impl Conversation {
    /// Holds a conversation to its end. Whatever keeps it from a report, a panic too, programs get their last line.
    fn hold(talk: &Talk, about: impl FnOnce(&Self) -> Result<Exit, Failure>) -> Result<Exit, Failure> {
        let interrupt = Interrupt::install(last_words).map_err(Failure::Signals)?;
        let redactor = Redactor::default();
        let json = talk.json.then(|| Arc::new(Json::new(redactor.clone(), Arc::clone(&interrupt))));
        let conversation = Self { interrupt, redactor, json, asks: !talk.yes && !talk.dry_run };
        // What the panic hook printed stands on standard error already.
        let ended = catch_unwind(AssertUnwindSafe(|| about(&conversation))).unwrap_or(Err(Failure::Panicked));
        if let (Err(failure), Some(json)) = (&ended, &conversation.json) {
            json.finish_early(&failure.to_error(), failure.exit());
        }
        ended
    }

    /// Without a terminal nobody can be asked, so `--yes` or `--dry-run` must stand there.
    fn find_somebody(&self, targets: &[&str]) -> Result<(), Failure> {
        let somebody =
            std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && self.json.is_none();
        if self.asks && !somebody {
            return Err(Failure::Unconfirmed { targets: targets.join(", ") });
        }
        Ok(())
    }

    fn reporter(&self, project: &Project) -> Box<dyn Listener> {
        match &self.json {
            Some(json) => Box::new(Arc::clone(json)),
            None => Box::new(Human::new(
                self.redactor.clone(),
                Arc::clone(&self.interrupt),
                project.deploy_json.clone(),
            )),
        }
    }

    /// Shows the plans and asks, unless that was settled on the command line.
    fn confirm(&self, plans: &[&Plan]) -> bool {
        if !self.asks {
            return true;
        }
        let plans = plans.iter().map(|plan| format!("\n{}", plan_text(plan)));
        self.confirm_text(&plans.collect::<String>())
    }

    /// Shows what is to be done and asks, unless that was settled on the command line.
    fn confirm_text(&self, what: &str) -> bool {
        if !self.asks {
            return true;
        }
        let mut screen = anstream::stdout().lock();
        // A closed terminal says no.
        let asked =
            write!(screen, "{}\nGo ahead? [y/N] ", self.redactor.redact(what)).and_then(|()| screen.flush());
        drop(screen);
        if asked.is_err() {
            return false;
        }
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer).unwrap_or_default();
            // Nobody waits any more after a signal.
            send.send(answer).unwrap_or_default();
        });
        loop {
            match receive.recv_timeout(Duration::from_millis(50)) {
                Ok(answer) => return matches!(answer.trim(), "y" | "Y" | "yes"),
                Err(mpsc::RecvTimeoutError::Timeout) if self.interrupt.signal().is_none() => {}
                Err(_) => return false,
            }
        }
    }
}

/// The exit code of a run that came to its end.
fn exit(report: &Report, detailed: bool) -> Exit {
    match report.ending {
        Ending::Planned { pending: true } if detailed => Exit::Pending,
        ending => ending.exit(),
    }
}
