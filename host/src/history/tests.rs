#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
};

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::*;
use crate::{config::DeployConfig, project::Project};

/// Records from words, newest first: `3 ok`, `3 failed`, `3 failed early`, `3 failed back to 2`, `3 failed and stuck`,
/// `3 back to 2`.
fn history(records: &[&str]) -> History {
    let count = records.len();
    let values: Vec<Value> = records
        .iter()
        .enumerate()
        .map(|(index, record)| {
            let words: Vec<&str> = record.split(' ').collect();
            let mut value = json!({
                "timestamp": format!("2026-03-{:02}T10:00:00Z", count - index), "target": "docs",
                "version": words[0], "deployment_id": format!("deploy-{}", count - index),
            });
            let more = match words[1..] {
                ["ok"] => json!({ "status": "success" }),
                ["failed"] => json!({ "status": "failed" }),
                ["failed", "early"] => json!({ "status": "failed", "switched": false }),
                ["failed", "and", "stuck"] => {
                    json!({ "status": "failed", "rollback": { "performed": true, "success": false } })
                }
                ["failed", "back", "to", "nothing"] => json!({
                    "status": "failed", "rollback": { "performed": true, "success": true, "to_version": null }
                }),
                ["failed", "back", "to", to] => json!({
                    "status": "failed", "rollback": { "performed": true, "success": true, "to_version": to }
                }),
                ["back", "to", to] => json!({ "status": "rolled_back", "rollback_to": to }),
                _ => panic!("{record}"),
            };
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            value
        })
        .collect();
    History::from_values(&values)
}

#[test]
fn a_canary_that_was_judged_counts_once() {
    let record = |id: &str, status: &str| json!({ "target": "docs", "version": "2", "deployment_id": id, "status": status });
    let history = History::from_values(&[
        record("c", "canary_open"),
        record("b", "success"),
        record("b", "canary_open"),
        record("a", "success"),
    ]);
    assert_eq!(history.target("docs").assess().total, 3);
}

#[test]
fn what_is_live_and_where_a_rollback_goes() {
    let table: [(&[&str], &str); 20] = [
        // newest first: live (by which deployment), rollback goes to; the wrapper: current → rollback
        (&[], "nothing → nothing; nothing → nothing"),
        (&["1 ok"], "1 (deploy-1) → nothing; 1 → nothing"),
        (&["3 ok", "2 ok", "1 ok"], "3 (deploy-3) → 2; 3 → 2"),
        (&["3 back to 2", "3 ok", "2 ok", "1 ok"], "2 (deploy-2) → 1; 2 → 1"),
        (&["2 back to 1", "3 back to 2", "3 ok", "2 ok", "1 ok"], "1 (deploy-1) → nothing; 1 → nothing"),
        // Forward again by naming it: what came before is found from its own record.
        (&["1 back to 3", "3 back to 1", "3 ok", "2 ok", "1 ok"], "3 (deploy-3) → 2; 3 → 2"),
        // The same version twice is one version.
        (&["2 ok", "2 ok", "1 ok"], "2 (deploy-3) → 1; 2 → 1"),
        (&["1 ok", "1 ok"], "1 (deploy-2) → nothing; 1 → nothing"),
        // Failed, and who wrote the record doesn't say more: the wrapper's older scripts.
        (&["3 failed", "2 ok", "1 ok"], "2 (deploy-2) → 2; 3 → 2"),
        (&["1 failed"], "nothing → nothing; 1 → nothing"),
        (&["2 failed", "2 ok", "1 ok"], "2 (deploy-2) → 1; 2 → 1"),
        // Failed before the switch: what was live is live.
        (&["3 failed early", "2 ok", "1 ok"], "2 (deploy-2) → 1; 3 → 2"),
        // Failed and mended itself.
        (&["3 failed back to 2", "2 ok", "1 ok"], "2 (deploy-2) → 1; 2 → 1"),
        (&["1 failed back to nothing"], "nothing → nothing; nothing → nothing"),
        (&["3 failed back to 2", "3 back to 2", "3 ok", "2 ok", "1 ok"], "2 (deploy-2) → 1; 2 → 1"),
        // Failed, and so did mending it.
        (&["3 failed and stuck", "2 ok", "1 ok"], "2 (deploy-2) → 2; 3 → 2"),
        (&["4 failed early", "3 failed and stuck", "2 ok", "1 ok"], "2 (deploy-2) → 2; 4 → 2"),
        // Once good, later rolled away from automatically: skipped, until it succeeds again.
        (&["4 ok", "3 failed back to 2", "2 ok", "3 ok", "1 ok"], "4 (deploy-5) → 2; 4 → 2"),
        (
            &["4 ok", "2 failed back to 3", "3 failed back to 1", "2 ok", "3 ok", "1 ok"],
            "4 (deploy-6) → 1; 4 → 1",
        ),
        (&["4 ok", "3 ok", "3 failed back to 2", "2 ok"], "4 (deploy-4) → 3; 4 → 3"),
    ];
    for (records, expected) in table {
        let history = history(records);
        let target = history.target("docs");
        let word = |version: Option<&str>| version.unwrap_or("nothing").to_owned();
        let live = target
            .live()
            .map_or("nothing".to_owned(), |live| format!("{} ({})", word(live.version), word(live.id)));
        let assessed = target.assess();
        let seen = format!(
            "{live} → {}; {} → {}",
            word(target.previous().and_then(|past| past.version)),
            word(assessed.current_version),
            word(assessed.rollback.and_then(|past| past.version)),
        );
        assert_eq!(seen, expected, "{records:?}");
    }
}

