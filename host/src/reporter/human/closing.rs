//! The end of a run, as people read it.

use super::{
    super::{BAD, GOOD, error_lines, named, seconds},
    Loudness,
};
use crate::{
    config::Environment,
    pipeline::outcome::{Ending, Mode, Report, TargetEnding, TargetReport},
};

/// The end of a run: result, duration, where things are, what to do next.
pub(super) fn closing(report: &Report, history: &str, loudness: Loudness) -> String {
    let mut text = String::new();
    if loudness > Loudness::Quiet {
        text.push('\n');
    }
    if let Some(error) = &report.error {
        text.push_str(&error_lines(error));
    }
    for target in report.targets.iter().filter(|_| report.targets.len() > 1 || report.error.is_some()) {
        text.push_str(&format!("{}: {}\n", target.name, target_result(target)));
    }
    let style = if report.ending.is_success() { GOOD } else { BAD };
    text.push_str(&format!("Result: {style}{}{style:#}\n", result(report)));
    if loudness == Loudness::Quiet {
        return text;
    }
    text.push_str(&format!("Duration: {}\n", seconds(report.took)));
    if !report.mode.is_dry() {
        text.push_str(&format!("Deployment: {}\n", report.run));
        text.push_str(&format!("History: {history}\n"));
    }
    if let Some(log) = &report.log {
        text.push_str(&format!("Log: {}\n", log.display()));
    }
    text.push_str(&format!("Next: {}\n", next(report)));
    text
}

pub(super) fn result(report: &Report) -> String {
    match report.ending {
        Ending::Succeeded if matches!(report.mode, Mode::Recovery | Mode::Abort) => {
            match report.targets.as_slice() {
                [target] => format!("taken back, {}", live_since(target)),
                targets => format!("taken back, {} targets", targets.len()),
            }
        }
        Ending::Succeeded => match report.targets.as_slice() {
            [target] => {
                let to = named(&target.release);
                match target.before.as_ref().and_then(|before| before.version.as_deref()) {
                    Some(from) if from != to => format!("succeeded, {from} → {to}"),
                    _ => format!("succeeded, {to}"),
                }
            }
            targets => format!("succeeded, {} targets", targets.len()),
        },
        Ending::CanaryOpen { wanted: true } => "canary open, it waits for a verdict".to_owned(),
        Ending::CanaryOpen { wanted: false } => {
            "canary open: it couldn't be judged, and waits for a verdict".to_owned()
        }
        Ending::Planned { pending: true } => "dry run, nothing was changed".to_owned(),
        Ending::Planned { pending: false } => "dry run, nothing would change".to_owned(),
        Ending::Refused => "refused, nothing was tried".to_owned(),
        Ending::NotReady => "preflight failed, nothing was changed".to_owned(),
        Ending::Locked => "locked, nothing was changed".to_owned(),
        Ending::NoRelease => "nothing to go back to, nothing was changed".to_owned(),
        Ending::FailedBeforeLive => "failed, nothing live was changed".to_owned(),
        Ending::RolledBack if report.targets.iter().all(|target| target.before.is_none()) => {
            "failed and rolled back, all is as it was before".to_owned()
        }
        Ending::RolledBack => "failed and rolled back, the release before is live".to_owned(),
        Ending::Partial => "partly done, see the targets above".to_owned(),
        Ending::Stuck => "stuck, a person is needed: see the targets above".to_owned(),
        Ending::Interrupted { signal } => format!("stopped by signal {signal}"),
    }
}

/// What is live after a target was taken back.
fn live_since(target: &TargetReport) -> String {
    let live = target.live_since().map(named);
    match live {
        _ if target.after.is_none() => "and what is live can't be read".to_owned(),
        Some(live) if target.was_overtaken() && target.was_live => {
            format!("but {live} is live, which isn't what was live before")
        }
        Some(live) if target.was_overtaken() => {
            format!("nothing of it was live, and {live} is, which somebody deployed since")
        }
        Some(live) => format!("{live} is live"),
        None => match target.before.as_ref() {
            Some(before) => {
                format!("but {} isn't live everywhere any more", named(before))
            }
            None => "nothing is live".to_owned(),
        },
    }
}

fn target_result(target: &TargetReport) -> String {
    match target.ending {
        TargetEnding::Skipped => "nothing was changed".to_owned(),
        TargetEnding::Staged => "staged, not live".to_owned(),
        TargetEnding::CanaryOpen => {
            let version = named(&target.release);
            format!("{version} is live for a part, as a canary")
        }
        TargetEnding::Verified => {
            format!("{} is live", named(&target.release))
        }
        TargetEnding::Astray => {
            let version = named(&target.release);
            format!("{version} is live, but for what is named above")
        }
        TargetEnding::RolledBack => match target.live_since() {
            Some(live) => format!("rolled back, {} is live", named(live)),
            None => "rolled back, all is as it was before".to_owned(),
        },
        TargetEnding::Failed if target.rollback.is_some() && !target.is_back() => {
            "failed, nothing live was changed; see above what is left".to_owned()
        }
        TargetEnding::Failed => "failed, nothing live was changed".to_owned(),
        TargetEnding::LeftLive => "failed while live, and left so, as deploy.json says".to_owned(),
        TargetEnding::RollbackFailed => "rollback failed; see above what is left".to_owned(),
        TargetEnding::Unknown => "nobody knows how it stands; see above".to_owned(),
    }
}

fn next(report: &Report) -> String {
    let flag = report.environment.as_ref().map_or(String::new(), Environment::flag);
    let command = |name: &str| format!("`pop-deploy {name}{flag}`");
    match report.ending {
        Ending::Succeeded if matches!(report.mode, Mode::Deploy | Mode::Resume) => {
            format!("{} looks again, {} goes back", command("verify"), command("rollback"))
        }
        Ending::Succeeded => {
            format!("{} looks again, {} shows what was", command("verify"), command("history"))
        }
        Ending::CanaryOpen { .. } => {
            format!("{} has it go all the way, {} takes it back", command("promote"), command("abort"))
        }
        Ending::Planned { pending: true } => "the same command without `--dry-run` does it".to_owned(),
        Ending::Planned { pending: false } => "nothing to do".to_owned(),
        Ending::Refused | Ending::NotReady | Ending::FailedBeforeLive | Ending::RolledBack => {
            "mend what the error names, then run it again".to_owned()
        }
        Ending::Locked => "try again later, or wait with `--wait SECS`".to_owned(),
        Ending::NoRelease => format!("{} shows what was deployed", command("history")),
        Ending::Partial => format!("{} takes a target back", command("rollback --target NAME")),
        Ending::Stuck => format!("mend it as said above, then {}", command("verify")),
        Ending::Interrupted { .. } => format!("{} shows how it stands", command("history")),
    }
}
