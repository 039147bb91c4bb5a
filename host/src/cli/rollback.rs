//! `rollback`: make the release before live again, or take an interrupted run back.

use std::time::Duration;

use pop_deploy_plugin_api::{
    Error,
    protocol::{PastRelease, Plan, Release},
};

use super::{
    Conversation,
    args::{Rollback, Site},
    command_line,
    decision::Decision,
    exit, open, print_line, questions, selection,
    status::indented,
};
use crate::{
    config::{DeployConfig, TargetConfig},
    exit::Exit,
    failure::Failure,
    history::{Deployed, History, TargetHistory},
    journal::{self, PastRun},
    pipeline::{
        event::Listener,
        look::{self, View},
        objection,
        order::{Errand, Goal, Order},
        outcome::{Ending, Mode, Report},
        recover,
        run::carry_out,
    },
    plugins::SearchPath,
    project::Project,
    reporter::{named, printable},
    select,
    status::{at_once, is_gone},
    version,
};

pub(super) fn rollback(wanted: &Rollback, plugins: &SearchPath) -> Result<Exit, Failure> {
    Conversation::hold(&wanted.talk, |conversation| {
        loop {
            match talk(wanted, plugins, conversation) {
                // While this one waited for the lock, another run ended: history is read anew.
                Err(Failure::Outdated) => {}
                ended => return ended,
            }
        }
    })
}

fn talk(wanted: &Rollback, plugins: &SearchPath, conversation: &Conversation) -> Result<Exit, Failure> {
    let (project, config) = open(&wanted.site)?;
    let targets = select::select(&config, &selection(&wanted.targets))?;
    if wanted.list {
        let actor = version::actor();
        let view = |target| conversation.view((&project, &config), target, plugins, &actor);
        let views: Vec<_> = targets.into_iter().map(view).collect();
        for (view, kept) in views.iter().zip(at_once(&views, look::kept)) {
            list(view, &kept);
        }
        return Ok(Exit::Done);
    }
    if let Some(to) = &wanted.to {
        version::check(to)?;
    }
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    conversation.find_somebody(&names)?;
    let actor = version::actor();
    let mut order = Order {
        project: &project,
        config: &config,
        errands: Vec::new(),
        plugins,
        mode: if wanted.talk.dry_run { Mode::RollbackDryRun } else { Mode::Rollback },
        actor: &actor,
        command: command_line(),
        wait: wanted.talk.wait.map(Duration::from_secs),
        interrupt: conversation.interrupt.clone(),
        redactor: conversation.redactor.clone(),
    };
    let report = match way_back(&order, targets, wanted.to.as_deref())? {
        WayBack::Past(past) => take_back(&order, &past, wanted, conversation),
        WayBack::Errands(errands) => {
            order.errands = errands;
            go_back(wanted, order, conversation)
        }
    }?;
    if is_back(&report) {
        conversation.go_on(&offer(&wanted.site, &report))?;
    }
    Ok(exit(&report, wanted.talk.detailed_exitcode))
}

/// Where a rollback leads.
pub(super) enum WayBack<'c> {
    /// To what was live before a run that died there.
    Past(Box<PastRun>),
    /// To former releases.
    Errands(Vec<Errand<'c>>),
}

/// The way back for targets; the order's own errands don't count. A run that died there comes first; where there is nothing
/// to go back to, the first deployment may be under way, and is waited for.
pub(super) fn way_back<'c>(
    order: &Order<'_>,
    targets: Vec<&'c TargetConfig>,
    to: Option<&str>,
) -> Result<WayBack<'c>, Failure> {
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    let mut past = recover::oldest(order.project, &names)?;
    let mut errands = Ok(Vec::new());
    if past.is_none() {
        let errand = |target| Ok(Errand { target, goal: goal(order.project, order.config, target, to)? });
        errands = targets.into_iter().map(errand).collect();
        if matches!(errands, Err(Failure::NothingToGoBackTo { .. })) && !order.mode.is_dry() {
            past = order.wait_for_others(&names)?;
        }
    }
    match past {
        // Neither a look nor a way to another version before that run is mended; the failure says how it stands.
        Some(past) if order.mode.is_dry() || !recover::leads_to(&past, to) => {
            Err(Failure::Interrupted(Box::new(past)))
        }
        Some(past) => Ok(WayBack::Past(Box::new(past))),
        None => errands.map(WayBack::Errands),
    }
}

/// Takes a run that died back, if somebody confirms it.
fn take_back(
    order: &Order<'_>,
    past: &PastRun,
    wanted: &Rollback,
    conversation: &Conversation,
) -> Result<Report, Failure> {
    let how_it_stands = Failure::Interrupted(Box::new(past.clone()));
    let confirmation = questions::confirm_rollback(&format!("{how_it_stands}. Take it back"));
    if conversation.is_asked_by_a_program() {
        conversation.decide(&confirmation)?;
    }
    if !conversation.confirm_text("", &confirmation) {
        return Err(Failure::Declined);
    }
    recover::take_back(order, past, offering(wanted, order, conversation))
}

/// Goes back to former releases, or looks only, as somebody decides.
fn go_back(wanted: &Rollback, mut order: Order<'_>, conversation: &Conversation) -> Result<Report, Failure> {
    let strategy = match order.errands.as_slice() {
        [errand] => strategy(wanted, &order, errand, conversation)?,
        _ => Strategy::As(None),
    };
    match strategy {
        Strategy::DryRun => order.mode = Mode::RollbackDryRun,
        Strategy::As(None) => {}
        Strategy::As(Some(to)) => {
            for errand in &mut order.errands {
                errand.goal = goal(order.project, order.config, errand.target, Some(&to))?;
            }
        }
    }
    let confirmation = questions::confirm_rollback(&what(&order));
    if order.mode == Mode::Rollback && conversation.is_asked_by_a_program() {
        order.mode = Mode::RollbackDryRun;
        let planned = carry_out(&order, conversation.before_a_decision(order.project), &|_| false)?;
        if planned.ending.is_success() {
            conversation.decide(&confirmation)?;
        }
        return Ok(planned);
    }
    let confirm = |plans: &[&Plan]| conversation.confirm(plans, &confirmation);
    carry_out(&order, offering(wanted, &order, conversation), &confirm)
}

