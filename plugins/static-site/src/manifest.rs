//! What a release consists of, as `<dir>/.pop-deploy/releases/<id>.json` keeps it: compact JSON, one file a release.

use std::{fs, path::Path};

pub(crate) use pop_deploy_plugin_api::tree::Blake3 as Hash;
use pop_deploy_plugin_api::{
    Error, IoContext as _, Result,
    protocol::Release,
    tree::{Folder, Link, Stamp},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::webroot::{Webroot, absent};

/// The format that this copy writes and reads.
pub(crate) const FORMAT: u32 = 1;

/// A release and everything in it; each list is sorted by path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) head: Head,
    pub(crate) files: Vec<Entry>,
    #[serde(default)]
    pub(crate) folders: Vec<Folder>,
    #[serde(default)]
    pub(crate) links: Vec<Link>,
}

/// The part of a manifest that tells releases apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) format: u32,
    pub(crate) release: Release,
    /// In milliseconds since 1970, as the next.
    pub(crate) made_at: i64,
    /// When the release was first seen live and whole. Without it, it counts as a leftover.
    #[serde(default)]
    pub(crate) verified_at: Option<i64>,
    /// The inode of the release's folder, which it keeps wherever it is renamed to: a web root that is a real folder
    /// is known by it.
    pub(crate) root: u64,
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) hash: Hash,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    /// The source file when it was hashed: as long as it looks like this, its hash needn't be computed again. Absent
    /// where the file was too young to be sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Stamp>,
    /// The file in the release: as long as it looks like this, nobody wrote to it.
    pub(crate) stored: Stamp,
}

impl Manifest {
    /// The manifest of the release `id`, where there is one.
    ///
    /// # Errors
    /// It can't be read, or says what this copy doesn't understand.
    pub(crate) fn read(webroot: &Webroot, id: &str) -> Result<Option<Self>> {
        let path = webroot.manifest(id);
        parse(&path)?.transpose().map_err(|error| {
            Error::preflight(format!("`{}` is no manifest that this version reads", path.display()))
                .because(&error)
                .hint("use the newest version of the plugin; if the file is damaged, deploy again")
        })
    }

    /// The same, but a manifest that says nothing counts as none: what is there is a release of somebody else then.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn known(webroot: &Webroot, id: &str) -> Result<Option<Self>> {
        Ok(parse(&webroot.manifest(id))?.and_then(serde_json::Result::ok))
    }

    /// Whether the release `id` has a manifest, and it says nothing.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn is_damaged(webroot: &Webroot, id: &str) -> Result<bool> {
        Ok(parse::<Self>(&webroot.manifest(id))?.is_some_and(|manifest| manifest.is_err()))
    }

    /// Writes the manifest beside its place; [`publish`](Self::publish) puts it there.
    pub(crate) fn write(&self, webroot: &Webroot) -> Result<()> {
        let path = webroot.manifest_being_written(&self.head.release.id);
        let json = serde_json::to_vec(self)
            .map_err(|error| Error::failed("the manifest isn't representable as JSON").because(&error))?;
        fs::write(&path, json).at("write", &path)
    }

    /// Puts the manifest that was written in its place.
    pub(crate) fn publish(&self, webroot: &Webroot) -> Result<()> {
        let id = &self.head.release.id;
        let path = webroot.manifest(id);
        fs::rename(webroot.manifest_being_written(id), &path).at("make", &path)
    }

    /// Puts the manifest in place of its older self, durably.
    pub(crate) fn save(&self, webroot: &Webroot) -> Result<()> {
        self.write(webroot)?;
        let path = webroot.manifest_being_written(&self.head.release.id);
        fs::File::open(&path).and_then(|file| file.sync_all()).at("write", &path)?;
        self.publish(webroot)?;
        webroot.sync(&webroot.manifests())
    }

    /// The hash and size of the file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&Entry> {
        let index = self.files.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        self.files.get(index)
    }
}

/// The heads of all releases that were made here, newest first. A manifest that says nothing counts as none.
pub(crate) fn heads(webroot: &Webroot) -> Result<Vec<Head>> {
    #[derive(Deserialize)]
    struct HeadOnly {
        head: Head,
    }
    let folder = webroot.manifests();
    let Some(entries) = absent(fs::read_dir(&folder)).at("read", &folder)? else { return Ok(Vec::new()) };
    let mut heads = Vec::new();
    for entry in entries {
        let path = entry.at("read", &folder)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            heads.extend(parse::<HeadOnly>(&path)?.and_then(Result::ok).map(|manifest| manifest.head));
        }
    }
    heads.sort_by(|a, b| (b.made_at, &b.release.id).cmp(&(a.made_at, &a.release.id)));
    Ok(heads)
}

/// What the file at `path` says, if there is one and it says something.
fn parse<M: DeserializeOwned>(path: &Path) -> Result<Option<serde_json::Result<M>>> {
    Ok(absent(fs::read(path)).at("read", path)?.map(|json| serde_json::from_slice(&json)))
}
