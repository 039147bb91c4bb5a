//! A real proxy in front of a shop, and visitors who never pause.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub use proxies::Program;
use serde_json::Value;

use crate::{
    engine::{Tied, free_port},
    shop::get,
    support::wait_for,
};

#[path = "proxies.rs"]
mod proxies;

/// The proxy.
pub struct Front {
    // Before the folder, so that it has ended when that goes.
    _runs: Tied,
    program: Program,
    folder: tempfile::TempDir,
    /// Where visitors come.
    pub port: u16,
}

impl Front {
    /// An nginx whose upstream leads nowhere yet.
    pub fn open() -> Self {
        Self::of(Program::Nginx)
    }

    /// Another proxy, likewise.
    pub fn of(program: Program) -> Self {
        let folder = tempfile::Builder::new().prefix("front-").tempdir().unwrap();
        let port = free_port();
        program.set_up(folder.path(), port);
        let words = program.start(folder.path());
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let runs = Tied::start(words[0], &words[1..]);
        wait_for("the proxy", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { _runs: runs, program, folder, port }
    }

    /// The `proxy` of a config that leads here.
    pub fn proxy(&self) -> Value {
        self.program.config(self.folder.path())
    }

    /// What its file says.
    pub fn file(&self) -> String {
        fs::read_to_string(self.folder.path().join("upstream")).unwrap()
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
    answers: Arc<Mutex<BTreeMap<String, u64>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What they saw.
pub struct Visit {
    pub asked: u64,
    pub failed: Vec<String>,
    /// The versions that answered.
    pub seen: BTreeSet<String>,
    /// And how often each of them.
    pub answers: BTreeMap<String, u64>,
}

impl Visit {
    /// Fails unless everybody got an answer.
    pub fn all_served(&self) {
        let Self { asked, failed, .. } = self;
        assert!(failed.is_empty(), "{} of {asked} failed: {:?}", failed.len(), failed[0]);
    }
}

impl Visitors {
    /// So many requests a second.
    pub fn come(port: u16, a_second: u32) -> Self {
        const VISITORS: u32 = 4;
        let mut visitors = Self {
            done: Arc::default(),
            asked: Arc::default(),
            failed: Arc::default(),
            answers: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..VISITORS {
            let (done, asked) = (Arc::clone(&visitors.done), Arc::clone(&visitors.asked));
            let (failed, answers) = (Arc::clone(&visitors.failed), Arc::clone(&visitors.answers));
            visitors.threads.push(thread::spawn(move || {
                let mut next = Instant::now();
                while !done.load(Ordering::Relaxed) {
                    next += Duration::from_secs(1) * VISITORS / a_second;
                    asked.fetch_add(1, Ordering::Relaxed);
                    match get(port, "/") {
                        Ok(version) => *answers.lock().unwrap().entry(version).or_default() += 1,
                        Err(error) => failed.lock().unwrap().push(error.to_string()),
                    }
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            }));
        }
        visitors
    }

    /// Has so many of them come, then leave.
    pub fn so_many(port: u16, a_second: u32, requests: u64) -> Visit {
        let visitors = Self::come(port, a_second);
        wait_for("visitors", || (visitors.asked.load(Ordering::Relaxed) >= requests).then_some(()));
        visitors.leave()
    }

    /// Has them leave.
    pub fn leave(self) -> Visit {
        self.done.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        let answers = std::mem::take(&mut *self.answers.lock().unwrap());
        let seen = answers.keys().cloned().collect();
        Visit { asked: self.asked.load(Ordering::Relaxed), failed, seen, answers }
    }
}
