//! Workers and the plugins in them, the faulty ones above all: every promise about plugins, broken on purpose.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faults.rs"]
mod support;

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pop_deploy::plugins::Worker;
use pop_deploy_plugin_api::{
    Error, ErrorKind,
    protocol::{
        Diagnostic, Effect, Event, Phase, Plan, PlanRequest, Receipt, Rollout, RunRequest, Status, Step,
        Undo, UndoRequest, Unreachable, method,
    },
    testing::release,
};
use serde_json::{Value, json};
use support::{Place, wait_until};

const LONG: Option<Duration> = Some(Duration::from_secs(60));
/// Sooner than anything that hangs would be done, however busy the machine is.
const SOON: Duration = Duration::from_secs(60);

fn run_request() -> RunRequest {
    RunRequest {
        step: Step::new("stage", Phase::Stage, Effect::Create, "Staging"),
        release: release("r1", "1.0"),
        receipts: vec![],
    }
}

fn run(worker: &Worker) -> Result<Receipt, Error> {
    worker.call(method::RUN, &run_request(), LONG)
}

/// What `run` answers when `fault` happens in it.
fn run_with(fault: &str) -> Error {
    let place = Place::new();
    run(&place.worker("run", fault)).unwrap_err()
}

#[test]
fn a_run_goes_there_and_back() {
    let place = Place::new();
    let worker = place.worker("none", "nothing");
    let plan: Plan = worker
        .call(
            method::PLAN,
            &PlanRequest::Deploy {
                release: release("r1", "1.0"),
                rollout: Rollout::Full,
                unreachable: Unreachable::Fails,
            },
            LONG,
        )
        .unwrap();
    assert_eq!(plan.steps.len(), 3);
    let receipt = run(&worker).unwrap();
    assert_eq!(receipt.data["step"], "stage");
    assert_eq!(place.services.events().len(), 1);
    let undo =
        UndoRequest { step: plan.steps[0].clone(), release: release("r1", "1.0"), receipt: Some(receipt) };
    let undone: Undo = worker.call(method::UNDO, &undo, LONG).unwrap();
    assert_eq!(undone, Undo::Undone { summary: String::new() });
    assert_eq!(worker.build().plugin.id, "faults");
    let error = worker.call::<Value>("teleport", &(), LONG).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unimplemented);
    assert!(worker.alive());
}

#[test]
fn a_failure_of_the_plugin_arrives_as_it_is() {
    assert_eq!(run_with("fail"), Error::failed("failed on purpose").hint("change `do`"));
}

#[test]
fn a_panic_names_the_plugin_and_the_hook_and_the_worker_lives_on() {
    let place = Place::new();
    for hook in ["status", "plan", "run", "undo", "diagnose"] {
        let worker = place.worker(hook, "panic");
        let error = match hook {
            "status" => worker.call::<Status>(method::STATUS, &(), LONG).unwrap_err(),
            "plan" => {
                let request = PlanRequest::Deploy {
                    release: release("r1", "1.0"),
                    rollout: Rollout::Full,
                    unreachable: Unreachable::Fails,
                };
                worker.call::<Plan>(method::PLAN, &request, LONG).unwrap_err()
            }
            "run" => run(&worker).unwrap_err(),
            "undo" => {
                let RunRequest { step, release, .. } = run_request();
                worker
                    .call::<Undo>(method::UNDO, &UndoRequest { step, release, receipt: None }, LONG)
                    .unwrap_err()
            }
            _ => worker.call::<Vec<Diagnostic>>(method::DIAGNOSE, &(), LONG).unwrap_err(),
        };
        assert_eq!(error.kind, ErrorKind::Panic);
        assert_eq!(error.message, format!("plugin `faults` 0.1.0 panicked in `{hook}`: panicked on purpose"));
        assert_eq!(error.hint.as_deref(), Some("report it to https://example.org/faults"));
        assert!(error.causes[0].contains("fault.rs"), "{:?}", error.causes);
        assert!(worker.alive());
    }
    assert_eq!(place.try_worker("open", "panic").err().unwrap().kind, ErrorKind::Panic);
    assert_eq!(run_with("bomb").message, "plugin `faults` 0.1.0 panicked in `run`: (no message)");
}

