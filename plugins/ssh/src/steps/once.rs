//! `run_once_…`: a command on one host.

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    protocol::{Outcome, Receipt, Undo},
};
use serde::{Deserialize, Serialize};

use crate::{
    command,
    fleet::{Again, Fleet, Hold},
    quote,
    site::Site,
};

/// `run_once_…`: a command on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Once {
    pub(crate) host: String,
    pub(crate) argv: Vec<String>,
}

impl Once {
    /// Runs it, in the new release. Never a second time by itself.
    ///
    /// # Errors
    /// It fails; the host is gone from the config.
    pub(crate) fn run(&self, site: &Site, fleet: &Fleet, id: &str, session: &Session) -> Result<Receipt> {
        let host = site.hosts.iter().position(|host| host.name == self.host);
        let host =
            host.ok_or_else(|| Error::failed(format!("`{}` isn't in the config any more", self.host)))?;
        let folder = format!("{}/releases/{id}", site.bases[host]);
        let ran = fleet.on(site, host, Hold::Locked, Again::No, &|host, connection| {
            connection.begin(&["current"])?;
            let running = command::start(&site.hosts[host], &folder, &self.argv, connection)?;
            running.succeed(connection, session)
        });
        ran.map_err(|error| match error.kind {
            // That the lock was taken from this run is what the next connection is told.
            ErrorKind::Unknown => match fleet.on(site, host, Hold::Locked, Again::Yes, &|_, _| Ok(())) {
                Err(why) => error.because(&why),
                Ok(()) => error,
            },
            _ => error,
        })?;
        Ok(Receipt::new(Outcome::Changed, ""))
    }

    /// There is no way back, and a person must know. Without a receipt it may have been cut off anywhere.
    pub(crate) fn undo(&self, receipt: Option<&Receipt>) -> Undo {
        let line = quote::line(&self.argv);
        let left = match receipt {
            Some(_) => "it stays done",
            None => "look there what it did",
        };
        Undo::Undone { summary: format!("{line} on {} can't be taken back: {left}", self.host) }
    }
}
