//! Runs that die or are stopped: what is live is one whole release, nothing runs on, and the next commands mend it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::fd::AsFd as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};
use support::{Project, Said, all, another_second, wait_for, worker_of};

#[path = "support/mod.rs"]
mod support;

const EXECUTE: [&str; 4] = ["execute", "--yes", "--version", "2"];

/// A project whose version 1 is live, and whose source is ready for version 2.
fn deployed() -> Project {
    let project = Project::new();
    fill(&project, "one");
    project.must(&["execute", "--yes", "--version", "1"]);
    fill(&project, "two");
    project
}

/// Another project with the same web root, whose pages say this.
fn neighbour(project: &Project, word: &str) -> Project {
    let other = Project::new();
    fill(&other, word);
    let config = serde_json::json!({"source": "public", "dir": project.path().join("www")});
    other.config(&config.to_string());
    other
}

/// Makes every page of the source say the same.
fn fill(project: &Project, word: &str) {
    for page in ["index", "about", "a/deep", "b/deep"] {
        project.write(&format!("public/{page}.html"), word);
    }
}

/// What the pages that are live say, all of them.
fn live(project: &Project) -> String {
    let pages =
        ["index", "about", "a/deep", "b/deep"].map(|page| project.read(&format!("www/current/{page}.html")));
    assert!(pages.iter().all(|page| *page == pages[0]), "a mixture is live: {pages:?}");
    pages[0].clone()
}

