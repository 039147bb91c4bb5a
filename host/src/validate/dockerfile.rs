//! `dockerfile_lint`: what a Dockerfile says that can't work, or that one would rather not deploy.

use std::{collections::BTreeSet, fs, path::Path};

use pop_deploy_plugin_api::{protocol::CheckStatus, words::counted};

use super::Finding;
use crate::config::TargetConfig;

const NAME: &str = "dockerfile_lint";
const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
/// Parts of a variable's name that make its value a secret, which every layer of the image would keep.
const SECRET_WORDS: [&str; 5] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY"];

/// The Dockerfile that a target names, else the project's own; nothing to do where there is none.
pub(super) fn dockerfile_lint<'t>(dir: &Path, targets: impl Iterator<Item = &'t TargetConfig>) -> Finding {
    let named: Vec<_> = targets.filter_map(|target| target.config.get("dockerfile")?.as_str()).collect();
    let file = named.first().copied().unwrap_or("Dockerfile");
    let text = match fs::read_to_string(dir.join(file)) {
        Ok(text) => text,
        Err(_) if named.is_empty() => {
            return Finding::new(NAME, CheckStatus::Skip, "there is no Dockerfile");
        }
        Err(error) => {
            return Finding::new(NAME, CheckStatus::Fail, format!("`{file}` can't be read: {error}"));
        }
    };
    let mut lint = Lint::default();
    lint.read(&text);
    if !dir.join(".dockerignore").exists() && !dir.join(format!("{file}.dockerignore")).exists() {
        lint.doubts.push(
            "there is no .dockerignore: `.git` and whatever else lies here goes into the context".into(),
        );
    }
    lint.finding(file)
}

#[derive(Default)]
struct Lint {
    stages: BTreeSet<String>,
    froms: usize,
    user: Option<String>,
    errors: Vec<String>,
    doubts: Vec<String>,
}

impl Lint {
    fn finding(self, file: &str) -> Finding {
        let (status, message) = match (self.errors.len(), self.doubts.len()) {
            (0, 0) => (CheckStatus::Pass, format!("`{file}` has nothing to object to")),
            (0, doubts) => (CheckStatus::Warn, format!("`{file}`: {}", counted(doubts, "doubt"))),
            (errors, _) => {
                (CheckStatus::Fail, format!("`{file}` can't be built: {}", counted(errors, "error")))
            }
        };
        Finding::new(NAME, status, message).with(self.errors.into_iter().chain(self.doubts).collect())
    }

    fn read(&mut self, text: &str) {
        for (line, instruction) in instructions(text) {
            let (word, rest) = instruction.split_once(char::is_whitespace).unwrap_or((&instruction, ""));
            self.instruction(line, &word.to_ascii_uppercase(), rest.trim());
        }
        if self.froms == 0 {
            self.errors.push("it has no FROM".to_owned());
        } else if self.user.as_deref().is_none_or(|user| matches!(user, "root" | "0")) {
            self.doubts.push("the last stage has no USER: the program runs as root".to_owned());
        }
    }

    fn instruction(&mut self, line: usize, word: &str, rest: &str) {
        if !INSTRUCTIONS.contains(&word) {
            self.errors.push(format!("line {line}: `{word}` is no instruction"));
            return;
        }
        if rest.is_empty() {
            self.errors.push(format!("line {line}: {word} says nothing"));
            return;
        }
        if self.froms == 0 && !matches!(word, "FROM" | "ARG") {
            self.errors.push(format!("line {line}: {word} stands before the first FROM"));
        }
        match word {
            "FROM" => self.from(line, rest),
            "USER" => self.user = Some(rest.split(':').next().unwrap_or(rest).to_owned()),
            "COPY" => self.copy(line, rest),
            "ADD" if rest.contains("://") && !rest.contains("--checksum") => {
                self.doubts
                    .push(format!("line {line}: ADD of a URL without --checksum takes whatever is there"));
            }
            "RUN" => self.run(line, rest),
            "ENV" | "ARG" => self.variable(line, word, rest),
            "MAINTAINER" => self.doubts.push(format!("line {line}: MAINTAINER gave way to LABEL")),
            _ => {}
        }
    }

