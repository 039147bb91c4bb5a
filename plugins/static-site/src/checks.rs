//! What a plan looks at before anything is changed, each as a check of its own, so that all failures show at once.

use std::path::Path;

use pop_deploy_plugin_api::{
    Error, Result, Session,
    protocol::{Check, CheckStatus},
    tree::Tree,
    words::{bytes, counted, grouped},
};
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use crate::{
    config::Site,
    diff::{Diff, Live},
    lock::{MOVE_IT, Owner, holder},
    manifest::Manifest,
    webroot::{Current, Webroot},
};

/// What a manifest takes for each file, roughly.
const MANIFEST_BYTES: u64 = 256;

/// Whether something is wrong, not only worth a look.
pub(crate) fn any_failed(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.status == CheckStatus::Fail)
}

/// The first failed check as an error, for what could only be checked on the way.
///
/// # Errors
/// A check failed.
pub(crate) fn first_failure(checks: Vec<Check>) -> Result<()> {
    match checks.into_iter().find(|check| check.status == CheckStatus::Fail) {
        Some(check) => Err(Error { hint: check.hint, ..Error::failed(check.message) }),
        None => Ok(()),
    }
}

/// The source folder, before it is walked.
pub(crate) fn source_folder(site: &Site) -> Check {
    let source = site.source.display();
    if site.source.is_dir() {
        return Check::pass("source", format!("`{source}` is there"));
    }
    let what = if site.source.exists() { "is no folder" } else { "doesn't exist" };
    Check::fail(
        "source",
        format!("the source `{source}` {what}"),
        "build the site first, or correct `source`",
    )
}

/// The source as it was walked.
pub(crate) fn source(site: &Site, tree: &Tree) -> Vec<Check> {
    let source = site.source.display();
    if tree.files.is_empty() {
        let hint = "build the site first, or look whether `exclude` takes everything";
        let empty = Check::fail("source", format!("the source `{source}` is empty"), hint);
        return tree.checks().into_iter().chain([empty]).collect();
    }
    let counts = format!("{}, {}", counted(tree.files.len(), "file"), bytes(tree.bytes()));
    let mut checks = vec![Check::pass("source", format!("`{source}` holds {counts}"))];
    let index = &site.config.index;
    checks.push(match tree.files.binary_search_by(|file| file.path.cmp(index)) {
        Ok(_) => Check::pass("index", format!("`{index}` is there")),
        Err(_) => Check::fail(
            "index",
            format!("the source `{source}` has no `{index}`"),
            "build the site first, or name its first page in `index`",
        ),
    });
    checks.extend(tree.checks());
    checks
}

/// Whether the web root is one, this target's, and may be written.
pub(crate) fn webroot(webroot: &Webroot, current: &Current, session: &Session) -> Vec<Check> {
    let mut checks = vec![writable(webroot)];
    checks.push(match current {
        Current::Foreign(what) => Check::fail(
            "current",
            format!("`{}` is {what}, which no deployment made", webroot.current().display()),
            "move it away, or choose another `dir`",
        ),
        Current::Absent => Check::pass("current", "nothing is live yet"),
        _ => Check::pass("current", format!("`{}` is {current}", webroot.current().display())),
    });
    checks.push(match Owner::of(session).check(webroot) {
        Ok(()) => Check::pass("owner", "the web root is this target's"),
        Err(error) => Check::fail("owner", error.message, error.hint.unwrap_or_default()),
    });
    checks
}

/// Names whoever deploys right now; none where nobody does.
pub(crate) fn lock(webroot: &Webroot) -> Result<Option<Check>> {
    let path = webroot.lock();
    if path.exists() && !path.is_file() {
        return Ok(Some(Check::fail("lock", format!("`{}` is no file", path.display()), MOVE_IT)));
    }
    Ok(holder(webroot)?.map(|holder| Check::warn("lock", holder)))
}

fn writable(webroot: &Webroot) -> Check {
    let base = webroot.base.display();
    let Some(there) = webroot.base.ancestors().find(|folder| folder.exists()) else {
        return Check::fail("web_root", format!("no part of `{base}` exists"), "correct `dir`");
    };
    let ours = [webroot.releases(), webroot.bookkeeping(), webroot.manifests()];
    let nowhere = |folder: &&Path| folder.is_symlink() && !folder.exists();
    if let Some(link) = webroot.base.ancestors().chain(ours.iter().map(AsRef::as_ref)).find(nowhere) {
        let hint = "make what it leads to, remove it, or choose another `dir`";
        return Check::fail("web_root", format!("`{}` is a link that leads nowhere", link.display()), hint);
    }
    for folder in
        std::iter::once(there).chain(ours.iter().map(AsRef::as_ref).filter(|folder: &&Path| folder.exists()))
    {
        let name = folder.display();
        if !folder.is_dir() {
            return Check::fail(
                "web_root",
                format!("`{name}` is no folder"),
                "move it away, or choose another `dir`",
            );
        }
        // The effective user counts, as it will when files are made.
        if let Err(error) = accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            return Check::fail(
                "web_root",
                format!("can't write to `{name}`: {error}"),
                "check who owns it and how its file system is mounted, or run as another user",
            );
        }
    }
    let made = if there == webroot.base { "" } else { ", which the deployment makes," };
    Check::pass("web_root", format!("`{base}`{made} can be written"))
}

