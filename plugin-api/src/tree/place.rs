//! The folders that a config names.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use crate::{Error, IoContext as _, Result, Session};

/// The kernel's limit, with the NUL at the end.
const LONGEST: usize = 4096;

/// The folder that the config key `field` names as `path`, absolute and without links as far as it exists.
///
/// # Errors
/// No system call would take it, or a part of it can't be looked at.
pub fn folder(field: &str, path: &Path, session: &Session) -> Result<PathBuf> {
    check(field, path, &session.project)?;
    resolve(&session.project.join(path))
}

/// Refuses what no system call takes, without repeating it.
fn check(field: &str, path: &Path, project: &Path) -> Result<()> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let what = if bytes.contains(&0) {
        "contains a NUL byte"
    } else if project.join(path).as_os_str().len() >= LONGEST {
        "is too long for a path"
    } else {
        return Ok(());
    };
    Err(Error::config(format!("`config.{field}` {what}")).hint("give the path of a folder"))
}

/// The path without links as far as it exists, the rest taken by its words.
///
/// # Errors
/// A part of it can't be looked at.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let mut rest = Vec::new();
    let mut known = path;
    let mut found = loop {
        match known.canonicalize() {
            Ok(found) => break found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("resolve", known),
        }
        let (Some(parent), Some(last)) = (known.parent(), known.components().next_back()) else {
            return Err(io::Error::from(io::ErrorKind::NotFound)).at("resolve", path);
        };
        rest.push(last);
        known = parent;
    };
    for part in rest.iter().rev() {
        match part {
            Component::ParentDir => drop(found.pop()),
            Component::Normal(name) => found.push(name),
            _ => {}
        }
    }
    Ok(found)
}
