//! The worker's command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgGroup, Parser, ValueEnum};
use fulcrum_common::protocol::Contact;

/// Takes stages and shards from a coordinator and runs them. Usually started by `fulcrum run`.
#[derive(Clone, Debug, Parser)]
#[command(name = "fulcrum-worker", version, group(ArgGroup::new("where").required(true)))]
pub(crate) struct Args {
    /// The coordinator's address, e.g. 127.0.0.1:4600
    #[arg(long, group = "where")]
    pub(crate) coordinator: Option<SocketAddr>,

    /// The folder of a run, whose coordinator.json has the address
    #[arg(long, group = "where")]
    pub(crate) run_folder: Option<PathBuf>,

    /// The artifact store
    #[arg(long)]
    pub(crate) store: PathBuf,

    /// This worker's place in the run; the same after a restart
    #[arg(long)]
    pub(crate) seat: String,

    /// Compute threads; workers train together only with equal numbers
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) threads: u32,

    /// What to compute on
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub(crate) device: Device,

    /// End when standard input ends: it does when the process that started this one is gone
    #[arg(long)]
    pub(crate) watch_stdin: bool,
}

/// What a worker computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    Cpu,
}

impl Device {
    /// The word in the protocol.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }
}

/// How the coordinator is found.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// It stays where it is.
    Address(SocketAddr),
    /// Its run's folder says where it is; a restarted one may be elsewhere.
    RunFolder(PathBuf),
}

impl Place {
    /// Where the coordinator is now.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Address(address) => Ok(*address),
            Self::RunFolder(folder) => Contact::read(folder).map(|contact| contact.address),
        }
    }
}

impl Args {
    /// How the coordinator is found.
    pub(crate) fn place(&self) -> Place {
        match (&self.coordinator, &self.run_folder) {
            (Some(address), _) => Place::Address(*address),
            (None, folder) => Place::RunFolder(folder.clone().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    #[test]
    fn exactly_one_way_to_the_coordinator_is_asked_for() {
        let rest = "--store s --seat w0 --threads 2";
        assert!(parse(&format!("w {rest}")).is_err());
        assert!(parse(&format!("w --coordinator 127.0.0.1:1 --run-folder r {rest}")).is_err());
        let args = parse(&format!("w --run-folder r {rest}")).unwrap();
        assert!(matches!(args.place(), Place::RunFolder(folder) if folder.as_os_str() == "r"));
        assert!(parse("w --run-folder r --store s --seat w0 --threads 0").is_err());
    }
}
