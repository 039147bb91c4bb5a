//! Real sshd's, each with its own keys, port and folder. They end with the test, however that ends.
//!
//! Each connection gets an `sshd -i` of its own, a child of this process that lives as long as the connection: ports
//! are free ones, nothing has to be waited for, and nothing is left when the test is killed.

#![allow(dead_code, unreachable_pub, reason = "shared by tests and benches that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use port::Port;
use script::script;

use crate::network::{Namespace, enter};

#[path = "port.rs"]
mod port;
#[path = "script.rs"]
mod script;

/// A user with a key, a place for hosts, and the `ssh` that knows them all.
pub struct Lab {
    folder: TempDir,
    sshd: PathBuf,
    user: String,
}

/// What is special about a host.
#[derive(Clone, Default)]
pub struct Kind {
    /// There is nothing in its PATH but BusyBox, which is the shell as well.
    pub busybox: bool,
    /// Its shell profile prints, on both streams.
    pub noisy: bool,
    /// Its sshd greets before the login.
    pub banner: bool,
    /// How many sessions a connection may carry.
    pub max_sessions: Option<u32>,
    /// Programs that it finds before its own, by name: lines of a shell script.
    pub programs: Vec<(&'static str, &'static str)>,
    /// Programs that it doesn't have, by name.
    pub lacks: Vec<&'static str>,
    /// The login shell, where it isn't `/bin/sh`.
    pub shell: Option<PathBuf>,
    /// Whether something stands between sshd and the login shell, which then leads no process group.
    pub wrapped: bool,
    /// Whether it lets users do nothing but copy files.
    pub only_sftp: bool,
    /// Its ssh server is dropbear. Only root can have one of those.
    pub dropbear: bool,
    /// The bytes and inodes of the disk that its base is on; 0 is as many as one likes.
    pub disk: Option<(u64, u64)>,
    /// Another path for its `srv`, which can be the same on every host.
    pub same_path: Option<PathBuf>,
    /// The network it is in, and its address there.
    pub network: Option<(Arc<Namespace>, Ipv4Addr)>,
}

/// How the user's ssh goes to a host.
#[derive(Clone)]
pub struct Client {
    pub user: String,
    pub identity: PathBuf,
    /// The host key that it knows.
    pub known: Option<String>,
    /// More lines for its section of the ssh config.
    pub more: String,
}

/// One host.
pub struct Host {
    pub name: String,
    pub client: Client,
    folder: PathBuf,
    lab: PathBuf,
    sshd: PathBuf,
    kind: Kind,
    mount: Option<Mount>,
    door: Option<Door>,
    address: SocketAddr,
    /// Its own also while it is away.
    _port: Port,
}

impl Lab {
    /// A lab without hosts.
    ///
    /// # Errors
    /// What is missing here.
    pub fn new() -> Result<Self, String> {
        Self::new_in(&env::temp_dir())
    }

    /// The same in a folder of `parent`, on whose file system all of its hosts are then.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn new_in(parent: &Path) -> Result<Self, String> {
        let sshd = program("sshd").ok_or("no sshd")?;
        program("ssh").and(program("ssh-keygen")).ok_or("no OpenSSH client")?;
        if rustix::process::geteuid().is_root() {
            // Compiled into sshd, and made by the init system where there is one.
            fs::create_dir_all("/run/sshd").map_err(|error| format!("can't make /run/sshd: {error}"))?;
        }
        let user = said(Command::new("id").arg("-un"));
        let folder = tempfile::Builder::new().prefix("lab-").tempdir_in(parent).unwrap();
        let lab = Self { folder, sshd, user };
        for folder in ["bin", "clients", "hosts"] {
            fs::create_dir(lab.path().join(folder)).unwrap();
        }
        make_key(&lab.path().join("id"));
        make_key(&lab.path().join("stranger"));
        let config = format!(
            "Include {0}/clients/*\nHost *\n GlobalKnownHostsFile /dev/null\n IdentitiesOnly yes\n IdentityAgent none\n",
            lab.path().display()
        );
        fs::write(lab.path().join("ssh_config"), config).unwrap();
        let ssh = program("ssh").unwrap();
        let wrapper =
            format!("#!/bin/sh\nexec {} -F {}/ssh_config \"$@\"", ssh.display(), lab.path().display());
        script(&lab.path().join("bin/ssh"), &wrapper);
        Ok(lab)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Who logs in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The value of PATH with which `ssh` knows the hosts.
    pub fn search_path(&self) -> OsString {
        let old = env::var_os("PATH").unwrap_or_default();
        env::join_paths([self.path().join("bin")].into_iter().chain(env::split_paths(&old))).unwrap()
    }

