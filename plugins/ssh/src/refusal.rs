//! What `ssh` means when it gives up: its words, read for people.

use std::io;

use pop_deploy_plugin_api::Error;

use crate::address::Host;

/// What ssh's words stand for, the most telling first: the words, what is wrong, what to try. `{host}` is the host.
const MEANINGS: &[(&str, &str, &str)] = &[
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "`{host}` shows another host key than the one that is known",
        "find out why before you go on; if the machine was replaced, {forget}",
    ),
    (
        "host key is known for",
        "the host key of `{host}` isn't known",
        "log in once by hand and compare the key, or give it as `host_key`, or set `accept_new_host_keys`",
    ),
    (
        "Host key verification failed",
        "the host key of `{host}` can't be verified",
        "log in once by hand and compare the key, or give it as `host_key`",
    ),
    (
        "no mutual signature",
        "`{host}` accepts no kind of key that there is here",
        "use a key of a newer kind, such as ed25519",
    ),
    (
        "Too many authentication failures",
        "`{host}` was offered too many keys",
        "name the right one in `identity_file`",
    ),
    ("Permission denied (", "`{host}` doesn't let {user} in", "{login}"),
    (
        "Could not resolve hostname",
        "there is no host `{host}`",
        "look for typing mistakes, in your ssh config too",
    ),
    (
        "Connection refused",
        "nothing listens for ssh at `{host}`",
        "look whether sshd runs there, and at that port",
    ),
    (
        "No route to host",
        "there is no way to `{host}`",
        "look at the network, or go through a bastion with ProxyJump",
    ),
    (
        "Network is unreachable",
        "there is no way to `{host}`",
        "look at the network, or go through a bastion with ProxyJump",
    ),
    ("timed out", "`{host}` doesn't answer", "look whether it is up, and whether a firewall stands between"),
    (
        "account is currently not available",
        "{user} may not log in at `{host}`",
        "give the user a shell there, or use another one",
    ),
    (
        "allows sftp connections only",
        "{user} may only use sftp at `{host}`",
        "let the user run commands there, or use another one",
    ),
    (
        UNKNOWN_END,
        "the ProxyCommand or ProxyJump on the way to `{host}` ended",
        "see what this says: {shown}; many connections at once are refused too: lower `max_connections`",
    ),
    (
        "Connection closed by",
        "`{host}` closed the connection",
        "look at the log of sshd there; many connections at once are refused too: lower `max_connections`",
    ),
    (
        "Connection reset by",
        "`{host}` closed the connection",
        "look at the log of sshd there; many connections at once are refused too: lower `max_connections`",
    ),
    (BAD_CONFIG, "your ssh config has a mistake in it", "mend that line"),
    (
        "Bad owner or permissions on",
        "`ssh` doesn't trust your ssh config",
        "make it your own, and let nobody else write to it: chmod go-w",
    ),
];

/// How `ssh` ends when its config is wrong; the lines before that say where.
const BAD_CONFIG: &str = "bad configuration options";
/// How `ssh` calls the other end of a connection that a program makes for it.
const UNKNOWN_END: &str = "UNKNOWN port";
/// So many of the last lines before such an end are the reason.
const REASONS: usize = 3;

/// There is no `ssh` here.
pub(crate) fn no_ssh(error: &io::Error) -> Error {
    Error::preflight("can't start `ssh`").because(error).hint("install an OpenSSH client")
}

