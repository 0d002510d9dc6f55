//! `fulcrum launch ssh`: workers on other hosts, looked after from here.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::{Context, Result};
use fulcrum_common::network::{self, Interface};

use crate::{
    cluster::{
        hostlist::Hosts,
        ssh::{Remote, hands},
    },
    commands::run::Wanted,
    devices::Devices,
    job::{Spread, Width},
    supervise::{Programs, end_on_signals},
};

const EXAMPLES: &str = "\
Examples:
  fulcrum launch ssh exp.toml --hosts 'node[01-04]' --per-host 8 --device cuda
  fulcrum launch ssh exp.toml --hosts me@a,me@b --ssh=-oPort=2222 --interface 10.1.0.0/16";

/// What was asked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    what: Wanted,
    /// The hosts, such as node[01-04],me@gpu.example; each must let you in without a password
    #[arg(long, value_name = "HOSTS")]
    hosts: Hosts,
    /// Workers on each host
    #[arg(long, value_name = "N", default_value = "1")]
    per_host: NonZeroUsize,
    /// Threads per worker [default: that of the file, else cores of the host over its workers]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// What the workers compute on: cpu, cuda (a GPU for each) or cuda:N (this GPU for all of a host)
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Devices,
    /// The network interface that the hosts find this machine on: its name, or a network like 10.1.0.0/16 [default: the
    /// first that is not loopback]
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<Interface>,
    /// The program on the hosts [default: where it is here]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// A word for ssh, such as -oPort=2222; given several times, several words
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    ssh: Vec<String>,
}

/// Runs the experiment with workers on the hosts.
///
/// # Errors
/// With the exit code of the contract.
pub(super) async fn run(args: Args) -> Result<()> {
    end_on_signals()?;
    let hosts = &args.hosts.0;
    let workers = NonZeroUsize::new(hosts.len() * args.per_host.get());
    let width = Width { workers, threads: args.threads, device: Some(args.device) };
    let address = network::address(args.interface.as_ref())?;
    let started_in = std::env::current_dir().context("cannot tell the folder that this was started in")?;
    let programs = Programs::find()?;
    args.what
        .bring(width, |experiment, _, folder| {
            let threads = args.threads.map(NonZeroUsize::get).or(experiment.parallel().threads);
            let threads = threads.map(|threads| format!("--threads={threads}"));
            let remote = Remote {
                fulcrum: args.program.as_deref().unwrap_or(programs.fulcrum()),
                folder: &started_in,
                run: folder.path(),
                count: args.per_host,
                options: [format!("--device={}", args.device)].into_iter().chain(threads).collect(),
                ssh: &args.ssh,
            };
            Ok(Spread { listen: (address, 0).into(), here: Some(0), elsewhere: hands(hosts, &remote)? })
        })
        .await
}
