//! What a release consists of, as `.pop-deploy/releases/<id>/manifest` keeps it on each host: a head, then one line an entry.

use std::{collections::BTreeSet, fmt::Write as _};

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::Release,
    tree::{ContentHash, Folder, Link, Sha256, Tree},
};
use serde::{Deserialize, Serialize};

use crate::{origin::Origin, shared::covers};

/// The format that this copy writes and reads.
const FORMAT: u32 = 1;
/// The digest of what nobody has looked at.
const UNKNOWN: Sha256 = Sha256([0; 32]);

/// The part of a manifest that tells releases apart; its first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) format: u32,
    pub(crate) release: Release,
    /// The run that made it.
    #[serde(flatten)]
    pub(crate) origin: Origin,
    /// Digest of kinds, modes, sizes and of where links lead, as the host computes it.
    pub(crate) tree: Sha256,
    /// Digest of the files' hashes, likewise.
    pub(crate) content: Sha256,
}

impl Head {
    /// What tells it from all others: hosts with equal ones got the same release from the same run.
    pub(crate) fn key(&self) -> String {
        format!("{} {} {} {}", self.release.id, self.origin.run, self.tree, self.content)
    }

    /// What a plan has of a release that isn't made yet: its digests are still unknown.
    pub(crate) fn to_be_made(release: &Release, origin: Origin) -> Self {
        Self { format: FORMAT, release: release.clone(), origin, tree: UNKNOWN, content: UNKNOWN }
    }

    /// Whether this is such a one.
    pub(crate) fn is_to_be_made(&self) -> bool {
        self.tree == UNKNOWN
    }
}

/// A release and everything in it; each list is sorted by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) head: Head,
    pub(crate) files: Vec<Entry>,
    pub(crate) folders: Vec<Folder>,
    pub(crate) links: Vec<Link>,
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// As it is on the host: nobody may write.
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) hash: Sha256,
}

#[derive(Serialize, Deserialize)]
enum Line {
    F(String, u32, u64, Sha256),
    D(String, u32),
    L(String, String),
}

impl Manifest {
    /// The release that `tree` makes with `hashes` of its files, and with links to what releases share. Release trees
    /// are read-only.
    pub(crate) fn of(
        tree: &Tree,
        hashes: &[Sha256],
        shared: &[String],
        release: &Release,
        origin: &Origin,
    ) -> Self {
        let stays = |path: &str| !shared.iter().any(|shared| covers(shared, path));
        let files = tree.files.iter().zip(hashes).filter(|(file, _)| stays(&file.path));
        let files = files.map(|(file, hash)| Entry {
            path: file.path.clone(),
            mode: file.mode & 0o555 | 0o400,
            size: file.size,
            hash: *hash,
        });
        let mut folders: Vec<_> = tree
            .folders
            .iter()
            .filter(|folder| stays(&folder.path))
            .map(|folder| Folder { path: folder.path.clone(), mode: folder.mode & 0o555 | 0o500 })
            .collect();
        let mut links: Vec<_> = tree.links.iter().filter(|link| stays(&link.path)).cloned().collect();
        let known: BTreeSet<_> = folders.iter().map(|folder| folder.path.clone()).collect();
        let mut wanted = BTreeSet::new();
        for shared in shared {
            let path = shared.trim_end_matches('/');
            let depth = path.matches('/').count();
            links.push(Link {
                path: path.to_owned(),
                to: format!("../../{}shared/{path}", "../".repeat(depth)),
            });
            wanted.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
        }
        let missing = wanted.into_iter().filter(|path| !known.contains(path));
        folders.extend(missing.map(|path| Folder { path, mode: 0o555 }));
        folders.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        links.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let head = Head::to_be_made(release, origin.clone());
        let mut manifest = Self { head, files: files.collect(), folders, links };
        manifest.head.tree = manifest.tree_digest();
        manifest.head.content = content_digest(&manifest.files);
        manifest
    }

    /// What the host's `tree_digest` finds when all is right.
    fn tree_digest(&self) -> Sha256 {
        let mut text = format!("{}\n", 1 + self.folders.len() + self.files.len() + self.links.len());
        for folder in &self.folders {
            text.push_str(&format!("{:x}\n", 0o040_000 | folder.mode));
        }
        for file in &self.files {
            text.push_str(&format!("{:x} {}\n", 0o100_000 | file.mode, file.size));
        }
        for link in &self.links {
            text.push_str(&format!("{}\n", link.to));
        }
        digest(text.as_bytes())
    }

