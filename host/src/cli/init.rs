//! `init`: a first deploy.json, from what the plugins see in the project.

use pop_deploy_plugin_api::protocol::Proposal;

use super::{args::Init, print_line, tell_warning};
use crate::{
    exit::Exit,
    failure::Failure,
    init, journal,
    plugins::{PluginsLock, SearchPath, proposals},
    project::Project,
    schema,
    scratch::Scratch,
};

pub(super) fn init(wanted: &Init, plugins: &SearchPath) -> Result<Exit, Failure> {
    let project = Project::to_begin(&wanted.place.dir)?;
    let there = project.deploy_json.exists();
    if there && !wanted.force && !wanted.dry_run {
        return Err(Failure::AlreadyThere { path: project.deploy_json });
    }
    let proposed = look_around(&project, plugins)?;
    let before = std::fs::read(&project.deploy_json).ok();
    let before = before.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let name = project.dir.file_name().unwrap_or_default().to_string_lossy();
    let draft = init::draft(&name, &journal::timestamp(), &proposed, before.as_ref());
    if wanted.dry_run {
        print_line!("Would write {}:\n{draft:#}", project.deploy_json.display());
        return Ok(Exit::Done);
    }
    let backup = init::write(&project, &draft, &schema::deploy_json(plugins, &known(&project)?))?;
    print_line!("Wrote {}", project.deploy_json.display());
    if let Some(backup) = backup {
        print_line!("Kept the one before as {}", backup.display());
    }
    print_line!("Next: {}", next(&proposed));
    Ok(Exit::Done)
}

fn known(project: &Project) -> Result<PluginsLock, Failure> {
    Ok(PluginsLock::read(&project.data.join("plugins.lock"))?)
}

/// Asks the plugins, and says what each found.
fn look_around(project: &Project, plugins: &SearchPath) -> Result<Vec<Proposal>, Failure> {
    let scratch = Scratch::new()?;
    let mut found = Vec::new();
    for asked in proposals(plugins, &known(project)?, &project.dir, scratch.path()) {
        match asked.proposal {
            Ok(Some(proposal)) => {
                print_line!("Found {}: {} ({})", asked.plugin, proposal.because, proposal.name);
                found.push(proposal);
            }
            Ok(None) => {}
            Err(error) => tell_warning(&format!("plugin `{}` could not look", asked.plugin), &error),
        }
    }
    if found.is_empty() {
        print_line!("No plugin knows a place for this project.");
    }
    Ok(found)
}

fn next(proposed: &[Proposal]) -> &'static str {
    if proposed.is_empty() {
        "add a target to it (`pop-deploy plugin list` shows the kinds there are), then `pop-deploy execute --dry-run`"
    } else {
        "check where the targets go, then `pop-deploy execute --dry-run`"
    }
}
