//! The seven decisions of a deployment and a rollback. Each has the safe answer as its default.

use clap::Parser as _;

use super::{
    args::{Cli, Site},
    decision::{Choice, Decision},
};
use crate::config::TargetConfig;

/// More versions than this aren't offered; `--to` takes any.
const VERSIONS: usize = 8;

/// Where to deploy to; `primary` is what is meant where nobody chooses. The last option is all of them.
pub(super) fn deploy_target(enabled: &[&TargetConfig], primary: &str) -> Decision {
    let one = |target: &&TargetConfig| {
        let primary = if target.name == primary { ", the primary one" } else { "" };
        Choice::new(&target.name, &target.name, format!("{}{primary}", target.kind))
            .calling(typed_and(&["--target", &target.name]))
    };
    let all = Choice::new("all", "All of them", format!("every enabled target, {} in all", enabled.len()));
    Decision {
        id: "deploy_target",
        header: "Target",
        question: "Where should it go?".to_owned(),
        options: enabled.iter().map(one).chain([all.calling(typed_and(&["--all"]))]).collect(),
        default: enabled.iter().position(|target| target.name == primary).unwrap_or_default(),
    }
}

/// Whether to look only, or to deploy; to a part first, where every target's config says how.
pub(super) fn deploy_mode(what: &str, targets: &[&TargetConfig]) -> Decision {
    let canary = Choice::new("canary", "Canary", "to a part first, as `canary` in the target's config says")
        .calling(typed_and(&["--canary"]));
    let takes_canaries = targets.iter().all(|target| target.config.get("canary").is_some());
    let mut options = vec![
        Choice::new("dry_run", "Dry run", "show what would happen, change nothing")
            .calling(typed_and(&["--dry-run"])),
        Choice::new("deploy", "Deploy", "plan it, show the plan, ask once more")
            .calling(typed_and(&["--mode", "deploy"])),
    ];
    options.extend(takes_canaries.then_some(canary));
    Decision {
        id: "deploy_mode",
        header: "Mode",
        question: format!("Deploy {what}: look only, or go ahead?"),
        options,
        default: 0,
    }
}

/// The last word before anything changes.
pub(super) fn confirm_deploy(what: &str) -> Decision {
    Decision {
        id: "confirm_deploy",
        header: "Confirm",
        question: format!("Deploy {what} as planned?"),
        options: vec![
            Choice::new("cancel", "Cancel", "change nothing"),
            Choice::new("deploy", "Deploy", "do what the plan says").calling(typed_and(&["--yes"])),
        ],
        default: 0,
    }
}

/// The last word before a run that was interrupted goes on.
pub(super) fn confirm_resume(how_it_stands: &str) -> Decision {
    Decision { question: format!("{how_it_stands}. Go on with it?"), ..confirm_deploy("it") }
}

/// The last word before an open canary is judged.
pub(super) fn confirm_verdict(how_it_stands: &str, verdict: &str) -> Decision {
    Decision { question: format!("{how_it_stands}. {verdict}?"), ..confirm_deploy("it") }
}

/// What to do once it is live.
pub(super) fn post_deploy(site: &Site, targets: &[String]) -> Decision {
    Decision {
        id: "post_deploy",
        header: "Next",
        question: "It is live. What next?".to_owned(),
        options: vec![
            Choice::new("done", "Done", "leave it as it is"),
            Choice::new("verify", "Verify", "look again whether it is whole")
                .calling(follow_up("verify", site, targets)),
            Choice::new("rollback", "Roll back", "make the release before live again; asks once more")
                .calling(follow_up("rollback", site, targets)),
        ],
        default: 0,
    }
}

/// How to go back. `versions` are those there are, `previous` the one that is meant where nobody chooses, `bad` those that
/// went bad.
pub(super) fn rollback_strategy(target: &str, versions: &[String], previous: &str, bad: &[&str]) -> Decision {
    let to = |version: &String| {
        let (value, description) = match version {
            version if version == previous => {
                ("previous".to_owned(), "the newest good one before what is live")
            }
            _ if bad.contains(&version.as_str()) => (version.clone(), "it went bad"),
            _ => (version.clone(), "another one that was live"),
        };
        Choice::new(&value, &format!("To {version}"), description).calling(typed_and(&["--to", version]))
    };
    let look = Choice::new("dry_run", "Dry run", "show what going back would do, change nothing");
    let look = look.calling(typed_and(&["--dry-run"]));
    Decision {
        id: "rollback_strategy",
        header: "Rollback",
        question: format!("How should `{target}` go back?"),
        options: [look].into_iter().chain(versions.iter().take(VERSIONS).map(to)).collect(),
        default: 0,
    }
}

/// The last word before something goes back.
pub(super) fn confirm_rollback(what: &str) -> Decision {
    Decision {
        id: "confirm_rollback",
        header: "Confirm",
        question: format!("{what}?"),
        options: vec![
            Choice::new("cancel", "Cancel", "change nothing"),
            Choice::new("rollback", "Roll back", "do what the plan says").calling(typed_and(&["--yes"])),
        ],
        default: 0,
    }
}

/// Whether to keep a report, once it went back.
pub(super) fn incident_report(site: &Site, targets: &[String]) -> Decision {
    let keep = [follow_up("incident", site, targets), vec!["--save".to_owned()]].concat();
    Decision {
        id: "incident_report",
        header: "Report",
        question: "Keep an incident report?".to_owned(),
        options: vec![
            Choice::new("write", "Write it", "to `incidents` in the data folder").calling(keep),
            Choice::new("skip", "Skip", "`pop-deploy incident` tells it later too"),
        ],
        default: 0,
    }
}

/// The command as it was typed, and these words.
fn typed_and(more: &[&str]) -> Vec<String> {
    let typed = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    typed.chain(more.iter().map(|word| (*word).to_owned())).collect()
}

/// Another command for the same place.
fn follow_up(command: &str, site: &Site, targets: &[String]) -> Vec<String> {
    let typed = Cli::parse();
    let mut words = vec![command.to_owned()];
    let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
    for folder in &typed.plugin_dir {
        flag("--plugin-dir", folder.display().to_string());
    }
    flag("--dir", site.place.dir.display().to_string());
    flag("--environment", site.environment.clone());
    for target in targets {
        flag("--target", target.clone());
    }
    if typed.locked {
        words.push("--locked".to_owned());
    }
    if typed.speaks_json() {
        words.push("--json".to_owned());
    }
    words
}
