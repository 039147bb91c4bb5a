//! A folder as it is: walked in parallel, with one `stat` a file, following no link.

use std::{
    collections::HashMap,
    ffi::CString,
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use pop_deploy_plugin_api::{IoContext as _, Result};
use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use serde::{Deserialize, Serialize};

use crate::{
    config::Skip,
    stamp::{Stamp, now},
};

/// The permission bits that go along; set-user-id and its kin never do.
pub(crate) const MODE: u32 = 0o777;

/// How deep a site's folders may lie in each other: no site is, and paths have to fit into a system call.
const DEEPEST: usize = 100;

/// Everything in a folder, each list sorted by path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    pub(crate) folders: Vec<Folder>,
    pub(crate) links: Vec<Link>,
    /// What can't be deployed.
    pub(crate) problems: Vec<Problem>,
    /// When the walk began; see [`Stamp::settled`].
    pub(crate) taken: i64,
}

/// A regular file. Paths are relative to the tree's root, with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) stamp: Stamp,
}

/// A folder; empty ones count too. As here, so in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Folder {
    pub(crate) path: String,
    pub(crate) mode: u32,
}

/// A symbolic link, kept as one: a `latest -> v2.1` needn't double the site. As here, so in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) path: String,
    pub(crate) to: String,
}

/// Something that can't be part of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A name that isn't UTF-8.
    Name(PathBuf),
    /// Neither file, folder nor link.
    Special(String, &'static str),
    /// A link that leads out of the tree, and where to.
    LinkOut(String, String),
    /// A link that leads nowhere, and where to. Harmless.
    LinkNowhere(String, String),
    /// Two names that are one on many file systems.
    Case(String, String),
    /// A folder deeper than a site's are; what is in it wasn't looked at.
    Deep(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(path) => write!(f, "the name `{}` isn't UTF-8", path.display()),
            Self::Special(path, kind) => write!(f, "`{path}` is a {kind}"),
            Self::LinkOut(path, to) => write!(f, "the link `{path}` leads out of the source, to `{to}`"),
            Self::LinkNowhere(path, to) => write!(f, "the link `{path}` leads nowhere: `{to}`"),
            Self::Case(one, other) => write!(f, "`{one}` and `{other}` differ in case only"),
            Self::Deep(path) => {
                let names: Vec<_> = path.split('/').collect();
                let (first, last) = (names[0], names[names.len() - 1]);
                write!(f, "`{first}/…/{last}` lies more than {DEEPEST} folders deep")
            }
        }
    }
}

impl Tree {
    /// Walks the folder `root`, level by level: however deep it is, the stack isn't.
    ///
    /// # Errors
    /// A folder that can't be read.
    pub(crate) fn walk(root: &Path, skip: &Skip) -> Result<Self> {
        let taken = now();
        let fd = open_folder(CWD, root).at("read", root)?;
        let walk = Walk { root, fd: fd.as_fd(), skip };
        let mut tree = Self::default();
        let mut level = walk.folder("")?;
        for depth in 1.. {
            let next = match level.folders.as_slice() {
                [] => break,
                folders if depth > DEEPEST => Self::too_deep(folders),
                folders => walk.folders(folders)?,
            };
            tree = tree.absorb(std::mem::replace(&mut level, next));
        }
        tree = tree.absorb(level);
        tree.files.par_sort_unstable_by(|a, b| a.path.cmp(&b.path));
        tree.folders.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        tree.links.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        tree.taken = taken;
        Ok(tree)
    }

    /// Adds what makes a tree unfit for a site but not for a walk: links that lead astray, names that collide.
    pub(crate) fn judge(&mut self, root: &Path) {
        for link in &self.links {
            match destination(root, link) {
                Destination::Inside => {}
                Destination::Outside => {
                    self.problems.push(Problem::LinkOut(link.path.clone(), link.to.clone()));
                }
                Destination::Nowhere => {
                    self.problems.push(Problem::LinkNowhere(link.path.clone(), link.to.clone()));
                }
            }
        }
        let mut seen = HashMap::with_capacity(self.files.len());
        let folders = self.folders.iter().map(|folder| &folder.path);
        let links = self.links.iter().map(|link| &link.path);
        for path in folders.chain(links).chain(self.files.iter().map(|file| &file.path)) {
            if let Some(other) = seen.insert(path.to_lowercase(), path) {
                self.problems.push(Problem::Case(other.clone(), path.clone()));
            }
        }
    }

