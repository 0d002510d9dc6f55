//! Build-script helper: where libtorch lies, and how binaries find it at run time.
//!
//! Cargo hands a build script's link arguments only to the targets of its own package,
//! so every crate that links libtorch calls [`rpath`] from a build script of one line.

use std::path::PathBuf;

/// The libtorch folder (with `include/` and `lib/`): `LIBTORCH`, which `.cargo/config.toml` defaults.
///
/// # Panics
/// If the folder does not hold libtorch, or its path is relative; the message tells the way out.
pub fn libtorch() -> PathBuf {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let root = PathBuf::from(std::env::var_os("LIBTORCH").unwrap_or_default());
    assert!(
        root.join("lib/libtorch_cpu.so").exists(),
        "no libtorch in `{}`: run `cargo xtask setup`, or set LIBTORCH to a folder with include/ and lib/ of torch 2.11",
        root.display()
    );
    // Build scripts run in the folder of their package, so each would look elsewhere.
    assert!(root.is_absolute(), "LIBTORCH={} is not an absolute path", root.display());
    root
}

/// Makes this package's binaries and tests find libtorch without `LD_LIBRARY_PATH`.
pub fn rpath() {
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libtorch().join("lib").display());
}
