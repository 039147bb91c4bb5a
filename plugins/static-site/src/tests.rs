//! The target through the real boundary, in a temporary project.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    thread,
};

use pop_deploy_plugin_api::{
    ErrorKind,
    protocol::{
        Check, CheckStatus, Effect, PastRelease, Phase, Plan, PlanRequest, Receipt, RunRequest, StepReceipt,
        Undo, UndoRequest, method,
    },
    testing::{Harness, check_manifest, release},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{StaticSite, stage};

/// A project with a site of three pages and a folder without any.
struct Project {
    folder: TempDir,
    config: Value,
}

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let project = Self { folder, config: json!({"source": "public", "dir": "www"}) };
        project.write("index.html", "<h1>one</h1>");
        project.write("about.html", "<h1>about</h1>");
        project.write("assets/site.css", "h1 { color: red }");
        fs::create_dir(project.source("empty")).unwrap();
        project
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn source(&self, path: &str) -> PathBuf {
        self.path("public").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.source(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn live(&self, path: &str) -> String {
        fs::read_to_string(self.path("www/current").join(path)).unwrap()
    }

    fn open(&self) -> Harness {
        Harness::open::<StaticSite>(self.folder.path(), self.config.clone()).unwrap()
    }

    /// Deploys all phases, planning and running in one session as the host does.
    fn deploy(&self, id: &str) -> Vec<StepReceipt> {
        self.deploy_version(id, id)
    }

    fn deploy_version(&self, id: &str, version: &str) -> Vec<StepReceipt> {
        let target = self.open();
        let plan = target.plan_deploy(id, version).unwrap();
        assert!(!plan.steps.is_empty(), "{:#?}", plan.checked);
        target.run_through(&plan, &release(id, version), Phase::Finalize).unwrap()
    }

    fn rollback(&self, id: &str) -> pop_deploy_plugin_api::Result<Plan> {
        self.open().call(method::PLAN, &rollback_to(id))
    }

    fn failed_check(&self) -> Check {
        let plan = self.open().plan_deploy("r9", "9").unwrap();
        assert_eq!(plan.steps, [], "a failed check leaves nothing to do");
        let failed = plan.checked.into_iter().find(|check| check.status == CheckStatus::Fail).unwrap();
        assert!(failed.hint.is_some(), "{failed:?}");
        failed
    }
}

fn rollback_to(id: &str) -> PlanRequest {
    let to = PastRelease { release: release(id, id), identity: None, receipts: vec![] };
    PlanRequest::Rollback { to, from: None }
}

/// Everything below a folder: what it is, what it holds, when it changed.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return all };
    for entry in entries {
        let path = entry.unwrap().path();
        let found = path.symlink_metadata().unwrap();
        let content = match (found.is_symlink(), found.is_file()) {
            (true, _) => format!("{:?}", fs::read_link(&path).unwrap()),
            (_, true) => format!("{:?}", fs::read(&path).unwrap()),
            _ => String::new(),
        };
        all.extend(if found.is_dir() { snapshot(&path) } else { BTreeMap::new() });
        let times = (found.mtime_nsec(), found.ctime_nsec());
        all.insert(path, format!("{} {:o} {times:?} {content}", found.ino(), found.mode()));
    }
    all
}

/// What visitors can see: paths and contents.
fn site(folder: &Path) -> BTreeMap<PathBuf, String> {
    let root = folder.canonicalize().unwrap();
    let all = snapshot(&root);
    let files = all.keys().filter(|path| path.is_file());
    files
        .map(|path| (path.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(path).unwrap()))
        .collect()
}

fn step_data<'r>(receipts: &'r [StepReceipt], step: &str) -> &'r Receipt {
    &receipts.iter().find(|receipt| receipt.step == step).unwrap().receipt
}

#[test]
fn the_manifest_is_true() {
    check_manifest::<StaticSite>(env!("CARGO_MANIFEST_DIR")).unwrap();
}

