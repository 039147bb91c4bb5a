//! Where a host is, and the words that bring `ssh` there.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::{Error, Result, protocol::Command};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::quote;

/// A host as deploy.json has it: `"user@host:port"`, or an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected \"user@host:port\" or an object with `host`")]
pub(crate) enum HostEntry {
    /// `"host"`, `"user@host"`, `"host:port"`, `"user@host:port"`; an IPv6 address with a port stands in `[]`.
    Address(String),
    /// A host with more to say about it.
    Object(HostObject),
}

/// A host with more to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostObject {
    /// A name, an address, or an alias of your ssh config.
    pub(crate) host: String,
    /// The port, where it is neither 22 nor in your ssh config.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// Whom to log in as.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// The private key to log in with, relative to the project or `~/…`; no other key is tried then.
    #[serde(default)]
    pub(crate) identity_file: Option<PathBuf>,
    /// The only key that the host may show, such as `ssh-ed25519 AAAA…`.
    #[serde(default)]
    pub(crate) host_key: Option<String>,
    /// Words for `run_once` and `canary` to find the host by.
    #[serde(default)]
    pub(crate) labels: Vec<String>,
}

/// A host that can be asked for: every word of it is one that `ssh` takes for what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) user: Option<String>,
    pub(crate) identity_file: Option<PathBuf>,
    pub(crate) host_key: Option<String>,
    pub(crate) labels: Vec<String>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl HostEntry {
    /// Checks every word.
    ///
    /// # Errors
    /// A word that `ssh`, or a shell behind it, could take for something else.
    pub(crate) fn resolve(&self, project: &Path) -> Result<Host> {
        let object = match self {
            Self::Object(object) => object.clone(),
            Self::Address(address) => parse(address)?,
        };
        let HostObject { host, port, user, identity_file, host_key, labels } = object;
        check_word("host", &host, "-_.:%")?;
        if let Some(user) = &user {
            check_word("user", user, "-_.+@\\$")?;
        }
        if port == Some(0) {
            return Err(Error::config(format!("`config.hosts`: `{host}` has the port 0"))
                .hint("give its port, or leave it out"));
        }
        if let Some(key) = &host_key {
            check_key(&host, port, key)?;
        }
        let identity_file =
            identity_file.map(|path| if path.starts_with("~") { path } else { project.join(path) });
        let mut name = match &user {
            Some(user) => format!("{user}@{host}"),
            None => host.clone(),
        };
        if let Some(port) = port {
            name = if host.contains(':') { name.replace(&host, &format!("[{host}]")) } else { name };
            name.push_str(&format!(":{port}"));
        }
        Ok(Host { name, host, port, user, identity_file, host_key, labels })
    }
}

fn parse(address: &str) -> Result<HostObject> {
    let wrong = || {
        Error::config(format!("`config.hosts`: `{}` is no address of a host", address.escape_debug()))
            .hint("write it as user@host:port; an IPv6 address with a port stands in []")
    };
    let (user, rest) = match address.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, address),
    };
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']').ok_or_else(wrong)?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(wrong()),
            }
        }
        None if rest.matches(':').count() > 1 => (rest, None),
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = port.map(|port| port.parse().map_err(|_| wrong())).transpose()?;
    Ok(HostObject {
        host: host.to_owned(),
        port,
        user,
        identity_file: None,
        host_key: None,
        labels: Vec::new(),
    })
}

/// Letters, digits and `more`, and no `-` in front: `%h` and `%r` of a ProxyCommand go through a shell of the user's.
fn check_word(field: &str, word: &str, more: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        return Ok(());
    }
    Err(Error::config(format!("`config.hosts`: `{}` can't be a {field}", word.escape_debug()))
        .hint("give it a plain name in your ssh config, and write that name here"))
}

