//! `{{version}}`-style placeholders in the words of a config.
//!
//! Only a name of lowercase letters, digits and `_` between the braces is a placeholder, with or without spaces around it:
//! what other tools write there (`{{.Names}}`, `{{json .}}`) is theirs. `\{{version}}` stands for `{{version}}` itself.

use crate::{Error, Result, nearest};

/// Programs that take a script as the word after `-c`.
const SHELLS: [&str; 7] = ["sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"];

/// The values behind the placeholders, by name.
#[derive(Debug, Clone, Default)]
pub struct Placeholders(Vec<(&'static str, String)>);

impl Placeholders {
    /// Placeholders with their values.
    pub fn new(values: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self(values.into_iter().collect())
    }

    /// The same with one more, which counts before others of its name.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.insert(0, (name, value.into()));
        self
    }

    /// Fills `text`, the value of the config key `field`. Values are not looked into: what stands in them stays as it is.
    ///
    /// # Errors
    /// A placeholder that isn't there; the nearest one, or else all of them, are named.
    pub fn fill(&self, field: &str, text: &str) -> Result<String> {
        pieces(text)
            .map(|piece| match piece {
                Piece::Text(text) => Ok(text),
                Piece::Name(name) => self.value(field, name),
            })
            .collect()
    }

    /// Fills a command, the value of the config key `field`.
    ///
    /// # Errors
    /// A placeholder that isn't there; a value that would be read as an option; one that would be read as code by a
    /// shell.
    pub fn fill_command(&self, field: &str, argv: &[String]) -> Result<Vec<String>> {
        let script = script(argv);
        argv.iter()
            .enumerate()
            .map(|(index, word)| {
                let field = format!("{field}[{index}]");
                let filled = self.fill(&field, word)?;
                if filled.starts_with('-') && !word.starts_with('-') {
                    return Err(Error::config(format!("`{field}`: `{word}` would be the option `{filled}`"))
                        .hint("write something before the placeholder, such as `./` or `--name=`"));
                }
                if script == Some(index) {
                    self.check_script(&field, word)?;
                }
                Ok(filled)
            })
            .collect()
    }

    /// Refuses a shell script with a value in it that isn't plain.
    fn check_script(&self, field: &str, script: &str) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+:/@=,".contains(c);
        for name in names(script) {
            let value = self.value(field, name)?;
            if !value.chars().all(plain) {
                return Err(Error::config(format!("`{field}`: a shell would read `{value}` as code"))
                    .hint(format!(
                        "hand it over beside the script: [\"sh\", \"-c\", \"… \\\"$1\\\"\", \"sh\", \"{{{{{name}}}}}\"]"
                    )));
            }
        }
        Ok(())
    }

    fn value(&self, field: &str, name: &str) -> Result<&str> {
        if let Some((_, value)) = self.0.iter().find(|(known, _)| *known == name) {
            return Ok(value);
        }
        let known = || self.0.iter().map(|(known, _)| *known);
        let hint = match nearest(name, known()) {
            Some(near) => format!("did you mean `{{{{{near}}}}}`?"),
            None => {
                let all: Vec<_> = known().map(|name| format!("`{{{{{name}}}}}`")).collect();
                format!(
                    "use one of {}, or write `\\{{{{{name}}}}}` for those very characters",
                    all.join(", ")
                )
            }
        };
        Err(Error::config(format!("`{field}`: there is no `{{{{{name}}}}}`")).hint(hint))
    }
}

/// Which word of `argv` is a script for a shell.
fn script(argv: &[String]) -> Option<usize> {
    let program = argv.first()?.rsplit('/').next()?;
    if !SHELLS.contains(&program) {
        return None;
    }
    let option = argv.iter().position(|word| word.starts_with('-') && word.ends_with('c'))?;
    Some(option + 1)
}

/// The placeholders in `text`, by name.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).filter_map(Piece::name)
}

enum Piece<'t> {
    Text(&'t str),
    Name(&'t str),
}

impl<'t> Piece<'t> {
    fn name(self) -> Option<&'t str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Text(_) => None,
        }
    }
}

/// Takes `text` apart.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((name, after)) = placeholder(rest) {
            rest = after;
            return Some(Piece::Name(name));
        }
        if let Some(literal) = rest.strip_prefix('\\')
            && let Some((_, after)) = placeholder(literal)
        {
            rest = after;
            return Some(Piece::Text(&literal[..literal.len() - after.len()]));
        }
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let end = rest[first..].find(['\\', '{']).map_or(rest.len(), |next| first + next);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Text(piece))
    })
}

/// The name of the placeholder that `text` begins with, and what comes after it.
fn placeholder(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix("{{")?.split_once("}}")?;
    let name = name.trim_matches(' ');
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!name.is_empty() && name.chars().all(fits)).then_some((name, after))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let values = Placeholders::default().with("version", "{{host}} 1").with("host", "b\u{e9}la");
        values.fill("config.tag", text).unwrap()
    }

    #[test]
    fn names_are_filled_once_and_all_else_stays() {
        assert_eq!(filled("v{{version}}-{{ host }}{{host}}"), "v{{host}} 1-b\u{e9}lab\u{e9}la");
        for text in
            ["", "{", "{{", "{{}}", "{{.Names}}", "{{json .}}", "{{{Host}}}", "\\", "\\{\\", "é{é", "}}{{"]
        {
            assert_eq!(filled(text), text);
        }
        assert_eq!(filled("{{{host}}}"), "{b\u{e9}la}");
        assert_eq!(filled("\\{{version}} \\{{.ID}}"), "{{version}} \\{{.ID}}");
    }

    #[test]
    fn a_misspelt_name_is_refused_with_the_nearest() {
        let values = Placeholders::new([("version", "1".to_owned()), ("host", "a".to_owned())]);
        let error = values.fill("config.base", "/srv/{{verson}}").unwrap_err();
        assert_eq!(error.message, "`config.base`: there is no `{{verson}}`");
        assert_eq!(error.hint.unwrap(), "did you mean `{{version}}`?");
        let error = values.fill("config.base", "{{colour}}").unwrap_err();
        assert!(error.hint.unwrap().starts_with("use one of `{{version}}`, `{{host}}`, or write"));
    }

    #[test]
    fn no_value_becomes_an_option_or_code() {
        let command = |version: &str, argv: &[&str]| {
            let argv: Vec<_> = argv.iter().map(|word| (*word).to_owned()).collect();
            Placeholders::default().with("version", version).fill_command("config.restart", &argv)
        };
        let option = command("-rf", &["rm", "{{version}}"]).unwrap_err();
        assert_eq!(option.message, "`config.restart[1]`: `{{version}}` would be the option `-rf`");
        assert_eq!(command("-rf", &["rm", "--", "./{{version}}"]).unwrap()[2], "./-rf");
        for shell in [&["sh", "-c"][..], &["/bin/bash", "-euc"], &["dash", "-e", "-c"]] {
            let argv = [shell, &["echo {{version}}"]].concat();
            let code = command("$(id)", &argv).unwrap_err();
            assert!(code.message.ends_with("a shell would read `$(id)` as code"), "{}", code.message);
            assert!(command("1.0+a", &argv).is_ok());
            let beside = [shell, &["echo \"$1\"", "sh", "{{version}}"]].concat();
            assert_eq!(command("$(id)", &beside).unwrap().last().unwrap(), "$(id)");
        }
    }
}
