//! What makes a folder unfit to be shipped.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use super::{Link, Tree, walk::DEEPEST};
use crate::{
    protocol::Check,
    words::{grouped, some},
};

/// What to try against each kind of failure.
const FAILURES: [(&str, &str); 5] = [
    ("links", "copy what it leads to, make it a relative link within the source, or exclude it"),
    ("files", "remove it, or exclude it: a release is made of files, folders and links"),
    ("names", "rename it, or exclude it: not every system can hold it"),
    ("case", "rename one, or exclude it: elsewhere they are one file"),
    ("depth", "exclude it, or look what nests folders there, such as a copy of itself"),
];
const HARMLESS: &str = "harmless";

/// Something that can't be part of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A name that isn't UTF-8.
    Name(PathBuf),
    /// Neither file, folder nor link.
    Special(String, &'static str),
    /// A link that leads out of the tree, and where to.
    LinkOut(String, String),
    /// A link that leads nowhere, and where to. Harmless.
    LinkNowhere(String, String),
    /// A link that leads to something that stays behind, and where to. Harmless, too.
    LinkLeft(String, String),
    /// Two names that are one on many file systems.
    Case(String, String),
    /// A folder deeper than anybody means; what is in it wasn't looked at.
    Deep(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(path) => write!(f, "the name `{}` isn't UTF-8", path.display()),
            Self::Special(path, kind) => write!(f, "`{path}` is a {kind}"),
            Self::LinkOut(path, to) => write!(f, "the link `{path}` leads out of the source, to `{to}`"),
            Self::LinkNowhere(path, to) => write!(f, "the link `{path}` leads nowhere: `{to}`"),
            Self::LinkLeft(path, to) => write!(f, "the link `{path}` leads to what stays behind: `{to}`"),
            Self::Case(one, other) => write!(f, "`{one}` and `{other}` differ in case only"),
            Self::Deep(path) => {
                let names: Vec<_> = path.split('/').collect();
                let (first, last) = (names[0], names[names.len() - 1]);
                write!(f, "`{first}/…/{last}` lies more than {DEEPEST} folders deep")
            }
        }
    }
}

impl Problem {
    /// The link whose problem it is that it leads astray.
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::LinkOut(path, _) | Self::LinkNowhere(path, _) | Self::LinkLeft(path, _) => Some(path),
            _ => None,
        }
    }

    /// The check that it fails; harmless ones have a name of their own.
    fn check(&self) -> &'static str {
        match self {
            Self::LinkOut(..) => "links",
            Self::LinkNowhere(..) | Self::LinkLeft(..) => HARMLESS,
            Self::Special(..) => "files",
            Self::Name(..) => "names",
            Self::Case(..) => "case",
            Self::Deep(..) => "depth",
        }
    }
}

impl Tree {
    /// What the problems come to, a check for each kind; and that links stay inside, where there are any.
    pub fn checks(&self) -> Vec<Check> {
        let failures = FAILURES
            .iter()
            .filter_map(|(name, hint)| self.problems_of(name).map(|words| Check::fail(name, words, *hint)));
        let mut checks: Vec<_> = failures.collect();
        if checks.first().is_none_or(|check| check.name != "links") {
            let harmless = self.problems_of(HARMLESS).map(|words| Check::warn("links", words));
            checks.splice(..0, harmless.or_else(|| self.links_stay()));
        }
        checks
    }

    fn problems_of(&self, check: &str) -> Option<String> {
        let problems = self.problems.iter().filter(|problem| problem.check() == check);
        let words: Vec<_> = problems.map(ToString::to_string).collect();
        (!words.is_empty()).then(|| some(&words))
    }

    fn links_stay(&self) -> Option<Check> {
        let words = match self.links.len() {
            0 => return None,
            1 => "the only link stays in the source".to_owned(),
            links => format!("all {} links stay in the source", grouped(links as u64)),
        };
        Some(Check::pass("links", words))
    }
}

/// Where a link leads.
pub(super) enum Destination {
    /// At this path from the root, through no other link.
    Inside(PathBuf),
    Outside,
    Nowhere,
}

/// Where a link leads, by its words and, through other links, in fact. An absolute one always leads out: it would
/// lead from the release back to the source.
pub(super) fn destination(root: &Path, link: &Link) -> Destination {
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
        Ok(path) => {
            path.strip_prefix(root).map_or(Destination::Outside, |path| Destination::Inside(path.to_owned()))
        }
        Err(_) => Destination::Nowhere,
    }
}