#[test]
fn a_change_goes_live_and_back() {
    let project = Project::new();
    project.deploy("r1");
    assert_eq!(fs::read_link(project.path("www/current")).unwrap(), Path::new("releases/r1"));
    assert_eq!(site(&project.path("www/current")), site(&project.path("public")));
    assert!(project.path("www/current/empty").is_dir());
    project.write("index.html", "<h1>two</h1>");
    fs::remove_file(project.source("about.html")).unwrap();
    project.write("new.html", "<h1>new</h1>");
    let plan = project.open().plan_deploy("r2", "2").unwrap();
    assert_eq!(plan.summary, "1 added, 1 changed, 1 removed, 1 unchanged");
    let changes: Vec<_> = plan.changes.iter().map(|change| (change.effect, change.what.as_str())).collect();
    let wanted =
        [(Effect::Create, "new.html"), (Effect::Update, "index.html"), (Effect::Delete, "about.html")];
    assert_eq!(changes, wanted);
    assert_eq!(plan.live, Some(release("r1", "r1")));
    let receipts = project.deploy("r2");
    assert_eq!(step_data(&receipts, "stage").summary, "2 copied (24 bytes), 1 linked");
    assert_eq!(site(&project.path("www/current")), site(&project.path("public")));
    let target = project.open();
    let plan: Plan = target.call(method::PLAN, &rollback_to("r1")).unwrap();
    assert_eq!(plan.summary, "1 added, 1 changed, 1 removed, 1 unchanged");
    target.run_through(&plan, &release("r1", "r1"), Phase::Finalize).unwrap();
    assert_eq!(project.live("index.html"), "<h1>one</h1>");
    assert_eq!(project.live("about.html"), "<h1>about</h1>");
    let status = target.status().unwrap();
    assert_eq!(status.live, Some(release("r1", "r1")));
    assert!(status.checks.iter().all(|check| check.status == CheckStatus::Pass), "{:?}", status.checks);
}

#[test]
fn a_plan_leaves_everything_byte_for_byte() {
    let project = Project::new();
    let before = snapshot(project.folder.path());
    project.open().plan_deploy("r1", "1").unwrap();
    assert_eq!(snapshot(project.folder.path()), before);
    project.deploy("r1");
    project.write("index.html", "<h1>two</h1>");
    let before = snapshot(project.folder.path());
    project.open().plan_deploy("r2", "2").unwrap();
    project.rollback("r1").unwrap();
    project.open().status().unwrap();
    assert_eq!(snapshot(project.folder.path()), before);
}

#[test]
fn every_step_of_a_first_deployment_is_undone_without_a_trace() {
    for last in [Phase::Preflight, Phase::Stage, Phase::Switch, Phase::Verify] {
        for fresh in [false, true] {
            for receipts_kept in [false, true] {
                let project = Project::new();
                let before = site(project.folder.path());
                let target = project.open();
                let plan = target.plan_deploy("r1", "1").unwrap();
                let release = release("r1", "1");
                let mut receipts = target.run_through(&plan, &release, last).unwrap();
                if !receipts_kept {
                    receipts.clear();
                }
                let target = if fresh {
                    drop(target);
                    project.open()
                } else {
                    target
                };
                let undone = target.undo_from(&plan, &release, Phase::Verify, &receipts).unwrap();
                assert!(!undone.iter().any(|undo| matches!(undo, Undo::Unknown { .. })), "{undone:?}");
                assert_eq!(site(project.folder.path()), before, "after {last}");
                assert!(!project.path("www").exists(), "after {last}");
                let again = project.open().undo_from(&plan, &release, Phase::Verify, &receipts).unwrap();
                assert!(again.iter().all(|undo| *undo == Undo::Nothing), "{again:?}");
            }
        }
    }
}

