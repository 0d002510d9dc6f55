//! Measurements: `fulcrum bench` starts one such process for each rank.
//!
//! They share a folder: `job.json` says what is measured, rank 0 writes `meeting.json` (where the others meet it) and
//! at last `report.json`.

mod allreduce;
mod infer;
mod memory;
mod network;
mod peaks;
mod stall;
mod train;
mod watch;

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Parser;
use fulcrum_collective::{Interface, Options, Store as Meeting};
use fulcrum_common::{
    bench::{
        JOB_FILE, Job, Losses, MEETING_FILE, Network, Quantiles, REPORT_FILE, Report, Split, Traffic, Work,
    },
    exit,
    plan::Strategy,
};
use fulcrum_methods::Gang;
use tch::{Kind, Tensor};

use crate::{
    device::Device,
    engine::Fault,
    gang::{check, join, spread},
    identity::host_towards,
};

pub(crate) use peaks::device_name as gpu_model;

/// How long ranks wait for each other.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures training, inference or sums over ranks, as one of several processes. Started by `fulcrum bench`.
#[derive(Clone, Debug, Parser)]
#[command(name = "fulcrum-worker bench", version)]
pub(crate) struct Args {
    /// The folder that the ranks share
    #[arg(long)]
    folder: PathBuf,

    /// This process's number
    #[arg(long)]
    rank: usize,

    /// What to compute on: cpu, cuda or cuda:N
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,

    /// Other ranks compute on the same GPU
    #[arg(long)]
    shares_device: bool,

    /// The network interface to meet other ranks on: its name, or a network like 10.1.0.0/16 [default: of rank 0 the loopback,
    /// of others the one on the way to it]
    #[arg(long)]
    interface: Option<fulcrum_common::network::Interface>,

    /// Ranks are on several machines: without an interface, rank 0 meets them on the first that is not loopback
    #[arg(long)]
    across: bool,
}

/// What a measurement found on this rank.
#[derive(Debug, Default)]
struct Found {
    /// Seconds of every timed step.
    steps: Vec<f64>,
    split: Option<Split>,
    checkpoint_stall_s: Option<f64>,
    loss: Option<Losses>,
    network: Option<Network>,
    traffic: Option<Traffic>,
    /// Operations of the model in a step over all ranks.
    flops: f64,
}

/// Does this rank's part. Rank 0 leaves the report.
///
/// # Errors
/// Whatever kept it from being measured, in one line.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.shares_device {
        fulcrum_collective::share_device(&format!("rank-{}", args.rank))?;
    }
    let local = args.interface.as_ref().map(fulcrum_common::network::Interface::find).transpose()?;
    if let (Some(local), Device::Cuda(_)) = (&local, args.device) {
        fulcrum_collective::choose_interface(&local.name)?;
    }
    args.device.open()?;
    let job = read(&args.folder.join(JOB_FILE))?;
    tch::set_num_threads(i32::try_from(job.threads).unwrap_or(i32::MAX));
    let gang = meet(&job, args, local.map(|local| local.address))?;
    let found = measure(&job, &gang, args);
    if let Err(error) = &found {
        gang.abort(&told(error));
    }
    let report = report(&job, found?, &gang, args.device)?;
    if args.rank == 0 {
        write(&args.folder, REPORT_FILE, &serde_json::to_string(&report)?)?;
    }
    Ok(())
}

/// The error with its causes, those aside that another one tells in its own words.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

/// The exit code of an error: whether the fault lies with another rank, which then tells more.
pub(crate) fn code(error: &anyhow::Error) -> i32 {
    use fulcrum_collective::Error;
    let of_gang = |cause: &(dyn std::error::Error + 'static)| {
        let of_training = || match cause.downcast_ref()? {
            fulcrum_train::Error::Collective(error) => Some(error),
            _ => None,
        };
        let gang = cause.downcast_ref().or_else(of_training);
        gang.is_some_and(|error| !matches!(error, Error::Refused { .. } | Error::NoNccl(_)))
    };
    if error.chain().any(of_gang) { exit::MEMBERSHIP } else { exit::MISMATCH }
}

