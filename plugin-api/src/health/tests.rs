//! Health checks against real listeners.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Attempt, Health, Probe};
use crate::{Error, ErrorKind, protocol::Event, testing};

/// A server that gives these answers in order, and the last one for ever; what it is asked comes out of the channel.
fn server(answers: &[&str]) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, requests) = mpsc::channel();
    let answers: Vec<_> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let request: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            // Whoever has the answer finds the request.
            if asked.send(request.join("\n")).is_err() {
                break;
            }
            let answer = &answers[number.min(answers.len() - 1)];
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, requests)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// A config that asks without a pause, waits long for an answer, and counts every failure.
fn health(keys: Value) -> Health {
    let mut config = json!({ "interval": 0.01, "start_period": 0, "timeout": 600 });
    config.as_object_mut().unwrap().append(&mut keys.as_object().unwrap().clone());
    let health: Health = serde_json::from_value(config).unwrap();
    health.check("config.health").unwrap();
    health
}

fn refusal(config: Value) -> String {
    match serde_json::from_value::<Health>(config) {
        Ok(health) => health.check("config.health").unwrap_err().message,
        Err(error) => error.to_string(),
    }
}

fn wait(health: &Health) -> (Result<u32, Error>, Vec<Event>) {
    let (session, recorder) = testing::session(Path::new("/"));
    (health.wait(&session).map(|healthy| healthy.attempts), recorder.take_events())
}

#[test]
fn a_failure_says_how_often_what_status_and_how_the_body_begins() {
    let (address, _requests) =
        server(&[&answer("200 OK", ""), &answer("503 Service Unavailable", "database\n is down")]);
    let (result, events) =
        wait(&health(json!({ "http": format!("http://{address}/up"), "successes": 2, "retries": 2 })));
    let error = result.unwrap_err();
    assert!(error.message.starts_with(&format!("`http://{address}/up` isn't healthy after 3 attempts in ")));
    assert_eq!(error.causes, ["the last one: 503 Service Unavailable: database is down"]);
    assert!(error.hint.unwrap().contains("start_period"));
    let healthy: Vec<_> = events
        .iter()
        .map(|event| matches!(event, Event::HealthAttempt { healthy: true, what, .. } if what.ends_with("/up")))
        .collect();
    assert_eq!(healthy, [true, false, false]);
}

#[test]
fn failures_in_the_start_period_do_not_count() {
    let failing = answer("500 Internal Server Error", "");
    let (address, _requests) =
        server(&[&failing, &failing, &failing, &failing, &failing, &answer("200 OK", "")]);
    let (result, _) =
        wait(&health(json!({ "http": format!("http://{address}/"), "start_period": 600, "retries": 1 })));
    assert_eq!(result.unwrap(), 6);
}

#[test]
fn a_flapping_instance_is_unhealthy_in_the_end() {
    let (ok, failing) = (answer("200 OK", ""), answer("502 Bad Gateway", ""));
    let (address, _requests) = server(&[&ok, &failing, &ok, &failing, &ok, &failing, &ok]);
    let (result, events) = wait(&health(json!({ "http": format!("http://{address}/"), "successes": 2 })));
    assert!(result.unwrap_err().message.contains("after 6 attempts"));
    assert_eq!(events.len(), 6);
}

#[test]
fn a_redirect_is_reported_and_not_followed() {
    let (address, requests) =
        server(&["HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nContent-Length: 0\r\n\r\n"]);
    let url = format!("http://{address}/");
    let (result, _) = wait(&health(json!({ "http": url, "retries": 1 })));
    let causes = result.unwrap_err().causes;
    assert_eq!(causes, ["the last one: 302 Found: leads to `https://login.example/`, which isn't followed"]);
    assert_eq!(requests.try_iter().count(), 1);
    let (result, _) = wait(&health(json!({ "http": url, "expect_status": [200, "300-399"] })));
    result.unwrap();
}

#[test]
fn a_body_without_the_expected_text_is_unhealthy() {
    let (address, _requests) =
        server(&[&answer("200 OK", "version 1"), &answer("200 OK", "this is version 2")]);
    let (result, events) =
        wait(&health(json!({ "http": format!("http://{address}/"), "expect_body": "version 2" })));
    assert_eq!(result.unwrap(), 2);
    let Some(Event::HealthAttempt { detail, .. }) = events.first() else { panic!("{events:?}") };
    assert_eq!(detail, "no `version 2` in the body; 200 OK: version 1");
}

#[test]
fn a_body_that_breaks_off_is_unhealthy() {
    let (address, _requests) = server(&["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"]);
    let (result, _) = wait(&health(json!({ "http": format!("http://{address}/"), "retries": 1 })));
    assert!(result.unwrap_err().causes[0].contains("200 OK, then the body broke off"));
}

#[test]
fn a_server_that_never_answers_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (result, _) = wait(&health(json!({ "http": url, "timeout": 0.05, "retries": 1 })));
    assert!(result.unwrap_err().causes[0].contains("no answer within 0.05 s"));
}

