//! Libraries that no linker made, for tests: a header, a manifest, and whatever is to be wrong with them.

#![allow(clippy::unwrap_used, reason = "for tests")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use pop_deploy_plugin_api::TRIPLE;
use serde_json::{Value, json};

/// The manifest of plugin `id`, of type `kind`.
pub(super) fn manifest(id: &str, version: &str, kind: &str) -> Value {
    json!({
        "format": 1, "version": version, "homepage": "", "license": "", "api": [1, 1], "triple": TRIPLE,
        "rustc": "rustc", "panic": "unwind",
        "plugin": {"id": id, "description": "Crafted.", "types": [kind], "config": {"type": "object"}},
    })
}

/// A 64-bit ELF library for this machine that holds `text` as its manifest.
pub(super) fn library(text: &str) -> Vec<u8> {
    const HEADER: usize = 64;
    let names = b"\0.popdply\0.shstrtab\0";
    let mut file = vec![0; HEADER];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    file[16..18].copy_from_slice(&3u16.to_le_bytes());
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    file[20..24].copy_from_slice(&1u32.to_le_bytes());
    file.extend_from_slice(text.as_bytes());
    let names_at = file.len();
    file.extend_from_slice(names);
    let table = file.len();
    let section = |name: u32, kind: u32, offset: usize, size: usize| {
        let mut header = Vec::new();
        header.extend_from_slice(&name.to_le_bytes());
        header.extend_from_slice(&kind.to_le_bytes());
        for word in [0, 0, offset as u64, size as u64, 0, 1, 0] {
            if header.len() == 40 {
                // Two 32-bit words, link and info, stand between size and alignment.
                header.extend_from_slice(&[0; 8]);
                continue;
            }
            header.extend_from_slice(&word.to_le_bytes());
        }
        header
    };
    for header in
        [section(0, 0, 0, 0), section(1, 1, HEADER, text.len()), section(10, 3, names_at, names.len())]
    {
        assert_eq!(header.len(), 64);
        file.extend_from_slice(&header);
    }
    file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
    for (at, value) in [(52, 64u16), (54, 56), (58, 64), (60, 3), (62, 2)] {
        file[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    file
}

/// Writes a plugin into `folder`.
pub(super) fn plugin(folder: &Path, name: &str, manifest: &Value) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, library(&manifest.to_string())).unwrap();
    path
}