    /// A key that no host lets in.
    pub fn stranger(&self) -> PathBuf {
        self.path().join("stranger")
    }

    /// So many ordinary hosts: `web1`, `web2`, …
    pub fn hosts(&self, count: usize) -> Vec<Host> {
        (1..=count).map(|number| self.host(&format!("web{number}"), Kind::default())).collect()
    }

    /// A host of this name.
    pub fn host(&self, name: &str, kind: Kind) -> Host {
        let folder = self.path().join("hosts").join(name);
        for inner in ["home", "srv"] {
            fs::create_dir_all(folder.join(inner)).unwrap();
        }
        make_key(&folder.join("host_key"));
        let srv = folder.join("srv");
        let mount = match (&kind.same_path, kind.disk) {
            (Some(path), _) => Some(Mount::same(&srv, path)),
            (None, Some((bytes, inodes))) => Some(Mount::disk(&srv, bytes, inodes)),
            (None, None) => kind.dropbear.then(|| Mount::home(&self.path().join("id.pub"))),
        };
        let client = Client {
            user: self.user.clone(),
            identity: self.path().join("id"),
            known: Some(public_key(&folder.join("host_key"))),
            more: String::new(),
        };
        let port = Port::reserve();
        let mut host = Host {
            name: name.to_owned(),
            client,
            folder,
            lab: self.path().to_owned(),
            sshd: self.sshd.clone(),
            kind,
            mount,
            door: None,
            address: port.address,
            _port: port,
        };
        if let Some((_, address)) = host.kind.network {
            host.address.set_ip(IpAddr::V4(address));
        }
        host.configure();
        host.appear();
        host.introduce();
        host
    }
}

impl Host {
    /// Where it can be reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its public key, as `host_key` of the config has it.
    pub fn key(&self) -> String {
        public_key(&self.folder.join("host_key"))
    }

    /// A folder on it for bases; on a disk of its own when it has one.
    pub fn srv(&self) -> PathBuf {
        self.folder.join("srv")
    }

    /// The same, to look into it from here.
    pub fn srv_seen_from_here(&self) -> PathBuf {
        match &self.mount {
            Some(mount) => mount.seen_from_here(&self.srv()),
            None => self.srv(),
        }
    }

    /// Makes the disk that its base is on one that can only be read.
    pub fn make_read_only(&self) {
        let mount = self.mount.as_ref().unwrap();
        said(mount.command(Path::new("mount")).args(["-o", "remount,ro"]).arg(self.srv()));
    }

    /// Goes away: no new connection, and those there are break.
    pub fn vanish(&mut self) {
        self.door = None;
    }

    /// Is there again, at the same address.
    pub fn appear(&mut self) {
        let door = Door::open(self);
        self.address = door.address;
        self.door = Some(door);
    }

    /// Shows another key from now on.
    pub fn change_key(&self) {
        make_key(&self.folder.join("host_key"));
    }

    /// Has the user's ssh not know it the next time it looks: as if its name couldn't be looked up for a moment.
    pub fn be_forgotten_once(&self) {
        let (section, hidden) = (self.section(), self.folder.join("hidden"));
        fs::rename(&section, &hidden).unwrap();
        let mend = format!("mv {} {}", hidden.display(), section.display());
        self.be_known_by(&format!("Match originalhost {} exec \"{mend}\"\n", self.name));
    }

    /// Whether the user's ssh knows it again.
    pub fn is_known(&self) -> bool {
        !self.folder.join("hidden").exists()
    }

    /// Tells the user's ssh how to reach it.
    pub fn introduce(&self) {
        let Client { user, identity, known, more } = &self.client;
        let (name, lab) = (&self.name, self.lab.display());
        let section = format!(
            "Host {name}\n HostName {}\n Port {}\n HostKeyAlias {name}\n User {user}\n IdentityFile {}\n \
             UserKnownHostsFile {lab}/hosts/{name}/known\n{more}",
            self.address.ip(),
            self.address.port(),
            identity.display(),
        );
        let known = known.as_ref().map_or_else(String::new, |key| format!("{name} {key}\n"));
        fs::write(self.folder.join("known"), known).unwrap();
        self.be_known_by(&section);
    }

    /// Writes its section of the user's ssh config, which an ssh may be reading.
    fn be_known_by(&self, section: &str) {
        let new = self.folder.join("section");
        fs::write(&new, section).unwrap();
        fs::rename(new, self.section()).unwrap();
    }

