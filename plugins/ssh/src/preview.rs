//! What a deployment changes, before it does.

use std::sync::Arc;

use pop_deploy_plugin_api::{protocol::Change, words::grouped};

use crate::{fleet::count, ground::Ground, prepared::Prepared, shipment::Shipment};

/// What changes, once for all hosts that it changes on alike.
pub(crate) fn changes(ground: &Ground<'_>, prepared: &Prepared) -> Vec<Change> {
    let mut groups: Vec<(Arc<Shipment>, Vec<String>)> = Vec::new();
    for (host, survey) in &ground.surveys {
        let way = prepared.way(survey);
        let name = ground.site.hosts[*host].name.clone();
        match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &way)) {
            Some((_, hosts)) => hosts.push(name),
            None => groups.push((way, vec![name])),
        }
    }
    let alone = groups.len() < 2;
    let mut changes = Vec::new();
    for (way, hosts) in groups {
        for change in &way.changes {
            let mut change = change.clone();
            if !alone {
                change.detail = format!("{} on {}", change.detail, hosts.join(", "));
            }
            changes.push(change);
        }
    }
    changes
}

/// One sentence over all hosts.
pub(crate) fn summary(ground: &Ground<'_>, prepared: &Prepared) -> String {
    let ways: Vec<_> = ground.surveys.iter().map(|(_, survey)| prepared.way(survey)).collect();
    let Some(first) = ways.first() else { return String::new() };
    let bytes: u64 = ways.iter().map(|way| way.bytes).sum();
    let alike = ways.iter().all(|way| Arc::ptr_eq(way, first));
    let counts = if alike {
        first.counts.to_string()
    } else {
        let differ = ways.iter().filter(|way| way.counts.differ()).count();
        format!("{} of {} differ", count(differ), ways.len())
    };
    format!("{counts}; {} bytes to {}", grouped(bytes), count(ways.len()))
}
