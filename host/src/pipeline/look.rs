//! A look at a target without a run: what is live there, and whether it is what history says.

use std::sync::Arc;

use pop_deploy_plugin_api::{
    Error, ErrorKind,
    protocol::{
        Check, CheckStatus, Diagnostic, OpenCanary, PlaceLock, Plan, PlanRequest, Release, Rollout,
        UnlockRequest, Unreachable, capability,
    },
    redact::Redactor,
};

use super::{
    canary,
    event::Bus,
    member::{Member, Surroundings},
    outcome::Mode,
    seating::{Guest, Seated, Seating},
};
use crate::{
    config::{DeployConfig, TargetConfig},
    failure::Failure,
    history::History,
    journal,
    plugins::SearchPath,
    project::Project,
    reporter::named,
    signals::Interrupt,
};

/// What to look at, from where.
pub struct View<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its deploy.json.
    pub config: &'a DeployConfig,
    /// The target.
    pub target: &'a TargetConfig,
    /// Where plugins are.
    pub plugins: &'a SearchPath,
    /// Who looks.
    pub actor: &'a str,
    /// Who may want it to stop.
    pub interrupt: Arc<Interrupt>,
    /// What is blotted out everywhere.
    pub redactor: Redactor,
}

/// What was seen.
pub struct Sight {
    /// What is live, where it is one of ours.
    pub live: Option<Release>,
    /// The plugin's checks, and ours: whether history agrees.
    pub checks: Vec<Check>,
}

impl Sight {
    /// Whether every check passed or didn't apply.
    pub fn is_healthy(&self) -> bool {
        self.checks.iter().all(|check| matches!(check.status, CheckStatus::Pass | CheckStatus::Skip))
    }
}

/// Looks; changes nothing.
///
/// # Errors
/// There is no plugin for the target, its config is wrong, or the place can't be read.
pub fn at(view: &View<'_>) -> Result<Sight, Failure> {
    Ok(look(view)?.0)
}

/// The same, and which releases the place has still: none where the plugin doesn't say, or can't. Why it can't is among the
/// checks.
///
/// # Errors
/// As [`at`].
pub fn at_all(view: &View<'_>) -> Result<(Sight, Option<Vec<Release>>), Failure> {
    let (sight, mut member) = look(view)?;
    Ok((sight, ask_if_capable(&mut member, capability::KEPT, Member::kept).ok().flatten()))
}

/// What is seen, and who was asked.
fn look(view: &View<'_>) -> Result<(Sight, Member), Failure> {
    let waiting = canary::open_at(view.project, &[&view.target.name])?;
    let open = waiting.iter().find_map(|run| run.target(&view.target.name)?.open_canary());
    let mut member = seated(view, NOTHING, open)?;
    let status = member.status()?;
    let mut checks = status.checks;
    checks.push(against_history(view, status.live.as_ref()));
    for run in waiting {
        let open = Failure::CanaryOpen(Box::new(run)).to_error();
        let mut check = Check::new("canary_open", CheckStatus::Pass, open.message);
        check.hint = open.hint;
        checks.push(check);
    }
    let blot = |text: &String| view.redactor.redact(text).into_owned();
    for check in &mut checks {
        check.message = blot(&check.message);
        check.hint = check.hint.as_ref().map(blot);
    }
    Ok((Sight { live: status.live, checks }, member))
}

/// What a deployment of that version would begin with: the plugin's plan, with what it checked.
///
/// # Errors
/// There is no plugin for the target, its config is wrong, or no plan can be made.
pub fn ahead(view: &View<'_>, version: Option<&str>, commit: Option<&str>) -> Result<Plan, Failure> {
    let release = Release {
        id: journal::proposed_id(&view.project.data),
        version: version.map(str::to_owned),
        commit: commit.map(str::to_owned),
    };
    let mut member = seated(view, release.clone(), None)?;
    let (rollout, unreachable) = (Rollout::Full, Unreachable::Fails);
    Ok(member.make_plan(&PlanRequest::Deploy { release, rollout, unreachable })?.clone())
}

/// What the plugin can gather that helps to understand a failure; nothing where it gathers nothing.
///
/// # Errors
/// There is no plugin for the target, its config is wrong, or the place can't be read.
pub fn diagnose(view: &View<'_>) -> Result<Vec<Diagnostic>, Failure> {
    match seated(view, NOTHING, None)?.diagnose() {
        Err(error) if error.kind == ErrorKind::Unimplemented => Ok(Vec::new()),
        gathered => Ok(gathered?),
    }
}

