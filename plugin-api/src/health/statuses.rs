//! The statuses that count as healthy.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One or more ranges of HTTP statuses; 200 to 299 where none is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
#[schemars(with = "Written")]
pub struct Statuses(Vec<[u16; 2]>);

/// A number, a range like `"200-399"`, or a list of both.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a status like 200, a range like \"200-399\", or a list of both")]
enum Written {
    /// One of them.
    One(Range),
    /// Several.
    Several(Vec<Range>),
}

/// A number, or a range in words.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a status like 200, or a range like \"200-399\"")]
enum Range {
    /// One status.
    Status(u16),
    /// From one to another.
    Text(String),
}

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![[200, 299]])
    }
}

impl Statuses {
    /// Whether `status` is among them.
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|[from, to]| (*from..=*to).contains(&status))
    }
}

impl TryFrom<Written> for Statuses {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let ranges = match written {
            Written::One(range) => vec![range],
            Written::Several(ranges) => ranges,
        };
        let ranges: Vec<_> = ranges.into_iter().map(Range::bounds).collect::<Result<_, _>>()?;
        if ranges.is_empty() { Err("no status is healthy then".to_owned()) } else { Ok(Self(ranges)) }
    }
}

impl From<Statuses> for Written {
    fn from(statuses: Statuses) -> Self {
        Self::Several(statuses.0.into_iter().map(|[from, to]| Range::Text(format!("{from}-{to}"))).collect())
    }
}

impl Range {
    fn bounds(self) -> Result<[u16; 2], String> {
        let bounds = match &self {
            Self::Status(status) => Some([*status; 2]),
            Self::Text(text) => {
                let (from, to) = text.split_once('-').unwrap_or((text, text));
                from.trim().parse().ok().zip(to.trim().parse().ok()).map(|(from, to)| [from, to])
            }
        };
        match (bounds, self) {
            (Some([from, to]), _) if 100 <= from && from <= to && to <= 599 => Ok([from, to]),
            (_, Self::Status(status)) => Err(format!("{status} is no HTTP status")),
            (_, Self::Text(text)) => {
                Err(format!("`{}` is no range of HTTP statuses like 200-399", text.escape_debug()))
            }
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, [from, to]) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            if from == to { write!(f, "{comma}{from}")? } else { write!(f, "{comma}{from}-{to}")? }
        }
        Ok(())
    }
}
