//! The host's side: a plugin's root module as an ordinary value, with the checks that a stranger's answers need.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use pop_deploy_abi::{
    Answer, EntryV1_Ref, HostV1,
    abi_stable::std_types::{RErr, ROk, RResult, RSlice, RStr, RVec},
};

use super::shim::NO_SESSION;
use crate::{Error, Host, Result, protocol::Build};

/// What answers a plugin's calls back to its host; the same shape that the plugin sees.
pub type HostCalls = Arc<dyn Host>;

/// A plugin's root module.
#[derive(Clone, Copy)]
pub struct Foreign {
    entry: EntryV1_Ref,
}

/// An open session of a plugin. Closes itself.
pub struct ForeignSession {
    entry: EntryV1_Ref,
    session: u64,
    context: u64,
}

impl Foreign {
    /// Wraps a root module, from [`entry`](super::entry) or from a library's checked header.
    pub fn new(entry: EntryV1_Ref) -> Self {
        Self { entry }
    }

    /// What the plugin says of itself at run time.
    ///
    /// # Errors
    /// What the plugin answers, or that its answer isn't a manifest.
    pub fn describe(&self) -> Result<Build> {
        let answer = result(self.entry.describe()())?;
        serde_json::from_slice(&answer).map_err(|error| {
            Error::failed("`describe` answered something that isn't a manifest").because(&error)
        })
    }

    /// Asks the plugin itself, before any session. A plugin of an older make answers that no such session is open.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn ask(&self, method: &str, input: &[u8]) -> Result<String> {
        text(method, result(self.entry.call()(NO_SESSION, method.into(), input.into()))?)
    }

    /// Opens a session. `input` is an [`OpenRequest`](crate::protocol::OpenRequest) as JSON.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn open(&self, host: HostCalls, input: &[u8]) -> Result<ForeignSession> {
        let context = NEXT.fetch_add(1, Ordering::Relaxed);
        hosts().insert(context, host);
        let table = HostV1 { context, emit, cancelled, request };
        match self.entry.open()(table, input.into()) {
            ROk(session) => Ok(ForeignSession { entry: self.entry, session, context }),
            RErr(bytes) => {
                hosts().remove(&context);
                Err(error(&bytes))
            }
        }
    }
}

impl ForeignSession {
    /// Calls a method; input and answer are JSON. The answer is checked to be UTF-8, no more.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn call(&self, method: &str, input: &[u8]) -> Result<String> {
        text(method, result(self.entry.call()(self.session, method.into(), input.into()))?)
    }
}

impl Drop for ForeignSession {
    fn drop(&mut self) {
        self.entry.close()(self.session);
        hosts().remove(&self.context);
    }
}

/// Hosts of open sessions by context number: a plugin that calls after `close` gets an error, not a dangling pointer.
static HOSTS: Mutex<BTreeMap<u64, HostCalls>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

fn hosts() -> std::sync::MutexGuard<'static, BTreeMap<u64, HostCalls>> {
    HOSTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host(context: u64) -> Option<HostCalls> {
    hosts().get(&context).cloned()
}

extern "C" fn emit(context: u64, event: RSlice<'_, u8>) {
    if let Some(host) = host(context) {
        host.emit(event.as_slice());
    }
}

extern "C" fn cancelled(context: u64) -> bool {
    host(context).is_none_or(|host| host.cancelled())
}

extern "C" fn request(context: u64, method: RStr<'_>, input: RSlice<'_, u8>) -> Answer {
    let answer = match host(context) {
        Some(host) => host.request(method.as_str(), input.as_slice()),
        None => Err(serde_json::to_vec(&Error::failed("the session is closed")).unwrap_or_default()),
    };
    match answer {
        Ok(bytes) => ROk(bytes.into()),
        Err(bytes) => RErr(bytes.into()),
    }
}

fn result(answer: RResult<RVec<u8>, RVec<u8>>) -> Result<Vec<u8>> {
    match answer {
        ROk(bytes) => Ok(bytes.into()),
        RErr(bytes) => Err(error(&bytes)),
    }
}

fn text(method: &str, answer: Vec<u8>) -> Result<String> {
    String::from_utf8(answer).map_err(|error| {
        Error::failed(format!("`{method}` answered bytes that aren't UTF-8")).because(&error)
    })
}

fn error(bytes: &[u8]) -> Error {
    serde_json::from_slice(bytes).unwrap_or_else(|cause| {
        Error::failed("the plugin failed with an error that can't be read").because(&cause)
    })
}