    fn from(&mut self, line: usize, rest: &str) {
        self.froms += 1;
        self.user = None;
        let words: Vec<_> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        let image = words.first().copied().unwrap_or_default();
        let after_path = image.rsplit('/').next().unwrap_or(image);
        let is_settled = image == "scratch" || image.contains(['@', '$']) || self.stages.contains(image);
        match after_path.split_once(':') {
            _ if is_settled => {}
            None => {
                self.doubts.push(format!("line {line}: `{image}` has no tag: another one is taken tomorrow"))
            }
            Some((_, "latest")) => {
                self.doubts.push(format!("line {line}: `{image}` is another image tomorrow; name a version"));
            }
            Some(_) => {}
        }
        if let [_, keyword, stage] = words.as_slice()
            && keyword.eq_ignore_ascii_case("as")
        {
            self.stages.insert((*stage).to_owned());
        }
    }

    /// `COPY --from=` a stage that doesn't exist is taken as an image; a name without a `.`, `/` or `:` rarely is one.
    fn copy(&mut self, line: usize, rest: &str) {
        let from = rest.split_whitespace().find_map(|word| word.strip_prefix("--from="));
        let Some(from) = from.filter(|from| !from.contains(['/', ':', '.', '@', '$'])) else { return };
        let is_earlier = from.parse().is_ok_and(|index: usize| index + 1 < self.froms);
        if !is_earlier && !self.stages.contains(from) {
            self.doubts.push(format!("line {line}: COPY --from={from}, and no stage before is called so"));
        }
    }

    fn run(&mut self, line: usize, rest: &str) {
        let installs = rest.contains("apt-get install") || rest.contains("apt install");
        if installs && !rest.contains(" -y") && !rest.contains(" --yes") && !rest.contains(" -qy") {
            self.errors.push(format!("line {line}: apt asks before it installs; say -y"));
        }
        if rest.contains("| sh") || rest.contains("| bash") {
            self.doubts.push(format!("line {line}: runs whatever a server sends"));
        }
    }

    fn variable(&mut self, line: usize, word: &str, rest: &str) {
        for pair in rest.split_whitespace() {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let is_secret = SECRET_WORDS.iter().any(|secret| name.to_ascii_uppercase().contains(secret));
            if is_secret && !value.trim_matches('"').is_empty() && !value.contains('$') {
                self.doubts.push(format!("line {line}: {word} {name} is readable to whoever has the image"));
            }
        }
    }
}

/// The instructions with their first lines: comments left out, continued lines joined, here-documents skipped.
fn instructions(text: &str) -> Vec<(usize, String)> {
    let escape = escape_character(text);
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    let mut until: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(end) = &until {
            if line.trim() == end {
                until = None;
            }
            continue;
        }
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let (part, goes_on) = trimmed.strip_suffix(escape).map_or((trimmed, false), |part| (part, true));
        match found.last_mut().filter(|_| continues) {
            Some((_, instruction)) => {
                instruction.push(' ');
                instruction.push_str(part.trim());
            }
            None => found.push((index + 1, part.trim().to_owned())),
        }
        continues = goes_on;
        until = here_document(part);
    }
    found
}

/// `# escape=`` at the top makes a backtick of the backslash.
fn escape_character(text: &str) -> char {
    let directives = text.lines().map(str::trim).take_while(|line| line.starts_with('#'));
    let escape = directives.filter_map(|line| line.trim_start_matches('#').trim().strip_prefix("escape="));
    escape.filter_map(|value| value.chars().next()).next().unwrap_or('\\')
}

/// The word that ends the here-document which begins in this line: as in BuildKit, a word of its own, `<<EOF` or `3<<-"EOF"`.
fn here_document(line: &str) -> Option<String> {
    line.split_whitespace().find_map(|word| {
        let after = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let name = after.strip_prefix('-').unwrap_or(after).trim_matches(['"', '\'']);
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then(|| name.to_owned())
    })
}
