//! Files that aren't plugins any more: a real one, cut and flipped, and a thousand of all kinds at once.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faults.rs"]
mod support;

use std::{
    fs::{self, File, OpenOptions},
    os::unix::{
        fs::{FileExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use pop_deploy::plugins::{
    Candidate, Folder, Origin, PluginsLock, SearchPath, State, choose, discover, private_copy_in,
};

/// A folder with a copy of the faulty plugin, and what is found there.
struct Place {
    root: tempfile::TempDir,
    lock: PluginsLock,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("plugins")).unwrap();
        fs::copy(&*support::PLUGIN, root.path().join("plugins/libreal.so")).unwrap();
        let lock = PluginsLock::empty(&root.path().join("plugins.lock"));
        Self { root, lock }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("plugins")
    }

    fn real(&self) -> File {
        OpenOptions::new().read(true).write(true).open(self.folder().join("libreal.so")).unwrap()
    }

    /// Without an index: every look reads the files.
    fn search(&self) -> SearchPath {
        SearchPath::of([Folder { path: self.folder(), origin: Origin::Explicit }])
    }

    fn discover(&self) -> Vec<Candidate> {
        discover(&self.search(), &self.lock)
    }

    /// Whether the one file is accepted.
    fn accepts(&self) -> bool {
        let found = self.discover();
        assert_eq!(found.len(), 1);
        !matches!(found[0].state, State::Refused(_))
    }
}

/// How many look at the same time, each at a copy of its own.
const LANES: u64 = 2;

/// What every lane finds, given its number.
fn in_lanes<T: Send>(find: impl Fn(u64) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let find = &find;
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || find(lane))).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    })
}

#[test]
fn a_real_plugin_that_was_cut_at_any_page_is_refused() {
    let cut = in_lanes(|lane| {
        let place = Place::new();
        assert!(place.accepts());
        let file = place.real();
        let len = file.metadata().unwrap().len();
        let pages = (0..len.div_ceil(4096)).rev().filter(|page| page % LANES == lane);
        let cut = pages.map(|page| {
            file.set_len(page * 4096).unwrap();
            assert!(!place.accepts(), "{} of {len} bytes", page * 4096);
        });
        cut.count() as u64
    });
    assert_eq!(cut.iter().sum::<u64>(), fs::metadata(&*support::PLUGIN).unwrap().len().div_ceil(4096));
}

#[test]
fn a_real_plugin_with_a_flipped_bit_is_accepted_or_refused_and_breaks_nothing() {
    let refused: u64 = in_lanes(|lane| flip(lane, 10_000 / LANES)).iter().sum();
    assert!(refused > 100, "only {refused} were noticed");
}

/// Flips one bit after the other, each back before the next; how many of the files were refused.
fn flip(lane: u64, rounds: u64) -> u64 {
    let place = Place::new();
    let file = place.real();
    let len = file.metadata().unwrap().len();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ lane;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut refused = 0;
    for round in 0..rounds {
        let (place_of, bit) = (next(), next() % 8);
        // Most of the file is code, where nobody looks; so every other bit is one of the headers at both ends.
        let at = match round % 4 {
            0 => place_of % 4096,
            1 => len - 1 - place_of % 4096,
            _ => place_of % len,
        };
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
        refused += u64::from(!place.accepts());
        file.write_all_at(&byte, at).unwrap();
    }
    assert!(place.accepts());
    refused
}

#[test]
fn a_thousand_bad_files_hide_no_good_one() {
    let place = Place::new();
    let real = fs::read(&*support::PLUGIN).unwrap();
    for number in 0..1000 {
        let path = place.folder().join(format!("libbad{number}.so"));
        bad_file(&path, number, &real);
    }
    let begun = Instant::now();
    let found = place.discover();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(found.len(), 1001);
    let good = found.iter().filter(|candidate| !matches!(candidate.state, State::Refused(_))).count();
    assert_eq!(good, 1);
    let chosen = choose(&place.search(), &place.lock, "fault-y", None).unwrap();
    assert!(chosen.path.ends_with("libreal.so"));
}

fn bad_file(path: &Path, number: usize, real: &[u8]) {
    match number % 8 {
        0 => fs::write(path, "").unwrap(),
        1 => fs::write(path, "#!/bin/sh\n").unwrap(),
        2 => fs::write(path, &real[..4096 + number]).unwrap(),
        3 => fs::create_dir(path).unwrap(),
        4 => symlink("nowhere", path).unwrap(),
        5 => drop(UnixListener::bind(path).unwrap()),
        6 => symlink("/dev/zero", path).unwrap(),
        _ => fs::write(path, [&real[..64], &vec![0xff; 4096][..]].concat()).unwrap(),
    }
}

#[test]
fn what_is_loaded_is_what_was_checked_though_the_file_is_another_by_then() {
    let place = Place::new();
    let found = choose(&place.search(), &place.lock, "fault-y", None).unwrap();
    let file = place.real();
    file.set_len(4096).unwrap();
    let ready = private_copy_in(&found, Some(&place.root.path().join("cache"))).unwrap();
    assert!(fs::read(&ready.copy).unwrap() == fs::read(&*support::PLUGIN).unwrap());
}