#[test]
fn each_kind_of_crash_is_told_with_its_place_and_last_words() {
    let message = |fault| run_with(fault).message;
    assert_eq!(
        message("exit_zero"),
        "plugin `faults` 0.1.0 ended by itself with exit code 0 in `run` after `uploading 3/7`"
    );
    assert_eq!(message("abort"), "plugin `faults` 0.1.0 crashed with SIGABRT in `run` after `uploading 3/7`");
    assert_eq!(
        message("segfault"),
        "plugin `faults` 0.1.0 crashed with SIGSEGV in `run` after `uploading 3/7`"
    );
    let error = run_with("overflow");
    assert!(error.message.starts_with("plugin `faults` 0.1.0 crashed with SIG"), "{}", error.message);
    let error = run_with("exit_one");
    assert_eq!(
        error.message,
        "plugin `faults` 0.1.0 ended by itself with exit code 1 in `run` after `uploading 3/7`"
    );
    assert_eq!(error.causes, ["its last lines:", "last words"]);
    assert_eq!(error.hint.as_deref(), Some("report it to https://example.org/faults"));
}

#[test]
fn a_crashed_worker_stays_dead_and_says_so() {
    let place = Place::new();
    let worker = place.worker("run", "abort");
    run(&worker).unwrap_err();
    assert!(!worker.alive());
    let error = worker.call::<Status>(method::STATUS, &(), LONG).unwrap_err();
    assert!(
        error.message.starts_with("plugin `faults` 0.1.0 crashed with SIGABRT in `status`"),
        "{}",
        error.message
    );
}

#[test]
fn a_crash_while_opening_fails_the_start() {
    let place = Place::new();
    let error = place.try_worker("open", "exit_zero").err().unwrap();
    assert_eq!(error.message, "plugin `faults` 0.1.0 ended by itself with exit code 0 in `open`");
}

