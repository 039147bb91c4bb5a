//! A node of a Swarm, and the constraints that it meets.

use pop_deploy_plugin_api::serde_json::Value;

/// A node, as `docker node inspect` tells it.
pub(super) type Node = Value;

/// Whether a node meets a placement constraint; one of an unknown kind is left to the Swarm.
pub(super) fn meets(node: &Node, constraint: &str) -> bool {
    let (key, value, wanted) = match (constraint.split_once(" == "), constraint.split_once(" != ")) {
        (Some((key, value)), _) => (key, value, true),
        (None, Some((key, value))) => (key, value, false),
        (None, None) => return true,
    };
    let at = |path: &str| node.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let label = |path: &str, name: &str| {
        node.pointer(path).and_then(|labels| labels[name].as_str()).unwrap_or_default()
    };
    let found = match key {
        "node.id" => at("/ID"),
        "node.role" => at("/Spec/Role"),
        "node.hostname" => at("/Description/Hostname"),
        "node.platform.os" => at("/Description/Platform/OS"),
        "node.platform.arch" => at("/Description/Platform/Architecture"),
        _ => match (key.strip_prefix("node.labels."), key.strip_prefix("engine.labels.")) {
            (Some(name), _) => label("/Spec/Labels", name),
            (None, Some(name)) => label("/Description/Engine/Labels", name),
            (None, None) => return true,
        },
    };
    (found == value) == wanted
}
