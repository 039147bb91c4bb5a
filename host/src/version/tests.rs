#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use std::process::Command;

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
    assert!(actor().contains('@') || std::env::var("CI").is_ok() || std::env::var("GITHUB_RUN_ID").is_ok());
}

#[test]
fn the_commit_is_what_git_says_however_the_repository_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("repo");
    fs::create_dir(&dir).unwrap();
    let same = |dir: &Path, kept: &str| {
        let read = head::commit(dir).unwrap_or_else(|| panic!("{kept}"));
        assert_eq!(Some(read), git(dir, &["rev-parse", "HEAD"]), "{kept}");
    };
    run_git(&dir, &["init", "-q", "-b", "main/line"]);
    assert_eq!(head::commit(&dir), None);
    run_git(&dir, &["commit", "-q", "--allow-empty", "-m", "1"]);
    fs::create_dir(dir.join("sub")).unwrap();
    same(&dir.join("sub"), "loose");
    run_git(&dir, &["pack-refs", "--all"]);
    same(&dir, "packed");
    run_git(&dir, &["commit", "-q", "--allow-empty", "-m", "2"]);
    same(&dir, "loose over packed");
    run_git(&dir, &["worktree", "add", "-q", "-b", "side", "../tree", "HEAD~1"]);
    same(&folder.path().join("tree"), "worktree");
    run_git(&dir, &["checkout", "-q", "--detach", "HEAD~1"]);
    same(&dir, "detached");
}
