//! The labels by which our containers and services are known.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::protocol::Release;

/// Labels by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// The app.
pub(crate) const APP: &str = "pop-deploy.app";
/// The version of its release; absent where it has none.
pub(crate) const VERSION: &str = "pop-deploy.version";
/// The run that made the release, which is the release's id.
pub(crate) const RUN: &str = "pop-deploy.run";
/// The commit it was made from; absent where there is none.
pub(crate) const COMMIT: &str = "pop-deploy.commit";
/// What it was started with, in names and hashes: to tell what a deployment changes.
pub(crate) const SPEC: &str = "pop-deploy.spec";
/// What all of ours begin with.
pub(crate) const OURS: &str = "pop-deploy.";

/// The labels of a release of `app`.
pub(crate) fn of(app: &str, release: &Release) -> Vec<(&'static str, String)> {
    let optional = |name, value: &Option<String>| value.clone().map(|value| (name, value));
    [(APP, app.to_owned()), (RUN, release.id.clone())]
        .into_iter()
        .chain(optional(VERSION, &release.version))
        .chain(optional(COMMIT, &release.commit))
        .collect()
}

/// The release that labels tell of.
pub(crate) fn release(labels: &Labels) -> Option<Release> {
    let told = |name: &str| labels.get(name).cloned();
    Some(Release { id: told(RUN)?, version: told(VERSION), commit: told(COMMIT) })
}