fn releases(project: &Project) -> usize {
    fs::read_dir(project.path().join("www/releases")).unwrap().count()
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// The processes that work in the project or for it.
fn processes(project: &Project) -> Vec<String> {
    let place = project.path();
    let here = |entry: &fs::DirEntry| {
        let commands = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let commands = String::from_utf8_lossy(&commands).replace('\0', " ");
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        (cwd.starts_with(&place) || commands.contains(place.to_str().unwrap())).then_some(commands)
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| here(&entry))
        .filter(|it| !it.is_empty())
        .collect()
}

fn nothing_runs_on(project: &Project) {
    let mut left = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        left = processes(project);
        if left.is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("still there: {left:?}");
}

fn ended(run: Child) -> Said {
    run.wait_with_output().unwrap().into()
}

/// After a death: the next deployment says so, `rollback` mends it, and then one can deploy again.
fn mend(project: &Project) {
    assert_eq!(project.run(&EXECUTE).code, Some(7));
    project.must(&["rollback", "--yes"]);
    assert_eq!((live(project).as_str(), releases(project)), ("one", 1));
    project.edit(|json| json["hooks"] = serde_json::json!({}));
    project.must(&EXECUTE);
    assert_eq!(live(project), "two");
    project.must(&["verify"]);
    project.must(&["rollback", "--yes"]);
    assert_eq!(live(project), "one");
}

#[test]
fn a_host_that_is_killed_before_the_switch() {
    let project = deployed();
    project.gate("pre_switch");
    let mut run = project.start(&EXECUTE);
    project.wait_at_gate();
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(live(&project), "one");
    nothing_runs_on(&project);
    assert_snapshot!(project.see(&["execute", "--yes", "--version", "3"]), @r"
    --- stderr
    error: run `[id]` was interrupted; target `docs` has done `stage`, the stage of it
      hint: `pop-deploy execute --resume` goes on with it, `pop-deploy rollback` takes it back
    --- exit 7
    ");
    assert_snapshot!(project.see_table(&["history"]), @r"
    run `[id]` was interrupted; target `docs` has done `stage`, the stage of it

    When  Target  Version  Result  Took  By  Run
    [date] [time]  docs  1  went live  [t]  [actor]  [id]
    --- exit 0
    ");
    assert_snapshot!(project.see(&["rollback", "--yes"]), @r"
    Target: docs · Mode: recovery · Version: 2
    Taking docs back
      stage: removed release [id]

    Result: taken back, 1 is live
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy verify` looks again, `pop-deploy history` shows what was
    --- exit 0
    ");
    assert_eq!((live(&project).as_str(), releases(&project)), ("one", 1));
    project.edit(|json| json["hooks"] = serde_json::json!({}));
    project.must(&EXECUTE);
    assert_eq!(live(&project), "two");
}

#[test]
fn a_host_that_is_killed_at_any_hook() {
    for (point, word) in [("pre_stage", "one"), ("post_switch", "two"), ("pre_finalize", "two")] {
        let project = deployed();
        project.gate(point);
        let mut run = project.start(&EXECUTE);
        project.wait_at_gate();
        run.kill().unwrap();
        run.wait().unwrap();
        assert_eq!(live(&project), word, "{point}");
        nothing_runs_on(&project);
        mend(&project);
    }
}

/// Has a run of version 2 killed while it stands at this hook, whose way is free afterwards.
fn kill_at(project: &Project, point: &str) {
    project.gate(point);
    let mut run = project.start(&EXECUTE);
    project.wait_at_gate();
    run.kill().unwrap();
    run.wait().unwrap();
    nothing_runs_on(project);
    project.write("go", "");
}

#[test]
fn a_run_that_died_can_be_finished() {
    let project = deployed();
    kill_at(&project, "post_switch");
    assert_snapshot!(project.see(&["execute", "--yes", "--resume"]), @r"
    Target: docs · Mode: resume · Version: 2
    Plan: 0 added, 4 changed, 0 removed, 0 unchanged
    [1/5] Locking [project]/www... done ([t])
    [4/5] Verifying what is live... done, 4 files ([t])
    [5/5] Keeping all releases... unchanged ([t])

    Result: succeeded, 1 → 2
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy verify` looks again, `pop-deploy rollback` goes back
    --- exit 0
    ");
    assert_eq!((live(&project).as_str(), releases(&project)), ("two", 2));
    project.must(&["verify"]);
    let history = project.history();
    assert_eq!(
        (&history[0]["status"], &history[0]["version"], history.len()),
        (&"success".into(), &"2".into(), 2)
    );
    project.must(&["rollback", "--yes"]);
    assert_eq!(live(&project), "one");
    assert_snapshot!(project.see(&["execute", "--yes", "--resume"]), @r"
    --- stderr
    error: there is nothing to resume: no run at docs was interrupted
      hint: leave out `--resume`
    --- exit 2
    ");
}

#[test]
fn a_run_that_died_at_any_hook_can_be_finished() {
    for point in ["pre_stage", "pre_switch", "post_verify", "pre_finalize"] {
        let project = deployed();
        project.hook("before_all", "echo begun >> begun");
        kill_at(&project, point);
        project.must(&["execute", "--yes", "--resume"]);
        assert_eq!((live(&project).as_str(), releases(&project)), ("two", 2), "{point}");
        project.must(&["verify"]);
        assert_eq!(project.read("begun"), "begun\n", "{point}: it began once");
    }
}

#[test]
fn a_run_is_not_finished_when_what_it_was_made_from_changed() {
    let project = deployed();
    kill_at(&project, "pre_switch");
    let resume = ["execute", "--yes", "--resume"];
    fill(&project, "three");
    assert_snapshot!(project.see(&resume), @r"
    Target: docs · Mode: resume · Version: 2
    --- stderr
    error: run `[id]` can't be resumed
      caused by: what target `docs` is made from changed since
      hint: `pop-deploy rollback` takes it back
    --- exit 7
    ");
    fill(&project, "two");
    project.edit(|json| json["targets"]["docs"]["config"]["keep"] = 3.into());
    assert_snapshot!(project.steady(&project.run(&resume).stderr), @r"
    error: run `[id]` can't be resumed
      caused by: the config of target `docs` changed since
      hint: `pop-deploy rollback` takes it back
    ");
    project.edit(|json| drop(json["targets"]["docs"]["config"].as_object_mut().unwrap().remove("keep")));
    let runs = project.path().join(".pop-deploy/deployments");
    let newest = fs::read_dir(runs).unwrap().map(|run| run.unwrap().path()).max().unwrap();
    let plan = newest.join("plan-docs.json");
    let stored = fs::read_to_string(&plan).unwrap();
    fs::write(&plan, format!("{stored} ")).unwrap();
    let said = project.run(&resume);
    assert!(said.stderr.contains("isn't the plan that was stored there"), "{}", said.stderr);
    assert_eq!(live(&project), "one");
    project.must(&["rollback", "--yes"]);
    assert_eq!((live(&project).as_str(), releases(&project)), ("one", 1));
}

#[test]
fn a_run_that_died_between_two_targets_is_finished_at_both() {
    let project = deployed();
    project.edit(|json| {
        json["targets"]["more"] = json["targets"]["docs"].clone();
        json["targets"]["more"]["primary"] = false.into();
        json["targets"]["more"]["config"]["dir"] = "more".into();
    });
    let gate =
        "if [ $POP_DEPLOY_TARGET = more ]; then echo > at_gate; while [ ! -e go ]; do sleep 0.02; done; fi";
    project.hook("pre_switch", gate);
    let all = ["execute", "--yes", "--all", "--version", "2"];
    let mut run = project.start(&all);
    project.wait_at_gate();
    run.kill().unwrap();
    run.wait().unwrap();
    nothing_runs_on(&project);
    assert_eq!(
        (live(&project).as_str(), project.read("more/current/index.html").as_str()),
        ("two", "(No such file or directory (os error 2))")
    );
    project.write("go", "");
    project.must(&["execute", "--yes", "--resume"]);
    assert_eq!((live(&project).as_str(), project.read("more/current/index.html").as_str()), ("two", "two"));
    project.must(&["verify", "--all"]);
    assert_eq!(project.history().len(), 3);
}

#[test]
fn a_host_that_is_killed_at_any_moment() {
    let project = deployed();
    let begun = Instant::now();
    project.must(&EXECUTE);
    let whole = begun.elapsed();
    let mut before = "two".to_owned();
    for moment in 0..15 {
        let word = format!("moment {moment}");
        fill(&project, &word);
        let mut run = project.start(&["execute", "--yes", "--version", &word]);
        thread::sleep(whole * moment / 14);
        run.kill().unwrap();
        run.wait().unwrap();
        nothing_runs_on(&project);
        let now = live(&project);
        assert!(now == before || now == word, "{now} is live, neither {before} nor {word}");
        let again = project.run(&["execute", "--yes", "--version", &word]);
        if again.code == Some(7) && moment % 2 == 0 {
            project.must(&["execute", "--yes", "--resume"]);
        } else if again.code == Some(7) {
            project.must(&["rollback", "--yes"]);
            assert_eq!(live(&project), before, "{}", again.stderr);
            project.must(&["execute", "--yes", "--version", &word]);
        } else {
            assert_eq!(again.code, Some(0), "{}{}", again.stdout, again.stderr);
        }
        assert_eq!(live(&project), word);
        project.must(&["verify"]);
        before = word;
    }
}

#[test]
fn a_worker_that_is_killed_between_two_steps() {
    for point in ["pre_stage", "pre_switch", "post_switch", "pre_finalize"] {
        let project = deployed();
        project.gate(point);
        let run = project.start(&EXECUTE);
        project.wait_at_gate();
        send(wait_for("the worker", || worker_of(&run)), Signal::KILL);
        project.write("go", "");
        let said = ended(run);
        let word = if said.code == Some(0) { "two" } else { "one" };
        assert!([0, 1, 8].map(Some).contains(&said.code), "{point}: {}{}", said.stdout, said.stderr);
        assert_eq!(live(&project), word, "{point}");
        nothing_runs_on(&project);
        project.must(&["verify"]);
    }
}

#[test]
fn a_worker_that_is_killed_at_any_moment() {
    let project = deployed();
    let begun = Instant::now();
    project.must(&EXECUTE);
    let whole = begun.elapsed();
    let mut before = "two".to_owned();
    for moment in 0..12 {
        let word = format!("moment {moment}");
        fill(&project, &word);
        let mut run = project.start(&["execute", "--yes", "--version", &word]);
        let pid = wait_for("a worker", || match run.try_wait().unwrap() {
            None => worker_of(&run).map(Some),
            Some(_) => Some(None),
        });
        thread::sleep(whole * moment / 14);
        // It may have ended by itself.
        if let Some(pid) = pid.filter(|_| run.try_wait().unwrap().is_none()) {
            let _gone = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
        }
        let said = ended(run);
        let expected = if said.code == Some(0) { &word } else { &before };
        assert!(
            [0, 1, 3, 8].map(Some).contains(&said.code),
            "{:?} {}{}",
            said.code,
            said.stdout,
            said.stderr
        );
        assert_eq!(live(&project), *expected, "{}", said.stdout);
        nothing_runs_on(&project);
        project.must(&["verify"]);
        before = live(&project);
    }
}

#[test]
fn ctrl_c_in_a_hook_after_the_switch_takes_the_run_back() {
    let project = deployed();
    project.gate("post_switch");
    let run = project.start(&EXECUTE);
    project.wait_at_gate();
    assert_eq!(live(&project), "two");
    send(run.id(), Signal::INT);
    assert_snapshot!(project.show(&ended(run)), @r"
    Target: docs (primary) · Mode: deploy · Version: 2
    Plan: 0 added, 4 changed, 0 removed, 0 unchanged
    [1/5] Locking [project]/www... done ([t])
    [2/5] Staging 4 files (4 changed)... done, 4 copied (12 bytes), 0 linked ([t])
    [3/5] Switching to release [id]... done ([t])
    Taking docs back
      switch: release [id] is live again
      stage: removed release [id]

    error: hook `post_switch`: `sh` was ended because the run was cancelled
    docs: rolled back, 1 is live
    Result: stopped by signal 2
    Duration: [t]
    Deployment: [id]
    History: [project]/.pop-deploy/deploy.json
    Log: [project]/.pop-deploy/deployments/[id]/log
    Next: `pop-deploy history` shows how it stands
    --- exit 130
    ");
    assert_eq!((live(&project).as_str(), releases(&project)), ("one", 1));
    assert_eq!(project.history()[0]["status"], "failed");
    nothing_runs_on(&project);
    project.must(&["verify"]);
}

#[test]
fn a_supervisor_that_stops_a_slow_step_takes_the_run_back() {
    let project = deployed();
    let build = ["sh", "-c", "echo $$ > at_gate; sleep 600"];
    project.edit(|json| json["targets"]["docs"]["config"]["build"] = serde_json::json!(build));
    let run = project.start(&["execute", "--yes", "--json", "--version", "2"]);
    project.wait_at_gate();
    send(run.id(), Signal::TERM);
    let said = ended(run);
    assert_eq!(said.code, Some(143), "{}{}", said.stdout, said.stderr);
    let last: serde_json::Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["ending"]), (&"run.finished".into(), &"interrupted".into()));
    assert_eq!((live(&project).as_str(), releases(&project)), ("one", 1));
    assert_eq!(project.history()[0]["status"], "failed");
    nothing_runs_on(&project);
}

#[test]
fn a_run_that_is_stopped_while_it_waits_for_the_lock() {
    let project = deployed();
    project.gate("pre_switch");
    let first = project.start(&EXECUTE);
    project.wait_at_gate();
    let waiting = project.start(&["execute", "--yes", "--wait", "100"]);
    let runs = project.path().join(".pop-deploy/deployments");
    wait_for("the second run", || (fs::read_dir(&runs).unwrap().count() == 3).then_some(()));
    send(waiting.id(), Signal::TERM);
    assert_eq!(ended(waiting).code, Some(143));
    project.write("go", "");
    assert_eq!(ended(first).code, Some(0));
}

/// The command that somebody is told who finds a lock held.
fn told_to_unlock(said: &Said) -> Vec<String> {
    let said = all(said);
    let command = said.split_once("`pop-deploy unlock").unwrap().1.split_once('`').unwrap().0;
    std::iter::once("unlock").chain(command.split_whitespace()).map(str::to_owned).collect()
}

#[test]
fn a_run_that_hangs_is_ended_by_who_names_it_and_the_next_command_says_so() {
    let project = deployed();
    assert_eq!(project.must(&["unlock"]).stdout, "Nothing is locked\n");
    project.gate("pre_switch");
    let run = project.start(&EXECUTE);
    project.wait_at_gate();
    // From here on it hears no signal but the one that nobody can ignore.
    send(run.id(), Signal::STOP);
    let mut unlock = told_to_unlock(&project.run(&EXECUTE));
    let looked = project.run(&["unlock"]);
    assert_eq!(looked.code, Some(5), "{}", looked.stderr);
    assert!(looked.stdout.contains(&format!("`pop-deploy {}`", unlock.join(" "))), "{}", looked.stdout);
    let wrong = project.run(&["unlock", "--force", "--run-id", "deploy-20260101-000000"]);
    assert_eq!(wrong.code, Some(5), "{}", wrong.stdout);
    assert!(wrong.stderr.contains(run_of(&unlock)), "{}", wrong.stderr);
    assert_eq!(project.run(&["unlock"]).stdout, looked.stdout, "it touched nothing");

    // As where the number that the run had on another machine is that of somebody else's process here.
    let lock = ".pop-deploy/locks/docs.lock";
    let holder = project.read(lock);
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let theirs = holder.replace(&format!("\"pid\":{}", run.id()), &format!("\"pid\":{}", stranger.id()));
    assert_ne!(theirs, holder);
    project.write(lock, &theirs);
    let words: Vec<_> = unlock.iter().map(String::as_str).collect();
    assert_eq!(project.run(&["unlock", "--run-id", run_of(&unlock)]).code, Some(2), "it would do nothing");
    let refused = project.run(&words);
    assert_eq!(refused.code, Some(3), "{}", all(&refused));
    assert!(refused.stderr.contains("can't be ended from here"), "{}", refused.stderr);
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    // Whoever may write there forges no line of ours.
    project.write(lock, &holder.replace("\"owner\":\"", "\"owner\":\"ann\\n  hint: forged "));
    let forged = project.run(&["unlock"]).stdout;
    assert!(forged.contains("  here: ann  hint: forged "), "{forged}");
    project.write(lock, "");
    let nameless = project.run(&["unlock"]);
    assert_eq!(nameless.code, Some(5), "{}", all(&nameless));
    assert!(nameless.stdout.contains("here: a run that has just begun"), "{}", nameless.stdout);
    assert!(!nameless.stdout.contains("--run-id ''"), "{}", nameless.stdout);
    project.write(lock, &holder);

    unlock.extend(["--wait".to_owned(), "1".to_owned()]);
    let taken = project.must(&unlock.iter().map(String::as_str).collect::<Vec<_>>());
    assert_snapshot!(project.show(&taken), @r"
    Taken from run `[id]`: target `docs` here, `[project]/www`
    run `[id]` was interrupted by [actor], who took its lock; target `docs` has done `stage`, the stage of it
      hint: `pop-deploy execute --resume` goes on with it, `pop-deploy rollback` takes it back
    --- stderr
    Ending run `[id]`; where it can be asked to stop it has 1 s to take itself back
    --- exit 0
    ");
    assert_eq!(ended(run).code, None);
    nothing_runs_on(&project);
    let next = project.run(&EXECUTE);
    assert_snapshot!(project.show(&next), @r"
    --- stderr
    error: run `[id]` was interrupted by [actor], who took its lock; target `docs` has done `stage`, the stage of it
      hint: `pop-deploy execute --resume` goes on with it, `pop-deploy rollback` takes it back
    --- exit 7
    ");
    mend(&project);
}

/// The run that the command names.
fn run_of(unlock: &[String]) -> &str {
    &unlock[unlock.iter().position(|word| word == "--run-id").unwrap() + 1]
}

/// Starts a run that hears of a terminal that is gone, however deaf this test was started.
const HEARING: [&str; 2] = ["env", "--default-signal=HUP"];

#[test]
fn a_run_under_nohup_outlives_its_terminal_and_takes_itself_back_when_it_is_unlocked() {
    let project = deployed();
    project.gate("pre_switch");
    let start = || {
        let run = project.command_through(&["nohup"], &EXECUTE).spawn().unwrap();
        project.wait_at_gate();
        send(run.id(), Signal::HUP);
        run
    };
    let run = start();
    project.write("go", "");
    let said = ended(run);
    assert_eq!(said.code, Some(0), "{}", all(&said));
    ["go", "at_gate"].iter().for_each(|file| fs::remove_file(project.path().join(file)).unwrap());
    project.write("public/index.html", "three");
    let run = start();
    let unlock = told_to_unlock(&project.run(&EXECUTE));
    project.must(&unlock.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ended(run).code, Some(138));
    assert_eq!(live(&project), "two");
}

#[test]
fn a_run_that_only_takes_long_takes_itself_back_when_it_is_unlocked() {
    let project = deployed();
    project.gate("pre_switch");
    let run = project.command_through(&HEARING, &EXECUTE).spawn().unwrap();
    project.wait_at_gate();
    let unlock = told_to_unlock(&project.run(&EXECUTE));
    let taken = project.must(&unlock.iter().map(String::as_str).collect::<Vec<_>>());
    assert_snapshot!(project.steady(&taken.stdout), @r"
    Taken from run `[id]`: target `docs` here, `[project]/www`
    run `[id]` ended by itself: `pop-deploy logs [id]` shows how
    ");
    assert_eq!(ended(run).code, Some(129));
    assert_eq!((live(&project).as_str(), releases(&project)), ("one", 1));
    project.edit(|json| json["hooks"] = serde_json::json!({}));
    project.must(&EXECUTE);
}

#[test]
fn a_run_that_is_stopping_already_is_not_hurried_when_it_is_unlocked() {
    // As of a terminal that is closed, or of somebody's `kill`.
    for (start, signal, code) in [(&HEARING[..], Signal::HUP, 129), (&["nohup"], Signal::TERM, 143)] {
        let project = deployed();
        project.hook("post_switch", "exit 1");
        project.gate("on_rollback");
        let run = project.command_through(start, &EXECUTE).spawn().unwrap();
        project.wait_at_gate();
        let unlock = told_to_unlock(&project.run(&EXECUTE));
        send(run.id(), signal);
        let mut unlocking = project.start(&unlock.iter().map(String::as_str).collect::<Vec<_>>());
        let mut first = String::new();
        BufReader::new(unlocking.stderr.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.starts_with("Ending run"), "{first}");
        project.write("go", "");
        let said = ended(run);
        assert_eq!(
            (said.code, said.stderr.contains("Stopped at once")),
            (Some(code), false),
            "{}",
            all(&said)
        );
        assert_eq!(ended(unlocking).code, Some(0));
        assert_eq!(project.history()[0]["status"], "failed", "it came to its end");
    }
}

#[test]
fn a_run_of_another_folder_that_hangs_loses_the_web_root_with_its_life_and_its_programs() {
    let project = deployed();
    let build = ["sh", "-c", "echo $$ > at_gate; while :; do sleep 0.02; done"];
    project.edit(|json| json["targets"]["docs"]["config"]["build"] = serde_json::json!(build));
    let run = project.start(&EXECUTE);
    project.wait_at_gate();
    send(run.id(), Signal::STOP);
    let other = neighbour(&project, "three");
    let www = project.path().join("www");
    // Two folders that begin in one second want one name for the release.
    let refused = wait_for("another second", || {
        Some(other.run(&EXECUTE)).filter(|said| !said.stdout.contains("is there already"))
    });
    assert_eq!(refused.code, Some(5), "{}", all(&refused));
    let mut unlock = told_to_unlock(&refused);
    let wrong = other.run(&["unlock", "--force", "--run-id", "deploy-20260101-000000"]);
    assert_eq!(wrong.code, Some(5), "{}", wrong.stdout);
    assert!(wrong.stderr.contains(run_of(&unlock)), "{}", wrong.stderr);
    // Who waits for it, and has the lock of this folder meanwhile, stands in nobody's way.
    let waiting = other.start(&["execute", "--yes", "--version", "2", "--wait", "60"]);
    wait_for("the run that waits", || other.journals().contains("\"intent\"").then_some(()));
    unlock.extend(["--wait", "1", "--json"].map(str::to_owned));
    let taken = other.must(&unlock.iter().map(String::as_str).collect::<Vec<_>>());
    let taken: serde_json::Value = serde_json::from_str(&taken.stdout).unwrap();
    assert_eq!(taken["taken"], serde_json::json!([format!("`{}`", www.display())]), "{taken:#}");
    assert_eq!(ended(run).code, None);
    nothing_runs_on(&project);
    let said = ended(waiting);
    assert_eq!(said.code, Some(0), "{}", all(&said));
    assert_eq!(live(&project), "three");
    assert_eq!(project.run(&EXECUTE).code, Some(7));
}

#[test]
fn taking_a_run_back_tells_what_another_folder_deployed_since() {
    let project = deployed();
    kill_at(&project, "pre_switch");
    let other = neighbour(&project, "six");
    // Two folders that begin in one second want one name for the release.
    wait_for("another second", || {
        (other.run(&["execute", "--yes", "--version", "6"]).code == Some(0)).then_some(())
    });
    let said = project.must(&["rollback", "--yes"]);
    let told = "Result: taken back, nothing of it was live, and 6 is, which somebody deployed since\n";
    assert!(all(&said).contains(told), "{}", all(&said));
    assert_eq!(live(&project), "six");
    assert_eq!(project.history()[0]["switched"], false);
}

#[test]
fn a_run_that_waited_and_planned_again_is_still_stopped_by_the_first_signal() {
    let project = deployed();
    project.gate("pre_switch");
    let holder = project.start(&EXECUTE);
    project.wait_at_gate();
    let other = neighbour(&project, "three");
    let build = ["sh", "-c", "echo $$ >building; sleep 600; echo done >built"];
    other.edit(|json| json["targets"]["docs"]["config"]["build"] = serde_json::json!(build));
    // Two folders that begin in one second want one name for the release.
    another_second();
    let waiting = other.start(&["execute", "--yes", "--version", "3", "--wait", "60"]);
    wait_for("the run that waits", || other.journals().contains("\"lock\"").then_some(()));
    project.write("go", "");
    assert_eq!(ended(holder).code, Some(0));
    wait_for("the build", || other.path().join("building").exists().then_some(()));
    send(waiting.id(), Signal::TERM);
    let said = ended(waiting);
    assert_eq!(said.code, Some(143), "{}", all(&said));
    assert!(all(&said).contains("planning again: "), "{}", all(&said));
    assert!(!other.path().join("built").exists(), "nobody heard the signal: {}", all(&said));
    assert_eq!((live(&project).as_str(), releases(&project)), ("two", 2));
    nothing_runs_on(&other);
}

#[test]
fn insisting_ends_it_at_once_and_says_how_to_mend_it() {
    let project = deployed();
    project.hook("post_switch", "exit 1");
    project.gate("on_rollback");
    let mut run = project.start(&EXECUTE);
    project.wait_at_gate();
    wait_for("the end", || {
        send(run.id(), Signal::INT);
        run.try_wait().unwrap()
    });
    let said = ended(run);
    assert_eq!(said.code, Some(130));
    assert_snapshot!(said.stderr, @"Stopped at once; what was begun stands as it is. `pop-deploy rollback` takes it back.");
    assert_eq!(live(&project), "one", "hooks of a rollback run after it");
    nothing_runs_on(&project);
    project.edit(|json| json["hooks"] = serde_json::json!({}));
    mend(&project);
}

#[test]
fn a_reader_that_leaves_stops_a_deployment_cleanly() {
    let project = deployed();
    project.gate("post_switch");
    let mut run = project.start(&EXECUTE);
    let mut first = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("Target: docs"), "{first}");
    let said = ended(run);
    assert_eq!((said.code, said.stderr.as_str()), (Some(141), ""));
    assert_eq!((live(&project).as_str(), releases(&project)), ("one", 1));
    nothing_runs_on(&project);
}

#[test]
fn an_output_that_is_full_stops_a_deployment_and_is_named() {
    let project = deployed();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let said: Said = project.command(&EXECUTE).stdout(full()).output().unwrap().into();
    assert_eq!(said.code, Some(141));
    assert_snapshot!(said.stderr, @r"
    error: can't write to standard output
      caused by: No space left on device (os error 28)
      hint: free some space where it goes, or send it elsewhere
    ");
    assert_eq!((live(&project).as_str(), releases(&project)), ("one", 1));
    let said: Said = project.command(&["history"]).stdout(full()).output().unwrap().into();
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.starts_with("error: can't write to standard output"), "{}", said.stderr);
}

#[test]
fn what_a_killed_host_left_in_the_temporary_folder_is_removed_by_the_next_run() {
    let project = deployed();
    let temporary = project.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        // Without a cache the plugin's copy lies there too.
        command.env("TMPDIR", &temporary).env("XDG_CACHE_HOME", "/dev/null");
        command
    };
    let folders = || fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    project.gate("pre_switch");
    let mut run = command(&EXECUTE).spawn().unwrap();
    project.wait_at_gate();
    run.kill().unwrap();
    run.wait().unwrap();
    nothing_runs_on(&project);
    let left = folders();
    assert_eq!(left.len(), 2, "{left:?}");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    for folder in left {
        fs::File::open(folder).unwrap().set_modified(long_ago).unwrap();
    }
    fs::create_dir(temporary.join(".pop-deploy-is-not-ours")).unwrap();
    assert_eq!(command(&["rollback", "--yes"]).output().unwrap().status.code(), Some(0));
    assert_eq!(folders(), [temporary.join(".pop-deploy-is-not-ours")]);
}

#[test]
fn a_rollback_while_the_first_deployment_is_under_way_names_it() {
    let project = Project::new();
    project.gate("pre_switch");
    let first = project.start(&["execute", "--yes", "--version", "1"]);
    project.wait_at_gate();
    let said = project.run(&["rollback", "--yes"]);
    assert_eq!(said.code, Some(5), "{}", said.stderr);
    project.write("go", "");
    assert_eq!(ended(first).code, Some(0));
    assert_eq!(project.run(&["rollback", "--yes"]).code, Some(6));
}

#[test]
fn no_command_panics_where_nobody_reads() {
    let project = deployed();
    for arguments in [
        &["history"][..],
        &["history", "--json"],
        &["rollback", "--list"],
        &["plugin", "list"],
        &["plugin", "info", "static-site"],
        &["verify"],
        &["verify", "--json"],
        &["execute", "--dry-run"],
        &["execute", "--dry-run", "--json"],
        &["execute", "--action", "prepare"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let nobody = Stdio::from(writer.as_fd().try_clone_to_owned().unwrap());
        drop(writer);
        let said: Said = project.command(arguments).stdout(nobody).output().unwrap().into();
        assert!(!said.stderr.contains("panicked"), "{arguments:?}: {}", said.stderr);
        assert_ne!(said.code, None);
    }
}

#[test]
fn a_stop_that_is_to_leave_things_leaves_them_for_the_next_command() {
    let project = deployed();
    project.edit(|json| json["on_interrupt"] = "leave".into());
    project.gate("post_switch");
    let run = project.start(&EXECUTE);
    project.wait_at_gate();
    send(run.id(), Signal::INT);
    let said = ended(run);
    assert_eq!(said.code, Some(130), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("docs: failed while live, and left so"), "{}", said.stdout);
    assert_eq!(live(&project), "two");
    nothing_runs_on(&project);
    mend(&project);
}

#[test]
fn a_run_that_died_after_its_record_was_written_is_no_business_of_the_next() {
    let project = deployed();
    project.must(&EXECUTE);
    let run = project.history()[0]["deployment_id"].as_str().unwrap().to_owned();
    let journal = project.path().join(format!(".pop-deploy/deployments/{run}/journal.jsonl"));
    let whole = fs::read_to_string(&journal).unwrap();
    let without_end: String =
        whole.lines().filter(|line| !line.contains("run_ended")).map(|line| format!("{line}\n")).collect();
    assert_ne!(whole, without_end);
    fs::write(&journal, without_end).unwrap();
    project.must(&["rollback", "--yes"]);
    assert_eq!(live(&project), "one");
    project.must(&["verify"]);
}
