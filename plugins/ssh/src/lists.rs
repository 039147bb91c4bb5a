//! The lists that a host makes a release by, and those of them that it keeps beside it to compare with later.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::tree::Folder;

use crate::{
    manifest::{Entry, Manifest, list},
    shipment::Shipment,
};

/// Lists by their names.
pub(crate) struct Lists(pub(crate) BTreeMap<String, Vec<u8>>);

impl Lists {
    /// What goes from a copy of the old release.
    pub(crate) fn gone(way: &Shipment) -> Self {
        let lists = [
            ("gone", &way.gone),
            ("gone_folders", &way.gone_folders),
            ("gone_later", &way.gone_later),
            ("folders_later", &way.folders_later),
        ];
        Self(lists.into_iter().map(|(name, list)| (name.to_owned(), paths(list))).collect())
    }

    /// What a release is compared with.
    pub(crate) fn of(manifest: &Manifest, way: &Shipment) -> Self {
        let mut lists = Self(BTreeMap::from([
            ("files".to_owned(), list(manifest.files.iter().map(|file| file.path.as_str()))),
            ("folders".to_owned(), list(manifest.folders.iter().map(|folder| folder.path.as_str()))),
            ("links".to_owned(), list(manifest.links.iter().map(|link| link.path.as_str()))),
            ("manifest".to_owned(), manifest.to_text().into_bytes()),
        ]));
        lists.add_modes("mode", manifest.folders.iter().rev());
        // The release's own folder, last of all.
        lists.add("mode-555", list(["."]));
        lists.add_modes("new-mode", way.modes.iter());
        if way.from.is_some() {
            let fresh: Vec<_> = way.sent.iter().map(|index| &manifest.files[*index]).collect();
            lists.add("fresh", list(fresh.iter().map(|file| file.path.as_str())));
            lists.0.extend(sums(&fresh).map(|sums| ("sums".to_owned(), sums)));
        }
        lists
    }

    /// For a host without tar: the folders that it makes, too.
    pub(crate) fn with_made(mut self, way: &Shipment) -> Self {
        self.add("made", paths(&way.folders));
        self
    }

    /// The order of the folders in each mode is kept.
    fn add_modes<'f>(&mut self, prefix: &str, folders: impl Iterator<Item = &'f Folder>) {
        for folder in folders {
            self.add(&format!("{prefix}-{:o}", folder.mode), list([folder.path.as_str()]));
        }
    }

    fn add(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.entry(name.to_owned()).or_default().extend(bytes);
    }
}

fn paths(paths: &[String]) -> Vec<u8> {
    list(paths.iter().map(String::as_str))
}

/// What `sha256sum -c` reads, where every name is one that all its makes write alike.
fn sums(files: &[&Entry]) -> Option<Vec<u8>> {
    let plain = |file: &&Entry| !file.path.contains(|c: char| c.is_control() || c == '\\');
    let line = |file: &&Entry| format!("{}  ./{}\n", file.hash, file.path);
    files.iter().all(plain).then(|| files.iter().map(line).collect::<String>().into_bytes())
}
