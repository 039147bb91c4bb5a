//! `make bench`: a site of 10,000 files and 500 MB, deployed by us and by what people use today, in the same run.
//!
//! Every peer keeps a chain of releases of its own on the same disk; all of them see the same change, one after the
//! other, and the disk is settled before each measurement. Medians; no assertion on time.

#![allow(clippy::print_stdout, reason = "the benchmark's output")]

mod corpus;
mod disk;
mod prepare;
mod run;
mod table;
mod tools;

use std::time::{Duration, Instant};

use corpus::Corpus;
use disk::Disk;
use run::{median, middle};
use table::{Goal, alone, compare, head};
use tools::{Peer, PopDeploy};

const FILES: u64 = 10_000;

fn main() {
    let rounds =
        std::env::var("POP_DEPLOY_BENCH_ROUNDS").map_or(5, |rounds| rounds.parse().expect("a number"));
    let disk = Disk::new(8).expect("there is room for temporary files");
    let corpus = Corpus::create(disk.path().join("project/public"), FILES);
    println!(
        "\n{} files, {} MB, {}; median of {rounds} rounds\n",
        corpus.files,
        corpus.bytes / 1_000_000,
        disk.name
    );
    head();
    site(&disk, &corpus, rounds);
    prepare::measure(&disk.path());
}

fn site(disk: &Disk, corpus: &Corpus, rounds: u64) {
    let mut ours = PopDeploy::new(&disk.path().join("project"));
    let times = median(rounds, |_| {
        ours.forget_everything();
        disk.settle();
        ours.deploy()
    });
    let mut peers = Peer::all(corpus.root(), &disk.path());
    for peer in &mut peers {
        // With nothing to compare with, a checksum has no say: these only need a release to begin with.
        let rounds = if peer.name().contains("--checksum") { 1 } else { rounds };
        let theirs = median(rounds, |_| {
            peer.forget_everything();
            disk.settle();
            peer.deploy()
        });
        match peer.name() {
            "cp -a" => {
                compare("first deploy", times, peer.name(), theirs, &Goal::Ratio(1.0));
                // We promise that a release survives a power cut; this is what the peer costs with that promise.
                let kept = median(rounds, |_| {
                    peer.forget_everything();
                    disk.settle();
                    let copied = peer.deploy();
                    let begun = Instant::now();
                    disk.settle();
                    copied + begun.elapsed()
                });
                compare("first deploy", times, "cp -a, then written out", kept, &Goal::None);
            }
            name if name.contains("--checksum") => {}
            name => compare("first deploy", times, name, theirs, &Goal::None),
        }
    }

    let checksum = "rsync -a --checksum --link-dest";
    scenario(disk, &mut ours, &mut peers, rounds, "1 % changed", checksum, |round| {
        corpus.change_one_percent(round)
    });
    scenario(disk, &mut ours, &mut peers, rounds, "nothing changed", checksum, |_| {});
    let no_times = "rsync -a --checksum --no-times --link-dest";
    scenario(disk, &mut ours, &mut peers, rounds, "every mtime new", no_times, |round| {
        corpus.renew_every_mtime(round);
    });

    let mut switches = Vec::new();
    let whole = median(rounds, |_| {
        disk.settle();
        let (whole, switch) = ours.roll_back();
        switches.extend(switch);
        whole
    });
    if switches.is_empty() {
        println!("rollback: the run reported no step in the phase `switch`");
    } else {
        alone("rollback: the switch back", middle(switches), &Goal::Within(Duration::from_millis(20)));
    }
    alone("rollback: the whole command", whole, &Goal::None);
}

/// One change after the other, each deployed by everyone.
fn scenario(
    disk: &Disk,
    ours: &mut PopDeploy,
    peers: &mut [Peer],
    rounds: u64,
    what: &str,
    yardstick: &str,
    change: impl Fn(u64),
) {
    let mut times = vec![Vec::new(); peers.len() + 1];
    for round in 0..rounds {
        change(round);
        disk.settle();
        times[0].push(ours.deploy());
        for (peer, times) in peers.iter_mut().zip(&mut times[1..]) {
            disk.settle();
            times.push(peer.deploy());
        }
    }
    let mut medians = times.into_iter().map(middle);
    let our_time = medians.next().unwrap_or_default();
    for (peer, theirs) in peers.iter().zip(medians) {
        let goal = if peer.is(yardstick) { Goal::Ratio(0.5) } else { Goal::None };
        compare(what, our_time, peer.name(), theirs, &goal);
    }
}
