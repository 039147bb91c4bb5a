//! The one step that users see: `current` becomes another release, in one system call.
//!
//! A link is made beside and renamed over. A real folder is exchanged with the release, whose old name then holds
//! what was live; that gets a name of its own right after.

use std::{fs, os::unix::fs::symlink, path::Path};

use pop_deploy_plugin_api::{Error, IoContext as _, Result, protocol::Undo};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    inspect::inspect,
    manifest::{Manifest, heads},
    webroot::{Current, Webroot, absent},
};

/// What a switch must know, also to be taken back by another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Switch {
    /// What `current` was.
    pub(crate) from: Current,
    /// The name under `releases` that a real folder gets when it gives way.
    pub(crate) park: Option<String>,
}

impl Switch {
    /// Makes the release `id` live; false if it was already.
    ///
    /// # Errors
    /// `current` is neither what it was nor the release, or can't be changed.
    pub(crate) fn forward(&self, webroot: &Webroot, id: &str) -> Result<bool> {
        let (current, release) = (webroot.look()?, webroot.release(id));
        let root = webroot.folder_at(&release)?;
        match (&self.from, &self.park) {
            _ if current == Current::Link(id.to_owned()) && root.is_some() => Ok(false),
            (Current::Folder(_), Some(park)) if self.is_parked(webroot, &release, park, &current)? => {
                Ok(false)
            }
            _ if current != self.from => Err(Error::failed(format!(
                "`{}` isn't what it was when the plan was made",
                webroot.current().display()
            ))
            .hint("find out who changed it, then deploy again")),
            _ if root.is_none() => Err(Error::failed(format!("`{}` is missing", release.display()))
                .hint("deploy again; it was removed since it was staged")),
            (Current::Folder(_), Some(park)) => {
                exchange(&release, &webroot.current())?;
                self.set_aside(webroot, &release, park)?;
                Ok(true)
            }
            _ => {
                place_link(webroot, id)?;
                Ok(true)
            }
        }
    }

    /// Finishes an exchange that was interrupted; whether there was one.
    fn is_parked(&self, webroot: &Webroot, release: &Path, park: &str, current: &Current) -> Result<bool> {
        let Current::Folder(old) = self.from else { return Ok(false) };
        if *current == self.from {
            return Ok(false);
        }
        if webroot.folder_at(release)? == Some(old) {
            self.set_aside(webroot, release, park)?;
        }
        Ok(webroot.folder_at(&webroot.release(park))? == Some(old))
    }

    fn set_aside(&self, webroot: &Webroot, release: &Path, park: &str) -> Result<()> {
        rename_free(release, &webroot.release(park))?;
        webroot.sync(&webroot.releases())?;
        webroot.sync(&webroot.base)
    }

    /// Makes what was live before the switch to `id` live again.
    ///
    /// # Errors
    /// The place can't be read or changed.
    pub(crate) fn back(&self, webroot: &Webroot, id: &str) -> Result<Undo> {
        let next = webroot.next();
        absent(fs::remove_file(&next)).at("remove", &next)?;
        match (&self.from, &self.park) {
            (Current::Folder(old), Some(park)) => self.exchange_back(webroot, id, *old, park),
            _ => self.link_back(webroot, id),
        }
    }

    fn link_back(&self, webroot: &Webroot, id: &str) -> Result<Undo> {
        let (current, path) = (webroot.look()?, webroot.current());
        if current == self.from {
            return Ok(Undo::Nothing);
        }
        if current != Current::Link(id.to_owned()) {
            return self.unknown(webroot, &current);
        }
        match &self.from {
            Current::Link(old) if !is_there(webroot, old)? => Ok(lost(webroot, id, &webroot.release(old))),
            Current::Link(old) => {
                place_link(webroot, old)?;
                Ok(Undo::Undone { summary: format!("release {old} is live again") })
            }
            _ => {
                fs::remove_file(&path).at("remove", &path)?;
                webroot.sync(&webroot.base)?;
                Ok(Undo::Undone { summary: "nothing is live, as before".to_owned() })
            }
        }
    }

