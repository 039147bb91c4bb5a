//! `build`: whether the project says how it is built, and the program for it is here. Nothing is built.

use std::{env, path::Path};

use pop_deploy_plugin_api::protocol::CheckStatus;

use super::{Finding, manifests::Manifests};

pub(super) fn build(manifests: &Manifests) -> Finding {
    let broken = manifests.broken();
    if !broken.is_empty() {
        return Finding::new("build", CheckStatus::Fail, broken.join("; ")).blocking();
    }
    let ways = ways(manifests);
    let missing: Vec<_> = ways
        .iter()
        .filter(|way| !is_installed(way.program))
        .map(|way| format!("`{}` is not installed here", way.program))
        .collect();
    let told = ways.iter().map(|way| way.told.as_str()).collect::<Vec<_>>().join(", ");
    let finding = if ways.is_empty() {
        Finding::new("build", CheckStatus::Skip, "nothing here says how it is built")
    } else if missing.is_empty() {
        Finding::new("build", CheckStatus::Pass, format!("is built by {told}"))
    } else {
        let message = format!("is built by {told}, which this machine can't");
        Finding::new("build", CheckStatus::Warn, message).with(missing)
    };
    finding.blocking()
}

struct Way {
    program: &'static str,
    told: String,
}

fn ways(manifests: &Manifests) -> Vec<Way> {
    let mut ways = Vec::new();
    if let Some(script) = manifests.script("build") {
        let program = package_manager(manifests);
        ways.push(Way { program, told: format!("`{program} run build` ({script})") });
    }
    if manifests.cargo().is_some() {
        ways.push(Way { program: "cargo", told: "`cargo build`".to_owned() });
    }
    if manifests.pyproject().is_some_and(|project| project.contains_key("build-system")) {
        ways.push(Way { program: "python3", told: "`python3 -m build`".to_owned() });
    }
    ways
}

/// As package.json says, else by the lockfile that is there.
pub(super) fn package_manager(manifests: &Manifests) -> &'static str {
    let named = manifests.package().and_then(|package| package.get("packageManager")?.as_str());
    let known = ["npm", "pnpm", "yarn", "bun"];
    if let Some(named) = named.and_then(|named| known.iter().find(|known| named.starts_with(**known))) {
        return named;
    }
    let by_lockfile =
        [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun"), ("bun.lockb", "bun")];
    let lockfile = by_lockfile.iter().find(|(file, _)| manifests.here_or_above(file).is_some());
    lockfile.map_or("npm", |(_, program)| program)
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).any(|path| is_executable(&path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
