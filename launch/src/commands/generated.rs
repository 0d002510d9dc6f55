//! `fulcrum completions` and `fulcrum man`: what the shell and the manual know of this program, made of its own words.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, print};

/// What was asked of `fulcrum completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// What was asked of `fulcrum man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The folder for the pages, such as ~/.local/share/man/man1
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Prints what makes the shell complete the words of a command.
///
/// # Errors
/// If they cannot be printed.
pub(super) fn completions(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fulcrum", &mut script);
    print(&String::from_utf8(script)?)
}

/// Writes a page for the program and one for each command.
///
/// # Errors
/// If the folder cannot be written.
pub(super) fn man(args: &Man) -> Result<()> {
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    clap_mangen::generate_to(Cli::command(), &args.out)
        .with_context(|| format!("cannot write into {}", args.out.display()))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "fulcrum", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        man(&Man { out: folder.path().join("man1") }).unwrap();
        let page = |name: &str| fs::read_to_string(folder.path().join(format!("man1/{name}.1"))).unwrap();
        assert!(page("fulcrum").contains("Weak\\-to\\-strong"), "{}", page("fulcrum"));
        for command in Cli::command().get_subcommands() {
            assert!(page(&format!("fulcrum-{}", command.get_name())).contains("SYNOPSIS"));
        }
    }
}
