//! Which targets a run is about.

use crate::config::{DeployConfig, TargetConfig, nearest};

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selection {
    /// The first primary target in file order; where none is primary, the first enabled one.
    #[default]
    Primary,
    /// Every enabled target, in file order.
    All,
    /// These, in the order given; a name given twice counts once.
    Named(Vec<String>),
}

/// Why nothing can be selected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// There is no target of that name.
    #[error("there is no target `{name}`; {}", list(available))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The enabled targets, in file order.
        available: Vec<String>,
        /// The target that may be meant, enabled or not.
        nearest: Option<String>,
    },
    /// The target is disabled.
    #[error("target `{name}` is disabled; {}", list(available))]
    Disabled {
        /// The target.
        name: String,
        /// The enabled targets, in file order.
        available: Vec<String>,
    },
    /// Targets there are, and all are disabled.
    #[error("every target in deploy.json is disabled: {}", ticked(disabled))]
    NoneEnabled {
        /// Their names, in file order.
        disabled: Vec<String>,
    },
    /// deploy.json has no targets.
    #[error("deploy.json has no targets")]
    NoTargets,
}

impl SelectError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { nearest: Some(nearest), .. } => format!("try `--target {nearest}`"),
            Self::Unknown { available, .. } if !available.is_empty() => {
                format!("use one of {}", ticked(available))
            }
            Self::Unknown { .. } => "add it to `targets` in deploy.json".to_owned(),
            Self::Disabled { name, .. } => format!("set `targets.{name}.enabled` to true in deploy.json"),
            Self::NoneEnabled { .. } => "set `enabled` to true for one of them in deploy.json".to_owned(),
            Self::NoTargets => "add one to `targets` in deploy.json, as README shows".to_owned(),
        })
    }
}

/// Why the wrapper's dialect has no target. The texts are part of that dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PopkitSelectError {
    /// There is no target of that name.
    #[error("Target '{0}' not found in config")]
    NotFound(String),
    /// Nothing was named, and nothing is primary or enabled.
    #[error("No deployment target available")]
    NoneAvailable,
}

/// The targets that `selection` means; never empty.
///
/// # Errors
/// When one that is named isn't there or is disabled, or nothing is left to choose.
pub fn select<'c>(
    config: &'c DeployConfig,
    selection: &Selection,
) -> Result<Vec<&'c TargetConfig>, SelectError> {
    if config.targets.is_empty() {
        return Err(SelectError::NoTargets);
    }
    match selection {
        Selection::Primary => match config.targets.iter().find(|target| target.primary) {
            Some(primary) => Ok(vec![enabled(config, primary)?]),
            None => Ok(vec![all_enabled(config)?[0]]),
        },
        Selection::All => all_enabled(config),
        Selection::Named(names) => {
            let mut chosen: Vec<&TargetConfig> = Vec::new();
            for name in names {
                let target = enabled(config, config.target(name).ok_or_else(|| unknown(config, name))?)?;
                if !chosen.iter().any(|earlier| earlier.name == target.name) {
                    chosen.push(target);
                }
            }
            Ok(chosen)
        }
    }
}

/// The target that the wrapper means: the named one, disabled or not; else the first primary; else the first that
/// says `"enabled": true`.
///
/// # Errors
/// When there is none such.
pub fn for_popkit<'c>(
    config: &'c DeployConfig,
    name: Option<&str>,
) -> Result<&'c TargetConfig, PopkitSelectError> {
    if let Some(name) = name {
        return config.target(name).ok_or_else(|| PopkitSelectError::NotFound(name.to_owned()));
    }
    let primary = config.targets.iter().find(|target| target.primary);
    primary
        .or_else(|| config.targets.iter().find(|target| says_enabled(target)))
        .ok_or(PopkitSelectError::NoneAvailable)
}

/// Whether the target says `"enabled": true`. In the dialect an absent `enabled` isn't true: the wrapper always writes
/// it, and its scripts looked for the word.
pub fn says_enabled(target: &TargetConfig) -> bool {
    target.enabled && target.raw.get("enabled").is_some()
}

fn enabled<'c>(config: &DeployConfig, target: &'c TargetConfig) -> Result<&'c TargetConfig, SelectError> {
    if target.enabled {
        return Ok(target);
    }
    Err(SelectError::Disabled { name: target.name.clone(), available: names(config, true) })
}

