//! What happens in a run, on its way to whoever listens: reporters, and the log.

use std::time::Duration;

use pop_deploy_plugin_api::{
    Error,
    protocol::{Command, Outcome, Phase, Plan, Release, Step, Stream},
};

use super::outcome::{Mode, Report};
use crate::config::Environment;

/// One thing that happened.
#[derive(Debug)]
pub struct Event<'a> {
    /// When.
    pub at: jiff::Timestamp,
    /// At which target, where it is one target's.
    pub target: Option<&'a str>,
    /// What.
    pub what: What<'a>,
}

/// The kinds of event. Listeners match exhaustively: a new kind is a decision for each of them.
#[derive(Debug)]
pub enum What<'a> {
    /// The run begins; sent once, before anything else.
    RunStarted {
        /// The run, which is also the deployment's id.
        run: &'a str,
        /// What it is to do.
        mode: Mode,
        /// Where, if deploy.json has several environments.
        environment: Option<&'a Environment>,
        /// Its targets, in file order.
        targets: Vec<Announced<'a>>,
    },
    /// What a target's plugin proposes.
    Planned(&'a Plan),
    /// A step begins.
    StepStarted(Place<'a>),
    /// How far the running step is.
    Progress {
        /// The step.
        place: Place<'a>,
        /// What is going on.
        message: &'a str,
        /// How much is done and how much there is, in `unit`.
        done: Option<(u64, u64)>,
        /// `files`, `bytes`, …
        unit: &'a str,
    },
    /// A line of output, of a step's program, a hook, or the plugin itself.
    Output {
        /// The step or hook it belongs to.
        of: &'a str,
        /// Which stream.
        stream: Stream,
        /// The line.
        text: &'a str,
    },
    /// A program begins.
    CommandStarted {
        /// The step or hook it belongs to.
        of: &'a str,
        /// The program call.
        command: &'a Command,
    },
    /// A program ended.
    CommandFinished {
        /// The step or hook it belongs to.
        of: &'a str,
        /// Absent when a signal ended it.
        exit_code: Option<i32>,
        /// How long it ran.
        took: Duration,
    },
    /// One attempt of a health check.
    HealthAttempt {
        /// The step it belongs to.
        of: &'a str,
        /// What was asked.
        what: &'a str,
        /// Whether it was well.
        healthy: bool,
        /// More about it.
        detail: &'a str,
    },
    /// Something that people should know though the run goes on.
    Warning(&'a str),
    /// A step ended.
    StepFinished {
        /// The step.
        place: Place<'a>,
        /// How.
        result: Result<(Outcome, &'a str), &'a Error>,
        /// How long it took.
        took: Duration,
    },
    /// A target's switch is done: users see the new release from here on.
    Switched {
        /// What was live before.
        from: Option<&'a Release>,
        /// What is live now.
        to: &'a Release,
    },
    /// A target's steps are being taken back.
    RollbackStarted {
        /// Why.
        because: &'a Error,
    },
    /// A step was taken back, or couldn't be.
    Undone {
        /// The step.
        step: &'a Step,
        /// What was done about it, or why it isn't known how it stands.
        result: Result<&'a str, &'a Error>,
    },
    /// The run is over; sent once, after everything else.
    RunFinished(&'a Report),
}

/// A target as a run announces it.
#[derive(Debug, Clone, Copy)]
pub struct Announced<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is the primary one.
    pub primary: bool,
    /// The version that it is to have.
    pub version: Option<&'a str>,
}

/// A step and where it stands in its target's plan.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The step.
    pub step: &'a Step,
    /// Its number, from 1.
    pub number: usize,
    /// How many steps there are.
    pub of: usize,
}

impl Place<'_> {
    /// The step's phase.
    pub fn phase(&self) -> Phase {
        self.step.phase
    }
}

/// Hears what happens. Called from several threads, in the order of the events of each target.
///
/// A listener handles its own trouble (a full disk, a closed terminal): it can't stop a run.
pub trait Listener: Send + Sync {
    /// Takes one event.
    fn hear(&self, event: &Event<'_>);
}

/// Hands each event to every listener.
#[derive(Default)]
pub struct Bus {
    listeners: Vec<Box<dyn Listener>>,
}

impl Bus {
    /// A bus with these listeners.
    pub fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        Self { listeners }
    }

    /// Adds a listener: the log, once the run has a folder.
    pub fn add(&mut self, listener: Box<dyn Listener>) {
        self.listeners.push(listener);
    }

    /// Tells what happened to the whole run.
    pub fn tell(&self, what: What<'_>) {
        self.send(None, what);
    }

    /// Tells what happened at a target.
    pub fn tell_of(&self, target: &str, what: What<'_>) {
        self.send(Some(target), what);
    }

    fn send(&self, target: Option<&str>, what: What<'_>) {
        let event = Event { at: jiff::Timestamp::now(), target, what };
        for listener in &self.listeners {
            listener.hear(&event);
        }
    }
}

impl<L: Listener> Listener for std::sync::Arc<L> {
    fn hear(&self, event: &Event<'_>) {
        (**self).hear(event);
    }
}
