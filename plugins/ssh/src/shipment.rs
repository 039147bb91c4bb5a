//! What brings a host from its live release to the next: what goes, what is linked, what is sent.

use std::collections::{BTreeMap, HashMap, HashSet};

use pop_deploy_plugin_api::{
    protocol::{Change, Effect},
    tree::{Folder, Link, Sha256},
    words::{bytes, grouped},
};

use crate::manifest::{Entry, Manifest};

/// The way from one manifest to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shipment {
    /// The live release that unchanged files are linked from; none: everything is sent.
    pub(crate) from: Option<String>,
    /// Files and links of the old release that go before new ones come.
    pub(crate) gone: Vec<String>,
    /// Folders that go then, from within outwards.
    pub(crate) gone_folders: Vec<String>,
    /// Files that go once others have been linked to them, and folders that go then.
    pub(crate) gone_later: Vec<String>,
    pub(crate) folders_later: Vec<String>,
    /// Folders to make.
    pub(crate) folders: Vec<String>,
    /// Folders, new ones among them, that don't have their mode yet, from within outwards.
    pub(crate) modes: Vec<Folder>,
    /// Links to make.
    pub(crate) links: Vec<Link>,
    /// New files whose content the old release has elsewhere, and where.
    pub(crate) twins: Vec<(String, String)>,
    /// The files to send, as indices into the new manifest.
    pub(crate) sent: Vec<usize>,
    /// Their bytes.
    pub(crate) bytes: u64,
    pub(crate) counts: Counts,
    pub(crate) changes: Vec<Change>,
}

/// How many entries differ.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
    pub(crate) unchanged: usize,
}

impl Counts {
    /// Whether anything differs.
    pub(crate) fn differ(self) -> bool {
        self.added + self.changed + self.removed > 0
    }
}

impl std::fmt::Display for Counts {
    /// `3 added, 15 changed, 1 removed, 1,185 unchanged`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [added, changed, removed, unchanged] =
            [self.added, self.changed, self.removed, self.unchanged].map(|count| grouped(count as u64));
        write!(f, "{added} added, {changed} changed, {removed} removed, {unchanged} unchanged")
    }
}

impl Shipment {
    /// The way to `new` from nothing.
    pub(crate) fn whole(new: &Manifest) -> Self {
        let changes = new.files.iter().map(|file| change(Effect::Create, &file.path, bytes(file.size)));
        Self {
            folders: new.folders.iter().map(|folder| folder.path.clone()).collect(),
            modes: new.folders.iter().rev().cloned().collect(),
            links: new.links.clone(),
            sent: (0..new.files.len()).collect(),
            bytes: new.bytes(),
            counts: Counts { added: new.files.len(), ..Counts::default() },
            changes: changes.collect(),
            ..Self::default()
        }
    }

    /// The way to `new` from `old`, compared by content.
    pub(crate) fn between(old: &Manifest, new: &Manifest) -> Self {
        let mut shipment = Self { from: Some(old.head.release.id.clone()), ..Self::default() };
        shipment.place_folders(old, new);
        shipment.place_links(old, new);
        shipment.place_files(old, new);
        shipment
    }

    fn place_folders(&mut self, old: &Manifest, new: &Manifest) {
        let names =
            |folders: &[Folder]| folders.iter().map(|folder| folder.path.clone()).collect::<HashSet<_>>();
        let (before, after) = (names(&old.folders), names(&new.folders));
        let modes: HashMap<_, _> = old.folders.iter().map(|folder| (&folder.path, folder.mode)).collect();
        let changed = |folder: &&Folder| modes.get(&folder.path) != Some(&folder.mode);
        self.modes = new.folders.iter().rev().filter(changed).cloned().collect();
        let made = new.folders.iter().filter(|folder| !before.contains(&folder.path));
        self.folders = made.map(|folder| folder.path.clone()).collect();
        let gone = old.folders.iter().rev().filter(|folder| !after.contains(&folder.path));
        self.gone_folders = gone.map(|folder| folder.path.clone()).collect();
    }

