//! The lab that the ssh tests stand on is what it says it is.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "support/network.rs"]
mod network;
#[path = "support/sshd.rs"]
mod sshd;
mod support;

use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use network::Network;
use sshd::{Host, Kind, Lab, program};
use support::{skipped, wait_for};

fn lab() -> Option<Lab> {
    Lab::new().map_err(|why| skipped(&why)).ok()
}

fn ssh(lab: &Lab, host: &Host, line: &str) -> Command {
    let mut ssh = Command::new(lab.path().join("bin/ssh"));
    ssh.args(["-o", "BatchMode=yes", &host.name, line]).stdin(Stdio::null());
    ssh
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn each_host_is_one_of_its_own() {
    let Some(lab) = lab() else { return };
    let hosts = lab.hosts(3);
    for host in &hosts {
        let output = ssh(&lab, host, "echo $LAB_HOST; pwd; exit 7").output().unwrap();
        let folder = host.srv().parent().unwrap().to_owned();
        assert_eq!(said(&output).0, Some(7), "{}", host.log());
        assert!(said(&output).1.starts_with(&format!("{}\n", folder.display())));
    }
    hosts[0].change_key();
    let refused = ssh(&lab, &hosts[0], "true").output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("HOST IDENTIFICATION HAS CHANGED"));
}

#[test]
fn a_host_that_vanishes_breaks_its_connections_and_leaves_what_ran() {
    let Some(lab) = lab() else { return };
    let mut host = lab.host("web1", Kind::default());
    let mut client = ssh(&lab, &host, "sleep 600").spawn().unwrap();
    wait_for("the remote command", || {
        host.processes().iter().any(|(_, line)| line == "sleep 600 ").then_some(())
    });
    host.vanish();
    assert_eq!(client.wait().unwrap().code(), Some(255));
    assert!(!host.processes().is_empty());
    assert_eq!(ssh(&lab, &host, "true").output().unwrap().status.code(), Some(255));
    host.appear();
    assert_eq!(ssh(&lab, &host, "true").output().unwrap().status.code(), Some(0), "{}", host.log());
}

#[test]
fn a_busybox_host_has_nothing_else_and_a_noisy_one_talks_first() {
    let Some(lab) = lab() else { return };
    if program("busybox").is_none() {
        return skipped("no busybox");
    }
    let busybox = lab.host("bb", Kind { busybox: true, ..Kind::default() });
    let output = ssh(&lab, &busybox, "tar --version; type rsync || ls -l $(which tar)").output().unwrap();
    assert!(said(&output).1.contains("(busybox)"), "{output:?}");
    assert!(said(&output).1.trim_end().ends_with("/busybox"), "{output:?}");
    let noisy =
        lab.host("noisy", Kind { noisy: true, banner: true, max_sessions: Some(1), ..Kind::default() });
    let output = ssh(&lab, &noisy, "echo 'an answer'").output().unwrap();
    assert_eq!(said(&output), (Some(0), "Welcome! You have mail.\nno line endan answer\n".into()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Authorised use only"));
}

#[test]
fn a_small_disk_fills_up() {
    let Some(lab) = lab() else { return };
    if !rustix::process::geteuid().is_root() {
        return skipped("only root may mount");
    }
    let host = lab.host("small", Kind { disk: Some((1 << 20, 20)), ..Kind::default() });
    let line = format!("cd {} && dd if=/dev/zero of=big bs=65536 count=32", host.srv().display());
    let output = ssh(&lab, &host, &line).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
    assert_eq!(host.srv_seen_from_here().join("big").metadata().unwrap().len(), 1 << 20);
}

#[test]
fn a_far_host_answers_late() {
    let Some(lab) = lab() else { return };
    let network = match Network::new(&[20, 300]) {
        Ok(network) => network,
        Err(why) => return skipped(&why),
    };
    let near = lab.host("near", Kind { network: Some(network.place(0, 1)), ..Kind::default() });
    let far = lab.host("far", Kind { network: Some(network.place(1, 1)), ..Kind::default() });
    let dial = |host: &Host| {
        let begun = Instant::now();
        std::net::TcpStream::connect(host.address()).unwrap();
        begun.elapsed()
    };
    network.inside(|| {
        assert!(dial(&near) >= Duration::from_millis(20));
        assert!(dial(&far) >= Duration::from_millis(300));
        let output = ssh(&lab, &near, "cat /proc/net/route").output().unwrap();
        assert_eq!(said(&output).0, Some(0), "{output:?}");
        assert!(said(&output).1.contains("lab0"), "{output:?}");
    });
}
