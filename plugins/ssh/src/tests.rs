//! The crate's manifest is up to date; and what tests of several modules use.

#![allow(clippy::unwrap_used)]

#[path = "../../../tests/support/skipped.rs"]
pub(crate) mod skipped;

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use pop_deploy_plugin_api::testing::check_manifest;

use crate::Ssh;

/// Starts the far end of a connection, which has this mark, in a shell of this machine.
pub(crate) fn far_end(shell: &mut Command, mark: &str) -> Child {
    // What it ends with itself is its group.
    let shell = shell.env("mark", mark).process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn the_manifest_is_up_to_date() {
    assert_eq!(check_manifest::<Ssh>(env!("CARGO_MANIFEST_DIR")), Ok(()));
}
