//! `plugin`: what there is, why something isn't, and what becomes part of it.

mod info;
mod list;

use std::path::Path;

use serde_json::Value;

use super::{
    args::{Named, Plugin},
    print_line,
};
use crate::{
    exit::Exit,
    failure::Failure,
    plugins::{self, PluginsLock, SearchPath},
    project::Project,
    reporter::printable,
};

/// Prints a line in which others have a say: what they wrote neither ends it nor moves the cursor.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print_line!("{}", $crate::reporter::printable(&format!($($text)*))) };
}
use say;

pub(super) fn plugin(wanted: &Plugin, search: &SearchPath) -> Result<Exit, Failure> {
    let discovered = || Ok::<_, Failure>(plugins::discover(search, &known_at(Path::new("."))?));
    match wanted {
        Plugin::List { json: true } => {
            let all: Vec<_> = discovered()?.iter().map(list::to_json).collect();
            print_line!("{:#}", Value::from(all));
        }
        Plugin::List { json: false } => list::print(&discovered()?, search),
        Plugin::Info { name, json: true } => print_line!("{:#}", info::to_json(&discovered()?, name)?),
        Plugin::Info { name, json: false } => info::print(&discovered()?, name)?,
        Plugin::Add { path } => {
            let (build, to) = plugins::add(search, path)?;
            say!("Added {} {} as {}", build.plugin.id, build.version, to.display());
        }
        Plugin::Remove { name } => {
            for path in plugins::remove(search, name)? {
                say!("Removed {}", path.display());
            }
        }
        Plugin::Trust { plugin, place } => trust(search, plugin, &place.dir)?,
    }
    Ok(Exit::Done)
}

fn trust(search: &SearchPath, Named { id, version }: &Named, dir: &Path) -> Result<(), Failure> {
    let project = Project::for_people(dir)?;
    let mut known = PluginsLock::read(&project.data.join("plugins.lock"))?;
    let found = match version {
        Some(version) => plugins::find_version(search, &known, id, version),
        None => plugins::find(search, &known, id),
    };
    let found = found.map_err(|error| Failure::Find(Box::new(error)))?;
    known.record(&found)?;
    say!("Recorded {} {} at {}", found.build.plugin.id, found.build.version, found.path.display());
    print_line!("  sha256 {}", found.sha256);
    Ok(())
}

/// The record of plugins of the project in `dir`; an empty one where there is no project.
pub(super) fn known_at(dir: &Path) -> Result<PluginsLock, Failure> {
    Ok(match Project::for_people(dir) {
        Ok(project) => PluginsLock::read(&project.data.join("plugins.lock"))?,
        Err(_) => PluginsLock::empty(&dir.join("plugins.lock")),
    })
}
