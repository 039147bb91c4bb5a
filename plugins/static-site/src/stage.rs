//! Makes a release beside what is live, and takes it away again.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use pop_deploy_plugin_api::{
    Error, IoContext as _, Result, Session,
    protocol::{Release, Undo},
    tree::{self, File, Root, Skip, Stamp, Tree, now},
};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, chmodat, mkdirat, symlinkat, syncfs};

use crate::{
    config::Site,
    copy::Copier,
    diff::{Diff, Live, Origin},
    manifest::{Entry, FORMAT, Hash, Head, Manifest},
    webroot::{Webroot, absent},
};

/// How many files pass between two reports and two looks at the cancel flag.
const REPORT_EVERY: u64 = 256;
/// How many bytes are copied before the disk begins to write them.
const WRITE_EVERY: u64 = 64 << 20;

/// What a release is made from: the source as it was walked, the live release, and what differs.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) tree: Tree,
    pub(crate) live: Option<Live>,
    pub(crate) diff: Diff,
}

/// How a file came into the release.
struct Placed {
    hash: Hash,
    copied: bool,
    /// How it looked then; nobody but us may write to it until the release has its manifest.
    stamp: Stamp,
}

/// What making a release took.
pub(crate) struct Staged {
    pub(crate) copied: usize,
    pub(crate) linked: usize,
    pub(crate) bytes: u64,
}

/// Makes the release in a temporary folder, makes it durable, and gives it its name.
///
/// # Errors
/// A source file vanished or changed, the place can't be written, the run was cancelled. What is there of the release
/// then is for [`unstage`].
pub(crate) fn stage(
    webroot: &Webroot,
    site: &Site,
    prepared: &Prepared,
    release: &Release,
    session: &Session,
) -> Result<Staged> {
    let tree = &prepared.tree;
    let folder = webroot.temporary(&release.id);
    remove(&folder)?;
    fs::create_dir(&folder).at("make", &folder)?;
    let root = Root::open(&folder)?;
    for inner in &tree.folders {
        // Ours to delete one day, whatever the source's mode.
        let mode = Mode::from_raw_mode(inner.mode | 0o700);
        mkdirat(&root, &inner.path, mode).at("make", &folder.join(&inner.path))?;
        chmodat(&root, &inner.path, mode, AtFlags::empty())
            .at("set the mode of", &folder.join(&inner.path))?;
    }
    let source = Root::open(&site.source)?;
    let copier = Copier { source: &source, release: &root, reflinks: AtomicBool::new(true) };
    let placed = thread::scope(|scope| {
        let (writer, copied) = mpsc::sync_channel(1);
        let root = &root;
        // What goes wrong here goes wrong in the sync that counts, too.
        scope.spawn(move || copied.iter().for_each(|()| syncfs(root).unwrap_or_default()));
        place(&copier, webroot, prepared, session, &writer)
    })?;
    for link in &tree.links {
        symlinkat(&link.to, &root, &link.path).at("make", &folder.join(&link.path))?;
    }
    let manifest = describe(&folder, tree, &placed, release)?;
    manifest.write(webroot)?;
    session.checkpoint()?;
    // One for all: a sync for each file would take minutes.
    syncfs(&root).at("write", &folder)?;
    manifest.publish(webroot)?;
    fs::rename(&folder, webroot.release(&release.id)).at("make", &webroot.release(&release.id))?;
    webroot.sync(&webroot.manifests())?;
    webroot.sync(&webroot.releases())?;
    let copied = placed.iter().zip(&tree.files).filter(|(placed, _)| placed.copied);
    let sizes: Vec<_> = copied.map(|(_, file)| file.size).collect();
    Ok(Staged { copied: sizes.len(), linked: placed.len() - sizes.len(), bytes: sizes.iter().sum() })
}