    /// A digest of paths, sizes, modes and stamps: equal digests, equal trees.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut word = |word: &[u8]| {
            hasher.update(&(word.len() as u64).to_le_bytes());
            hasher.update(word);
        };
        for file in &self.files {
            let Stamp { ino, mtime, ctime } = file.stamp;
            word(file.path.as_bytes());
            let numbers = [file.size, file.mode.into(), ino, mtime.cast_unsigned(), ctime.cast_unsigned()];
            word(&numbers.map(u64::to_le_bytes).concat());
        }
        for folder in &self.folders {
            word(folder.path.as_bytes());
            word(&folder.mode.to_le_bytes());
        }
        for link in &self.links {
            word(link.path.as_bytes());
            word(link.to.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    fn too_deep(folders: &[Folder]) -> Self {
        let problems = folders.iter().map(|folder| Problem::Deep(folder.path.clone())).collect();
        Self { problems, ..Self::default() }
    }

    fn absorb(mut self, mut other: Self) -> Self {
        if self.files.len() < other.files.len() {
            std::mem::swap(&mut self, &mut other);
        }
        self.files.append(&mut other.files);
        self.folders.append(&mut other.folders);
        self.links.append(&mut other.links);
        self.problems.append(&mut other.problems);
        self
    }
}

/// Opens a folder for reading and as the start of relative paths.
pub(crate) fn open_folder(at: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

enum Destination {
    Inside,
    Outside,
    Nowhere,
}

/// Where a link leads, by its words and, through other links, in fact. An absolute one always leads out: it would
/// lead from the release back to the source.
fn destination(root: &Path, link: &Link) -> Destination {
    let mut depth = link.path.split('/').count() - 1;
    for part in Path::new(&link.to).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::CurDir => {}
            _ => return Destination::Outside,
        }
    }
    match root.join(&link.path).canonicalize() {
        Ok(path) if path.starts_with(root) => Destination::Inside,
        Ok(_) => Destination::Outside,
        Err(_) => Destination::Nowhere,
    }
}

struct Walk<'a> {
    root: &'a Path,
    fd: BorrowedFd<'a>,
    skip: &'a Skip,
}

impl Walk<'_> {
    fn folder(&self, path: &str) -> Result<Tree> {
        let place = || self.root.join(path);
        let fd = open_folder(self.fd, Path::new(if path.is_empty() { "." } else { path }));
        let mut folder = Dir::new(fd.at("read", &place())?).at("read", &place())?;
        let mut names = Vec::new();
        while let Some(entry) = folder.read() {
            let name = entry.at("read", &place())?.file_name().to_owned();
            if !matches!(name.as_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        let fd = folder.fd().at("read", &place())?;
        names
            .into_par_iter()
            .with_min_len(128)
            .try_fold(Tree::default, |tree, name| self.entry(tree, fd, path, name))
            .try_reduce(Tree::default, |one, other| Ok(one.absorb(other)))
    }

    fn folders(&self, folders: &[Folder]) -> Result<Tree> {
        let trees = folders.par_iter().map(|folder| self.folder(&folder.path));
        trees.try_reduce(Tree::default, |one, other| Ok(one.absorb(other)))
    }

    fn entry(&self, mut tree: Tree, folder: BorrowedFd<'_>, path: &str, name: CString) -> Result<Tree> {
        let name = match name.into_string() {
            Ok(name) => name,
            Err(error) => {
                let name = error.into_cstring().to_string_lossy().into_owned();
                tree.problems.push(Problem::Name(Path::new(path).join(name)));
                return Ok(tree);
            }
        };
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        if self.skip.leaves(&path, &name) {
            return Ok(tree);
        }
        let stat = match statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone since the folder was listed, which is as good as gone before.
            Err(rustix::io::Errno::NOENT) => return Ok(tree),
            stat => stat.at("look at", &self.root.join(&path))?,
        };
        let mode = stat.st_mode & MODE;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let size = stat.st_size.cast_unsigned();
                tree.files.push(File { path, size, mode, stamp: Stamp::of(&stat) });
            }
            FileType::Directory => tree.folders.push(Folder { path, mode }),
            FileType::Symlink => {
                let to = readlinkat(folder, &name, Vec::new()).at("read", &self.root.join(&path))?;
                match to.into_string() {
                    Ok(to) => tree.links.push(Link { path, to }),
                    Err(_) => tree.problems.push(Problem::Name(path.into())),
                }
            }
            FileType::Fifo => tree.problems.push(Problem::Special(path, "named pipe")),
            FileType::Socket => tree.problems.push(Problem::Special(path, "socket")),
            _ => tree.problems.push(Problem::Special(path, "device")),
        }
        Ok(tree)
    }
}

/// Reads a file of a tree and hashes it.
///
/// # Errors
/// It can't be opened or read.
pub(crate) fn hash(root: BorrowedFd<'_>, path: &str, buffer: &mut [u8]) -> io::Result<blake3::Hash> {
    let file = open_file(root, path)?;
    let mut hasher = blake3::Hasher::new();
    loop {
        match rustix::io::read(&file, &mut *buffer)? {
            0 => return Ok(hasher.finalize()),
            read => drop(hasher.update(&buffer[..read])),
        }
    }
}

/// Opens a file of a tree for reading; a link that took its place isn't followed.
pub(crate) fn open_file(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(root, path, flags, Mode::empty())
}

/// A buffer for reading files: as large as stays in a core's cache beside what hashing needs.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; 256 * 1024]
}