#[test]
fn every_step_of_a_second_deployment_is_undone_to_the_first() {
    for last in [Phase::Preflight, Phase::Stage, Phase::Switch, Phase::Verify] {
        let project = Project::new();
        project.deploy("r1");
        let before = site(&project.path("www"));
        project.write("index.html", "<h1>two</h1>");
        let (target, release) = (project.open(), release("r2", "2"));
        let plan = target.plan_deploy("r2", "2").unwrap();
        target.run_through(&plan, &release, last).unwrap();
        drop(target);
        project.open().undo_from(&plan, &release, Phase::Verify, &[]).unwrap();
        let mut after = site(&project.path("www"));
        // Who held the lock before is of no interest.
        after.remove(Path::new(".pop-deploy/lock"));
        let mut before = before.clone();
        before.remove(Path::new(".pop-deploy/lock"));
        assert_eq!(after, before, "after {last}");
        assert_eq!(project.live("index.html"), "<h1>one</h1>");
    }
}

#[test]
fn a_fresh_process_runs_each_step_of_the_plan() {
    let project = Project::new();
    project.deploy("r1");
    project.write("index.html", "<h1>two</h1>");
    let plan = project.open().plan_deploy("r2", "2").unwrap();
    let mut receipts = Vec::new();
    for step in &plan.steps {
        let request = RunRequest {
            step: step.clone(),
            release: release("r2", "2"),
            receipts: std::mem::take(&mut receipts),
        };
        for _twice in 0..2 {
            project.open().call::<Receipt>(method::RUN, &request).unwrap();
        }
    }
    assert_eq!(project.live("index.html"), "<h1>two</h1>");
    assert_eq!(project.open().status().unwrap().live, Some(release("r2", "2")));
}

#[test]
fn a_fresh_process_refuses_a_source_that_changed_since_the_plan() {
    let project = Project::new();
    let plan = project.open().plan_deploy("r1", "1").unwrap();
    project.write("late.html", "late");
    let error = project.open().run_through(&plan, &release("r1", "1"), Phase::Stage).unwrap_err();
    assert!(error.message.ends_with("changed since the plan"), "{error}");
}

#[test]
fn a_file_that_vanishes_or_changes_while_being_copied_is_named() {
    for (spoil, word) in [("gone", "vanished"), ("other", "changed")] {
        let project = Project::new();
        let target = project.open();
        let plan = target.plan_deploy("r1", "1").unwrap();
        match spoil {
            "gone" => fs::remove_file(project.source("about.html")).unwrap(),
            _ => project.write("about.html", "<h1>ABOUT</h1>"),
        }
        let error = target.run_through(&plan, &release("r1", "1"), Phase::Stage).unwrap_err();
        assert!(error.message.contains("public/about.html` ") && error.message.contains(word), "{error}");
        target.undo_from(&plan, &release("r1", "1"), Phase::Stage, &[]).unwrap();
        assert!(!project.path("www").exists());
    }
}

#[test]
fn a_link_to_what_is_excluded_is_told_of() {
    let project = Project::new().with("exclude", json!(["about.html"]));
    symlink("../about.html", project.source("assets/us")).unwrap();
    symlink("../index.html", project.source("assets/home")).unwrap();
    symlink("..", project.source("assets/top")).unwrap();
    let plan = project.open().plan_deploy("r1", "1").unwrap();
    let check = plan.checked.iter().find(|check| check.name == "links").unwrap();
    let words = "the link `assets/us` leads to what stays behind: `../about.html`";
    assert_eq!((check.status, check.message.as_str()), (CheckStatus::Warn, words));
}