    fn section(&self) -> PathBuf {
        self.lab.join("clients").join(&self.name)
    }

    /// What runs on it for a user: the process ids and command lines.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark = format!("LAB_HOST={}", self.folder.display());
        let ours = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let named = |pid: i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&words).replace('\0', " "))
        };
        all_processes().filter(ours).map(named).collect()
    }

    /// What its sshd logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The program that serves one connection.
    fn server(&self) -> Command {
        let program = if self.kind.dropbear { program("dropbear").unwrap() } else { self.sshd.clone() };
        let mut server = match &self.mount {
            Some(mount) => mount.command(&program),
            None => Command::new(&program),
        };
        if self.kind.dropbear {
            // It passes its own environment on.
            server.args(["-i", "-e", "-s", "-m", "-r"]).arg(self.folder.join("dropbear_key"));
            server.env("LAB_HOST", &self.folder);
        } else {
            server.arg("-i").arg("-f").arg(self.folder.join("sshd_config"));
            server.arg("-E").arg(self.folder.join("log"));
        }
        server
    }

    fn configure(&self) {
        if self.kind.dropbear {
            let convert = program("dropbearconvert").unwrap();
            let keys = ["host_key", "dropbear_key"].map(|key| self.folder.join(key));
            said(Command::new(convert).args(["openssh", "dropbear"]).args(keys));
        }
        let folder = self.folder.display();
        let mut config = format!(
            "HostKey {folder}/host_key\nAuthorizedKeysFile {lab}/id.pub\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nPrintMotd no\nPrintLastLog no\n\
             LogLevel VERBOSE\nSetEnv LAB_HOST={folder} HOME={folder}/home\n",
            lab = self.lab.display(),
        );
        if self.kind.only_sftp {
            config.push_str("ForceCommand internal-sftp\n");
        }
        if let Some(sessions) = self.kind.max_sessions {
            config.push_str(&format!("MaxSessions {sessions}\n"));
        }
        if self.kind.banner {
            fs::write(self.folder.join("banner"), "*** Authorised use only. ***\n").unwrap();
            config.push_str(&format!("Banner {folder}/banner\n"));
        }
        let Kind { busybox, noisy, programs, lacks, shell, wrapped, .. } = &self.kind;
        if *busybox || *noisy || !programs.is_empty() || !lacks.is_empty() || shell.is_some() || *wrapped {
            self.write_shell();
            config.push_str(&format!("ForceCommand {folder}/shell\n"));
        }
        fs::write(self.folder.join("sshd_config"), config).unwrap();
    }

    /// What stands between sshd and the command: another login shell, and its profile.
    fn write_shell(&self) {
        let mut lines = String::from("cd\n");
        let mut shell = self.kind.shell.clone().unwrap_or_else(|| PathBuf::from("/bin/sh"));
        if self.kind.busybox {
            let bin = self.folder.join("bin");
            shell = bin.join("sh");
            fs::create_dir(&bin).unwrap();
            said(Command::new(program("busybox").unwrap()).args(["--install", "-s"]).arg(&bin));
            lines.push_str(&format!("export PATH={}\n", bin.display()));
        }
        if !self.kind.lacks.is_empty() {
            let bin = self.folder.join("bin");
            fs::create_dir(&bin).unwrap();
            let there = ["/usr/bin", "/bin"].map(|folder| fs::read_dir(folder).unwrap().flatten());
            for program in there.into_iter().flatten().map(|program| program.path()) {
                let name = program.file_name().unwrap();
                if !self.kind.lacks.iter().any(|lacking| name == *lacking) {
                    // What is in both folders is there already.
                    std::os::unix::fs::symlink(&program, bin.join(name)).unwrap_or_default();
                }
            }
            lines.push_str(&format!("export PATH={}\n", bin.display()));
        }
        if !self.kind.programs.is_empty() {
            let programs = self.folder.join("programs");
            fs::create_dir(&programs).unwrap();
            for (name, lines) in &self.kind.programs {
                script(&programs.join(name), &format!("#!/bin/sh\n{lines}\n"));
            }
            lines.push_str(&format!("export PATH={}:$PATH\n", programs.display()));
        }
        if self.kind.noisy {
            lines.push_str(
                "echo 'Welcome! You have mail.'\nprintf 'no line end'\necho 'tput: no terminal' >&2\n",
            );
        }
        let (exec, end) = if self.kind.wrapped { ("", "\nexit $?") } else { ("exec ", "") };
        lines.push_str(&format!("{exec}{} -c \"$SSH_ORIGINAL_COMMAND\"{end}\n", shell.display()));
        lines.insert_str(0, &format!("#!{}\n", shell.display()));
        script(&self.folder.join("shell"), &lines);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.door = None;
        for (pid, _) in self.processes() {
            kill(pid);
        }
    }
}

