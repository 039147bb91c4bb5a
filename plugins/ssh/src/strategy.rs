//! In which order hosts go live, as the config has it.

use std::num::NonZeroUsize;

use pop_deploy_plugin_api::{Result, health::Seconds};
use schemars::JsonSchema;
use serde::Deserialize;

/// In which order hosts go live.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(from = "StrategyForm")]
#[schemars(with = "StrategyForm")]
pub(crate) enum Strategy {
    /// All at once.
    #[default]
    Parallel,
    /// One batch after the other.
    Rolling(Rolling),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected \"parallel\", \"rolling\" or {\"rolling\": {…}}")]
enum StrategyForm {
    /// By its name.
    Name(StrategyName),
    /// In batches, and how.
    Rolling(RollingObject),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StrategyName {
    /// All hosts at once.
    Parallel,
    /// One host after the other.
    Rolling,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RollingObject {
    /// How.
    rolling: Rolling,
}

impl From<StrategyForm> for Strategy {
    fn from(form: StrategyForm) -> Self {
        match form {
            StrategyForm::Name(StrategyName::Parallel) => Self::Parallel,
            StrategyForm::Name(StrategyName::Rolling) => Self::Rolling(Rolling::default()),
            StrategyForm::Rolling(RollingObject { rolling }) => Self::Rolling(rolling),
        }
    }
}

/// How a rolling deployment goes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rolling {
    /// How many hosts at once: a count, or a share like `"25%"`.
    pub(crate) batch: Batch,
    /// Seconds between two batches.
    pub(crate) wait: Option<Seconds>,
    /// How many hosts may fail: each goes back to the release before at once, and the others go on. One that can't be
    /// switched back is named in the end, with what mends it, and the exit code is 4. One more that fails, or all that
    /// there are, and all go back.
    pub(crate) max_failures: usize,
}

/// How many hosts at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "CountOrShare")]
#[schemars(with = "CountOrShare")]
pub(crate) enum Batch {
    /// So many.
    Count(NonZeroUsize),
    /// So many in a hundred, one at least.
    Percent(u8),
}

/// A number, or a text like `"25%"`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a count or a share like \"25%\"")]
enum CountOrShare {
    /// A count.
    Count(NonZeroUsize),
    /// A count or a share, in words.
    Text(String),
}

impl TryFrom<CountOrShare> for Batch {
    type Error = String;

    fn try_from(raw: CountOrShare) -> Result<Self, String> {
        let text = match raw {
            CountOrShare::Count(count) => return Ok(Self::Count(count)),
            CountOrShare::Text(text) => text,
        };
        let parsed = match text.trim().strip_suffix('%') {
            Some(share) => {
                share.trim().parse().ok().filter(|share| (1..=100).contains(share)).map(Self::Percent)
            }
            None => text.trim().parse().ok().map(Self::Count),
        };
        parsed.ok_or_else(|| format!("`{text}` is neither a count from 1 on nor a share like \"25%\""))
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::Count(NonZeroUsize::MIN)
    }
}

impl Batch {
    /// How many of `hosts` go at once.
    pub(crate) fn of(self, hosts: usize) -> usize {
        match self {
            Self::Count(count) => count.get(),
            Self::Percent(share) => (hosts * usize::from(share)).div_ceil(100).max(1),
        }
    }
}
