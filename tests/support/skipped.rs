//! What tests say that miss a service.

/// Says that a test is skipped; CI forbids it.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn skipped(why: &str) {
    let forbidden = std::env::var_os("POP_DEPLOY_NO_SKIP").is_some();
    assert!(!forbidden, "skipped: {why}, but skipping is forbidden here");
    eprintln!("skipped: {why}");
}
