//! A real Docker engine and real registries, for tests: each in a temporary folder with a bridge or a port of its own, so
//! that several run beside each other, and gone with the test's process, however that ends.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use port::Port;

use crate::support::{Said, wait_for};

#[path = "port.rs"]
mod port;

/// What a registry with a login lets in.
pub const USER: &str = "ci";
/// Its password, and what bcrypt makes of it.
pub const PASSWORD: &str = "s3cret-registry-pass";
const HASH: &str = "$2b$04$DLfOdJ1DJat8f09suocrweWo9sW7gKUXASKIOQwhCvwLjtrbIye62";

/// Has a program end with the test: the shell waits for the end of its input, which is ours.
const TIED: &str = r#"
"$@" </dev/null &
child=$!
read -r _
kill "$child" 2>/dev/null
wait "$child"
"#;

/// The engine, likewise, with a bridge and no rules of the machine's own firewall; its containers go with it.
const ENGINE: &str = r#"
folder=$1 bridge=$2 address=$3
ip link add name "$bridge" type bridge && ip addr add "$address/24" dev "$bridge" && ip link set "$bridge" up
start() {
    dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" --host "unix://$folder/sock" \
        --bridge "$bridge" --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false --shutdown-timeout 1 \
        </dev/null >>"$folder/log" 2>&1 &
    child=$!
}
start
# Each line asks for another one.
while read -r _; do
    kill "$child"
    wait "$child"
    start
done
export DOCKER_HOST="unix://$folder/sock"
containers=$(docker ps --quiet)
[ -z "$containers" ] || docker kill $containers >/dev/null
kill "$child"
wait "$child"
# The namespaces of a Swarm's networks stay behind mounted, and with them the numbers of their tunnels taken.
grep -o " $folder/exec/netns/[^ ]*" /proc/mounts | xargs -r umount
ip link del "$bridge"
ip link del "${bridge}g"
rm -rf "$folder"
"#;

/// A program that goes with the test.
pub struct Tied(Child);

impl Tied {
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let child = shell(TIED).arg(program).args(arguments).spawn().unwrap();
        Self(child)
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(["-c", script, "sh"])
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        // Whoever ends the test's whole group must not end what tidies up after it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The address of a network that has a number.
fn address(number: u32) -> Ipv4Addr {
    let [_, _, high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 128 | high, low, 1)
}

/// Why there can be no engine here; nothing where there can.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("no docker engine: only root can start one");
    }
    let there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        std::env::split_paths(&path).chain(usual).any(|folder| folder.join(program).is_file())
    };
    [
        ("docker", "no docker"),
        ("dockerd", "no docker engine"),
        ("docker-registry", "no registry"),
        ("ip", "no iproute2"),
    ]
    .into_iter()
    .find_map(|(program, why)| (!there(program)).then_some(why))
}

/// An engine.
pub struct Engine {
    shell: Child,
    folder: PathBuf,
    bridge: String,
    number: u32,
}

