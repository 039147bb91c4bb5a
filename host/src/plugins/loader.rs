//! `dlopen`, and the inherited pipes: all that is unsafe in the host.

#![allow(unsafe_code, reason = "the loader; see the SAFETY notes")]

use std::{
    fs::File,
    io,
    os::fd::{BorrowedFd, FromRawFd as _, OwnedFd},
    path::Path,
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use pop_deploy_plugin_api::ffi::{
    Foreign,
    abi::{
        EntryV1_Ref,
        abi_stable::library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME},
    },
};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::wire::{ANSWERS, ASIDES, FIRST_KEPT, JOBS};

/// Why a library didn't become a plugin.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The system's loader doesn't take it.
    #[error("the system can't load it")]
    System(#[source] libloading::Error),
    /// It has no header of ours.
    #[error("it exports no plugin")]
    NoHeader(#[source] libloading::Error),
    /// It was built against another boundary.
    #[error("it was built against another boundary than this pop-deploy's: {0}")]
    Boundary(String),
}

/// Loads the plugin at `copy`, for ever: code that ran once may have left a thread, or a destructor, behind.
pub(super) fn load(copy: &Path) -> Result<Foreign, LoadError> {
    // SAFETY: initialisers of the library run here. The file is a private copy of one that the user trusts and that was parsed as
    // a whole library for this machine; what its code does is contained by this process being a worker.
    let library = unsafe { Library::open(Some(copy), RTLD_NOW | RTLD_LOCAL) }.map_err(LoadError::System)?;
    // SAFETY: under this name abi_stable exports a `LibHeader`, whose first field is the `AbiHeader` that
    // `AbiHeaderRef` refers to, in a static of the library. `export_target!` puts it there, and `upgrade` looks at its magic number and
    // version before anything else of it is used.
    let header: AbiHeaderRef =
        *unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME) }.map_err(LoadError::NoHeader)?;
    // The reference in `header` claims to be `'static`; this makes it true.
    std::mem::forget(library);
    let entry = header.upgrade().and_then(|library| library.init_root_module::<EntryV1_Ref>());
    Ok(Foreign::new(entry.map_err(|error| LoadError::Boundary(in_short(&error)))?))
}

/// abi_stable's explanations run to a thousand lines; the first one says what kind it is.
fn in_short(error: &LibraryError) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// The worker's ends of the pipes that its host hands to it.
pub(super) struct Pipes {
    pub(super) jobs: File,
    pub(super) asides: File,
    pub(super) answers: File,
}

/// The pipes that this process inherited. To be called once, before anything else opens a file.
pub(super) fn inherited_pipes() -> io::Result<Pipes> {
    Ok(Pipes {
        jobs: inherit(JOBS)?.into(),
        asides: inherit(ASIDES)?.into(),
        answers: inherit(ANSWERS)?.into(),
    })
}

/// Keeps `count` more inherited files open until this process ends, and to itself.
pub(super) fn keep_inherited(count: i32) -> io::Result<()> {
    for number in FIRST_KEPT..FIRST_KEPT.saturating_add(count) {
        std::mem::forget(inherit(number)?);
    }
    Ok(())
}

fn inherit(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: borrowed for the two calls below, the first of which fails when nothing is open under the number.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(borrowed)?;
    // The plugin's own children have no business with it.
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: the number is open, as was just seen. It is far above what this process has opened by itself so far, so the
    // host mapped it for us, and nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