fn read(path: &Path) -> anyhow::Result<Job> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no measurement", path.display()))
}

/// Writes a file, whole or not at all: another process waits for it.
fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(folder.join(name)).with_context(|| format!("cannot write {name}"))?;
    Ok(())
}

/// This rank's gang, over the interface that was named.
fn meet(job: &Job, args: &Args, named: Option<IpAddr>) -> anyhow::Result<Gang> {
    let told = |fault: Fault| anyhow::anyhow!(fault.message);
    let strategy = match job.work {
        Work::Train { strategy, .. } => strategy,
        Work::Infer { .. } | Work::AllReduce { .. } => Strategy::Data,
    };
    let place @ (rank, world) = (args.rank, job.world);
    if rank >= world {
        bail!("there is no rank {rank} of {world}");
    }
    check(strategy, world).map_err(told)?;
    let path = args.folder.join(MEETING_FILE);
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (meeting, host) = match place {
        (_, 1) => (None, loopback),
        (0, _) => {
            let host = match named {
                Some(host) => host,
                None if args.across => fulcrum_common::network::reachable()?,
                None => loopback,
            };
            let meeting = Meeting::serve(host, PATIENCE)?;
            write(&args.folder, MEETING_FILE, &meeting.address().to_string())?;
            (Some(meeting), host)
        }
        _ => {
            let address = fs::read_to_string(&path).context("rank 0 has not said where it is")?.parse()?;
            let host = named.map_or_else(|| host_towards(address), Ok)?;
            (Some(Meeting::connect(address, PATIENCE)?), host)
        }
    };
    let gang = spread(strategy, place, |name, (rank, world)| {
        let Some(meeting) = &meeting else { return Ok(Arc::new(fulcrum_collective::Solo::new()) as _) };
        let (name, interface) = (name.to_owned(), Interface::Address(host));
        join(meeting, &Options { name, rank, world, interface, timeout: PATIENCE }, args.device)
    });
    gang.map_err(told)
}

fn measure(job: &Job, gang: &Gang, args: &Args) -> anyhow::Result<Found> {
    let device = args.device;
    match &job.work {
        &Work::Train {
            ref rows,
            micro_batch,
            strategy,
            numerics,
            overlap,
            checkpoint_steps,
            verify_steps,
        } => {
            let (every, verify) = (checkpoint_steps, verify_steps);
            let keeps =
                (every + verify > 0).then(|| stall::Stall::new(&args.folder, args.rank, every, verify));
            let stall = keeps.transpose()?;
            let how = train::How { micro_batch, strategy, numerics, overlap, stall };
            train::measure(job, rows, how, gang, device.torch())
        }
        Work::Infer { rows } => infer::measure(job, rows, gang, device.torch()),
        Work::AllReduce { mib } => allreduce::measure(job, *mib, gang, device.torch()),
    }
}

/// What all ranks found. Every rank takes part.
fn report(job: &Job, found: Found, gang: &Gang, device: Device) -> anyhow::Result<Report> {
    let Found { steps, split, checkpoint_stall_s, loss, mut network, traffic, flops } = found;
    let quantiles = Quantiles::of(steps);
    let mine = [memory::peak_rss_mib(), memory::device_mib(device)?.unwrap_or(f64::NAN), quantiles.p50];
    let all = by_rank(gang, &mine)?;
    let of = |place: usize| -> Vec<f64> { all.chunks(mine.len()).map(|rank| rank[place]).collect() };
    let device_name = peaks::device_name(device);
    if let Some(network) = &mut network {
        // In training every rank's step is the same; in inference each goes at its own pace.
        let rate: f64 = of(2).iter().map(|step| network.batch as f64 / step).sum();
        network.examples_per_s = rate;
        network.tokens_per_s = rate * network.seq as f64;
        let peak = device_name.as_deref().and_then(|name| peaks::flops(name, network.precision));
        network.mfu = peak.filter(|_| device != Device::Cpu).map(|peak| {
            let per_example = flops / (network.batch * job.world) as f64;
            rate * per_example / (peak * job.world as f64)
        });
    }
    Ok(Report {
        bench: job.work.word().to_owned(),
        world: job.world,
        threads: job.threads,
        device: device.to_string(),
        device_name,
        steps: job.steps,
        warmup: job.warmup,
        network,
        traffic,
        step_s: quantiles.p50,
        quantiles,
        split,
        checkpoint_stall_s,
        loss,
        peak_rss_mib: of(0),
        device_memory_mib: (device != Device::Cpu).then(|| of(1)),
    })
}

