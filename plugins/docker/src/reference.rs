//! The words that name an image: registry, repository, tag, digest. Docker's own grammar; what doesn't fit it is refused
//! before any command sees it.

use std::fmt;

use pop_deploy_plugin_api::{Error, Result};

/// Where an image lives in a registry, without a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repository {
    registry: String,
    name: String,
}

impl Repository {
    /// # Errors
    /// One of them is no name that docker takes.
    pub(crate) fn new(registry: &str, name: &str) -> Result<Self> {
        if !is_registry(registry) {
            return Err(Error::config(format!(
                "`config.registry`: `{}` is no registry",
                registry.escape_debug()
            ))
            .hint("give a host, perhaps with a port, such as ghcr.io, docker.io or localhost:5000"));
        }
        if !name.split('/').all(is_component) || name.len() > 200 {
            return Err(Error::config(format!(
                "`config.image_name`: `{}` is no image name",
                name.escape_debug()
            ))
            .hint("use lowercase letters, digits, and `.`, `_`, `-` between them, such as acme/orders-api"));
        }
        Ok(Self { registry: registry.to_owned(), name: name.to_owned() })
    }

    /// The registry's host, with its port where it has one.
    pub(crate) fn host(&self) -> &str {
        self.registry.split('/').next().unwrap_or_default()
    }

    /// The image under that tag.
    pub(crate) fn tagged(&self, tag: &str) -> String {
        format!("{self}:{tag}")
    }

    /// The image of that digest.
    pub(crate) fn at(&self, digest: &str) -> String {
        format!("{self}@{digest}")
    }

    /// The name by which the engine lists its images: Docker Hub's stand there without the registry.
    pub(crate) fn listed(&self) -> String {
        let full = self.to_string();
        let hub = full.strip_prefix("index.docker.io/").or_else(|| full.strip_prefix("docker.io/"));
        hub.map_or(full.clone(), |name| name.strip_prefix("library/").unwrap_or(name).to_owned())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

/// Refuses what is no tag; `key` is where the template stands.
///
/// # Errors
/// That.
pub(crate) fn check_tag(key: &str, tag: &str) -> Result<()> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let fits = tag.len() <= 128
        && tag.starts_with(|c: char| inner(c) && !".-".contains(c))
        && tag.chars().all(inner);
    if fits {
        return Ok(());
    }
    Err(Error::config(format!("`{key}`: `{}` is no tag", tag.escape_debug()))
        .hint("use letters, digits, `_`, `.` and `-`, beginning with none of the last two, 128 at most"))
}

/// Refuses what docker doesn't take as the name of a container or a network.
///
/// # Errors
/// That.
pub(crate) fn check_name(key: &str, name: &str) -> Result<()> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(inner)
        && name.len() > 1
    {
        return Ok(());
    }
    Err(Error::config(format!("`{key}`: `{}` is no name that docker takes", name.escape_debug()))
        .hint("use letters, digits, `_`, `.` and `-`, beginning with a letter or digit"))
}

/// A project's name as docker takes it: in lowercase, with a `-` for whatever doesn't fit.
pub(crate) fn name_from(project: &str) -> String {
    let plain: String = project
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let words: Vec<_> = plain.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// Whether this is a digest, as registries and engines give them.
pub(crate) fn is_digest(word: &str) -> bool {
    word.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()))
}

/// A host, which docker tells from a first part of a name by a dot or a port; and perhaps a path behind it.
fn is_registry(registry: &str) -> bool {
    let (host, path) = registry.split_once('/').map_or((registry, None), |(host, path)| (host, Some(path)));
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.split('.').all(label)
        && (name.contains('.') || name == "localhost" || port.is_some())
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0))
        && path.is_none_or(|path| path.split('/').all(is_component))
}

/// `[a-z0-9]+` with `.`, `_`, `__` or any number of `-` between.
fn is_component(word: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = word.split(alphanumeric).filter(|between| !between.is_empty());
    word.starts_with(alphanumeric)
        && word.ends_with(alphanumeric)
        && separators.all(|between| matches!(between, "." | "_" | "__") || between.chars().all(|c| c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_options_or_shell_words_are_refused() {
        for name in ["--privileged", "", "a b", "a;rm -rf", "A/b", "a//b", "a\nb", "../a", "a/", "a___b"] {
            assert!(Repository::new("ghcr.io", name).is_err(), "{name:?}");
        }
        for registry in
            ["--help", "", "registry", "ghcr.io:0", "http://ghcr.io", "-a.io", "a.io/", "a.io/B", "a b.io"]
        {
            assert!(Repository::new(registry, "app").is_err(), "{registry:?}");
        }
        for tag in [";rm -rf", "-f", "", "1\n2", "1.0+build", ".a", "a/b", "a:b"] {
            assert!(check_tag("config.tags", tag).is_err(), "{tag:?}");
        }
        for name in ["--rm", "", "a b", "a\n", "a"] {
            assert!(check_name("config.run.name", name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn names_that_docker_takes_are_taken() {
        for (registry, name) in [
            ("ghcr.io", "acme/orders-api"),
            ("localhost:5000", "a"),
            ("localhost", "a__b/c.d/e--f"),
            ("ghcr.io/acme", "orders"),
            ("registry:5000", "x1"),
        ] {
            assert!(Repository::new(registry, name).is_ok(), "{registry}/{name}");
        }
        assert!(check_tag("config.tags", "v1.2.3_a-b").is_ok());
        assert_eq!(name_from("Orders API (new)"), "orders-api-new");
    }
}