#[test]
fn a_cancelled_run_does_not_wait_for_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (session, recorder) = testing::session(Path::new("/"));
    let begun = Instant::now();
    let error = thread::scope(|scope| {
        let health = health(json!({ "http": url, "timeout": 3600 }));
        let waiting = scope.spawn(move || health.wait(&session).unwrap_err());
        listener.accept().unwrap();
        recorder.cancel();
        waiting.join().unwrap()
    });
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(600));
}

#[test]
fn a_port_that_refuses_is_unhealthy_and_a_name_that_is_none_unmeasured() {
    // Nobody listens at the first of all ports; one that was free a moment ago may be a server's beside this test.
    let closed = "127.0.0.1:1";
    let (session, _) = testing::session(Path::new("/"));
    let ask = |keys: Value| Probe::new(&health(keys), &session).unwrap().attempt(&session).unwrap();
    let nobody = "x".repeat(64);
    assert!(matches!(ask(json!({ "tcp": closed })), Attempt::Unhealthy(_)));
    assert!(matches!(ask(json!({ "http": format!("http://{closed}/") })), Attempt::Unhealthy(_)));
    assert!(matches!(ask(json!({ "tcp": format!("{nobody}:80") })), Attempt::Unmeasured(_)));
    assert!(matches!(ask(json!({ "http": format!("http://{nobody}/") })), Attempt::Unmeasured(_)));
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = open.local_addr().unwrap();
    assert!(ask(json!({ "tcp": open.to_string() })).is_healthy());
}

#[test]
fn an_instance_is_asked_on_its_own_address_by_the_public_name() {
    let (address, requests) = server(&[&answer("200 OK", "")]);
    for (public, host) in [("https://shop.example/up?full=1", "shop.example"), ("/up?full=1", "127.0.0.1")] {
        let health =
            health(json!({ "http": public, "headers": { "X-Probe": "yes" } })).toward(&address.to_string());
        wait(&health).0.unwrap();
        let request = requests.recv().unwrap().to_lowercase();
        assert!(request.starts_with("get /up?full=1 http/1.1\n"), "{request}");
        assert!(request.contains(&format!("\nhost: {host}")), "{request}");
        assert!(request.contains("\nx-probe: yes"), "{request}");
    }
}

#[test]
fn a_command_is_judged_by_its_end() {
    let (session, _) = testing::session(Path::new("/"));
    let run = |argv: &[&str]| {
        let command = crate::protocol::Command::new(argv.iter().copied());
        Attempt::of_command(crate::Process::new(&command).run(&session)).unwrap()
    };
    assert!(run(&["true"]).is_healthy());
    let failed = run(&["sh", "-c", "echo starting; echo no database >&2; exit 3"]);
    assert_eq!(failed, Attempt::Unhealthy("exit status: 3: no database".to_owned()));
    assert!(matches!(run(&["/no/such/program"]), Attempt::Unmeasured(_)));
}

#[test]
fn what_can_not_be_asked_is_refused() {
    for (config, words) in [
        (json!({}), "`config.health` asks nothing"),
        (json!({ "docker": false }), "`config.health` asks nothing"),
        (json!({ "tcp": "a:1", "docker": true }), "`config.health` asks several things"),
        (json!({ "http": "ftp://a/" }), "`config.health.http` `ftp://a/` is no address"),
        (json!({ "http": "-o x" }), "is no address"),
        (json!({ "http": "http://a/\r\nX: y" }), "is no address"),
        (json!({ "tcp": "localhost" }), "`config.health.tcp` `localhost` is no host:port"),
        (json!({ "tcp": "-l:80" }), "is no host:port"),
        (json!({ "command": [] }), "`config.health.command`: no program is named"),
        (json!({ "command": ["-rf", "/"] }), "`config.health.command`: `-rf` is an option, not a program"),
        (json!({ "http": "/", "headers": { "a b": "c" } }), "`a b` can't be sent as a header"),
        (json!({ "http": "/", "headers": { "a": "b\nc" } }), "`a` can't be sent as a header"),
        (json!({ "http": "/", "headers": { "a": 1 } }), "expected a text or a reference"),
        (json!({ "http": "/", "interval": -1 }), "-1 is no number of seconds"),
        (json!({ "http": "/", "timeout": 1e300 }), "is no number of seconds"),
        (json!({ "http": "/", "expect_status": 99 }), "99 is no HTTP status"),
        (json!({ "http": "/", "expect_status": ["300-200"] }), "`300-200` is no range of HTTP statuses"),
        (json!({ "http": "/", "expect_status": [] }), "no status is healthy then"),
        (json!({ "http": "/", "retry": 1 }), "unknown field `retry`"),
    ] {
        let found = refusal(config);
        assert!(found.contains(words), "{found}");
    }
}

#[test]
fn a_config_survives_the_journal() {
    let health =
        health(json!({ "http": "/up", "expect_status": "200-399", "headers": { "a": { "env": "T" } } }));
    let again: Health = serde_json::from_value(serde_json::to_value(&health).unwrap()).unwrap();
    assert_eq!(again, health);
}
