//! Notes which compiler and platform this copy is built by, for the manifest of the plugin that links it.

use std::{env, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = env::var("TARGET").unwrap_or_else(|_| "unknown".into());
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=PLUGIN_API_TARGET={target}");
    println!("cargo:rustc-env=PLUGIN_API_RUSTC={}", version.trim().replace(['"', '\\'], ""));
}
