//! Runs the user's hooks, with the user's own environment: the commands around a run that deploy.json names.
//!
//! Hooks of the whole run come before those of a target. At a phase they run for each target, so that with
//! several targets the same command may run at the same time for two of them; `POP_DEPLOY_TARGET` tells which.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use pop_deploy_plugin_api::{
    Error, Host, Process, Session,
    protocol::{Command, Event, Phase, TargetContext},
};
use serde_json::json;

use crate::{
    config::{self, Environment, Hook, HookPoint, OnError},
    keeper,
    pipeline::{
        engine::described,
        event::What,
        member::{Member, Surroundings},
        outcome::{Ending, Mode},
    },
};

/// The hooks of a run, with what they are told.
pub struct Hooks<'a> {
    /// Those of the whole run.
    pub of_run: &'a config::Hooks,
    /// Those of each target, with the version that it is to have.
    pub of_targets: BTreeMap<&'a str, (&'a config::Hooks, Option<&'a str>)>,
    /// What the run is to do.
    pub mode: Mode,
    /// The run's id.
    pub run: &'a str,
    /// Who deploys.
    pub actor: &'a str,
    /// The project folder, in which they run.
    pub project: &'a Path,
    /// Where the run takes place.
    pub environment: &'a Environment,
    /// Where events go.
    pub around: Surroundings,
}

