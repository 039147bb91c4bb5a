//! `dependencies`: whether what the project needs is there, and is named so that another machine gets the same.

use std::{fs, path::Path};

use pop_deploy_plugin_api::{protocol::CheckStatus, words::counted};
use serde_json::Value;

use super::{
    Finding,
    lockfile::requirement_name,
    manifests::{Manifests, json_dependencies},
};

pub(super) fn dependencies(manifests: &Manifests) -> Finding {
    let mut look = Look::default();
    look.node(manifests);
    look.rust(manifests);
    look.python(manifests);
    look.finding()
}

#[derive(Default)]
struct Look {
    count: usize,
    /// Can't be got anywhere.
    gone: Vec<String>,
    /// Isn't installed, or could be another one tomorrow.
    loose: Vec<String>,
}

impl Look {
    fn finding(self) -> Finding {
        if !self.gone.is_empty() {
            let message = format!("{} can't be found", counted(self.gone.len(), "local dependency folder"));
            let details = self.gone.into_iter().chain(self.loose).collect();
            return Finding::new("dependencies", CheckStatus::Fail, message).with(details);
        }
        if !self.loose.is_empty() {
            let message =
                format!("{} declared, {} to look at", self.count, counted(self.loose.len(), "thing"));
            return Finding::new("dependencies", CheckStatus::Warn, message).with(self.loose);
        }
        if self.count == 0 {
            return Finding::new("dependencies", CheckStatus::Skip, "no dependencies are declared");
        }
        let message = format!("{} declared, nothing is missing", self.count);
        Finding::new("dependencies", CheckStatus::Pass, message)
    }

    fn node(&mut self, manifests: &Manifests) {
        let Some(package) = manifests.package() else { return };
        let declared = json_dependencies(package, &["dependencies", "devDependencies"]);
        self.count += declared.len();
        let installed = manifests.here_or_above("node_modules");
        if installed.is_none() && !declared.is_empty() {
            self.loose.push("package.json: `node_modules` isn't there; nothing is installed".to_owned());
        }
        for (name, range) in &declared {
            let local = ["file:", "link:"].iter().find_map(|scheme| range.strip_prefix(scheme));
            if let Some(path) = local.filter(|path| !manifests.dir.join(path).exists()) {
                self.gone.push(format!("package.json: `{name}` is to be at `{path}`"));
            } else if matches!(range.as_str(), "" | "*" | "latest" | "x") {
                self.loose.push(format!("package.json: `{name}` may be any version (`{range}`)"));
            } else if let Some(modules) = &installed
                && !is_installed(name, modules)
            {
                self.loose.push(format!("package.json: `{name}` isn't installed"));
            }
        }
    }

    fn rust(&mut self, manifests: &Manifests) {
        let Some(cargo) = manifests.cargo() else { return };
        for (name, wanted) in cargo_dependencies(cargo) {
            self.count += 1;
            let path = wanted.get("path").and_then(toml::Value::as_str);
            let version = wanted.as_str().or_else(|| wanted.get("version").and_then(toml::Value::as_str));
            if let Some(path) = path.filter(|path| !manifests.dir.join(path).join("Cargo.toml").exists()) {
                self.gone.push(format!("Cargo.toml: `{name}` is to be at `{path}`"));
            } else if version == Some("*") {
                self.loose.push(format!("Cargo.toml: `{name}` may be any version (`*`)"));
            }
        }
    }

    fn python(&mut self, manifests: &Manifests) {
        for (file, requirement) in python_requirements(manifests) {
            let Some(name) = requirement_name(&requirement) else { continue };
            self.count += 1;
            let says_which = requirement.contains(['=', '<', '>', '~', '@']);
            if !says_which {
                self.loose.push(format!("{file}: `{name}` may be any version"));
            }
        }
    }
}

/// What Cargo.toml needs, its workspace's part for its members left out.
pub(super) fn cargo_dependencies(cargo: &toml::Table) -> Vec<(&String, &toml::Value)> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|table| cargo.get(*table)?.as_table())
        .flatten()
        .collect()
}

/// What pyproject.toml and requirements.txt need, with the file's name.
pub(super) fn python_requirements(manifests: &Manifests) -> Vec<(&'static str, String)> {
    let project = manifests.pyproject();
    let listed = project.and_then(|it| it.get("project")?.get("dependencies")?.as_array());
    let listed = listed.into_iter().flatten().filter_map(toml::Value::as_str);
    let mut found: Vec<_> = listed.map(|it| ("pyproject.toml", it.to_owned())).collect();
    let poetry = project.and_then(|it| it.get("tool")?.get("poetry")?.get("dependencies")?.as_table());
    for (name, range) in poetry.into_iter().flatten().filter(|(name, _)| *name != "python") {
        let any = range.as_str() == Some("*");
        found.push(("pyproject.toml", if any { name.clone() } else { format!("{name} =") }));
    }
    let lines = manifests.requirements_txt.iter().flat_map(|text| text.lines());
    found.extend(lines.map(|line| ("requirements.txt", line.to_owned())));
    found
}

/// Whether the package lies in `modules`. A name is the project's own text: it must not lead out of there.
fn is_installed(name: &str, modules: &Path) -> bool {
    let stays = !name.split('/').any(|part| part == "..") && !name.starts_with('/');
    stays
        && fs::read(modules.join(name).join("package.json"))
            .is_ok_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_ok())
}
