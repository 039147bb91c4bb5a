//! One run from its lock to its history record: what `execute` and `rollback` are underneath.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, ErrorKind,
    protocol::{CheckStatus, Effect, OpenRequest, PastRelease, Plan, PlanRequest, Release, TargetContext},
    redact::Redactor,
};

use super::{
    engine::{Walk, before_live},
    event::{Announced, Bus, Listener, What},
    member::{Member, Seat, Surroundings, scratch},
    outcome::{Ending, Mode, Report, TargetEnding},
};
use crate::{
    config::{DeployConfig, TargetConfig},
    failure::Failure,
    hooks::Hooks,
    journal::{self, Journal},
    lock::{Holder, TargetLock},
    plugins::{self, Ready, SearchPath},
    project::Project,
    reporter::log::Log,
    signals::Interrupt,
};

/// What is to be done, to which targets.
pub struct Order<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its deploy.json.
    pub config: &'a DeployConfig,
    /// The targets, in file order, each with what it is to have.
    pub errands: Vec<Errand<'a>>,
    /// Where plugins are.
    pub plugins: &'a SearchPath,
    /// What to do.
    pub mode: Mode,
    /// Who does it.
    pub actor: &'a str,
    /// How long to wait for another run to end.
    pub wait: Option<Duration>,
    /// Who may want it to stop.
    pub interrupt: Arc<Interrupt>,
    /// What is blotted out everywhere.
    pub redactor: Redactor,
}

/// What one target is to have.
pub struct Errand<'a> {
    /// The target.
    pub target: &'a TargetConfig,
    /// What it is to have.
    pub goal: Goal,
}

/// Where a target is to go.
pub enum Goal {
    /// To the project as it is now.
    Forward {
        /// The project's version.
        version: Option<String>,
        /// The commit.
        commit: Option<String>,
    },
    /// Back to a former release.
    Back {
        /// Which.
        to: PastRelease,
        /// What history says is live.
        from: Option<Release>,
    },
}

/// What decides, once the plans are there, whether they are walked. Never asked in a dry run.
pub type Confirm<'a> = &'a dyn Fn(&[Plan]) -> bool;

/// Carries an order out, telling `reporter` all along.
///
/// # Errors
/// What kept the run from beginning: nothing was changed, and no record was written. Whatever happens after the
/// locks are held is in the report.
pub fn carry_out(order: &Order<'_>, reporter: Box<dyn Listener>, confirm: Confirm<'_>) -> Result<Report, Failure> {
    let begun = Instant::now();
    if order.mode.is_dry() {
        return dry(order, reporter, begun);
    }
    let journal = Journal::create(&order.project.data)?;
    let held = hold(order, &journal).and_then(|locks| refuse_interrupted(order).map(|()| locks));
    let locks = match held {
        Ok(locks) => locks,
        Err(failure) => {
            journal.discard()?;
            return Err(failure);
        }
    };
    let mut bus = Bus::new(vec![reporter]);
    bus.add(Box::new(Log::create(&journal.log_path(), order.redactor.clone()).map_err(Failure::from)?));
    let run = Run::new(order, journal.id().to_owned(), bus);
    let mut share = locks.iter().map(TargetLock::share).collect::<Result<Vec<_>, _>>()?;
    share.push(journal.share()?);
    run.announce();
    let mut report = match run.members(&share) {
        Ok(mut members) => match run.plan_all(&mut members) {
            Ok(()) if !confirm(&plans(&members)) => {
                journal.discard()?;
                return Err(Failure::Declined);
            }
            Ok(()) => run.walk(&journal, &mut members)?,
            Err(error) => run.report(&members, before_live(&error, true), Some(error)),
        },
        Err(error) => run.report(&[], before_live(&error, true), Some(error)),
    };
    report.took = begun.elapsed();
    report.log = Some(journal.log_path());
    run.record(&journal, &report);
    run.around.bus.tell(What::RunFinished(&report));
    drop(locks);
    Ok(report)
}

/// Plans, and nothing else.
fn dry(order: &Order<'_>, reporter: Box<dyn Listener>, begun: Instant) -> Result<Report, Failure> {
    let run = Run::new(order, "dry-run".to_owned(), Bus::new(vec![reporter]));
    run.announce();
    for errand in &order.errands {
        if let Some(holder) = TargetLock::holder(&order.project.data, &errand.target.name)? {
            let held = format!("`{}` is locked by {holder}; a real run would have to wait", errand.target.name);
            run.around.bus.tell_of(&errand.target.name, What::Warning(&held));
        }
    }
    let (members, result) = match run.members(&[]) {
        Ok(mut members) => {
            let result = run.dry_hooks().and_then(|()| run.plan_all(&mut members));
            (members, result)
        }
        Err(error) => (Vec::new(), Err(error)),
    };
    let mut report = match result {
        Ok(()) => {
            let pending = plans(&members).iter().any(would_change);
            run.report(&members, Ending::Planned { pending }, None)
        }
        Err(error) => run.report(&members, before_live(&error, true), Some(error)),
    };
    report.took = begun.elapsed();
    run.around.bus.tell(What::RunFinished(&report));
    Ok(report)
}