#[test]
fn a_hang_is_stopped_by_the_deadline() {
    let place = Place::new();
    for fault in ["sleep", "spin"] {
        let worker = place.worker("run", fault);
        let begun = Instant::now();
        let error =
            worker.call::<Receipt>(method::RUN, &run_request(), Some(Duration::from_secs(1))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert_eq!(
            error.message,
            "plugin `faults` 0.1.0 took longer than 1 s in `run` after `uploading 3/7` and was stopped"
        );
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        assert!(!worker.alive());
    }
}

#[test]
fn a_plugin_that_stops_when_asked_keeps_its_worker() {
    let place = Place::new();
    let worker = place.worker("run", "wait_for_cancel");
    let deadline = Some(Duration::from_millis(50));
    let error = worker.call::<Receipt>(method::RUN, &run_request(), deadline).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(worker.alive());
    // The cancel was that call's: a later one isn't concerned.
    worker.call::<Status>(method::STATUS, &(), LONG).unwrap();
}

#[test]
fn cancel_reaches_a_plugin_at_work_and_ends_one_that_does_not_listen() {
    let place = Place::new();
    for (fault, alive) in [("wait_for_cancel", true), ("sleep", false)] {
        let worker = place.worker("run", fault);
        thread::scope(|scope| {
            scope.spawn(|| {
                place.services.wait_for(|event| matches!(event, Event::Progress { .. }));
                worker.cancel();
            });
            assert_eq!(run(&worker).unwrap_err().kind, ErrorKind::Cancelled);
        });
        assert_eq!(worker.alive(), alive, "{fault}");
        place.services.take();
    }
}

#[test]
fn kill_ends_the_call_at_once() {
    let place = Place::new();
    let worker = place.worker("run", "sleep");
    thread::scope(|scope| {
        scope.spawn(|| {
            place.services.wait_for(|event| matches!(event, Event::Progress { .. }));
            worker.kill();
        });
        let error = run(&worker).unwrap_err();
        assert_eq!(error.message, "plugin `faults` 0.1.0 was killed in `run` after `uploading 3/7`");
        assert_eq!(error.kind, ErrorKind::Cancelled);
    });
}

#[test]
fn a_child_left_running_is_gone_with_the_worker() {
    let place = Place::new();
    let worker = place.worker("run", "leave_child");
    run(&worker).unwrap();
    let child = place.noted_pid();
    assert!(is_running(child));
    let begun = Instant::now();
    drop(worker);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    wait_until_gone(child);
}

#[test]
fn a_command_that_leads_a_group_of_its_own_is_gone_with_a_killed_worker() {
    let place = Place::new();
    let worker = place.worker("run", "command");
    thread::scope(|scope| {
        scope.spawn(|| run(&worker).unwrap_err());
        let command = place.noted_pid();
        place.services.wait_for(|event| matches!(event, Event::CommandStarted { .. }));
        worker.kill();
        wait_until_gone(command);
    });
}

#[test]
fn a_command_that_nobody_heard_of_is_gone_with_a_crashed_worker() {
    let place = Place::new();
    run(&place.worker("run", "unreported_command")).unwrap_err();
    wait_until_gone(place.noted_pid());
}

#[test]
fn a_worker_goes_first_when_memory_runs_out() {
    let place = Place::new();
    let worker = place.worker("run", "leave_child");
    run(&worker).unwrap();
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", place.noted_pid())).unwrap();
    assert_eq!(score.trim(), "500");
}

#[test]
fn nothing_outlives_a_host_that_was_killed() {
    if let Some(folder) = std::env::var_os("POP_DEPLOY_TEST_HOST") {
        return be_a_host(Path::new(&folder));
    }
    let place = Place::new();
    for fault in ["leave_child", "leave_session", "command", "spin", "nothing"] {
        let folder = place.root.join(fault);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("fault"), fault).unwrap();
        let mut host = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "nothing_outlives_a_host_that_was_killed"])
            .env("POP_DEPLOY_TEST_HOST", &folder)
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let started = wait_for_file(&folder.join("running"));
        let worker: i32 = started.trim().parse().unwrap();
        let note = folder.join("project/note");
        let leaves_one = !matches!(fault, "spin" | "nothing");
        let child = leaves_one.then(|| wait_for_file(&note).trim().parse().unwrap());
        if matches!(fault, "nothing" | "leave_session") {
            wait_for_file(&folder.join("idle"));
        }
        host.kill().unwrap();
        host.wait().unwrap();
        wait_until_gone(worker);
        child.into_iter().for_each(wait_until_gone);
    }
}

/// The other process of the test above: runs the fault until it is killed.
fn be_a_host(folder: &Path) {
    let fault = fs::read_to_string(folder.join("fault")).unwrap();
    let place = Place::at(folder);
    let worker = place.worker("run", &fault);
    thread::scope(|scope| {
        let services = &place.services;
        scope.spawn(move || {
            services.wait_for(|event| matches!(event, Event::Progress { .. }));
            let part = folder.join("running.part");
            fs::write(&part, worker_of(std::process::id()).to_string()).unwrap();
            fs::rename(part, folder.join("running")).unwrap();
        });
        run(&worker).map(drop).unwrap_or_default();
        fs::write(folder.join("idle"), "").unwrap();
        loop {
            thread::park();
        }
    });
}

#[test]
fn what_a_plugin_prints_is_passed_on_and_bounded() {
    let place = Place::new();
    let worker = place.worker("run", "print");
    run(&worker).unwrap();
    run(&worker).unwrap();
    drop(worker);
    let lines = place.services.output();
    assert!((1024..=1026).contains(&lines.len()), "{}", lines.len());
    assert_eq!(lines[0].len(), 1023);
    assert_eq!(lines.last().unwrap(), "(more than 1 MiB was printed; the rest is left out)");
}

