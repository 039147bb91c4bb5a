//! `lockfile`: whether another machine would get the very same dependencies.

use std::{collections::BTreeSet, fs, path::Path};

use pop_deploy_plugin_api::protocol::CheckStatus;
use serde_json::Value;

use super::{
    Finding,
    dependencies::{cargo_dependencies, python_requirements},
    manifests::{Manifests, json_dependencies},
};

const NODE: [&str; 6] =
    ["package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb"];
const PYTHON: [&str; 5] = ["uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml"];

pub(super) fn lockfile(manifests: &Manifests) -> Finding {
    let stands: Vec<_> =
        [node(manifests), rust(manifests), python(manifests)].into_iter().flatten().collect();
    let told = |wanted: fn(&Stand) -> Option<&String>| -> Vec<String> {
        stands.iter().filter_map(wanted).cloned().collect()
    };
    let stale = told(|stand| if let Stand::Stale(text) = stand { Some(text) } else { None });
    let missing = told(|stand| if let Stand::Missing(text) = stand { Some(text) } else { None });
    let good = told(|stand| if let Stand::Good(text) = stand { Some(text) } else { None });
    let (status, texts) = match (stale.is_empty(), missing.is_empty(), good.is_empty()) {
        (false, ..) => (CheckStatus::Fail, stale),
        (_, false, _) => (CheckStatus::Warn, missing),
        (.., false) => (CheckStatus::Pass, good),
        _ => (CheckStatus::Skip, vec!["no dependencies are declared".to_owned()]),
    };
    Finding::new("lockfile", status, texts.join("; "))
}

enum Stand {
    Good(String),
    /// There is none, or two that may contradict each other.
    Missing(String),
    /// It isn't that of the manifest.
    Stale(String),
}

fn node(manifests: &Manifests) -> Option<Stand> {
    let package = manifests.package()?;
    let declared = json_dependencies(package, &["dependencies", "devDependencies", "optionalDependencies"]);
    if declared.is_empty() {
        return None;
    }
    let found: Vec<_> = NODE.iter().filter_map(|name| manifests.here_or_above(name)).collect();
    Some(match found.as_slice() {
        [] => Stand::Missing("package.json has dependencies and no lockfile".to_owned()),
        [lockfile] => npm(manifests, &declared, lockfile),
        several => Stand::Missing(format!(
            "several lockfiles contradict each other: {}",
            several.iter().map(|path| name_of(path)).collect::<Vec<_>>().join(", ")
        )),
    })
}

/// npm's own lockfile says what package.json said when it was written; of the others it is enough that they are there.
fn npm(manifests: &Manifests, declared: &[(String, String)], lockfile: &Path) -> Stand {
    let name = name_of(lockfile);
    let text = fs::read_to_string(lockfile).unwrap_or_default();
    if !name.ends_with(".json") {
        return Stand::Good(format!("`{name}` is there"));
    }
    let Ok(lock) = serde_json::from_str::<Value>(&text) else {
        return Stand::Stale(format!("`{name}` is not valid JSON"));
    };
    let below = lockfile.parent().and_then(|root| manifests.dir.strip_prefix(root).ok());
    let key = below.map(|below| below.to_string_lossy().into_owned()).unwrap_or_default();
    // Lockfiles of version 1 don't say it.
    let Some(then) = lock.get("packages").and_then(|packages| packages.get(&key)) else {
        return Stand::Good(format!("`{name}` is there"));
    };
    let then = json_dependencies(then, &["dependencies", "devDependencies", "optionalDependencies"]);
    let (then, now): (BTreeSet<_>, BTreeSet<_>) = (then.iter().collect(), declared.iter().collect());
    match then.symmetric_difference(&now).next() {
        Some((changed, _)) => {
            Stand::Stale(format!("`{name}` is older than package.json: `{changed}` differs"))
        }
        None => Stand::Good(format!("`{name}` is that of package.json")),
    }
}

fn rust(manifests: &Manifests) -> Option<Stand> {
    let declared = cargo_dependencies(manifests.cargo()?);
    let Some(lockfile) = manifests.here_or_above("Cargo.lock") else {
        return (!declared.is_empty())
            .then(|| Stand::Missing("Cargo.toml has dependencies and no Cargo.lock".to_owned()));
    };
    let Some(locked) = locked_names(&lockfile) else {
        return Some(Stand::Stale("`Cargo.lock` can't be read".to_owned()));
    };
    let renamed = |name: &String, wanted: &toml::Value| {
        wanted.get("package").and_then(toml::Value::as_str).map_or_else(|| name.clone(), str::to_owned)
    };
    // A dependency that is inherited may be renamed where it is declared.
    let inherited = |wanted: &toml::Value| wanted.get("workspace").is_some();
    let own = declared.into_iter().filter(|(_, wanted)| !inherited(wanted));
    let missing = own.map(|(name, wanted)| renamed(name, wanted)).find(|name| !locked.contains(name));
    Some(match missing {
        Some(name) => Stand::Stale(format!("`Cargo.lock` is older than Cargo.toml: it has no `{name}`")),
        None => Stand::Good("`Cargo.lock` has what Cargo.toml needs".to_owned()),
    })
}

fn python(manifests: &Manifests) -> Option<Stand> {
    let requirements = python_requirements(manifests);
    let names: Vec<_> = requirements
        .iter()
        .filter(|(file, _)| *file == "pyproject.toml")
        .filter_map(|(_, requirement)| requirement_name(requirement))
        .collect();
    let found = PYTHON.iter().find_map(|name| manifests.here_or_above(name));
    let Some(lockfile) = found else {
        let all_pinned = || {
            requirements
                .iter()
                .filter(|(_, line)| requirement_name(line).is_some())
                .all(|(_, requirement)| requirement.contains("=="))
        };
        return match requirements.iter().any(|(_, line)| requirement_name(line).is_some()) {
            false => None,
            true if all_pinned() => Some(Stand::Good("every Python requirement is pinned".to_owned())),
            true => {
                Some(Stand::Missing("Python requirements aren't pinned, and there is no lockfile".to_owned()))
            }
        };
    };
    let name = name_of(&lockfile);
    let missing = match locked_names(&lockfile) {
        Some(locked) => {
            let locked: BTreeSet<_> = locked.iter().map(|name| normalized(name)).collect();
            names.iter().find(|name| !locked.contains(*name)).cloned()
        }
        None => None,
    };
    Some(match missing {
        Some(missing) => {
            Stand::Stale(format!("`{name}` is older than pyproject.toml: it has no `{missing}`"))
        }
        None => Stand::Good(format!("`{name}` is there")),
    })
}

/// The names in the `[[package]]` entries of Cargo's, uv's and poetry's lockfiles.
fn locked_names(lockfile: &Path) -> Option<BTreeSet<String>> {
    let table: toml::Table = fs::read_to_string(lockfile).ok()?.parse().ok()?;
    let packages = table.get("package")?.as_array()?;
    Some(packages.iter().filter_map(|package| package.get("name")?.as_str()).map(str::to_owned).collect())
}

/// The project that a line of Python's requirements names; none for comments, options and links.
pub(super) fn requirement_name(line: &str) -> Option<String> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = line.chars().take_while(|c| is_part(*c)).collect();
    let is_link = line.contains("://") && !line.contains('@');
    (!name.is_empty() && !name.starts_with(['-', '.']) && !is_link).then(|| normalized(&name))
}

/// `Foo.Bar_baz` and `foo-bar-baz` are one project to Python.
fn normalized(name: &str) -> String {
    name.to_lowercase().split(['-', '_', '.']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
