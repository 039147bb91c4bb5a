//! Whom and where `ssh` would go, for placeholders that stand for it: as deploy.json has it, else as `ssh` itself says.

use std::{process, thread};

use pop_deploy_plugin_api::{
    Error, Result,
    protocol::Command,
    template::{Placeholders, names},
};

use crate::{address::Host, config::Config, refusal};

/// The placeholders that stand for a host, of each host.
///
/// # Errors
/// `ssh` can't be asked what deploy.json leaves to its config.
pub(crate) fn placeholders(hosts: &[Host], config: &Config) -> Result<Vec<Placeholders>> {
    let [names_port, names_user] =
        ["port", "user"].map(|wanted| texts(config).any(|text| names(text).any(|name| name == wanted)));
    // A process that few need.
    let is_asked = |host: &Host| (names_port && host.port.is_none()) || (names_user && host.user.is_none());
    let said = thread::scope(|scope| {
        // All at once: ssh's config may have programs run that take their time.
        let asked: Vec<_> =
            hosts.iter().map(|host| is_asked(host).then(|| scope.spawn(|| ask(host)))).collect();
        let answer = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(Error::failed("asking `ssh` for its settings panicked")))
        };
        asked.into_iter().map(|thread| thread.map_or(Ok(String::new()), answer)).collect::<Result<Vec<_>>>()
    })?;
    let of = |(host, said): (&Host, &String)| {
        let value = |given: Option<String>, key: &str| {
            given.or_else(|| setting(said, key).map(str::to_owned)).unwrap_or_default()
        };
        Placeholders::new([
            ("host", host.host.clone()),
            ("port", value(host.port.map(|port| port.to_string()), "port")),
            ("user", value(host.user.clone(), "user")),
        ])
    };
    Ok(hosts.iter().zip(&said).map(of).collect())
}

/// Everything that has placeholders.
fn texts(config: &Config) -> impl Iterator<Item = &String> {
    let health = config.health.iter().flat_map(|health| [&health.http, &health.tcp]).flatten();
    let check = config.health.iter().filter_map(|health| health.command.as_ref());
    let commands = config.restart.iter().chain(check).chain(config.run_once.iter().map(|once| &once.command));
    std::iter::once(&config.base).chain(health).chain(commands.flatten())
}

/// What `ssh` would do to get there, a setting a line. It connects to nothing for that.
fn ask(host: &Host) -> Result<String> {
    let argv = host.ask_settings();
    let said = process::Command::new(&argv[0]).args(&argv[1..]).output();
    let said = said.map_err(|error| refusal::no_ssh(&error))?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    let error = Error::preflight(format!("`ssh` can't tell how it would go to `{host}`"));
    Err(error.because(&Error::failed(why)).hint(format!("see what this says: {}", Command::new(argv))))
}

fn setting<'s>(said: &'s str, key: &str) -> Option<&'s str> {
    said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}
