//! The worker's command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Parser};
use fulcrum_common::{
    access::{Side, Tls, TlsError, Token, TokenError},
    network::Interface,
    protocol::Contact,
    store,
};

use crate::{address::Address, device::Device};

/// Takes stages and shards from a coordinator and runs them. Usually started by `fulcrum run`.
#[derive(Clone, Debug, Parser)]
#[command(name = "fulcrum-worker", version, group(ArgGroup::new("where").required(true)))]
pub(crate) struct Args {
    /// The coordinator, as HOST:PORT with its name or address; FULCRUM_TOKEN then has the run's token, and FULCRUM_TLS
    /// names the folder with its certificates
    #[arg(long, group = "where", env = "FULCRUM_COORDINATOR")]
    pub(crate) coordinator: Option<Address>,

    /// The folder of a run, whose coordinator.json has the address, and whose file `token` the token
    #[arg(long, group = "where")]
    pub(crate) run_folder: Option<PathBuf>,

    /// The artifact store: a folder, or a bucket as s3://BUCKET/PREFIX
    #[arg(long, env = "FULCRUM_STORE")]
    pub(crate) store: store::Place,

    /// This worker's place in the run; the same after a restart
    #[arg(long, env = "FULCRUM_SEAT")]
    pub(crate) seat: String,

    /// Compute threads; workers train together only with equal numbers
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) threads: u32,

    /// What to compute on: cpu, cuda or cuda:N; workers train together only on devices of one kind
    #[arg(long, default_value_t = Device::Cpu)]
    pub(crate) device: Device,

    /// The network interface to meet other workers on: its name, or a network like 10.1.0.0/16 [default: the one on the way
    /// to the coordinator]
    #[arg(long)]
    pub(crate) interface: Option<Interface>,

    /// Other workers of the gang compute on the same GPU; they take turns, so this is for tests
    #[arg(long)]
    pub(crate) shares_device: bool,

    /// Seconds that a training may take to finish its step and keep a checkpoint when this process is asked to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u32,

    /// End when standard input ends: it does when the process that started this one is gone
    #[arg(long)]
    pub(crate) watch_stdin: bool,
}

/// How the coordinator is found.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// It stays where it is.
    Address(Address),
    /// Its run's folder says where it is; a restarted one may be elsewhere.
    RunFolder(PathBuf),
}

impl Place {
    /// The run's folder, where this worker was told of one.
    pub(crate) fn run_folder(&self) -> Option<PathBuf> {
        match self {
            Self::Address(_) => None,
            Self::RunFolder(folder) => Some(folder.clone()),
        }
    }

    /// What the coordinator asks for.
    pub(crate) fn token(&self) -> Result<Token, TokenError> {
        match self {
            Self::Address(_) => Token::told()?.ok_or(TokenError::Untold),
            Self::RunFolder(folder) => Token::find(folder),
        }
    }

    /// What it shows to the coordinator, where the run has certificates.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, TlsError> {
        Tls::find(self.run_folder().as_deref(), Side::Member)
    }

    /// Where the coordinator is now.
    pub(crate) async fn address(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Address(address) => address.find().await,
            Self::RunFolder(folder) => Contact::read(folder).map(|contact| contact.address),
        }
    }
}

impl Args {
    /// How long a training may take to leave.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace.into())
    }

    /// How the coordinator is found.
    pub(crate) fn place(&self) -> Place {
        match (&self.coordinator, &self.run_folder) {
            (Some(address), _) => Place::Address(address.clone()),
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

    #[test]
    fn devices_and_interfaces_are_checked_where_they_are_read() {
        let parse = |more: &str| parse(&format!("w --run-folder r --store s --seat w0 --threads 1 {more}"));
        let args = parse("--device cuda:1 --interface 10.0.0.0/8").unwrap();
        assert_eq!((args.device, args.interface.is_some()), (Device::Cuda(1), true));
        let error = parse("--device tpu").unwrap_err().to_string();
        assert!(error.contains("none of cpu, cuda and cuda:N"), "{error}");
        assert!(parse("--interface 10.0.0.0/99").is_err());
    }
}
