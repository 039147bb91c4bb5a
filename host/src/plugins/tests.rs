//! From files in folders to a private copy: what is refused, what is chosen, what is remembered.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use tempfile::TempDir;

use super::{
    Candidate, ChooseError, Folder, Found, Origin, PluginsLock, SearchPath, State, TrustError, Verdict,
    choose,
    crafted::{library, manifest, plugin},
    discover, find, preflight, private_copy_in, trust,
};

/// A user's folder, a folder given by `--plugin-dir`, one beside the executable, and a cache.
struct Machine {
    root: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn folder(&self, origin: Origin) -> PathBuf {
        self.root.path().join(match origin {
            Origin::Explicit => "explicit",
            Origin::BesideExecutable => "bin",
            _ => "user",
        })
    }

    fn search(&self) -> SearchPath {
        let origins = [Origin::Explicit, Origin::User, Origin::BesideExecutable];
        SearchPath::of(origins.map(|origin| Folder { path: self.folder(origin), origin }))
            .with_cache(Some(self.root.path().join("cache")))
    }

    fn lock(&self) -> PluginsLock {
        PluginsLock::read(&self.root.path().join("plugins.lock")).unwrap()
    }

    fn choose(&self, kind: &str, requirement: &str) -> Result<Found, ChooseError> {
        let requirement = (!requirement.is_empty()).then(|| requirement.parse().unwrap());
        choose(&self.search(), &self.lock(), kind, requirement.as_ref())
    }

    fn discover(&self) -> Vec<Candidate> {
        discover(&self.search(), &self.lock())
    }

    /// A plugin that serves type `place`.
    fn place(&self, origin: Origin, name: &str, version: &str) -> PathBuf {
        plugin(&self.folder(origin), name, &manifest("place", version, "my_place"))
    }

