//! What README.md shows, as its reader would type it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, path::Path};

use support::Project;

#[path = "support/mod.rs"]
mod support;

#[test]
fn the_sixty_second_example_works_as_written() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(top.join("README.md")).unwrap();
    let example = readme.split("\n## ").find(|part| part.starts_with("60 seconds")).unwrap();
    let commands: Vec<_> = example.lines().filter_map(|line| line.strip_prefix("$ pop-deploy ")).collect();
    assert!(commands.len() >= 4, "{commands:?}");

    let project = Project::empty();
    copy(&top.join("examples/site"), &project, "");
    for command in commands {
        let typed = command.split('#').next().unwrap_or_default();
        project.must(&typed.split_whitespace().collect::<Vec<_>>());
    }
    assert!(project.read("www/current/index.html").contains("Harbour"));
    let last = &project.history()[0];
    assert_eq!((&last["status"], &last["rollback_to"]), (&"rolled_back".into(), &"1.0".into()));
}

fn copy(folder: &Path, project: &Project, below: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), project, &(path + "/")),
            false => project.write(&path, &fs::read_to_string(entry.path()).unwrap()),
        }
    }
}
