//! A folder as it is: walked in parallel, with one `stat` a file, following no link.

use std::{
    collections::HashMap,
    ffi::CString,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Dir, FileType, readlinkat, statat};
use serde::{Deserialize, Serialize};

use super::{
    ContentHash, Problem, Root, Skip, Stamp, buffer, now,
    problem::{self, Destination},
    root::open_folder,
};
use crate::{IoContext as _, Result};

/// The permission bits that go along; set-user-id and its kin never do.
pub const MODE: u32 = 0o777;

/// How deep folders may lie in each other: nobody means deeper ones, and paths have to fit into a system call.
pub(super) const DEEPEST: usize = 100;

/// Everything in a folder, each list sorted by path.
#[derive(Debug, Default)]
pub struct Tree {
    /// The regular files.
    pub files: Vec<File>,
    /// The folders; not the root.
    pub folders: Vec<Folder>,
    /// The symbolic links.
    pub links: Vec<Link>,
    /// What can't be deployed.
    pub problems: Vec<Problem>,
    /// When the walk began; see [`Stamp::settled`].
    pub taken: i64,
}

/// A regular file. Paths are relative to the tree's root, with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Its permission bits.
    pub mode: u32,
    /// How it looked when the tree was walked.
    pub stamp: Stamp,
}

/// A folder; empty ones count too. As here, so in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Where it is.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
}

/// A symbolic link, kept as one: a `latest -> v2.1` needn't double the release. As here, so in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where it is.
    pub path: String,
    /// Its words.
    pub to: String,
}

impl Tree {
    /// Walks the folder `root`, level by level: however deep it is, the stack isn't.
    ///
    /// # Errors
    /// A folder that can't be read.
    pub fn walk(root: &Path, skip: &Skip) -> Result<Self> {
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

    /// Adds links that lead astray to the problems.
    pub fn judge_links(&mut self, root: &Path) {
        for link in &self.links {
            match problem::destination(root, link) {
                Destination::Inside(path) if self.has(&path) => {}
                Destination::Inside(_) => {
                    self.problems.push(Problem::LinkLeft(link.path.clone(), link.to.clone()));
                }
                Destination::Outside => {
                    self.problems.push(Problem::LinkOut(link.path.clone(), link.to.clone()));
                }
                Destination::Nowhere => {
                    self.problems.push(Problem::LinkNowhere(link.path.clone(), link.to.clone()));
                }
            }
        }
    }

    /// Whether the root itself, a file or a folder is at `path`, and goes along.
    fn has(&self, path: &Path) -> bool {
        path.as_os_str().is_empty()
            || path.to_str().is_some_and(|path| {
                self.files.binary_search_by(|file| file.path.as_str().cmp(path)).is_ok()
                    || self.folders.binary_search_by(|folder| folder.path.as_str().cmp(path)).is_ok()
            })
    }

    /// Adds names that are one where upper and lower case are to the problems.
    pub fn judge_case(&mut self) {
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
    pub fn digest(&self) -> String {
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
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Looks at every file on all cores, in the order of `files`. `look` may read it with the root and the buffer.
    ///
    /// # Errors
    /// The first failure of `look`, or `root` can't be opened.
    pub fn each_file<T: Send>(
        &self,
        root: &Path,
        look: impl Fn(&Root, &mut [u8], usize, &File) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let root = Root::open(root)?;
        let files = self.files.par_iter().enumerate().with_min_len(64);
        files.map_init(buffer, |buffer, (index, file)| look(&root, buffer, index, file)).collect()
    }

    /// The hash of every file, in the order of `files`; those that are `known` aren't read.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn hashes<H: ContentHash>(
        &self,
        root: &Path,
        known: impl Fn(&File) -> Option<H> + Sync,
    ) -> Result<Vec<H>> {
        self.each_file(root, |root, buffer, _, file| match known(file) {
            Some(hash) => Ok(hash),
            None => root.hash(&file.path, buffer),
        })
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
