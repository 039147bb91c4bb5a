//! The proxy's upstream file: what stands in it, and how it is put in place.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::{
    Error, IoContext as _, Process, Result, Session, check_program,
    protocol::{Command, Outcome},
    template::Placeholders,
};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Proxy, ProxyKind},
    reference::check_name,
};

/// The ending of the file that is about to take the place of the other.
const NEW: &str = ".pop-deploy-new";
/// The ending of the mark that the proxy may have read something else than the file says.
const UNREAD: &str = ".pop-deploy-unread";

/// An instance behind the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its container.
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) address: String,
    /// Its share of the traffic, against those of the others.
    pub(crate) weight: u32,
}

/// The file and the commands around it, as a step keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upstream {
    kind: ProxyKind,
    pub(crate) file: PathBuf,
    name: String,
    test: Option<Command>,
    reload: Option<Command>,
}

/// Refuses what would not be a file, a name or a command; `key` is where this stands: `config.run.proxy`.
///
/// # Errors
/// That.
pub(crate) fn check(key: &str, proxy: &Proxy) -> Result<()> {
    if let Some(name) = &proxy.upstream {
        check_name(&format!("{key}.upstream"), name)?;
    }
    if proxy.file.file_name().is_none()
        || proxy.file.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control)
    {
        return Err(
            Error::config(format!("`{key}.file` is no file")).hint("give the path of the upstream file")
        );
    }
    if proxy.port == 0 {
        return Err(
            Error::config(format!("`{key}.port` is no port")).hint("give the one the container listens on")
        );
    }
    for (command, argv) in [("test", &proxy.test), ("reload", &proxy.reload)] {
        if let Some(argv) = argv {
            let hint = "give program and arguments, such as [\"nginx\", \"-t\"]";
            check_program(&format!("{key}.{command}"), argv, hint)?;
        }
    }
    Ok(())
}

impl Upstream {
    /// # Errors
    /// A placeholder in a command that isn't there.
    pub(crate) fn new(proxy: &Proxy, app: &str, session: &Session) -> Result<Self> {
        let file = session.project.join(&proxy.file);
        let temporary = beside(&file, NEW).display().to_string();
        let fill = |key: &str, argv: &[String]| {
            Placeholders::default().with("file", temporary.clone()).fill_command(key, argv).map(Command::new)
        };
        let usual =
            |argv: Option<&[&str]>| argv.map(|argv| argv.iter().map(|word| (*word).to_owned()).collect());
        let (test, reload) = usual_commands(proxy.kind);
        let test: Option<Vec<String>> = proxy.test.clone().or_else(|| usual(test));
        let reload: Option<Vec<String>> = proxy.reload.clone().or_else(|| usual(reload));
        Ok(Self {
            kind: proxy.kind,
            name: proxy.upstream.clone().unwrap_or_else(|| app.to_owned()),
            test: test.map(|argv| fill("proxy.test", &argv)).transpose()?,
            reload: reload.map(|argv| fill("proxy.reload", &argv)).transpose()?,
            file,
        })
    }

    /// The commands that putting a file in place runs.
    pub(crate) fn commands(&self) -> Vec<Command> {
        self.test.iter().chain(&self.reload).cloned().collect()
    }

