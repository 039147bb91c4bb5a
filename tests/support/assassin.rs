//! Runs that die between two commands: stand-ins for `docker` and for a proxy's reload that kill when a command's turn has
//! come.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    shop::{Behaviour, Shop, script},
    support::Said,
};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Host,
    Worker,
}

/// When, around the command whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
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

/// Whether the environment asks for every way to die, and not only for another one with every command.
pub fn everything() -> bool {
    std::env::var_os("POP_DEPLOY_EVERY_DEATH").is_some()
}

/// The ways to die at the nth command.
fn ways(nth: usize) -> &'static [(Victim, When)] {
    match (everything(), nth % 2) {
        (true, _) => &[
            (Victim::Host, When::Before),
            (Victim::Host, When::After),
            (Victim::Worker, When::Before),
            (Victim::Worker, When::After),
        ],
        (false, 1) => &[(Victim::Host, When::After)],
        (false, _) => &[(Victim::Worker, When::Before)],
    }
}

/// A `docker` and a `reload` that kill at the nth command that changes something.
pub struct Assassin {
    folder: tempfile::TempDir,
}

impl Assassin {
    pub fn new(aim: Aim) -> Self {
        let folder = tempfile::Builder::new().prefix("assassin-").tempdir().unwrap();
        for program in ["docker", "reload"] {
            script(&folder.path().join(program), include_str!("assassin.sh"));
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

    /// Has deployments of version 2 over 1 die at each of their commands in turn, and goes back where that is left to somebody.
    /// `look` sees to it that 1 is all there is then; it hears of each death, and whether 2 went live all the same. Returns
    /// the deaths.
    pub fn strike_everywhere(&self, shop: &Shop, mut look: impl FnMut(&str, bool)) -> Vec<String> {
        let mut deaths = Vec::new();
        for nth in 1.. {
            for (victim, when) in ways(nth) {
                self.arm(nth, *victim, *when);
                let said = self.deploy(shop, "2");
                self.disarm();
                let Some(command) = self.struck() else {
                    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
                    return deaths;
                };
                let death = format!("{victim:?} {when:?} `{command}`");
                let told = format!("{death}: {:?} {}{}", said.code, said.stdout, said.stderr);
                match (victim, said.code) {
                    (Victim::Host, code) => {
                        assert_eq!(code, None, "{told}");
                        assert_eq!(
                            shop.run(&["execute", "--yes", "--version", "2", "--wait", "60"]).code,
                            Some(7),
                            "{told}"
                        );
                        let mended = shop.run(&["rollback", "--yes", "--wait", "60"]);
                        assert_eq!(mended.code, Some(0), "{death}: {}{}", mended.stdout, mended.stderr);
                    }
                    // In finalize a failure is a warning: the release is live and good.
                    (Victim::Worker, Some(0)) => {
                        assert!((said.stdout + &said.stderr).contains("warning"), "{told}");
                        shop.must(&["rollback", "--yes"]);
                    }
                    (Victim::Worker, code) => assert!(matches!(code, Some(1 | 8)), "{told}"),
                }
                look(&death, said.code == Some(0));
                deaths.push(death);
            }
        }
        deaths
    }

    /// Arms it; [`struck`](Self::struck) says whether there were so many commands.
    fn arm(&self, nth: usize, victim: Victim, when: When) {
        fs::write(self.file("turns"), nth.to_string()).unwrap();
        fs::write(self.file("victim"), format!("{victim:?}")).unwrap();
        fs::write(self.file("when"), format!("{when:?}")).unwrap();
    }

    fn disarm(&self) {
        fs::write(self.file("turns"), "0").unwrap();
    }

    fn struck(&self) -> Option<String> {
        let command = fs::read_to_string(self.file("struck")).ok()?;
        fs::remove_file(self.file("struck")).unwrap();
        Some(command)
    }

    fn deploy(&self, shop: &Shop, version: &str) -> Said {
        shop.dockerfile(version, Behaviour::Well);
        let path = std::env::var("PATH").unwrap();
        let mut command = shop.command(&["execute", "--yes", "--version", version]);
        command.env("PATH", format!("{}:{path}", self.folder.path().display()));
        command.output().unwrap().into()
    }
}
