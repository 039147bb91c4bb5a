//! A program call as a value, with holes for what only running can know.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A program call as a value: the dry run shows it, the step runs it, the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments. Never a shell line.
    pub argv: Vec<String>,
    /// The folder to run in; the project folder where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Variables to set beside the inherited ones. Never a secret: those go by stdin or a file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What only running can know (a digest, a port), by name. Each stands in a word as `<name>` and is
    /// [filled](Self::fill) before the command runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub holes: BTreeSet<String>,
}

impl Command {
    /// A command from its words.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            cwd: None,
            env: BTreeMap::new(),
            holes: BTreeSet::new(),
        }
    }

    /// Says that `<name>` in the words is a hole.
    #[must_use]
    pub fn hole(mut self, name: &str) -> Self {
        self.holes.insert(name.to_owned());
        self
    }

    /// The command with `value` in every hole of that name.
    ///
    /// # Errors
    /// The value could be read as something else than the one word it is to be part of: it is empty, begins with a
    /// `-`, or has spaces, control or other characters beyond ASCII.
    pub fn fill(&self, name: &str, value: &str) -> Result<Self> {
        if !fits(value) {
            return Err(Error::failed(format!(
                "`{}` can't stand for <{name}> in a command",
                value.escape_debug()
            )));
        }
        let hole = format!("<{name}>");
        let mut filled = self.clone();
        if filled.holes.remove(name) {
            filled.argv.iter_mut().for_each(|word| *word = word.replace(&hole, value));
        }
        Ok(filled)
    }

    /// Whether `run` is this command, its holes filled, each with one value that fits, and nothing else changed.
    pub fn admits(&self, run: &Self) -> bool {
        let mut values = BTreeMap::new();
        run.holes.is_empty()
            && (&self.cwd, &self.env, self.argv.len()) == (&run.cwd, &run.env, run.argv.len())
            && self.argv.iter().zip(&run.argv).all(|(planned, word)| match self.split(planned) {
                None => planned == word,
                Some((name, before, after)) => {
                    let value = word.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                    value.is_some_and(|value| fits(value) && *values.entry(name).or_insert(value) == value)
                }
            })
    }

    /// The hole in `word`, with what stands before and after it. A word has one hole at most: whatever follows the
    /// first is taken by its letters.
    fn split<'w>(&'w self, word: &'w str) -> Option<(&'w str, &'w str, &'w str)> {
        self.holes.iter().find_map(|name| {
            let (before, after) = word.split_once(&format!("<{name}>"))?;
            Some((name.as_str(), before, after))
        })
    }
}

/// Whether a hole may be filled with `value`: neither empty, nor an option, nor more than one word of plain characters,
/// nor another hole.
fn fits(value: &str) -> bool {
    !value.is_empty() && !value.starts_with('-') && value.chars().all(|c| c.is_ascii_graphic() && c != '<')
}

/// As a line that a POSIX shell would read back as the same words.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.argv.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:@%+".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                f.write_str(word)?;
            } else {
                write!(f, "'{}'", word.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn planned() -> Command {
        Command::new(["docker", "run", "--publish=127.0.0.1:<port>:80", "repo@<digest>", "<digest>"])
            .hole("port")
            .hole("digest")
    }

    fn filled(port: &str, digest: &str) -> Command {
        planned().fill("port", port).unwrap().fill("digest", digest).unwrap()
    }

    fn with_word(index: usize, word: &str) -> Command {
        let mut run = filled("80", "sha256:a");
        run.argv[index] = word.to_owned();
        run
    }

    #[test]
    fn a_filled_command_is_the_planned_one() {
        assert!(planned().admits(&filled("8080", "sha256:a")));
        assert_eq!(filled("8080", "sha256:a").argv[2..4], ["--publish=127.0.0.1:8080:80", "repo@sha256:a"]);
        assert!(!planned().admits(&planned()), "its holes are open");
    }

    #[test]
    fn a_hole_takes_neither_options_nor_empty_words() {
        for value in ["", "-v", "--privileged", "a b", "a\nb", "\u{e9}"] {
            assert!(planned().fill("digest", value).is_err(), "{value:?}");
            assert!(!planned().admits(&with_word(4, value)), "{value:?}");
        }
    }

    #[test]
    fn only_the_holes_may_differ() {
        for (index, word) in [(1, "rm"), (2, "--publish=0.0.0.0:80:80"), (3, "other@sha256:a")] {
            assert!(!planned().admits(&with_word(index, word)), "{word}");
        }
        assert!(!planned().admits(&with_word(3, "repo@sha256:b")), "one hole has one value");
        let mut longer = filled("80", "sha256:a");
        longer.argv.push("--privileged".to_owned());
        assert!(!planned().admits(&longer));
        let mut elsewhere = filled("80", "sha256:a");
        elsewhere.cwd = Some("/".into());
        assert!(!planned().admits(&elsewhere));
        let mut with_env = filled("80", "sha256:a");
        with_env.env.insert("DOCKER_HOST".to_owned(), "tcp://elsewhere".to_owned());
        assert!(!planned().admits(&with_env));
    }

    #[test]
    fn a_bracketed_word_that_is_no_hole_is_taken_by_its_letters() {
        let command = Command::new(["echo", "<port>"]);
        assert!(command.admits(&command.clone()));
        assert!(!command.admits(&Command::new(["echo", "80"])));
    }
}
