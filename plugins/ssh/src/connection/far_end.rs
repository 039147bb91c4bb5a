//! The far end by itself, in a shell of this machine: what is rare over there happens here at will.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command},
    thread,
    time::{Duration, Instant, SystemTime},
};

use tempfile::TempDir;

use super::FAR_END;
use crate::tests::{self, skipped::skipped};

/// Has a shell find no `flock`, so that the lock is a folder.
const NO_FLOCK: &str = r#"have() { [ "$1" != flock ] && command -v "$1" >/dev/null 2>&1; }"#;
/// Has a watchman hardly sleep.
const SLEEPLESS: &str = "sleep() { command sleep 0.02; }";
const MINUTE: Duration = Duration::from_secs(60);

/// A shell that does requests at a base; dropped, its input ends.
struct FarEnd {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl FarEnd {
    /// One whose connection has this mark, and that knows what `functions` define over its own.
    fn at(base: &Path, mark: &str, functions: &str) -> Self {
        Self::of(Command::new("sh").args(["-c", FAR_END]), base, mark, functions)
    }

    /// One that `shell` starts.
    fn of(shell: &mut Command, base: &Path, mark: &str, functions: &str) -> Self {
        let mut child = tests::far_end(shell, mark);
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut far_end = Self { child, input, output };
        far_end.tell(functions);
        assert_eq!(far_end.ask(&format!("arrive '{}'", base.display())).0, 0);
        far_end
    }

    /// Has its shell do a line.
    fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// How a request ended, and what was said to it.
    fn ask(&mut self, request: &str) -> (i32, Vec<String>) {
        self.tell(&format!("fresh; fg 1 {request}"));
        self.answer()
    }

    fn answer(&mut self) -> (i32, Vec<String>) {
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it ended; before that: {said:?}");
            if let Some(status) = line.strip_prefix("= 1 ") {
                return (status.trim().parse().unwrap(), said);
            }
            said.extend(line.strip_prefix("+ 1 ").map(|text| text.trim_end().to_owned()));
        }
    }

    /// One that holds the lock of the base.
    fn holding(base: &Path, mark: &str, functions: &str) -> Self {
        let mut far_end = Self::at(base, mark, functions);
        assert_eq!(far_end.lock(base).0, 0);
        far_end
    }

    fn lock(&mut self, base: &Path) -> (i32, Vec<String>) {
        self.ask(&format!("lock '{}' holder owner '' '' ''", base.display()))
    }

    /// Gets the lock of a holder that has ended: what that started has it open for a moment longer.
    fn inherit(&mut self, base: &Path) {
        wait_for("lock", || self.lock(base).0 == 0);
    }
}

/// Whether a process runs.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.wait().unwrap();
    }
}

/// A far end that holds the lock of a base with a release `live` of one page, and has read that page.
fn with_release() -> (TempDir, FarEnd) {
    let base = tempfile::tempdir().unwrap();
    let meta = base.path().join(".pop-deploy/releases/live");
    for folder in [&meta, &base.path().join("releases/live")] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(base.path().join("releases/live/page"), "one\n").unwrap();
    fs::write(meta.join("files"), "./page\0").unwrap();
    let mut far_end = FarEnd::holding(base.path(), "mark", "");
    far_end.tell("release=$base/releases/live meta=$base/.pop-deploy/releases/live");
    far_end.tell("digest() { d=$(\"$@\"); echo \"${d%% *}\"; }");
    far_end.tell("tree=$(digest tree_digest \"$release\" \"$meta\") page=$(digest content_digest \"$release\" \"$meta/files\")");
    check(&mut far_end);
    assert_eq!(far_end.ask("pristine live").0, 0);
    (base, far_end)
}

/// Has every file read and found right.
fn check(far_end: &mut FarEnd) {
    assert_eq!(far_end.ask("check live \"$tree\" \"$page\" whole"), (0, Vec::new()));
}

/// Has a file or folder look as if nobody had touched it for that long.
fn age(path: &Path, by: Duration) {
    fs::File::open(path).unwrap().set_modified(SystemTime::now() - by).unwrap();
}

/// Looks now and then: nothing tells this process what that one has done.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < MINUTE, "no {what} within a minute");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A base where nothing is, and where its lock folder would be.
fn no_release() -> (TempDir, std::path::PathBuf) {
    let base = tempfile::tempdir().unwrap();
    let lock = base.path().join(".pop-deploy/lock.d");
    (base, lock)
}