    fn exchange_back(&self, webroot: &Webroot, id: &str, old: u64, park: &str) -> Result<Undo> {
        let (release, parked, current) = (webroot.release(id), webroot.release(park), webroot.current());
        let new = heads(webroot)?.into_iter().find(|head| head.release.id == id).map(|head| head.root);
        let now = webroot.look()?;
        let [at_release, at_parked] = [webroot.folder_at(&release)?, webroot.folder_at(&parked)?];
        let is_new = |found: Option<u64>| found.is_some() && found == new;
        if now == Current::Folder(old) {
            // A former undo may have come as far as this.
            if !is_new(at_parked) || at_release.is_some() {
                return Ok(Undo::Nothing);
            }
        } else if matches!(now, Current::Folder(found) if is_new(Some(found))) {
            if at_release == Some(old) {
                exchange(&release, &current)?;
            } else if at_parked == Some(old) {
                exchange(&parked, &current)?;
            } else {
                return Ok(lost(webroot, id, &parked));
            }
        } else {
            return self.unknown(webroot, &now);
        }
        if is_new(webroot.folder_at(&parked)?) {
            rename_free(&parked, &release)?;
        }
        webroot.sync(&webroot.releases())?;
        webroot.sync(&webroot.base)?;
        Ok(Undo::Undone { summary: format!("the folder that was `{}` is live again", current.display()) })
    }

    fn unknown(&self, webroot: &Webroot, found: &Current) -> Result<Undo> {
        let (current, base) = (webroot.current(), webroot.base.display());
        let heads = heads(webroot)?;
        if let Some(live) = found.release(&heads) {
            let parked = self.park.as_ref().map_or_else(String::new, |park| {
                format!("; what was live before is `{base}/releases/{park}` or the release's own folder")
            });
            let id = &live.release.id;
            let why = format!("release {id} is live, which this run didn't switch to: it stays so{parked}");
            return Ok(Undo::Unknown { why });
        }
        let mend = match (&self.from, &self.park) {
            (Current::Link(old), _) => format!("to mend it: ln -sfn releases/{old} '{}'", current.display()),
            (Current::Folder(_), Some(park)) => {
                format!(
                    "what was live is `{base}/releases/{park}` or the release's own folder; move it to `current`"
                )
            }
            _ => format!("nothing was live before; to mend it: rm '{}'", current.display()),
        };
        Ok(Undo::Unknown {
            why: format!("`{}` is {found}, which this run didn't make; {mend}", current.display()),
        })
    }
}

/// Whether the release `id` can be gone back to: with the folder that its manifest knows, with one that holds the same
/// (as a backup brings it back) or, where it isn't one of ours, with any.
fn is_there(webroot: &Webroot, id: &str) -> Result<bool> {
    let folder = webroot.release(id);
    let Some(manifest) = Manifest::known(webroot, id)? else { return Ok(folder.is_dir()) };
    Ok(webroot.folder_at(&folder)? == Some(manifest.head.root)
        || inspect(&folder, &manifest, None)?.differences.is_empty())
}

/// Going back would leave visitors with nothing, so the release `id` stays live.
fn lost(webroot: &Webroot, id: &str, old: &Path) -> Undo {
    let (name, current, release) =
        (old.file_name().unwrap_or_default(), webroot.current(), webroot.release(id));
    let (old, name, current, release) = (old.display(), name.display(), current.display(), release.display());
    let mend = if webroot.current().is_symlink() {
        format!("ln -sfn 'releases/{name}' '{current}'")
    } else {
        format!("mv '{current}' '{release}' && mv '{old}' '{current}'")
    };
    Undo::Unknown {
        why: format!(
            "release {id} stays live: what was live before it, `{old}`, is missing; deploy again, or bring it back \
             from a backup and run: {mend}"
        ),
    }
}

/// Makes the link under a temporary name and renames it over `current`.
fn place_link(webroot: &Webroot, id: &str) -> Result<()> {
    let (next, current) = (webroot.next(), webroot.current());
    absent(fs::remove_file(&next)).at("remove", &next)?;
    symlink(Path::new("releases").join(id), &next).at("make", &next)?;
    fs::rename(&next, &current).at("switch", &current)?;
    webroot.sync(&webroot.base)
}

fn exchange(one: &Path, other: &Path) -> Result<()> {
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(Error::failed(format!(
            "the file system of `{}` can't exchange two folders in one go",
            other.display()
        ))
        .hint("move the folder away and deploy again: a link is switched anywhere")),
        exchanged => exchanged.at("exchange", other),
    }
}

/// Renames, but never over something.
fn rename_free(from: &Path, to: &Path) -> Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).at("make", to)
}