    /// Why the file `name` in the user's folder is refused.
    fn refusal(&self, name: &str) -> String {
        let path = self.folder(Origin::User).join(name);
        let candidate = self.discover().into_iter().find(|candidate| candidate.path == path).unwrap();
        match candidate.state {
            State::Refused(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Why a file of these bytes is refused.
    fn refusal_of(&self, bytes: &[u8]) -> String {
        fs::create_dir_all(self.folder(Origin::User)).unwrap();
        fs::write(self.folder(Origin::User).join("libx.so"), bytes).unwrap();
        self.refusal("libx.so")
    }
}

fn names(found: &Path) -> &str {
    found.file_name().unwrap().to_str().unwrap()
}

#[test]
fn each_bad_file_is_refused_in_one_sentence_and_stops_nobody() {
    let machine = Machine::new();
    let good = library(&manifest("place", "1.0.0", "my_place").to_string());
    let mut other = good.clone();
    other[18..20].copy_from_slice(&243u16.to_le_bytes());
    let mut big_endian = good.clone();
    big_endian[5] = 2;
    let mut executable = good.clone();
    executable[16] = 2;
    let with = |key: &str, value: serde_json::Value| {
        let mut manifest = manifest("place", "1.0.0", "my_place");
        manifest[key] = value;
        library(&manifest.to_string())
    };
    let no_manifest: Vec<u8> =
        good.iter().copied().map(|byte| if byte == b'y' { b'z' } else { byte }).collect();
    for (bytes, start, end) in [
        (vec![], "is not a shared library", "remove it from the plugin folder"),
        (
            b"#!/bin/sh\necho hello to all of you\n".to_vec(),
            "is not a shared library",
            "remove it from the plugin folder",
        ),
        (b"!<arch>\nan archive, for the linker".to_vec(), "is not a shared library", "plugin folder"),
        (executable, "is not a shared library (Executable)", "remove it from the plugin folder"),
        (good[..good.len() - 1].to_vec(), "is truncated or damaged (", "copy it again"),
        (good[..70].to_vec(), "is truncated or damaged (", "copy it again"),
        (good[..20].to_vec(), "is truncated or damaged (", "copy it again"),
        (other, "is built for riscv64 (64 bit, little endian), and this machine is", "`"),
        (big_endian, "is ", ""),
        (
            no_manifest,
            "is a shared library without a pop-deploy manifest",
            "remove it from the plugin folder",
        ),
        (library("{"), "has a manifest that can't be read (EOF", "ask its author to"),
        (library("{\"format\":1}"), "has a manifest that can't be read (missing field", "ask its author to"),
        (library(&"[".repeat(9_000)), "has a manifest that can't be read", "ask its author to"),
        (
            library(&format!("{{\"format\":1,\"x\":{}}}", "[".repeat(9_000))),
            "has a manifest that can't be read",
            "",
        ),
        (
            library(&" ".repeat(2 << 20)),
            "has a manifest that can't be read (it has 2097152 bytes)",
            "ask its author to",
        ),
        (
            with("format", json!(2)),
            "has a manifest of format 2, and this pop-deploy reads format 1",
            "upgrade pop-deploy",
        ),
        (
            with("api", json!([99, 99])),
            "speaks protocol 99, and this pop-deploy 1; upgrade",
            "or get an older plugin",
        ),
        (with("api", json!([0, 0])), "speaks protocol 0, and this pop-deploy 1; get", "a newer plugin"),
        (
            with("triple", json!("m68k-atari-tos")),
            "is built for `m68k-atari-tos`, and this pop-deploy for",
            "for that",
        ),
        (
            with("panic", json!("abort")),
            "is built with `panic = \"abort\"`",
            "build it with `panic = \"unwind\"`",
        ),
    ] {
        let refusal = machine.refusal_of(&bytes);
        assert!(refusal.starts_with(start) && refusal.ends_with(end), "{refusal}");
        assert!(refusal.lines().count() == 1, "{refusal}");
    }
    machine.place(Origin::User, "liba.so", "1.0.0");
    assert_eq!(names(&machine.choose("my-place", "").unwrap().path), "liba.so");
}

#[test]
fn a_plugin_for_a_newer_c_library_is_refused() {
    let refused = preflight::check_glibc(Some((2, 99)), Some((2, 36))).unwrap_err();
    let wanted = "needs glibc 2.99, and this system has 2.36; get a build for this system, or upgrade it";
    assert_eq!(refused.to_string(), wanted);
    for (needed, here) in [(Some((2, 36)), Some((2, 36))), (None, Some((2, 36))), (Some((2, 99)), None)] {
        preflight::check_glibc(needed, here).unwrap();
    }
}

#[test]
fn a_truncated_library_is_refused_wherever_it_was_cut() {
    let good = library(&manifest("place", "1.0.0", "my_place").to_string());
    for len in 0..good.len() {
        assert!(preflight::manifest(&good[..len], len as u64).is_err(), "{len}");
    }
}

#[test]
fn a_library_with_flipped_bits_never_breaks_the_look_at_it() {
    let mut bytes = library(&manifest("place", "1.0.0", "my_place").to_string());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Whether it is refused depends on the bit; that there is an answer is the test.
        drop(preflight::manifest(&*bytes, bytes.len() as u64));
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn things_that_are_no_files_are_refused_without_waiting() {
    let machine = Machine::new();
    let user = machine.folder(Origin::User);
    fs::create_dir_all(user.join("folder.so")).unwrap();
    mknodat(CWD, user.join("fifo.so"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink(user.join("fifo.so"), user.join("link.so")).unwrap();
    symlink(user.join("nowhere"), user.join("broken.so")).unwrap();
    for name in ["folder.so", "fifo.so", "link.so"] {
        assert_eq!(machine.refusal(name), "is not a regular file; remove it from the plugin folder");
    }
    assert!(machine.refusal("broken.so").starts_with("can't be read (No such file"));
}

#[test]
fn what_others_may_write_is_refused() {
    let machine = Machine::new();
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let path = machine.place(Origin::User, "libx.so", "1.0.0");
    chmod(&path, 0o666);
    let name = path.display();
    let wanted =
        format!("isn't in a safe place: `{name}` may be written by everybody; run `chmod go-w {name}`");
    assert_eq!(machine.refusal("libx.so"), wanted);
    chmod(&path, 0o644);
    let open = machine.root.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::rename(&path, open.join("libx.so")).unwrap();
    chmod(&open, 0o777);
    symlink(open.join("libx.so"), &path).unwrap();
    assert!(
        machine.refusal("libx.so").contains("open` may be written by everybody"),
        "a link doesn't hide it"
    );
    if rustix::process::geteuid().is_root() {
        fs::remove_file(&path).unwrap();
        let path = machine.place(Origin::User, "libx.so", "1.0.0");
        std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
        assert!(machine.refusal("libx.so").contains("belongs to user 4711"));
    }
}

#[test]
fn the_highest_version_that_is_allowed_is_chosen() {
    let machine = Machine::new();
    for (origin, version) in [
        (Origin::Explicit, "1.2.0"),
        (Origin::User, "1.10.0"),
        (Origin::User, "2.0.0"),
        (Origin::BesideExecutable, "3.0.0-rc.1"),
    ] {
        machine.place(origin, &format!("lib{version}.so"), version);
    }
    let chosen = |requirement| machine.choose("my-place", requirement).unwrap().build.version.to_string();
    assert_eq!(chosen(""), "2.0.0");
    assert_eq!(chosen("^1"), "1.10.0");
    assert_eq!(chosen("~1.2"), "1.2.0");
    assert_eq!(chosen("3.0.0-rc.1"), "3.0.0-rc.1");
    let found = machine.choose("my_place", "=1.2.0").unwrap();
    assert_eq!(found.build.plugin.config, json!({"type": "object"}), "the whole manifest");
    let error = machine.choose("my_place", "^9").unwrap_err();
    assert_eq!(error.to_string(), "no plugin serves targets of type `my_place` in a version that is ^9");
    assert!(error.details()[0].ends_with("lib1.2.0.so` is version 1.2.0, and the target asks for ^9"));
}

#[test]
fn a_newcomer_takes_no_targets_from_the_plugin_that_the_type_is_named_after() {
    let machine = Machine::new();
    let namesake = plugin(
        &machine.folder(Origin::BesideExecutable),
        "lib1.so",
        &manifest("my-place", "1.0.0", "my_place"),
    );
    let newcomer = machine.place(Origin::User, "lib9.so", "9.0.0");
    assert_eq!(machine.choose("my_place", "").unwrap().path, namesake);
    assert_eq!(machine.choose("my_place", "^9").unwrap().path, newcomer, "a target may ask for it");
    let shadowed = machine.discover().into_iter().find(|candidate| candidate.path == newcomer).unwrap();
    assert!(matches!(shadowed.state, State::ShadowedBy(by) if by == namesake));
}

#[test]
fn an_unknown_type_says_where_was_looked_and_what_is_near() {
    let machine = Machine::new();
    machine.place(Origin::User, "liba.so", "1.0.0");
    fs::write(machine.folder(Origin::User).join("libz.so"), "text").unwrap();
    let error = machine.choose("my-plaice", "").unwrap_err();
    assert_eq!(error.to_string(), "no plugin serves targets of type `my-plaice`");
    assert_eq!(error.hint(), "did you mean `my_place`?");
    let details = error.details();
    assert!(details[0].contains("libz.so` is not a shared library"), "{details:?}");
    assert!(details[1].starts_with("looked in `") && details[1].ends_with("(--plugin-dir)"), "{details:?}");
    let error = machine.choose("kubernetes", "").unwrap_err();
    assert_eq!(error.hint(), "`pop-deploy plugin list` says what each file that was found lacks");
}

#[test]
fn a_plugin_is_found_by_its_id() {
    let machine = Machine::new();
    let path = machine.place(Origin::User, "liba.so", "1.0.0");
    assert_eq!(find(&machine.search(), &machine.lock(), "place").unwrap().path, path);
    let error = find(&machine.search(), &machine.lock(), "plaice").unwrap_err();
    assert_eq!(error.to_string(), "no plugin is called `plaice`");
    assert_eq!(error.hint(), "did you mean `place`?");
}

/// The same version twice, in the user's folder and in that of `other`, with different content.
fn twins(machine: &Machine, other: Origin) -> (PathBuf, PathBuf) {
    let first = machine.place(Origin::User, "liba.so", "1.0.0");
    let second = machine.place(other, "libb.so", "1.0.0");
    let mut bytes = fs::read(&second).unwrap();
    bytes.push(0);
    fs::write(&second, bytes).unwrap();
    (first, second)
}

#[test]
fn of_equal_copies_the_first_counts() {
    let machine = Machine::new();
    let beside = machine.place(Origin::BesideExecutable, "liba.so", "1.0.0");
    let user = machine.place(Origin::User, "libz.so", "1.0.0");
    assert_eq!(machine.choose("my-place", "").unwrap().path, user);
    let states: Vec<_> =
        machine.discover().into_iter().map(|candidate| (candidate.path, candidate.state)).collect();
    assert_eq!(states, [(user.clone(), State::Ready), (beside, State::ShadowedBy(user))]);
}

#[test]
fn one_version_with_two_contents_is_a_conflict() {
    let machine = Machine::new();
    let (first, second) = twins(&machine, Origin::User);
    let error = machine.choose("my-place", "").unwrap_err();
    let wanted = format!(
        "`{}` and `{}` both say that they are `place` 1.0.0, and differ",
        first.display(),
        second.display()
    );
    assert_eq!(error.to_string(), wanted);
    let states: Vec<_> = machine.discover().into_iter().map(|candidate| candidate.state).collect();
    assert_eq!(states, [State::InConflictWith(second.clone()), State::InConflictWith(first.clone())]);

    // A recorded hash settles it …
    fs::rename(&first, machine.root.path().join("aside")).unwrap();
    let found = machine.choose("my-place", "").unwrap();
    machine.lock().record(&found).unwrap();
    fs::rename(machine.root.path().join("aside"), &first).unwrap();
    assert_eq!(machine.choose("my-place", "").unwrap().path, second);
    // … and `--plugin-dir` overrides it.
    let explicit = machine.folder(Origin::Explicit).join("liba.so");
    fs::create_dir(machine.folder(Origin::Explicit)).unwrap();
    fs::rename(first, &explicit).unwrap();
    assert_eq!(machine.choose("my-place", "").unwrap().path, explicit);
}

#[test]
fn in_a_conflict_the_file_beside_the_executable_wins_over_an_unknown_one() {
    let machine = Machine::new();
    let (_, beside) = twins(&machine, Origin::BesideExecutable);
    assert_eq!(machine.choose("my-place", "").unwrap().path, beside);
}

#[test]
fn trust_is_recorded_once_and_a_changed_file_is_refused() {
    let machine = Machine::new();
    let path = machine.place(Origin::User, "liba.so", "1.0.0");
    let found = machine.choose("my-place", "").unwrap();
    let lock = machine.lock();
    assert_eq!(trust::admit(&found, &lock, &machine.search()).unwrap(), Verdict::New);
    let error = trust::admit(&found, &lock, &machine.search().locked(true)).unwrap_err();
    assert!(matches!(error, TrustError::NotRecorded { .. }), "{error}");
    assert!(!machine.root.path().join("plugins.lock").exists(), "asking records nothing");

    machine.lock().record(&found).unwrap();
    assert_eq!(
        trust::admit(&found, &machine.lock(), &machine.search().locked(true)).unwrap(),
        Verdict::Recorded
    );
    assert_eq!(machine.discover()[0].trust, Some(Verdict::Recorded));

    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(&path, bytes).unwrap();
    let changed = machine.choose("my-place", "").unwrap();
    let error = trust::admit(&changed, &machine.lock(), &machine.search()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` is not the `place` 1.0.0 that was deployed with before: its content changed",
            path.display()
        )
    );
    assert_eq!(
        error.hint(),
        "find out who changed it; if it was you, run `pop-deploy plugin trust place@1.0.0`"
    );
    assert_eq!(machine.discover()[0].trust, Some(Verdict::Changed(found.sha256)));
    machine.lock().record(&changed).unwrap();
    assert_eq!(trust::check(&changed, &machine.lock()), Verdict::Recorded);
}

#[test]
fn what_lies_beside_the_executable_needs_no_record() {
    let machine = Machine::new();
    machine.place(Origin::BesideExecutable, "liba.so", "1.0.0");
    let found = machine.choose("my-place", "").unwrap();
    assert_eq!(
        trust::admit(&found, &machine.lock(), &machine.search().locked(true)).unwrap(),
        Verdict::BesideExecutable
    );
}

#[test]
fn two_recorders_at_once_lose_nothing() {
    let machine = Machine::new();
    let found: Vec<Found> = (0..8)
        .map(|number| {
            let kind = format!("place{number}");
            plugin(&machine.folder(Origin::User), &format!("{kind}.so"), &manifest(&kind, "1.0.0", &kind));
            machine.choose(&kind, "").unwrap()
        })
        .collect();
    let lock = machine.lock();
    std::thread::scope(|scope| {
        for found in &found {
            let mut lock = lock.clone();
            scope.spawn(move || lock.record(found).unwrap());
        }
    });
    let lock = machine.lock();
    assert!(found.iter().all(|found| trust::check(found, &lock) == Verdict::Recorded));
}

#[test]
fn a_broken_lock_is_an_error_and_not_an_empty_one() {
    let machine = Machine::new();
    let path = machine.root.path().join("plugins.lock");
    fs::write(&path, "{").unwrap();
    assert!(matches!(PluginsLock::read(&path), Err(TrustError::Broken { .. })));
    fs::write(&path, "{\"v\": 7}").unwrap();
    assert!(matches!(PluginsLock::read(&path), Err(TrustError::Future { version: 7, .. })));
}

#[test]
fn a_warm_index_spares_the_files_and_a_broken_one_costs_only_time() {
    let machine = Machine::new();
    let path = machine.place(Origin::User, "libx.so", "1.0.0");
    let index = machine.root.path().join("cache/index.json");
    assert_eq!(machine.discover().len(), 1);
    let written = fs::read_to_string(&index).unwrap();
    assert!(written.contains("libx.so") && !written.contains("\"type\":\"object\""), "{written}");
    // Unseen by the index, the file changes; seen by whoever chooses.
    fs::write(&index, written.replace("my_place", "my_plaza")).unwrap();
    assert_eq!(machine.discover()[0].build.as_ref().unwrap().types(), ["my_plaza"], "the file wasn't opened");
    assert!(machine.choose("my-plaza", "").is_err(), "the chosen file was");
    assert_eq!(machine.choose("my-place", "").unwrap().path, path);
    for broken in ["", "{", "[]", "{\"v\":9,\"files\":{}}"] {
        fs::write(&index, broken).unwrap();
        assert_eq!(machine.choose("my-place", "").unwrap().path, path);
    }
    machine.place(Origin::User, "libx.so", "1.0.1");
    assert_eq!(machine.choose("my-place", "").unwrap().build.version.to_string(), "1.0.1");
    fs::remove_file(&path).unwrap();
    assert!(machine.discover().is_empty());
    assert!(!fs::read_to_string(&index).unwrap().contains("libx.so"), "what is gone is forgotten");
}

#[test]
fn the_copy_holds_the_bytes_that_were_checked() {
    let machine = Machine::new();
    let path = machine.place(Origin::User, "libx.so", "1.0.0");
    let found = machine.choose("my-place", "").unwrap();
    let checked = fs::read(&path).unwrap();
    fs::write(&path, "replaced between check and load").unwrap();
    let cache = machine.root.path().join("cache");
    let ready = private_copy_in(&found, Some(&cache)).unwrap();
    assert_eq!(fs::read(&ready.copy).unwrap(), checked);
    assert_eq!(ready.copy, cache.join("plugins").join(&found.sha256).join("libx.so"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(ready.copy.parent().unwrap()), 0o700);
    // A copy that was tampered with is made anew before it is loaded.
    fs::remove_file(&ready.copy).unwrap();
    fs::write(&ready.copy, vec![0; checked.len()]).unwrap();
    let ready = private_copy_in(&found, Some(&cache)).unwrap();
    ready.keep_copy().unwrap();
    assert_eq!(fs::read(&ready.copy).unwrap(), checked);
}

#[test]
fn copies_that_nobody_used_for_a_month_are_swept() {
    let machine = Machine::new();
    let cache = machine.root.path().join("cache");
    let copy = |version: &str| {
        machine.place(Origin::User, "libx.so", version);
        private_copy_in(&machine.choose("my-place", "").unwrap(), Some(&cache)).unwrap().copy
    };
    let (old, recent) = (copy("1.0.0"), copy("1.1.0"));
    let long_ago = SystemTime::now() - Duration::from_secs(40 * 24 * 60 * 60);
    let age = |path: &Path| fs::File::open(path.parent().unwrap()).unwrap().set_modified(long_ago).unwrap();
    age(&old);
    age(&recent);
    copy("1.1.0");
    copy("1.2.0");
    assert!(!old.exists());
    assert!(recent.exists(), "used again just now");
}

#[test]
fn without_a_cache_the_copy_lives_as_long_as_it_is_needed() {
    let machine = Machine::new();
    machine.place(Origin::User, "libx.so", "1.0.0");
    let found = machine.choose("my-place", "").unwrap();
    let blocked = machine.root.path().join("blocked");
    fs::write(&blocked, "a file where the cache should be").unwrap();
    for root in [None, Some(blocked.as_path())] {
        let ready = private_copy_in(&found, root).unwrap();
        let copy = ready.copy.clone();
        assert!(copy.exists());
        drop(ready);
        assert!(!copy.exists());
    }
}