#[test]
fn what_is_no_site_is_refused_with_a_hint() {
    let named = |project: &Project| {
        let check = project.failed_check();
        (check.name.clone(), check.message)
    };
    let project = Project::new();
    symlink("../../secret", project.source("assets/out")).unwrap();
    let (name, message) = named(&project);
    assert_eq!(name, "links");
    assert_eq!(message, "the link `assets/out` leads out of the source, to `../../secret`");

    let project = Project::new();
    symlink(project.source("index.html"), project.source("absolute")).unwrap();
    assert_eq!(named(&project).0, "links");

    let project = Project::new();
    project.write("About.html", "");
    assert_eq!(named(&project), ("case".into(), "`About.html` and `about.html` differ in case only".into()));

    let project = Project::new();
    fs::remove_file(project.source("index.html")).unwrap();
    assert_eq!(named(&project).0, "index");

    let project = Project::new().with("exclude", json!(["*"]));
    assert!(named(&project).1.ends_with("is empty"));

    let project = Project::new().with("source", json!("pubic"));
    assert!(named(&project).1.ends_with("doesn't exist"));

    let project = Project::new();
    let pipe = project.source("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(named(&project), ("files".into(), "`pipe` is a named pipe".into()));
}

#[test]
fn folders_too_deep_for_a_site_are_refused_and_removed_where_they_are_leftovers() {
    let project = Project::new();
    let deep = |root: &str| {
        fs::create_dir_all(project.path(root)).unwrap();
        // More calls than a stack had room for.
        let path = project.path(root).join(vec!["d"; 600].join("/"));
        fs::create_dir_all(path).unwrap();
    };
    project.deploy("r1");
    deep("www/releases/.tmp-dead");
    project.deploy("r2");
    assert!(!project.path("www/releases/.tmp-dead").exists());
    deep("www/current/deep");
    let status = project.open().status().unwrap();
    assert!(status.checks.iter().any(|check| check.status == CheckStatus::Fail), "{:?}", status.checks);
    deep("public/deep");
    let check = project.failed_check();
    assert_eq!(check.name, "depth");
    assert_eq!(check.message, "`deep/…/d` lies more than 100 folders deep");
    // The temporary project's own removal calls itself for each level.
    stage::remove(project.folder.path()).unwrap();
}

#[test]
fn a_lock_or_a_web_root_that_is_none_is_found_before_anything_is_done() {
    for spoiled in ["folder", "pipe", "link"] {
        let project = Project::new();
        let (target, release) = (project.open(), release("r1", "1"));
        let plan = target.plan_deploy("r1", "1").unwrap();
        let lock = project.path("www/.pop-deploy/lock");
        if spoiled == "link" {
            symlink("nowhere", project.path("www")).unwrap();
        } else {
            fs::create_dir_all(lock.parent().unwrap()).unwrap();
        }
        match spoiled {
            "folder" => fs::create_dir(&lock).unwrap(),
            "pipe" => {
                rustix::fs::mknodat(rustix::fs::CWD, &lock, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                    .unwrap();
            }
            _ => {}
        }
        target.run_through(&plan, &release, Phase::Preflight).unwrap_err();
        let undone = target.undo_from(&plan, &release, Phase::Preflight, &[]).unwrap();
        assert!(!undone.iter().any(|undo| matches!(undo, Undo::Unknown { .. })), "{undone:?}");
        let name = project.failed_check().name;
        assert_eq!(name, if spoiled == "link" { "web_root" } else { "lock" });
    }
}

#[test]
fn links_within_the_source_go_along_as_links() {
    let project = Project::new();
    symlink("assets", project.source("latest")).unwrap();
    project.deploy("r1");
    assert_eq!(fs::read_link(project.path("www/current/latest")).unwrap(), Path::new("assets"));
    assert_eq!(project.live("latest/site.css"), "h1 { color: red }");
}

#[test]
fn dir_and_source_must_not_overlap() {
    for (source, dir) in [
        ("public", ".pop-deploy"),
        ("public", ".pop-deploy/www"),
        ("public", "public/www"),
        ("public", "."),
        ("public", "public"),
        (".", "www"),
    ] {
        let project = Project::new().with("source", json!(source)).with("dir", json!(dir));
        let opened = Harness::open::<StaticSite>(project.folder.path(), project.config.clone());
        assert_eq!(opened.err().unwrap().kind, ErrorKind::Config, "{source} {dir}");
    }
}

#[test]
fn a_config_that_no_system_call_takes_or_that_excludes_everything_is_refused_briefly() {
    let (nul, long) = (json!("a\0b"), json!("x/".repeat(3000)));
    let wrong = [
        ("source", nul.clone()),
        ("dir", nul),
        ("source", long.clone()),
        ("dir", long),
        ("exclude", json!([""])),
        ("exclude", json!(["/"])),
    ];
    for (key, value) in wrong {
        let project = Project::new().with(key, value);
        let opened = Harness::open::<StaticSite>(project.folder.path(), project.config.clone());
        let error = opened.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert!(error.message.len() < 100, "{error}");
    }
}

#[test]
fn too_many_removed_files_are_refused_before_any_write() {
    let project = Project::new().with("max_delete", json!(1));
    project.deploy("r1");
    fs::remove_file(project.source("about.html")).unwrap();
    fs::remove_file(project.source("assets/site.css")).unwrap();
    let check = project.failed_check();
    assert_eq!(check.name, "max_delete");
    assert_eq!(check.message, "2 of 3 live files would go, more than `max_delete` (1) allows");
}

#[test]
fn another_targets_web_root_is_refused() {
    let project = Project::new();
    project.deploy("r1");
    let owner = project.path("www/.pop-deploy/owner.json");
    fs::write(&owner, r#"{"project":"other","target":"docs"}"#).unwrap();
    let check = project.failed_check();
    assert_eq!(check.name, "owner");
    assert!(check.message.ends_with("belongs to the target `docs` of `other`"), "{check:?}");
}

#[test]
fn a_held_lock_names_its_holder() {
    let project = Project::new();
    let (first, second) = (project.open(), project.open());
    let plan = first.plan_deploy("r1", "1").unwrap();
    first.run_through(&plan, &release("r1", "1"), Phase::Preflight).unwrap();
    let error = second.run_through(&plan, &release("r1", "1"), Phase::Preflight).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Locked);
    assert!(error.message.contains("by tester@localhost (target `test`, run `test-run`"), "{error}");
    let warned =
        second.plan_deploy("r2", "2").unwrap().checked.into_iter().find(|check| check.name == "lock");
    assert_eq!(warned.unwrap().status, CheckStatus::Warn);
    let undone = second.undo_from(&plan, &release("r1", "1"), Phase::Preflight, &[]).unwrap();
    assert_eq!(undone, [Undo::Nothing], "what the holder needs stays");
    drop(first);
    second.run_through(&plan, &release("r1", "1"), Phase::Finalize).unwrap();
}

#[test]
fn equal_size_and_mtime_with_other_content_is_noticed() {
    let project = Project::new();
    project.deploy("r1");
    let path = project.source("about.html");
    let mtime = path.metadata().unwrap().modified().unwrap();
    fs::write(&path, "<h1>ABOUT</h1>").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    project.deploy("r2");
    assert_eq!(project.live("about.html"), "<h1>ABOUT</h1>");
}

#[test]
fn a_live_file_that_somebody_changed_is_not_linked() {
    let project = Project::new();
    project.deploy("r1");
    let live = project.path("www/releases/r1/about.html");
    let mtime = live.metadata().unwrap().modified().unwrap();
    fs::write(&live, "<h1>pwned</h1>").unwrap();
    fs::File::options().write(true).open(&live).unwrap().set_modified(mtime).unwrap();
    let target = project.open();
    let plan = target.plan_deploy("r2", "2").unwrap();
    let check = plan.checked.iter().find(|check| check.name == "live_tree").unwrap();
    assert_eq!(check.status, CheckStatus::Warn);
    assert!(check.message.ends_with("`about.html` was changed"), "{check:?}");
    target.run_through(&plan, &release("r2", "2"), Phase::Finalize).unwrap();
    assert_eq!(project.live("about.html"), "<h1>about</h1>");
    let error = project.rollback("r1").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoRelease);
    assert_eq!(error.message, "release r1 isn't whole any more: `about.html` was changed");
}

#[test]
fn an_unchanged_mode_and_mtime_go_along_and_a_changed_mode_is_a_change() {
    let project = Project::new();
    fs::set_permissions(project.source("about.html"), fs::Permissions::from_mode(0o640)).unwrap();
    project.deploy("r1");
    let [from, to] =
        ["public", "www/current"].map(|root| project.path(root).join("about.html").metadata().unwrap());
    assert_eq!((from.mode(), from.modified().unwrap()), (to.mode(), to.modified().unwrap()));
    fs::set_permissions(project.source("about.html"), fs::Permissions::from_mode(0o644)).unwrap();
    let plan = project.open().plan_deploy("r2", "2").unwrap();
    assert_eq!(plan.changes[0].detail, "mode 640 → 644");
    project.deploy("r2");
    assert_eq!(project.path("www/current/about.html").metadata().unwrap().mode() & 0o777, 0o644);
    assert_eq!(project.path("www/releases/r1/about.html").metadata().unwrap().mode() & 0o777, 0o640);
}

/// A project whose `current` is a real folder that no deployment made.
fn with_real_folder() -> Project {
    let project = Project::new();
    fs::create_dir_all(project.path("www/current")).unwrap();
    fs::write(project.path("www/current/index.html"), "by hand").unwrap();
    project
}

#[test]
fn a_real_folder_is_exchanged_and_kept() {
    let project = with_real_folder();
    project.deploy("r1");
    assert!(project.path("www/current").symlink_metadata().unwrap().is_dir());
    assert_eq!(site(&project.path("www/current")), site(&project.path("public")));
    let kept = project.path("www/releases/before-r1/index.html");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "by hand");
    project.write("index.html", "<h1>two</h1>");
    let receipts = project.deploy("r2");
    assert_eq!(step_data(&receipts, "stage").summary, "1 copied (12 bytes), 2 linked");
    assert!(project.path("www/releases/r1/index.html").exists());
    let target = project.open();
    let plan: Plan = target.call(method::PLAN, &rollback_to("r1")).unwrap();
    target.run_through(&plan, &release("r1", "r1"), Phase::Finalize).unwrap();
    assert_eq!(project.live("index.html"), "<h1>one</h1>");
    assert!(project.path("www/releases/r2/index.html").exists());
    assert!(kept.exists());
}

