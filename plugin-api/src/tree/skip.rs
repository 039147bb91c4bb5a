//! What of a folder stays behind.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::resolve;
use crate::{Error, Result, Session};

/// Where a popkit keeps its data in a project.
const POPKIT: &str = ".claude/popkit";

/// What stays behind. The default leaves nothing behind, as suits a folder of our own making.
#[derive(Debug, Default)]
pub struct Skip {
    globs: GlobSet,
    data: Option<PathBuf>,
    /// Whether what tools keep for themselves stays behind too.
    private: bool,
}

impl Skip {
    /// The globs `exclude` of the config, tools' own data (`.git`), and ours. Without a `/` a pattern is matched
    /// against names at any depth, else against the path from `source`; `*` stops at a `/`, `**` doesn't.
    ///
    /// # Errors
    /// A pattern that is no glob, or excludes everything.
    pub fn new(exclude: &[String], source: &Path, session: &Session) -> Result<Self> {
        let data = resolve(&session.data)?;
        Self::of(exclude, data.strip_prefix(source).ok())
    }

    fn of(exclude: &[String], data: Option<&Path>) -> Result<Self> {
        let mut globs = GlobSetBuilder::new();
        let wrong = |pattern: &str, error: globset::Error| {
            Error::config(format!("`config.exclude`: `{pattern}` is no glob"))
                .because(&error)
                .hint("write * for a part of a name, ** for folders, and [*] for a star itself")
        };
        for pattern in exclude {
            let trimmed = pattern.trim_end_matches('/');
            if trimmed.is_empty() {
                return Err(Error::config(format!("`config.exclude`: `{pattern}` would exclude everything"))
                    .hint("name what stays behind, or leave it out"));
            }
            let anchored = match trimmed.strip_prefix('/') {
                Some(rest) => rest.to_owned(),
                None if trimmed.contains('/') => trimmed.to_owned(),
                None => format!("**/{trimmed}"),
            };
            let glob = GlobBuilder::new(&anchored).literal_separator(true).build();
            globs.add(glob.map_err(|error| wrong(pattern, error))?);
        }
        let globs = globs.build().map_err(|error| wrong("exclude", error))?;
        Ok(Self { globs, data: data.map(Path::to_owned), private: true })
    }

    /// Whether the entry `name` at `path` stays behind, with everything in it.
    pub fn leaves(&self, path: &str, name: &str) -> bool {
        (self.private
            && (matches!(name, ".git" | ".pop-deploy")
                || (name == "popkit" && Path::new(path).ends_with(POPKIT))))
            || self.data.as_deref() == Some(Path::new(path))
            || (!self.globs.is_empty() && self.globs.is_match(path))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_anywhere_and_paths_from_the_source() {
        let patterns = ["*.map", "/drafts/", "img/**/raw"].map(str::to_owned);
        let skip = Skip::of(&patterns, Some(Path::new("state"))).unwrap();
        for path in [
            "a.map",
            "deep/b.map",
            "drafts",
            "img/raw",
            "img/a/b/raw",
            "x/.git",
            "state",
            "x/.pop-deploy",
            "x/.claude/popkit",
        ] {
            assert!(skip.leaves(path, path.rsplit('/').next().unwrap()), "{path}");
        }
        for path in ["old/drafts", "a.mapx", "raw", ".github", "x/state", ".claude", "popkit"] {
            assert!(!skip.leaves(path, path.rsplit('/').next().unwrap()), "{path}");
        }
    }
}
