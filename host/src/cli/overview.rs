//! `pop-deploy` alone: where you are, and what comes next. Reads files only; asks no place.

use std::path::Path;

use super::{
    args::{Place, Site},
    open, print_line,
};
use crate::{
    config::{DeployConfig, Environment},
    exit::Exit,
    failure::Failure,
    history::{History, Status, TargetHistory},
    project::{Project, ProjectError},
    reporter::printable,
    status::open_runs,
    version,
};

pub(super) fn overview() -> Result<Exit, Failure> {
    let here = Place { dir: Path::new(".").to_owned() };
    let site = Site { place: here, environment: Environment::PRODUCTION.to_owned() };
    match open(&site) {
        Ok((project, config)) => show(&project, &config)?,
        Err(Failure::Project(ProjectError::NoDeployJson { dir, .. })) => {
            print_line!("No deploy.json in {}", dir.display());
            print_line!(
                "Next: `pop-deploy init` looks what could be deployed here; `pop-deploy --help` shows the rest"
            );
        }
        Err(failure) => return Err(failure),
    }
    Ok(Exit::Done)
}

fn show(project: &Project, config: &DeployConfig) -> Result<(), Failure> {
    let name = printable(&config.project_name_or_folder(project));
    print_line!("Project: {name} in {}", project.dir.display());
    if !config.environments.is_empty() {
        print_line!("Environments: {}, {}", Environment::PRODUCTION, config.environments.join(", "));
    }
    let history = History::of(config);
    let wanted = version::of_project(&project.dir, None);
    for target in &config.targets {
        let primary = if target.primary { ", primary" } else { "" };
        let state = if target.enabled { last(&history.target(&target.name)) } else { "disabled".to_owned() };
        print_line!("{}", printable(&format!("  {} ({}{primary}): {state}", target.name, target.kind)));
    }
    if let Some(version) = &wanted {
        print_line!("The project is at {version}");
    }
    print_line!("Next: {}", next(project, config, &history, wanted.as_deref())?);
    Ok(())
}

/// The end of a target's newest run, and what is live since.
fn last(history: &TargetHistory<'_>) -> String {
    let live = history.live().and_then(|live| live.version);
    let Some(newest) = history.records().first() else { return "never deployed".to_owned() };
    let when =
        newest.timestamp.as_deref().map_or(String::new(), |time| format!(", {}", super::table::moment(time)));
    match (newest.status, live) {
        (Some(Status::Failed), Some(live)) => {
            format!("{live} is live; {} failed{when}", newest.version.as_deref().unwrap_or("a deployment"))
        }
        (Some(Status::Failed), None) => format!("the last deployment failed{when}"),
        (_, Some(live)) => format!("{live} is live{when}"),
        _ => format!("deployed{when}"),
    }
}

fn next(
    project: &Project,
    config: &DeployConfig,
    history: &History,
    wanted: Option<&str>,
) -> Result<String, Failure> {
    let (died, canaries) = open_runs(project)?;
    if let Some(run) = died.into_iter().next() {
        let how_it_stands = Failure::Interrupted(Box::new(run));
        let hint = how_it_stands.hint().map_or(String::new(), |hint| format!("; {hint}"));
        return Ok(format!("{how_it_stands}{hint}"));
    }
    if !canaries.is_empty() {
        return Ok("a canary is open: `pop-deploy promote` completes it, `pop-deploy abort` takes it back"
            .to_owned());
    }
    if config.targets.is_empty() {
        return Ok(
            "add a target to deploy.json; `pop-deploy plugin list` shows the kinds there are".to_owned()
        );
    }
    let primary = config.targets.iter().find(|target| target.primary).or(config.targets.first());
    let live = primary.and_then(|target| {
        history.target(&target.name).live().and_then(|live| live.version.map(str::to_owned))
    });
    Ok(match (wanted, live) {
        (Some(wanted), Some(live)) if wanted == live => {
            format!("{live} is live already; `pop-deploy status` looks at the places themselves")
        }
        _ => "`pop-deploy execute --dry-run` shows what a deployment would do, `pop-deploy execute` does it"
            .to_owned(),
    })
}
