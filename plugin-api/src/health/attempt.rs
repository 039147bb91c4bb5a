//! One attempt, and what it found.

use crate::{ErrorKind, Finished, Result, Session, protocol::Event};

/// How one attempt ended; the text says what came, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// As it should be.
    Healthy(String),
    /// The instance answered wrongly, or not at all.
    Unhealthy(String),
    /// Nothing was learnt about the instance: the question couldn't be asked.
    Unmeasured(String),
}

impl Attempt {
    /// Whether the instance was well.
    pub fn is_healthy(&self) -> bool {
        matches!(self, Self::Healthy(_))
    }

    /// What came.
    pub fn detail(&self) -> &str {
        match self {
            Self::Healthy(detail) | Self::Unhealthy(detail) | Self::Unmeasured(detail) => detail,
        }
    }

    /// Reports the attempt; `what` names what was asked.
    pub fn tell(&self, what: &str, session: &Session) {
        session.emit(&Event::HealthAttempt {
            what: what.to_owned(),
            healthy: self.is_healthy(),
            detail: self.detail().to_owned(),
        });
    }

    /// The attempt that a run of the health command was.
    ///
    /// # Errors
    /// The run was cancelled.
    pub fn of_command(finished: Result<Finished>) -> Result<Self> {
        match finished {
            Ok(finished) if finished.status.success() => Ok(Self::Healthy("exit code 0".to_owned())),
            Ok(finished) => {
                let words =
                    if finished.stderr.trim().is_empty() { &finished.stdout } else { &finished.stderr };
                let last = words.trim_end().lines().last().map_or(String::new(), |line| format!(": {line}"));
                Ok(Self::Unhealthy(format!("{}{last}", finished.status)))
            }
            Err(error) => match error.kind {
                ErrorKind::Cancelled => Err(error),
                ErrorKind::Timeout => Ok(Self::Unhealthy(error.message)),
                _ => {
                    let words: Vec<_> = std::iter::once(error.message).chain(error.causes).collect();
                    Ok(Self::Unmeasured(words.join(": ")))
                }
            },
        }
    }
}