#[test]
fn an_exchange_is_undone_after_each_half() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    for halves in 0..=2 {
        let project = with_real_folder();
        let (target, release) = (project.open(), release("r1", "1"));
        let plan = target.plan_deploy("r1", "1").unwrap();
        target.run_through(&plan, &release, Phase::Stage).unwrap();
        let [current, new, kept] =
            ["current", "releases/r1", "releases/before-r1"].map(|path| project.path("www").join(path));
        if halves > 0 {
            renameat_with(CWD, &current, CWD, &new, RenameFlags::EXCHANGE).unwrap();
        }
        if halves > 1 {
            fs::rename(&new, &kept).unwrap();
        }
        drop(target);
        // The undo itself dies between its two halves.
        if halves > 1 {
            renameat_with(CWD, &current, CWD, &kept, RenameFlags::EXCHANGE).unwrap();
        }
        let undone = project.open().undo_from(&plan, &release, Phase::Switch, &[]).unwrap();
        assert!(!undone.iter().any(|undo| matches!(undo, Undo::Unknown { .. })), "{undone:?}");
        assert_eq!(
            site(&project.path("www")),
            BTreeMap::from([("current/index.html".into(), "by hand".into())])
        );
    }
}

#[test]
fn an_exchange_that_stopped_halfway_is_finished_by_a_resumed_run() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let project = with_real_folder();
    let target = project.open();
    let plan = target.plan_deploy("r1", "1").unwrap();
    target.run_through(&plan, &release("r1", "1"), Phase::Stage).unwrap();
    let [current, new] = ["www/current", "www/releases/r1"].map(|path| project.path(path));
    renameat_with(CWD, &current, CWD, &new, RenameFlags::EXCHANGE).unwrap();
    drop(target);
    project.open().run_through(&plan, &release("r1", "1"), Phase::Finalize).unwrap();
    assert_eq!(project.live("index.html"), "<h1>one</h1>");
    assert!(project.path("www/releases/before-r1/index.html").exists());
}

