//! The paths that all releases on a host share, as `config.shared` has them: folders end in `/`.

use pop_deploy_plugin_api::{Error, Result};

/// Checks each path by itself, and that none lies in another: one link can't stand in another's folder.
///
/// # Errors
/// A path that leads out of a release, or two that are in each other's way.
pub(crate) fn check(shared: &[String]) -> Result<()> {
    for (index, path) in shared.iter().enumerate() {
        if !lies_within(path) {
            let wrong = format!("`config.shared`: `{}` is no path within a release", path.escape_debug());
            return Err(
                Error::config(wrong).hint("give a relative path such as `.env`, or `uploads/` for a folder")
            );
        }
        for other in &shared[..index] {
            match (covers(other, path), covers(path, other)) {
                (true, true) => return Err(twice(other, path)),
                (true, false) => return Err(inside(other, path)),
                (false, true) => return Err(inside(path, other)),
                (false, false) => {}
            }
        }
    }
    Ok(())
}

fn twice(one: &str, other: &str) -> Error {
    Error::config(format!("`config.shared`: `{one}` and `{other}` are the same path"))
        .hint("name it once, with a `/` at its end where it is a folder")
}

fn inside(outer: &str, inner: &str) -> Error {
    Error::config(format!("`config.shared`: `{inner}` lies in `{outer}`, which is shared already"))
        .hint(format!("leave `{inner}` out"))
}

fn lies_within(shared: &str) -> bool {
    let name = shared.strip_suffix('/').unwrap_or(shared);
    !name.is_empty()
        && !name.contains(['\0', '\n'])
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether `path` is what all releases share, or lies in it.
pub(crate) fn covers(shared: &str, path: &str) -> bool {
    let (shared, path) = (shared.trim_end_matches('/'), path.trim_end_matches('/'));
    path == shared || path.strip_prefix(shared).is_some_and(|rest| rest.starts_with('/'))
}

/// Those of `paths` that [`check`] takes together: what lies in another is shared with it.
pub(crate) fn outermost(paths: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut outermost: Vec<String> = Vec::new();
    for path in paths.into_iter().filter(|path| lies_within(path)) {
        if !outermost.iter().any(|other| covers(other, &path)) {
            outermost.retain(|other| !covers(&path, other));
            outermost.push(path);
        }
    }
    outermost
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn checked(paths: &[&str]) -> Result<()> {
        check(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn paths_that_lie_in_each_other_are_refused_with_both_named() {
        for paths in [["log/", "log"], ["log", "log"], ["up/", "up/x/"], ["up/x/", "up/"], ["up", "up/x"]] {
            let error = checked(&paths).unwrap_err();
            assert!(
                paths.iter().all(|path| error.message.contains(&format!("`{path}`"))),
                "{}",
                error.message
            );
        }
        assert_eq!(checked(&["up/", "upper", "a/up/", ".env"]), Ok(()));
    }

    #[test]
    fn paths_that_lead_out_of_a_release_are_refused() {
        for path in ["", "/", "/etc", "../up", "up/../..", "./up", "up//", "a\nb"] {
            assert!(checked(&[path]).unwrap_err().message.contains("no path within a release"), "{path:?}");
        }
    }
}