#[test]
fn answers_that_are_too_big_or_too_deep_are_typed_errors_and_the_worker_lives_on() {
    let place = Place::new();
    let message = |fault: &str| {
        let worker = place.worker("run", fault);
        let error = run(&worker).unwrap_err();
        assert!(worker.alive(), "{fault}");
        (error.message, error.causes)
    };
    let (text, _) = message("big_answer");
    assert!(text.starts_with("plugin `faults` 0.1.0 answered `run` with a receipt of 2097"), "{text}");
    let (text, _) = message("fat_answer");
    assert!(text.starts_with("plugin `faults` 0.1.0 answered `run` with a receipt of 52428"), "{text}");
    let (text, _) = message("huge_answer");
    assert!(text.starts_with("`run` answered 7340"), "{text}");
    let (text, causes) = message("deep_answer");
    assert_eq!(text, "plugin `faults` 0.1.0 answered `run` with something that can't be read");
    assert!(causes[0].contains("recursion limit"), "{causes:?}");
    let worker = place.worker("none", "nothing");
    let error = worker.call::<u32>(method::STATUS, &(), LONG).unwrap_err();
    assert_eq!(error.message, "plugin `faults` 0.1.0 answered `status` with something that can't be read");
}

#[test]
fn a_large_question_passes() {
    let place = Place::new();
    let mut request = run_request();
    request.step.data = json!("x".repeat(5 << 20));
    place.worker("none", "nothing").call::<Receipt>(method::RUN, &request, LONG).unwrap();
}

#[test]
fn a_worker_sees_its_project_and_the_environment_that_it_may() {
    let place = Place::new();
    let receipt = run(&place.worker("run", "look")).unwrap();
    let found = &receipt.data["found"];
    assert_eq!(found["cwd"], place.project().canonicalize().unwrap().to_str().unwrap());
    let names: Vec<&str> = found["env"].as_object().unwrap().keys().map(String::as_str).collect();
    assert!(names.contains(&"PATH"));
    assert!(names.contains(&"CARGO_PKG_NAME"), "the manifest asks for CARGO_PKG_*");
    assert!(!names.contains(&"CARGO_MANIFEST_DIR"));
}

#[test]
fn chdir_of_a_plugin_is_its_own_affair() {
    let place = Place::new();
    let here = std::env::current_dir().unwrap();
    run(&place.worker("run", "chdir")).unwrap();
    assert_eq!(std::env::current_dir().unwrap(), here);
}

