//! What a deployment changes, before it does.

use std::sync::Arc;

use pop_deploy_plugin_api::{
    protocol::{Change, Effect, Release},
    words::bytes,
};

use crate::{
    fleet::count, ground::Ground, prepared::Prepared, shipment::Shipment, survey::Survey, switch::in_words,
};

/// What changes, once for all hosts that it changes on alike.
pub(crate) fn changes(ground: &Ground<'_>, prepared: &Prepared) -> Vec<Change> {
    let mut groups: Vec<(Arc<Shipment>, Vec<Change>, Vec<String>)> = Vec::new();
    for (host, survey) in &ground.surveys {
        let way = prepared.way(survey);
        let name = ground.site.hosts[*host].name.clone();
        match groups.iter_mut().find(|(known, ..)| Arc::ptr_eq(known, &way)) {
            Some((.., hosts)) => hosts.push(name),
            None => {
                let changes = of_one(survey, &way, &prepared.manifest.head.release);
                groups.push((way, changes, vec![name]));
            }
        }
    }
    let alone = groups.len() < 2;
    let mut changes = Vec::new();
    for (_, some, hosts) in groups {
        for mut change in some {
            if !alone {
                change.detail = format!("{} on {}", change.detail, hosts.join(", "));
            }
            changes.push(change);
        }
    }
    changes
}

/// What changes on a host. Where no file does, the release does all the same, and with it what restarts.
fn of_one(survey: &Survey, way: &Shipment, release: &Release) -> Vec<Change> {
    match survey.live_release() {
        Some(live) if way.changes.is_empty() => vec![Change {
            effect: Effect::Replace,
            what: "current".to_owned(),
            detail: format!("{} gives way to {}, with the same files", in_words(live), in_words(release)),
        }],
        _ => way.changes.clone(),
    }
}

/// One sentence over all hosts.
pub(crate) fn summary(ground: &Ground<'_>, prepared: &Prepared) -> String {
    let ways: Vec<_> = ground.surveys.iter().map(|(_, survey)| prepared.way(survey)).collect();
    let Some(first) = ways.first() else { return String::new() };
    let to_send: u64 = ways.iter().map(|way| way.bytes).sum();
    let alike = ways.iter().all(|way| Arc::ptr_eq(way, first));
    let differ = ways.iter().filter(|way| way.counts.differ()).count();
    // Where none differs they may have different releases all the same.
    let counts = if alike || differ == 0 {
        first.counts.to_string()
    } else {
        format!("{} of {} differ", count(differ), ways.len())
    };
    format!("{counts}; {} to {}", bytes(to_send), count(ways.len()))
}
