//! The crate's manifest is up to date; and what tests of several modules use.

#[path = "../../../tests/support/skipped.rs"]
pub(crate) mod skipped;

use pop_deploy_plugin_api::testing::check_manifest;

use crate::Ssh;

#[test]
fn the_manifest_is_up_to_date() {
    assert_eq!(check_manifest::<Ssh>(env!("CARGO_MANIFEST_DIR")), Ok(()));
}
