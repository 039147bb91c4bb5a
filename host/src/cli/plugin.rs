//! `plugin list` and `plugin info`: what there is, and why something isn't.

use std::path::Path;

use serde_json::{Value, json};

use super::{args::Plugin, print_line};
use crate::{
    config::nearest,
    exit::Exit,
    failure::Failure,
    plugins::{self, Candidate, PluginsLock, SearchPath, State, Verdict},
    project::Project,
};

pub(super) fn plugin(wanted: &Plugin, search: &SearchPath) -> Result<Exit, Failure> {
    let discovered = || Ok::<_, Failure>(plugins::discover(search, &known_at(Path::new("."))?));
    match wanted {
        Plugin::List { json: true } => {
            print_line!("{:#}", Value::from(discovered()?.iter().map(candidate_value).collect::<Vec<_>>()));
        }
        Plugin::List { json: false } => list(&discovered()?, search),
        Plugin::Info { name, json } => info(&discovered()?, name, *json)?,
        Plugin::Add { path } => {
            let (build, to) = plugins::add(search, path)?;
            print_line!("Added {} {} as {}", build.plugin.id, build.version, to.display());
        }
        Plugin::Remove { name } => {
            for path in plugins::remove(search, name)? {
                print_line!("Removed {}", path.display());
            }
        }
        Plugin::Trust { name, place } => trust(search, name, &place.dir)?,
    }
    Ok(Exit::Done)
}

fn trust(search: &SearchPath, name: &str, dir: &Path) -> Result<(), Failure> {
    let project = Project::for_people(dir)?;
    let mut known = PluginsLock::read(&project.data.join("plugins.lock"))?;
    let found = plugins::find(search, &known, name).map_err(|error| Failure::Find(Box::new(error)))?;
    known.record(&found)?;
    print_line!("Recorded {} {} at {}", found.build.plugin.id, found.build.version, found.path.display());
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

fn list(found: &[Candidate], search: &SearchPath) {
    for candidate in found {
        match &candidate.build {
            Some(build) => print_line!(
                "{} {}  serves {}  api {}-{}  {}",
                build.plugin.id,
                build.version,
                build.plugin.types.join(", "),
                build.api[0],
                build.api[1],
                state_text(candidate),
            ),
            None => print_line!("?  {}", state_text(candidate)),
        }
        print_line!("  {} ({})", candidate.path.display(), candidate.origin);
    }
    if found.is_empty() {
        print_line!("There are no plugins. Looked in:");
        for folder in search.folders() {
            print_line!("  {} ({})", folder.path.display(), folder.origin);
        }
    }
}

fn state_text(candidate: &Candidate) -> String {
    let trust = match &candidate.trust {
        Some(Verdict::Recorded) => ", recorded",
        Some(Verdict::New) => ", new here",
        Some(Verdict::Changed(_)) => ", CHANGED since it was recorded",
        Some(Verdict::BesideExecutable) | None => "",
    };
    match &candidate.state {
        State::Ready => format!("ready{trust}"),
        State::ShadowedBy(other) => format!("shadowed by {}", other.display()),
        State::InConflictWith(other) => {
            format!("in conflict with {}, which claims the same version and differs", other.display())
        }
        State::Refused(refusal) => format!("refused: it {refusal}"),
    }
}

fn candidate_value(candidate: &Candidate) -> Value {
    json!({
        "path": candidate.path,
        "found": candidate.origin.to_string(),
        "state": state_text(candidate),
        "ready": matches!(candidate.state, State::Ready),
        "manifest": candidate.build,
    })
}

fn info(found: &[Candidate], name: &str, as_json: bool) -> Result<(), Failure> {
    let usable = || found.iter().filter_map(|candidate| Some((candidate, candidate.build.as_ref()?)));
    let chosen = usable()
        .filter(|(_, build)| build.plugin.id == name || build.plugin.serves(name))
        .max_by_key(|(candidate, build)| (matches!(candidate.state, State::Ready), build.version.clone()));
    let Some((candidate, build)) = chosen else {
        let names: Vec<_> = usable().map(|(_, build)| build.plugin.id.as_str()).collect();
        let nearest = nearest(name, names.iter().copied()).map(str::to_owned);
        return Err(Failure::NoPlugin { name: name.to_owned(), nearest });
    };
    if as_json {
        print_line!("{:#}", json!(build));
        return Ok(());
    }
    print_line!("{} {}: {}", build.plugin.id, build.version, build.plugin.description);
    print_line!("  file          {} ({})", candidate.path.display(), state_text(candidate));
    print_line!("  serves        {}", build.plugin.types.join(", "));
    print_line!("  can           {}", or_nothing(&build.plugin.capabilities));
    print_line!("  environment   {}", or_nothing(&build.plugin.environment));
    print_line!("  built         api {}-{}, {}, {}", build.api[0], build.api[1], build.triple, build.rustc);
    print_line!("  licence       {}", build.license);
    print_line!("  homepage      {}", build.homepage);
    print_line!("  config keys");
    keys(&build.plugin.config);
    Ok(())
}

fn or_nothing(words: &[String]) -> String {
    if words.is_empty() { "nothing beside the usual".to_owned() } else { words.join(", ") }
}

/// The top-level keys of a config schema, with their documentation.
fn keys(schema: &Value) {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema["properties"].as_object() else { return };
    for (key, property) in properties {
        let must = if required.contains(&key.as_str()) { " (required)" } else { "" };
        let default = match &property["default"] {
            Value::Null => String::new(),
            value => format!(" [default: {value}]"),
        };
        print_line!("    {key}{must}{default}");
        let text = property["description"].as_str().unwrap_or_default();
        for line in text.lines().take_while(|line| !line.is_empty()) {
            print_line!("        {line}");
        }
    }
}
