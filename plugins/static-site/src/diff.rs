//! What differs between the source and the live release, and where each file of the next release comes from.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use pop_deploy_plugin_api::{
    Result,
    protocol::{Change, Effect},
    tree::{File, Tree},
    words::{bytes, grouped},
};

use crate::{
    inspect::Inspection,
    manifest::{Hash, Manifest},
};

/// The live release: what it should be, and what it is.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) manifest: Manifest,
    pub(crate) inspection: Inspection,
}

/// Where a file of the next release comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Copied from the source.
    Copy,
    /// A hard link to this file of the live release, which holds the same and has the same mode.
    Link(usize),
}

/// The differences, as indices: of files in the source and of files in the live manifest.
#[derive(Debug, Default)]
pub(crate) struct Diff {
    /// One for each file of the source.
    pub(crate) origins: Vec<Origin>,
    pub(crate) added: Vec<usize>,
    pub(crate) changed: Vec<(usize, usize)>,
    pub(crate) removed: Vec<usize>,
    pub(crate) unchanged: usize,
}

impl Diff {
    /// Compares by content. A source file that looks as it did when it was hashed isn't read again, nor is one of
    /// a size that no live file has. Without a live release there is nothing to compare with and nothing is read.
    ///
    /// # Errors
    /// A source file that can't be read.
    pub(crate) fn of(source: &Path, tree: &Tree, live: Option<&Live>) -> Result<Self> {
        let Some(live) = live else {
            let all = tree.files.len();
            return Ok(Self {
                origins: vec![Origin::Copy; all],
                added: (0..all).collect(),
                ..Self::default()
            });
        };
        let mut diff = Self::default();
        let before = &live.manifest.files;
        let partners = diff.pair(tree, live);
        let hashes = hashes(source, tree, live, &partners)?;
        let same = |file: &File, hash: Hash, index: usize| {
            before[index].hash == hash && before[index].mode == file.mode
        };
        let mut by_hash = HashMap::new();
        for (index, entry) in before.iter().enumerate().filter(|(_, entry)| entry.size > 0) {
            by_hash.insert((entry.hash, entry.mode), index);
        }
        for (index, file) in tree.files.iter().enumerate() {
            let (partner, hash) = (partners[index], hashes[index]);
            let twin = match (partner, hash) {
                (Some(partner), Some(hash)) if same(file, hash, partner) => {
                    diff.unchanged += 1;
                    Some(partner)
                }
                (partner, hash) => {
                    match partner {
                        Some(partner) => diff.changed.push((index, partner)),
                        None => diff.added.push(index),
                    }
                    hash.and_then(|hash| by_hash.get(&(hash, file.mode)).copied())
                }
            };
            let sound = twin.filter(|twin| live.inspection.sound[*twin].is_some());
            diff.origins.push(sound.map_or(Origin::Copy, Origin::Link));
        }
        Ok(diff)
    }

    /// The live file of the same path for each source file, and those that have none left.
    fn pair(&mut self, tree: &Tree, live: &Live) -> Vec<Option<usize>> {
        let mut before = live.manifest.files.iter().enumerate().peekable();
        let mut partners = Vec::with_capacity(tree.files.len());
        for file in &tree.files {
            while let Some((index, _)) = before.next_if(|(_, entry)| entry.path < file.path) {
                self.removed.push(index);
            }
            partners.push(before.next_if(|(_, entry)| entry.path == file.path).map(|(index, _)| index));
        }
        self.removed.extend(before.map(|(index, _)| index));
        partners
    }

    /// How many files aren't in the live release as they are in the source.
    pub(crate) fn new_files(&self) -> usize {
        self.added.len() + self.changed.len()
    }

    /// The sizes of the files that will be copied.
    pub(crate) fn copied_sizes(&self, tree: &Tree) -> impl Iterator<Item = u64> {
        let copied = self.origins.iter().zip(&tree.files).filter(|(origin, _)| **origin == Origin::Copy);
        copied.map(|(_, file)| file.size)
    }

    /// The differences one by one, in the order of paths for each kind; links count too.
    pub(crate) fn changes(&self, tree: &Tree, live: Option<&Live>) -> Vec<Change> {
        let change = |effect, what: &str, detail| Change { effect, what: what.to_owned(), detail };
        let before = live.map_or(&[][..], |live| &live.manifest.files);
        let added = self.added.iter().map(|index| {
            let file = &tree.files[*index];
            change(Effect::Create, &file.path, bytes(file.size))
        });
        let changed = self.changed.iter().map(|(index, partner)| {
            let (file, entry) = (&tree.files[*index], &before[*partner]);
            let detail = match (file.size == entry.size, file.mode == entry.mode) {
                (false, _) => format!("{} → {}", grouped(entry.size), bytes(file.size)),
                (true, true) => bytes(file.size),
                (true, false) => format!("mode {:o} → {:o}", entry.mode, file.mode),
            };
            change(Effect::Update, &file.path, detail)
        });
        let removed = self.removed.iter().map(|index| {
            let entry = &before[*index];
            change(Effect::Delete, &entry.path, bytes(entry.size))
        });
        let mut changes: Vec<_> = added.chain(changed).chain(removed).collect();
        let old_links = live.map_or(&[][..], |live| &live.manifest.links);
        for link in tree.links.iter().filter(|link| !old_links.contains(link)) {
            let effect = if old_links.iter().any(|old| old.path == link.path) {
                Effect::Update
            } else {
                Effect::Create
            };
            changes.push(change(effect, &link.path, format!("link to {}", link.to)));
        }
        for link in old_links.iter().filter(|old| tree.links.iter().all(|link| link.path != old.path)) {
            changes.push(change(Effect::Delete, &link.path, format!("link to {}", link.to)));
        }
        changes
    }

    /// See [`summary`].
    pub(crate) fn summary(&self) -> String {
        summary(self.added.len(), self.changed.len(), self.removed.len(), self.unchanged)
    }
}

/// `3 added, 15 changed, 1 removed, 1,185 unchanged`.
pub(crate) fn summary(added: usize, changed: usize, removed: usize, unchanged: usize) -> String {
    let [added, changed, removed, unchanged] =
        [added, changed, removed, unchanged].map(|count| grouped(count as u64));
    format!("{added} added, {changed} changed, {removed} removed, {unchanged} unchanged")
}

/// The hashes of the source files that could be in the live release.
fn hashes(source: &Path, tree: &Tree, live: &Live, partners: &[Option<usize>]) -> Result<Vec<Option<Hash>>> {
    let before = &live.manifest.files;
    let sizes: HashSet<u64> = before.iter().map(|entry| entry.size).collect();
    tree.each_file(source, |root, buffer, index, file| {
        if let Some(entry) = partners[index].map(|partner| &before[partner])
            && entry.size == file.size
            && entry.source == Some(file.stamp)
        {
            return Ok(Some(entry.hash));
        }
        if !sizes.contains(&file.size) {
            return Ok(None);
        }
        root.hash(&file.path, buffer).map(Some)
    })
}
