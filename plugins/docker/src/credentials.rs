//! A login at the registry that lasts as long as the session: in a docker configuration of its own, so that the user's
//! stays as it is and no password outlives the run.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::{Error, ErrorKind, IoContext as _, Process, Result, Session, protocol::Command};
use serde_json::{Map, Value};

use crate::config::Login;

/// A folder of configuration that the docker program reads in place of the user's.
pub(crate) struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// Logs in at `registry` with `command`.
    ///
    /// # Errors
    /// The password can't be resolved; the registry refuses it, or doesn't answer.
    pub(crate) fn obtain(
        login: &Login,
        registry: &str,
        command: &Command,
        session: &Session,
    ) -> Result<Self> {
        let password = login.password.reveal(session)?;
        let credentials = Self::beside_the_users(registry, session)?;
        let finished = credentials
            .lend(Process::new(command))
            .quiet()
            .stdin(password.expose().as_bytes())
            .timeout(std::time::Duration::from_secs(60))
            .run(session)?;
        finished.success().map_err(|error| {
            Error {
                kind: ErrorKind::Preflight,
                message: "the registry refused the login".to_owned(),
                ..error
            }
            .hint("check `config.login`, and whether the registry is up")
        })?;
        Ok(credentials)
    }

    /// The user's configuration, whose passwords' keepers keep none for `registry`: a login here must not go into a
    /// keychain. For other registries, which images are made FROM, they go on.
    fn beside_the_users(registry: &str, session: &Session) -> Result<Self> {
        let folder = session.scratch.join("docker");
        match fs::DirBuilder::new().mode(0o700).recursive(true).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).at("make", &folder);
            }
            _ => {}
        }
        let users = users_folder();
        let text = users.as_ref().and_then(|folder| fs::read_to_string(folder.join("config.json")).ok());
        let mut config: Map<String, Value> =
            text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let mut keepers =
            config.remove("credHelpers").and_then(|it| it.as_object().cloned()).unwrap_or_default();
        for name in names(registry) {
            // No program at all: docker keeps the password in the file, which is ours.
            keepers.insert(name.to_owned(), Value::String(String::new()));
        }
        config.insert("credHelpers".to_owned(), Value::Object(keepers));
        write_private(&folder.join("config.json"), &Value::Object(config).to_string())?;
        for part in ["contexts", "cli-plugins"] {
            let Some(theirs) = users.as_ref().map(|folder| folder.join(part)).filter(|path| path.exists())
            else {
                continue;
            };
            let link = folder.join(part);
            match symlink(&theirs, &link) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).at("make", &link);
                }
                _ => {}
            }
        }
        Ok(Self { folder })
    }

    /// Has a docker program use the login.
    pub(crate) fn lend(&self, process: Process) -> Process {
        process.variable("DOCKER_CONFIG", &self.folder)
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        // The folder is a temporary one and goes with the session in any case.
        fs::remove_file(self.folder.join("config.json")).unwrap_or_default();
    }
}

/// What docker calls a registry in its configuration.
fn names(registry: &str) -> Vec<&str> {
    match registry {
        "docker.io" => vec!["docker.io", "index.docker.io", "https://index.docker.io/v1/"],
        other => vec![other],
    }
}

/// Where the user's docker program has its configuration.
fn users_folder() -> Option<PathBuf> {
    let named = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty());
    named.map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use io::Write as _;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .at("write", path)?;
    file.write_all(text.as_bytes()).at("write", path)
}
