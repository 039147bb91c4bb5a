//! The crate's manifest is up to date.

use pop_deploy_plugin_api::testing::check_manifest;

use crate::Ssh;

#[test]
fn the_manifest_is_up_to_date() {
    assert_eq!(check_manifest::<Ssh>(env!("CARGO_MANIFEST_DIR")), Ok(()));
}