/// Where connections come in.
struct Door {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<Child>>>,
    network: Option<Arc<Namespace>>,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    fn open(host: &Host) -> Self {
        let mut sshd = host.server();
        let network = host.kind.network.as_ref().map(|(network, _)| network.clone());
        let closing = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (bound, address) = mpsc::channel();
        let thread = {
            let (wanted, network) = (host.address, network.clone());
            let (closing, connections) = (closing.clone(), connections.clone());
            thread::spawn(move || {
                // What this thread starts is in the same network.
                network.iter().for_each(|network| enter(network));
                let listener = TcpListener::bind(wanted).unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                for stream in listener.incoming().map_while(Result::ok) {
                    if closing.load(Ordering::SeqCst) {
                        return;
                    }
                    let connection = attend(&mut sshd, stream);
                    let mut connections = connections.lock().unwrap();
                    connections
                        .retain_mut(|child: &mut Child| child.try_wait().is_ok_and(|ended| ended.is_none()));
                    connections.push(connection);
                }
            })
        };
        let address = address.recv().unwrap();
        Self { address, closing, connections, network, thread: Some(thread) }
    }
}

/// Gives a connection to an sshd of its own.
fn attend(sshd: &mut Command, stream: TcpStream) -> Child {
    let stream = OwnedFd::from(stream);
    sshd.stdin(stream.try_clone().unwrap()).stdout(stream).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let (network, address) = (self.network.clone(), self.address);
        let knock = thread::spawn(move || {
            network.iter().for_each(|network| enter(network));
            drop(TcpStream::connect(address));
        });
        drop(knock.join());
        drop(self.thread.take().map(JoinHandle::join));
        for mut connection in self.connections.lock().unwrap().drain(..) {
            let pid = i32::try_from(connection.id()).unwrap();
            if connection.try_wait().is_ok_and(|ended| ended.is_none()) {
                // A session's sshd is a child of the one that watches it; what they started is left alone, as it is
                // when a machine's sshd dies.
                let sessions: Vec<_> = descendants(pid).into_iter().filter(|pid| is_sshd(*pid)).collect();
                sessions.into_iter().chain([pid]).for_each(kill);
            }
            drop(connection.wait());
        }
    }
}

/// A mount that only its host sees: in a mount namespace, which a process holds that ends with the test.
struct Mount {
    holder: Child,
}

impl Mount {
    /// A disk of this size.
    fn disk(at: &Path, bytes: u64, inodes: u64) -> Self {
        let options = format!("size={bytes},nr_inodes={inodes},mode=755");
        Self::hold(&["-t", "tmpfs", "-o", &options, "none"], at)
    }

    /// The folder `what` under another path as well.
    fn same(what: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        Self::hold(&["--bind", what.to_str().unwrap()], at)
    }

    /// A home of its own for the user, who may log in there with this key.
    fn home(key: &Path) -> Self {
        let home = PathBuf::from(said(Command::new("sh").args(["-c", "eval echo \"~$(id -un)\""])));
        let mount = Self::hold(&["-t", "tmpfs", "-o", "mode=700", "none"], &home);
        let let_in = "umask 77 && mkdir -p \"$1/.ssh\" && cp \"$2\" \"$1/.ssh/authorized_keys\"";
        said(mount.command(Path::new("sh")).args(["-c", let_in, "sh"]).args([&home, key]));
        mount
    }

    fn hold(words: &[&str], at: &Path) -> Self {
        let line = "mount \"$@\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", line, "sh"])
            .args(words)
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n");
        Self { holder }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id())).arg(program);
        command
    }

    fn seen_from_here(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(path.strip_prefix("/").unwrap())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

/// Where a program is, in PATH or where daemons are.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(daemons).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn make_key(path: &Path) {
    drop(fs::remove_file(path));
    said(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path));
}

fn public_key(path: &Path) -> String {
    let line = fs::read_to_string(path.with_extension("pub")).unwrap();
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn all_processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    loop {
        let more: Vec<_> = all_processes()
            .filter(|pid| !found.contains(pid) && parent(*pid).is_some_and(|parent| found.contains(&parent)))
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn is_sshd(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("sshd"))
}

/// One that is gone already is what was wanted.
fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        kill_process(pid, Signal::KILL).unwrap_or_default();
    }
}