#[test]
fn a_link_of_somebody_else_is_refused_and_one_into_releases_adopted() {
    let project = Project::new();
    fs::create_dir_all(project.path("www/releases/2024")).unwrap();
    symlink("../elsewhere", project.path("www/current")).unwrap();
    assert_eq!(project.failed_check().name, "current");
    fs::remove_file(project.path("www/current")).unwrap();
    symlink(project.path("www/releases/2024"), project.path("www/current")).unwrap();
    project.deploy("r1");
    assert!(project.path("www/releases/2024").exists());
    assert_eq!(project.live("index.html"), "<h1>one</h1>");
}

#[test]
fn a_switch_that_somebody_interfered_with_says_so() {
    let project = Project::new();
    project.deploy("r0");
    project.deploy("r1");
    let (target, release) = (project.open(), release("r2", "2"));
    let plan = target.plan_deploy("r2", "2").unwrap();
    target.run_through(&plan, &release, Phase::Switch).unwrap();
    fs::remove_file(project.path("www/current")).unwrap();
    let switch = plan.steps.iter().find(|step| step.id == "switch").unwrap();
    let request = UndoRequest { step: switch.clone(), release, receipt: None };
    let Undo::Unknown { why } = target.call(method::UNDO, &request).unwrap() else { panic!("known") };
    assert!(why.contains("is absent") && why.contains("ln -sfn releases/r1"), "{why}");
    symlink("releases/r0", project.path("www/current")).unwrap();
    let Undo::Unknown { why } = target.call(method::UNDO, &request).unwrap() else { panic!("known") };
    assert_eq!(why, "release r0 is live, which this run didn't switch to: it stays so");
}

