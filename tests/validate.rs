//! `validate`: what each check looks at, the score, and the verdict.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, process::Command};

use insta::assert_snapshot;
use serde_json::{Value, json};
use support::Project;

#[path = "support/mod.rs"]
mod support;

fn git(project: &Project, arguments: &[&str]) {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"];
    let git =
        Command::new("git").args(identity).args(arguments).current_dir(project.path()).output().unwrap();
    assert!(git.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&git.stderr));
}

/// A check as `status: message`, with its details behind it.
fn check(project: &Project, name: &str) -> String {
    let said = project.run(&["validate", "--json", "--scope", "full"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    let details = check["details"].as_array().unwrap();
    let details: Vec<_> = details.iter().map(|detail| format!("\n  {}", detail.as_str().unwrap())).collect();
    let (status, message) = (check["status"].as_str().unwrap(), check["message"].as_str().unwrap());
    project.steady(&format!("{status}: {message}{}", details.concat())).trim_end().to_owned()
}

#[test]
fn people_see_each_check_the_score_and_the_verdict() {
    let project = Project::new();
    assert_snapshot!(project.see(&["validate", "--scope", "full"]), @r"
    Project: handbook · Target: docs · Scope: full
      ok   config_valid: deploy.json is understood
      ok   target_config: target `docs` is understood by its plugin
      skip git_status: not in a git repository
      skip build: nothing here says how it is built
      skip tests: nothing here is known to have tests
      skip dependencies: no dependencies are declared
      skip lockfile: no dependencies are declared
      skip env_vars: no variables are asked for
      skip dockerfile_lint: there is no Dockerfile
      ok   web_root: `[project]/www`, which the deployment makes, can be written
      ok   current: nothing is live yet
      ok   owner: the web root is this target's
      ok   source: `[project]/public` holds 2 files, 24 bytes
      ok   index: `index.html` is there
      ok   space: 16,384 bytes are needed, [n] are free
    Score: 100
    Result: GO, everything that was looked at is well
    Next: `pop-deploy execute --dry-run` shows what would change
    --- exit 0
    ");
    assert!(project.snapshot("www").is_empty() && project.history().is_empty(), "a look changes nothing");

    fs::remove_file(project.path().join("public/index.html")).unwrap();
    assert_snapshot!(project.see(&["validate", "--scope", "quick"]), @r"
    Project: handbook · Target: docs · Scope: quick
      ok   config_valid: deploy.json is understood
      ok   target_config: target `docs` is understood by its plugin
      skip git_status: not in a git repository
      ok   web_root: `[project]/www`, which the deployment makes, can be written
      ok   current: nothing is live yet
      ok   owner: the web root is this target's
      ok   source: `[project]/public` holds 1 file, 12 bytes
      fail index: the source `[project]/public` has no `index.html`
           hint: build the site first, or name its first page in `index`
      ok   space: 12,288 bytes are needed, [n] are free
    Score: 68
    Result: NO-GO, `index` stands against it
    Next: mend what failed, then validate again
    --- exit 3
    ");
    project.deploy_json("{\"targets\": [}");
    assert_snapshot!(project.see(&["validate"]), @r"
      fail config_valid: `[project]/.pop-deploy/deploy.json` is not valid JSON
           expected value at line 1 column 14
           hint: look at line 1: a comma too many or too few, or a missing quote
      skip git_status: not in a git repository
    Score: 0
    Result: NO-GO, `config_valid` stands against it
    Next: mend what failed, then validate again
    --- exit 2
    ");
    project.deploy_json("{\"targets\": {}}");
    assert_snapshot!(project.see(&["validate"]), @r"
    --- stderr
    error: deploy.json has no targets
      hint: add one to `targets` in deploy.json, as README shows
    --- exit 2
    ");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let project = Project::new();
    let forced =
        project.command(&["validate"]).env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1").output().unwrap();
    let text = String::from_utf8(forced.stdout).unwrap();
    assert!(text.contains("Result: \u{1b}[32mGO\u{1b}[0m"), "{text:?}");
    assert!(!project.must(&["validate"]).stdout.contains('\u{1b}'));
}

#[test]
fn several_targets_are_looked_at_together() {
    let project = Project::new();
    project.edit(|json| {
        json["targets"]["blog"] =
            json!({"type": "static-site", "config": {"source": "nowhere", "dir": "www2"}});
        json["targets"]["old"] = json!({"type": "static-site", "enabled": false, "config": {}});
    });
    let seen = project.see(&["validate", "--all", "--scope", "quick"]);
    assert!(seen.contains("ok   docs: source: ") && seen.contains("fail blog: source: "), "{seen}");
    assert!(seen.ends_with("--- exit 3\n"), "{seen}");
    let unknown = project.run(&["validate", "--target", "docks"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("try `--target docs`"), "{}", unknown.stderr);
}

#[test]
fn git_status_is_that_of_the_project_without_its_data_folder() {
    let project = Project::new();
    git(&project, &["init", "-q"]);
    assert_snapshot!(check(&project, "git_status"), @"warn: the repository has no commit yet");
    git(&project, &["add", "public", ".pop-deploy"]);
    git(&project, &["commit", "-qm", "one"]);
    git(&project, &["branch", "-q", "other"]);
    project.write(".gitignore", "home\n");
    assert_snapshot!(check(&project, "git_status"), @r"
    warn: 1 uncommitted change
      .gitignore
    ");
    git(&project, &["add", ".gitignore"]);
    git(&project, &["commit", "-qm", "two"]);
    // Every deployment changes this one.
    project.edit(|json| json["history"] = json!([]));
    let clean = check(&project, "git_status");
    assert!(
        clean.starts_with("pass: everything is committed: ") && clean.ends_with(", on `main`"),
        "{clean}"
    );
    git(&project, &["checkout", "-q", "--detach"]);
    assert!(check(&project, "git_status").ends_with("detached from any branch"));

    git(&project, &["commit", "-aqm", "config"]);
    git(&project, &["checkout", "-q", "other"]);
    git(&project, &["branch", "-q", "--set-upstream-to=main"]);
    assert_snapshot!(check(&project, "git_status"), @r"
    warn: 1 uncommitted change
      home/
    ");
    project.write("public/index.html", "theirs");
    git(&project, &["commit", "-aqm", "theirs"]);
    git(&project, &["checkout", "-q", "main"]);
    project.write("public/index.html", "ours");
    git(&project, &["commit", "-aqm", "ours"]);
    let merge =
        Command::new("git").args(["merge", "-q", "other"]).current_dir(project.path()).output().unwrap();
    assert!(!merge.status.success());
    assert_snapshot!(check(&project, "git_status"), @r"
    fail: a merge is unfinished: 1 file in conflict
      public/index.html
    ");
    assert_eq!(project.run(&["validate"]).code, Some(3), "an unfinished merge is no release");
}

#[test]
fn a_node_project() {
    let project = Project::new();
    project.write("package.json", "{");
    assert_snapshot!(check(&project, "build"), @"fail: `package.json` can't be read: EOF while parsing an object at line 1 column 1");
    let package = |text: &str| project.write("package.json", text);
    package(
        r#"{"scripts": {"build": "make-it", "test": "echo \"Error: no test specified\" && exit 1"}, "packageManager": "bun@1.2"}"#,
    );
    let mut command = project.command(&["validate", "--json"]);
    let said = command.env("PATH", "/nowhere").output().unwrap();
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    let build = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "build").unwrap();
    assert_eq!(
        (&build["status"], &build["details"]),
        (&json!("warn"), &json!(["`bun` is not installed here"]))
    );
    assert_snapshot!(check(&project, "tests"), @"warn: package.json has no `test` script");
    assert_snapshot!(check(&project, "dependencies"), @"skip: no dependencies are declared");

    package(
        r#"{"scripts": {"test": "vitest"}, "dependencies": {"a": "^1.0", "b": "*", "c": "file:../c", "../d": "1"}}"#,
    );
    assert_snapshot!(check(&project, "tests"), @"pass: `npm test` runs them (vitest)");
    assert_snapshot!(check(&project, "dependencies"), @r"
    fail: 1 local dependency folder can't be found
      package.json: `c` is to be at `../c`
      package.json: `node_modules` isn't there; nothing is installed
      package.json: `b` may be any version (`*`)
    ");
    assert_snapshot!(check(&project, "lockfile"), @"warn: package.json has dependencies and no lockfile");
    package(r#"{"dependencies": {"a": "^1.0"}}"#);
    project.write("node_modules/a/package.json", "{}");
    assert_snapshot!(check(&project, "dependencies"), @"pass: 1 declared, nothing is missing");
    let lock = |range: &str| {
        let lock = json!({"lockfileVersion": 3, "packages": {"": {"dependencies": {"a": range}}}});
        project.write("package-lock.json", &lock.to_string());
    };
    lock("^0.9");
    assert_snapshot!(check(&project, "lockfile"), @"fail: `package-lock.json` is older than package.json: `a` differs");
    lock("^1.0");
    assert_snapshot!(check(&project, "lockfile"), @"pass: `package-lock.json` is that of package.json");
    project.write("yarn.lock", "");
    assert_snapshot!(check(&project, "lockfile"), @"warn: several lockfiles contradict each other: package-lock.json, yarn.lock");
}

#[test]
fn a_rust_project() {
    let project = Project::new();
    project.write("Cargo.toml", "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\nb = { path = \"b\" }\nc = \"*\"\nd = { package = \"dd\", version = \"1\" }\n");
    assert_snapshot!(check(&project, "tests"), @"warn: no Rust test was found");
    assert_snapshot!(check(&project, "dependencies"), @r"
    fail: 1 local dependency folder can't be found
      Cargo.toml: `b` is to be at `b`
      Cargo.toml: `c` may be any version (`*`)
    ");
    assert_snapshot!(check(&project, "lockfile"), @"warn: Cargo.toml has dependencies and no Cargo.lock");
    project.write("src/lib.rs", "#[test]\nfn it() {}");
    assert_snapshot!(check(&project, "tests"), @"pass: `cargo test` runs them");
    project.write(
        "Cargo.lock",
        "[[package]]\nname = \"a\"\n[[package]]\nname = \"b\"\n[[package]]\nname = \"c\"\n",
    );
    assert_snapshot!(check(&project, "lockfile"), @"fail: `Cargo.lock` is older than Cargo.toml: it has no `dd`");
    let lock = project.read("Cargo.lock") + "[[package]]\nname = \"dd\"\n";
    project.write("Cargo.lock", &lock);
    assert_snapshot!(check(&project, "lockfile"), @"pass: `Cargo.lock` has what Cargo.toml needs");
}

#[test]
fn a_python_project() {
    let project = Project::new();
    project.write("pyproject.toml", "[build-system]\n[project]\ndependencies = [\"Foo_Bar>=1\", \"baz\"]\n");
    assert_snapshot!(check(&project, "tests"), @"warn: no Python test was found");
    assert_snapshot!(check(&project, "dependencies"), @r"
    warn: 2 declared, 1 thing to look at
      pyproject.toml: `baz` may be any version
    ");
    assert_snapshot!(check(&project, "lockfile"), @"warn: Python requirements aren't pinned, and there is no lockfile");
    project.write("tests/test_it.py", "");
    assert_snapshot!(check(&project, "tests"), @"pass: `pytest` finds them");
    project.write("uv.lock", "[[package]]\nname = \"foo-bar\"\n");
    assert_snapshot!(check(&project, "lockfile"), @"fail: `uv.lock` is older than pyproject.toml: it has no `baz`");
    fs::remove_file(project.path().join("uv.lock")).unwrap();
    fs::remove_file(project.path().join("pyproject.toml")).unwrap();
    project.write("requirements.txt", "# all of it\n-r more.txt\nfoo==1.0 # why\n");
    assert_snapshot!(check(&project, "lockfile"), @"pass: every Python requirement is pinned");
}

#[test]
fn variables_are_named_and_their_values_are_not() {
    let project = Project::new();
    project.write(
        ".env.example",
        "# the service\nexport HANDBOOK_URL=https://example.com\nHANDBOOK_KEY=\nnot a line\n",
    );
    project.write(".env", "HANDBOOK_KEY=hunter2\n");
    assert_snapshot!(check(&project, "env_vars"), @r"
    warn: 1 variable of `.env.example`: not set
      HANDBOOK_URL
    ");
    project.write(".env.local", "HANDBOOK_URL=hunter2");
    assert_snapshot!(check(&project, "env_vars"), @"pass: 2 variables asked for, each is set");
    project.edit(|json| json["targets"]["docs"]["config"]["password"] = json!({"env": "HANDBOOK_PASSWORD"}));
    assert_snapshot!(check(&project, "env_vars"), @r"
    fail: 1 variable that the target's config refers to: not set
      HANDBOOK_PASSWORD
    ");
    assert!(!project.run(&["validate", "--json", "--scope", "full"]).stdout.contains("hunter2"));
}

#[test]
fn a_dockerfile_is_read_line_by_line() {
    let project = Project::new();
    project.write(
        "Dockerfile",
        "# syntax=docker/dockerfile:1\nARG TAG=1\nFROM rust:1.95 AS build\nRUN apt-get update && \\\n    # why\n    \
         apt-get install curl\nRUN <<END\nFOO is no instruction here\nEND\nFROM debian\nCOPY --from=build /a /a\n\
         COPY --from=bild /b /b\nADD https://example.com/x /x\nENV API_TOKEN=hunter2 MODE=\"$((1<<X | 1))\"\nFOO bar\nEXPOSE\nUSER 0\n",
    );
    assert_snapshot!(check(&project, "dockerfile_lint"), @r"
    fail: `Dockerfile` can't be built: 3 errors
      line 4: apt asks before it installs; say -y
      line 15: `FOO` is no instruction
      line 16: EXPOSE says nothing
      line 10: `debian` has no tag: another one is taken tomorrow
      line 12: COPY --from=bild, and no stage before is called so
      line 13: ADD of a URL without --checksum takes whatever is there
      line 14: ENV API_TOKEN is readable to whoever has the image
      the last stage has no USER: the program runs as root
      there is no .dockerignore: `.git` and whatever else lies here goes into the context
    ");
    project.write("Dockerfile", "FROM debian:12\nUSER app\nCMD [\"app\"]\n");
    project.write(".dockerignore", ".git\n");
    assert_snapshot!(check(&project, "dockerfile_lint"), @"pass: `Dockerfile` has nothing to object to");
    project.edit(|json| json["targets"]["docs"]["config"]["dockerfile"] = json!("docker/Dockerfile"));
    assert_snapshot!(check(&project, "dockerfile_lint"), @"fail: `docker/Dockerfile` can't be read: No such file or directory (os error 2)");
}

#[test]
fn a_target_without_a_plugin_is_no_go() {
    let project = Project::new();
    project.edit(|json| json["targets"]["docs"]["type"] = json!("carrier-pigeon"));
    let seen = check(&project, "target_config");
    assert!(
        seen.starts_with("fail: target `docs`: no plugin serves targets of type `carrier-pigeon`"),
        "{seen}"
    );
    assert_eq!(project.run(&["validate"]).code, Some(2));
}