    fn place_links(&mut self, old: &Manifest, new: &Manifest) {
        let before: HashMap<_, _> = old.links.iter().map(|link| (&link.path, &link.to)).collect();
        for link in new.links.iter().filter(|link| before.get(&link.path) != Some(&&link.to)) {
            let effect = if before.contains_key(&link.path) { Effect::Update } else { Effect::Create };
            self.changes.push(change(effect, &link.path, format!("link to {}", link.to)));
            self.links.push(link.clone());
        }
        for link in old.links.iter().filter(|link| !new.links.contains(link)) {
            if new.links.iter().all(|other| other.path != link.path) {
                self.changes.push(change(Effect::Delete, &link.path, format!("link to {}", link.to)));
            }
            self.gone.push(link.path.clone());
        }
    }

    fn place_files(&mut self, old: &Manifest, new: &Manifest) {
        let mut by_content: BTreeMap<(Sha256, u32), &str> = BTreeMap::new();
        // A name that becomes a link's or a folder's is taken before others could be linked to its file.
        let taken: HashSet<_> = new
            .links
            .iter()
            .map(|link| &link.path)
            .chain(new.folders.iter().map(|folder| &folder.path))
            .collect();
        let stays = |entry: &&Entry| match new.file(&entry.path) {
            Some(file) => same(file, entry),
            None => !taken.contains(&entry.path),
        };
        for entry in old.files.iter().filter(|entry| entry.size > 0).filter(stays) {
            by_content.insert((entry.hash, entry.mode), &entry.path);
        }
        // A name that was a folder's can't be given away before that folder is gone.
        let folders_first = self
            .gone_folders
            .iter()
            .any(|path| new.file(path).is_some() || new.links.iter().any(|link| link.path == *path));
        let mut lenders = HashSet::new();
        for (index, file) in new.files.iter().enumerate() {
            match old.file(&file.path) {
                Some(before) if same(file, before) => {
                    self.counts.unchanged += 1;
                    continue;
                }
                Some(before) => {
                    self.counts.changed += 1;
                    self.changes.push(change(Effect::Update, &file.path, difference(before, file)));
                    self.gone.push(file.path.clone());
                }
                None => {
                    self.counts.added += 1;
                    self.changes.push(change(Effect::Create, &file.path, bytes(file.size)));
                }
            }
            match by_content.get(&(file.hash, file.mode)) {
                Some(lender) if !folders_first => {
                    lenders.insert((*lender).to_owned());
                    self.twins.push((file.path.clone(), (*lender).to_owned()));
                }
                _ => {
                    self.bytes += file.size;
                    self.sent.push(index);
                }
            }
        }
        for entry in old.files.iter().filter(|entry| new.file(&entry.path).is_none()) {
            self.counts.removed += 1;
            self.changes.push(change(Effect::Delete, &entry.path, bytes(entry.size)));
            let list = if lenders.contains(&entry.path) { &mut self.gone_later } else { &mut self.gone };
            list.push(entry.path.clone());
        }
        let holds_lender = |folder: &String| {
            self.gone_later
                .iter()
                .any(|file| file.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/')))
        };
        let (later, now) = std::mem::take(&mut self.gone_folders).into_iter().partition(holds_lender);
        (self.folders_later, self.gone_folders) = (later, now);
    }
}

fn same(one: &Entry, other: &Entry) -> bool {
    (one.hash, one.mode, one.size) == (other.hash, other.mode, other.size)
}

fn change(effect: Effect, what: &str, detail: String) -> Change {
    Change { effect, what: what.to_owned(), detail }
}

fn difference(before: &Entry, file: &Entry) -> String {
    match (before.size == file.size, before.hash == file.hash) {
        (false, _) => format!("{} → {}", grouped(before.size), bytes(file.size)),
        (true, false) => bytes(file.size),
        (true, true) => format!("mode {:o} → {:o}", before.mode, file.mode),
    }
}

#[cfg(test)]
mod tests {
    use pop_deploy_plugin_api::{
        protocol::Release,
        tree::{File, Stamp, Tree},
    };

