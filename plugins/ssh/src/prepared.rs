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
    manifest::{Manifest, fingerprint},
    shipment::Shipment,
    site::Site,
    survey::Survey,
};

/// What a release is made from: the source as it was walked and hashed, and the way there from each live release.
pub(crate) struct Prepared {
    pub(crate) tree: Tree,
    pub(crate) manifest: Manifest,
    /// By the hash of the live release's manifest; the empty one stands for no live release.
    ways: HashMap<String, Arc<Shipment>>,
}

impl Prepared {
    pub(crate) fn new(tree: Tree, manifest: Manifest) -> Self {
        let whole = Arc::new(Shipment::whole(&manifest));
        Self { tree, manifest, ways: HashMap::from([(String::new(), whole)]) }
    }

    /// Learns the live release behind a hash.
    pub(crate) fn learn(&mut self, hash: &str, live: &Manifest) {
        self.ways.insert(hash.to_owned(), Arc::new(Shipment::between(live, &self.manifest)));
    }

    /// Whether the way from the release behind a hash is known.
    pub(crate) fn knows(&self, hash: &str) -> bool {
        self.ways.contains_key(hash)
    }

    /// The way that a host goes.
    pub(crate) fn way(&self, survey: &Survey) -> Arc<Shipment> {
        let known = survey.manifest().and_then(|hash| self.ways.get(hash));
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
    let hashes: Vec<Sha256> = tree.hashes(&site.source, |_| None)?;
    let manifest = Manifest::of(&tree, &hashes, &site.config.shared, release, &session.run_id);
    Ok(Prepared::new(tree, manifest))
}

/// Fetches the manifest of each live release that there is, once, and finds the way from it.
///
/// # Errors
/// The connection is lost.
pub(crate) fn find_ways(
    site: &Site,
    fleet: &Fleet,
    surveys: &[(usize, &Survey)],
    prepared: &mut Prepared,
) -> Result<()> {
    let mut fetched: BTreeMap<&str, usize> = BTreeMap::new();
    for (host, survey) in surveys {
        if let Some(hash) = survey.manifest().filter(|hash| !prepared.knows(hash)) {
            fetched.entry(hash).or_insert(*host);
        }
    }
    let hosts: Vec<_> = fetched.values().copied().collect();
    let live = |host: usize| {
        let survey = surveys.iter().find(|(other, _)| *other == host);
        survey.and_then(|(_, survey)| Some(survey.current.release()?.to_owned())).unwrap_or_default()
    };
    let outcomes = fleet.each(site, &hosts, Hold::Free, Again::Yes, |host, connection| {
        connection.ask(&["show_manifest", &live(host)])
    });
    for (host, outcome) in outcomes {
        let lines = outcome?.lines;
        let hash = surveys.iter().find(|(other, _)| *other == host).and_then(|(_, survey)| survey.manifest());
        let mut text = lines.join("\n");
        text.push('\n');
        // What can't be read is as good as not there: everything is sent then.
        if let (Some(hash), Ok(manifest)) = (hash, Manifest::read(&lines))
            && fingerprint(&text) == hash
        {
            prepared.learn(hash, &manifest);
        }
    }
    Ok(())
}
