//! The worker process: takes stages and shards from the coordinator and runs them.
//!
//! The control task ([`control`]) talks to the coordinator and never computes; the engine thread ([`engine`])
//! computes and never talks. An [`attempt::Attempt`] is what they share.

mod address;
mod args;
mod attempt;
mod bench;
mod black_box;
mod checkpoints;
mod control;
mod device;
mod engine;
mod equipment;
mod gang;
mod identity;
mod note;
mod scratch;
mod session;
mod stage;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser as _;
use fulcrum_common::{equipment::WORD as EQUIPMENT, exit, network::Interface, protocol::Hello, store::Store};
use tokio::{
    runtime::{Builder, Handle},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing_subscriber::EnvFilter;

use crate::{
    args::Args,
    control::{Asked, Config, Control},
    device::Device,
    engine::EngineThread,
    scratch::Scratch,
    stage::Stages,
};

/// How long a worker stays without work and without a coordinator.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first word of the command line of a measurement.
const BENCH: &str = "bench";

fn main() {
    let filter = EnvFilter::try_from_env("FULCRUM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut words = std::env::args_os().skip(1).peekable();
    if words.next_if(|word| word == BENCH).is_some() {
        let words = [OsString::from(BENCH)].into_iter().chain(words);
        end(measure(&bench::Args::parse_from(words)));
    }
    if words.peek().is_some_and(|word| word == EQUIPMENT) {
        end(tell_equipment());
    }
    let args = Args::parse();
    let host = prepare(&args).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        // Another start would find the same machine.
        end(exit::MISMATCH)
    });
    if args.watch_stdin {
        thread::spawn(leave_with_parent);
    }
    end(work(args, host).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        // The arguments were good, so it was the machine: another start may work.
        exit::MEMBERSHIP
    }))
}

/// Prints what this machine has for workers; returns the exit code.
fn tell_equipment() -> i32 {
    let told = serde_json::to_string(&equipment::find()).map_err(io::Error::from);
    match told.and_then(|line| writeln!(io::stdout(), "{line}")) {
        Ok(()) => exit::DONE,
        Err(error) => {
            tracing::error!("{error}");
            exit::INTERNAL
        }
    }
}

/// Takes part in a measurement; returns the exit code.
fn measure(args: &bench::Args) -> i32 {
    thread::spawn(leave_with_parent);
    let run = catch_unwind(AssertUnwindSafe(|| bench::run(args)));
    match run.unwrap_or_else(|panic| Err(anyhow::anyhow!(engine::panicked(&*panic).message))) {
        Ok(()) => exit::DONE,
        Err(error) => {
            tracing::error!("{}", bench::told(&error));
            bench::code(&error)
        }
    }
}

/// Makes interface and device ready, while this process has one thread and no tensor; the address of the interface.
fn prepare(args: &Args) -> anyhow::Result<Option<IpAddr>> {
    let interface = args.interface.as_ref().map(Interface::find).transpose()?;
    if args.shares_device {
        fulcrum_collective::share_device(&args.seat)?;
    }
    if let (Some(interface), Device::Cuda(_)) = (&interface, args.device) {
        fulcrum_collective::choose_interface(&interface.name)?;
    }
    args.device.open()?;
    Ok(interface.map(|interface| interface.address))
}

/// Serves until the process is to end; returns its exit code.
fn work(args: Args, host: Option<IpAddr>) -> anyhow::Result<i32> {
    // Two threads: heartbeats go on while the other one is held up.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(async {
        let store = Store::at(&args.store).context("cannot open the store")?;
        let scratch =
            Scratch::open(store.home(), &args.seat).context("cannot open scratch space for the store")?;
        let (results, outcomes) = mpsc::unbounded_channel();
        let (handle, device, threads) = (Handle::current(), args.device, args.threads);
        let (place, grace) = (args.place(), args.grace());
        let shared = place.run_folder().unwrap_or_else(|| store.home().to_owned());
        let note = note::Place::new(&shared.join("seats"), &args.seat);
        let identity = store.identity().await?.to_string();
        let hello =
            Hello { fell: note.left(), store: identity, ..identity::hello(&args.seat, device, threads) };
        let stages = move || Stages::new(store, scratch, handle, (device, threads), note);
        let engine = EngineThread::start(stages, results)?;
        let config = Config { place, hello, host, patience: PATIENCE, grace };
        Ok::<_, anyhow::Error>(Control::new(config, engine, outcomes, signals()?).run().await)
    })?;
    // The engine may still compute: it is not waited for.
    runtime.shutdown_background();
    Ok(code)
}

/// A message for every signal that asks for something.
fn signals() -> std::io::Result<mpsc::Receiver<Asked>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // How schedulers announce the end of a job's time.
    let mut warning = signal(SignalKind::user_defined1())?;
    let mut curious = signal(SignalKind::user_defined2())?;
    let (asked, asks) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let what = tokio::select! {
                _ = terminate.recv() => Asked::End,
                _ = interrupt.recv() => Asked::End,
                _ = warning.recv() => Asked::End,
                _ = curious.recv() => Asked::Tell,
            };
            if asked.send(what).await.is_err() {
                return;
            }
        }
    });
    Ok(asks)
}

/// Ends the process once standard input ends: whoever started it is gone and nobody waits for its work.
fn leave_with_parent() {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    tracing::warn!("the process that started this worker is gone");
    end(exit::PREEMPTED)
}

/// Ends the process, also while the engine still computes.
fn end(code: i32) -> ! {
    fulcrum_torch_shim::leave(code)
}
