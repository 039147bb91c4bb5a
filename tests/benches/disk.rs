//! A file system of our own to measure on: ext4 with a journal, whatever the machine's own is.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::fs::{CWD, Mode, OFlags, openat, syncfs};

/// A mounted image; unmounted when dropped, its file is gone as soon as it is mounted.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    mounted: bool,
    /// What it is, for the table's head.
    pub(crate) name: String,
}

impl Disk {
    /// Mounts `gigabytes` of ext4, or falls back to a folder and says so.
    pub(crate) fn new(gigabytes: u64) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pop-deploy-bench-").tempdir()?;
        let (mounted, name) = match mount(folder.path(), gigabytes) {
            Ok(()) => (true, "ext4 with a journal, on a loop device".to_owned()),
            Err(error) => (false, format!("the temporary folder's own file system ({error})")),
        };
        Ok(Self { folder, mounted, name })
    }

    pub(crate) fn path(&self) -> PathBuf {
        if self.mounted { self.folder.path().join("disk") } else { self.folder.path().to_owned() }
    }

    /// Writes out what is dirty, so that a measurement pays for its own writes only.
    pub(crate) fn settle(&self) {
        let root = openat(CWD, self.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        syncfs(root.expect("the disk opens")).expect("the disk syncs");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            run("umount", &[&self.path()]).or_else(|_| run("umount", &[Path::new("-l"), &self.path()])).ok();
        }
    }
}

fn mount(folder: &Path, gigabytes: u64) -> io::Result<()> {
    let (image, disk) = (folder.join("image"), folder.join("disk"));
    File::create_new(&image)?.set_len(gigabytes << 30)?;
    run("mkfs.ext4", &[Path::new("-q"), Path::new("-O"), Path::new("has_journal"), &image])?;
    fs::create_dir(&disk)?;
    run("mount", &[Path::new("-o"), Path::new("loop"), &image, &disk])?;
    fs::remove_file(&image)
}

fn run(program: &str, args: &[&Path]) -> io::Result<()> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program}: {}", words.lines().next().unwrap_or("failed").trim())))
}
