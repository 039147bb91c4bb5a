//! What an image is for, and an engine runs: `linux/amd64`, `linux/arm/v7`.

use std::fmt;

/// A platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Platform {
    os: String,
    architecture: String,
    /// Empty where it isn't said.
    variant: String,
}

impl Platform {
    pub(crate) fn new(os: &str, architecture: &str, variant: &str) -> Self {
        // The only one there is.
        let variant = if (architecture, variant) == ("arm64", "v8") { "" } else { variant };
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// Reads `os/architecture` or `os/architecture/variant`, in small letters and digits; nothing where it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split('/').collect();
        let fits = |word: &&str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        match words.as_slice() {
            [os, architecture, variant @ ..] if variant.len() < 2 && words.iter().all(fits) => {
                Some(Self::new(os, architecture, variant.first().unwrap_or(&"")))
            }
            _ => None,
        }
    }

    /// Whether both are the same, as far as both are said.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        let variants = [&self.variant, &other.variant];
        self.os == other.os
            && self.architecture == other.architecture
            && (variants[0] == variants[1] || variants.iter().any(|variant| variant.is_empty()))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_str() {
            "" => Ok(()),
            variant => write!(formatter, "/{variant}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_fits_by_its_words_and_not_by_how_they_begin() {
        let fits = |a: &str, b: &str| Platform::parse(a).unwrap().fits(&Platform::parse(b).unwrap());
        assert!(fits("linux/amd64", "linux/amd64"));
        assert!(fits("linux/arm64/v8", "linux/arm64"));
        assert!(fits("linux/arm", "linux/arm/v7"));
        assert!(!fits("linux/arm", "linux/arm64"));
        assert!(!fits("linux/arm/v6", "linux/arm/v7"));
        for text in ["linux", "linux/", "Linux/amd64", "linux/amd64/v1/v2", "linux/--privileged", ""] {
            assert_eq!(Platform::parse(text), None, "{text:?}");
        }
    }
}
