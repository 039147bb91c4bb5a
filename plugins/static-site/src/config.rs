//! A target's `config`, and the folders it means.

use std::{
    num::NonZeroUsize,
    path::{Component, Path, PathBuf},
};

use pop_deploy_plugin_api::{
    Error, Result, Session, check_program,
    tree::{self, Skip},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// A share of removed files is only looked at above this many: of three files, removing one is no accident.
const FEW: usize = 10;

/// The `config` of a static-site target.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The folder of built pages, relative to the project.
    pub(crate) source: PathBuf,
    /// The base of the web root, relative to the project or absolute. Releases go to `<dir>/releases/<id>`; serve
    /// `<dir>/current`. Made on the first deployment. Neither inside `source` nor around it.
    pub(crate) dir: PathBuf,
    /// A command that makes `source`: program and arguments, run in the project folder. No shell.
    #[serde(default)]
    pub(crate) build: Option<Vec<String>>,
    /// What stays behind, as globs. Without a `/` a pattern is matched against names at any depth, else against the
    /// path from `source`; `*` stops at a `/`, `**` doesn't. `.git` and pop-deploy's own data never go along.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    /// How many verified releases to keep, at least 1. The live one and the one before it always stay.
    #[serde(default = "five")]
    pub(crate) keep: NonZeroUsize,
    /// The page that must be there, relative to `source`.
    #[serde(default = "index_html")]
    pub(crate) index: String,
    /// Where the site is served (`http://` or `https://`); when given, changed pages are fetched after the switch.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// How many files may go in one deployment: a count, or a share of the live files like `"20%"`. A share is only
    /// looked at when more than 10 files go.
    #[serde(default)]
    pub(crate) max_delete: MaxDelete,
}

fn five() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(4)
}

fn index_html() -> String {
    "index.html".to_owned()
}

/// How many files one deployment may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "CountOrShare")]
#[schemars(with = "CountOrShare")]
pub(crate) enum MaxDelete {
    /// So many.
    Count(usize),
    /// So many in a hundred of the live files.
    Percent(u8),
}

/// A number, or a text like `"20%"` or `"50"`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a count or a share like \"20%\"")]
enum CountOrShare {
    /// A count.
    Count(usize),
    /// A count or a share, in words.
    Text(String),
}

impl TryFrom<CountOrShare> for MaxDelete {
    type Error = String;

    fn try_from(raw: CountOrShare) -> Result<Self, String> {
        let text = match raw {
            CountOrShare::Count(count) => return Ok(Self::Count(count)),
            CountOrShare::Text(text) => text,
        };
        let parsed = match text.trim().strip_suffix('%') {
            Some(share) => share.trim().parse().ok().filter(|share| *share <= 100).map(Self::Percent),
            None => text.trim().parse().ok().map(Self::Count),
        };
        parsed.ok_or_else(|| format!("`{text}` is neither a count nor a share like \"20%\""))
    }
}

impl Default for MaxDelete {
    fn default() -> Self {
        Self::Percent(20)
    }
}

impl MaxDelete {
    /// Whether `removed` of `live` files may go.
    pub(crate) fn allows(self, removed: usize, live: usize) -> bool {
        match self {
            Self::Count(most) => removed <= most,
            Self::Percent(share) => removed <= FEW || removed * 100 <= live * usize::from(share),
        }
    }
}

impl std::fmt::Display for MaxDelete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(most) => write!(f, "{most}"),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

/// A config that holds together, with its folders found.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) config: Config,
    /// The source, absolute; its own links resolved as far as it exists.
    pub(crate) source: PathBuf,
    /// The base of the web root, likewise.
    pub(crate) base: PathBuf,
    /// What doesn't go along.
    pub(crate) skip: Skip,
    /// Whether hooks of the user may change the source until the stage.
    pub(crate) hooks_write: bool,
}

impl Site {
    /// Checks the config by itself and resolves its folders.
    ///
    /// # Errors
    /// Values that can't be right.
    pub(crate) fn new(config: Config, session: &Session) -> Result<Self> {
        let source = tree::folder("source", &config.source, session)?;
        let base = tree::folder("dir", &config.dir, session)?;
        if base.starts_with(&source) {
            let [dir, source] = [base.display(), source.display()];
            return Err(Error::config(format!("`config.dir`: `{dir}` lies inside the source `{source}`"))
                .hint("choose a folder outside of what is deployed"));
        }
        let data = tree::resolve(&session.data)?;
        if source.starts_with(&base) || base.starts_with(&data) || base.join(".pop-deploy") == data {
            return Err(Error::config(format!(
                "`config.dir`: `{}` is where the project's own files are",
                base.display()
            ))
            .hint("choose a folder for the web root alone, such as a new one beside it"));
        }
        if let Some(argv) = &config.build {
            let hint = "give program and arguments, such as [\"npm\", \"run\", \"build\"], or leave it out";
            check_program("config.build", argv, hint)?;
        }
        if !Path::new(&config.index).components().all(|part| matches!(part, Component::Normal(_)))
            || config.index.is_empty()
        {
            return Err(Error::config(format!(
                "`config.index`: `{}` is no file of the source",
                config.index
            ))
            .hint("give a path from the source folder, such as index.html"));
        }
        if let Some(url) = &config.url {
            check_url(url)?;
        }
        let skip = Skip::new(&config.exclude, &source, session)?;
        Ok(Self { config, source, base, skip, hooks_write: session.source_may_change })
    }

    /// Who may change the source between the plan and the stage, if anybody: what is planned is then a preview.
    pub(crate) fn made_by(&self) -> Option<&'static str> {
        match (&self.config.build, self.hooks_write) {
            (Some(_), false) => Some("the build"),
            (Some(_), true) => Some("the build and the hooks"),
            (None, true) => Some("the hooks"),
            (None, false) => None,
        }
    }
}

fn check_url(url: &str) -> Result<()> {
    let fits = url.parse::<ureq::http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
    });
    if fits && !url.contains('#') {
        return Ok(());
    }
    Err(Error::config(format!("`config.url`: `{url}` is no address of a site"))
        .hint("begin it with http:// or https://, and leave ? and # out"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_share_spares_small_sites_and_a_count_is_exact() {
        let read = |text: &str| serde_json::from_str::<MaxDelete>(text);
        assert!(read("\"20%\"").unwrap().allows(10, 12));
        assert!(!read("\"20%\"").unwrap().allows(11, 54));
        assert!(read("\"20%\"").unwrap().allows(11, 55));
        assert!(!read("2").unwrap().allows(3, 1000));
        assert_eq!(read("\"0\"").unwrap(), MaxDelete::Count(0));
        assert!(read("\"lots\"").unwrap_err().to_string().contains("neither a count nor a share"));
    }
}
