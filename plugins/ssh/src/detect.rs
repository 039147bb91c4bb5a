//! A target for a project that Capistrano deploys: its files say which hosts there are, and where on them releases lie.
//!
//! They are Ruby, so only what stands there literally is taken; the rest is for a person to fill in.

use std::{fs, path::Path};

use pop_deploy_plugin_api::{
    protocol::Proposal,
    serde_json::{Value, json},
};

use crate::{address::HostEntry, fleet::count, shared};

const EVERYWHERE: &str = "config/deploy.rb";
const PRODUCTION: &str = "config/deploy/production.rb";

/// Proposes one, where a host is named.
pub(crate) fn propose(project: &Path) -> Option<Proposal> {
    let [everywhere, production] = [EVERYWHERE, PRODUCTION].map(|path| statements(&project.join(path)));
    let all: Vec<_> = everywhere.iter().chain(&production).map(String::as_str).collect();
    let mut hosts: Vec<String> = Vec::new();
    for host in all.iter().flat_map(|statement| hosts_of(statement)) {
        let fits = HostEntry::Address(host.clone()).resolve(project).is_ok();
        if fits && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.is_empty() {
        return None;
    }
    let application = setting(&all, "application").into_iter().next().unwrap_or_else(|| "app".to_owned());
    let base = setting(&all, "deploy_to").into_iter().find(|base| base.starts_with('/'));
    let folders = setting(&all, "linked_dirs").into_iter();
    let folders = folders.map(|folder| format!("{}/", folder.trim_end_matches('/')));
    let shared = shared::outermost(folders.chain(setting(&all, "linked_files")));
    let because = format!("Capistrano's files name {}", count(hosts.len()));
    let mut config = json!({
        "hosts": hosts,
        // Where Capistrano has it when nobody says.
        "base": base.unwrap_or_else(|| format!("/var/www/{application}")),
        "source": ".",
    });
    if !shared.is_empty() {
        config["shared"] = Value::from(shared);
    }
    Some(Proposal { name: "ssh".to_owned(), kind: "ssh".to_owned(), config, because })
}

/// The statements of a file, one a line, without comments. A line that ends in a comma goes on.
fn statements(path: &Path) -> Vec<String> {
    // No file is the usual case, and one that can't be read says as little.
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut statements: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        match statements.last_mut().filter(|last| last.ends_with(',')) {
            Some(last) => last.push_str(line),
            None => statements.push(line.to_owned()),
        }
    }
    statements
}

/// `server "host", user: "deploy"` and `role :app, %w{deploy@host}`.
fn hosts_of(statement: &str) -> Vec<String> {
    if let Some(rest) = statement.strip_prefix("server ") {
        let Some(host) = literal(rest) else { return Vec::new() };
        let user = rest.split_once("user:").and_then(|(_, user)| literal(user));
        return vec![match user {
            Some(user) if !host.contains('@') => format!("{user}@{host}"),
            _ => host,
        }];
    }
    statement.strip_prefix("role ").map(words).unwrap_or_default()
}

/// The string that `text` begins with, where it stands there as it is.
fn literal(text: &str) -> Option<String> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (inner, _) = text[1..].split_once(quote)?;
    (!inner.is_empty() && !inner.contains("#{")).then(|| inner.to_owned())
}

/// The words that `set` or `append` give a setting.
fn setting(statements: &[&str], name: &str) -> Vec<String> {
    let of = |statement: &&str| {
        let rest = statement.strip_prefix("set ").or_else(|| statement.strip_prefix("append "))?;
        rest.trim_start().strip_prefix(':')?.strip_prefix(name)?.trim_start().strip_prefix(',').map(words)
    };
    statements.iter().filter_map(of).flatten().collect()
}

/// The literal words: `"one"`, `'one'`, `%w{one two}`. Those that Ruby would fill something into aren't.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['"', '\'', '%']) {
        let (open, after) = rest[start..].split_at(1);
        let (inner, next) = match open {
            "%" => {
                let list = after.strip_prefix('w').and_then(|list| list.strip_prefix(['{', '[', '(']));
                match list.and_then(|list| list.split_once(['}', ']', ')'])) {
                    Some(list) => list,
                    None => ("", after),
                }
            }
            quote => after.split_once(quote).unwrap_or_default(),
        };
        match open {
            "%" => words.extend(inner.split_whitespace().map(str::to_owned)),
            _ => words.push(inner.to_owned()),
        }
        rest = next;
    }
    words.retain(|word| !word.is_empty() && !word.contains("#{"));
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> Option<Proposal> {
        let project = tempfile::tempdir().unwrap();
        fs::create_dir_all(project.path().join("config/deploy")).unwrap();
        for (path, text) in files {
            fs::write(project.path().join(path), text).unwrap();
        }
        propose(project.path())
    }

    #[test]
    fn what_stands_in_capistranos_files_literally_is_taken() {
        let everywhere = r#"
set :application, "shop"
set :repo_url, "git@example.org:shop.git"
# set :deploy_to, "/nowhere"
append :linked_files, "config/database.yml"
append :linked_dirs, "log", 'tmp/pids',
    "uploads"
"#;
        let production = r##"
server "web1.example.org",
    user: "deploy", roles: %w{app web}
role :app, %w{deploy@web2.example.org web3.example.org}
role :db, ["deploy@web2.example.org"]
server "#{ENV['HOST']}"
append :linked_dirs, "log", "uploads/", "uploads/cache"
"##;
        let proposal = project(&[(EVERYWHERE, everywhere), (PRODUCTION, production)]).unwrap();
        assert_eq!(
            proposal.config,
            json!({
                "hosts": ["deploy@web1.example.org", "deploy@web2.example.org", "web3.example.org"],
                "base": "/var/www/shop",
                "source": ".",
                "shared": ["log/", "tmp/pids/", "uploads/", "config/database.yml"],
            })
        );
        assert_eq!(proposal.because, "Capistrano's files name 3 hosts");
        let moved = "set :deploy_to, \"/srv/#{fetch(:application)}\"\nset :deploy_to, '/srv/shop'";
        let proposal = project(&[(EVERYWHERE, moved), (PRODUCTION, "server 'web1', user: 'x'")]).unwrap();
        assert_eq!(proposal.config["base"], "/srv/shop");
    }

    #[test]
    fn without_a_host_that_can_be_reached_nothing_is_proposed() {
        assert_eq!(project(&[]), None);
        assert_eq!(project(&[(EVERYWHERE, "set :application, \"shop\"")]), None);
        assert_eq!(
            project(&[(PRODUCTION, "server \"-oProxyCommand=id\"\nserver '\nrole :app, %w{$(id)")]),
            None
        );
    }
}
