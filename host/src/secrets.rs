//! Resolves secret references, with the user's own environment, when a plugin asks.

use std::{fs, path::Path, process};

use pop_deploy_plugin_api::{Error, Secret};
use serde_json::Value;

/// Whether a reference is one of the values in a document, at any depth.
pub fn stands_in(reference: &Value, document: &Value) -> bool {
    reference == document
        || match document {
            Value::Object(members) => members.values().any(|value| stands_in(reference, value)),
            Value::Array(items) => items.iter().any(|value| stands_in(reference, value)),
            _ => false,
        }
}

/// The value behind a reference, without its last line end. Relative paths and programs run in the project folder.
///
/// # Errors
/// The variable, file or program isn't there, fails, or isn't UTF-8. The message names the reference, never a value.
pub fn resolve(secret: &Secret, project: &Path) -> Result<String, Error> {
    let value = match secret {
        Secret::Env(name) => std::env::var(name).map_err(|error| {
            Error::preflight(format!("can't read the secret in the environment variable `{name}`"))
                .because(&error)
                .hint(format!("set `{name}`, for example in the CI's secret settings"))
        })?,
        Secret::File(path) => fs::read_to_string(project.join(path)).map_err(|error| {
            Error::preflight(format!("can't read the secret in the file `{}`", path.display()))
                .because(&error)
        })?,
        Secret::Command(argv) => from_command(argv, project)?,
    };
    let value = value.strip_suffix('\n').unwrap_or(&value);
    Ok(value.strip_suffix('\r').unwrap_or(value).to_owned())
}

fn from_command(argv: &[String], project: &Path) -> Result<String, Error> {
    let (program, arguments) =
        argv.split_first().ok_or_else(|| Error::config("the command of a secret is empty"))?;
    let output = process::Command::new(program)
        .args(arguments)
        .current_dir(project)
        .stdin(process::Stdio::null())
        .output()
        .map_err(|error| {
            Error::preflight(format!("can't start `{program}`, which is to give a secret")).because(&error)
        })?;
    if !output.status.success() {
        let mut error = Error::preflight(format!("`{program}`, which is to give a secret, failed"));
        error.causes = String::from_utf8_lossy(&output.stderr).lines().take(5).map(str::to_owned).collect();
        return Err(error);
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Error::preflight(format!("`{program}` gave a secret that isn't UTF-8")))
}
