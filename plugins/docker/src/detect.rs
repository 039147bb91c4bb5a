//! A target for a project that has a Dockerfile.

use std::path::Path;

use pop_deploy_plugin_api::{Result, protocol::Proposal, serde_json::json};

use crate::{build::is_multi_stage, reference::name_from};

/// Names that a compose file has.
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Proposes one.
///
/// # Errors
/// None so far.
pub(crate) fn propose(project: &Path) -> Result<Option<Proposal>> {
    let dockerfile = project.join("Dockerfile");
    if !dockerfile.is_file() {
        return Ok(None);
    }
    let folder = project.file_name().map(|name| name_from(&name.to_string_lossy())).unwrap_or_default();
    let compose = COMPOSE.into_iter().find(|name| project.join(name).is_file());
    let config = json!({
        "image_name": folder,
        "registry": "ghcr.io",
        "build_context": ".",
        "dockerfile": "Dockerfile",
        "platforms": ["linux/amd64"],
        "tags": ["latest", "{{version}}"],
        "build_args": {},
        "multi_stage": is_multi_stage(&dockerfile),
        "compose_file": compose,
    });
    Ok(Some(Proposal {
        name: "docker".to_owned(),
        kind: "docker".to_owned(),
        config,
        because: "there is a Dockerfile".to_owned(),
    }))
}