/// Which releases the place has still; none where the plugin doesn't say.
///
/// # Errors
/// There is no plugin for the target, its config is wrong, or the place can't be read.
pub fn kept(view: &View<'_>) -> Result<Option<Vec<Release>>, Failure> {
    Ok(ask_if_capable(&mut seated(view, NOTHING, None)?, capability::KEPT, Member::kept)?)
}

/// Who is at work at the place; none where the plugin keeps no locks there that it could tell of.
///
/// # Errors
/// There is no plugin for the target, its config is wrong, or the place can't be read.
pub fn locks(view: &View<'_>) -> Result<Option<Vec<PlaceLock>>, Failure> {
    Ok(ask_if_capable(&mut seated(view, NOTHING, None)?, capability::UNLOCK, Member::locks)?)
}

/// Takes the place from a run, by a session that may write; who is at work there then. What the plugin says, and that it is
/// new here, goes to the bus.
///
/// # Errors
/// As [`locks`].
pub fn unlock(
    view: &View<'_>,
    request: &UnlockRequest,
    bus: Arc<Bus>,
) -> Result<Option<Vec<PlaceLock>>, Failure> {
    let around = surroundings(view, bus);
    let seating = seating(Mode::Recovery, view, &around);
    let Seated { mut member, newcomer } = seating.seat(guest(view, NOTHING, None))?;
    if newcomer.is_some() {
        member.open()?;
        seating.record_all(newcomer.as_slice())?;
    }
    Ok(ask_if_capable(&mut member, capability::UNLOCK, |member| member.unlock(request))?)
}

/// Asks what only some plugins answer; none where this one doesn't.
fn ask_if_capable<T>(
    member: &mut Member,
    capability: &str,
    ask: impl FnOnce(&mut Member) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    if !member.is_capable_of(capability) {
        return Ok(None);
    }
    match ask(member) {
        Err(error) if error.kind == ErrorKind::Unimplemented => Ok(None),
        answered => answered.map(Some),
    }
}

const NOTHING: Release = Release { id: String::new(), version: None, commit: None };

/// A member that may read, and nobody listens to.
fn seated(view: &View<'_>, release: Release, canary: Option<OpenCanary>) -> Result<Member, Failure> {
    let around = surroundings(view, Arc::new(Bus::default()));
    let seated = seating(Mode::DryRun, view, &around).seat(guest(view, release, canary))?;
    Ok(seated.member)
}

fn surroundings(view: &View<'_>, bus: Arc<Bus>) -> Surroundings {
    Surroundings { bus, interrupt: Arc::clone(&view.interrupt), redactor: view.redactor.clone() }
}

fn seating<'a>(mode: Mode, view: &'a View<'_>, around: &'a Surroundings) -> Seating<'a> {
    Seating {
        project: view.project,
        config: view.config,
        plugins: view.plugins,
        actor: view.actor,
        mode,
        run: "verify",
        held: &[],
        around,
    }
}

fn guest<'a>(view: &'a View<'_>, release: Release, canary: Option<OpenCanary>) -> Guest<'a> {
    let target = view.target;
    Guest {
        name: &target.name,
        kind: &target.kind,
        today: Some(target),
        config: target.config.clone(),
        release,
        source_may_change: false,
        canary,
    }
}

fn against_history(view: &View<'_>, live: Option<&Release>) -> Check {
    let history = History::of(view.config);
    let history = history.target(&view.target.name);
    let (status, message) = match (live, history.live().map(|deployed| deployed.release())) {
        (None, None) => (CheckStatus::Skip, "nothing was deployed yet".to_owned()),
        (Some(live), Some(known)) if live.id == known.id => {
            (CheckStatus::Pass, format!("{} is live, as history says", named(live)))
        }
        (Some(live), Some(known)) => {
            (CheckStatus::Fail, format!("{} is live, and history says {}", named(live), named(&known)))
        }
        (Some(live), None) => {
            (CheckStatus::Warn, format!("{} is live, and history knows nothing of it", named(live)))
        }
        (None, Some(known)) => (
            CheckStatus::Fail,
            format!("history says {}, and no single release of ours is live", named(&known)),
        ),
    };
    let mut check = Check::new("history", status, message);
    if status == CheckStatus::Fail {
        check.hint =
            Some("find out who changed it; the next `execute` or `rollback` puts it right".to_owned());
    }
    check
}
