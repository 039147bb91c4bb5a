//! Which version is deployed, from which commit, by whom. All of it untrusted text from the project.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

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
    git(dir, &["rev-parse", "--verify", "HEAD"])
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

/// What git says, where `dir` is in a repository: without one, starting git would be time for nothing.
fn git(dir: &Path, args: &[&str]) -> Option<String> {
    dir.ancestors().find(|folder| folder.join(".git").exists())?;
    let said = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .ok()?;
    said.status.success().then(|| String::from_utf8(said.stdout).ok()).flatten().and_then(|out| text(&out))
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
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;

    use super::*;

    fn run_git(dir: &Path, args: &[&str]) {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let done = Command::new("git").current_dir(dir).args(identity).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    #[test]
    fn each_source_speaks_where_those_before_it_are_silent_or_broken() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        let version = || of_project(dir, None);
        assert_eq!((version(), commit(dir)), (None, None));

        run_git(dir, &["init", "-q"]);
        assert_eq!((version(), commit(dir)), (None, None), "a repository without a commit");
        run_git(dir, &["commit", "-q", "--allow-empty", "-m", "m"]);
        run_git(dir, &["tag", "v0.9"]);
        assert_eq!(version().as_deref(), Some("v0.9"));
        assert_eq!(commit(dir).unwrap().len(), 40);

        write("Cargo.toml", "[workspace]\nmembers = ['m']\n[workspace.package]\nversion = '0.3.0'\n");
        assert_eq!(version().as_deref(), Some("0.3.0"));
        fs::create_dir(dir.join("m")).unwrap();
        fs::write(dir.join("m/Cargo.toml"), "[package]\nname = 'm'\nversion.workspace = true\n").unwrap();
        assert_eq!(of_project(&dir.join("m"), None).as_deref(), Some("0.3.0"));

        write("pyproject.toml", "[tool.poetry]\nversion = '0.4.0'\n");
        assert_eq!(version().as_deref(), Some("0.4.0"));
        write("pyproject.toml", "[tool.poetry]\nversion = '0.4.0'\n[project]\nversion = '0.5.0'\n");
        assert_eq!(version().as_deref(), Some("0.5.0"));

        write("package.json", r#"{"version": "0.6.0"}"#);
        assert_eq!(version().as_deref(), Some("0.6.0"));
        assert_eq!(of_project(dir, Some("7")).as_deref(), Some("7"));

        for broken in [r#"{"version": "0.6."#, r#"{"version": 6}"#, r#"{"version": ""}"#, "[]"] {
            write("package.json", broken);
            assert_eq!(version().as_deref(), Some("0.5.0"), "{broken}");
        }
    }

    #[test]
    fn words_that_would_do_harm_are_no_versions() {
        assert_eq!(check("1.2.3-rc.1+b/ü"), Ok(()));
        assert_eq!(check(""), Err(VersionError::Empty));
        assert_eq!(check("--force"), Err(VersionError::Dash("--force".to_owned())));
        assert_eq!(
            check("1\u{1b}[2J").unwrap_err().to_string(),
            r"version `1\u{1b}[2J` contains a control character"
        );
        assert_eq!(check(&"1".repeat(128)), Ok(()));
        assert_eq!(check(&"1".repeat(129)), Err(VersionError::TooLong(129)));
    }

    #[test]
    fn the_run_of_a_ci_is_who_deploys_there() {
        let run = |variables: &[(&str, &str)]| {
            let of = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            ci_run(&of)
        };
        let github = [("CI", "true"), ("GITHUB_RUN_ID", "7"), ("GITHUB_REPOSITORY", "acme/shop")];
        assert_eq!(run(&github).as_deref(), Some("https://github.com/acme/shop/actions/runs/7"));
        let gitlab = [("CI", "true"), ("CI_JOB_URL", "https://gitlab.example/jobs/1")];
        assert_eq!(run(&gitlab).as_deref(), Some("https://gitlab.example/jobs/1"));
        assert_eq!(run(&[("BUILD_URL", "left over")]), None);
        assert!(
            actor().contains('@') || std::env::var("CI").is_ok() || std::env::var("GITHUB_RUN_ID").is_ok()
        );
    }
}
