//! What the installed plugins would deploy a project with.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pop_deploy_plugin_api::{
    Error,
    protocol::{Event, Proposal, Stream, TargetContext},
};
use serde_json::Value;

use super::{
    Options, Outline, PluginsLock, SearchPath, Services, State, Worker, discover, find, private_copy, trust,
};
use crate::failure::Failure;

/// A plugin that was asked, and what it said.
pub struct Proposed {
    /// The plugin's id.
    pub plugin: String,
    /// The target that it proposes, if the project looks like one of its own.
    pub proposal: Result<Option<Proposal>, Error>,
}

/// Asks every plugin that can tell whether the project looks like one of its own, by name. A plugin that fails stops
/// nobody. `scratch` is a folder for their temporary files.
pub fn proposals(search: &SearchPath, known: &PluginsLock, project: &Path, scratch: &Path) -> Vec<Proposed> {
    let candidates = discover(search, known);
    let ready = candidates.iter().filter(|candidate| candidate.state == State::Ready);
    let telling =
        ready.filter_map(|candidate| candidate.build.as_ref()).filter(|build| build.is_capable_of("detect"));
    let ids: BTreeSet<_> = telling.map(Outline::id).collect();
    ids.into_iter()
        .map(|id| Proposed {
            plugin: id.to_owned(),
            proposal: ask(search, known, id, project, scratch).map_err(|failure| failure.to_error()),
        })
        .collect()
}

fn ask(
    search: &SearchPath,
    known: &PluginsLock,
    id: &str,
    project: &Path,
    scratch: &Path,
) -> Result<Option<Proposal>, Failure> {
    let found = find(search, known, id).map_err(|error| Failure::Find(Box::new(error)))?;
    trust::admit(&found, known, search)?;
    let context = TargetContext {
        target: String::new(),
        project_name: String::new(),
        project: project.to_owned(),
        scratch: scratch.to_owned(),
        data: project.to_owned(),
        read_only: true,
        source_may_change: false,
        actor: String::new(),
        run_id: "init".to_owned(),
        canary: None,
        flags: String::new(),
    };
    Ok(Worker::detect(&private_copy(&found)?, &context, Arc::new(Nobody), &Options::default())?)
}

/// Nobody listens to a plugin that only looks at a project.
struct Nobody;

impl Services for Nobody {
    fn event(&self, _: Event) {}

    fn output(&self, _: Stream, _: &str) {}

    fn request(&self, method: &str, _: Value) -> Result<Value, Error> {
        Err(Error::unimplemented(method))
    }
}
