//! What the source must pass before any of it is shipped.

use pop_deploy_plugin_api::{
    protocol::Check,
    words::{bytes, counted},
};

use crate::{prepared::Prepared, shared::covers, site::Site};

/// What the source must pass; the same before and after a build.
pub(crate) fn judge(site: &Site, prepared: &Prepared) -> Vec<Check> {
    let source = site.source.display();
    let tree = &prepared.tree;
    if tree.files.is_empty() {
        let hint = "build it first, or look whether `exclude` takes everything";
        let empty = Check::fail("source", format!("the source `{source}` is empty"), hint);
        return tree.checks().into_iter().chain([empty]).collect();
    }
    let counts = format!("{}, {}", counted(tree.files.len(), "file"), bytes(tree.bytes()));
    let mut checks = vec![Check::pass("source", format!("`{source}` holds {counts}"))];
    checks.extend(tree.checks());
    let files = tree.files.iter().map(|file| &file.path);
    let entries = files.chain(tree.links.iter().map(|link| &link.path));
    for shared in &site.config.shared {
        if entries.clone().any(|path| covers(shared, path)) {
            let words = format!("`{shared}` is shared: what the source has there stays behind");
            checks.push(Check::warn("shared", words));
        }
        let above = |path: &str| {
            shared.trim_end_matches('/').strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        };
        if let Some(path) = entries.clone().find(|path| above(path)) {
            let hint = "rename it, or share something else";
            checks.push(Check::fail(
                "shared",
                format!("`{path}` is no folder, and `{shared}` is to lie in it"),
                hint,
            ));
        }
    }
    checks
}

/// The source folder, before it is walked.
pub(crate) fn folder(site: &Site) -> Check {
    let source = site.source.display();
    if site.source.is_dir() {
        return Check::pass("source", format!("`{source}` is there"));
    }
    let what = if site.source.exists() { "is no folder" } else { "doesn't exist" };
    Check::fail("source", format!("the source `{source}` {what}"), "build it first, or correct `source`")
}
