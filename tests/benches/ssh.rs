//! `make bench`: releases to 1, 4 and 16 hosts over real sshd's, by us and by what people use today, in the same run.
//!
//! Each tool has bases of its own on the same hosts and sees the same changes, one after the other; connections are opened
//! in the run. All hosts are this machine, so what they do costs everyone the same processor. Medians; no assertion on
//! time. `POP_DEPLOY_BENCH_ROUNDS` says how many rounds, `POP_DEPLOY_BENCH_HOSTS` which numbers of hosts,
//! `POP_DEPLOY_BENCH_FILES` which numbers of files.

#![allow(clippy::print_stdout, reason = "the benchmark's output")]

mod corpus;
mod disk;
mod fleet_tools;
#[path = "../support/network.rs"]
mod network;
mod run;
#[path = "../support/sshd.rs"]
mod sshd;
#[allow(dead_code, reason = "shared with the other benchmarks")]
mod table;

use std::env;

use corpus::Corpus;
use disk::Disk;
use fleet_tools::{Goals, Tool};
use network::Network;
use run::{median, middle};
use sshd::{Host, Kind, Lab};
use table::{Goal, compare, head};

/// In milliseconds; 0 is loopback.
const ROUND_TRIPS: [u64; 2] = [0, 20];
/// From here on a round takes minutes, so that one has to do.
const MANY: u64 = 1_000;
/// How large the disk may grow: everyone's releases on 16 hosts, which some tools copy whole.
const GIGABYTES: u64 = 80;

fn main() {
    let disk = Disk::new(GIGABYTES).expect("there is room for temporary files");
    let lab = match Lab::new_in(&disk.path()) {
        Ok(lab) => lab,
        Err(why) => return println!("\nssh: skipped: {why}"),
    };
    if !rustix::process::geteuid().is_root() {
        return println!("\nssh: skipped: only root may give several hosts the same paths");
    }
    for files in numbers("POP_DEPLOY_BENCH_FILES", "200,5000") {
        let corpus = Corpus::create(lab.path().join(format!("{files}/public")), files);
        for round_trip in ROUND_TRIPS {
            let network = match Network::new(&[round_trip]) {
                Ok(network) => Some(network).filter(|_| round_trip > 0),
                Err(_) if round_trip == 0 => None,
                Err(why) => {
                    println!("\n{round_trip} ms: skipped: {why}");
                    continue;
                }
            };
            for count in numbers("POP_DEPLOY_BENCH_HOSTS", "1,4,16") {
                let hosts: Vec<_> = (1..=count).map(|number| host(&lab, network.as_ref(), number)).collect();
                let rounds = numbers("POP_DEPLOY_BENCH_ROUNDS", if files < MANY { "3" } else { "1" })[0];
                println!(
                    "\nhosts: {count}, {} files with {} MB, {}, round trip: {round_trip} ms; median of {rounds}",
                    corpus.files,
                    corpus.bytes / 1_000_000,
                    disk.name,
                );
                let measured = Measured { disk: &disk, lab: &lab, hosts: &hosts, corpus: &corpus, rounds };
                match &network {
                    Some(network) => network.inside(|| measured.all()),
                    None => measured.all(),
                }
            }
        }
    }
}

fn numbers(variable: &str, otherwise: &str) -> Vec<u64> {
    let text = env::var(variable).unwrap_or_else(|_| otherwise.to_owned());
    text.split(',').map(|number| number.trim().parse().expect("numbers")).collect()
}

fn host(lab: &Lab, network: Option<&Network>, number: u64) -> Host {
    let place = |network: &Network| network.place(0, u8::try_from(number).expect("not so many hosts"));
    let kind =
        Kind { network: network.map(place), same_path: Some(lab.path().join("app")), ..Kind::default() };
    lab.host(&format!("web{number}"), kind)
}

/// One number of hosts, one corpus, one distance.
struct Measured<'a> {
    disk: &'a Disk,
    lab: &'a Lab,
    hosts: &'a [Host],
    corpus: &'a Corpus,
    rounds: u64,
}

impl Measured<'_> {
    fn all(&self) {
        let mut tools = Tool::all(self.lab, self.hosts, self.corpus.root());
        head();
        let times: Vec<_> = tools
            .iter_mut()
            .map(|tool| {
                median(self.rounds, |_| {
                    tool.forget_everything();
                    self.disk.settle();
                    tool.deploy()
                })
            })
            .collect();
        self.show("first deploy", &tools, &times, |goals| goals.first);
        self.scenario(&mut tools, "1 % changed", |round| self.corpus.change_one_percent(round));
        self.scenario(&mut tools, "every mtime new", |round| self.corpus.renew_every_mtime(round));
        println!("{}", tools[0].round_trips());
        tools.iter_mut().for_each(Tool::forget_everything);
    }

    /// One change after the other, each deployed by everyone.
    fn scenario(&self, tools: &mut [Tool], what: &str, change: impl Fn(u64)) {
        let mut times = vec![Vec::new(); tools.len()];
        for round in 0..self.rounds {
            change(round);
            for (tool, times) in tools.iter_mut().zip(&mut times) {
                self.disk.settle();
                times.push(tool.deploy());
            }
        }
        let times: Vec<_> = times.into_iter().map(middle).collect();
        self.show(what, tools, &times, |goals| goals.later);
    }

    fn show(
        &self,
        what: &str,
        tools: &[Tool],
        times: &[std::time::Duration],
        goal: fn(Goals) -> Option<f64>,
    ) {
        for (tool, time) in tools.iter().zip(times).skip(1) {
            let goal = goal(tool.goals()).map_or(Goal::None, Goal::Ratio);
            compare(what, times[0], tool.name(), *time, &goal);
        }
    }
}
