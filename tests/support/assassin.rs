//! Runs that die between two commands: stand-ins for `docker` and for a proxy's reload that kill when a command's turn has
//! come.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    shop::{Behaviour, Shop},
    support::Said,
};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Host,
    Worker,
}

/// When, around the command whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// Whose turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Every command that changes something.
    Everything,
    /// Those that change services, or what leads to them.
    Services,
}

/// A `docker` and a `reload` that kill at the nth command that changes something.
pub struct Assassin {
    folder: tempfile::TempDir,
}

impl Assassin {
    pub fn new(aim: Aim) -> Self {
        let folder = tempfile::Builder::new().prefix("assassin-").tempdir().unwrap();
        for program in ["docker", "reload"] {
            let path = folder.path().join(program);
            fs::write(&path, include_str!("assassin.sh")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let assassin = Self { folder };
        fs::write(assassin.file("aim"), format!("{aim:?}")).unwrap();
        assassin.disarm();
        assassin
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A proxy whose reload is one of the commands.
    pub fn behind(&self, mut proxy: Value) -> Value {
        let reload = proxy["reload"].as_array().unwrap().iter().cloned();
        proxy["reload"] = [json!(self.file("reload"))].into_iter().chain(reload).collect();
        proxy
    }

    /// Arms it; [`struck`](Self::struck) says whether there were so many commands.
    pub fn arm(&self, nth: usize, victim: Victim, when: When) {
        fs::write(self.file("turns"), nth.to_string()).unwrap();
        fs::write(self.file("victim"), format!("{victim:?}")).unwrap();
        fs::write(self.file("when"), format!("{when:?}")).unwrap();
    }

    pub fn disarm(&self) {
        fs::write(self.file("turns"), "0").unwrap();
    }

    pub fn struck(&self) -> Option<String> {
        let command = fs::read_to_string(self.file("struck")).ok()?;
        fs::remove_file(self.file("struck")).unwrap();
        Some(command)
    }

    pub fn deploy(&self, shop: &Shop, version: &str) -> Said {
        shop.dockerfile(version, Behaviour::Well);
        let path = std::env::var("PATH").unwrap();
        let mut command = shop.command(&["execute", "--yes", "--version", version]);
        command.env("PATH", format!("{}:{path}", self.folder.path().display()));
        command.output().unwrap().into()
    }
}
