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
    io::IsTerminal as _,
    path::Path,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use clap::Parser as _;
use pop_deploy_plugin_api::{protocol::Plan, redact::Redactor};

use crate::{
    config::DeployConfig,
    exit::Exit,
    failure::Failure,
    pipeline::{event::Listener, outcome::Report},
    plugins::SearchPath,
    project::Project,
    reporter::{error_lines, human::Human, json::Json},
    select::Selection,
    signals::Interrupt,
};
use args::{Cli, Command, Talk, Targets};

/// Runs the program: a worker when the host started it as one, else what the command line says.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == crate::plugins::WORKER_ARGUMENT) {
        return crate::plugins::serve();
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

/// Tells a failure on standard error.
fn tell(failure: &Failure) -> Exit {
    eprint!("{}", error_lines(&failure.to_error()));
    failure.exit()
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
    eprintln!("Stopped at once; what was begun stands as it is. `pop-deploy rollback` takes it back.");
}

/// A conversation with whoever runs the command: who listens, and who confirms.
struct Conversation {
    interrupt: Arc<Interrupt>,
    redactor: Redactor,
    json: Option<Arc<Json>>,
    asks: bool,
}

impl Conversation {
    /// Settles how to talk. Without a terminal nobody can be asked, so `--yes` or `--dry-run` must stand there.
    fn new(talk: &Talk, targets: &[&str]) -> Result<Self, Failure> {
        let interrupt = Interrupt::install(last_words).map_err(Failure::Signals)?;
        let redactor = Redactor::default();
        let json = talk.json.then(|| Arc::new(Json::new(redactor.clone(), Arc::clone(&interrupt))));
        let conversation = Self { interrupt, redactor, json, asks: !talk.yes && !talk.dry_run };
        let somebody = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !talk.json;
        if conversation.asks && !somebody {
            return Err(conversation.cut_short(Failure::Unconfirmed { targets: targets.join(", ") }));
        }
        Ok(conversation)
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
        for plan in plans {
            print!("\n{}", crate::reporter::human::plan_text(plan));
        }
        print!("\nGo ahead? [y/N] ");
        // A closed terminal says no.
        std::io::Write::flush(&mut std::io::stdout()).unwrap_or_default();
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

    /// Ends a conversation that a failure cut short; programs get their last line too.
    fn cut_short(&self, failure: Failure) -> Failure {
        if let Some(json) = &self.json {
            json.finish_early(&failure.to_error(), failure.exit().code());
        }
        failure
    }

    fn end(&self, report: Result<Report, Failure>, detailed: bool) -> Result<Exit, Failure> {
        let report = report.map_err(|failure| self.cut_short(failure))?;
        let pending = report.ending == crate::pipeline::outcome::Ending::Planned { pending: true };
        Ok(if detailed && pending { Exit::Pending } else { report.ending.exit() })
    }
}