#[test]
fn who_comes_back_too_late_leaves_the_next_holders_lock_alone() {
    let (base, lock) = no_release();
    let base = base.path();
    let mut first = FarEnd::holding(base, "first", NO_FLOCK);
    // As after a long sleep of its machine, that its watchman has still to wake from.
    age(&lock.join("first/beat"), MINUTE * 3 / 2);
    let mut second = FarEnd::at(base, "second", NO_FLOCK);
    assert_eq!(second.lock(base), (75, vec!["holder holder".into()]), "its own watchman comes first");
    age(&lock.join("first/beat"), 60 * MINUTE);
    let (status, said) = second.lock(base);
    assert_eq!((status, said[0].as_str()), (0, "expired holder"));
    // Its watchman may have ended it already.
    writeln!(first.input.as_mut().unwrap(), "beat").unwrap_or_default();
    wait_for("end of who was overtaken", || first.child.try_wait().unwrap().is_some());
    let inside: Vec<_> = fs::read_dir(&lock).unwrap().map(|place| place.unwrap().file_name()).collect();
    assert_eq!(inside, ["second"]);
    assert_eq!(second.ask("unlock").0, 0);
    assert!(!lock.exists());
}

#[test]
fn who_forfeits_its_claim_is_ended_in_the_midst_of_its_work_and_never_gets_the_lock_again() {
    for functions in ["", NO_FLOCK] {
        let (base, _) = no_release();
        let base = base.path();
        let claiming = format!("lock '{}' holder owner '' '' '' claim", base.display());
        let mut first = FarEnd::at(base, "first", &format!("{SLEEPLESS}; {functions}"));
        assert_eq!(first.ask(&claiming).0, 0);
        first.tell("work() { echo $$ >\"$base/shell\"; command sleep 1000; }");
        first.tell("fresh; fg 1 work");
        wait_for("work", || base.join("shell").exists());
        let mut second = FarEnd::at(base, "second", functions);
        assert_eq!(second.ask("forfeit other '{}'").0, 0);
        assert_eq!(second.lock(base).0, 75, "{functions}: another claim is none of its business");
        assert_eq!(second.ask("forfeit claim '{\"actor\":\"me\"}'").0, 0);
        wait_for("end of who had the lock", || first.child.try_wait().unwrap().is_some());
        let mut again = FarEnd::at(base, "again", functions);
        assert_eq!(again.ask(&claiming), (76, vec!["forfeited {\"actor\":\"me\"}".to_owned()]));
        second.inherit(base);
        assert_eq!(second.ask("holder"), (0, vec!["holder holder".to_owned()]));
    }
}

#[test]
fn a_lock_that_nobody_lived_to_be_in_is_taken_over() {
    let (base, lock) = no_release();
    let base = base.path();
    fs::create_dir_all(&lock).unwrap();
    let mut far_end = FarEnd::at(base, "mark", NO_FLOCK);
    assert_eq!(far_end.lock(base).0, 75, "somebody may be about to be");
    age(&lock, 60 * MINUTE);
    assert_eq!(far_end.lock(base).0, 0);
}

#[test]
fn work_that_takes_longer_than_any_patience_is_not_ended() {
    let (base, lock) = no_release();
    let base = base.path();
    let mut far_end = FarEnd::holding(base, "mark", NO_FLOCK);
    far_end.tell("work() { : >\"$tmp/begun\"; until [ -e \"$base/done\" ]; do sleep 0.1; done; }");
    far_end.tell("fresh; fg 1 work");
    let own = base.join(format!(".pop-deploy/tmp-{}", far_end.child.id()));
    wait_for("work", || own.join("begun").exists());
    for beat in [own.join("beat"), lock.join("mark/beat")] {
        age(&beat, 60 * MINUTE);
        wait_for("beat", || {
            let modified = fs::metadata(&beat).and_then(|beat| beat.modified()).unwrap();
            modified.elapsed().is_ok_and(|age| age < MINUTE)
        });
    }
    fs::write(base.join("done"), "").unwrap();
    assert_eq!(far_end.answer().0, 0);
}