/// Whether what is to be copied has room.
pub(crate) fn space(webroot: &Webroot, tree: &Tree, diff: &Diff) -> Option<Check> {
    let there = webroot.base.ancestors().find(|folder| folder.exists())?;
    let system = statvfs(there).ok()?;
    let block = system.f_frsize.max(1);
    let (mut files, mut bytes) = (0, 0);
    for size in diff.copied_sizes(tree) {
        files += 1;
        bytes += size.next_multiple_of(block);
    }
    let folders = tree.folders.len() as u64 + 1;
    bytes += folders * block + (tree.files.len() as u64 * MANIFEST_BYTES).next_multiple_of(block);
    // The manifest, its lock and owner.
    let inodes = files + folders + tree.links.len() as u64 + 3;
    let free = system.f_bavail.saturating_mul(block);
    let hint = "free some space there, keep fewer releases, or choose another `dir`";
    let place = there.display();
    Some(if bytes > free {
        let sizes = format!("{} bytes are needed and {} are free", grouped(bytes), grouped(free));
        Check::fail("space", format!("not enough space on the file system of `{place}`: {sizes}"), hint)
    } else if system.f_files > 0 && inodes > system.f_favail {
        let counts =
            format!("{} inodes are needed and {} are free", grouped(inodes), grouped(system.f_favail));
        Check::fail("space", format!("too many files for the file system of `{place}`: {counts}"), hint)
    } else {
        Check::pass("space", format!("{} bytes are needed, {} are free", grouped(bytes), grouped(free)))
    })
}

/// Whether no more files go than may.
pub(crate) fn max_delete(site: &Site, diff: &Diff, live: &Live) -> Check {
    let (removed, before) = (diff.removed.len(), live.manifest.files.len());
    let counts = format!("{} of {} live files would go", grouped(removed as u64), grouped(before as u64));
    let limit = site.config.max_delete;
    if limit.allows(removed, before) {
        return Check::pass("max_delete", format!("{counts}; `max_delete` is {limit}"));
    }
    Check::fail(
        "max_delete",
        format!("{counts}, more than `max_delete` ({limit}) allows"),
        "look whether the build is complete; if they are to go, raise `max_delete`",
    )
}

/// Whether what is live is as its deployment left it.
pub(crate) fn live_tree(live: &Live) -> Check {
    let id = &live.manifest.head.release.id;
    if live.inspection.differences.is_empty() {
        return Check::pass("live_tree", format!("what is live is release {id} as it was deployed"));
    }
    Check::warn("live_tree", format!("what is live isn't release {id} any more: {}", live.inspection.words()))
}

/// Why what is live can't be compared with, where a link of ours leads nowhere or to what nobody knows any more.
///
/// # Errors
/// A manifest can't be read.
pub(crate) fn astray(webroot: &Webroot, current: &Current) -> Result<Option<Check>> {
    let Current::Link(id) = current else { return Ok(None) };
    let what = if !webroot.current().is_dir() {
        format!("what is live is missing: there is no folder `{}`", webroot.release(id).display())
    } else if Manifest::is_damaged(webroot, id)? {
        format!("nothing tells what is live: `{}` is no manifest", webroot.manifest(id).display())
    } else {
        return Ok(None);
    };
    Ok(Some(Check::warn("live_tree", format!("{what}; a deployment copies every file"))))
}

/// Refuses a name that is taken; none where it is free.
pub(crate) fn unused(webroot: &Webroot, id: &str) -> Option<Check> {
    let folder = webroot.release(id);
    folder.symlink_metadata().ok()?;
    let hint = "deploy under another id, or remove it if nothing needs it";
    Some(Check::fail("release", format!("`{}` is there already", folder.display()), hint))
}

/// The release that a rollback goes to, found whole.
pub(crate) fn release_tree(manifest: &Manifest) -> Check {
    let files = grouped(manifest.files.len() as u64);
    Check::pass(
        "release_tree",
        format!("release {} is there, all {files} files of it", manifest.head.release.id),
    )
}