#[test]
fn a_bad_version_can_still_be_named() {
    let history = history(&["3 failed back to 2", "2 ok", "3 ok", "1 ok"]);
    let target = history.target("docs");
    assert_eq!(target.bad_versions(), ["3"]);
    assert_eq!(target.find("3").unwrap().id, Some("deploy-2"));
    assert_eq!(target.find("deploy-1").unwrap().version, Some("1"));
    assert_eq!(target.find("9"), None);
}

#[test]
fn a_project_without_versions_goes_back_deployment_by_deployment() {
    let record =
        |id: &str| json!({ "target": "docs", "status": "success", "deployment_id": id, "version": null });
    let mut values = vec![record("deploy-2"), record("deploy-1")];
    assert_eq!(History::from_values(&values).target("docs").previous().unwrap().id, Some("deploy-1"));
    let back = json!({ "target": "docs", "status": "rolled_back", "rollback_to": null, "rollback_to_id": "deploy-1" });
    values.insert(0, back);
    let history = History::from_values(&values);
    assert_eq!(history.target("docs").live().unwrap().id, Some("deploy-1"));
    assert_eq!(history.target("docs").previous(), None);
}

#[test]
fn records_of_others_are_read_as_far_as_they_go() {
    let values = [
        json!("not a record"),
        json!({ "target": "docs", "status": "exploded", "version": "9" }),
        json!({ "target": "docs", "status": "success", "version": 7, "duration_ms": 12.5, "deployment_id": "../../etc" }),
        json!({ "target": "docs", "status": "success", "version": "1", "timestamp": "2026-03-04T16:02:55Z" }),
    ];
    let history = History::from_values(&values);
    let target = history.target("docs");
    let live = target.live().unwrap();
    assert_eq!((live.id, live.version), (None, None), "an id that leaves its folder is no id");
    assert_eq!(target.previous().unwrap().release().id, "unrecorded-20260304160255");
}

struct Place {
    _folder: tempfile::TempDir,
    project: Project,
}

fn place(content: &str) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::at(folder.path().to_owned(), folder.path().to_owned());
    fs::write(&project.deploy_json, content).unwrap();
    Place { _folder: folder, project }
}

impl Place {
    fn content(&self) -> String {
        fs::read_to_string(&self.project.deploy_json).unwrap()
    }

    fn history(&self) -> History {
        History::of(&DeployConfig::read(&self.project).unwrap())
    }
}

fn success(version: &str) -> Record {
    Record {
        timestamp: Some("T".to_owned()),
        target: Some("docs".to_owned()),
        version: Some(version.to_owned()),
        status: Some(Status::Success),
        ..Record::default()
    }
}

#[test]
fn every_other_byte_stays() {
    // What stands before and after the history, and the history.
    let odd = [
        (
            "{\n   \"a\" : 1,\t\"ü\\u00e9\":[ ],\n   \"history\" :  ",
            "[]",
            ",\n \"zz\": {\"history\": [1]}   }\n\n",
        ),
        (
            "{\r\n\t\"history\": ",
            "[\r\n\t\t{\"version\": \"1\",   \"x\": \"]}\\\"\"}\r\n\t]",
            ",\r\n\t\"b\": -1.50e3}",
        ),
        ("{\"a\":\"\\\\\",\"history\":", "[{\"v\":1},{\"v\":2}]", ",\"b\":2}"),
        ("{\n  \"history\": ", "null", "\n}"),
        // Of two the last one is what readers see.
        ("{\n  \"history\": 5,\n  \"history\": ", "[]", "\n}\n"),
    ];
    for (before, old, after) in odd {
        let place = place(&format!("{before}{old}{after}"));
        append(&place.project, &[success("9")]).unwrap();
        let content = place.content();
        assert!(content.starts_with(before) && content.ends_with(after), "{content}");
        let value: Value = serde_json::from_str(&content).unwrap();
        assert_eq!(value["history"][0]["version"], "9", "{content}");
        let old: Value = serde_json::from_str(old).unwrap();
        let old = old.as_array().cloned().unwrap_or_default();
        assert_eq!(value["history"].as_array().unwrap()[1..], old, "{content}");
        assert_eq!(content.contains("\r\n"), before.contains("\r\n"), "{content}");
        assert_eq!(content.replace("\r\n", "").contains('\n'), before.replace("\r\n", "").contains('\n'));
    }
}

