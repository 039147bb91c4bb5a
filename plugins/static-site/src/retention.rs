//! Which releases may go: never what is live, never the one before it, never what isn't ours.

use std::fs;

use pop_deploy_plugin_api::{IoContext as _, Result};

use crate::{
    inspect::inspect,
    manifest::{Head, Manifest, heads},
    stage::{discard, remove},
    webroot::Webroot,
};

/// The releases of `heads` (newest first) that may go when `live` is live and `keep` verified ones stay.
///
/// Releases that never were verified are leftovers of failed runs: they don't count, and go. The newest verified one
/// before the live one stays, and so do the newest one of another version, which is where a rollback goes, and
/// `before`, what was live before this deployment: after a rollback these differ.
pub(crate) fn surplus<'h>(
    heads: &'h [Head],
    live: &Head,
    before: Option<&str>,
    keep: usize,
) -> Vec<&'h Head> {
    let is_live = |head: &Head| head.release.id == live.release.id;
    let older = |head: &&Head| head.verified_at.is_some() && !is_live(head) && head.made_at <= live.made_at;
    let id = |head: &'h Head| head.release.id.as_str();
    let next = heads.iter().find(older).map(id);
    let differs = |head: &&Head| head.release.version != live.release.version;
    let other_version = heads.iter().filter(older).find(differs).map(id);
    let mut verified = 0;
    heads
        .iter()
        .filter(|head| {
            let counts = head.verified_at.is_some() || is_live(head);
            verified += usize::from(counts);
            let kept = counts && verified <= keep;
            !kept && !is_live(head) && ![before, next, other_version].contains(&Some(id(head)))
        })
        .collect()
}

/// What was removed.
pub(crate) struct Removed {
    pub(crate) releases: Vec<String>,
    pub(crate) leftovers: usize,
}

/// Removes what may go.
///
/// Removing a release moves the ctimes of the files that it shares with the live one, whose manifest then says so:
/// otherwise the next deployment would have to read all of them.
///
/// # Errors
/// Something can't be removed, or read.
pub(crate) fn tidy(webroot: &Webroot, before: Option<&str>, keep: usize) -> Result<Removed> {
    let mut removed = Removed { releases: Vec::new(), leftovers: leftovers(webroot)? };
    let (current, heads) = (webroot.look()?, heads(webroot)?);
    let Some(live) = current.release(&heads) else { return Ok(removed) };
    let surplus = surplus(&heads, live, before, keep);
    if surplus.is_empty() {
        return Ok(removed);
    }
    let served = webroot.current();
    let mut manifest = Manifest::known(webroot, &live.release.id)?;
    let inspection = match &manifest {
        Some(manifest) => Some(inspect(&served, manifest, None)?),
        None => None,
    };
    for head in surplus {
        let id = &head.release.id;
        let ours = webroot.folder_at(&webroot.release(id))? == Some(head.root);
        discard(webroot, id, ours)?;
        removed.releases.push(id.clone());
    }
    if let (Some(manifest), Some(inspection)) = (&mut manifest, inspection) {
        inspection.carry_over(&served, manifest)?;
        manifest.save(webroot)?;
    }
    Ok(removed)
}

/// Removes what runs that died left half made or half deleted. We hold the lock: nobody is at it.
fn leftovers(webroot: &Webroot) -> Result<usize> {
    let folder = webroot.releases();
    let mut removed = 0;
    for entry in fs::read_dir(&folder).at("read", &folder)? {
        let entry = entry.at("read", &folder)?;
        if entry.file_name().to_string_lossy().starts_with(".tmp-") {
            removed += usize::from(remove(&entry.path())?);
        }
    }
    Ok(removed)
}
