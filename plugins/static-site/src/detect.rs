//! Whether a project looks like one whose pages go to a web root.

use std::{fs, path::Path};

use pop_deploy_plugin_api::{
    protocol::Proposal,
    serde_json::{Value, json},
};

/// Where site generators put what they build, the most telling first.
const BUILT: [&str; 7] = ["dist", "_site", "out", "build", "site", "public", "docs/_build/html"];

/// Folders of pages that people write by hand: a build command beside them makes something else.
const WRITTEN: [&str; 2] = ["public", "site"];

/// A target for the first folder that has a first page.
pub(crate) fn built_site(project: &Path) -> Option<Proposal> {
    let source = BUILT.into_iter().find(|folder| project.join(folder).join("index.html").is_file())?;
    let mut config = json!({ "source": source, "dir": "www" });
    let mut because = format!("`{source}/index.html` is there");
    if !WRITTEN.contains(&source) && has_build_script(project) {
        config["build"] = json!(["npm", "run", "build"]);
        because.push_str(", and package.json has a build script");
    }
    Some(Proposal { name: "site".to_owned(), kind: "static-site".to_owned(), config, because })
}

fn has_build_script(project: &Path) -> bool {
    let package = fs::read(project.join("package.json")).ok();
    let package: Option<Value> =
        package.and_then(|bytes| pop_deploy_plugin_api::serde_json::from_slice(&bytes).ok());
    package.is_some_and(|package| package["scripts"]["build"].is_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_built_folder_counts_and_its_build_command_comes_along() {
        let project = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            fs::create_dir_all(project.path().join(path).parent().unwrap()).unwrap();
            fs::write(project.path().join(path), text).unwrap();
        };
        assert_eq!(built_site(project.path()), None);
        write("package.json", r#"{"scripts": {"build": "vite build"}}"#);
        write("public/index.html", "");
        let config = built_site(project.path()).unwrap().config;
        assert_eq!(config, json!({"source": "public", "dir": "www"}));
        write("dist/index.html", "");
        let config = built_site(project.path()).unwrap().config;
        assert_eq!(config, json!({"source": "dist", "dir": "www", "build": ["npm", "run", "build"]}));
    }
}
