//! The root of a tree, opened: its files are reached from it, and no link is followed on the way out.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, fstat, openat},
    io::Errno,
};

use super::{ContentHash, File, Stamp};
use crate::{Error, IoContext as _, Result};

const STILL: &str =
    "run it again when nothing writes to the source any more, such as a build that still runs";

/// An opened folder.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let fd = open_folder(CWD, path).at("read", path)?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The path of a file in it, for messages.
    pub fn join(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// Reads the file at `path` and hashes it.
    ///
    /// # Errors
    /// It can't be opened or read.
    pub fn hash<H: ContentHash>(&self, path: &str, buffer: &mut [u8]) -> Result<H> {
        let file = open_file(self.as_fd(), path).at("read", &self.join(path))?;
        let mut hasher = H::Hasher::default();
        loop {
            match rustix::io::read(&file, &mut *buffer).at("read", &self.join(path))? {
                0 => return Ok(H::finish(hasher)),
                read => H::update(&mut hasher, &buffer[..read]),
            }
        }
    }

    /// Opens `file` for reading.
    ///
    /// # Errors
    /// It vanished or changed since the tree was walked, or can't be read.
    pub fn file(&self, file: &File) -> Result<OwnedFd> {
        let path = || self.join(&file.path);
        let fd = match open_file(self.as_fd(), &file.path) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {
                Err(Error::failed(format!("`{}` vanished while it was to be copied", path().display()))
                    .hint(STILL))
            }
            opened => opened.at("read", &path()),
        }?;
        self.check(&fd, file)?;
        Ok(fd)
    }

    /// Refuses what isn't `file` as it was when the tree was walked. Asked again after reading, it tells that what was
    /// read is what was planned.
    ///
    /// # Errors
    /// It changed since.
    pub fn check(&self, fd: &OwnedFd, file: &File) -> Result<()> {
        let path = self.join(&file.path);
        let stat = fstat(fd).at("look at", &path)?;
        if Stamp::of(&stat) == file.stamp {
            return Ok(());
        }
        let what = if stat.st_nlink == 0 { "vanished" } else { "changed" };
        Err(Error::failed(format!("`{}` {what} while it was to be copied", path.display())).hint(STILL))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens a folder for reading and as the start of relative paths.
pub(super) fn open_folder(at: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a file of a tree for reading; a link that took its place isn't followed.
fn open_file(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(root, path, flags, Mode::empty())
}

/// A buffer for reading files: as large as stays in a core's cache beside what hashing needs.
pub fn buffer() -> Vec<u8> {
    vec![0; 256 * 1024]
}
