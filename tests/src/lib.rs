//! End-to-end tests through the real binaries, and the invariants of the workspace.

pub mod chaos;
pub mod moto;
pub mod proxy;
pub mod simulation;
pub mod soak;
pub mod workplace;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the checkout.
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("tests/ lies in the root").to_path_buf()
}

/// The two programs, as cargo builds them.
#[derive(Debug)]
pub struct Binaries {
    /// The command line.
    pub fulcrum: PathBuf,
    /// The worker, which lies beside it.
    pub worker: PathBuf,
}

/// Builds both programs if they are not current, once per test process, in the profile of the test.
///
/// # Panics
/// If they do not build.
pub fn binaries() -> &'static Binaries {
    static BUILT: OnceLock<Binaries> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = output_folder();
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let mut build =
            cargo(&["build", "--package", "fulcrum", "--package", "fulcrum-worker", "--profile", profile]);
        let status = build.status().expect("cargo runs this test, so it can be started");
        assert!(status.success(), "the binaries do not build ({status})");
        Binaries { fulcrum: folder.join("fulcrum"), worker: folder.join("fulcrum-worker") }
    })
}

/// Cargo in the root of the checkout, without the variables that it sets for tests: build scripts that watch
/// them would run again.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(repository());
    for (name, _) in std::env::vars_os() {
        let of_this_package = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if of_this_package {
            cargo.env_remove(name);
        }
    }
    // The value that .cargo/config.toml gives; cargo sets it again.
    if std::env::var_os("LIBTORCH").is_some_and(|path| Path::new(&path) == repository().join("libtorch")) {
        cargo.env_remove("LIBTORCH");
    }
    cargo
}

/// The folder in which cargo puts binaries: two above this test, which lies in `deps/`.
fn output_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    test.ancestors().nth(2).expect("a test lies in deps/").to_path_buf()
}
