//! What a file says of itself, read without running any of it.
//!
//! `dlopen` runs code before anybody can check anything, ends the process on a truncated file, and calls a file of
//! another architecture "No such file or directory". Parsing the file first turns each into a sentence.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    path::Path,
};

use object::{
    Architecture, FileKind, Object as _, ObjectKind, ObjectSection as _, ObjectSegment as _, ReadCache,
    ReadRef,
};
use pop_deploy_plugin_api::{
    API, TRIPLE,
    ffi::SECTION,
    protocol::{Build, FORMAT},
};
use serde::{Deserialize, Serialize};

use super::{
    glibc,
    ownership::{self, Unsafe},
    regular,
};

/// A manifest longer than this is refused unread.
const LONGEST_MANIFEST: u64 = 1 << 20;
/// A file larger than this is refused unread.
const LARGEST_FILE: u64 = 1 << 30;

/// What to do about a file that will never be a plugin.
const REMOVE: &str = "; remove it from the plugin folder";

/// Why a file isn't loaded: a predicate for its name, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// A folder, a FIFO, a device.
    #[error("is not a regular file{REMOVE}")]
    NotAFile,
    /// Larger than any plugin.
    #[error("has {0} bytes, more than a plugin can have{REMOVE}")]
    TooLarge(u64),
    /// The system refuses.
    #[error("can't be read ({0}); check its permissions")]
    Unreadable(String),
    /// Others could have written it.
    #[error("isn't in a safe place: {0}")]
    #[serde(skip)]
    Unsafe(#[from] Unsafe),
    /// Text, an archive, a static library: no library of this kind of system.
    #[error("is not a shared library ({0}){REMOVE}")]
    NotALibrary(String),
    /// Shorter than its own headers say, or the headers make no sense.
    #[error("is truncated or damaged ({0}); copy it again")]
    Damaged(String),
    /// For another kind of machine.
    #[error("is built for {found}, and this machine is {ours}; get the build for `{TRIPLE}`")]
    Architecture {
        /// What it is for.
        found: String,
        /// What we are.
        ours: String,
    },
    /// Linked against a newer C library.
    #[error(
        "needs glibc {}.{}, and this system has {}.{}; get a build for this system, or upgrade it",
        needed.0, needed.1, here.0, here.1
    )]
    Glibc {
        /// What it needs.
        needed: (u32, u32),
        /// What there is.
        here: (u32, u32),
    },
    /// A library, but none of ours.
    #[error("is a shared library without a pop-deploy manifest{REMOVE}")]
    NotAPlugin,
    /// The manifest can't be read.
    #[error("has a manifest that can't be read ({0}); build it again, or ask its author to")]
    Manifest(String),
    /// The manifest is in a format of the future.
    #[error("has a manifest of format {0}, and this pop-deploy reads format {FORMAT}; upgrade pop-deploy")]
    Format(u64),
    /// No common protocol version.
    #[error("speaks protocol {}, and this pop-deploy {}; {}", range(.0), range(&API), api_remedy(.0))]
    Api([u32; 2]),
    /// Built for another platform.
    #[error("is built for `{0}`, and this pop-deploy for `{TRIPLE}`; get the build for that")]
    Triple(String),
    /// A panic of it would end the process.
    #[error("is built with `panic = \"{0}\"`; build it with `panic = \"unwind\"`")]
    Panic(String),
}

impl Refusal {
    /// What is wrong with a file that lies elsewhere than in a folder of plugins.
    pub(super) fn elsewhere(&self) -> String {
        let here = self.to_string();
        here.strip_suffix(REMOVE).map(str::to_owned).unwrap_or(here)
    }

    /// Whether the file's content alone decides it: no owner, no mode, no platform, no version of ours.
    pub(super) fn is_of_content(&self) -> bool {
        matches!(self, Self::NotALibrary(_) | Self::Damaged(_) | Self::NotAPlugin | Self::Manifest(_))
    }
}

fn range([low, high]: &[u32; 2]) -> String {
    if low == high { low.to_string() } else { format!("{low} to {high}") }
}

fn api_remedy([low, _]: &[u32; 2]) -> &'static str {
    if *low > API[1] { "upgrade pop-deploy, or get an older plugin" } else { "get a newer plugin" }
}

/// Opens a regular file of a sane size and a safe owner, without ever waiting for the other end of a FIFO.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), Refusal> {
    let unreadable = |error: io::Error| Refusal::Unreadable(error.to_string());
    let file = regular::open_at_once(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    check_stat(path, &meta)?;
    Ok((file, meta))
}

/// What `stat` alone can tell.
pub(super) fn check_stat(path: &Path, meta: &Metadata) -> Result<(), Refusal> {
    if !meta.is_file() {
        return Err(Refusal::NotAFile);
    }
    if meta.len() > LARGEST_FILE {
        return Err(Refusal::TooLarge(meta.len()));
    }
    Ok(ownership::check(path, meta)?)
}

/// Opens a file and reads its headers and manifest.
pub(super) fn read(path: &Path) -> Result<Build, Refusal> {
    let (file, meta) = open(path)?;
    read_headers(file, meta.len())
}

/// Reads the headers and the manifest of an open file, and no more of it.
pub(super) fn read_headers(file: File, len: u64) -> Result<Build, Refusal> {
    let cache = ReadCache::new(file);
    manifest(&cache, len)
}

/// Reads a whole open file.
pub(super) fn read_whole(file: &mut File, len: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
    file.take(LARGEST_FILE)
        .read_to_end(&mut bytes)
        .map_err(|error| Refusal::Unreadable(error.to_string()))?;
    Ok(bytes)
}