fn check_key(host: &str, port: Option<u16>, key: &str) -> Result<()> {
    let mut words = key.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let of = |word: &str, more: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let fits = words.next().is_some_and(|blob| blob.starts_with("AAAA") && of(blob, "+/="))
        && (kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-"))
        && of(kind, "-.@")
        && !key.contains(['\n', '\r']);
    if fits {
        return Ok(());
    }
    let port = port.map_or_else(String::new, |port| format!("-p {port} "));
    Err(Error::config(format!("`config.hosts`: the `host_key` of `{host}` is no public key")).hint(format!(
        "write kind and key as `ssh-keyscan {port}{host}` shows them, such as \"ssh-ed25519 AAAA…\""
    )))
}

/// What goes into every call of `ssh`.
#[derive(Debug, Clone)]
pub(crate) struct Approach {
    /// Whether a key that was never seen is taken for good and remembered.
    pub(crate) accept_new: bool,
    /// Where files with pinned keys may lie.
    pub(crate) scratch: PathBuf,
}

/// The command that a login shell of any make runs: everything else comes by standard input.
const OPENING: &str = r#"exec sh -c 'IFS= read -r l; eval "$l"'"#;

impl Host {
    /// Whether the host goes by this name, or has this label.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.host == name || self.labels.iter().any(|label| label == name)
    }

    /// Where it is, whoever goes there.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port.unwrap_or(22))
    }

    /// The argv that opens a connection.
    pub(crate) fn connect(&self, approach: &Approach) -> Vec<String> {
        let mut argv: Vec<String> = ["ssh", "-T"].map(str::to_owned).to_vec();
        let mut option = |text: String| argv.extend(["-o".to_owned(), text]);
        for text in [
            "BatchMode=yes",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=3",
            // A master that stays behind would hold our pipes open; one that is there already is used.
            "ControlMaster=no",
            "ClearAllForwardings=yes",
            "RemoteCommand=none",
            "PermitLocalCommand=no",
            "LogLevel=INFO",
        ] {
            option(text.to_owned());
        }
        match (&self.host_key, approach.accept_new) {
            (Some(_), _) => {
                option("StrictHostKeyChecking=yes".to_owned());
                option(format!("HostKeyAlias={PINNED}"));
                option(format!("UserKnownHostsFile={}", value(&self.pinned_in(approach))));
                option("GlobalKnownHostsFile=/dev/null".to_owned());
            }
            (None, true) => option("StrictHostKeyChecking=accept-new".to_owned()),
            (None, false) => option("StrictHostKeyChecking=yes".to_owned()),
        }
        if let Some(path) = &self.identity_file {
            option(format!("IdentityFile={}", value(path)));
            option("IdentitiesOnly=yes".to_owned());
        }
        argv.extend(self.destination());
        argv.push(OPENING.to_owned());
        argv
    }

    /// The argv that has `ssh` say what its config makes of the host; it connects to nothing.
    pub(crate) fn ask_settings(&self) -> Vec<String> {
        ["ssh", "-G"].map(str::to_owned).into_iter().chain(self.destination()).collect()
    }

    /// The words that say whom and where to go, the last options of all.
    fn destination(&self) -> impl Iterator<Item = String> {
        let port = self.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]);
        let user = self.user.iter().flat_map(|user| ["-l".to_owned(), user.clone()]);
        port.chain(user).chain(["--".to_owned(), self.host.clone()])
    }

    /// The file that holds the pinned key, and what must stand in it.
    pub(crate) fn known_hosts(&self, approach: &Approach) -> Option<(PathBuf, String)> {
        let key = self.host_key.as_ref()?;
        Some((self.pinned_in(approach), format!("{PINNED} {}\n", kind_and_blob(key))))
    }

    fn pinned_in(&self, approach: &Approach) -> PathBuf {
        // No two hosts may share it, and no name is too long or too strange for it.
        let name = blake3::hash(self.name.as_bytes()).to_hex();
        approach.scratch.join(format!("known-{}", &name[..32]))
    }

    /// What a person would type to run `line` there: their own ssh config has the rest.
    pub(crate) fn shown(&self, line: &str) -> Command {
        let mut argv = vec!["ssh".to_owned()];
        argv.extend(self.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
        if let Some(path) = &self.identity_file {
            argv.extend(typed_identity(path));
        }
        if let Some(key) = &self.host_key {
            // No file that a run leaves behind holds it.
            argv.extend(["-o".to_owned(), format!("KnownHostsCommand=/bin/echo %H {}", kind_and_blob(key))]);
        }
        argv.push(match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        });
        argv.push(line.to_owned());
        Command::new(argv)
    }

    /// What a person would type to run a command in a folder there.
    pub(crate) fn shown_in(&self, folder: &str, argv: &[String]) -> Command {
        self.shown(&format!("cd {} && {}", quote::shown(folder), quote::line(argv)))
    }
}

