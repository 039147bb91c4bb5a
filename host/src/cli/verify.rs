//! `verify`: look whether what is live is what history says, and works.

use serde_json::json;

use super::{
    Conversation,
    args::{Talk, Verify},
    open, print_line, selection,
};
use crate::{
    exit::Exit,
    failure::Failure,
    pipeline::look,
    plugins::SearchPath,
    reporter::{check_sign, named},
    select, version,
};

pub(super) fn verify(wanted: &Verify, plugins: &SearchPath) -> Result<Exit, Failure> {
    let talk = Talk::reading(wanted.json);
    Conversation::hold(&talk, |conversation| look_at_all(wanted, plugins, conversation))
}

fn look_at_all(wanted: &Verify, plugins: &SearchPath, conversation: &Conversation) -> Result<Exit, Failure> {
    let (project, config) = open(&wanted.site)?;
    let targets = select::select(&config, &selection(&wanted.targets))?;
    let actor = version::actor();
    let mut healthy = true;
    let mut results = Vec::new();
    for target in targets {
        let sight = look::at(&conversation.view((&project, &config), target, plugins, &actor))?;
        healthy &= sight.is_healthy();
        if wanted.json {
            results.push(json!({
                "target": target.name, "healthy": sight.is_healthy(), "live": sight.live, "checks": sight.checks,
            }));
            continue;
        }
        let live = sight.live.as_ref().map_or("no single release of ours", named);
        print_line!("Target: {} · Live: {live}", target.name);
        for check in &sight.checks {
            print_line!("  {} {}: {}", check_sign(check.status), check.name, check.message);
            if let Some(hint) = &check.hint {
                print_line!("       hint: {hint}");
            }
        }
    }
    if wanted.json {
        print_line!("{}", json!({"v": 1, "type": "verify", "healthy": healthy, "targets": results}));
    } else {
        print_line!("Result: {}", if healthy { "healthy" } else { "not healthy" });
    }
    Ok(if healthy { Exit::Done } else { Exit::Failed })
}
