//! Compares a release's folder with its manifest, reading only the files whose stamps say nothing.

use std::{collections::HashMap, path::Path};

use pop_deploy_plugin_api::{
    Result,
    tree::{self, File, Root, Skip, Stamp, Tree},
    words::some,
};
use rayon::prelude::*;

use crate::manifest::{Entry, Hash, Manifest};

/// What a release's folder is like.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// For each file of the manifest: how it looks now, where it holds what the manifest says.
    pub(crate) sound: Vec<Option<Stamp>>,
    /// What isn't as the manifest says, as clauses.
    pub(crate) differences: Vec<String>,
}

/// Compares `folder` with `manifest`.
///
/// Linking a file into another release, and removing it from one, moves its ctime. So a stamp that `witness`, the
/// manifest of a release that shares files with this one, holds for the same inode and hash counts as well.
///
/// # Errors
/// The folder is there and can't be read.
pub(crate) fn inspect(folder: &Path, manifest: &Manifest, witness: Option<&Manifest>) -> Result<Inspection> {
    if !folder.is_dir() {
        return Ok(Inspection {
            sound: vec![None; manifest.files.len()],
            differences: vec![format!("its folder `{}` is missing", folder.display())],
        });
    }
    let found = Tree::walk(folder, &Skip::default())?;
    let mut differences = Vec::new();
    let paired = pair(manifest, &found, &mut differences);
    compare_rest(manifest, &found, &mut differences);
    let known: HashMap<u64, &Entry> =
        witness.iter().flat_map(|witness| &witness.files).map(|entry| (entry.stored.ino, entry)).collect();
    let vouched = |entry: &Entry, stamp: Stamp| {
        let same = |witness: &&Entry| witness.stored == stamp && witness.hash == entry.hash;
        entry.stored == stamp || known.get(&stamp.ino).is_some_and(same)
    };
    let root = Root::open(folder)?;
    let look = |buffer: &mut Vec<u8>, (entry, file): (&Entry, Option<&File>)| {
        let Some(file) = file else { return Ok(Err(None)) };
        if file.size != entry.size {
            return Ok(Err(Some(format!("`{}` was changed", entry.path))));
        }
        if file.mode != entry.mode {
            return Ok(Err(Some(format!("the mode of `{}` was changed", entry.path))));
        }
        if !vouched(entry, file.stamp) && root.hash::<Hash>(&entry.path, buffer)? != entry.hash {
            return Ok(Err(Some(format!("`{}` was changed", entry.path))));
        }
        Ok(Ok(file.stamp))
    };
    let looked: Vec<Result<Stamp, Option<String>>> = manifest
        .files
        .par_iter()
        .zip(paired)
        .with_min_len(64)
        .map_init(tree::buffer, look)
        .collect::<Result<_>>()?;
    let mut sound = Vec::with_capacity(looked.len());
    for one in looked {
        sound.push(one.as_ref().ok().copied());
        differences.extend(one.err().flatten());
    }
    Ok(Inspection { sound, differences })
}

impl Inspection {
    /// Writes the stamps as they are now into `manifest`; whether that changed anything.
    pub(crate) fn refresh(&self, manifest: &mut Manifest) -> bool {
        let mut changed = false;
        for (entry, stamp) in manifest.files.iter_mut().zip(&self.sound) {
            if let Some(stamp) = stamp.filter(|stamp| *stamp != entry.stored) {
                entry.stored = stamp;
                changed = true;
            }
        }
        changed
    }

    /// Writes the stamps that files have by now into `manifest`, for those that were sound and differ in their ctime
    /// alone since: links to them were removed.
    ///
    /// # Errors
    /// The folder can't be read.
    pub(crate) fn carry_over(&self, folder: &Path, manifest: &mut Manifest) -> Result<()> {
        let found = Tree::walk(folder, &Skip::default())?;
        let paired = pair(manifest, &found, &mut Vec::new());
        for ((entry, file), sound) in manifest.files.iter_mut().zip(paired).zip(&self.sound) {
            if let (Some(file), Some(Stamp { ino, mtime, .. })) = (file, *sound)
                && (file.stamp.ino, file.stamp.mtime, file.size) == (ino, mtime, entry.size)
            {
                entry.stored = file.stamp;
            }
        }
        Ok(())
    }

    /// The first few differences, as one clause.
    pub(crate) fn words(&self) -> String {
        some(&self.differences)
    }
}

/// The file found for each entry; both sides are sorted.
fn pair<'t>(manifest: &Manifest, found: &'t Tree, differences: &mut Vec<String>) -> Vec<Option<&'t File>> {
    let mut files = found.files.iter().peekable();
    let mut paired = Vec::with_capacity(manifest.files.len());
    let mut extra = Vec::new();
    for entry in &manifest.files {
        while let Some(file) = files.next_if(|file| file.path < entry.path) {
            extra.push(file);
        }
        let file = files.next_if(|file| file.path == entry.path);
        if file.is_none() {
            differences.push(format!("`{}` is missing", entry.path));
        }
        paired.push(file);
    }
    extra.extend(files);
    differences.extend(extra.into_iter().map(|file| format!("`{}` is no file of the release", file.path)));
    paired
}

fn compare_rest(manifest: &Manifest, found: &Tree, differences: &mut Vec<String>) {
    let missing = |path: &str| format!("`{path}` is missing");
    for folder in &manifest.folders {
        if found.folders.binary_search_by(|other| other.path.cmp(&folder.path)).is_err() {
            differences.push(missing(&folder.path));
        }
    }
    for link in &manifest.links {
        match found.links.binary_search_by(|other| other.path.cmp(&link.path)) {
            Ok(index) if found.links[index].to == link.to => {}
            Ok(_) => differences.push(format!("the link `{}` was changed", link.path)),
            Err(_) => differences.push(missing(&link.path)),
        }
    }
    let extra = found
        .links
        .iter()
        .filter(|link| manifest.links.binary_search_by(|other| other.path.cmp(&link.path)).is_err());
    differences.extend(extra.map(|link| format!("the link `{}` is not of the release", link.path)));
    differences.extend(found.problems.iter().map(ToString::to_string));
}
