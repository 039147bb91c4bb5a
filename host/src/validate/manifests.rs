//! The files in which a project says what it is made of.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// What the project folder has. A file that is there and can't be read is an error text.
pub(super) struct Manifests {
    pub(super) dir: PathBuf,
    pub(super) package_json: Option<Result<Value, String>>,
    pub(super) cargo_toml: Option<Result<toml::Table, String>>,
    pub(super) pyproject_toml: Option<Result<toml::Table, String>>,
    pub(super) requirements_txt: Option<String>,
}

impl Manifests {
    pub(super) fn read(dir: &Path) -> Self {
        let read = |name: &str| text(&dir.join(name));
        Self {
            dir: dir.to_owned(),
            package_json: read("package.json").map(|text| {
                parsed(text, "package.json", |text| {
                    serde_json::from_str(text).map_err(|error| error.to_string())
                })
            }),
            cargo_toml: read("Cargo.toml").map(|text| parsed(text, "Cargo.toml", toml_table)),
            pyproject_toml: read("pyproject.toml").map(|text| parsed(text, "pyproject.toml", toml_table)),
            requirements_txt: read("requirements.txt").and_then(Result::ok),
        }
    }

    /// package.json, where it can be read.
    pub(super) fn package(&self) -> Option<&Value> {
        self.package_json.as_ref()?.as_ref().ok()
    }

    /// Cargo.toml, where it can be read.
    pub(super) fn cargo(&self) -> Option<&toml::Table> {
        self.cargo_toml.as_ref()?.as_ref().ok()
    }

    /// pyproject.toml, where it can be read.
    pub(super) fn pyproject(&self) -> Option<&toml::Table> {
        self.pyproject_toml.as_ref()?.as_ref().ok()
    }

    /// What can't be read of them.
    pub(super) fn broken(&self) -> Vec<String> {
        let package = self.package_json.as_ref().and_then(|it| it.as_ref().err());
        let cargo = self.cargo_toml.as_ref().and_then(|it| it.as_ref().err());
        let pyproject = self.pyproject_toml.as_ref().and_then(|it| it.as_ref().err());
        [package, cargo, pyproject].into_iter().flatten().cloned().collect()
    }

    /// A script of package.json.
    pub(super) fn script(&self, name: &str) -> Option<&str> {
        self.package()?.get("scripts")?.get(name)?.as_str().filter(|script| !script.trim().is_empty())
    }

    /// The file or folder of that name, here or above as far as the repository goes: workspaces keep some at their root.
    pub(super) fn here_or_above(&self, name: &str) -> Option<PathBuf> {
        let root = self.dir.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&self.dir);
        let folders = self.dir.ancestors().take_while(|folder| folder.starts_with(root));
        folders.map(|folder| folder.join(name)).find(|path| path.exists())
    }
}

/// The keys of each of these tables of a JSON or TOML object, with their values as text.
pub(super) fn json_dependencies(package: &Value, tables: &[&str]) -> Vec<(String, String)> {
    let tables = tables.iter().filter_map(|table| package.get(table)?.as_object());
    tables
        .flatten()
        .map(|(name, range)| (name.clone(), range.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn parsed<T>(
    text: io::Result<String>,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, String> {
    let told = |error: String| format!("`{name}` can't be read: {}", error.trim_end());
    text.map_err(|error| told(error.to_string())).and_then(|text| parse(&text).map_err(told))
}

fn toml_table(text: &str) -> Result<toml::Table, String> {
    // The whole message draws the line with arrows under it.
    text.parse().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// Nothing where there is no such file.
fn text(path: &Path) -> Option<io::Result<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read),
    }
}