/// The failure to log in that these words tell of.
pub(crate) fn read(host: &Host, words: &[String]) -> Error {
    let user = host.user.as_ref().map_or_else(|| "you".to_owned(), |user| format!("`{user}`"));
    let fill = |text: &str| {
        text.replace("{host}", &host.name)
            .replace("{forget}", &forget_hint(host))
            .replace("{user}", &user)
            .replace("{login}", &login_hint(host))
            .replace("{shown}", &host.shown("true").to_string())
    };
    let found = MEANINGS.iter().find(|(word, ..)| say(words, word));
    let said = words.iter().filter(|line| !line.trim().is_empty());
    let last = |count: usize| said.clone().skip(said.clone().count().saturating_sub(count));
    let (error, lines): (_, Vec<_>) = match found {
        Some((word, message, hint)) => {
            let lines = match *word {
                UNKNOWN_END | BAD_CONFIG => last(REASONS + 1).filter(|line| !line.contains(word)).collect(),
                word => said.clone().find(|line| line.contains(word)).into_iter().collect(),
            };
            (Error::preflight(fill(message)).hint(fill(hint)), lines)
        }
        None => {
            let error = Error::preflight(format!("can't open a shell at `{host}`"));
            (error.hint(fill("see what this says: {shown}")), last(1).collect())
        }
    };
    lines.into_iter().fold(error, |error, line| {
        error.because(&Error::failed(line.trim_matches(['@', ' ', '\r']).to_owned()))
    })
}

/// Whether these words mean that trying again may help: a server that has too many logins under way.
pub(crate) fn is_passing(words: &[String]) -> bool {
    say(words, "kex_exchange_identification")
        && (say(words, "Connection closed by") || say(words, "Connection reset by"))
}

/// Whether these words mean that nobody is there. Where somebody was a moment ago, its sshd may be starting again, or the
/// name service be out of breath.
pub(crate) fn is_absence(words: &[String]) -> bool {
    say(words, "Connection refused") || say(words, "Could not resolve hostname")
}

fn say(words: &[String], word: &str) -> bool {
    words.iter().any(|line| line.contains(word))
}

fn forget_hint(host: &Host) -> String {
    match (&host.host_key, host.port) {
        (Some(_), _) => "correct its `host_key`".to_owned(),
        (None, Some(port)) if port != 22 => {
            format!("have your known_hosts forget it: ssh-keygen -R '[{}]:{port}'", host.host)
        }
        (None, _) => format!("have your known_hosts forget it: ssh-keygen -R {}", host.host),
    }
}

fn login_hint(host: &Host) -> String {
    let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|path| std::path::Path::new(path).exists());
    match (&host.identity_file, agent) {
        (Some(path), _) if !path.starts_with("~") && !path.exists() => {
            format!("`identity_file` names `{}`, which isn't there", path.display())
        }
        (Some(path), _) => {
            format!("look whether `{}` is the right key, without a passphrase, and its public half in ~/.ssh/authorized_keys there", path.display())
        }
        (None, None) => "no ssh agent runs here: start one and `ssh-add` a key, or give `identity_file`".to_owned(),
        (None, Some(_)) => "look at the user's name, and whether `ssh-add -l` shows a key that is in ~/.ssh/authorized_keys there".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::address::HostEntry;

    fn read(words: &[&str]) -> Error {
        let host = HostEntry::Address("web1".to_owned()).resolve(Path::new("/project")).unwrap();
        super::read(&host, &words.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn who_made_the_connection_is_told_of_with_its_own_reason() {
        let cut = "kex_exchange_identification: Connection closed by remote host";
        let error = read(&["sh: 1: nc: not found", cut, "Connection closed by UNKNOWN port 65535"]);
        assert_eq!(error.message, "the ProxyCommand or ProxyJump on the way to `web1` ended");
        assert_eq!(error.causes, ["sh: 1: nc: not found", cut]);
        assert!(is_passing(&error.causes), "a bastion with too many logins under way says no more");
        let error = read(&["banner exchange: Connection to UNKNOWN port 65535: Broken pipe"]);
        assert_eq!(error.causes, [""; 0]);
    }

    #[test]
    fn the_line_of_the_ssh_config_that_is_wrong_is_shown() {
        let end = "/home/me/.ssh/config: terminating, 1 bad configuration options";
        for line in [
            "/home/me/.ssh/config: line 7: Bad configuration option: proxyjmp",
            "/home/me/.ssh/config line 7: Bad port 'x'.",
        ] {
            let error = read(&[line, end]);
            assert_eq!(
                (error.message.as_str(), error.causes.as_slice()),
                ("your ssh config has a mistake in it", [line.to_owned()].as_slice())
            );
        }
        let error = read(&["/etc/profile: line 3: Bad substitution"]);
        assert!(error.message.starts_with("can't open a shell"), "{error:?}");
    }
}
