//! The keys of `canary`, and what they may be.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    health::{Health, Seconds},
};

/// How a new release is tried on a part first: step by step, and what makes it bad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The parts, one after the other. All the way is what follows the last.
    #[serde(default = "a_tenth")]
    pub steps: Vec<CanaryStep>,
    /// How many requests of a step must be answered, well or not, before its error rate counts. A step holds until then.
    #[serde(default = "ten")]
    pub min_requests: NonZeroU32,
    /// More errors than this percentage make the canary bad.
    #[serde(default = "ten_percent")]
    pub max_errors: f64,
    /// How many checks of a step may be impossible to ask (no such name, the program is missing) before the canary
    /// can't be judged. They count as neither well nor wrong.
    #[serde(default = "ten")]
    pub max_unmeasured: NonZeroU32,
    /// What becomes of a canary that can't be judged: taken back, or left open for `promote` or `abort`.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
}

/// A part, and how long it is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryStep {
    /// So many instances. One of `count`, `percent` and `hosts` must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<NonZeroU32>,
    /// So many in a hundred of the requests, instances or hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<NonZeroU32>,
    /// So many hosts, the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<NonZeroU32>,
    /// Seconds to watch it, at least.
    #[serde(default = "a_minute")]
    pub hold: Seconds,
    /// What is asked of it again and again, with keys as in `health`. Without any, the target's own `health` is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Health>,
}

/// What becomes of a canary that can't be judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    /// It is taken back, as a bad one is.
    #[default]
    Rollback,
    /// It stays, open, until somebody says `promote` or `abort`.
    Wait,
}

/// How large a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many instances.
    Count(u32),
    /// So many in a hundred.
    Percent(u32),
    /// So many hosts.
    Hosts(u32),
}

fn a_tenth() -> Vec<CanaryStep> {
    vec![CanaryStep { count: None, percent: Some(ten()), hosts: None, hold: a_minute(), checks: Vec::new() }]
}

fn a_minute() -> Seconds {
    Seconds::whole(60)
}

fn ten() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(9)
}

fn ten_percent() -> f64 {
    10.0
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            steps: a_tenth(),
            min_requests: ten(),
            max_errors: ten_percent(),
            max_unmeasured: ten(),
            on_inconclusive: OnInconclusive::default(),
        }
    }
}

impl Canary {
    /// Checks what one key alone can't tell; `key` is where this stands: `config.canary`. Call it in `open`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config): no step, a share that is none or no part, a check that can't be asked.
    pub fn check(&self, key: &str) -> Result<()> {
        if self.steps.is_empty() {
            return Err(Error::config(format!("`{key}.steps` is empty"))
                .hint("give a step such as {\"percent\": 10, \"hold\": 60}, or leave `canary` out"));
        }
        if !(0.0..100.0).contains(&self.max_errors) {
            return Err(Error::config(format!("`{key}.max_errors`: {} is no percentage", self.max_errors))
                .hint("give a number from 0 to less than 100"));
        }
        for (index, step) in self.steps.iter().enumerate() {
            step.check(&format!("{key}.steps[{index}]"))?;
        }
        Ok(())
    }
}

impl CanaryStep {
    fn check(&self, key: &str) -> Result<()> {
        let shares = [self.count, self.percent, self.hosts];
        if shares.iter().flatten().count() != 1 {
            return Err(Error::config(format!("`{key}` needs one of count, percent and hosts"))
                .hint("write how large the part is, such as {\"percent\": 10}"));
        }
        if self.percent.is_some_and(|percent| percent.get() > 99) {
            return Err(Error::config(format!("`{key}.percent` is no part of the whole"))
                .hint("give 1 to 99: the whole comes after the last step by itself"));
        }
        let mut checks = self.checks.iter().enumerate();
        checks.try_for_each(|(index, check)| check.check(&format!("{key}.checks[{index}]")))
    }

    /// How large the part is.
    pub fn share(&self) -> Share {
        match (self.count, self.percent, self.hosts) {
            (Some(count), ..) => Share::Count(count.get()),
            (_, _, Some(hosts)) => Share::Hosts(hosts.get()),
            (_, percent, _) => Share::Percent(percent.map_or(10, NonZeroU32::get)),
        }
    }

    /// What is asked of the part: its own checks, else the target's health.
    ///
    /// # Errors
    /// There is neither: nothing would tell a bad canary from a good one.
    pub fn asked<'a>(&'a self, health: Option<&'a Health>) -> Result<Vec<&'a Health>> {
        let checks: Vec<_> =
            if self.checks.is_empty() { health.into_iter().collect() } else { self.checks.iter().collect() };
        if checks.is_empty() {
            return Err(Error::config("nothing is asked of the canary, so that it can't be judged")
                .hint("give the target a `health`, or each step of `canary` its `checks`"));
        }
        Ok(checks)
    }

    /// Seconds for [`Step::hold`](crate::protocol::Step::hold).
    pub fn seconds(&self) -> u64 {
        self.hold.span().as_secs_f64().ceil() as u64
    }
}

impl Share {
    /// How many of `whole` that is: at least one; nothing where it would leave none of the old ones.
    pub fn of(self, whole: u32) -> Option<u32> {
        let part = match self {
            Self::Count(count) | Self::Hosts(count) => count,
            Self::Percent(percent) => {
                (u64::from(whole) * u64::from(percent)).div_ceil(100).max(1).try_into().unwrap_or(u32::MAX)
            }
        };
        (part < whole).then_some(part)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(1) => f.write_str("1 instance"),
            Self::Count(count) => write!(f, "{count} instances"),
            Self::Percent(percent) => write!(f, "{percent} %"),
            Self::Hosts(1) => f.write_str("1 host"),
            Self::Hosts(hosts) => write!(f, "{hosts} hosts"),
        }
    }
}

/// The refusal of a place whose users or hosts can't be split; `why` is a fragment: "it has one host".
pub fn refused(target: &str, why: &str) -> Error {
    Error::config(format!("target `{target}` can't take a canary: {why}"))
        .hint("deploy in full instead, without `--canary`")
}
