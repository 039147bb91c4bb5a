//! What people see: on a terminal, wide and narrow, in CI, in a pipe; quiet, usual and loud.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};

use clap::CommandFactory as _;
use support::{Project, wait_for};
use terminal::Terminal;

#[path = "support/mod.rs"]
mod support;
#[path = "support/terminal.rs"]
mod terminal;

/// A project whose build says something, and waits until a file `go` is there.
fn slow() -> Project {
    let project = Project::new();
    let build = r#"["sh", "-c", "echo compiling the pages one after the other; while [ ! -e go ]; do sleep 0.05; done"]"#;
    project.config(&format!(r#"{{"source": "public", "dir": "www", "build": {build}}}"#));
    project
}

const DEPLOY: [&str; 4] = ["execute", "--yes", "--version", "1"];

#[test]
fn a_terminal_shows_one_live_line_that_a_narrow_one_cuts() {
    let project = slow();
    let Some(terminal) = Terminal::start(&project, 44, &[], &DEPLOY) else { return };
    let screen = terminal.wait_for("s [2/6] Building");
    let live: Vec<_> = screen.lines().filter(|line| line.contains("[2/6]")).collect();
    assert_eq!(live.len(), 1, "one line, whatever its length: {screen}");
    assert!(live[0].chars().count() <= 44, "{screen}");
    assert!(!screen.contains("after the other"), "{screen}");
    project.write("go", "");
    assert_eq!(terminal.exit_code(), 0);
    let screen = terminal.screen();
    assert!(screen.contains("Result: succeeded, 1"), "{screen}");
    assert!(!screen.contains("s [2/6]"), "the live line is gone: {screen}");
}

#[test]
fn several_targets_have_a_live_line_each() {
    let project = slow();
    project.edit(|json| {
        json["targets"]["blog"] = json["targets"]["docs"].clone();
        json["targets"]["blog"]["primary"] = false.into();
        json["targets"]["blog"]["config"]["dir"] = "blog".into();
    });
    let Some(terminal) =
        Terminal::start(&project, 100, &[], &["execute", "--yes", "--all", "--version", "1"])
    else {
        return;
    };
    wait_for("two lines", || {
        let screen = terminal.screen();
        let live = |name: &str| screen.lines().any(|line| line.contains(name) && line.contains("compiling"));
        (live("docs: [2/6]") && live("blog: [2/6]")).then_some(())
    });
    project.write("go", "");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn ci_and_pipes_get_plain_lines_and_a_sign_of_life() {
    let project = slow();
    if let Some(terminal) =
        Terminal::start(&project, 100, &[("CI", "true"), ("POP_DEPLOY_HEARTBEAT", "0.2")], &DEPLOY)
    {
        terminal.wait_for("... still running after");
        project.write("go", "");
        assert_eq!(terminal.exit_code(), 0);
    }
    let project = slow();
    let mut command = project.command(&DEPLOY);
    let mut run = command.env("POP_DEPLOY_HEARTBEAT", "0.2").spawn().unwrap();
    let mut stdout = String::new();
    for line in BufReader::new(run.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("... still running after") && line.contains(": compiling the pages") {
            project.write("go", "");
        }
        stdout.push_str(&line);
    }
    assert!(run.wait().unwrap().success() && stdout.contains("still running"), "{stdout}");
    assert!(!stdout.contains('\x1b') && !stdout.contains('\r'), "{stdout:?}");
}

#[test]
fn taking_back_gives_signs_of_life_too() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.hook("post_switch", "exit 1");
    project.gate("on_rollback");
    let mut command = project.command(&["execute", "--yes", "--version", "2"]);
    let mut run = command.env("POP_DEPLOY_HEARTBEAT", "0.2").spawn().unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines().map(Result::unwrap);
    let sign = lines.find(|line| line.contains("Taking docs back... still running after"));
    project.write("go", "");
    assert!(sign.is_some(), "it ended without one");
    assert!(lines.any(|line| line.starts_with("Result: failed and rolled back")));
    assert_eq!(run.wait().unwrap().code(), Some(8));
}

#[test]
fn colours_are_for_terminals_whose_user_wants_them() {
    let project = Project::new();
    let dry = ["execute", "--dry-run", "--version", "1"];
    let Some(coloured) = Terminal::start(&project, 100, &[("NO_COLOR", "")], &dry) else { return };
    assert_eq!(coloured.exit_code(), 0);
    assert!(coloured.coloured().contains("\x1b[32mok"), "{}", coloured.coloured());
    let Some(plain) = Terminal::start(&project, 100, &[("NO_COLOR", "1")], &dry) else { return };
    assert_eq!(plain.exit_code(), 0);
    assert!(plain.screen().contains("ok   source"), "{}", plain.screen());
    assert!(!plain.coloured().contains("\x1b[32m"), "{}", plain.coloured());
}

#[test]
fn quiet_tells_the_result_and_what_went_wrong_loud_tells_everything() {
    let project = slow();
    project.write("go", "");
    let quiet = project.must(&["execute", "--yes", "-q", "--version", "1"]);
    assert_eq!(quiet.stdout, "Result: succeeded, 1\n");
    let loud = project.must(&["execute", "--yes", "-v", "--version", "2"]);
    assert!(loud.stdout.contains("  $ sh -c"), "{}", loud.stdout);
    assert!(loud.stdout.contains("  | compiling the pages one after the other"), "{}", loud.stdout);
    project.hook("post_verify", "printf 'red \\033[31malert\\033[0m\\n'; exit 7");
    let failed = project.run(&["execute", "--yes", "-q", "--version", "3"]);
    assert!(failed.stdout.contains("error: hook `post_verify`"), "{}", failed.stdout);
    assert!(failed.stdout.contains("Taking docs back"), "{}", failed.stdout);
    assert!(!failed.stdout.contains("[1/6]"), "{}", failed.stdout);
    let loud = project.run(&["execute", "--yes", "--verbose", "--version", "3"]);
    assert!(
        loud.stdout.contains("  | red alert\n"),
        "a program's colours don't reach people: {}",
        loud.stdout
    );
    assert_eq!(project.run(&["execute", "-q", "-v", "--dry-run"]).code, Some(2));
}

#[test]
fn commands_that_look_read_well_on_a_narrow_terminal() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.deploy("2", "<h1>two</h1>");
    for words in
        [&["history"][..], &["status"], &[], &["diagnose"], &["logs"], &["config", "show"], &["schema"]]
    {
        let Some(terminal) = Terminal::start(&project, 60, &[], words) else { return };
        assert_eq!(terminal.exit_code(), 0, "{words:?}: {}", terminal.screen());
        let piped = project.must(words);
        assert!(!piped.stdout.contains('\x1b'), "{words:?}");
        if words == ["history"] {
            let screen = terminal.screen();
            assert!(screen.lines().filter(|line| line.contains("went live")).count() == 2, "{screen}");
            assert!(screen.contains('…') && !piped.stdout.contains('…'), "{screen}");
        }
    }
}

#[test]
fn every_help_text_fits_into_80_columns() {
    let project = Project::empty();
    let mut commands = vec![(Vec::new(), pop_deploy::cli::args::Cli::command())];
    let mut seen = 0;
    while let Some((path, command)) = commands.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let said = project.command(&words).env("COLUMNS", "80").output().unwrap();
        let help = String::from_utf8(said.stdout).unwrap();
        assert!(said.status.success() && help.contains("Usage: pop-deploy"), "{path:?}: {help}");
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{path:?}: {line}");
        }
        // A flag that the help doesn't explain helps nobody.
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{path:?}: {}", argument.get_id());
        }
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            commands.push((path.iter().cloned().chain([sub.get_name().to_owned()]).collect(), sub.clone()));
        }
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn shells_complete_targets_versions_and_runs() {
    let project = Project::new();
    project.deploy("1", "<h1>one</h1>");
    project.edit(|json| json["environments"] = serde_json::json!({"staging": {}}));
    for shell in ["bash", "zsh", "fish"] {
        let script = project.must(&["completions", shell]).stdout;
        assert!(script.contains("POP_DEPLOY_COMPLETE") && script.contains("pop-deploy"), "{script}");
    }
    // As the scripts ask.
    let complete = |words: &[&str]| -> Vec<String> {
        let all: Vec<&str> = ["--", "pop-deploy"].iter().chain(words).copied().collect();
        let mut command = project.command(&all);
        command.env("POP_DEPLOY_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        command
            .env("_CLAP_IFS", "\n")
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "true");
        let said = command.output().unwrap();
        String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    assert_eq!(complete(&["execute", "--target", ""]), ["docs"]);
    assert_eq!(complete(&["rollback", "--to", ""]), ["1"]);
    assert_eq!(complete(&["status", "--environment", "st"]), ["staging"]);
    assert!(complete(&["logs", "dep"])[0].starts_with("deploy-"));
    assert!(complete(&["plugin", "info", ""]).contains(&"static-site".to_owned()));
    assert!(complete(&["exe"]).contains(&"execute".to_owned()));
    let bash = std::process::Command::new("bash")
        .args(["-n"])
        .arg("/dev/stdin")
        .stdin(std::process::Stdio::piped())
        .spawn();
    if let Ok(mut bash) = bash {
        use std::io::Write as _;
        let script = project.must(&["completions", "bash"]).stdout;
        bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(bash.wait().unwrap().success());
    }
}

#[test]
fn there_is_a_man_page_for_every_command() {
    let project = Project::empty();
    project.must(&["__man", "man"]);
    for page in
        ["pop-deploy.1", "pop-deploy-execute.1", "pop-deploy-plugin-add.1", "pop-deploy-config-show.1"]
    {
        let text = project.read(&format!("man/{page}"));
        assert!(text.contains(".SH SYNOPSIS") || text.contains(".SH NAME"), "{page}: {text}");
    }
    assert!(project.read("man/pop-deploy.1").contains("EXIT STATUS"));
}
