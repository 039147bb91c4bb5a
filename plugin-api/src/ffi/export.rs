//! The macro that ends a plugin crate, and the constants it is made of.

#![allow(unsafe_code, reason = "the export glue; see the SAFETY notes")]

use pop_deploy_abi::{
    EntryV1_Ref,
    abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
};

use crate::{Target, ffi::entry, protocol::Build, target::manifest_of};

/// The link section that holds the manifest: eight characters, as much as every object format allows.
pub const SECTION: &str = ".popdply";

const BEFORE: &str = concat!(
    "{\"format\":1,\"api\":[1,1],\"panic\":\"unwind\",\"triple\":\"",
    env!("PLUGIN_API_TARGET"),
    "\",\"rustc\":\"",
    env!("PLUGIN_API_RUSTC"),
    "\",\"version\":\""
);

const fn parts<'a>(package: &[&'a str; 3], manifest: &'a str) -> [&'a str; 9] {
    let [version, homepage, license] = *package;
    [
        BEFORE,
        version,
        "\",\"homepage\":\"",
        homepage,
        "\",\"license\":\"",
        license,
        "\",\"plugin\":",
        manifest,
        "}",
    ]
}

/// How long [`joined`] is, in bytes. Called by the macro.
pub const fn joined_len(package: &[&str; 3], manifest: &str) -> usize {
    let parts = parts(package, manifest);
    let mut sum = 0;
    let mut index = 0;
    while index < parts.len() {
        sum += parts[index].len();
        index += 1;
    }
    sum
}

/// The embedded manifest: facts of the build around the author's part. Called by the macro with
/// the package's version, homepage and licence.
pub const fn joined<const N: usize>(package: &[&str; 3], manifest: &str) -> [u8; N] {
    let parts = parts(package, manifest);
    let mut bytes = [0; N];
    let (mut part, mut at) = (0, 0);
    while part < parts.len() {
        let text = parts[part].as_bytes();
        let mut index = 0;
        while index < text.len() {
            bytes[at] = text[index];
            at += 1;
            index += 1;
        }
        part += 1;
    }
    bytes
}

/// What `describe` answers: the embedded manifest, with the author's part as the *code* says it.
///
/// # Errors
/// When the embedded text isn't a manifest, as a sentence.
pub fn describe_json<T: Target>(embedded: &[u8]) -> Result<Vec<u8>, String> {
    let mut build: Build = serde_json::from_slice(embedded)
        .map_err(|error| format!("the embedded manifest is broken: {error}"))?;
    build.plugin = manifest_of::<T>();
    serde_json::to_vec(&build).map_err(|error| error.to_string())
}

/// The header that the host looks for in a library. Called by the macro.
pub const fn header<T: Target + Described>() -> LibHeader {
    extern "C" fn root<T: Target + Described>() -> RootModuleResult {
        __call_root_module_loader(entry::<T> as fn() -> EntryV1_Ref)
    }
    // SAFETY: `root` returns the `EntryV1_Ref` that `entry` makes, erased by abi_stable itself.
    unsafe { LibHeader::from_constructor::<EntryV1_Ref>(root::<T>, CheckTypeLayout::Yes) }
}

/// Ties a target to the manifest embedded beside it. [`export_target!`](crate::export_target) implements it.
pub trait Described {
    /// The bytes of the link section.
    fn embedded() -> &'static [u8];
}

/// Exports a [`Target`] as this crate's plugin. Exactly once, at the end of the `cdylib`'s `lib.rs`.
///
/// It embeds `manifest.json`, which lies beside the crate's Cargo.toml; `testing::check_manifest` keeps it true.
/// A build with `panic = "abort"` is refused: a panic would take the whole process along.
#[macro_export]
macro_rules! export_target {
    ($target:ty) => {
        #[cfg(panic = "abort")]
        ::core::compile_error!(
            "a pop-deploy plugin must unwind on panic, so that the host can report it: remove `panic = \"abort\"` from the profile"
        );

        const _: () = {
            const PACKAGE: [&str; 3] = [
                ::core::env!("CARGO_PKG_VERSION"),
                ::core::env!("CARGO_PKG_HOMEPAGE"),
                ::core::env!("CARGO_PKG_LICENSE"),
            ];
            const MANIFEST: &str =
                ::core::include_str!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/manifest.json"));
            const LEN: usize = $crate::ffi::joined_len(&PACKAGE, MANIFEST);

            #[used]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".popdply"))]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,.popdply"))]
            static EMBEDDED: [u8; LEN] = $crate::ffi::joined(&PACKAGE, MANIFEST);

            impl $crate::ffi::Described for $target {
                fn embedded() -> &'static [u8] {
                    &EMBEDDED
                }
            }

            // The name is abi_stable's `ROOT_MODULE_LOADER_NAME`.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: $crate::ffi::abi::abi_stable::library::LibHeader = $crate::ffi::header::<$target>();
        };
    };
}