#[test]
fn history_is_laid_out_as_the_file_is() {
    let shown = |content: &str| {
        let place = place(content);
        append(&place.project, &[success("9")]).unwrap();
        place.content()
    };
    assert_snapshot!(shown("{\n    \"a\": 1\n}\n"), @r#"
    {
        "a": 1,
        "history": [
            { "timestamp": "T", "target": "docs", "version": "9", "status": "success", "commit_sha": null, "duration_ms": null }
        ]
    }
    "#);
    assert_snapshot!(shown("{}"), @r#"
    {
      "history": [
        { "timestamp": "T", "target": "docs", "version": "9", "status": "success", "commit_sha": null, "duration_ms": null }
      ]
    }
    "#);
    assert_snapshot!(shown("{\"a\": 1}"), @r#"{"a": 1, "history": [{ "timestamp": "T", "target": "docs", "version": "9", "status": "success", "commit_sha": null, "duration_ms": null }]}"#);
    let tall = "{\n  \"history\": [\n    {\n      \"version\":  \"1\"\n    }\n  ]\n}";
    assert_snapshot!(shown(tall), @r#"
    {
      "history": [
        {
          "timestamp": "T",
          "target": "docs",
          "version": "9",
          "status": "success",
          "commit_sha": null,
          "duration_ms": null
        },
        {
          "version":  "1"
        }
      ]
    }
    "#);
}

#[test]
fn the_oldest_goes_at_fifty_but_never_what_a_rollback_needs() {
    let place = place("{}");
    let quiet = |version: &str| Record { target: Some("quiet".to_owned()), ..success(version) };
    append(&place.project, &[quiet("3"), quiet("2"), quiet("1")]).unwrap();
    for version in 0..60 {
        append(&place.project, &[success(&version.to_string())]).unwrap();
    }
    let history = place.history();
    assert_eq!(history.records().len(), KEPT);
    assert_eq!(history.target("quiet").live().unwrap().version, Some("3"));
    assert_eq!(history.target("quiet").previous().unwrap().version, Some("2"));
    assert_eq!(history.target("quiet").records().len(), 2, "what nobody needs goes first");
    assert_eq!(history.target("docs").records()[0].version.as_deref(), Some("59"));
}

#[test]
fn a_link_is_written_through_and_the_mode_stays() {
    let place = place("{}");
    let real = place.project.data.join("real.json");
    fs::rename(&place.project.deploy_json, &real).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o664)).unwrap();
    symlink("real.json", &place.project.deploy_json).unwrap();
    append(&place.project, &[success("1")]).unwrap();
    assert!(place.project.deploy_json.is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o664);
    assert_eq!(place.history().records().len(), 1);
}

#[test]
fn a_file_that_is_broken_meanwhile_is_left_alone() {
    for (content, error) in [
        ("{\"a\": ", "is not valid JSON, so its history was not written"),
        ("[]", "the top is not an object in"),
        ("{\"history\": {}}", "`history` is not a list in"),
    ] {
        let place = place(content);
        let refused = append(&place.project, &[success("1")]).unwrap_err();
        assert!(refused.to_string().contains(error), "{refused}");
        assert_eq!(place.content(), content);
    }
}

#[test]
fn concurrent_writers_lose_nothing_and_no_reader_sees_half_a_file() {
    let place = place("{\n  \"other\": \"kept\"\n}\n");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) || reads == 0 {
                let value: Value = serde_json::from_str(&place.content()).unwrap();
                assert_eq!(value["other"], "kept");
                reads += 1;
            }
        });
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let project = &place.project;
                scope.spawn(move || {
                    for index in 0..10 {
                        append(project, &[success(&format!("{writer}.{index}"))]).unwrap();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    let history = place.history();
    let mut versions: Vec<_> = history.records().iter().filter_map(|record| record.version.clone()).collect();
    versions.sort();
    let mut expected: Vec<_> =
        (0..4).flat_map(|writer| (0..10).map(move |index| format!("{writer}.{index}"))).collect();
    expected.sort();
    assert_eq!(versions, expected);
}
