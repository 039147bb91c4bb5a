//! `incident`: what went wrong, for whoever reads it the next morning.

use serde_json::json;

use super::{
    Conversation,
    args::{Incident as Wanted, Talk},
    open,
    past::find,
    print_line, selection,
};
use crate::{
    exit::Exit,
    failure::Failure,
    history::History,
    incident::{self, Incident, State, Subject},
    journal::run_folder,
    pipeline::{
        look::{self, View},
        recover,
    },
    plugins::SearchPath,
    popkit::told,
    project::Project,
    select::{self, Selection},
    version,
};

pub(super) fn incident(wanted: &Wanted, plugins: &SearchPath) -> Result<Exit, Failure> {
    Conversation::hold(&Talk::reading(wanted.json), |conversation| tell(wanted, plugins, conversation))
}

fn tell(wanted: &Wanted, plugins: &SearchPath, conversation: &Conversation) -> Result<Exit, Failure> {
    let (project, config) = open(&wanted.site)?;
    let selection = match &wanted.id {
        Some(id) if wanted.targets.target.is_empty() => {
            Selection::Named(of_run(&project, &History::of(&config), id)?)
        }
        _ => selection(&wanted.targets),
    };
    let actor = version::actor();
    let mut incidents = Vec::new();
    for target in select::select(&config, &selection)? {
        let view = conversation.view((&project, &config), target, plugins, &actor);
        let Some(incident) = gather(&view, wanted.id.as_deref())? else {
            if !wanted.json {
                print_line!("Nothing went wrong at `{}`.", target.name);
            }
            continue;
        };
        if wanted.save {
            let saved = save(&incident, &view)?;
            if !wanted.json {
                print_line!("Report: {}", saved.path.display());
            }
        } else if !wanted.json {
            let text = incident::markdown(&incident);
            print_line!("{}", conversation.redactor.redact(text.trim_end()));
        }
        incidents.push(incident.to_value());
    }
    if wanted.json {
        let whole = json!({"v": 1, "type": "incident", "incidents": incidents}).to_string();
        print_line!("{}", conversation.redactor.redact(&whole));
    }
    Ok(Exit::Done)
}

/// The targets of a run.
fn of_run(project: &Project, history: &History, id: &str) -> Result<Vec<String>, Failure> {
    let records = history.records().iter().filter(|record| record.deployment_id.as_deref() == Some(id));
    let names: Vec<_> = records.filter_map(|record| record.target.clone()).collect();
    if !names.is_empty() {
        return Ok(names);
    }
    let run = find(project, Some(id))?;
    if run.info.environment != project.environment {
        return Err(Failure::RunElsewhere { id: run.id, environment: run.info.environment });
    }
    Ok(run.info.targets)
}

/// The newest incident of a target, or that of a run; nothing where nothing went wrong.
pub(super) fn gather(view: &View<'_>, id: Option<&str>) -> Result<Option<Incident>, Failure> {
    let name = &view.target.name;
    let history = History::of(view.config);
    let history = history.target(name);
    let died = recover::unfinished(view.project, &[name])?;
    let died = died.iter().rfind(|run| id.is_none_or(|id| run.id == id));
    let subject =
        died.map(|run| Subject::interrupted(name, run)).or_else(|| Subject::find(name, &history, id));
    let Some(subject) = subject else { return Ok(None) };
    let folders: Vec<_> = subject.runs().iter().filter_map(|id| run_folder(&view.project.data, id)).collect();
    let state = State::of(look::at(view).map_err(|failure| told(&failure.to_error())));
    Ok(Some(Incident::of(&subject, &folders, state, view.project.environment.name())))
}

/// Keeps it in the data folder.
pub(super) fn save(incident: &Incident, view: &View<'_>) -> Result<incident::Saved, Failure> {
    incident::save(incident, &view.project.data, &view.redactor)
        .map_err(|(path, source)| Failure::Write { path: path.display().to_string(), source })
}
