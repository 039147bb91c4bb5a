//! Who could have put a file where it lies, or could still change it.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// Why a file or one of the folders above it isn't safe to load code from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// Its owner is neither root, nor you, nor the owner of the executable.
    #[error("`{path}` belongs to user {owner}; run `chown {you} {path}` if you trust what it holds")]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        you: u32,
    },
    /// Others may write there.
    #[error("`{path}` may be written by {who}; run `chmod go-w {path}`")]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// `everybody`, or which group.
        who: String,
    },
    /// It can't be looked at.
    #[error("`{path}` can't be looked at ({error}); check its permissions")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        error: String,
    },
}

/// Checks every folder from the root down to `folder`, which must be absolute; links are followed.
pub(super) fn check_folder(folder: &Path) -> Result<(), Unsafe> {
    let unreadable = |path: &Path, error: &io::Error| Unsafe::Unreadable {
        path: path.to_owned(),
        error: error.to_string(),
    };
    let real = folder.canonicalize().map_err(|error| unreadable(folder, &error))?;
    for (depth, ancestor) in real.ancestors().enumerate() {
        let meta = fs::symlink_metadata(ancestor).map_err(|error| unreadable(ancestor, &error))?;
        // In a sticky folder of root (`/tmp`) nobody can move away what belongs to another; the folder that the
        // plugin itself lies in must not take files from everybody, sticky or not.
        let sticky = depth > 0 && meta.mode() & 0o1000 != 0 && meta.uid() == 0;
        if !sticky {
            check(ancestor, &meta)?;
        }
    }
    Ok(())
}

/// Checks one file or folder by itself.
pub(super) fn check(path: &Path, meta: &Metadata) -> Result<(), Unsafe> {
    let you = PEOPLE.you;
    let owner = meta.uid();
    if owner != 0 && owner != you && Some(owner) != PEOPLE.executable_owner {
        return Err(Unsafe::Owner { path: path.to_owned(), owner, you });
    }
    let writable = |who: String| Err(Unsafe::Writable { path: path.to_owned(), who });
    if meta.mode() & 0o002 != 0 {
        return writable("everybody".into());
    }
    if meta.mode() & 0o020 != 0 && PEOPLE.private_group != Some(meta.gid()) {
        return writable(format!("group {}", meta.gid()));
    }
    Ok(())
}

/// Whom files may belong to.
struct People {
    you: u32,
    executable_owner: Option<u32>,
    private_group: Option<u32>,
}

static PEOPLE: LazyLock<People> = LazyLock::new(|| {
    let you = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let executable = std::env::current_exe().and_then(fs::metadata);
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    People {
        you,
        executable_owner: executable.map(|meta| meta.uid()).ok(),
        private_group: is_private(you, group, &read("/etc/passwd"), &read("/etc/group")).then_some(group),
    }
});

/// Whether nobody but user `you` is in `group`, as far as the local files know. A group that they don't know, as
/// with a directory service, counts as shared.
fn is_private(you: u32, group: u32, passwd: &str, groups: &str) -> bool {
    let field = |line: &str, index: usize| line.split(':').nth(index).unwrap_or_default().to_owned();
    let (you, group) = (you.to_string(), group.to_string());
    let my_name = passwd.lines().find(|line| field(line, 2) == you).map(|line| field(line, 0));
    let Some(entry) = groups.lines().find(|line| field(line, 2) == group) else { return false };
    let members = field(entry, 3);
    let others_are_members =
        members.split(',').any(|name| !name.is_empty() && Some(name) != my_name.as_deref());
    let others_start_there = passwd.lines().any(|line| field(line, 3) == group && field(line, 2) != you);
    !others_are_members && !others_start_there
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("plugins");
        fs::create_dir(&inner).unwrap();
        check_folder(&inner).unwrap();
        chmod(&inner, 0o777);
        assert!(matches!(check_folder(&inner), Err(Unsafe::Writable { path, .. }) if path == inner));
        chmod(&inner, 0o1777);
        assert!(matches!(check_folder(&inner), Err(Unsafe::Writable { .. })), "sticky is for folders above");
        chmod(&inner, 0o755);
        chmod(folder.path(), 0o757);
        let words = check_folder(&inner).unwrap_err().to_string();
        let folder = folder.path().display();
        assert_eq!(words, format!("`{folder}` may be written by everybody; run `chmod go-w {folder}`"));
    }

    #[test]
    fn a_group_is_private_when_nobody_else_is_in_it() {
        let passwd = "root:x:0:0::/root:\nann:x:1000:1000::/home/ann:\nbob:x:1001:1001::/home/bob:\n";
        let groups = "root:x:0:\nann:x:1000:\nbob:x:1001:bob\nops:x:50:ann,bob\n";
        assert!(is_private(1000, 1000, passwd, groups));
        assert!(is_private(1001, 1001, passwd, groups));
        assert!(!is_private(1000, 50, passwd, groups));
        assert!(!is_private(1000, 1001, passwd, groups), "bob starts in it");
        assert!(!is_private(1000, 77, passwd, groups), "a group that nobody describes");
    }
}