/// A reporter that offers an incident report to programs, once it went back.
fn offering(wanted: &Rollback, order: &Order<'_>, conversation: &Conversation) -> Box<dyn Listener> {
    let site = wanted.site.clone();
    conversation.offering(order.project, move |report| is_back(report).then(|| offer(&site, report)))
}

fn offer(site: &Site, report: &Report) -> Decision {
    let names: Vec<_> = report.targets.iter().map(|target| target.name.clone()).collect();
    questions::incident_report(site, &names)
}

fn is_back(report: &Report) -> bool {
    matches!(report.mode, Mode::Rollback | Mode::Recovery) && report.ending == Ending::Succeeded
}

enum Strategy {
    DryRun,
    /// To this version, or the one that is meant where none is named.
    As(Option<String>),
}

/// How one target goes back; where the command line doesn't say it, somebody is asked.
fn strategy(
    wanted: &Rollback,
    order: &Order<'_>,
    errand: &Errand<'_>,
    conversation: &Conversation,
) -> Result<Strategy, Failure> {
    if wanted.to.is_some() || !conversation.asks() {
        return Ok(Strategy::As(None));
    }
    let Goal::Back { to, from } = &errand.goal else { return Ok(Strategy::As(None)) };
    let name = |release: &Release| named(release).to_owned();
    let (previous, live) = (name(&to.release), from.as_ref().map(name));
    let history = History::of(order.config);
    let history = history.target(&errand.target.name);
    let view = conversation.view((order.project, order.config), errand.target, order.plugins, order.actor);
    // Why the place can't be asked is said by the plan.
    let kept = look::kept(&view).ok().flatten();
    let older = history.names().into_iter();
    let older = older.filter(|version| *version != previous && Some(version) != live.as_ref());
    let there = [previous.clone()].into_iter().chain(older);
    let there: Vec<_> = there.filter(|version| !has_none(&history, version, kept.as_deref())).collect();
    let decision =
        questions::rollback_strategy(&errand.target.name, &there, &previous, &history.bad_versions());
    Ok(match conversation.decide(&decision)? {
        0 => Strategy::DryRun,
        // Another release may have the same version.
        option => Strategy::As(there.into_iter().nth(option - 1).filter(|version| *version != previous)),
    })
}

/// `Roll docs back to 1.0`.
fn what(order: &Order<'_>) -> String {
    let one = |errand: &Errand<'_>| {
        format!("{} back to {}", errand.target.name, errand.version().unwrap_or("what was live before"))
    };
    format!("Roll {}", order.errands.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Where a target goes back to: the version named, else the newest good one before the live one.
fn goal(
    project: &Project,
    config: &DeployConfig,
    target: &TargetConfig,
    to: Option<&str>,
) -> Result<Goal, Failure> {
    let history = History::of(config);
    let history = history.target(&target.name);
    let deployed = match to {
        Some(version) => history.find(version).ok_or_else(|| Failure::NeverDeployed {
            target: target.name.clone(),
            version: version.to_owned(),
            there: history.names(),
        })?,
        None => {
            history.previous().ok_or_else(|| Failure::NothingToGoBackTo { target: target.name.clone() })?
        }
    };
    let to = past(project, &deployed, &target.name)?;
    let from = history.live().map(|live| past(project, &live, &target.name)).transpose()?;
    let now = from.as_ref().and_then(|from| from.identity.as_deref());
    if let Some(moved) = objection::to_place(&target.name, to.identity.as_deref(), now) {
        return Err(moved.into());
    }
    Ok(Goal::Back { to, from: from.map(|from| from.release) })
}

fn past(project: &Project, deployed: &Deployed<'_>, target: &str) -> Result<PastRelease, Failure> {
    let release = deployed.release();
    let (identity, receipts) = journal::receipts_of(&project.data, &release.id, target)?.unzip();
    Ok(PastRelease { release, identity, receipts: receipts.unwrap_or_default() })
}

/// Whether the place has none of what history lists by that name.
fn has_none(history: &TargetHistory<'_>, name: &str, kept: Option<&[Release]>) -> bool {
    history.listed(name).is_some_and(|deployed| is_gone(&deployed.release(), kept))
}

fn list(view: &View<'_>, kept: &Result<Option<Vec<Release>>, Error>) {
    let history = History::of(view.config);
    let history = history.target(&view.target.name);
    let live = history.live().map(|live| named(&live.release()).to_owned());
    let previous = history.previous().map(|previous| named(&previous.release()).to_owned());
    let bad = history.bad_versions();
    print_line!("Target: {}", view.target.name);
    for name in history.names() {
        let gone = kept.as_ref().is_ok_and(|kept| has_none(&history, &name, kept.as_deref()));
        let note = match &name {
            name if Some(name) == live.as_ref() => "  live",
            _ if gone => "  gone at the place",
            name if Some(name) == previous.as_ref() => "  where `rollback` goes",
            name if bad.contains(&name.as_str()) => "  went bad",
            _ => "",
        };
        print_line!("  {name}{note}");
    }
    if let Err(error) = kept {
        print_line!("  Which of them are still there can't be read:");
        indented(error).lines().for_each(|line| print_line!("{}", printable(line)));
    }
}
