//! A real nginx in front of a shop, and visitors who never pause.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    engine::{Tied, free_port},
    shop::get,
    support::wait_for,
};

/// The proxy.
pub struct Front {
    // Before the folder, so that it has ended when that goes.
    _nginx: Tied,
    folder: tempfile::TempDir,
    /// Where visitors come.
    pub port: u16,
}

impl Front {
    /// An nginx whose upstream leads nowhere yet.
    pub fn open() -> Self {
        let folder = tempfile::Builder::new().prefix("front-").tempdir().unwrap();
        let port = free_port();
        let here = folder.path().display();
        fs::write(folder.path().join("upstream.conf"), "upstream shop { server 127.0.0.1:9; }\n").unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
            .concat();
        let config = format!(
            "daemon off;\npid {here}/pid;\nerror_log {here}/error;\nworker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}include {here}/upstream.conf;\nserver {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://shop; }} }}\n}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let configuration = folder.path().join("nginx.conf").display().to_string();
        let nginx = Tied::start(
            "nginx",
            &["-c", &configuration, "-e", &folder.path().join("error").display().to_string()],
        );
        wait_for("nginx", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { _nginx: nginx, folder, port }
    }

    /// The `proxy` of a config that leads here.
    pub fn proxy(&self) -> Value {
        let nginx = |words: &[&str]| -> Vec<String> {
            let configuration = self.folder.path().join("nginx.conf").display().to_string();
            let errors = self.folder.path().join("error").display().to_string();
            let start =
                ["/usr/sbin/nginx".to_owned(), "-c".to_owned(), configuration, "-e".to_owned(), errors];
            start.into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
        };
        json!({
            "kind": "nginx",
            "file": self.folder.path().join("upstream.conf"),
            "upstream": "shop",
            "port": 8080,
            "drain": 2,
            "test": nginx(&["-t", "-q"]),
            "reload": nginx(&["-s", "reload"]),
        })
    }

    /// What a visitor gets.
    pub fn get(&self) -> String {
        wait_for("an answer", || get(self.port, "/").ok())
    }
}

/// Visitors who ask again and again, at a steady pace whatever becomes of their requests.
pub struct Visitors {
    done: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<BTreeSet<String>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What they saw.
pub struct Visit {
    pub asked: u64,
    pub failed: Vec<String>,
    pub seen: BTreeSet<String>,
}

impl Visitors {
    /// So many requests a second.
    pub fn come(port: u16, a_second: u32) -> Self {
        const VISITORS: u32 = 4;
        let mut visitors = Self {
            done: Arc::default(),
            asked: Arc::default(),
            failed: Arc::default(),
            seen: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..VISITORS {
            let (done, asked) = (Arc::clone(&visitors.done), Arc::clone(&visitors.asked));
            let (failed, seen) = (Arc::clone(&visitors.failed), Arc::clone(&visitors.seen));
            visitors.threads.push(thread::spawn(move || {
                let mut next = Instant::now();
                while !done.load(Ordering::Relaxed) {
                    next += Duration::from_secs(1) * VISITORS / a_second;
                    asked.fetch_add(1, Ordering::Relaxed);
                    match get(port, "/") {
                        Ok(version) => drop(seen.lock().unwrap().insert(version)),
                        Err(error) => failed.lock().unwrap().push(error.to_string()),
                    }
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            }));
        }
        visitors
    }

    /// Has them leave.
    pub fn leave(self) -> Visit {
        self.done.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        Visit { asked: self.asked.load(Ordering::Relaxed), failed, seen }
    }
}