impl Hooks<'_> {
    /// Runs the hooks of a point, for one member or for the whole run, until one fails that isn't to be a warning.
    ///
    /// # Errors
    /// That one's failure, with the hook's name.
    pub fn run(&self, point: HookPoint, member: Option<&Member>) -> Result<(), Error> {
        self.run_where(point, member.map(|member| member.name.as_str()), |_| true)
    }

    /// Runs the hooks that close a run. Their failures are warnings: they never stand in the place of the first error.
    pub fn close(&self, ending: Ending) {
        let went_back = self.mode == Mode::Rollback && ending.is_success();
        let fitting = match ending {
            // Neither yet: that is what `promote` and `abort` decide.
            Ending::CanaryOpen { .. } => None,
            _ if ending.is_success() => Some(HookPoint::OnSuccess),
            _ => Some(HookPoint::OnFailure),
        };
        let points = went_back.then_some(HookPoint::OnRollback).into_iter().chain(fitting);
        for point in points.chain([HookPoint::AfterAll]) {
            if let Err(error) = self.run(point, None) {
                self.around.bus.tell(What::Warning(&described(&error)));
            }
        }
    }

    /// Runs those hooks that say `dry_run: run` and would run before anything goes live.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_dry(&self) -> Result<(), Error> {
        let up_to_stage = HookPoint::all().take_while(|point| *point != HookPoint::Post(Phase::Stage));
        for point in up_to_stage {
            self.run_where(point, None, |hook| hook.dry_run == config::DryRun::Run)?;
        }
        Ok(())
    }

    /// Whether anything of the user's runs between the plan and the stage, so that the source may still change.
    pub fn before_stage(&self, target: &str) -> bool {
        let mut points = HookPoint::all().take_while(|point| *point != HookPoint::Post(Phase::Stage));
        let of_target = self.of_targets.get(target).map(|(hooks, _)| hooks);
        points.any(|point| {
            !self.of_run.at(point).is_empty() || of_target.is_some_and(|hooks| !hooks.at(point).is_empty())
        })
    }

    fn run_where(
        &self,
        point: HookPoint,
        target: Option<&str>,
        wanted: impl Fn(&Hook) -> bool,
    ) -> Result<(), Error> {
        for hook in self.of_run.at(point).iter().filter(|hook| wanted(hook)) {
            self.one(point, hook, target)?;
        }
        for (name, (hooks, _)) in &self.of_targets {
            if target.is_none_or(|target| target == *name) {
                for hook in hooks.at(point).iter().filter(|hook| wanted(hook)) {
                    self.one(point, hook, Some(name))?;
                }
            }
        }
        Ok(())
    }

    fn one(&self, point: HookPoint, hook: &Hook, target: Option<&str>) -> Result<(), Error> {
        let mut command = Command::new(hook.argv());
        let version = self.version(target);
        command.env = self.variables(point, target, version);
        let context = json!({
            "v": 1, "hook": point.name(), "run": self.run, "mode": self.mode.name(), "target": target,
            "version": version, "actor": self.actor, "project": self.project, "environment": self.environment,
        });
        let ran = Process::new(&command)
            .started_by(keeper::hook_starter())
            .stdin(format!("{}{context}", keeper::GO))
            .timeout(hook.timeout)
            .run(&self.session(point, target))
            .and_then(pop_deploy_plugin_api::Finished::success);
        match ran {
            Ok(_) => Ok(()),
            Err(error) => {
                let failed =
                    Error { message: format!("hook `{}`: {}", point.name(), error.message), ..error };
                match hook.on_error {
                    OnError::Fail => Err(failed),
                    OnError::Warn => {
                        self.around.bus.tell(What::Warning(&described(&failed)));
                        Ok(())
                    }
                }
            }
        }
    }

    /// The version that a target is to have; of the whole run, the one that its targets share.
    fn version(&self, target: Option<&str>) -> Option<&str> {
        if let Some(target) = target {
            return self.of_targets.get(target).and_then(|(_, version)| *version);
        }
        let mut versions = self.of_targets.values().map(|(_, version)| *version);
        let first = versions.next()?;
        versions.all(|version| version == first).then_some(first)?
    }

    fn variables(
        &self,
        point: HookPoint,
        target: Option<&str>,
        version: Option<&str>,
    ) -> BTreeMap<String, String> {
        let project = self.project.display().to_string();
        let facts = [
            ("HOOK", Some(point.name())),
            ("RUN", Some(self.run)),
            ("MODE", Some(self.mode.name())),
            ("ACTOR", Some(self.actor)),
            ("PROJECT", Some(project.as_str())),
            ("ENVIRONMENT", Some(self.environment.name())),
            ("TARGET", target),
            ("VERSION", version),
        ];
        facts
            .into_iter()
            .filter_map(|(name, value)| Some((format!("POP_DEPLOY_{name}"), value?.to_owned())))
            .collect()
    }

    fn session(&self, point: HookPoint, target: Option<&str>) -> Session {
        let context = TargetContext {
            target: target.unwrap_or_default().to_owned(),
            project_name: String::new(),
            project: self.project.to_owned(),
            scratch: PathBuf::new(),
            data: PathBuf::new(),
            read_only: false,
            source_may_change: false,
            actor: self.actor.to_owned(),
            run_id: self.run.to_owned(),
            canary: None,
            flags: String::new(),
        };
        let closing = matches!(
            point,
            HookPoint::OnFailure | HookPoint::OnRollback | HookPoint::AfterAll | HookPoint::OnSuccess
        );
        let desk = Desk { point, target: target.map(str::to_owned), closing, around: self.around.clone() };
        Session::new(context, Box::new(desk))
    }
}

/// Takes what a hook's process reports.
struct Desk {
    point: HookPoint,
    target: Option<String>,
    /// A closing hook runs after a signal too: it is how people hear of it.
    closing: bool,
    around: Surroundings,
}

impl Host for Desk {
    fn emit(&self, event: &[u8]) {
        let of = self.point.name();
        let event = serde_json::from_slice(event).unwrap_or(Event::Unknown);
        let what = match &event {
            Event::CommandStarted { command, pid } => {
                self.around.interrupt.watch_group(*pid);
                What::CommandStarted { of, command }
            }
            Event::CommandFinished { exit_code, duration_ms, pid } => {
                self.around.interrupt.forget_group(*pid);
                What::CommandFinished { of, exit_code: *exit_code, took: Duration::from_millis(*duration_ms) }
            }
            Event::Output { stream, text } => What::Output { of, stream: *stream, text },
            _ => return,
        };
        match &self.target {
            Some(target) => self.around.bus.tell_of(target, what),
            None => self.around.bus.tell(what),
        }
    }

    fn cancelled(&self) -> bool {
        !self.closing && self.around.interrupt.signal().is_some()
    }

    fn request(&self, method: &str, _: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        Err(serde_json::to_vec(&Error::unimplemented(method)).unwrap_or_default())
    }
}
