//! `target_config`, and the checks that the target's plugin makes before a deployment.

use pop_deploy_plugin_api::{Error, ErrorKind, protocol::CheckStatus};

use super::Finding;
use crate::{
    failure::Failure,
    pipeline::look::{self, View},
    version,
};

const NAME: &str = "target_config";

/// What is to be said of the target itself, and what its plugin checked.
pub(super) fn look(view: &View<'_>, version: Option<&str>) -> (Finding, Vec<Finding>) {
    let name = &view.target.name;
    if let Some(error) = version.and_then(|version| version::check(version).err()) {
        return (Finding::new(NAME, CheckStatus::Fail, error.to_string()).blocking().of(name), Vec::new());
    }
    let commit = version::commit(&view.project.dir);
    match look::ahead(view, version, commit.as_deref()) {
        Ok(plan) => {
            (usable(view), plan.checked.iter().map(|check| Finding::from_check(check).of(name)).collect())
        }
        Err(failure) if is_about_config(&failure) => (refused(&failure.to_error()).of(name), Vec::new()),
        // The plugin took the config and couldn't make a plan from what it saw.
        Err(failure) => {
            let error = failure.to_error();
            let unplanned =
                Finding::new("plan", CheckStatus::Fail, &error.message).with(more(&error)).blocking();
            (usable(view), vec![unplanned.of(name)])
        }
    }
}

fn usable(view: &View<'_>) -> Finding {
    let target = view.target;
    let finding = if target.enabled {
        let message = format!("target `{}` is understood by its plugin", target.name);
        Finding::new(NAME, CheckStatus::Pass, message)
    } else {
        Finding::new(NAME, CheckStatus::Warn, format!("target `{}` is disabled", target.name))
    };
    finding.blocking().of(&target.name)
}

fn refused(error: &Error) -> Finding {
    Finding::new(NAME, CheckStatus::Fail, &error.message).with(more(error)).blocking()
}

fn is_about_config(failure: &Failure) -> bool {
    match failure {
        Failure::Plugin(error) => error.kind == ErrorKind::Config,
        _ => true,
    }
}

fn more(error: &Error) -> Vec<String> {
    let hint = error.hint.iter().map(|hint| format!("hint: {hint}"));
    error.causes.iter().cloned().chain(hint).collect()
}
