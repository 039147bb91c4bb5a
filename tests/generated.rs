//! The dialect on projects of every shape: what is reported, held against a model that was written from its description
//! alone.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{process::Command, sync::LazyLock};

use proptest::{
    prelude::*,
    sample::{select, subsequence},
    test_runner::Config,
};
use serde_json::{Map, Value, json};
use support::{Project, Said};

#[path = "support/mod.rs"]
mod support;

/// Where all projects keep their copies of plugins.
static CACHE: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

const COMMIT: &str = "commit of the repository";

/// A project, as files and as what the model needs to know of them.
#[derive(Debug, Clone)]
struct Shape {
    package_json: Option<&'static str>,
    pyproject_toml: Option<&'static str>,
    cargo_toml: Option<&'static str>,
    git: Git,
    explicit: Option<&'static str>,
    deploy_json: Value,
    named: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Git {
    None,
    NoCommit,
    Commit,
    Tagged,
    Detached,
}

/// The version that each of these files speaks of.
const PACKAGES: [(&str, Option<&str>); 5] = [
    (r#"{"version": "1.2.3"}"#, Some("1.2.3")),
    (r#"{"name": "x"}"#, None),
    (r#"{"version": 3}"#, None),
    (r#"{"version": ""}"#, None),
    ("{", None),
];
const PYPROJECTS: [(&str, Option<&str>); 4] = [
    ("[project]\nversion = \"2.0\"\n", Some("2.0")),
    ("[tool.poetry]\nversion = \"2.1\"\n", Some("2.1")),
    ("[project]\nname = \"x\"\n[tool.poetry]\nversion = \"2.2\"\n", Some("2.2")),
    ("[project", None),
];
const CARGOS: [(&str, Option<&str>); 3] = [
    ("[package]\nversion = \"3.0\"\n", Some("3.0")),
    ("[package]\nversion.workspace = true\n[workspace.package]\nversion = \"3.1\"\n", Some("3.1")),
    ("[package]\nname = \"x\"\n", None),
];

fn said_by(text: Option<&str>, known: &[(&str, Option<&'static str>)]) -> Option<&'static str> {
    known.iter().find(|(known, _)| Some(*known) == text).and_then(|(_, version)| *version)
}

const NAMES: [&str; 3] = ["web", "docs", "static-site"];

fn flag(key: &'static str) -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    select(vec![vec![], vec![(key, json!(true))], vec![(key, json!(false))]])
}

fn target() -> impl Strategy<Value = Value> {
    (flag("enabled"), flag("primary")).prop_map(|(enabled, primary)| {
        let mut target = json!({"type": "static-site"});
        for (key, value) in enabled.into_iter().chain(primary) {
            target[key] = value;
        }
        target["config"] = json!({"source": "public", "dir": "www"});
        target
    })
}

fn record() -> impl Strategy<Value = Value> {
    let version = select(vec![json!(null), json!("1.0"), json!("1.1"), json!("1.2"), json!("2.0")]);
    let status = select(vec!["success", "success", "failed", "failed", "rolled_back", "paused", ""]);
    let rollback = select(vec![
        json!(null),
        json!({"performed": true, "success": true, "to_version": "1.0"}),
        json!({"performed": true, "success": true, "to_version": null}),
        json!({"performed": true, "success": false, "to_version": "1.0", "error": "no"}),
        json!({"performed": false, "success": false}),
    ]);
    // Mostly of one target: a story needs several records.
    let target = select(vec!["docs", "docs", "docs", "docs", "web", "static-site"]);
    (target, version.clone(), status, rollback, version, any::<bool>()).prop_map(
        |(target, version, status, rollback, back_to, has_commit)| {
            let mut record = json!({"target": target, "status": status, "version": version});
            match status {
                "failed" => {
                    record["error"] = json!("denied");
                    if rollback.is_object() {
                        record["rollback"] = rollback;
                    }
                }
                "rolled_back" if !back_to.is_null() => record["rollback_to"] = back_to,
                "" => {
                    record.as_object_mut().unwrap().remove("status");
                }
                _ => {}
            }
            if has_commit {
                record["commit_sha"] = json!("91f0e2d4");
            }
            record
        },
    )
}

fn deploy_json() -> impl Strategy<Value = Value> {
    let names = subsequence(NAMES.to_vec(), 0..=NAMES.len()).prop_shuffle();
    let targets = (names, proptest::collection::vec(target(), NAMES.len())).prop_map(|(names, targets)| {
        names.into_iter().map(str::to_owned).zip(targets).collect::<Map<_, _>>()
    });
    let history = proptest::option::weighted(0.9, proptest::collection::vec(record(), 0..12));
    let ci = select(vec![json!("absent"), json!(null), json!({}), json!({"provider": "github_actions"})]);
    (targets, history, ci, any::<bool>()).prop_map(|(targets, history, ci, has_name)| {
        let mut json = json!({"version": "1.0"});
        if has_name {
            json["project_name"] = json!("orders-api");
        }
        json["targets"] = json!(targets);
        if ci != json!("absent") {
            json["ci"] = ci;
        }
        if let Some(history) = history {
            json["history"] = dated(history);
        }
        json
    })
}

/// The records with times that fit their order, newest first.
fn dated(mut history: Vec<Value>) -> Value {
    for (index, record) in history.iter_mut().enumerate() {
        record["timestamp"] = json!(format!("2026-03-{:02}T08:00:00Z", 28 - index));
    }
    json!(history)
}

fn shape() -> impl Strategy<Value = Shape> {
    let file = |known: &[(&'static str, Option<&'static str>)]| {
        let texts: Vec<_> = known.iter().map(|(text, _)| Some(*text)).chain([None; 3]).collect();
        select(texts)
    };
    let git = select(vec![Git::None, Git::NoCommit, Git::Commit, Git::Tagged, Git::Detached]);
    let explicit = select(vec![None, None, None, Some("9.9")]);
    let named = select(vec![None, None, Some("docs"), Some("elsewhere")]);
    (file(&PACKAGES), file(&PYPROJECTS), file(&CARGOS), git, explicit, deploy_json(), named).prop_map(
        |(package_json, pyproject_toml, cargo_toml, git, explicit, deploy_json, named)| Shape {
            package_json,
            pyproject_toml,
            cargo_toml,
            git,
            explicit,
            deploy_json,
            named,
        },
    )
}

impl Shape {
    fn build(&self) -> Project {
        let project = Project::empty();
        project.write("public/index.html", "<h1>one</h1>");
        let files = [
            ("package.json", self.package_json),
            ("pyproject.toml", self.pyproject_toml),
            ("Cargo.toml", self.cargo_toml),
        ];
        for (name, text) in files.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            project.write(name, text);
        }
        project.write(".claude/popkit/deploy.json", &format!("{:#}", self.deploy_json));
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"];
            let git = Command::new("git").args(identity).args(arguments).current_dir(project.path()).output();
            assert!(git.unwrap().status.success(), "{arguments:?}");
        };
        if self.git != Git::None {
            git(&["init", "-q"]);
        }
        if !matches!(self.git, Git::None | Git::NoCommit) {
            git(&["commit", "-q", "--allow-empty", "-m", "one"]);
        }
        if matches!(self.git, Git::Tagged | Git::Detached) {
            git(&["tag", "v4.0"]);
        }
        if self.git == Git::Detached {
            git(&["checkout", "-q", "--detach"]);
        }
        project
    }

    fn version(&self) -> Option<&'static str> {
        self.explicit
            .or_else(|| said_by(self.package_json, &PACKAGES))
            .or_else(|| said_by(self.pyproject_toml, &PYPROJECTS))
            .or_else(|| said_by(self.cargo_toml, &CARGOS))
            .or(if matches!(self.git, Git::Tagged | Git::Detached) { Some("v4.0") } else { None })
    }

    fn commit(&self) -> Value {
        if matches!(self.git, Git::None | Git::NoCommit) { Value::Null } else { json!(COMMIT) }
    }

    fn targets(&self) -> &Map<String, Value> {
        self.deploy_json["targets"].as_object().unwrap()
    }

    /// The target, or the error.
    fn target(&self) -> Result<String, String> {
        if let Some(name) = self.named {
            let there = self.targets().contains_key(name);
            return if there {
                Ok(name.to_owned())
            } else {
                Err(format!("Target '{name}' not found in config"))
            };
        }
        let first = |key: &str| self.targets().iter().find(|(_, target)| target[key] == true);
        let found = first("primary").or_else(|| first("enabled"));
        found.map(|(name, _)| name.clone()).ok_or("No deployment target available".to_owned())
    }

    /// The records of the target, oldest first; of one that isn't there, none.
    fn records(&self) -> Vec<&Value> {
        let Ok(target) = self.target() else { return Vec::new() };
        let all = self.deploy_json["history"].as_array().into_iter().flatten();
        let mut records: Vec<_> = all.filter(|record| record["target"] == json!(target)).collect();
        records.reverse();
        records
    }

    fn prepare(&self) -> Value {
        let target = self.target();
        let last = self.records().into_iter().rfind(|record| record["status"] == "success");
        let mut report = json!({
            "operation": "prepare_deployment", "success": target.is_ok(),
            "target": target.as_ref().map_or(json!(self.named), |name| json!(name)),
            "target_config": target.as_ref().map_or(&Value::Null, |name| &self.targets()[name]),
            "version": self.version(), "commit_sha": self.commit(),
            "last_deployment": last, "rollback_version": last.map(|record| &record["version"]),
            "project_name": self.deploy_json["project_name"], "ci_provider": self.deploy_json["ci"]["provider"],
        });
        if let Err(error) = target {
            report["error"] = json!(error);
        }
        report
    }

    /// Goes through history from its beginning, as it happened.
    fn assess(&self) -> Value {
        let records = self.records();
        let mut live = Live::default();
        let mut newest: Option<&Value> = None;
        let mut unmended = None;
        for (index, record) in records.iter().enumerate() {
            let success_before = |version: &Value| {
                (0..index)
                    .rev()
                    .find(|at| records[*at]["status"] == "success" && &records[*at]["version"] == version)
            };
            match record["status"].as_str() {
                Some("success") => live = Live { version: record["version"].clone(), at: Some(index) },
                Some("rolled_back") => live.goes_back(&record["rollback_to"], success_before),
                Some("failed") if record["rollback"]["success"] == true => {
                    live.goes_back(&record["rollback"]["to_version"], success_before);
                }
                Some("failed") => {}
                _ => continue,
            }
            newest = Some(record);
            let failed = record["status"] == "failed" && record["rollback"]["success"] != true;
            unmended = failed.then_some(*record);
        }
        let (current, before) = match unmended {
            Some(failed) => (failed["version"].clone(), records.len()),
            None => (live.version.clone(), live.at.unwrap_or_default()),
        };
        let good = |record: &&&Value| {
            let version = &record["version"];
            let differs = *version != current || version.is_null();
            record["status"] == "success" && differs && !is_bad(&records, version)
        };
        let to = records[..before].iter().rfind(good);
        let failed = records.iter().rfind(|record| record["status"] == "failed");
        let target = self.target();
        let mut report = json!({
            "operation": "assess_rollback", "success": target.is_ok(),
            "target": target.as_ref().map_or(json!(self.named), |name| json!(name)),
            "current_version": current, "current_status": newest.map(|record| &record["status"]),
            "rollback_version": to.map(|record| &record["version"]),
            "rollback_commit": to.map(|record| &record["commit_sha"]),
            "rollback_timestamp": to.map(|record| &record["timestamp"]),
            "total_deployments": records.len(),
            "last_failed": failed.map(|record| json!({
                "version": record["version"], "timestamp": record["timestamp"], "error": record["error"],
            })),
            "can_rollback": to.is_some(),
        });
        if let Err(error) = target {
            report["error"] = json!(error);
        }
        report
    }

    fn load_config(&self, project: &Project) -> Value {
        let with = |key: &str| {
            let targets = self.targets().iter().filter(|(_, target)| target[key] == true);
            targets.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        json!({
            "operation": "load_deploy_config", "success": true,
            "config_path": project.path().join(".claude/popkit/deploy.json"),
            "project_name": self.deploy_json["project_name"], "enabled_targets": with("enabled"),
            "primary_target": with("primary").first(), "ci_provider": self.deploy_json["ci"]["provider"],
            "history_count": self.deploy_json["history"].as_array().map_or(0, Vec::len),
            "config": self.deploy_json,
        })
    }
}

/// What is live, and which record brought it.
#[derive(Default)]
struct Live {
    version: Value,
    at: Option<usize>,
}

impl Live {
    /// Without a word about where it went, it went to what was live before.
    fn goes_back(&mut self, to: &Value, success_before: impl Fn(&Value) -> Option<usize>) {
        if to.is_string() {
            *self = Self { version: to.clone(), at: success_before(to) };
        }
    }
}

/// Whether the last verdict about a version is that it was rolled away from automatically.
fn is_bad(records: &[&Value], version: &Value) -> bool {
    let verdict = |record: &&&Value| {
        record["version"] == *version
            && (record["status"] == "success"
                || record["status"] == "failed" && record["rollback"]["performed"] == true)
    };
    version.is_string() && records.iter().rfind(verdict).is_some_and(|record| record["status"] == "failed")
}

/// Runs it; gives the report without what differs from run to run, after a look at what every report has.
fn ask(project: &Project, shape: &Shape, arguments: &[&str]) -> Value {
    let named = shape.named.map(|name| ["--target", name]);
    let arguments = [arguments, named.as_ref().map_or(&[][..], |named| named)].concat();
    let mut command = project.command(&arguments);
    // Each project would copy the plugin for itself.
    let said: Said = command.env("XDG_CACHE_HOME", CACHE.path()).output().unwrap().into();
    assert_eq!(said.stderr, "", "{arguments:?}");
    let mut report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said.stdout, format!("{report:#}\n"));
    let body = report.as_object_mut().unwrap();
    assert_eq!(body["success"], json!(said.code == Some(0)), "{arguments:?}");
    assert_eq!(body.shift_remove("directory"), Some(json!(project.path())));
    assert!(body.shift_remove("timestamp").unwrap().is_string());
    if body.get("commit_sha").is_some_and(Value::is_string) {
        let head =
            Command::new("git").args(["rev-parse", "HEAD"]).current_dir(project.path()).output().unwrap();
        assert_eq!(body["commit_sha"].as_str().unwrap(), String::from_utf8(head.stdout).unwrap().trim());
        body["commit_sha"] = json!(COMMIT);
    }
    report
}

fn same(shape: &Shape, said: &Value, expected: &Value) {
    // As texts: the order of the keys counts too.
    assert_eq!(format!("{said:#}"), format!("{expected:#}"), "{shape:#?}");
}

/// The score that follows from the checks.
fn score(checks: &[Value]) -> i64 {
    let count = |status: &str| checks.iter().filter(|check| check["status"] == status).count() as f64;
    let (passed, warned, failed) = (count("pass"), count("warn"), count("fail"));
    let looked_at = passed + warned + failed;
    if looked_at == 0.0 {
        return 50;
    }
    (((100.0 * passed / looked_at) + 0.5).floor() - 5.0 * warned - 20.0 * failed).clamp(0.0, 100.0) as i64
}

fn validate(project: &Project, shape: &Shape, scope: &str, ours: &[&str]) {
    let report = ask(project, shape, &["validate", "--action", "validate", "--scope", scope]);
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["operation", "success", "project_name", "scope", "target", "checks", "readiness"]);
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(&names[..ours.len()], ours, "{shape:#?}");
    assert!(checks.iter().all(|check| {
        let keys: Vec<_> = check.as_object().unwrap().keys().map(String::as_str).collect();
        keys == ["name", "status", "message", "blocking", "details"]
    }));
    let readiness = &report["readiness"];
    assert_eq!(readiness["score"], json!(score(checks)), "{report:#}");
    let blocked = checks.iter().any(|check| check["status"] == "fail" && check["blocking"] == true);
    let expected = match score(checks) {
        _ if blocked => "NO-GO",
        80.. => "GO",
        60.. => "CONDITIONAL",
        _ => "NO-GO",
    };
    assert_eq!(readiness["recommendation"], expected);
    assert_eq!(checks[1]["status"] == "fail", shape.target().is_err(), "{report:#}");
    let git = match shape.git {
        Git::None => "skip",
        _ => "warn",
    };
    assert_eq!(checks[2]["status"], git, "nothing of it is committed: {report:#}");
}

fn dry_run(project: &Project, shape: &Shape) {
    let Ok(target) = shape.target() else { return };
    let explicit = shape.explicit.map(|version| ["--version", version]);
    let execute = ["execute", "--action", "execute"];
    let report = ask(project, shape, &[&execute[..], explicit.as_ref().map_or(&[], |it| it)].concat());
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "operation deployment_id target version mode duration_ms rollback_version success dry_run steps message";
    assert_eq!(keys.join(" "), expected, "{report:#}");
    assert_eq!(
        (&report["target"], &report["version"], &report["mode"], &report["success"], &report["dry_run"]),
        (&json!(target), &json!(shape.version()), &json!("dry_run"), &json!(true), &json!(true))
    );
}

proptest! {
    #![proptest_config(Config { cases: 32, failure_persistence: None, max_shrink_iters: 40, ..Config::default() })]

    #[test]
    fn every_project_is_reported_as_the_protocol_says(shape in shape()) {
        let project = shape.build();
        let before = project.snapshot(".");
        let explicit = shape.explicit.map(|version| ["--version", version]);
        let prepare = ["execute", "--action", "prepare"];
        let prepare = [&prepare[..], explicit.as_ref().map_or(&[], |it| it)].concat();
        same(&shape, &ask(&project, &shape, &prepare), &shape.prepare());
        same(&shape, &ask(&project, &shape, &["rollback", "--action", "assess"]), &shape.assess());
        let unnamed = Shape { named: None, ..shape.clone() };
        let loaded = ask(&project, &unnamed, &["validate", "--action", "load-config"]);
        same(&shape, &loaded, &shape.load_config(&project));
        validate(&project, &shape, "quick", &["config_valid", "target_config", "git_status"]);
        validate(&project, &shape, "full", &[
            "config_valid", "target_config", "git_status", "build", "tests", "dependencies", "lockfile", "env_vars",
            "dockerfile_lint",
        ]);
        dry_run(&project, &shape);
        let but_home = |mut files: std::collections::BTreeMap<std::path::PathBuf, String>| {
            files.retain(|path, _| !path.starts_with(project.path().join("home")) && path != &project.path());
            files
        };
        assert_eq!(but_home(project.snapshot(".")), but_home(before), "nothing of this writes");
    }

    #[test]
    fn every_history_is_assessed_as_the_protocol_says(
        histories in proptest::collection::vec(proptest::collection::vec(record(), 2..16), 8),
    ) {
        let project = Project::empty();
        for history in histories {
            let deploy_json = json!({"targets": {"docs": {"enabled": true}}, "history": dated(history)});
            project.write(".claude/popkit/deploy.json", &deploy_json.to_string());
            let shape = Shape {
                package_json: None,
                pyproject_toml: None,
                cargo_toml: None,
                git: Git::None,
                explicit: None,
                deploy_json,
                named: None,
            };
            same(&shape, &ask(&project, &shape, &["rollback", "--action", "assess"]), &shape.assess());
        }
    }
}
