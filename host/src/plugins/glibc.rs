//! Which C library a plugin was linked against, and which one runs here: `dlopen` refuses a newer need with a
//! sentence about a symbol version that helps nobody.

use std::{fs, io, sync::LazyLock};

use object::{
    ReadCache, ReadRef,
    elf::VER_FLG_WEAK,
    read::{
        self,
        elf::{ElfFile, FileHeader},
    },
};

/// A version of glibc: 2.39.
pub(super) type Version = (u32, u32);

/// The newest version that a library can't do without; none where it needs no glibc.
pub(super) fn needed<'d, R: ReadRef<'d>>(library: &object::File<'d, R>) -> Option<Version> {
    match library {
        object::File::Elf32(elf) => newest_needed(elf),
        object::File::Elf64(elf) => newest_needed(elf),
        _ => None,
    }
}

/// The newest version that this process's own C library has; none where that isn't glibc, or can't be told.
pub(super) fn running() -> Option<Version> {
    static RUNNING: LazyLock<Option<Version>> = LazyLock::new(|| {
        let maps = fs::read_to_string("/proc/self/maps").ok()?;
        let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
        let path = paths.into_iter().find(|path| path.ends_with("/libc.so.6"))?;
        defined(path).ok().flatten()
    });
    *RUNNING
}

fn defined(path: &str) -> io::Result<Option<Version>> {
    let cache = ReadCache::new(fs::File::open(path)?);
    let library = object::File::parse(&cache).map_err(io::Error::other)?;
    Ok(match &library {
        object::File::Elf32(elf) => newest_defined(elf),
        object::File::Elf64(elf) => newest_defined(elf),
        _ => None,
    })
}

/// A table that can't be read is left to the system's loader.
fn newest_needed<'d, E: FileHeader, R: ReadRef<'d>>(elf: &ElfFile<'d, E, R>) -> Option<Version> {
    let read = || -> read::Result<Option<Version>> {
        let (endian, data, sections) = (elf.endian(), elf.data(), elf.elf_section_table());
        let Some((mut needs, link)) = sections.gnu_verneed(endian, data)? else { return Ok(None) };
        let strings = sections.strings(endian, data, link)?;
        let mut newest = None;
        while let Some((_, mut versions)) = needs.next()? {
            while let Some(version) = versions.next()? {
                if !version.vna_flags.get(endian).contains(VER_FLG_WEAK) {
                    newest = newest.max(parse(version.name(endian, strings)?));
                }
            }
        }
        Ok(newest)
    };
    read().ok().flatten()
}

fn newest_defined<'d, E: FileHeader, R: ReadRef<'d>>(elf: &ElfFile<'d, E, R>) -> Option<Version> {
    let read = || -> read::Result<Option<Version>> {
        let (endian, data, sections) = (elf.endian(), elf.data(), elf.elf_section_table());
        let Some((mut definitions, link)) = sections.gnu_verdef(endian, data)? else { return Ok(None) };
        let strings = sections.strings(endian, data, link)?;
        let mut newest = None;
        while let Some((_, mut names)) = definitions.next()? {
            while let Some(name) = names.next()? {
                newest = newest.max(parse(name.name(endian, strings)?));
            }
        }
        Ok(newest)
    };
    read().ok().flatten()
}

/// `GLIBC_2.34`, also `GLIBC_2.2.5`; the private ones have no number.
fn parse(name: &[u8]) -> Option<Version> {
    let mut numbers = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_of_versions_are_read() {
        assert_eq!(parse(b"GLIBC_2.34"), Some((2, 34)));
        assert_eq!(parse(b"GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(parse(b"GLIBC_PRIVATE"), None);
        assert_eq!(parse(b"GCC_3.0"), None);
    }

    /// This very program runs here, so what it needs is there.
    #[test]
    #[cfg(target_env = "gnu")]
    fn what_runs_here_needs_no_more_than_is_here() {
        let cache = ReadCache::new(fs::File::open(std::env::current_exe().unwrap()).unwrap());
        let needed = needed(&object::File::parse(&cache).unwrap()).unwrap();
        assert!(needed > (2, 0) && needed <= running().unwrap(), "{needed:?} {:?}", running());
    }
}
