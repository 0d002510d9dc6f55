//! `fulcrum certs`: certificates for a run whose processes share no folder.

use std::path::PathBuf;

use anyhow::Result;
use fulcrum_common::access::{TLS_VARIABLE, Validity, make};

use super::print;

const EXAMPLES: &str = "\
A run makes its own where its coordinator listens off the loopback, so these are for processes that share no folder:
  fulcrum certs --out ~/fulcrum-tls
  export FULCRUM_TLS=~/fulcrum-tls          # on every machine of the run, with the files that it needs:
                                            # ca.pem, and coordinator.pem and .key, or member.pem and .key";

/// What was asked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long they are good for
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
}

/// Makes them, and says what is in the folder.
///
/// # Errors
/// If it is there already, or the disk refuses.
pub(super) fn run(args: &Args) -> Result<()> {
    make(&args.out, Validity::days(args.days))?;
    let folder = args.out.display();
    print(&format!(
        "{folder}: ca.pem for all; coordinator.pem and coordinator.key; member.pem and member.key for workers and command line\n\
         set {TLS_VARIABLE} to it; what signed them is kept nowhere, so for more members copy these files\n"
    ))
}