#[test]
fn a_switch_stays_when_what_was_live_before_is_gone() {
    for (project, gone) in [(Project::new(), "releases/r1"), (with_real_folder(), "releases/before-r2")] {
        if gone == "releases/r1" {
            project.deploy("r1");
        }
        project.write("index.html", "<h1>two</h1>");
        let (target, release) = (project.open(), release("r2", "2"));
        let plan = target.plan_deploy("r2", "2").unwrap();
        target.run_through(&plan, &release, Phase::Switch).unwrap();
        fs::remove_dir_all(project.path("www").join(gone)).unwrap();
        let undone = target.undo_from(&plan, &release, Phase::Switch, &[]).unwrap();
        let Undo::Unknown { why } = &undone[0] else { panic!("{undone:?}") };
        assert!(why.starts_with("release r2 stays live") && why.contains(gone), "{why}");
        assert_eq!(project.live("index.html"), "<h1>two</h1>");
    }
}

#[test]
fn what_is_live_but_missing_or_unknown_is_deployed_over() {
    for spoiled in ["www/releases/r1", "www/releases", "www/.pop-deploy/releases/r1.json"] {
        let project = Project::new();
        project.deploy("r1");
        let path = project.path(spoiled);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::write(&path, "{").unwrap();
        }
        let found = |checks: Vec<Check>| checks.into_iter().find(|check| check.name == "live_tree").unwrap();
        let check = found(project.open().status().unwrap().checks);
        assert_eq!(check.status, CheckStatus::Fail, "{spoiled}");
        assert!(check.hint.unwrap().starts_with("deploy again to make it right"));
        let (target, release) = (project.open(), release("r2", "2"));
        let plan = target.plan_deploy("r2", "2").unwrap();
        let check = found(plan.checked.clone());
        assert_eq!(check.status, CheckStatus::Warn);
        assert!(check.message.ends_with("; a deployment copies every file"), "{check:?}");
        let receipts = target.run_through(&plan, &release, Phase::Finalize).unwrap();
        assert_eq!(step_data(&receipts, "stage").summary, "3 copied (43 bytes), 0 linked");
        assert_eq!(project.live("index.html"), "<h1>one</h1>");
        let status = project.open().status().unwrap();
        assert!(status.checks.iter().all(|check| check.status == CheckStatus::Pass), "{:?}", status.checks);
    }
}

