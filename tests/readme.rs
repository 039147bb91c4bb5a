//! README's example, as it stands there.

#[path = "support/mod.rs"]
mod support;

use std::process::Command;

use support::Project;

#[test]
fn the_console_example_in_readme_works_in_a_copy_of_the_example_site() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    let example = readme.split("<!-- example: tests/readme.rs -->").nth(1).unwrap();
    let lines = example.split("```").nth(1).unwrap().lines().skip(1);

    let project = Project::empty();
    let copied = Command::new("cp").args(["-R", &format!("{root}/examples/site/."), "."]).current_dir(project.path()).status();
    assert!(copied.unwrap().success());

    let mut live = Vec::new();
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words[0], "pop-deploy", "{line}");
        project.must(&words[1..]);
        live.push(project.read("webroot/.pop-deploy/owner.json").contains("site"));
        if line.ends_with("--version 1.0") && line.contains("--yes") {
            project.write("public/index.html", "<h1>Version 1.1</h1>");
        }
    }
    assert_eq!(live, [false, true, true, true, true]);
    let original = std::fs::read_to_string(format!("{root}/examples/site/public/index.html")).unwrap();
    assert_eq!(project.read("webroot/current/index.html"), original, "1.0 is live again");
}
