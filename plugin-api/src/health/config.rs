//! The keys of `health`, and what they may be.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ureq::http::{HeaderName, HeaderValue, Uri, uri::Authority};

use super::Statuses;
use crate::{Error, Result, Secret, check_program};

/// How to ask whether an instance is well: one of `http`, `tcp`, `command` and `docker`, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// An address to GET (`http://` or `https://`), or only its path (`/healthz`) where the target knows the
    /// instance's own address. Redirects aren't followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// A `host:port` that must accept a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// A program with its arguments that must end with exit code 0. No shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Whether to take the word of the image's own HEALTHCHECK.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub docker: bool,
    /// Seconds between two attempts.
    #[serde(default = "one_second")]
    pub interval: Seconds,
    /// Seconds that an attempt may take.
    #[serde(default = "five_seconds")]
    pub timeout: Seconds,
    /// Seconds in which failed attempts don't count yet.
    #[serde(default = "ten_seconds")]
    pub start_period: Seconds,
    /// How many failed attempts after the start period make it unhealthy.
    #[serde(default = "three")]
    pub retries: NonZeroU32,
    /// How many healthy attempts in a row make it healthy.
    #[serde(default = "one")]
    pub successes: NonZeroU32,
    /// For `http`: the status that is healthy, as a number, a range like `"200-399"`, or a list of both.
    #[serde(default)]
    pub expect_status: Statuses,
    /// For `http`: a text that the body must contain in its first 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_body: Option<String>,
    /// For `http`: headers to send; a value is a text, or a reference to a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Header>,
}

/// A span of time in a config, in seconds; fractions are fine.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
#[schemars(with = "f64")]
pub struct Seconds(f64);

/// A header's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a reference like {\"env\": \"NAME\"}")]
pub enum Header {
    /// As it stands here.
    Text(String),
    /// Known only where it is sent.
    Secret(Secret),
}

/// Which question a [`Health`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// GET this address, or this path of the instance.
    Http(&'a str),
    /// Connect to this `host:port`.
    Tcp(&'a str),
    /// Run this program.
    Command(&'a [String]),
    /// Read the state of the container's HEALTHCHECK.
    Docker,
}

impl Seconds {
    pub(crate) const fn whole(seconds: u32) -> Self {
        Self(seconds as f64)
    }

    /// So many seconds as a span of time.
    pub fn span(self) -> Duration {
        Duration::from_secs_f64(self.0)
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        /// A day: what is longer is a mistake, and may overflow a clock.
        const MOST: f64 = 86_400.0;
        if (0.0..=MOST).contains(&seconds) {
            return Ok(Self(seconds));
        }
        Err(format!("{seconds} is no number of seconds from 0 to {MOST}"))
    }
}

fn one_second() -> Seconds {
    Seconds::whole(1)
}

fn five_seconds() -> Seconds {
    Seconds::whole(5)
}

fn ten_seconds() -> Seconds {
    Seconds::whole(10)
}

fn three() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(2)
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl Health {
    /// Checks what one key alone can't tell; `key` is where this stands: `config.health`. Call it in `open`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config): no question or two, an address that is none, a header that
    /// can't be sent.
    pub fn check(&self, key: &str) -> Result<()> {
        let asked = [self.http.is_some(), self.tcp.is_some(), self.command.is_some(), self.docker];
        match asked.into_iter().filter(|is| *is).count() {
            1 => {}
            0 => return Err(wrong(key, "asks nothing").hint("give one of http, tcp, command and docker")),
            _ => return Err(wrong(key, "asks several things").hint("keep one of http, tcp, command, docker")),
        }
        match self.question() {
            Question::Http(address) if !is_http(address) && !is_path(address) => {
                Err(wrong(&format!("{key}.http"), format!("`{}` is no address", address.escape_debug()))
                    .hint("begin it with http:// or https://, or with / for a path of the instance"))
            }
            Question::Tcp(address) if !is_host_and_port(address) => {
                Err(wrong(&format!("{key}.tcp"), format!("`{}` is no host:port", address.escape_debug()))
                    .hint("write a name or an address, a colon and a port, such as localhost:5432"))
            }
            Question::Command(argv) => {
                let hint = "give program and arguments, such as [\"pg_isready\", \"-q\"]";
                check_program(&format!("{key}.command"), argv, hint).and_then(|()| self.check_headers(key))
            }
            _ => self.check_headers(key),
        }
    }

    fn check_headers(&self, key: &str) -> Result<()> {
        for (name, value) in &self.headers {
            let sendable = match value {
                Header::Text(text) => HeaderValue::from_str(text).is_ok(),
                Header::Secret(_) => true,
            };
            if !sendable || name.parse::<HeaderName>().is_err() {
                let name = name.escape_debug();
                return Err(wrong(&format!("{key}.headers"), format!("`{name}` can't be sent as a header"))
                    .hint("use letters, digits and - in its name, and one line of text as its value"));
            }
        }
        Ok(())
    }

    /// Which question it asks; of several the first in the order `http`, `tcp`, `command`, `docker`.
    pub fn question(&self) -> Question<'_> {
        match (&self.http, &self.tcp, &self.command) {
            (Some(address), ..) => Question::Http(address),
            (None, Some(address), _) => Question::Tcp(address),
            (None, None, Some(argv)) => Question::Command(argv),
            (None, None, None) => Question::Docker,
        }
    }

    /// The same question to one instance on its own `host:port`: for a new one that no traffic reaches yet.
    ///
    /// It is asked in plain HTTP, as instances behind a proxy speak it, with the `Host` of the address in the config. A
    /// `command` and `docker` stay as they are.
    #[must_use]
    pub fn toward(&self, instance: &str) -> Self {
        let mut own = self.clone();
        if let Some(address) = &self.http {
            let path = match address.parse::<Uri>() {
                Ok(uri) => uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
                Err(_) => address.clone(),
            };
            let host = address.parse::<Uri>().ok().and_then(|uri| uri.authority().map(Authority::to_string));
            own.http = Some(format!("http://{instance}{path}"));
            let named = self.headers.keys().any(|name| name.eq_ignore_ascii_case("host"));
            if let Some(host) = host.filter(|_| !named) {
                own.headers.insert("host".to_owned(), Header::Text(host));
            }
        }
        own.tcp = self.tcp.as_ref().map(|_| instance.to_owned());
        own
    }

    /// The longest that [`wait`](Self::wait) can take: what a rollout's own monitor has to outlast.
    pub fn window(&self) -> Duration {
        let attempt = self.interval.span() + self.timeout.span();
        // A healthy attempt that a failed one follows counts for nothing, so each failure can cost a whole row.
        let attempts = self.retries.get().saturating_mul(self.successes.get());
        self.start_period.span().saturating_add(attempt.saturating_mul(attempts))
    }
}

fn wrong(key: &str, what: impl std::fmt::Display) -> Error {
    Error::config(format!("`{key}` {what}"))
}

fn is_http(address: &str) -> bool {
    address.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
}

fn is_path(address: &str) -> bool {
    address.starts_with('/') && address.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none())
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    !host.is_empty()
        && !host.starts_with('-')
        && !host.chars().any(|c| c.is_whitespace() || c.is_control())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}