#[test]
fn what_is_written_while_a_release_is_read_is_not_vouched_for() {
    let (_base, mut far_end) = with_release();
    far_end.tell("content_digest() { content \"$1\" \"$2\" | hash; echo two >>\"$release/page\"; }");
    check(&mut far_end);
    assert_ne!(far_end.ask("pristine live").0, 0);
}

#[test]
fn what_is_written_while_old_releases_go_is_not_vouched_for() {
    let (_base, mut far_end) = with_release();
    let remove_one = |far_end: &mut FarEnd| {
        far_end.tell("cp -al \"$release\" \"$base/releases/old\"");
        check(far_end);
        assert_eq!(far_end.ask("tidy live old"), (0, vec!["current absent".into(), "removed old".into()]));
        far_end.ask("pristine live").0
    };
    assert_eq!(remove_one(&mut far_end), 0, "a link less is nothing new");
    far_end.tell("drop() { echo two >>\"$release/page\"; rm -rf \"$1\"; }");
    assert_ne!(remove_one(&mut far_end), 0);
}

#[test]
fn a_link_in_a_folders_place_leads_nobody_out_of_the_release() {
    for functions in ["", "can_stamp() { return 1; }"] {
        let (base, mut far_end) = with_release();
        let release = base.path().join("releases/live");
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("page"), "theirs").unwrap();
        fs::create_dir(release.join("up")).unwrap();
        fs::write(release.join("up/page"), "ours").unwrap();
        fs::write(base.path().join(".pop-deploy/releases/live/folders"), "./up\0").unwrap();
        fs::write(base.path().join(".pop-deploy/releases/live/files"), "./page\0./up/page\0").unwrap();
        far_end.tell("tree=$(digest tree_digest \"$release\" \"$meta\")");
        far_end.tell(functions);
        far_end.tell("sent=$tree");
        assert_eq!(far_end.ask("open_release next live \"$sent\"").0, 0, "{functions}: as it was sent");
        fs::rename(release.join("up"), base.path().join("up")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), release.join("up")).unwrap();
        assert_eq!(far_end.ask("open_release next live \"$sent\"").0, 65, "{functions}");
        // What comes in the same chain is skipped.
        far_end.tell("fg 1 trim_named ./up/page");
        assert_eq!(far_end.answer().0, 125, "{functions}");
        assert!(elsewhere.path().join("page").exists());
    }
}

#[test]
fn what_is_written_into_the_live_release_while_the_next_is_made_does_not_go_live() {
    let next = |write: &dyn Fn(&Path)| {
        let (base, mut far_end) = with_release();
        far_end.tell("live=$tree");
        assert_eq!(far_end.ask("open_release next live \"$live\"").0, 0);
        far_end.tell("mkdir \"$tmp/lists\" && cp \"$meta/files\" \"$tmp/lists\"");
        far_end.tell("walk=$(cd \"$new\" && digest walk_digest /dev/null /dev/null)");
        write(&base.path().join("releases/live/page"));
        let status = far_end.ask("seal \"$tree\" \"$walk\" none \"$page\" 0 4").0;
        (status, base.path().join("releases/next").exists())
    };
    assert_eq!(next(&|_| {}), (0, true));
    assert_eq!(next(&|page| fs::write(page, "two\n").unwrap()), (66, false));
}

#[test]
fn a_far_end_that_hears_nothing_for_its_patience_lets_go() {
    let (base, _) = no_release();
    let mut far_end = FarEnd::holding(base.path(), "mark", SLEEPLESS);
    wait_for("end of who was left alone", || far_end.child.try_wait().unwrap().is_some());
    FarEnd::at(base.path(), "next", "").inherit(base.path());
}

#[test]
fn work_in_the_foreground_ends_when_whoever_serves_the_connection_does() {
    let (base, _) = no_release();
    let base = base.path();
    let server = "exec 4<&0; setsid sh -c \"$0\" <&4 & wait";
    let mut far_end = FarEnd::of(Command::new("sh").args(["-c", server, FAR_END]), base, "mark", SLEEPLESS);
    assert_eq!(far_end.lock(base).0, 0);
    far_end.tell("work() { echo $$ >\"$base/shell\"; command sleep 1000; }");
    far_end.tell("fresh; fg 1 work");
    wait_for("work", || fs::read_to_string(base.join("shell")).is_ok_and(|pid| pid.ends_with('\n')));
    far_end.child.kill().unwrap();
    let shell = fs::read_to_string(base.join("shell")).unwrap();
    wait_for("end of the shell", || !runs(&shell));
    FarEnd::at(base, "next", "").inherit(base);
}