/// The numbers of every rank, in the order of ranks.
fn by_rank(gang: &Gang, mine: &[f64]) -> anyhow::Result<Vec<f64>> {
    let all = gang.all();
    let gathered = Tensor::f_zeros([(all.world() * mine.len()) as i64], (Kind::Double, tch::Device::Cpu))?;
    all.all_gather(&gathered, &Tensor::from_slice(mine))?.wait()?;
    Ok(Vec::try_from(gathered)?)
}

#[cfg(test)]
mod tests {
    use fulcrum_collective::Error as Lost;
    use fulcrum_common::plan::{Head, Numerics};

    use super::*;

    fn lost() -> Lost {
        Lost::Broken { operation: "all_reduce", rank: 0, reason: "connection closed by peer".into() }
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = anyhow::anyhow!("no such file");
        assert_eq!(told(&cause.context("cannot read a: no such file")), "cannot read a: no such file");
        assert_eq!(told(&anyhow::anyhow!("gone").context("cannot read a")), "cannot read a: gone");
    }

    #[test]
    fn what_another_rank_did_is_told_from_what_went_wrong_here() {
        for (error, expected) in [
            (anyhow::Error::new(lost()), exit::MEMBERSHIP),
            (
                anyhow::Error::new(fulcrum_train::Error::Collective(lost())).context("training"),
                exit::MEMBERSHIP,
            ),
            (anyhow::Error::new(Lost::NoNccl("no library".into())), exit::MISMATCH),
            (anyhow::Error::new(fulcrum_train::Error::Frozen), exit::MISMATCH),
        ] {
            assert_eq!(code(&error), expected, "{error:#}");
        }
    }

    #[test]
    fn one_rank_measures_each_kind_of_work() {
        let folder = tempfile::tempdir().unwrap();
        let shape = fulcrum_common::bench::Shape::LlamaTiny;
        let rows = |head| fulcrum_common::bench::Rows {
            model: fulcrum_common::bench::Model::Shape(shape),
            head,
            batch: 2,
            seq: 6,
        };
        let two = Head::Classifier { classes: 2 };
        let train = |micro_batch| Work::Train {
            rows: rows(two),
            micro_batch,
            strategy: Strategy::Data,
            numerics: Numerics::default(),
            overlap: true,
            checkpoint_steps: 0,
            verify_steps: 0,
        };
        for work in
            [train(2), train(1), Work::Infer { rows: rows(Head::LanguageModel) }, Work::AllReduce { mib: 1 }]
        {
            let job = Job { work, world: 1, threads: 1, steps: 4, warmup: 1, seed: 0 };
            fs::write(folder.path().join(JOB_FILE), serde_json::to_string(&job).unwrap()).unwrap();
            let folder = folder.path().to_owned();
            let path = folder.display().to_string();
            run(&Args::parse_from(["bench", "--folder", &path, "--rank", "0"])).unwrap();
            let report = fs::read_to_string(folder.join(REPORT_FILE)).unwrap();
            let report: Report = serde_json::from_str(&report).unwrap();
            assert_eq!((report.bench.as_str(), report.peak_rss_mib.len()), (job.work.word(), 1));
            assert!(report.step_s > 0.0 && report.quantiles.p10 <= report.quantiles.p99, "{report:?}");
            let network = report.network.map(|network| (network.tokens_per_s > 0.0, network.mfu));
            assert_eq!(network, (!matches!(job.work, Work::AllReduce { .. })).then_some((true, None)));
        }
    }
}