impl Engine {
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id() * 8 + COUNT.fetch_add(1, Ordering::Relaxed);
        let bridge = format!("pd{}", number % 1_000_000_000);
        // One network in 10.128.0.0/9 for each of many engines at a time.
        let address = address(number).to_string();
        let folder = tempfile::Builder::new().prefix("engine-").tempdir().unwrap().keep();
        let shell = shell(ENGINE).arg(&folder).args([&bridge, &address]).spawn().unwrap();
        let engine = Self { shell, folder, bridge, number };
        wait_for("the engine", || (engine.docker(&["version"]).code == Some(0)).then_some(()));
        engine
    }

    /// Has it be a Swarm of its own, whose bridge is nobody else's.
    ///
    /// # Errors
    /// What the engine says.
    pub fn begin_swarm(&self) -> Result<(), String> {
        // As with the port of its tunnels: the network that every Swarm begins with has the same number in all of them.
        let tunnels = (20_000 + self.number % 10_000).to_string();
        self.enter(&["init", "--data-path-port", &tunnels], &[])
    }

    /// Has it be a worker in the Swarm of another engine of this test.
    ///
    /// # Errors
    /// What the engine says.
    pub fn join_swarm(&self, manager: &Self) -> Result<(), String> {
        let token = manager.must(&["swarm", "join-token", "--quiet", "worker"]);
        let address = manager.must(&["node", "inspect", "self", "--format={{.ManagerStatus.Addr}}"]);
        self.enter(&["join", "--token", &token], &[&address])
    }

    fn enter(&self, how: &[&str], whom: &[&str]) -> Result<(), String> {
        let bridge = format!("com.docker.network.bridge.name={}g", self.bridge);
        // Far enough from the numbers of the other engines of this test.
        let [a, b, c, _] = address(self.number + 4).octets();
        let subnet = format!("{a}.{b}.{c}.0/24");
        let network = ["network", "create", "--subnet", &subnet, "--opt", &bridge, "docker_gwbridge"];
        // An address of its own: managers gossip at a port that is always the same.
        let own = format!("127.{a}.{b}.{c}");
        let addresses = ["--advertise-addr", &own, "--listen-addr", &own];
        let swarm = [&["swarm"], how, &addresses, whom].concat();
        for arguments in [&network[..], &swarm] {
            let said = self.docker(arguments);
            if said.code != Some(0) {
                return Err(said.stderr);
            }
        }
        Ok(())
    }

    /// Makes a network of its Swarm, with a tunnel whose number no other engine of this machine takes.
    pub fn overlay(&self, name: &str) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let tunnel = 8192 + (self.number % 1_000_000) * 8 + COUNT.fetch_add(1, Ordering::Relaxed);
        let tunnel = format!("com.docker.network.driver.overlay.vxlanid_list={tunnel}");
        self.must(&["network", "create", "--driver=overlay", "--opt", &tunnel, name]);
    }

    /// Where it listens, as DOCKER_HOST has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.join("sock").display())
    }

    /// A docker program that talks to it, with a configuration of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", self.host())
            .env("DOCKER_CONFIG", self.folder.join("config"));
        command
    }

    /// A shell whose docker program talks to it.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .env("DOCKER_HOST", self.host())
            .env("DOCKER_CONFIG", self.folder.join("config"));
        command
    }

    pub fn docker(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// What it wrote itself.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Ends it, and its containers with it, and starts it again.
    pub fn restart(&self) {
        let id = self.folder.join("pid");
        let before = fs::read_to_string(&id).unwrap();
        writeln!(self.shell.stdin.as_ref().unwrap()).unwrap();
        wait_for("another engine", || {
            (fs::read_to_string(&id).is_ok_and(|now| !now.is_empty() && now != before)
                && self.docker(&["version"]).code == Some(0))
            .then_some(())
        });
    }

    /// Runs it; it must succeed.
    pub fn must(&self, arguments: &[&str]) -> String {
        let said = self.docker(arguments);
        assert_eq!(said.code, Some(0), "docker {arguments:?}\n{}{}", said.stdout, said.stderr);
        said.stdout.trim().to_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().unwrap();
    }
}

/// A registry on a port of this machine.
pub struct Registry {
    _program: Tied,
    folder: tempfile::TempDir,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

/// Who may push to a registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Anybody,
    Login,
}

impl Registry {
    pub fn start(access: Access) -> Self {
        let folder = tempfile::Builder::new().prefix("registry-").tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let auth = match access {
            Access::Anybody => String::new(),
            Access::Login => format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("users")),
        };
        fs::write(path("users"), format!("{USER}:{HASH}\n")).unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n{auth}http: {{addr: {address}}}\n",
            path("data")
        );
        fs::write(path("config.yml"), config).unwrap();
        let program = Tied::start("docker-registry", &["serve", &path("config.yml")]);
        wait_for("the registry", || TcpStream::connect(&address).ok());
        Self { _program: program, folder, address }
    }

    /// Everything that it holds of a repository, by path: to compare before and after.
    pub fn content(&self, repository: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        visit(&self.repository(repository), &mut found);
        found.sort();
        found
    }

    /// Loses a tag, and the manifest that it stands for.
    pub fn forget(&self, repository: &str, tag: &str, digest: &str) {
        let manifests = self.repository(repository).join("_manifests");
        fs::remove_dir_all(manifests.join("tags").join(tag)).unwrap();
        fs::remove_dir_all(manifests.join("revisions/sha256").join(digest.trim_start_matches("sha256:")))
            .unwrap();
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.folder.path().join("data/docker/registry/v2/repositories").join(name)
    }
}

fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path());
        visit(&entry.path(), found);
    }
}

/// A port that nobody else is given as long as this process lives.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<Port>> = Mutex::new(Vec::new());
    let port = Port::reserve();
    let number = port.address.port();
    GIVEN.lock().unwrap().push(port);
    number
}

/// The program that the tests' images run, built once: see `server.rs`.
pub fn server() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/support/server.rs");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let built = folder.join("server");
    let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if modified(&built).is_some_and(|built| Some(built) > modified(&source)) {
        return built;
    }
    let new = tempfile::Builder::new().prefix("server-").tempfile_in(folder).unwrap().into_temp_path();
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args([
            "--edition=2024",
            "-C",
            "opt-level=s",
            "-C",
            "strip=symbols",
            "-C",
            "target-feature=+crt-static",
            "-o",
        ])
        .args([&*new, source.as_ref()])
        .status()
        .unwrap();
    assert!(status.success());
    new.persist(&built).unwrap();
    built
}