#[test]
fn keep_counts_verified_releases_and_spares_the_one_before() {
    let project = Project::new().with("keep", json!(2));
    let releases = || {
        let mut names: Vec<_> = fs::read_dir(project.path("www/releases"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    for id in ["r1", "r2", "r3"] {
        project.write("index.html", id);
        project.deploy(id);
    }
    assert_eq!(releases(), ["r2", "r3"]);
    let status = project.open().status().unwrap();
    assert!(status.checks.iter().all(|check| check.status == CheckStatus::Pass), "{:?}", status.checks);
    // Live is the older of the two now, so the newer one counts, and nothing is before it.
    let target = project.open();
    let plan: Plan = target.call(method::PLAN, &rollback_to("r2")).unwrap();
    target.run_through(&plan, &release("r2", "r2"), Phase::Finalize).unwrap();
    drop(target);
    fs::create_dir(project.path("www/releases/.tmp-dead")).unwrap();
    fs::create_dir(project.path("www/releases/mine")).unwrap();
    project.deploy("r4");
    assert_eq!(releases(), ["mine", "r2", "r3", "r4"], "r3 is next to last, r2 was live before");
    let project = Project::new().with("keep", json!(2));
    for (id, version) in [("r1", "1.0"), ("r2", "1.1"), ("r3", "1.1"), ("r4", "1.1")] {
        project.deploy_version(id, version);
    }
    assert!(project.path("www/releases/r1").exists(), "a rollback goes to 1.0");
    assert!(!project.path("www/releases/r2").exists());
}

#[test]
fn a_build_is_run_and_its_result_judged() {
    let project = Project::new()
        .with("build", json!(["sh", "-c", "rm public/about.html; echo built > public/built.html"]));
    let target = project.open();
    let plan = target.plan_deploy("r1", "1").unwrap();
    assert_eq!(plan.steps[1].commands[0].argv[0], "sh");
    target.run_through(&plan, &release("r1", "1"), Phase::Finalize).unwrap();
    assert_eq!(project.live("built.html"), "built\n");
    assert!(!project.path("www/current/about.html").exists());
    let project = Project::new().with("build", json!(["rm", "public/index.html"]));
    let target = project.open();
    let plan = target.plan_deploy("r1", "1").unwrap();
    let error = target.run_through(&plan, &release("r1", "1"), Phase::Build).unwrap_err();
    assert!(error.message.ends_with("has no `index.html`"), "{error}");
}

/// Serves the files below `root` until the test process ends; every request is answered and hung up.
fn serve(root: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap().trim_start_matches('/');
            let path = if path.is_empty() { "index.html" } else { path };
            let body = fs::read(root.join(path)).unwrap_or_default();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())
                .unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    address
}

#[test]
fn pages_are_fetched_and_a_server_of_something_else_is_noticed() {
    let project = Project::new();
    let url = serve(project.path("www/current"));
    let project = project.with("url", json!(url));
    let receipts = project.deploy("r1");
    assert_eq!(step_data(&receipts, "verify").summary, "3 files, 2 pages fetched");
    // The old site, as from a server that was pointed at a release instead of at `current`.
    let url = serve(project.path("www/releases/r1"));
    let project = project.with("url", json!(url));
    project.write("index.html", "<h1>two</h1>");
    let target = project.open();
    let plan = target.plan_deploy("r2", "2").unwrap();
    let error = target.run_through(&plan, &release("r2", "2"), Phase::Verify).unwrap_err();
    assert!(
        error.message.ends_with("answers with something else than `index.html` of the release"),
        "{error}"
    );
    let undone = target.undo_from(&plan, &release("r2", "2"), Phase::Verify, &[]).unwrap();
    assert_eq!(undone[1], Undo::Undone { summary: "release r1 is live again".into() });
    assert_eq!(project.live("index.html"), "<h1>one</h1>");
}

#[test]
fn a_rollback_to_what_is_gone_touches_nothing() {
    let project = Project::new();
    project.deploy("r1");
    let error = project.rollback("r0").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoRelease);
    fs::remove_file(project.path("www/releases/r1/about.html")).unwrap();
    assert_eq!(project.rollback("r1").unwrap_err().kind, ErrorKind::NoRelease);
}

#[test]
fn a_cancelled_stage_stops_and_is_undone() {
    let project = Project::new();
    let target = project.open();
    let plan = target.plan_deploy("r1", "1").unwrap();
    target.cancel();
    let error = target.run_through(&plan, &release("r1", "1"), Phase::Stage).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    target.undo_from(&plan, &release("r1", "1"), Phase::Stage, &[]).unwrap();
    assert!(!project.path("www").exists());
}