    use super::*;
    use crate::origin::Origin;

    fn manifest(files: &[(&str, u8)], folders: &[&str], links: &[(&str, &str)]) -> Manifest {
        let file = |(path, _): &(&str, u8)| File {
            path: (*path).to_owned(),
            size: 1,
            mode: 0o644,
            stamp: Stamp { ino: 0, mtime: 0, ctime: 0 },
        };
        let tree = Tree {
            files: files.iter().map(file).collect(),
            folders: folders.iter().map(|path| Folder { path: (*path).to_owned(), mode: 0o755 }).collect(),
            links: links
                .iter()
                .map(|(path, to)| Link { path: (*path).to_owned(), to: (*to).to_owned() })
                .collect(),
            ..Tree::default()
        };
        let hashes: Vec<_> = files.iter().map(|(_, content)| Sha256([*content; 32])).collect();
        let release = Release { id: "r".to_owned(), version: None, commit: None };
        Manifest::of(&tree, &hashes, &[], &release, &Origin::default())
    }

    #[test]
    fn only_new_contents_are_sent_and_moved_files_are_linked() {
        let old = manifest(&[("a", 1), ("b", 2), ("old/c", 3), ("same", 9)], &["old"], &[("l", "a")]);
        let new = manifest(&[("a", 4), ("new/c", 3), ("same", 9)], &["new"], &[("l", "same")]);
        let way = Shipment::between(&old, &new);
        assert_eq!(way.sent, [0]);
        assert_eq!(way.twins, [("new/c".to_owned(), "old/c".to_owned())]);
        assert_eq!(way.gone, ["l", "a", "b"]);
        assert_eq!((way.gone_later, way.folders_later), (vec!["old/c".to_owned()], vec!["old".to_owned()]));
        assert_eq!(way.counts.to_string(), "1 added, 1 changed, 2 removed, 1 unchanged");
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_waits_until_the_folder_is_gone() {
        let old = manifest(&[("x/a", 1)], &["x"], &[]);
        let new = manifest(&[("x", 1)], &[], &[]);
        let way = Shipment::between(&old, &new);
        assert_eq!((way.sent, way.twins.len()), (vec![0], 0));
        assert_eq!((way.gone, way.gone_folders), (vec!["x/a".to_owned()], vec!["x".to_owned()]));
    }

    #[test]
    fn a_file_whose_old_name_has_other_content_now_is_no_lender() {
        let old = manifest(&[("a", 1), ("b", 2)], &[], &[]);
        let new = manifest(&[("a", 2), ("b", 1)], &[], &[]);
        let way = Shipment::between(&old, &new);
        assert_eq!((way.sent, way.twins.len()), (vec![0, 1], 0));
    }

    #[test]
    fn a_file_whose_name_becomes_a_link_or_a_folder_is_no_lender() {
        let old = manifest(&[("a", 1), ("b", 2)], &[], &[]);
        let new = manifest(&[("b/index", 2), ("v2/a", 1)], &["b", "v2"], &[("a", "v2/a")]);
        let way = Shipment::between(&old, &new);
        assert_eq!((way.sent, way.twins.len()), (vec![0, 1], 0));
        assert_eq!((way.gone, way.gone_later.len()), (vec!["a".to_owned(), "b".to_owned()], 0));
    }

    #[test]
    fn a_manifest_reads_back_as_it_was_written_and_not_when_cut() {
        let manifest = manifest(&[("a\n\"b\"", 1), ("z", 2)], &["d"], &[("l", "a")]);
        let text = manifest.to_text();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_eq!(Manifest::read(&lines).ok().as_ref(), Some(&manifest));
        assert!(Manifest::read(&lines[..lines.len() - 1]).is_err());
    }
}
