//! The first deploy.json of a project: drafted from what plugins propose, written without losing what was there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::protocol::Proposal;
use serde_json::{Map, Value, json};

use crate::{
    config::environment::{HISTORIES, HISTORY},
    failure::Failure,
    history,
    project::Project,
};

/// What a repository shouldn't hold of our data folder; `plugins.lock` and deploy.json it should.
const IGNORED: &str =
    "deploy.json.lock\ndeploy.json.*.bak\ndeployments/\nenvironments/\nincidents/\nlocks/\n";

/// The name, beside deploy.json, of the schema that it refers to.
pub const SCHEMA_FILE: &str = "deploy.schema.json";

/// A deploy.json with these targets, the first of them primary. `before` is one that it takes the place of: its
/// histories stay, since what is live stays too.
pub fn draft(project_name: &str, created_at: &str, proposals: &[Proposal], before: Option<&Value>) -> Value {
    let mut targets = Map::new();
    for proposal in proposals {
        let mut target = json!({ "enabled": true, "primary": targets.is_empty(), "config": proposal.config });
        let name = free_name(&targets, &proposal.name);
        if name != proposal.kind
            && let Value::Object(target) = &mut target
        {
            target.shift_insert(0, "type".to_owned(), proposal.kind.clone().into());
        }
        targets.insert(name, target);
    }
    let mut draft = json!({
        "$schema": format!("./{SCHEMA_FILE}"),
        "version": "1.0",
        "project_name": project_name,
        "created_at": created_at,
        "targets": targets,
        HISTORY: [],
    });
    if let Some(before) = before {
        keep_histories(&mut draft, before);
    }
    draft
}

fn keep_histories(draft: &mut Value, before: &Value) {
    for key in [HISTORY, HISTORIES] {
        if let Some(kept) = before.get(key) {
            draft[key] = kept.clone();
        }
    }
}

/// Two plugins may propose the same name.
fn free_name(taken: &Map<String, Value>, name: &str) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !taken.contains_key(name)).unwrap_or_default()
}

/// Writes deploy.json and the schema that it refers to; says where a copy of the deploy.json before is kept.
///
/// # Errors
/// When the data folder can't be written; then a deploy.json that was there is as it was.
pub fn write(project: &Project, draft: &Value, schema: &Value) -> Result<Option<PathBuf>, Failure> {
    let data = &project.data;
    let is_new = !data.exists();
    fs::create_dir_all(data).map_err(at(data))?;
    if is_new && data.ends_with(".pop-deploy") {
        replace(&data.join(".gitignore"), IGNORED)?;
    }
    let _lock = project.deploy_json.exists().then(|| history::lock(project)).transpose()?;
    let mut draft = draft.clone();
    let backup = match fs::read(&project.deploy_json) {
        Ok(bytes) => {
            // A run may have recorded itself since the draft was made.
            if let Ok(before) = serde_json::from_slice(&bytes) {
                keep_histories(&mut draft, &before);
            }
            let backup = backup_path(data);
            fs::copy(&project.deploy_json, &backup).map_err(at(&backup))?;
            Some(backup)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(at(&project.deploy_json)(error)),
    };
    replace(&data.join(SCHEMA_FILE), &format!("{schema:#}\n"))?;
    replace(&project.deploy_json, &format!("{draft:#}\n"))?;
    Ok(backup)
}

fn backup_path(data: &Path) -> PathBuf {
    let mut paths = (1..).map(|number: u32| data.join(format!("deploy.json.{number}.bak")));
    paths.find(|path| !path.exists()).unwrap_or_default()
}

fn replace(path: &Path, content: &str) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    // Where it is a link, what it leads to is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(path);
    let there = fs::metadata(path).map(|metadata| metadata.permissions());
    let file = tempfile::Builder::new()
        .prefix(".init-")
        .permissions(there.unwrap_or_else(|_| fs::Permissions::from_mode(0o644)))
        .tempfile_in(folder)
        .map_err(at(folder))?;
    fs::write(file.path(), content).and_then(|()| file.as_file().sync_all()).map_err(at(path))?;
    file.persist(path).map_err(|error| at(path)(error.error))?;
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.display().to_string();
    move |source| Failure::Write { path, source }
}