    /// What the host's `walk_digest` finds then: every entry by its name, in the order of bytes.
    pub(crate) fn walk_digest(&self) -> Sha256 {
        let folders = self.folders.iter().map(|folder| format!("d {:o} ./{}\0", folder.mode, folder.path));
        let files =
            self.files.iter().map(|file| format!("f {:o} {} ./{}\0", file.mode, file.size, file.path));
        let links = self.links.iter().map(|link| format!("l {} ./{}\0", link.to, link.path));
        let mut entries: Vec<_> = folders.chain(files).chain(links).collect();
        entries.sort_unstable();
        digest(entries.concat().as_bytes())
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&Entry> {
        let found = self.files.binary_search_by(|file| file.path.as_str().cmp(path));
        found.ok().map(|index| &self.files[index])
    }

    /// The bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// As the host keeps it.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |json: serde_json::Result<String>| {
            // Strings and numbers are always JSON.
            text.push_str(&json.unwrap_or_default());
            text.push('\n');
        };
        line(serde_json::to_string(&self.head));
        for Entry { path, mode, size, hash } in &self.files {
            line(serde_json::to_string(&Line::F(path.clone(), *mode, *size, *hash)));
        }
        for Folder { path, mode } in &self.folders {
            line(serde_json::to_string(&Line::D(path.clone(), *mode)));
        }
        for Link { path, to } in &self.links {
            line(serde_json::to_string(&Line::L(path.clone(), to.clone())));
        }
        text
    }

    /// Reads what a host keeps.
    ///
    /// # Errors
    /// It says what this copy doesn't understand, or isn't what its head says.
    pub(crate) fn read(lines: &[String]) -> Result<Self> {
        let strange = |error: serde_json::Error| Error::failed("the manifest can't be read").because(&error);
        let mut lines = lines.iter();
        let head = lines.next().map_or("", String::as_str);
        let head: Head = serde_json::from_str(head).map_err(strange)?;
        let mut manifest = Self { head, files: Vec::new(), folders: Vec::new(), links: Vec::new() };
        for line in lines {
            match serde_json::from_str(line).map_err(strange)? {
                Line::F(path, mode, size, hash) => manifest.files.push(Entry { path, mode, size, hash }),
                Line::D(path, mode) => manifest.folders.push(Folder { path, mode }),
                Line::L(path, to) => manifest.links.push(Link { path, to }),
            }
        }
        let whole = manifest.head.format == FORMAT
            && manifest.tree_digest() == manifest.head.tree
            && content_digest(&manifest.files) == manifest.head.content;
        if whole { Ok(manifest) } else { Err(Error::failed("the manifest isn't whole")) }
    }
}

/// The digest of these files' hashes, as the host computes it.
pub(crate) fn content_digest<'e>(files: impl IntoIterator<Item = &'e Entry>) -> Sha256 {
    let mut text = String::new();
    for file in files {
        // Writing to a text can't fail.
        writeln!(text, "{}", file.hash).unwrap_or_default();
    }
    digest(text.as_bytes())
}

fn digest(bytes: &[u8]) -> Sha256 {
    let mut hasher = <Sha256 as ContentHash>::Hasher::default();
    Sha256::update(&mut hasher, bytes);
    Sha256::finish(hasher)
}

/// Paths as the host's `xargs -0` reads them; none of them looks like an option.
pub(crate) fn list<'p>(paths: impl IntoIterator<Item = &'p str>) -> Vec<u8> {
    let mut list = Vec::new();
    for path in paths {
        list.extend_from_slice(b"./");
        list.extend_from_slice(path.as_bytes());
        list.push(0);
    }
    list
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

    use pop_deploy_plugin_api::tree::Skip;

    use super::*;
    use crate::connection::FAR_END;

    #[test]
    fn a_walk_of_the_far_end_finds_what_the_manifest_says() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for (path, mode) in [("a b/-x\\\n'é", 0o444), ("a b/run", 0o555), ("a", 0o400), ("a-", 0o444)] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "content").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("a b/run", root.join("z")).unwrap();
        fs::set_permissions(root.join("a b"), fs::Permissions::from_mode(0o555)).unwrap();
        let tree = Tree::walk(&root, &Skip::default()).unwrap();
        let hashes = vec![Sha256([0; 32]); tree.files.len()];
        let release = Release { id: "r".to_owned(), version: None, commit: None };
        let manifest = Manifest::of(&tree, &hashes, &[], &release, &Origin::default());
        let functions = &FAR_END[..FAR_END.find("\ntrap ").unwrap()];
        let prepared = "hashing=sha256sum tmp=$1/..; true >\"$tmp/opened\"";
        let script = format!("{functions}\n{prepared}; cd \"$1\" && walk_digest ../stamps ../written");
        let said = Command::new("sh").args(["-c", &script, "sh"]).arg(&root).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        fs::set_permissions(root.join("a b"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(said.split(' ').next().unwrap(), manifest.walk_digest().to_string());
        assert!(fs::metadata(folder.path().join("stamps")).unwrap().len() > 0);
    }
}
