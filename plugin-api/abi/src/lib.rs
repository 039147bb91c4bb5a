//! The frozen boundary between the host and a plugin: four functions out, three functions in.
//!
//! This crate is 1.x for ever and never gains a field. `abi_stable`'s layout check refuses an *old* plugin as soon
//! as anything reachable from the root module grew, default or not, so everything that grows does so inside
//! the JSON that these functions carry: a new field is optional, a new hook is a new method name. Should the
//! boundary itself ever have to change, a second root module is exported beside this one.
//!
//! Plugin authors never see this crate; `pop-deploy-plugin-api` wraps it on both sides.
//!
//! Rules that both sides keep:
//! * Every byte slice is one JSON value in UTF-8. The receiver checks; nobody assumes.
//! * No function unwinds. A panic is caught on its own side and answered as an error.
//! * Sessions are numbers, not pointers: a stale or invented one is an error, never undefined behaviour.

#![allow(
    missing_docs,
    non_camel_case_types,
    reason = "the derive adds accessors without documentation, and a type that it names `_Ref`"
)]

use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings,
    sabi_types::VersionStrings,
    std_types::{RResult, RSlice, RStr, RVec},
};

pub use abi_stable;

/// What a call answers: the result as JSON, or a structured error as JSON.
pub type Answer = RResult<RVec<u8>, RVec<u8>>;

/// What a plugin may ask of its host while a session is open.
///
/// Every function may be called from any thread of the plugin, until `close` of the session returns.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct HostV1 {
    /// Handed back as the first argument of each function; means something to the host only.
    pub context: u64,
    /// Reports one event. Never fails, may block briefly when the host is behind.
    pub emit: extern "C" fn(context: u64, event: RSlice<'_, u8>),
    /// Whether the current call should stop at its next safe point.
    pub cancelled: extern "C" fn(context: u64) -> bool,
    /// Asks the host for something by name; a name the host doesn't know is answered as *unimplemented*.
    pub request: extern "C" fn(context: u64, method: RStr<'_>, input: RSlice<'_, u8>) -> Answer,
}

/// The root module of a plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = EntryV1_Ref)))]
#[sabi(missing_field(panic))]
pub struct EntryV1 {
    /// The manifest, equal to the one embedded in the file.
    pub describe: extern "C" fn() -> Answer,
    /// Opens a session for one target; the number names it in later calls.
    pub open: extern "C" fn(host: HostV1, input: RSlice<'_, u8>) -> RResult<u64, RVec<u8>>,
    /// Calls a method of an open session; a method the plugin doesn't know is answered as *unimplemented*.
    pub call: extern "C" fn(session: u64, method: RStr<'_>, input: RSlice<'_, u8>) -> Answer,
    /// Ends a session. Unknown numbers are ignored.
    #[sabi(last_prefix_field)]
    pub close: extern "C" fn(session: u64),
}

impl RootModule for EntryV1_Ref {
    abi_stable::declare_root_module_statics! {EntryV1_Ref}
    const BASE_NAME: &'static str = "pop_deploy_plugin";
    const NAME: &'static str = "pop-deploy plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