    /// What the file says now; nothing where it isn't there.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn read(&self) -> Result<Option<String>> {
        match fs::read_to_string(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => text.map(Some).at("read", &self.file),
        }
    }

    /// What the file says when these servers share the traffic.
    pub(crate) fn render(&self, servers: &[Server]) -> String {
        let name = &self.name;
        let head = "# Written by pop-deploy with every switch; changes made here are lost.\n";
        let lines = |line: &dyn Fn(&Server) -> String| servers.iter().map(line).collect::<String>();
        let body = match self.kind {
            ProxyKind::Nginx => format!(
                "upstream {name} {{\n{}}}\n",
                lines(&|server| format!(
                    "    server {} weight={}; # {}\n",
                    server.address, server.weight, server.name
                ))
            ),
            ProxyKind::Caddy => {
                // Weights are only known to newer ones: each server stands there as often as its share asks for.
                let part = servers.iter().map(|server| server.weight).fold(0, common_divisor).max(1);
                let addresses: String = servers
                    .iter()
                    .map(|server| format!(" {}", server.address).repeat((server.weight / part) as usize))
                    .collect();
                format!("reverse_proxy{addresses} {{\n    lb_policy round_robin\n}}\n")
            }
            ProxyKind::Haproxy => format!(
                "backend {name}\n{}",
                lines(&|server| format!(
                    "    server {} {} weight {}\n",
                    server.name, server.address, server.weight
                ))
            ),
            ProxyKind::Traefik => {
                let weighted = lines(&|server| {
                    format!("          - name: {}\n            weight: {}\n", server.name, server.weight)
                });
                let each = lines(&|server| {
                    format!(
                        "    {}:\n      loadBalancer:\n        servers:\n          - url: http://{}\n",
                        server.name, server.address
                    )
                });
                format!(
                    "http:\n  services:\n    {name}:\n      weighted:\n        services:\n{weighted}{each}"
                )
            }
        };
        format!("{head}{body}")
    }

    /// Has the file say `text`, and the proxy know it: as [`put`](Self::put), where that isn't so already.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn set(&self, text: &str, session: &Session) -> Result<Outcome> {
        if self.read()?.as_deref() == Some(text) && !self.is_unread()? {
            return Ok(Outcome::Unchanged);
        }
        self.put(text, session)?;
        Ok(Outcome::Changed)
    }

    /// Puts a file that says `text` in place, tested, and has the proxy read it.
    ///
    /// # Errors
    /// It can't be written, or the proxy doesn't take it: then the file is again what it was. Whether the proxy read it
    /// meanwhile isn't known when the command that has it do so failed: see [`is_unread`](Self::is_unread).
    pub(crate) fn put(&self, text: &str, session: &Session) -> Result<()> {
        let before = self.read()?;
        let temporary = beside(&self.file, NEW);
        self.write(&temporary, text)?;
        let tests_new_file = self.test.as_ref().is_some_and(|test| mentions(test, &temporary));
        if tests_new_file && let Err(error) = self.try_out(session) {
            remove(&temporary)?;
            return Err(error);
        }
        let was_unread = self.is_unread()?;
        self.mark()?;
        fs::rename(&temporary, &self.file).at("replace", &self.file)?;
        // Most proxies only test a whole configuration, with the file in its place. They don't read it before they are
        // told to.
        if !tests_new_file && let Err(error) = self.try_out(session) {
            self.put_back(before.as_deref())?;
            if !was_unread {
                self.unmark()?;
            }
            return Err(error);
        }
        if let Err(error) = self.reload(session) {
            self.put_back(before.as_deref())?;
            return Err(error);
        }
        match self.read()?.as_deref() {
            Some(found) if found == text => Ok(()),
            _ => Err(Error::failed(format!("`{}` isn't what was written a moment ago", self.file.display()))
                .hint("find out who else writes it")),
        }
    }

    /// Makes the file what it was, tested or not, and has the proxy read it.
    ///
    /// # Errors
    /// It can't be written, or the proxy doesn't reload.
    pub(crate) fn restore(&self, before: Option<&str>, session: &Session) -> Result<()> {
        self.mark()?;
        self.put_back(before)?;
        self.reload(session)
    }

    /// Whether the proxy may have read something else than the file says: no reload since it changed ended well.
    ///
    /// # Errors
    /// The folder can't be read.
    pub(crate) fn is_unread(&self) -> Result<bool> {
        let mark = beside(&self.file, UNREAD);
        fs::exists(&mark).at("look at", &mark)
    }

    /// Left before the file changes, so that it is there however a run ends.
    fn mark(&self) -> Result<()> {
        let mark = beside(&self.file, UNREAD);
        fs::write(&mark, "").at("write", &mark)
    }

    fn unmark(&self) -> Result<()> {
        remove(&beside(&self.file, UNREAD))
    }

    fn put_back(&self, before: Option<&str>) -> Result<()> {
        remove(&beside(&self.file, NEW))?;
        match before {
            None => remove(&self.file),
            Some(text) => {
                let temporary = beside(&self.file, NEW);
                self.write(&temporary, text)?;
                fs::rename(&temporary, &self.file).at("replace", &self.file)
            }
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        fs::write(path, text).at("write", path)?;
        // As the file that it replaces: the proxy may run as somebody else.
        let mode = fs::metadata(&self.file).map_or(0o644, |meta| meta.permissions().mode() & 0o777);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("change the mode of", path)
    }

    fn try_out(&self, session: &Session) -> Result<()> {
        let Some(test) = &self.test else { return Ok(()) };
        Process::new(test).run(session)?.success().map(|_| ()).map_err(|error| Error {
            message: format!("the proxy doesn't take `{}`", self.file.display()),
            ..error
        })
    }

    fn reload(&self, session: &Session) -> Result<()> {
        if let Some(reload) = &self.reload {
            Process::new(reload).run(session)?.success()?;
        }
        self.unmark()
    }
}

fn usual_commands(kind: ProxyKind) -> (Option<&'static [&'static str]>, Option<&'static [&'static str]>) {
    match kind {
        ProxyKind::Nginx => (Some(&["nginx", "-t", "-q"]), Some(&["nginx", "-s", "reload"])),
        ProxyKind::Caddy => (
            Some(&["caddy", "validate", "--config", "/etc/caddy/Caddyfile"]),
            Some(&["caddy", "reload", "--config", "/etc/caddy/Caddyfile"]),
        ),
        ProxyKind::Haproxy => (
            Some(&["haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg", "-f", "{{file}}"]),
            Some(&["systemctl", "reload", "haproxy"]),
        ),
        // It watches the file.
        ProxyKind::Traefik => (None, None),
    }
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

fn mentions(command: &Command, file: &Path) -> bool {
    let file = file.display().to_string();
    command.argv.iter().any(|word| word.contains(&file))
}

/// Beside the file, so that taking its place is a rename; with an ending that no include pattern takes.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    file.with_file_name(name)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.at("remove", path),
    }
}