const PINNED: &str = "pop-deploy-pinned";

/// A public key without its comment.
fn kind_and_blob(key: &str) -> String {
    key.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// The words by which `ssh` tries this key and no other.
fn typed_identity(path: &Path) -> [String; 4] {
    // `-i` looks for the file before it reads `%%` as `%`.
    let [option, path] = match path.display().to_string() {
        text if text.contains('%') => ["-o".to_owned(), format!("IdentityFile={}", value(path))],
        text => ["-i".to_owned(), text],
    };
    [option, path, "-o".to_owned(), "IdentitiesOnly=yes".to_owned()]
}

/// A path as the value of an ssh option: `%` and quotes mean something there.
fn value(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn host(address: &str) -> Result<Host> {
        HostEntry::Address(address.to_owned()).resolve(Path::new("/project"))
    }

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        let parts = |address: &str| {
            let host = host(address).unwrap();
            (host.user, host.host, host.port, host.name)
        };
        assert_eq!(parts("web1"), (None, "web1".into(), None, "web1".into()));
        assert_eq!(
            parts("deploy@web1.example.org:2222"),
            (
                Some("deploy".into()),
                "web1.example.org".into(),
                Some(2222),
                "deploy@web1.example.org:2222".into()
            )
        );
        assert_eq!(parts("::1"), (None, "::1".into(), None, "::1".into()));
        assert_eq!(parts("[::1]:22"), (None, "::1".into(), Some(22), "[::1]:22".into()));
    }

    #[test]
    fn words_that_ssh_or_a_shell_could_misread_are_refused() {
        for address in [
            "",
            "-oProxyCommand=id",
            "web 1",
            "web;id",
            "$(id)",
            "a'b",
            "web\n1",
            "-l@web1",
            "us er@web",
            "`id`@web",
            "web:x",
            "web:0",
            "[::1",
        ] {
            let error = host(address).unwrap_err();
            assert!(error.message.starts_with("`config.hosts`: "), "{address:?}: {}", error.message);
        }
    }

    #[test]
    fn hosts_of_similar_names_have_pinned_keys_of_their_own() {
        let approach = Approach { accept_new: false, scratch: "/tmp/s".into() };
        let file = |host: &str| {
            let key = Some("ssh-ed25519 AAAAC3Nz".to_owned());
            Host { host_key: key, ..self::host(host).unwrap() }.known_hosts(&approach).unwrap().0
        };
        let files: std::collections::BTreeSet<_> =
            ["a.b", "a-b", "a_b", "u@a.b", "u-a.b", "a.b:22"].into_iter().map(file).collect();
        assert_eq!(files.len(), 6, "{files:?}");
        assert!(files.iter().all(|file| file.parent() == Some(Path::new("/tmp/s"))));
    }

    #[test]
    fn a_pinned_key_leaves_no_other_way_in() {
        let object = HostObject {
            host: "web1".into(),
            port: Some(2222),
            user: Some("deploy".into()),
            identity_file: Some("keys/it's 100%".into()),
            host_key: Some("ssh-ed25519 AAAAC3Nz comment".into()),
            labels: Vec::new(),
        };
        let host = HostEntry::Object(object).resolve(Path::new("/project")).unwrap();
        let approach = Approach { accept_new: true, scratch: "/tmp/s".into() };
        let argv = host.connect(&approach);
        for wanted in [
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "IdentityFile=\"/project/keys/it's 100%%\"",
            "IdentitiesOnly=yes",
        ] {
            assert!(argv.contains(&wanted.to_owned()), "{wanted} in {argv:?}");
        }
        assert_eq!(argv[argv.len() - 3..argv.len() - 1], ["--", "web1"]);
        let (_, line) = host.known_hosts(&approach).unwrap();
        assert_eq!(line, "pop-deploy-pinned ssh-ed25519 AAAAC3Nz\n");
        assert_eq!(
            host.shown("true").argv,
            [
                "ssh",
                "-p",
                "2222",
                "-o",
                "IdentityFile=\"/project/keys/it's 100%%\"",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "KnownHostsCommand=/bin/echo %H ssh-ed25519 AAAAC3Nz",
                "deploy@web1",
                "true"
            ]
        );
    }
}