/// The manifest of a library, when the library is whole, for this machine, and speaks our protocol.
pub(super) fn manifest<'d, R: ReadRef<'d>>(data: R, len: u64) -> Result<Build, Refusal> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf32 | FileKind::Elf64 | FileKind::MachO32 | FileKind::MachO64) => {}
        Ok(kind) => return Err(Refusal::NotALibrary(format!("{kind:?}"))),
        Err(_) => return Err(Refusal::NotALibrary("its first bytes are no library's".into())),
    }
    let library =
        object::File::parse(data).map_err(|_| Refusal::Damaged("its headers make no sense".into()))?;
    // Architecture before kind: a sentence about the machine helps more.
    check_architecture(&library)?;
    if library.kind() != ObjectKind::Dynamic {
        return Err(Refusal::NotALibrary(format!("{:?}", library.kind())));
    }
    check_whole(&library, len)?;
    let section = library.section_by_name(SECTION).ok_or(Refusal::NotAPlugin)?;
    if section.size() > LONGEST_MANIFEST {
        return Err(Refusal::Manifest(format!("it has {} bytes", section.size())));
    }
    let bytes = section
        .data()
        .map_err(|_| Refusal::Damaged(format!("section `{SECTION}` ends behind the end of the file")))?;
    let build = parse(bytes)?;
    check_glibc(glibc::needed(&library), glibc::running())?;
    Ok(build)
}

/// Last, as a sentence about the plugin's own build says more.
pub(super) fn check_glibc(
    needed: Option<glibc::Version>,
    here: Option<glibc::Version>,
) -> Result<(), Refusal> {
    match (needed, here) {
        (Some(needed), Some(here)) if needed > here => Err(Refusal::Glibc { needed, here }),
        _ => Ok(()),
    }
}

fn check_architecture<'d, R: ReadRef<'d>>(library: &object::File<'d, R>) -> Result<(), Refusal> {
    let words = |arch: Architecture, bits: u32, little: bool| {
        format!("{arch:?} ({bits} bit, {} endian)", if little { "little" } else { "big" }).to_lowercase()
    };
    let ours = match std::env::consts::ARCH {
        "x86_64" => Architecture::X86_64,
        "aarch64" => Architecture::Aarch64,
        "arm" => Architecture::Arm,
        "x86" => Architecture::I386,
        "riscv64" => Architecture::Riscv64,
        "powerpc64" => Architecture::PowerPc64,
        "s390x" => Architecture::S390x,
        "loongarch64" => Architecture::LoongArch64,
        // Unknown to us, so left to the triple in the manifest.
        _ => library.architecture(),
    };
    let found =
        words(library.architecture(), if library.is_64() { 64 } else { 32 }, library.is_little_endian());
    let ours = words(ours, usize::BITS, cfg!(target_endian = "little"));
    if found == ours { Ok(()) } else { Err(Refusal::Architecture { found, ours }) }
}

/// Everything that the headers promise must lie within the file: the loader maps it unchecked.
fn check_whole<'d, R: ReadRef<'d>>(library: &object::File<'d, R>, len: u64) -> Result<(), Refusal> {
    let within = |start: u64, size: u64| start.checked_add(size).is_some_and(|end| end <= len);
    for (number, segment) in library.segments().enumerate() {
        let (start, size) = segment.file_range();
        if !within(start, size) {
            return Err(Refusal::Damaged(format!("segment {number} ends behind the end of the file")));
        }
    }
    for section in library.sections() {
        if section.file_range().is_some_and(|(start, size)| !within(start, size)) {
            let name = section.name().unwrap_or("?").to_owned();
            return Err(Refusal::Damaged(format!("section `{name}` ends behind the end of the file")));
        }
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<Build, Refusal> {
    /// What every format has: read first, so that a newer one is refused for its number and not for its shape.
    #[derive(serde::Deserialize)]
    struct Numbered {
        format: u64,
    }
    let broken = |error: serde_json::Error| Refusal::Manifest(error.to_string());
    let numbered: Numbered = serde_json::from_slice(bytes).map_err(broken)?;
    if numbered.format != u64::from(FORMAT) {
        return Err(Refusal::Format(numbered.format));
    }
    let build: Build = serde_json::from_slice(bytes).map_err(broken)?;
    let named = |id: &str| {
        !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if !named(&build.plugin.id) {
        return Err(Refusal::Manifest(format!("`{}` is no plugin's id", build.plugin.id.escape_debug())));
    }
    if let Some(text) = texts(&build).find(|text| text.contains(char::is_control)) {
        return Err(Refusal::Manifest(format!("`{}` has control characters", text.escape_debug())));
    }
    check_build(&build)?;
    Ok(build)
}

/// The texts of a manifest that are shown to people as they are.
fn texts(build: &Build) -> impl Iterator<Item = &String> {
    let Build { homepage, license, triple, rustc, panic, plugin, .. } = build;
    let lists = [&plugin.types, &plugin.capabilities, &plugin.environment];
    [homepage, license, triple, rustc, panic, &plugin.description]
        .into_iter()
        .chain(lists.into_iter().flatten())
}

/// What the manifest says of the build, against what we are.
pub(super) fn check_build(build: &Build) -> Result<(), Refusal> {
    let [low, high] = build.api;
    if low > API[1] || high < API[0] || low > high {
        return Err(Refusal::Api(build.api));
    }
    if build.triple != TRIPLE {
        return Err(Refusal::Triple(build.triple.clone()));
    }
    if build.panic != "unwind" {
        return Err(Refusal::Panic(build.panic.clone()));
    }
    Ok(())
}