fn all_enabled(config: &DeployConfig) -> Result<Vec<&TargetConfig>, SelectError> {
    let chosen: Vec<_> = config.targets.iter().filter(|target| target.enabled).collect();
    if chosen.is_empty() {
        return Err(SelectError::NoneEnabled { disabled: names(config, false) });
    }
    Ok(chosen)
}

/// That there is no target `name`, with what there is.
pub fn unknown(config: &DeployConfig, name: &str) -> SelectError {
    let candidates = config.targets.iter().map(|target| target.name.as_str());
    SelectError::Unknown {
        name: name.to_owned(),
        available: names(config, true),
        nearest: nearest(name, candidates).map(str::to_owned),
    }
}

fn names(config: &DeployConfig, enabled: bool) -> Vec<String> {
    let wanted = config.targets.iter().filter(|target| target.enabled == enabled);
    wanted.map(|target| target.name.clone()).collect()
}

fn list(available: &[String]) -> String {
    if available.is_empty() {
        "no target is enabled".to_owned()
    } else {
        format!("enabled are {}", ticked(available))
    }
}

fn ticked(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use insta::assert_snapshot;

    use super::*;

    fn config(targets: &str) -> DeployConfig {
        let text = format!("{{\"targets\": {{{targets}}}}}");
        DeployConfig::parse(Path::new("deploy.json"), text.as_bytes()).unwrap()
    }

    const THREE: &str =
        r#""web": {"enabled": true}, "old": {"enabled": false}, "docs": {"enabled": true, "primary": true}"#;

    fn chosen(targets: &str, selection: &Selection) -> String {
        match select(&config(targets), selection) {
            Ok(targets) => targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(" "),
            Err(error) => format!("{error}\nhint: {}", error.hint().unwrap()),
        }
    }

    fn named(names: &[&str]) -> Selection {
        Selection::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn what_cannot_be_chosen_is_answered_with_what_can() {
        assert_snapshot!(chosen(THREE, &named(&["web", "dosc"])), @r"
        there is no target `dosc`; enabled are `web`, `docs`
        hint: try `--target docs`
        ");
        assert_snapshot!(chosen(THREE, &named(&["elsewhere"])), @r"
        there is no target `elsewhere`; enabled are `web`, `docs`
        hint: use one of `web`, `docs`
        ");
        assert_snapshot!(chosen(THREE, &named(&["old"])), @r"
        target `old` is disabled; enabled are `web`, `docs`
        hint: set `targets.old.enabled` to true in deploy.json
        ");
        assert_snapshot!(chosen(r#""old": {"enabled": false}"#, &Selection::All), @r"
        every target in deploy.json is disabled: `old`
        hint: set `enabled` to true for one of them in deploy.json
        ");
        assert_snapshot!(chosen("", &Selection::Primary), @r"
        deploy.json has no targets
        hint: add one to `targets` in deploy.json, as README shows
        ");
        assert!(
            chosen(r#""a": {}, "b": {"enabled": false, "primary": true}"#, &Selection::Primary)
                .contains("disabled")
        );
    }

    #[test]
    fn the_primary_one_all_or_those_that_are_named_in_their_order() {
        assert_eq!(chosen(THREE, &Selection::Primary), "docs");
        assert_eq!(chosen(r#""a": {"enabled": false}, "b": {}, "c": {}"#, &Selection::Primary), "b");
        assert_eq!(chosen(THREE, &Selection::All), "web docs");
        assert_eq!(chosen(THREE, &named(&["docs", "web", "docs"])), "docs web");
    }

    #[test]
    fn the_wrapper_chooses_by_its_own_rules() {
        let chosen = |targets: &str, name: Option<&str>| match for_popkit(&config(targets), name) {
            Ok(target) => target.name.clone(),
            Err(error) => error.to_string(),
        };
        assert_eq!(chosen(THREE, Some("old")), "old", "a disabled target that is named runs");
        assert_eq!(chosen(THREE, None), "docs");
        assert_eq!(chosen(r#""a": {"enabled": false, "primary": true}, "b": {}"#, None), "a");
        assert_eq!(chosen(r#""a": {}, "b": {"enabled": true}"#, None), "b");
        assert_eq!(chosen(THREE, Some("dosc")), "Target 'dosc' not found in config");
        assert_eq!(chosen(r#""a": {"enabled": false}"#, None), "No deployment target available");
    }
}
