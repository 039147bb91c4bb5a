//! `tests`: whether the project has tests. None is run: a suite belongs to the CI or to a hook, which has time for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::protocol::CheckStatus;

use super::{Finding, build::package_manager, manifests::Manifests};

/// What npm writes into a new package.json.
const PLACEHOLDER: &str = "no test specified";
/// Folders that hold other people's code, or none.
const NOT_OURS: [&str; 6] = ["node_modules", "target", "vendor", "venv", "dist", "build"];
/// A walk over more files than this would no longer be quick.
const MOST_FILES: usize = 20_000;

pub(super) fn tests(manifests: &Manifests) -> Finding {
    let kinds = [node(manifests), rust(manifests), python(manifests)];
    let kinds: Vec<_> = kinds.into_iter().flatten().collect();
    let (have, lack): (Vec<_>, Vec<_>) = kinds.into_iter().partition(Result::is_ok);
    let told = |kinds: Vec<Result<String, String>>| {
        kinds.into_iter().map(|kind| kind.unwrap_or_else(|lack| lack)).collect::<Vec<_>>().join(", ")
    };
    match (have.is_empty(), lack.is_empty()) {
        (true, true) => Finding::new("tests", CheckStatus::Skip, "nothing here is known to have tests"),
        (_, false) => Finding::new("tests", CheckStatus::Warn, told(lack)),
        (false, true) => Finding::new("tests", CheckStatus::Pass, told(have)),
    }
}

fn node(manifests: &Manifests) -> Option<Result<String, String>> {
    manifests.package()?;
    Some(match manifests.script("test") {
        Some(script) if !script.contains(PLACEHOLDER) => {
            Ok(format!("`{} test` runs them ({script})", package_manager(manifests)))
        }
        _ => Err("package.json has no `test` script".to_owned()),
    })
}

fn rust(manifests: &Manifests) -> Option<Result<String, String>> {
    manifests.cargo()?;
    let has = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("#[test]"));
    let found = any_file(&manifests.dir, "rs", &has);
    Some(if found {
        Ok("`cargo test` runs them".to_owned())
    } else {
        Err("no Rust test was found".to_owned())
    })
}

fn python(manifests: &Manifests) -> Option<Result<String, String>> {
    if manifests.pyproject().is_none() && manifests.requirements_txt.is_none() {
        return None;
    }
    let has = |path: &Path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        name.starts_with("test_") || name.ends_with("_test")
    };
    let found = any_file(&manifests.dir, "py", &has);
    Some(if found {
        Ok("`pytest` finds them".to_owned())
    } else {
        Err("no Python test was found".to_owned())
    })
}

/// Whether a file of this kind fits; hidden folders, links and those of others are passed over.
fn any_file(dir: &Path, extension: &str, fits: &dyn Fn(&Path) -> bool) -> bool {
    let mut folders: Vec<PathBuf> = vec![dir.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let Ok(kind) = entry.file_type() else { continue };
            seen += 1;
            if seen > MOST_FILES {
                return false;
            }
            if kind.is_dir() && !name.starts_with('.') && !NOT_OURS.contains(&name.as_str()) {
                folders.push(path);
            } else if kind.is_file()
                && path.extension().is_some_and(|found| found == extension)
                && fits(&path)
            {
                return true;
            }
        }
    }
    false
}
