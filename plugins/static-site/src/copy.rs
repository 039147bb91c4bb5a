//! Brings one file into a release: hashed while it is copied, or shared with the live release.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use pop_deploy_plugin_api::{
    Error, IoContext as _, Result,
    tree::{File, Root, Stamp},
};
use rustix::{
    fs::{
        AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, fstat, futimens, ioctl_ficlone,
        linkat, openat, statat,
    },
    io::{Errno, pread, read, write},
};

use crate::manifest::Hash;

/// Copies files from one folder to another.
pub(crate) struct Copier<'a> {
    pub(crate) source: &'a Root,
    pub(crate) release: &'a Root,
    /// Whether the file systems may share blocks; forgotten after the first refusal.
    pub(crate) reflinks: AtomicBool,
}

impl Copier<'_> {
    /// Copies `file` with its mode and mtime (servers make ETags of them), hashes what was copied, and reads it back.
    /// What is there holds that hash as long as it looks like the stamp.
    ///
    /// # Errors
    /// It vanished or changed since the tree was walked, can't be read or written, or isn't what was written.
    pub(crate) fn copy(&self, file: &File, buffer: &mut [u8]) -> Result<(Hash, Stamp)> {
        let from = self.source.file(file)?;
        let to = self.create(file)?;
        let cloned = self.clone_blocks(&from, &to);
        let hash = self.pump(&from, &to, cloned, file, buffer)?;
        self.source.check(&from, file)?;
        let target = || self.release.join(&file.path);
        fchmod(&to, Mode::from_raw_mode(file.mode)).at("set the mode of", &target())?;
        futimens(&to, &times(file.stamp)).at("set the time of", &target())?;
        let stat = fstat(&to).at("look at", &target())?;
        Ok((hash, Stamp::of(&stat)))
    }

    /// Links `path` from the folder `live` when it still looks like `stamp`; whether it could.
    ///
    /// # Errors
    /// A failure that copying wouldn't be spared.
    pub(crate) fn link(&self, live: &Root, path: &str, stamp: Stamp, file: &File) -> Result<bool> {
        let unchanged =
            statat(live, path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| Stamp::of(&stat) == stamp);
        if !unchanged {
            return Ok(false);
        }
        match linkat(live, path, self.release, &file.path, AtFlags::empty()) {
            Ok(()) => Ok(true),
            // Too many links, a file of somebody else, another file system, gone: the source has the content too.
            Err(Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::NOENT | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error).at("link", &self.release.join(&file.path)),
        }
    }

    fn create(&self, file: &File) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.release, &file.path, flags, Mode::from_raw_mode(0o600))
            .at("make", &self.release.join(&file.path))
    }

    fn clone_blocks(&self, from: &OwnedFd, to: &OwnedFd) -> bool {
        if !self.reflinks.load(Ordering::Relaxed) {
            return false;
        }
        let cloned = ioctl_ficlone(to, from).is_ok();
        if !cloned {
            self.reflinks.store(false, Ordering::Relaxed);
        }
        cloned
    }

    /// Moves the content piece by piece, unless the blocks are shared already. Each piece is read back while a core's
    /// cache still has it: comparing then costs next to nothing, and hashing everything once more would cost as
    /// much as the copy.
    fn pump(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        cloned: bool,
        file: &File,
        buffer: &mut [u8],
    ) -> Result<Hash> {
        let (buffer, again) = buffer.split_at_mut(buffer.len() / 2);
        let target = || self.release.join(&file.path);
        let mut hasher = blake3::Hasher::new();
        let mut done = 0;
        // One read less a file: the stamp tells whether it grew.
        while done < file.size {
            let piece = match read(from.as_fd(), &mut *buffer) {
                Ok(0) => break,
                got => &buffer[..got.at("read", &self.source.join(&file.path))?],
            };
            hasher.update(piece);
            if !cloned {
                write_whole(to, piece).at("write", &target())?;
            }
            if !holds(to, done, piece, again).at("read", &target())? {
                return Err(Error::failed(format!(
                    "`{}` doesn't hold what was written to it",
                    target().display()
                ))
                .hint("check the disk and its file system"));
            }
            done += piece.len() as u64;
        }
        Ok(Hash(hasher.finalize()))
    }
}

fn write_whole(to: &OwnedFd, mut piece: &[u8]) -> rustix::io::Result<()> {
    while !piece.is_empty() {
        piece = &piece[write(to, piece)?..];
    }
    Ok(())
}

/// Whether the file has `piece` at `offset`, by reading it into `again`.
fn holds(file: &OwnedFd, offset: u64, mut piece: &[u8], again: &mut [u8]) -> rustix::io::Result<bool> {
    let mut at = offset;
    while !piece.is_empty() {
        let got = pread(file, &mut again[..piece.len()], at)?;
        if got == 0 || again[..got] != piece[..got] {
            return Ok(false);
        }
        piece = &piece[got..];
        at += got as u64;
    }
    Ok(true)
}

fn times(stamp: Stamp) -> Timestamps {
    let (seconds, nanos) = (stamp.mtime.div_euclid(1_000_000_000), stamp.mtime.rem_euclid(1_000_000_000));
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos },
    }
}
