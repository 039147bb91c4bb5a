//! A reader that never pauses, in front of a real nginx, while deployments and rollbacks go on: no request is
//! refused, no response is made of two releases, and no asset is of another release than the pages around it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use port::Port;
use rustix::process::{Pid, Signal, kill_process};
use support::Project;

#[path = "support/port.rs"]
mod port;
#[path = "support/mod.rs"]
mod support;

const PAGES: u32 = 20;
/// Long enough that a response is sent in many pieces.
const LINES: usize = 4_000;

#[test]
fn a_reader_sees_whole_releases_all_through_deployments_and_rollbacks() {
    let Some(nginx) = find("nginx") else { return support::skipped("no nginx") };
    let rounds = std::env::var("POP_DEPLOY_READER_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap());
    let site = Site::new();
    site.deploy(0);
    let server = Nginx::start(&nginx, &site.project.path());
    let (done, newest) = (AtomicBool::new(false), AtomicU32::new(0));

    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            // Stopped also by what it found.
            let _end = SetOnDrop(&done);
            read_until(&done, &newest, server.address)
        });
        let end = SetOnDrop(&done);
        for round in 1..=rounds {
            site.deploy(round);
            let seen = || newest.load(Ordering::Relaxed) == round || done.load(Ordering::Relaxed);
            support::wait_for("the reader", || seen().then_some(()));
            site.roll_back(round);
            if done.load(Ordering::Relaxed) {
                break;
            }
        }
        drop(end);
        reader.join().unwrap()
    })
    .unwrap();
}

/// Stops the reader also when a deployment panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A project whose every line names the release.
struct Site {
    project: Project,
}

impl Site {
    fn new() -> Self {
        let project = Project::empty();
        project.config(r#"{"source": "public", "dir": "www"}"#);
        // nginx's worker isn't root.
        fs::set_permissions(project.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { project }
    }

    fn deploy(&self, release: u32) {
        let body = format!("release {release}\n").repeat(LINES);
        for page in pages().chain(["index.html".into(), "assets/app.js".into()]) {
            self.project.write(&format!("public/{page}"), &body);
        }
        self.project.must(&["execute", "--yes", "--version", &format!("0.{release}.0")]);
        assert_eq!(self.live(), release);
    }

    fn roll_back(&self, from: u32) {
        self.project.must(&["rollback", "--yes"]);
        assert!(self.live() < from);
    }

    fn live(&self) -> u32 {
        release_of(self.project.read("www/current/index.html").as_bytes()).unwrap()
    }
}

fn pages() -> impl Iterator<Item = String> {
    (0..PAGES).map(|number| format!("page-{number}.html"))
}

/// The one release that every line of `body` names.
fn release_of(body: &[u8]) -> Result<u32, String> {
    let mut releases: Vec<_> =
        std::str::from_utf8(body).map_err(|error| error.to_string())?.lines().collect();
    if releases.len() != LINES {
        return Err(format!("{} lines instead of {LINES}", releases.len()));
    }
    releases.dedup();
    match releases[..] {
        [line] => line.trim_start_matches("release ").parse().map_err(|_| format!("strange line `{line}`")),
        _ => Err(format!("a response of several releases: {releases:?}")),
    }
}

/// A server of our own, ended with its worker when dropped.
struct Nginx {
    child: Child,
    address: SocketAddr,
    _port: Port,
}

impl Nginx {
    /// Serves `www/current` of the project in `folder`.
    fn start(nginx: &Path, folder: &Path) -> Self {
        let port = Port::reserve();
        let address = port.address;
        let place = folder.display();
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {place}/nginx-{kind};\n"))
            .concat();
        let conf = format!(
            "daemon off;\nworker_processes 1;\npid {place}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{temp}    \
             access_log off;\n    open_file_cache off;\n    sendfile on;\n    keepalive_requests 100000000;\n    \
             server {{ listen {address}; root {place}/www/current; }}\n}}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, conf).unwrap();
        let child = Command::new(nginx)
            .args(["-e", "stderr", "-p"])
            .arg(folder)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { child, address, _port: port };
        server.wait_until_it_answers();
        server
    }

    fn wait_until_it_answers(&mut self) {
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(self.child.try_wait().unwrap().is_none(), "nginx ended at once");
            assert!(begun.elapsed() < Duration::from_secs(60), "nginx doesn't answer");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not `Child::kill`: the master must have the time to end its worker.
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

/// Asks for a page, an asset and the page again, for ever: between two equal pages the asset can't be of another release.
/// `newest` is the newest release that it saw.
fn read_until(done: &AtomicBool, newest: &AtomicU32, address: SocketAddr) -> Result<(), String> {
    let mut reader = Reader::connect(address).map_err(|error| error.to_string())?;
    for page in pages().collect::<Vec<_>>().iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let page = format!("/{page}");
        let before = reader.get(&page)?;
        let asset = reader.get("/assets/app.js")?;
        let after = reader.get(&page)?;
        if before == after && asset != before {
            return Err(format!("a page of release {before} with an asset of release {asset}"));
        }
        newest.fetch_max(before.max(after), Ordering::Relaxed);
    }
    Ok(())
}

/// One connection that is kept.
struct Reader {
    stream: BufReader<TcpStream>,
}

impl Reader {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The release that `path` is of; a status other than 200 and a broken response are errors.
    fn get(&mut self, path: &str) -> Result<u32, String> {
        let (head, body) = self.request(path).map_err(|error| format!("GET {path}: {error}"))?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(format!("GET {path}: {head}"));
        }
        release_of(&body).map_err(|error| format!("GET {path}: {error}"))
    }

    fn request(&mut self, path: &str) -> io::Result<(String, Vec<u8>)> {
        write!(self.stream.get_mut(), "GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n")?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let length = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, length)| length.parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((head, body))
    }
}