/// Links and copies every file, on all cores. Tells `writer` now and then that there is something for the disk to
/// do meanwhile: what is copied while it is busy needs no waiting for afterwards.
fn place(
    copier: &Copier<'_>,
    webroot: &Webroot,
    prepared: &Prepared,
    session: &Session,
    writer: &mpsc::SyncSender<()>,
) -> Result<Vec<Placed>> {
    let Prepared { tree, live, diff } = prepared;
    let live_root = match live {
        Some(_) => Some(Root::open(&webroot.current())?),
        None => None,
    };
    let (done, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let total = tree.files.len() as u64;
    let place = |buffer: &mut Vec<u8>, (file, origin): (&File, &Origin)| {
        let so_far = done.fetch_add(1, Ordering::Relaxed);
        if so_far.is_multiple_of(REPORT_EVERY) {
            session.checkpoint()?;
            session.progress("staging", so_far, total, "files");
        }
        if let (Origin::Link(index), Some(live), Some(root)) = (origin, live, &live_root)
            && let Some(stamp) = live.inspection.sound[*index]
        {
            let entry = &live.manifest.files[*index];
            if copier.link(root, &entry.path, stamp, file)? {
                return Ok(Placed { hash: entry.hash, copied: false, stamp });
            }
        }
        let (hash, stamp) = copier.copy(file, buffer)?;
        let before = bytes.fetch_add(file.size, Ordering::Relaxed);
        if before / WRITE_EVERY != (before + file.size) / WRITE_EVERY {
            // It may be at it still.
            writer.try_send(()).unwrap_or_default();
        }
        Ok(Placed { hash, copied: true, stamp })
    };
    let placed = tree.files.par_iter().zip(&diff.origins).with_min_len(16).map_init(tree::buffer, place);
    let placed = placed.collect::<Result<_>>()?;
    session.progress("staging", total, total, "files");
    Ok(placed)
}

/// Looks at the release that was made: it must hold what was put there, and its stamps are what later runs trust.
fn describe(folder: &Path, tree: &Tree, placed: &[Placed], release: &Release) -> Result<Manifest> {
    let found = Tree::walk(folder, &Skip::default())?;
    let strange = || {
        Error::failed(format!("`{}` doesn't hold what was put there", folder.display()))
            .hint("find out what else writes there, then run it again")
    };
    if found.files.len() != tree.files.len() {
        return Err(strange());
    }
    let root = Root::open(folder)?;
    let pairs = found.files.par_iter().zip(&tree.files).zip(placed).with_min_len(64);
    pairs.try_for_each_init(tree::buffer, |buffer, ((found, file), placed)| {
        let there = (&found.path, found.size, found.mode) == (&file.path, file.size, file.mode);
        // Linking moved the ctime. What is copied is as we left it, but for file systems of other machines, where
        // it gets its times when it arrives there.
        let Stamp { ino, mtime, .. } = placed.stamp;
        let linked = !placed.copied && (found.stamp.ino, found.stamp.mtime) == (ino, mtime);
        let whole =
            linked || found.stamp == placed.stamp || placed.hash == root.hash::<Hash>(&found.path, buffer)?;
        if there && whole { Ok(()) } else { Err(strange()) }
    })?;
    let files = found.files.into_iter().zip(&tree.files).zip(placed).map(|((found, file), placed)| Entry {
        path: found.path,
        hash: placed.hash,
        size: found.size,
        mode: found.mode,
        source: Some(file.stamp).filter(|stamp| stamp.settled(tree.taken)),
        stored: found.stamp,
    });
    let head = Head {
        format: FORMAT,
        release: release.clone(),
        made_at: now() / 1_000_000,
        verified_at: None,
        root: folder.metadata().at("look at", folder)?.ino(),
    };
    Ok(Manifest { head, files: files.collect(), folders: tree.folders.clone(), links: tree.links.clone() })
}

/// Takes the release away, however far it came. Never what is live.
///
/// # Errors
/// Something of it can't be removed.
pub(crate) fn unstage(webroot: &Webroot, id: &str) -> Result<Undo> {
    let folder = webroot.release(id);
    let root = Manifest::read(webroot, id)?.map(|manifest| manifest.head.root);
    if root.is_some() && webroot.live_folder(&webroot.look()?)? == root {
        return Ok(Undo::Unknown {
            why: format!(
                "release {id} is live, so `{}` stays; roll back to another release and deploy again",
                webroot.manifest(id).display()
            ),
        });
    }
    // Anything else under the name isn't of our making, or is what an interrupted exchange left there.
    let ours = root.is_some() && webroot.folder_at(&folder)? == root;
    let mut removed = discard(webroot, id, ours)?;
    let unfinished = webroot.manifest_being_written(id);
    removed |= absent(fs::remove_file(&unfinished)).at("remove", &unfinished)?.is_some();
    if removed {
        return Ok(Undo::Undone { summary: format!("removed release {id}") });
    }
    Ok(Undo::Nothing)
}

/// Deletes a release, if the folder of its name is `ours`, and its manifest; whether there was anything. At no time is there a part of a release under its
/// own name, or a whole one without its manifest.
///
/// # Errors
/// Something of it can't be removed.
pub(crate) fn discard(webroot: &Webroot, id: &str, ours: bool) -> Result<bool> {
    let (folder, temporary, manifest) = (webroot.release(id), webroot.temporary(id), webroot.manifest(id));
    let mut removed = remove(&temporary)?;
    if ours && absent(fs::rename(&folder, &temporary)).at("rename", &folder)?.is_some() {
        removed = true;
    }
    removed |= absent(fs::remove_file(&manifest)).at("remove", &manifest)?.is_some();
    remove(&temporary)?;
    Ok(removed)
}

/// Deletes a folder with everything in it, on all cores; whether there was one. Level by level: however deep it is,
/// the stack isn't.
pub(crate) fn remove(folder: &Path) -> Result<bool> {
    let mut levels = vec![vec![folder.to_owned()]];
    while let Some(level) = levels.last().filter(|level| !level.is_empty()) {
        let inner = level.par_iter().map(|folder| empty(folder));
        let inner = inner.try_reduce(Vec::new, |one, other| Ok([one, other].concat()))?;
        levels.push(inner);
    }
    let mut removed = false;
    for level in levels.iter().rev() {
        let gone = |folder: &PathBuf| Ok(absent(fs::remove_dir(folder)).at("remove", folder)?.is_some());
        removed = level.par_iter().map(gone).try_reduce(|| false, |one, other| Ok(one | other))?;
    }
    Ok(removed)
}

/// Deletes the files in a folder, and tells which folders are in it.
fn empty(folder: &Path) -> Result<Vec<PathBuf>> {
    let Some(entries) = absent(fs::read_dir(folder)).at("remove", folder)? else { return Ok(Vec::new()) };
    let entries: Vec<_> = entries.collect::<io::Result<_>>().at("read", folder)?;
    let inner = entries.par_iter().map(|entry| {
        let path = entry.path();
        // A link to a folder is no folder here.
        if entry.file_type().at("look at", &path)?.is_dir() {
            return Ok(Some(path));
        }
        absent(fs::remove_file(&path)).at("remove", &path)?;
        Ok(None)
    });
    let inner: Vec<_> = inner.collect::<Result<_>>()?;
    Ok(inner.into_iter().flatten().collect())
}
