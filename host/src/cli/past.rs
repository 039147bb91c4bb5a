//! The run that a command is about: the one named, or the newest.

use crate::{
    config::nearest,
    failure::Failure,
    journal::{self, PastRun},
    project::Project,
};

/// The run of that id, or the newest one of the project's environment.
pub(super) fn find(project: &Project, id: Option<&str>) -> Result<PastRun, Failure> {
    let ids = journal::run_ids(&project.data)?;
    if let Some(id) = id {
        if !ids.iter().any(|there| there == id) {
            let nearest = nearest(id, ids.iter().map(String::as_str)).map(str::to_owned);
            return Err(Failure::NoRun { id: id.to_owned(), nearest });
        }
        return Ok(journal::read(&project.data, id)?);
    }
    for id in ids.iter().rev() {
        match journal::read(&project.data, id) {
            Ok(run) if run.info.environment == project.environment => return Ok(run),
            // One that can't be read can still be named, and then says why.
            _ => {}
        }
    }
    Err(Failure::NoRuns)
}
