//! Which version is deployed, from which commit, by whom. All of it untrusted text from the project.

mod head;

use std::path::Path;

use serde_json::Value;

use crate::git;

/// A longer version is no version. File names, labels and tags have to hold it.
const LONGEST: usize = 128;

/// Why a version is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// There is no text.
    #[error("the version is empty")]
    Empty,
    /// It would read as an option of some program.
    #[error("version `{0}` begins with `-`")]
    Dash(String),
    /// It is longer than 128 bytes.
    #[error("the version has {0} bytes; 128 is the most")]
    TooLong(usize),
    /// It has a control character; shown escaped.
    #[error("version `{0}` contains a control character")]
    Control(String),
}

impl VersionError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        Some("give another one with `--version`, or correct it in the project".to_owned())
    }
}

/// Refuses a version that is empty, begins with `-`, has control characters or more than 128 bytes. Asked for every
/// version before anything uses it, wherever it came from.
///
/// # Errors
/// Which of these it is.
pub fn check(version: &str) -> Result<(), VersionError> {
    if version.is_empty() {
        return Err(VersionError::Empty);
    }
    if version.len() > LONGEST {
        return Err(VersionError::TooLong(version.len()));
    }
    if version.chars().any(char::is_control) {
        return Err(VersionError::Control(version.escape_debug().to_string()));
    }
    if version.starts_with('-') {
        return Err(VersionError::Dash(version.to_owned()));
    }
    Ok(())
}

/// The project's version: `explicit`, else package.json, pyproject.toml, Cargo.toml, the newest tag that git reaches;
/// none of them where none says it. A source that can't be read or parsed, or has no version, is passed over.
pub fn of_project(dir: &Path, explicit: Option<&str>) -> Option<String> {
    explicit
        .map(str::to_owned)
        .or_else(|| package_json(dir))
        .or_else(|| pyproject(dir))
        .or_else(|| cargo(dir))
        .or_else(|| git(dir, &["describe", "--tags", "--abbrev=0"]))
}

/// The commit that is checked out in the repository around `dir`.
pub fn commit(dir: &Path) -> Option<String> {
    // Starting git costs more than everything else that `prepare` does.
    head::commit(dir).or_else(|| git(dir, &["rev-parse", "--verify", "HEAD"]))
}

fn package_json(dir: &Path) -> Option<String> {
    let package: Value = serde_json::from_slice(&std::fs::read(dir.join("package.json")).ok()?).ok()?;
    text(package.get("version")?.as_str()?)
}

fn pyproject(dir: &Path) -> Option<String> {
    let project = toml_file(&dir.join("pyproject.toml"))?;
    let version = |table: &toml::Table| text(table.get("version")?.as_str()?);
    let poetry = || version(project.get("tool")?.get("poetry")?.as_table()?);
    project.get("project").and_then(toml::Value::as_table).and_then(version).or_else(poetry)
}

/// A package's own version, the one it inherits from its workspace, or that of a workspace without a root package.
fn cargo(dir: &Path) -> Option<String> {
    let shared =
        |manifest: &toml::Table| text(manifest.get("workspace")?.get("package")?.get("version")?.as_str()?);
    let manifest = toml_file(&dir.join("Cargo.toml"))?;
    match manifest.get("package").and_then(|package| package.get("version")) {
        Some(toml::Value::String(version)) => text(version),
        Some(inherited) if inherited.get("workspace").and_then(toml::Value::as_bool) == Some(true) => {
            let above = dir.ancestors().filter_map(|folder| toml_file(&folder.join("Cargo.toml")));
            above.filter(|manifest| manifest.contains_key("workspace")).find_map(|root| shared(&root))
        }
        _ => shared(&manifest),
    }
}

fn toml_file(path: &Path) -> Option<toml::Table> {
    std::fs::read_to_string(path).ok()?.parse().ok()
}

fn git(dir: &Path, args: &[&str]) -> Option<String> {
    git::ask(dir, args).and_then(|said| text(&said))
}

fn text(version: &str) -> Option<String> {
    let version = version.trim();
    (!version.is_empty()).then(|| version.to_owned())
}

/// Who deploys: the CI's run where there is one, else `user@host`.
pub fn actor() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let actor = ci_run(&variable).unwrap_or_else(|| format!("{}@{}", user(&variable), host()));
    // It ends up on terminals and in reports, and the environment isn't ours.
    actor.chars().filter(|c| !c.is_control()).collect()
}

fn ci_run(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(run) = variable("GITHUB_RUN_ID") {
        let server = variable("GITHUB_SERVER_URL").unwrap_or_else(|| "https://github.com".to_owned());
        return Some(match variable("GITHUB_REPOSITORY") {
            Some(repository) => format!("{server}/{repository}/actions/runs/{run}"),
            None => format!("github run {run}"),
        });
    }
    variable("CI")?;
    ["CI_JOB_URL", "BUILDKITE_BUILD_URL", "CIRCLE_BUILD_URL", "BUILD_URL"]
        .iter()
        .find_map(|name| variable(name))
}

fn user(variable: &dyn Fn(&str) -> Option<String>) -> String {
    let uid = rustix::process::geteuid().as_raw();
    // The user database first: `USER` survives a change of user.
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    account
        .or_else(|| variable("USER"))
        .or_else(|| variable("LOGNAME"))
        .unwrap_or_else(|| format!("uid{uid}"))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
