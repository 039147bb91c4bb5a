//! `status`: what is live where, against what history says, and what waits for somebody.

use pop_deploy_plugin_api::{Error, protocol::CheckStatus};
use serde_json::{Value, json};

use super::{
    Conversation,
    args::{Status, Talk},
    open, print_line,
};
use crate::{
    config::{DeployConfig, Environment, TargetConfig},
    exit::Exit,
    failure::Failure,
    journal::PastRun,
    pipeline::look::Sight,
    plugins::SearchPath,
    reporter::{error_lines, named, printable},
    select,
    status::{TargetStatus, is_gone, of_targets, open_runs},
    version,
};

pub(super) fn status(wanted: &Status, plugins: &SearchPath) -> Result<Exit, Failure> {
    Conversation::hold(&Talk::reading(wanted.json), |conversation| {
        let actor = version::actor();
        let (project, config) = open(&wanted.site)?;
        let targets = shown(&config, &wanted.target)?;
        let view = |target| conversation.view((&project, &config), target, plugins, &actor);
        let views: Vec<_> = targets.into_iter().map(view).collect();
        let statuses = of_targets(&views)?;
        let (died, canaries) = open_runs(&project)?;
        if wanted.json {
            print_line!(
                "{}",
                json!({
                    "v": 1, "type": "status", "project": config.project_name_or_folder(&project),
                    "directory": project.dir, "environment": project.environment,
                    "targets": statuses.iter().map(target_value).collect::<Vec<_>>(),
                    "interrupted": died.iter().map(run_value).collect::<Vec<_>>(),
                    "open_canaries": canaries.iter().map(run_value).collect::<Vec<_>>(),
                })
            );
            return Ok(Exit::Done);
        }
        let place =
            config.named_environment().map_or(String::new(), |name| format!(" · Environment: {name}"));
        print_line!("Project: {}{place}", printable(&config.project_name_or_folder(&project)));
        for status in &statuses {
            // Versions and what plugins say are somebody else's words.
            target_text(status).lines().for_each(|line| print_line!("{}", printable(line)));
        }
        for run in &died {
            let interrupted = Failure::Interrupted(Box::new(run.clone()));
            print_line!("{interrupted}");
            interrupted.hint().iter().for_each(|hint| print_line!("  hint: {hint}"));
        }
        for run in &canaries {
            print_line!("{}", canary_text(run, &project.environment));
        }
        Ok(Exit::Done)
    })
}

/// Those that are named, disabled ones too, else all.
fn shown<'c>(config: &'c DeployConfig, names: &[String]) -> Result<Vec<&'c TargetConfig>, Failure> {
    if names.is_empty() {
        return Ok(config.targets.iter().collect());
    }
    let known = |name: &String| config.target(name).ok_or_else(|| select::unknown(config, name).into());
    names.iter().map(known).collect()
}

fn target_text(status: &TargetStatus<'_>) -> String {
    let target = status.target;
    let primary = if target.primary { ", primary" } else { "" };
    let mut text = format!("{} ({}{primary})\n", target.name, target.kind);
    let known = status.known.as_ref().map_or("nothing", named);
    let live = match &status.seen {
        Ok(Sight { live: Some(live), .. })
            if status.known.as_ref().is_some_and(|known| known.id == live.id) =>
        {
            format!("{}, as history says", named(live))
        }
        Ok(Sight { live: Some(live), .. }) => format!("{}, but history says {known}", named(live)),
        Ok(Sight { live: None, .. }) if status.known.is_none() => "nothing yet".to_owned(),
        Ok(Sight { live: None, .. }) => format!("no single release of ours, but history says {known}"),
        Err(error) => format!("can't be read; history says {known}\n{}", indented(error)),
    };
    text.push_str(&format!("  Live: {live}\n"));
    if let Some(previous) = &status.previous {
        let note = match is_gone(previous, status.kept.as_deref()) {
            true => "gone at the place; `rollback --list` shows what is left",
            false => "where `rollback` goes",
        };
        text.push_str(&format!("  Before: {}, {note}\n", named(previous)));
    }
    for check in status.seen.iter().flat_map(|seen| &seen.checks) {
        if matches!(check.status, CheckStatus::Fail | CheckStatus::Warn) && check.name != "history" {
            let word = if check.status == CheckStatus::Fail { "Fails" } else { "Look at" };
            text.push_str(&format!("  {word}: {}: {}\n", check.name, check.message));
        }
    }
    if let Some(holder) = &status.holder {
        text.push_str(&format!("  At work: {holder}\n"));
    }
    if !target.enabled {
        text.push_str("  Disabled in deploy.json\n");
    }
    text.trim_end().to_owned()
}

pub(super) fn indented(error: &Error) -> String {
    let lines = error_lines(error);
    lines.lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end().to_owned()
}

fn canary_text(run: &PastRun, environment: &Environment) -> String {
    let version = run.info.version.as_deref().unwrap_or(&run.id);
    format!(
        "A canary of {version} is open (run {})\n  hint: `pop-deploy promote{1}` completes it, `pop-deploy abort{1}` takes it back",
        run.id,
        environment.flag()
    )
}

fn target_value(status: &TargetStatus<'_>) -> Value {
    let (live, checks, error) = match &status.seen {
        Ok(seen) => (json!(seen.live), json!(seen.checks), Value::Null),
        Err(error) => (Value::Null, json!([]), json!(error)),
    };
    json!({
        "target": status.target.name, "type": status.target.kind, "enabled": status.target.enabled,
        "primary": status.target.primary, "live": live, "history": status.known, "previous": status.previous,
        "kept": status.kept, "checks": checks, "error": error, "holder": status.holder,
    })
}

fn run_value(run: &PastRun) -> Value {
    json!({ "deployment_id": run.id, "started_at": run.started_at, "targets": run.info.targets, "version": run.info.version })
}
