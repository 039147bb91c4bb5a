//! Talking to whoever runs the command: who listens, who is asked.

use std::{
    io::{IsTerminal as _, Write as _},
    os::unix::process::CommandExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use pop_deploy_plugin_api::{protocol::Plan, redact::Redactor};

use super::{args::Talk, decision::Decision, say_on_stderr};
use crate::{
    config::{DeployConfig, TargetConfig},
    exit::Exit,
    failure::Failure,
    pipeline::{
        event::{Event, Listener, What},
        look::View,
        outcome::Report,
    },
    plugins::SearchPath,
    project::Project,
    reporter::{
        human::{Human, Loudness, plan_text},
        json::Json,
    },
    signals::Interrupt,
};

/// What a second signal leaves people with.
pub(super) fn last_words() {
    let words = "Stopped at once; what was begun stands as it is. `pop-deploy rollback` takes it back.";
    say_on_stderr(&format!("{words}\n"));
}

/// A conversation with whoever runs the command: who listens, and who confirms.
pub(super) struct Conversation {
    pub(super) interrupt: Arc<Interrupt>,
    pub(super) redactor: Redactor,
    json: Option<Arc<Json>>,
    asks: bool,
    loudness: Loudness,
}

impl Conversation {
    /// Holds a conversation to its end. Whatever keeps it from a report, a panic too, programs get their last line.
    pub(super) fn hold(
        talk: &Talk,
        about: impl FnOnce(&Self) -> Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let interrupt = Interrupt::install(last_words).map_err(Failure::Signals)?;
        let redactor = Redactor::default();
        let json = talk.json.then(|| Arc::new(Json::new(redactor.clone(), Arc::clone(&interrupt))));
        let conversation = Self {
            interrupt,
            redactor,
            json,
            asks: !talk.yes && !talk.dry_run,
            loudness: talk.volume.into(),
        };
        // What the panic hook printed stands on standard error already.
        let ended = catch_unwind(AssertUnwindSafe(|| about(&conversation))).unwrap_or(Err(Failure::Panicked));
        if let (Err(failure), Some(json)) = (&ended, &conversation.json) {
            json.finish_early(&failure.to_error(), failure.exit());
        }
        ended
    }

    /// Without a terminal nobody can be asked, so `--yes` or `--dry-run` must stand there; a program is told what to ask.
    pub(super) fn find_somebody(&self, targets: &[&str]) -> Result<(), Failure> {
        if self.asks && !self.is_with_somebody() && self.json.is_none() {
            return Err(Failure::Unconfirmed { targets: targets.join(", ") });
        }
        Ok(())
    }

    /// Whether anything may be asked: the command line leaves it open, and a person or a program is there.
    pub(super) fn asks(&self) -> bool {
        self.asks && (self.json.is_some() || self.is_with_somebody())
    }

    /// Whether the last word has to come from a program, in another call.
    pub(super) fn is_asked_by_a_program(&self) -> bool {
        self.asks && self.json.is_some()
    }

    fn is_with_somebody(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && self.json.is_none()
    }

    pub(super) fn reporter(&self, project: &Project) -> Box<dyn Listener> {
        match &self.json {
            Some(json) => Box::new(Arc::clone(json)),
            None => Box::new(Human::new(
                self.redactor.clone(),
                Arc::clone(&self.interrupt),
                project.deploy_json.clone(),
                self.loudness,
            )),
        }
    }

    /// A look at a target on behalf of whoever runs the command.
    pub(super) fn view<'a>(
        &self,
        (project, config): (&'a Project, &'a DeployConfig),
        target: &'a TargetConfig,
        plugins: &'a SearchPath,
        actor: &'a str,
    ) -> View<'a> {
        let (interrupt, redactor) = (Arc::clone(&self.interrupt), self.redactor.clone());
        View { project, config, target, plugins, actor, interrupt, redactor }
    }

    /// A reporter that offers a program what to do next, just before the run's last line.
    pub(super) fn offering(
        &self,
        project: &Project,
        offer: impl Fn(&Report) -> Option<Decision> + Send + Sync + 'static,
    ) -> Box<dyn Listener> {
        match &self.json {
            Some(json) => Box::new(Offering { json: Arc::clone(json), offer }),
            None => self.reporter(project),
        }
    }

    /// A reporter for the plan that a decision is about: the last line is left to what follows, unless nothing can.
    pub(super) fn before_a_decision(&self, project: &Project) -> Box<dyn Listener> {
        match &self.json {
            Some(json) => Box::new(Planning { json: Arc::clone(json) }),
            None => self.reporter(project),
        }
    }

    /// Has somebody decide; gives the index of the option.
    ///
    /// # Errors
    /// A program has to ask first and to call again, the terminal was closed, or a signal came.
    pub(super) fn decide(&self, decision: &Decision) -> Result<usize, Failure> {
        if let Some(json) = &self.json {
            json.tell_decision("decision.required", decision.to_value());
            return Err(Failure::Undecided { id: decision.id, question: decision.question.clone() });
        }
        loop {
            self.show(&decision.text())?;
            let line = self.line()?;
            if let Some(option) = decision.answer(&line) {
                return Ok(option);
            }
            self.show(&format!("`{}` is none of them.\n", line.trim().escape_debug()))?;
        }
    }

    /// Shows the plans and has somebody confirm them, unless that was settled on the command line.
    pub(super) fn confirm(&self, plans: &[&Plan], decision: &Decision) -> bool {
        if !self.asks {
            return true;
        }
        let plans = plans.iter().map(|plan| format!("\n{}", plan_text(plan)));
        self.confirm_text(&plans.collect::<String>(), decision)
    }

    /// Shows what is to be done and has somebody confirm it, unless that was settled on the command line.
    pub(super) fn confirm_text(&self, what: &str, decision: &Decision) -> bool {
        // A closed terminal says no.
        !self.asks
            || self
                .show(what)
                .and_then(|()| self.decide(decision))
                .is_ok_and(|option| option != decision.default)
    }

    /// Asks a person what to do next, and does it: then this doesn't come back. A closed terminal means nothing more.
    pub(super) fn go_on(&self, decision: &Decision) -> Result<(), Failure> {
        if !self.asks || !self.is_with_somebody() {
            return Ok(());
        }
        let Ok(option) = self.decide(decision) else { return Ok(()) };
        match &decision.options[option].arguments {
            Some(arguments) => Err(Failure::GoOn(run_instead(arguments))),
            None => Ok(()),
        }
    }

    fn show(&self, text: &str) -> Result<(), Failure> {
        let mut screen = anstream::stdout().lock();
        let shown = write!(screen, "{}", self.redactor.redact(text)).and_then(|()| screen.flush());
        shown.map_err(|_| Failure::Declined)
    }

    /// What somebody types next.
    fn line(&self) -> Result<String, Failure> {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            // Nobody waits any more after a signal.
            send.send(read.map(|bytes| (bytes > 0).then_some(line))).unwrap_or_default();
        });
        loop {
            match (receive.recv_timeout(Duration::from_millis(50)), self.interrupt.signal()) {
                (Ok(Ok(Some(line))), _) => return Ok(line),
                (Err(mpsc::RecvTimeoutError::Timeout), None) => {}
                (_, Some(signal)) => return Err(Failure::Stopped { signal }),
                (_, None) => return Err(Failure::Declined),
            }
        }
    }
}

/// Becomes another command of this program. Comes back only when that can't be.
fn run_instead(arguments: &[String]) -> std::io::Error {
    match std::env::current_exe() {
        Ok(program) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

/// Tells a program what it may do next, just before the last line.
struct Offering<F> {
    json: Arc<Json>,
    offer: F,
}

impl<F: Fn(&Report) -> Option<Decision> + Send + Sync> Listener for Offering<F> {
    fn hear(&self, event: &Event<'_>) {
        if let What::RunFinished(report) = &event.what
            && let Some(decision) = (self.offer)(report)
        {
            self.json.tell_decision("decision.offered", decision.to_value());
        }
        self.json.hear(event);
    }
}

/// Tells a program the plan that it is to decide about.
struct Planning {
    json: Arc<Json>,
}

impl Listener for Planning {
    fn hear(&self, event: &Event<'_>) {
        if !matches!(&event.what, What::RunFinished(report) if report.ending.is_success()) {
            self.json.hear(event);
        }
    }
}
