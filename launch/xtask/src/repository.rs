//! Where things lie in the checkout, and cargo called as a user would call it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The arguments that build both programs.
pub(crate) const BUILD: &[&str] =
    &["build", "--locked", "--package", "fulcrum", "--package", "fulcrum-worker"];

/// The root of the checkout this program was built from.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("launch/xtask lies two folders below the root").to_path_buf()
}

/// Where `.cargo/config.toml` points LIBTORCH when the user has not set it.
pub(crate) fn libtorch() -> PathBuf {
    root().join("libtorch")
}

/// The LIBTORCH that the user has set. Cargo hands its own default to this process, which counts as unset.
pub(crate) fn libtorch_of_the_user() -> Option<PathBuf> {
    std::env::var_os("LIBTORCH").map(PathBuf::from).filter(|path| *path != libtorch())
}

/// Where cargo puts its output.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Cargo in the root of the checkout, with the environment it would have without this program around it.
///
/// Build scripts rerun when a variable they watch changes, so the variables that `cargo run` adds must
/// not leak: else a plain `cargo build` afterwards would compile libtorch's bindings again.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root());
    for (name, _) in std::env::vars_os() {
        let leaked = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if leaked {
            cargo.env_remove(name);
        }
    }
    if libtorch_of_the_user().is_none() {
        cargo.env_remove("LIBTORCH");
    }
    cargo
}

/// Runs a command whose output the user sees.
///
/// # Errors
/// If it cannot be started or fails; the message carries the command line.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = command_line(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}

fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_lock_file() {
        assert!(root().join("Cargo.lock").is_file());
    }

    #[test]
    fn a_failing_command_is_named_in_the_error() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.contains("`sh -c exit 3` failed") && error.contains('3'), "{error}");
    }

    #[test]
    fn cargo_does_not_see_the_variables_of_this_package() {
        let cargo = cargo(&["build"]);
        let removed = |name: &str| cargo.get_envs().any(|(key, value)| key == name && value.is_none());
        assert!(removed("CARGO_PKG_NAME") && removed("CARGO_MANIFEST_DIR"));
    }
}
