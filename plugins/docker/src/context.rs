//! The build context: the folder that is sent to the builder, less what `.dockerignore` leaves out.

use std::{fs, io, path::Path};

use globset::{GlobBuilder, GlobMatcher};
use pop_deploy_plugin_api::{Error, IoContext as _, Result};

/// What an entry of a tar stream takes beside its content, and what its content is padded to.
const BLOCK: u64 = 512;

/// What is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Context {
    /// How many files.
    pub(crate) files: u64,
    /// How many bytes go to the builder, as the tar stream that they are sent in.
    pub(crate) bytes: u64,
    /// How many bytes the files have that stay behind.
    pub(crate) left_out: u64,
    /// Whether the folder of our own data is among what is sent.
    pub(crate) holds_data: bool,
}

/// The patterns of a `.dockerignore`, in their order: the last one that fits decides.
struct Ignore {
    patterns: Vec<(GlobMatcher, Says)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Leave,
    Take,
}

impl Context {
    /// Measures the folder; `data` is where our own data lies in it.
    ///
    /// # Errors
    /// It can't be read, or its `.dockerignore` has a pattern that is none.
    pub(crate) fn measure(root: &Path, dockerfile: &Path, data: Option<&Path>) -> Result<Self> {
        let ignore = Ignore::read(&root.join(".dockerignore"))?;
        // The two always go along, whatever is said of them.
        let always = [Path::new(".dockerignore"), dockerfile];
        let holds_data = data.is_some_and(|data| root.join(data).is_dir() && !ignore.leaves(data));
        let mut context = Self { bytes: 2 * BLOCK, holds_data, ..Self::default() };
        context.visit(root, Path::new(""), &ignore, &always)?;
        Ok(context)
    }

    fn visit(&mut self, root: &Path, folder: &Path, ignore: &Ignore, always: &[&Path]) -> Result<()> {
        let here = root.join(folder);
        for entry in fs::read_dir(&here).at("read", &here)? {
            let entry = entry.at("read", &here)?;
            let path = folder.join(entry.file_name());
            let meta = match entry.metadata() {
                // Gone since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta.at("look at", &entry.path())?,
            };
            let leaves = ignore.leaves(&path) && !always.contains(&path.as_path());
            if meta.is_dir() {
                self.bytes += if leaves { 0 } else { BLOCK };
                self.visit(root, &path, ignore, always)?;
            } else if leaves {
                self.left_out += meta.len();
            } else {
                let content = if meta.is_file() { meta.len().next_multiple_of(BLOCK) } else { 0 };
                self.files += 1;
                self.bytes += BLOCK + content;
            }
        }
        Ok(())
    }
}

impl Ignore {
    fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.at("read", path)?,
        };
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
        let patterns = lines.filter(|line| !line.is_empty()).map(pattern).collect::<Result<_>>()?;
        Ok(Self { patterns })
    }

    /// Whether a path stays behind: by a pattern that fits it, or one of the folders that it is in.
    fn leaves(&self, path: &Path) -> bool {
        let fitting =
            self.patterns.iter().rev().find(|(glob, _)| path.ancestors().any(|path| glob.is_match(path)));
        fitting.is_some_and(|(_, says)| *says == Says::Leave)
    }
}

fn pattern(line: &str) -> Result<(GlobMatcher, Says)> {
    let (says, pattern) = match line.strip_prefix('!') {
        Some(rest) => (Says::Take, rest.trim()),
        None => (Says::Leave, line),
    };
    let pattern = pattern.trim_start_matches("./").trim_matches('/');
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    let glob = glob.map_err(|error| {
        Error::preflight(format!("`.dockerignore`: `{}` is no pattern", line.escape_debug()))
            .because(&error)
            .hint("correct it; docker would refuse it too")
    })?;
    Ok((glob.compile_matcher(), says))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn left(ignore: &str, path: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".dockerignore"), ignore).unwrap();
        Ignore::read(&folder.path().join(".dockerignore")).unwrap().leaves(Path::new(path))
    }

    #[test]
    fn patterns_are_read_as_docker_reads_them() {
        assert!(left("node_modules", "node_modules/a/b.js"));
        assert!(!left("node_modules", "web/node_modules/a"), "without ** a pattern begins at the root");
        assert!(left("**/node_modules", "web/node_modules/a"));
        assert!(left("*.log", "a.log"));
        assert!(!left("*.log", "logs/a.log"));
        assert!(left("/dist/", "dist/a"));
        assert!(left("# words\n*\n!src\n", "README"));
        assert!(!left("# words\n*\n!src\n", "src/main.rs"), "the last one that fits decides");
        assert!(left("*\n!src\nsrc/*.tmp", "src/a.tmp"));
        assert!(left("docs/**/*.md", "docs/a/b/c.md"));
    }
}
