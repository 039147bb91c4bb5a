//! What a test does where something it needs isn't there.

/// Says so and goes on; with `POP_DEPLOY_NO_SKIP` set, as in CI, it fails instead.
#[allow(clippy::print_stderr, reason = "the words are for whoever runs the tests")]
pub fn skip(why: &str) {
    assert!(std::env::var_os("POP_DEPLOY_NO_SKIP").is_none(), "POP_DEPLOY_NO_SKIP is set, but: {why}");
    eprintln!("skipped: {why}");
}
