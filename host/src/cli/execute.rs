//! `execute`: bring the project to its targets.

use std::time::Duration;

use super::{
    Conversation,
    args::{CutOff, Execute, PopkitMode, Talk, Until},
    command_line, exit, open, questions, selection,
};
use crate::{
    config::{DeployConfig, TargetConfig},
    exit::Exit,
    failure::Failure,
    journal,
    pipeline::{
        order::{Errand, Goal, Order},
        outcome::{Ending, Mode, Report},
        recover, resume,
        run::carry_out,
    },
    plugins::SearchPath,
    select::{self, Selection},
    version,
};

pub(super) fn execute(wanted: &Execute, plugins: &SearchPath) -> Result<Exit, Failure> {
    let dry_run = wanted.talk.dry_run || wanted.mode == Some(PopkitMode::DryRun);
    let talk = Talk { dry_run, ..wanted.talk };
    Conversation::hold(&talk, |conversation| hold_talk(wanted, &talk, plugins, conversation))
}

fn hold_talk(
    wanted: &Execute,
    talk: &Talk,
    plugins: &SearchPath,
    conversation: &Conversation,
) -> Result<Exit, Failure> {
    let (project, config) = open(&wanted.site)?;
    let targets = targets(wanted, &config, conversation)?;
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    conversation.find_somebody(&names)?;
    if wanted.until == Some(Until::Manual) && names.len() > 1 {
        return Err(Failure::ManualForSeveral { targets: names.into_iter().map(str::to_owned).collect() });
    }
    let mut order = Order {
        project: &project,
        config: &config,
        errands: Vec::new(),
        plugins,
        mode: match (wants_canary(wanted), talk.dry_run) {
            (true, true) => Mode::CanaryDryRun,
            (true, false) => Mode::Canary(until(wanted)),
            (false, true) => Mode::DryRun,
            (false, false) => Mode::Deploy,
        },
        actor: &version::actor(),
        command: command_line(),
        wait: talk.wait.map(Duration::from_secs),
        interrupt: conversation.interrupt.clone(),
        redactor: conversation.redactor.clone(),
    };
    let report = if wanted.resume {
        order.mode = Mode::Resume;
        go_on(&order, &names, cut_off(wanted), conversation)?
    } else {
        let version = version::of_project(&project.dir, wanted.version.as_deref());
        if let Some(version) = &version {
            version::check(version)?;
        }
        let commit = version::commit(&project.dir);
        let unreachable = wanted.unreachable();
        let goal = || Goal::Forward { version: version.clone(), commit: commit.clone(), unreachable };
        order.errands = targets.into_iter().map(|target| Errand { target, goal: goal() }).collect();
        deploy(wanted, order, conversation)?
    };
    Ok(exit(&report, talk.detailed_exitcode))
}

/// Deploys, or looks only, as somebody decides; then asks what comes next.
fn deploy(wanted: &Execute, mut order: Order<'_>, conversation: &Conversation) -> Result<Report, Failure> {
    let names: Vec<_> = order.errands.iter().map(|errand| errand.target.name.clone()).collect();
    let version = order.errands.first().and_then(Errand::version).unwrap_or("the project");
    let what = format!("{version} to {}", names.join(", "));
    order.mode = match wanted.mode {
        _ if order.mode.is_dry() => order.mode,
        None if order.mode != Mode::Deploy => order.mode,
        Some(_) => order.mode,
        None => mode(&what, &order, until(wanted), conversation)?,
    };
    let confirmation = questions::confirm_deploy(&what);
    let look = match order.mode {
        Mode::Deploy => Some(Mode::DryRun),
        Mode::Canary(_) => Some(Mode::CanaryDryRun),
        _ => None,
    };
    if let Some(look) = look.filter(|_| conversation.is_asked_by_a_program()) {
        order.mode = look;
        let planned = carry_out(&order, conversation.before_a_decision(order.project), &|_| false)?;
        if planned.ending.is_success() {
            conversation.decide(&confirmation)?;
        }
        return Ok(planned);
    }
    let next = questions::post_deploy(&wanted.site, &names);
    let offer = next.clone();
    let reporter = conversation.offering(order.project, move |report| is_live(report).then(|| offer.clone()));
    let report = carry_out(&order, reporter, &|plans| conversation.confirm(plans, &confirmation))?;
    if is_live(&report) {
        conversation.go_on(&next)?;
    }
    Ok(report)
}

fn is_live(report: &Report) -> bool {
    report.mode == Mode::Deploy && report.ending == Ending::Succeeded
}

fn wants_canary(wanted: &Execute) -> bool {
    wanted.canary || wanted.mode == Some(PopkitMode::Canary)
}

fn until(wanted: &Execute) -> journal::Until {
    match wanted.until {
        Some(Until::Manual) => journal::Until::Manual,
        Some(Until::Verdict) | None => journal::Until::Verdict,
    }
}

fn cut_off(wanted: &Execute) -> Option<resume::CutOff> {
    wanted.cut_off.map(|cut_off| match cut_off {
        CutOff::Done => resume::CutOff::Done,
        CutOff::Again => resume::CutOff::Again,
    })
}

/// Finishes the oldest run that died at one of these targets.
fn go_on(
    order: &Order<'_>,
    targets: &[&str],
    cut_off: Option<resume::CutOff>,
    conversation: &Conversation,
) -> Result<Report, Failure> {
    let nothing = || Failure::NothingToResume { targets: targets.join(", ") };
    let past = match recover::oldest(order.project, targets)? {
        Some(past) => past,
        None => order.wait_for_others(targets)?.ok_or_else(nothing)?,
    };
    resume::check(&past, cut_off)?;
    let how_it_stands = Failure::Interrupted(Box::new(past.clone())).to_string();
    let confirmation = questions::confirm_resume(&how_it_stands);
    if conversation.is_asked_by_a_program() {
        conversation.decide(&confirmation)?;
    }
    if !conversation.confirm_text("", &confirmation) {
        return Err(Failure::Declined);
    }
    resume::go_on(order, &past, cut_off, conversation.reporter(order.project))
}

/// The targets; where there are several and none is named, somebody is asked.
fn targets<'c>(
    wanted: &Execute,
    config: &'c DeployConfig,
    conversation: &Conversation,
) -> Result<Vec<&'c TargetConfig>, Failure> {
    let selection = selection(&wanted.targets);
    let chosen = select::select(config, &selection)?;
    let enabled: Vec<_> = config.targets.iter().filter(|target| target.enabled).collect();
    let is_settled = selection != Selection::Primary || enabled.len() < 2 || wanted.resume;
    if is_settled || !conversation.asks() {
        return Ok(chosen);
    }
    let option = conversation.decide(&questions::deploy_target(&enabled, &chosen[0].name))?;
    Ok(enabled.get(option).map_or(enabled.clone(), |one| vec![one]))
}

/// Whether to look or to deploy; unless that was settled on the command line, somebody is asked.
fn mode(
    what: &str,
    order: &Order<'_>,
    until: journal::Until,
    conversation: &Conversation,
) -> Result<Mode, Failure> {
    if !conversation.asks() {
        return Ok(Mode::Deploy);
    }
    let targets: Vec<_> = order.errands.iter().map(|errand| errand.target).collect();
    Ok(match conversation.decide(&questions::deploy_mode(what, &targets))? {
        0 => Mode::DryRun,
        1 => Mode::Deploy,
        _ => Mode::Canary(until),
    })
}
