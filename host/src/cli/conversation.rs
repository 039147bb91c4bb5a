//! Talking to whoever runs the command: who listens, who is asked.

use std::{
    io::{IsTerminal as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use pop_deploy_plugin_api::{protocol::Plan, redact::Redactor};

use super::{args::Talk, say_on_stderr};
use crate::{
    config::{DeployConfig, TargetConfig},
    exit::Exit,
    failure::Failure,
    pipeline::{event::Listener, look::View},
    plugins::SearchPath,
    project::Project,
    reporter::{
        human::{Human, plan_text},
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
        let conversation = Self { interrupt, redactor, json, asks: !talk.yes && !talk.dry_run };
        // What the panic hook printed stands on standard error already.
        let ended = catch_unwind(AssertUnwindSafe(|| about(&conversation))).unwrap_or(Err(Failure::Panicked));
        if let (Err(failure), Some(json)) = (&ended, &conversation.json) {
            json.finish_early(&failure.to_error(), failure.exit());
        }
        ended
    }

    /// Without a terminal nobody can be asked, so `--yes` or `--dry-run` must stand there.
    pub(super) fn find_somebody(&self, targets: &[&str]) -> Result<(), Failure> {
        let somebody =
            std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && self.json.is_none();
        if self.asks && !somebody {
            return Err(Failure::Unconfirmed { targets: targets.join(", ") });
        }
        Ok(())
    }

    pub(super) fn reporter(&self, project: &Project) -> Box<dyn Listener> {
        match &self.json {
            Some(json) => Box::new(Arc::clone(json)),
            None => Box::new(Human::new(
                self.redactor.clone(),
                Arc::clone(&self.interrupt),
                project.deploy_json.clone(),
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

    /// Shows the plans and asks, unless that was settled on the command line.
    pub(super) fn confirm(&self, plans: &[&Plan]) -> bool {
        if !self.asks {
            return true;
        }
        let plans = plans.iter().map(|plan| format!("\n{}", plan_text(plan)));
        self.confirm_text(&plans.collect::<String>())
    }

    /// Shows what is to be done and asks, unless that was settled on the command line.
    pub(super) fn confirm_text(&self, what: &str) -> bool {
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
