//! The popkit wrapper's dialect: `--action` is present, one JSON object comes back.

use std::{
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{CommandFactory as _, error::ErrorKind};
use pop_deploy_plugin_api::{
    protocol::{Check, CheckStatus},
    redact::Redactor,
};

use super::{
    args::{
        Cli, Execute, ExecuteAction, PopkitMode, Rollback, RollbackAction, Site, Talk, Targets, Validate,
        ValidateAction,
    },
    command_line, incident, last_words,
    rollback::{WayBack, way_back},
    selection, tell,
};
use crate::{
    config::{DeployConfig, Environment, TargetConfig},
    failure::Failure,
    journal::{self, Until},
    pipeline::{
        event::{Event, Listener},
        look,
        order::{Errand, Goal, Order},
        outcome::{Mode, Report},
        recover,
        run::carry_out,
    },
    plugins::SearchPath,
    popkit::{self, Answer, Asked, Source, Stream, Tool},
    project::Project,
    select::{self, Selection},
    signals::Interrupt,
    validate, version,
};

/// Nobody listens while the wrapper waits for its one object.
struct Silence;

impl Listener for Silence {
    fn hear(&self, _: &Event<'_>) {}
}

/// A request of the wrapper, with what every action needs.
struct Request<'a> {
    tool: Tool,
    action: &'static str,
    project: Project,
    config: DeployConfig,
    timestamp: String,
    plugins: &'a SearchPath,
    wait: Option<Duration>,
    redactor: Redactor,
}

pub(super) fn execute(wanted: &Execute, plugins: &SearchPath) -> ExitCode {
    let action = match wanted.action {
        Some(ExecuteAction::Prepare) => "prepare",
        Some(ExecuteAction::Verify) => "verify",
        _ => "execute",
    };
    if wanted.action != Some(ExecuteAction::Execute) {
        takes_one_target(&wanted.targets, action);
    }
    let named = wanted.targets.target.first().map(String::as_str);
    let request = match Request::new(Tool::Execute, action, &wanted.site, &wanted.talk, plugins) {
        Ok(request) => request,
        Err(answer) => return say(&answer, &Redactor::default()),
    };
    request.reply(|request| match wanted.action {
        Some(ExecuteAction::Prepare) => {
            let version = version::of_project(&request.project.dir, wanted.version.as_deref());
            let commit = version::commit(&request.project.dir);
            popkit::prepare(&request.source(named), version.as_deref(), commit.as_deref())
        }
        Some(ExecuteAction::Verify) => request.look(named),
        _ => request.deploy(wanted),
    })
}

pub(super) fn rollback(wanted: &Rollback, plugins: &SearchPath) -> ExitCode {
    let action = match wanted.action {
        Some(RollbackAction::Assess) => "assess",
        Some(RollbackAction::Investigate) => "investigate",
        Some(RollbackAction::Report) => "report",
        Some(RollbackAction::Verify) => "verify",
        _ => "rollback",
    };
    takes_one_target(&wanted.targets, "rollback");
    let named = wanted.targets.target.first().map(String::as_str);
    let request = match Request::new(Tool::Rollback, action, &wanted.site, &wanted.talk, plugins) {
        Ok(request) => request,
        Err(answer) => return say(&answer, &Redactor::default()),
    };
    request.reply(|request| match wanted.action {
        Some(RollbackAction::Assess) => popkit::assess(&request.source(named)),
        Some(RollbackAction::Verify) => request.look(named),
        Some(RollbackAction::Investigate) => request.investigate(named),
        Some(RollbackAction::Report) => request.report(named),
        _ => request.go_back(wanted, named),
    })
}

pub(super) fn validate(wanted: &Validate, plugins: &SearchPath) -> ExitCode {
    takes_one_target(&wanted.targets, "validate");
    let loads = wanted.action == Some(ValidateAction::LoadConfig);
    let action = if loads { "load-config" } else { "validate" };
    let talk = Talk::reading(wanted.json);
    let request = match Request::new(Tool::Validate, action, &wanted.site, &talk, plugins) {
        Ok(request) => request,
        // An unusable deploy.json is what this is asked to find, so it answers with its report all the same.
        Err(refused) => return say(&unusable(wanted, loads).unwrap_or(refused), &Redactor::default()),
    };
    request.reply(
        |request| {
            if loads { popkit::load_config(&request.source(None)) } else { request.validate(wanted) }
        },
    )
}

/// Ends the program as wrong usage does, where several targets are named: the report has room for one.
fn takes_one_target(targets: &Targets, what: &str) {
    if targets.all || targets.target.len() > 1 {
        let several = format!("the dialect's {what} takes one target: leave one `--target`, and no `--all`");
        Cli::command().error(ErrorKind::ArgumentConflict, several).exit();
    }
}

/// The reports where deploy.json can't be used; nothing where not even the folder is there.
fn unusable(wanted: &Validate, loads: bool) -> Option<Answer> {
    let dir = &wanted.site.place.dir;
    let (project, error) = match Project::for_popkit(dir) {
        Err(error) => (Project::of_popkit(dir).ok()?, popkit::project_error(&error)),
        Ok(project) => {
            let project = project.in_environment(Environment::named(&wanted.site.environment));
            let error = DeployConfig::read(&project).err()?;
            (project, popkit::config_error(&error))
        }
    };
    let timestamp = journal::timestamp();
    if loads {
        return Some(popkit::config_not_loaded(&project.dir, &project.deploy_json, &timestamp, &error));
    }
    let findings = [validate::config_unusable(&error), validate::git_status(&project)];
    let about = popkit::Validated {
        dir: &project.dir,
        project_name: None,
        timestamp: &timestamp,
        scope: wanted.scope.into(),
        target: wanted.targets.target.first().map(String::as_str),
    };
    Some(popkit::validate(&about, &findings))
}

/// Prints the object on its stream.
fn say(answer: &Answer, redactor: &Redactor) -> ExitCode {
    let text = answer.text();
    let text = redactor.redact(&text);
    let written = match answer.stream {
        Stream::Stdout => std::io::stdout().lock().write_all(text.as_bytes()),
        Stream::Stderr => std::io::stderr().lock().write_all(text.as_bytes()),
    };
    match written {
        Ok(()) => ExitCode::from(answer.exit),
        Err(source) => {
            tell(&Failure::Write { path: "standard output".to_owned(), source });
            ExitCode::FAILURE
        }
    }
}

impl<'a> Request<'a> {
    fn new(
        tool: Tool,
        action: &'static str,
        site: &Site,
        talk: &Talk,
        plugins: &'a SearchPath,
    ) -> Result<Self, Answer> {
        let project = Project::for_popkit(&site.place.dir)
            .map_err(|error| popkit::project_refused(tool, action, &error))?
            .in_environment(Environment::named(&site.environment));
        let config =
            DeployConfig::read(&project).map_err(|error| popkit::config_refused(tool, action, &error))?;
        let timestamp = journal::timestamp();
        let wait = talk.wait.map(Duration::from_secs);
        let redactor = Redactor::default();
        Ok(Self { tool, action, project, config, timestamp, plugins, wait, redactor })
    }

    /// Works out the answer and prints it. After a panic too, the wrapper gets its object.
    fn reply(&self, answer: impl FnOnce(&Self) -> Answer) -> ExitCode {
        // What the panic hook printed stands on standard error already.
        let answer = catch_unwind(AssertUnwindSafe(|| answer(self)))
            .unwrap_or_else(|_| self.refuse(&Failure::Panicked));
        say(&answer.in_environment(self.config.named_environment()), &self.redactor)
    }

    fn source<'s>(&'s self, target: Option<&'s str>) -> Source<'s> {
        Source { project: &self.project, config: &self.config, timestamp: &self.timestamp, target }
    }

    fn target(&self, named: Option<&str>) -> Result<&TargetConfig, Answer> {
        self.target_in(&self.config, named)
    }

    fn target_in<'c>(
        &self,
        config: &'c DeployConfig,
        named: Option<&str>,
    ) -> Result<&'c TargetConfig, Answer> {
        select::for_popkit(config, named)
            .map_err(|error| popkit::target_refused(self.tool, self.action, &error))
    }

    /// The targets of an `execute`: one as the wrapper means it, or several as we do.
    fn targets(&self, wanted: &Execute) -> Result<Vec<&TargetConfig>, Answer> {
        match selection(&wanted.targets) {
            Selection::Primary => Ok(vec![self.target(None)?]),
            Selection::Named(names) => {
                let mut chosen: Vec<&TargetConfig> = Vec::new();
                for name in names {
                    let target = self.target(Some(&name))?;
                    if !chosen.iter().any(|earlier| earlier.name == target.name) {
                        chosen.push(target);
                    }
                }
                Ok(chosen)
            }
            all => select::select(&self.config, &all)
                .map_err(|error| popkit::refused_before_work(self.tool, self.action, &error.to_string())),
        }
    }

    fn interrupt(&self) -> Result<Arc<Interrupt>, Answer> {
        Interrupt::install(last_words).map_err(|error| self.refuse(&Failure::Signals(error)))
    }

    fn refuse(&self, failure: &Failure) -> Answer {
        popkit::refused_before_work(self.tool, self.action, &popkit::told(&failure.to_error()))
    }

    fn deploy(&self, wanted: &Execute) -> Answer {
        self.try_deploy(wanted).unwrap_or_else(|answer| answer)
    }

    fn try_deploy(&self, wanted: &Execute) -> Result<Answer, Answer> {
        let targets = self.targets(wanted)?;
        let refuse = |failure: Failure| self.refuse(&failure);
        let dry = wanted.talk.dry_run || wanted.mode.unwrap_or(PopkitMode::DryRun) == PopkitMode::DryRun;
        let (mode, name) = match (dry, wanted.canary || wanted.mode == Some(PopkitMode::Canary)) {
            (true, true) => (Mode::CanaryDryRun, "dry_run"),
            (true, false) => (Mode::DryRun, "dry_run"),
            (false, true) => (Mode::Canary(Until::Verdict), "canary"),
            (false, false) => (Mode::Deploy, "deploy"),
        };
        let version = version::of_project(&self.project.dir, wanted.version.as_deref());
        if let Some(version) = &version {
            version::check(version).map_err(|error| refuse(error.into()))?;
        }
        let commit = version::commit(&self.project.dir);
        let unreachable = wanted.unreachable();
        let goal = || Goal::Forward { version: version.clone(), commit: commit.clone(), unreachable };
        let errands = targets.into_iter().map(|target| Errand { target, goal: goal() }).collect();
        let report = self.carry_out(mode, errands).map_err(refuse)?;
        let asked = Asked { mode: name, id: &report.run, timestamp: &self.timestamp };
        Ok(popkit::execute(&self.project, asked, &report))
    }

    fn carry_out(&self, mode: Mode, errands: Vec<Errand<'_>>) -> Result<Report, Failure> {
        let interrupt = Interrupt::install(last_words).map_err(Failure::Signals)?;
        let actor = version::actor();
        carry_out(&self.order(mode, errands, &actor, interrupt), Box::new(Silence), &|_| true)
    }

    fn order<'o>(
        &'o self,
        mode: Mode,
        errands: Vec<Errand<'o>>,
        actor: &'o str,
        interrupt: Arc<Interrupt>,
    ) -> Order<'o> {
        Order {
            project: &self.project,
            config: &self.config,
            errands,
            plugins: self.plugins,
            mode,
            actor,
            command: command_line(),
            wait: self.wait,
            interrupt,
            redactor: self.redactor.clone(),
        }
    }

    fn look(&self, named: Option<&str>) -> Answer {
        let looked = self.target(named).and_then(|target| {
            let interrupt = self.interrupt()?;
            let sight = look::at(&self.view(target, &version::actor(), interrupt));
            // What can't be looked at is a check that failed: the wrapper reads `healthy`.
            let checks = sight.map(|sight| sight.checks).unwrap_or_else(|failure| {
                vec![Check::new("target", CheckStatus::Fail, popkit::told(&failure.to_error()))]
            });
            Ok(popkit::verify(self.tool, &self.project, &self.timestamp, &target.name, &checks))
        });
        looked.unwrap_or_else(|answer| answer)
    }

    fn investigate(&self, named: Option<&str>) -> Answer {
        let investigated = self.target(named).and_then(|target| {
            let gathered = look::diagnose(&self.view(target, &version::actor(), self.interrupt()?));
            let gathered = gathered.map_err(|failure| popkit::told(&failure.to_error()));
            Ok(popkit::investigate(&self.source(named), target, gathered))
        });
        investigated.unwrap_or_else(|answer| answer)
    }

    fn report(&self, named: Option<&str>) -> Answer {
        let reported = self.target(named).and_then(|target| {
            let actor = version::actor();
            let view = self.view(target, &actor, self.interrupt()?);
            let saved = incident::gather(&view, None)
                .and_then(|incident| incident.map(|it| incident::save(&it, &view)).transpose())
                .map_err(|failure| popkit::told(&failure.to_error()));
            let saved = match &saved {
                Ok(Some(saved)) => Ok(saved),
                Ok(None) => Err(popkit::NO_INCIDENT),
                Err(error) => Err(error.as_str()),
            };
            Ok(popkit::report(&self.source(named), &target.name, saved))
        });
        reported.unwrap_or_else(|answer| answer)
    }

    fn validate(&self, wanted: &Validate) -> Answer {
        self.try_validate(wanted).unwrap_or_else(|answer| answer)
    }

    fn try_validate(&self, wanted: &Validate) -> Result<Answer, Answer> {
        let named = wanted.targets.target.first().map(String::as_str);
        let chosen = select::for_popkit(&self.config, named);
        let about = popkit::Validated {
            dir: &self.project.dir,
            project_name: self.config.project_name.as_deref(),
            timestamp: &self.timestamp,
            scope: wanted.scope.into(),
            target: chosen.as_ref().map_or(named, |target| Some(target.name.as_str())),
        };
        let actor = version::actor();
        let views = match &chosen {
            Ok(target) => vec![self.view(target, &actor, self.interrupt()?)],
            Err(_) => Vec::new(),
        };
        let version = version::of_project(&self.project.dir, None);
        let mut findings =
            validate::validate(about.scope, &self.project, &self.config, &views, version.as_deref());
        if let Err(error) = &chosen {
            findings.insert(1, validate::no_target(&error.to_string()));
        }
        Ok(popkit::validate(&about, &findings))
    }

    fn view<'v>(
        &'v self,
        target: &'v TargetConfig,
        actor: &'v str,
        interrupt: Arc<Interrupt>,
    ) -> look::View<'v> {
        look::View {
            project: &self.project,
            config: &self.config,
            target,
            plugins: self.plugins,
            actor,
            interrupt,
            redactor: self.redactor.clone(),
        }
    }

    fn go_back(&self, wanted: &Rollback, named: Option<&str>) -> Answer {
        self.try_go_back(wanted, named).unwrap_or_else(|answer| answer)
    }

    fn try_go_back(&self, wanted: &Rollback, named: Option<&str>) -> Result<Answer, Answer> {
        let interrupt = self.interrupt()?;
        let mut newer = None;
        loop {
            let config = newer.as_ref().unwrap_or(&self.config);
            let target = self.target_in(config, named)?;
            match self.take_back(config, target, wanted, &interrupt) {
                // While this one waited for the lock, another run ended.
                Err(Failure::Outdated) => {
                    let read = DeployConfig::read(&self.project);
                    newer =
                        Some(read.map_err(|error| popkit::config_refused(self.tool, self.action, &error))?);
                }
                Err(failure) => {
                    let error = match failure {
                        Failure::NothingToGoBackTo { .. } => popkit::NOTHING.to_owned(),
                        failure => popkit::told(&failure.to_error()),
                    };
                    let dry = wanted.talk.dry_run;
                    return Err(popkit::refused(&self.project, &self.timestamp, &target.name, dry, &error));
                }
                Ok(report) => {
                    return Ok(popkit::rollback(&self.project, &self.timestamp, &target.name, &report));
                }
            }
        }
    }

    fn take_back(
        &self,
        config: &DeployConfig,
        target: &TargetConfig,
        wanted: &Rollback,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Report, Failure> {
        let actor = version::actor();
        let mode = if wanted.talk.dry_run { Mode::RollbackDryRun } else { Mode::Rollback };
        let order = Order { config, ..self.order(mode, Vec::new(), &actor, Arc::clone(interrupt)) };
        let to = wanted.version.as_deref().or(wanted.to.as_deref());
        match way_back(&order, vec![target], to)? {
            WayBack::Past(past) => recover::take_back(&order, &past, Box::new(Silence)),
            WayBack::Errands(errands) => carry_out(&Order { errands, ..order }, Box::new(Silence), &|_| true),
        }
    }
}
