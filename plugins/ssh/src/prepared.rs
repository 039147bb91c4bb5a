//! What a release is made from, and the way to it from what each host has.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use pop_deploy_plugin_api::{
    Result, Session,
    protocol::Release,
    tree::{Sha256, Tree},
};

use crate::{
    fleet::{Again, Fleet, Hold},
    manifest::{Head, Manifest},
    origin::Origin,
    shared::covers,
    shipment::Shipment,
    site::Site,
    survey::Survey,
};

/// What a release is made from: the source as it was walked and hashed, and the way there from each live release.
pub(crate) struct Prepared {
    pub(crate) tree: Tree,
    pub(crate) manifest: Manifest,
    /// By the key of the live release's head; the empty one stands for no live release.
    ways: HashMap<String, Arc<Shipment>>,
}

impl Prepared {
    pub(crate) fn new(tree: Tree, manifest: Manifest) -> Self {
        let whole = Arc::new(Shipment::whole(&manifest));
        Self { tree, manifest, ways: HashMap::from([(String::new(), whole)]) }
    }

    /// Learns the way from the live release of a host. A manifest that can't be read is as good as none: everything is
    /// sent then.
    fn read(&mut self, survey: &Survey, manifest: &[String]) {
        if let Some(live) = survey.live().filter(|live| !self.knows(&live.head))
            && let Ok(manifest) = Manifest::read(manifest)
            && manifest.head == live.head
        {
            let way = Shipment::between(&manifest, &self.manifest);
            self.ways.insert(live.head.key(), Arc::new(way));
        }
    }

    /// Whether the way from a live release is known.
    fn knows(&self, live: &Head) -> bool {
        self.ways.contains_key(&live.key())
    }

    /// The way that a host goes.
    pub(crate) fn way(&self, survey: &Survey) -> Arc<Shipment> {
        let known = survey.live().and_then(|live| self.ways.get(&live.head.key()));
        Arc::clone(known.unwrap_or(&self.ways[""]))
    }

    /// The way of a host that nothing is linked on.
    pub(crate) fn whole(&self) -> Arc<Shipment> {
        Arc::clone(&self.ways[""])
    }
}

/// Walks and hashes the source.
///
/// # Errors
/// It can't be read.
pub(crate) fn prepare(site: &Site, release: &Release, session: &Session) -> Result<Prepared> {
    let mut tree = Tree::walk(&site.source, &site.skip)?;
    tree.judge_links(&site.source);
    // In place of such a link stands one of ours.
    let is_shared = |path: &str| site.config.shared.iter().any(|shared| covers(shared, path));
    tree.problems.retain(|problem| !problem.link().is_some_and(is_shared));
    let hashes: Vec<Sha256> = tree.hashes(&site.source, |_| None)?;
    let manifest = Manifest::of(&tree, &hashes, &site.config.shared, release, &Origin::of(session));
    Ok(Prepared::new(tree, manifest))
}

/// Finds the way from each live release that there is; its manifest is fetched once, unless a survey has it. Whatever a
/// manifest says, what comes of it is compared on each host.
///
/// # Errors
/// The connection is lost.
pub(crate) fn find_ways(
    site: &Site,
    fleet: &Fleet,
    surveys: &[(usize, &Survey)],
    prepared: &mut Prepared,
) -> Result<()> {
    for (_, survey) in surveys {
        prepared.read(survey, &survey.manifest);
    }
    let mut lacking: BTreeMap<String, (usize, &Survey)> = BTreeMap::new();
    for (host, survey) in surveys {
        if let Some(kept) = survey.live().filter(|kept| !prepared.knows(&kept.head)) {
            lacking.entry(kept.head.key()).or_insert((*host, survey));
        }
    }
    let hosts: Vec<_> = lacking.values().map(|(host, _)| *host).collect();
    let of = |host: usize| lacking.values().find(|(other, _)| *other == host).map(|(_, survey)| *survey);
    let outcomes = fleet.each(site, &hosts, Hold::Free, Again::Yes, |host, connection| {
        let live = of(host).and_then(|survey| survey.current.release()).unwrap_or_default();
        connection.ask(&["show_manifest", live])
    });
    for (host, outcome) in outcomes {
        let lines = outcome?.lines;
        if let Some(survey) = of(host) {
            prepared.read(survey, &lines);
        }
    }
    Ok(())
}
