//! The programs that proxy: how each is set up in a folder, tested and told to read its file again.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::engine::free_port;

/// A program that proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Nginx,
    Haproxy,
    Caddy,
}

impl Program {
    /// As a config has it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
        }
    }

    /// Whether it is installed here.
    pub fn is_here(self) -> bool {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/sbin"].map(Into::into);
        std::env::split_paths(&folders).chain(usual).any(|folder| folder.join(self.kind()).is_file())
    }

    /// Writes its own configuration, for visitors at `port`, and an upstream that leads nowhere yet.
    pub fn set_up(self, here: &Path, port: u16) {
        let shown = here.display();
        let (configuration, upstream) = match self {
            Self::Nginx => {
                let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|kind| format!("{kind}_temp_path {shown}/{kind};\n"))
                    .concat();
                let configuration = format!(
                    "daemon off;\npid {shown}/pid;\nerror_log {shown}/error;\nworker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}include {shown}/upstream;\nserver {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://shop; }} }}\n}}\n"
                );
                (configuration, "upstream shop { server 127.0.0.1:9; }\n")
            }
            // Its listeners go from process to process by that socket.
            Self::Haproxy => (
                format!(
                    "global\n    stats socket {shown}/socket level admin expose-fd listeners\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\nfrontend visitors\n    bind 127.0.0.1:{port}\n    default_backend shop\n"
                ),
                "backend shop\n    server nobody 127.0.0.1:9\n",
            ),
            Self::Caddy => (
                format!(
                    "{{\n    admin 127.0.0.1:{}\n    auto_https off\n}}\nhttp://:{port} {{\n    import {shown}/upstream\n}}\n",
                    free_port()
                ),
                "reverse_proxy 127.0.0.1:9\n",
            ),
        };
        fs::write(here.join("configuration"), configuration).unwrap();
        fs::write(here.join("upstream"), upstream).unwrap();
    }

    /// The words that start it in the foreground.
    pub fn start(self, here: &Path) -> Vec<String> {
        let file = |name: &str| here.join(name).display().to_string();
        match self {
            Self::Nginx => words(&["nginx", "-c", &file("configuration"), "-e", &file("error")]),
            Self::Haproxy => words(&[
                "haproxy",
                "-W",
                "-db",
                "-p",
                &file("pid"),
                "-f",
                &file("configuration"),
                "-f",
                &file("upstream"),
            ]),
            Self::Caddy => {
                let homes = ["DATA", "CONFIG"].map(|kind| format!("XDG_{kind}_HOME={}", file("home")));
                let run = ["caddy", "run", "--adapter=caddyfile", "--config", &file("configuration")];
                words(&[&["env", &homes[0], &homes[1]], &run[..]].concat())
            }
        }
    }

    /// The `proxy` of a config that leads here.
    pub fn config(self, here: &Path) -> Value {
        let file = |name: &str| here.join(name).display().to_string();
        let configuration = file("configuration");
        let (test, reload) = match self {
            Self::Nginx => {
                let nginx = ["/usr/sbin/nginx", "-c", &configuration, "-e", &file("error")];
                let nginx = |more: &[&str]| words(&[&nginx[..], more].concat());
                (nginx(&["-t", "-q"]), nginx(&["-s", "reload"]))
            }
            Self::Haproxy => (
                words(&["/usr/sbin/haproxy", "-c", "-q", "-f", &configuration, "-f", "{{file}}"]),
                words(&["sh", "-c", &format!("kill -USR2 $(cat {})", file("pid"))]),
            ),
            Self::Caddy => {
                let caddy =
                    |verb: &str| words(&["caddy", verb, "--adapter=caddyfile", "--config", &configuration]);
                (caddy("validate"), caddy("reload"))
            }
        };
        json!({
            "kind": self.kind(),
            "file": here.join("upstream"),
            "upstream": "shop",
            "port": 8080,
            "drain": 2,
            "test": test,
            "reload": reload,
        })
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