#[test]
fn the_watchman_of_a_shell_that_was_killed_leaves_the_next_holders_name() {
    let (base, _) = no_release();
    let base = base.path();
    let mut first = FarEnd::holding(base, "first", "");
    let own = base.join(format!(".pop-deploy/tmp-{}", first.child.id()));
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let mut second = FarEnd::at(base, "second", "");
    second.inherit(base);
    wait_for("end of the first one's watchman", || !own.exists());
    assert_eq!(fs::read_to_string(base.join(".pop-deploy/lock")).unwrap(), "holder\n");
}

#[test]
fn busybox_reads_each_of_many_names_once() {
    let bin = tempfile::tempdir().unwrap();
    let install = Command::new("busybox").args(["--install", "-s"]).arg(bin.path()).output();
    if !install.is_ok_and(|install| install.status.success()) {
        return skipped("no busybox");
    }
    let (base, _) = no_release();
    let (base, meta) = (base.path(), base.path().join(".pop-deploy/releases/live"));
    let release = base.join("releases/live");
    for folder in [&meta, &release] {
        fs::create_dir_all(folder).unwrap();
    }
    // Twice what it takes in at once.
    let names: Vec<_> = (0..1500).map(|number| format!("{number:0>50}")).collect();
    names.iter().for_each(|name| fs::write(release.join(name), "one").unwrap());
    let list: String = names.iter().flat_map(|name| ["./", name, "\0"]).collect();
    fs::write(meta.join("files"), list).unwrap();
    let shell = bin.path().join("sh");
    let mut far_end =
        FarEnd::of(Command::new(shell).args(["-c", FAR_END]).env("PATH", bin.path()), base, "mark", "");
    let (status, hashes) = far_end.ask("list_content live");
    assert_eq!((status, hashes.len()), (0, names.len()));
}

#[test]
fn a_live_release_that_cannot_be_copied_is_done_without_where_somebody_added_to_it() {
    let (base, mut far_end) = with_release();
    far_end.tell("live=$tree; link_all() { return 1; }; cp() { echo cannot >&2; return 1; }");
    let open = "open_release next live \"$live\"";
    assert_eq!(far_end.ask(open), (1, vec!["cannot".to_owned()]), "it is as it was sent");
    fs::write(base.path().join("releases/live/secret"), "theirs").unwrap();
    assert_eq!(far_end.ask(open).0, 65);
}

#[test]
fn on_a_full_disk_a_release_known_to_be_good_is_still_approved() {
    let (base, mut far_end) = with_release();
    let meta = base.path().join(".pop-deploy/releases/live");
    far_end.tell("date() { echo 'date: No space left on device' >&2; return 1; }");
    let approve = "approve line '' live \"$tree\" \"$page\" whole";
    let why = "date: No space left on device".to_owned();
    assert_eq!(far_end.ask(approve), (73, vec![why.clone()]), "nothing says that it is good");
    fs::write(meta.join("verified"), "1\n").unwrap();
    assert_eq!(far_end.ask(approve), (0, vec![why, "unwritten".to_owned()]));
    assert_eq!(fs::read_to_string(meta.join("verified")).unwrap(), "1\n");
    assert!(!meta.join("verified.new").exists());
    far_end.tell("content_digest() { echo other; }");
    assert_eq!(far_end.ask(approve).0, 66, "a release that isn't whole is refused all the same");
}

#[test]
fn a_daemon_that_a_command_leaves_may_go_on_talking() {
    let (base, _) = no_release();
    let base = base.path();
    let mut far_end = FarEnd::holding(base, "mark", "");
    let daemon = "while :; do echo word && echo >>\"$0\"; sleep 0.02; done & echo $!";
    far_end.tell(&format!("fresh; run 1 / sh -c '{daemon}' '{}'", base.join("said").display()));
    let (status, said) = far_end.answer();
    assert_eq!(status, 0);
    let words = || fs::metadata(base.join("said")).map_or(0, |said| said.len());
    drop(far_end);
    let before = words();
    wait_for("more words", || words() > before + 3);
    Command::new("kill").arg(&said[0]).status().unwrap();
}
