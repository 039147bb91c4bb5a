//! The checked-out commit, read from the repository's files.
//!
//! Only the common case: a branch or a detached HEAD, loose or packed, in a clone or a worktree. Anything else is left
//! to git itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The commit, where the files tell it in the common way.
pub(super) fn commit(dir: &Path) -> Option<String> {
    // Git would follow these to another repository.
    if ["GIT_DIR", "GIT_COMMON_DIR"].iter().any(|name| std::env::var_os(name).is_some()) {
        return None;
    }
    let repository = repository(dir)?;
    let head = fs::read_to_string(repository.join("HEAD")).ok()?;
    let Some(reference) = head.trim_end().strip_prefix("ref: ") else { return hash(&head) };
    if !reference.starts_with("refs/heads/") || reference.contains("..") {
        return None;
    }
    let shared = match fs::read_to_string(repository.join("commondir")) {
        Ok(common) => repository.join(common.trim_end()),
        Err(_) => repository,
    };
    match fs::read_to_string(shared.join(reference)) {
        Ok(loose) => hash(&loose),
        Err(_) => packed(&shared, reference),
    }
}

/// `.git`, or where a worktree's `.git` file leads.
fn repository(dir: &Path) -> Option<PathBuf> {
    let folder = dir.ancestors().find(|folder| folder.join(".git").exists())?;
    let git = folder.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let link = fs::read_to_string(&git).ok()?;
    Some(folder.join(link.trim_end().strip_prefix("gitdir: ")?))
}

fn packed(repository: &Path, reference: &str) -> Option<String> {
    let refs = fs::read_to_string(repository.join("packed-refs")).ok()?;
    let mut entries = refs.lines().filter_map(|line| line.split_once(' '));
    entries.find(|(_, name)| *name == reference).and_then(|(commit, _)| hash(commit))
}

fn hash(text: &str) -> Option<String> {
    let text = text.trim_end();
    let is_hash = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}