#[test]
fn a_thread_left_running_and_a_drop_that_hangs_end_with_the_worker() {
    let place = Place::new();
    let worker = place.worker("run", "leave_thread");
    run(&worker).unwrap();
    drop(worker);
    let worker = place.worker("drop", "sleep");
    let begun = Instant::now();
    drop(worker);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_plugin_may_ask_its_host() {
    let place = Place::new();
    let receipt = run(&place.worker("run", "ask")).unwrap();
    assert_eq!(receipt.data["found"], json!({"asked": {"env": "TOKEN"}}));
}

#[test]
fn a_plugin_that_lies_about_itself_is_not_opened() {
    let place = Place::new();
    let lying = place.root.join("lying/liblying.so");
    fs::create_dir(lying.parent().unwrap()).unwrap();
    let praise = |manifest: &mut Value| manifest["plugin"]["description"] = "Behaves at all times.".into();
    fs::write(&lying, support::altered(praise)).unwrap();
    let error = place.start(&lying, "none", "nothing").err().unwrap();
    assert_eq!(error.message, "the plugin describes itself otherwise than its file does");
}

#[test]
fn locks_are_held_until_the_worker_is_gone() {
    use rustix::fs::{FlockOperation, flock};
    let place = Place::new();
    let path = place.root.join("lock");
    let lock = fs::File::create(&path).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let worker = place.worker_that_keeps(lock.into());
    let other = fs::File::open(&path).unwrap();
    flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap_err();
    drop(worker);
    // A test beside this one that starts a process may hold a copy for a moment.
    wait_until("the lock", || flock(&other, FlockOperation::NonBlockingLockExclusive).ok());
}

#[test]
fn a_gigabyte_of_output_is_read_and_forgotten() {
    let place = Place::new();
    run(&place.worker("run", "flood")).unwrap();
    let lines = place.services.output();
    assert!((1024..=1026).contains(&lines.len()), "{}", lines.len());
}

#[test]
fn an_answer_after_the_deadline_and_within_the_grace_counts() {
    let place = Place::new();
    let worker = place.worker("run", "answer_late");
    let deadline = Some(Duration::from_millis(50));
    worker.call::<Receipt>(method::RUN, &run_request(), deadline).unwrap();
    assert!(worker.alive());
}

#[test]
fn what_a_plugin_does_to_its_own_process_is_its_own_affair() {
    let place = Place::new();
    for fault in ["setenv", "close_fds", "strange_event"] {
        let worker = place.worker("run", fault);
        run(&worker).unwrap();
        worker.call::<Status>(method::STATUS, &(), LONG).unwrap();
    }
    assert_eq!(std::env::var_os("POP_DEPLOY_FAULT"), None);
}

#[test]
fn whatever_goes_wrong_in_drop_ends_with_the_worker() {
    let place = Place::new();
    for fault in ["deadlock", "panic", "bomb", "abort", "exit_one", "overflow"] {
        let worker = place.worker("drop", fault);
        run(&worker).unwrap();
        let begun = Instant::now();
        drop(worker);
        assert!(begun.elapsed() < SOON, "{fault}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_crash_in_any_hook_names_the_hook() {
    let place = Place::new();
    let error = place.worker("status", "abort").call::<Status>(method::STATUS, &(), LONG).unwrap_err();
    assert_eq!(error.message, "plugin `faults` 0.1.0 crashed with SIGABRT in `status`");
    let RunRequest { step, release, .. } = run_request();
    let request = UndoRequest { step, release, receipt: None };
    let error = place.worker("undo", "segfault").call::<Undo>(method::UNDO, &request, LONG).unwrap_err();
    assert_eq!(error.message, "plugin `faults` 0.1.0 crashed with SIGSEGV in `undo`");
    let error = place
        .worker("diagnose", "exit_zero")
        .call::<Vec<Diagnostic>>(method::DIAGNOSE, &(), LONG)
        .unwrap_err();
    assert_eq!(error.message, "plugin `faults` 0.1.0 ended by itself with exit code 0 in `diagnose`");
}

#[test]
fn a_worker_without_a_host_does_nothing() {
    let status = Command::new(env!("CARGO_BIN_EXE_pop-deploy")).arg("__worker").status().unwrap();
    assert_eq!(status.code(), Some(2));
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Neither gone nor a zombie that its new parent hasn't noticed.
fn is_running(pid: i32) -> bool {
    stat(u32::try_from(pid).unwrap()).is_some_and(|stat| stat[0] != "Z" && stat[0] != "X")
}

/// The process whose parent is `host` and that leads its own group.
fn worker_of(host: u32) -> u32 {
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut numbers = numbers.filter(|pid| {
        stat(*pid).is_some_and(|stat| stat[1] == host.to_string() && stat[2] == pid.to_string())
    });
    numbers.next().unwrap()
}

fn wait_until_gone(pid: i32) {
    wait_until("the end of a process", || (!is_running(pid)).then_some(()));
}

fn wait_for_file(path: &Path) -> String {
    wait_until("a file", || fs::read_to_string(path).ok())
}
