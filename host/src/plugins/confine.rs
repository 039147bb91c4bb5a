//! What a worker does to itself before it loads a plugin: limits, and in a dry run no writing.

use std::{fs, io, path::Path};

use pop_deploy_plugin_api::Error;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What a worker may use (`limits` of a target). The programs that it runs inherit them, each for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space, in MiB.
    pub memory_mb: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
}

impl Limits {
    /// What to try where there may be too little memory because of a limit.
    pub(super) fn memory_advice(self) -> Option<String> {
        self.memory_mb.map(|megabytes| raise("memory_mb", megabytes))
    }

    /// What to try where one of them may be what kept a plugin from being loaded.
    pub(super) fn advice_on(self, failed: &Error) -> Option<String> {
        let told = |words: &str| failed.causes.iter().any(|cause| cause.contains(words));
        if told("Too many open files") {
            return self.files.map(|files| raise("files", files));
        }
        // The loader doesn't tell why a file couldn't be mapped.
        let is_short = told("annot allocate memory") || told("failed to map segment");
        self.memory_advice().filter(|_| is_short)
    }
}

fn raise(limit: &str, now: u64) -> String {
    format!("raise `{limit}` in `limits` of the target, or leave it out: {now} may be too little")
}

/// How much sooner than others a worker is to go when the machine runs out of memory, out of 1000.
const FIRST_TO_GO: &str = "500";

/// Sets the limits of this process and of all that it starts. A crash leaves no core file behind: it would hold the
/// plugin's secrets.
pub(super) fn limit(limits: Limits) -> io::Result<()> {
    // Whoever takes all the memory there is costs its own target, not the host. Only Linux has such a file.
    fs::write("/proc/self/oom_score_adj", FIRST_TO_GO).unwrap_or_default();
    let both = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(Resource::Core, both(0))?;
    if let Some(megabytes) = limits.memory_mb {
        setrlimit(Resource::As, both(megabytes.saturating_mul(1 << 20)))?;
    }
    if let Some(files) = limits.files {
        setrlimit(Resource::Nofile, both(files))?;
    }
    Ok(())
}

/// Takes from this thread, and from every thread and process that it starts, the right to write, make, rename or
/// remove files anywhere but in `scratch`, `/dev/null` and the terminal. What is open already stays writable;
/// sockets aren't concerned, nor are mode, owner and times of files. Where the system can, it takes the right to signal processes outside as
/// well. Says whether this system enforces the first.
#[cfg(target_os = "linux")]
pub(super) fn read_only(scratch: &Path) -> Result<bool, landlock::RulesetError> {
    use landlock::{
        ABI, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
        path_beneath_rules,
    };
    // The third knows truncation, the last of the ways to change a file's content or name.
    let writing = AccessFs::from_write(ABI::V3);
    let allowed = [scratch, Path::new("/dev/null"), Path::new("/dev/tty")];
    let status = Ruleset::default()
        .handle_access(writing)?
        .create()?
        .add_rules(path_beneath_rules(allowed, writing))?
        .restrict_self()?;
    // A ruleset of its own: older kernels know no scopes, and that takes nothing from the first.
    Ruleset::default().scope(Scope::Signal)?.create()?.restrict_self()?;
    Ok(status.ruleset == RulesetStatus::FullyEnforced)
}

/// Only Linux has a way for a process to confine itself like this.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_only(_: &Path) -> Result<bool, std::convert::Infallible> {
    Ok(false)
}

/// Whether an error that a confined worker reports is the confinement's doing: the system denied something that this
/// process, which has the same user and isn't confined, may do.
pub(super) fn denied(error: &Error) -> bool {
    let told = || std::iter::once(&error.message).chain(&error.causes);
    let ours_to_write = |path: &Path| {
        let there = path.ancestors().find(|path| path.symlink_metadata().is_ok());
        there.is_none_or(|path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok())
    };
    told().any(|text| text.contains("Permission denied (os error 13)"))
        && told()
            .flat_map(|text| text.split('`').skip(1).step_by(2))
            .map(Path::new)
            .filter(|path| path.is_absolute())
            .all(ours_to_write)
}
