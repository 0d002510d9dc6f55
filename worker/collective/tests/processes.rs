//! What every collective must do, between processes: over Gloo, or over NCCL with `FULCRUM_TEST_DEVICE=cuda`.
//!
//! `cargo test` runs it over Gloo, as most machines have no GPU; `tests/gpu.sh` asks for `cuda`, and where there is
//! none that is a failure and not a pass. This program is its own member: the one that tests starts the others
//! with the word `member`, whether GPUs are shared, a scene, and a seat.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

mod suite;

use std::{
    env,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use fulcrum_collective::{Collective, Gloo, Interface, Nccl, Options, Store};
use fulcrum_torch_shim::cuda;
use suite::{AT_ONCE, CHECKS, Place};
use tch::Device;

const TIMEOUT: Duration = Duration::from_secs(60);
/// Of the gang with a silent member, whose operations are to end with it; on GPUs it is also the time to start.
const SHORT: Duration = Duration::from_secs(3);
const SHORT_ON_GPU: Duration = Duration::from_secs(15);
/// The first rounds of NCCL connect; the victim falls after them.
const ROUNDS: usize = 20;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["member", gpus, scene, rank, world, address, folder] => {
            if *gpus == "shared" {
                // Before CUDA is open, which starts threads.
                fulcrum_collective::share_device(&format!("rank{rank}")).unwrap();
            }
            member(
                scene,
                rank.parse().unwrap(),
                world.parse().unwrap(),
                address.parse().unwrap(),
                folder.into(),
            );
            ExitCode::SUCCESS
        }
        _ => test(),
    }
}

/// The number of GPUs, if they are asked for.
fn devices() -> Result<Option<usize>, fulcrum_torch_shim::Error> {
    match cuda::test_device()? {
        Device::Cuda(_) => cuda::open().map(Some),
        _ => Ok(None),
    }
}

/// Starts the members of one scene after the other.
fn test() -> ExitCode {
    let devices = match devices() {
        Ok(devices) => devices,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let carrier = if devices.is_some() { "nccl" } else { "gloo" };
    let largest = devices.map_or(3, |count| count.clamp(2, 8));
    let folder = suite::folder("processes");
    let stage = Stage { devices, folder: folder.clone() };
    for world in 1..=largest {
        let begun = Instant::now();
        stage.run("checks", world);
        println!("{carrier} of {world}: {} checks ... ok ({:.1?})", CHECKS.len(), begun.elapsed());
    }
    for scene in ["abort", "leave", "kill", "silence"] {
        let begun = Instant::now();
        stage.run(scene, largest);
        println!("{carrier} of {largest}: {scene} ... ok ({:.1?})", begun.elapsed());
    }
    suite::remove(&folder);
    ExitCode::SUCCESS
}

/// Where scenes are played.
struct Stage {
    /// The number of GPUs, if it is played on those.
    devices: Option<usize>,
    folder: PathBuf,
}

impl Stage {
    /// Plays a scene: all members end well, but for the one that is killed, and those who see it fall end at once.
    fn run(&self, scene: &str, world: usize) {
        let store = Store::serve(Ipv4Addr::LOCALHOST.into(), TIMEOUT).unwrap();
        let mut members: Vec<_> = (0..world).map(|rank| self.start(scene, rank, world, &store)).collect();
        let mut fallen = None;
        if scene == "kill" {
            let mut victim = members.pop().unwrap();
            await_line(&mut victim, "now");
            victim.kill().unwrap();
            fallen = Some(Instant::now());
            victim.wait().unwrap();
        }
        for (rank, mut member) in members.into_iter().enumerate() {
            assert!(member.wait().unwrap().success(), "{scene}: rank {rank} of {world} failed");
        }
        assert!(fallen.is_none_or(|fallen| fallen.elapsed() < AT_ONCE), "the others took too long to see it");
    }

    fn start(&self, scene: &str, rank: usize, world: usize, store: &Store) -> Child {
        let mut command = Command::new(env::current_exe().unwrap());
        let gpus = if self.devices.is_some_and(|devices| devices < world) { "shared" } else { "own" };
        command.args([
            "member",
            gpus,
            scene,
            &rank.to_string(),
            &world.to_string(),
            &store.address().to_string(),
        ]);
        command.arg(&self.folder).stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().unwrap()
    }
}

/// Reads a member's output up to a line.
fn await_line(member: &mut Child, line: &str) {
    let mut output = BufReader::new(member.stdout.take().unwrap());
    let mut said = String::new();
    while output.read_line(&mut said).unwrap() > 0 {
        if said.trim_end() == line {
            return;
        }
        said.clear();
    }
    let status = member.wait().unwrap();
    panic!("the member ended ({status}) before it said {line:?}");
}

/// One member of a scene.
fn member(scene: &str, rank: usize, world: usize, address: SocketAddr, folder: PathBuf) {
    let (device, short) = match devices().unwrap() {
        None => (Device::Cpu, SHORT),
        Some(count) => (Device::Cuda(rank % count), SHORT_ON_GPU),
    };
    let timeout = if scene == "silence" { short } else { TIMEOUT };
    let place = Place { device, folder };
    let gang = join(rank, world, address, timeout, device);
    let last = rank == world - 1;
    match scene {
        "checks" => {
            for (name, check) in CHECKS {
                println!("rank {rank}: {name}");
                check(&*gang, &place);
            }
            gang.barrier().unwrap().wait().unwrap();
        }
        "abort" => suite::abort_fails_what_is_in_flight_and_what_comes_later(&*gang, &place),
        "leave" => {
            // Whoever left earlier would be missed by those who have not met yet.
            gang.barrier().unwrap().wait().unwrap();
            suite::leaving_in_the_middle_breaks_all_others(gang, &place);
        }
        "kill" => {
            let tell = |round| {
                if last && round == ROUNDS {
                    println!("now")
                }
            };
            println!("{}", suite::rounds_until_broken(&*gang, &place, TIMEOUT, tell));
        }
        "silence" => keep_silent_or_wait(&*gang, &place, last, timeout),
        other => panic!("no scene {other:?}"),
    }
}

/// The last member takes no part until it sees that the others have given up, as they must when the time is over.
fn keep_silent_or_wait(gang: &dyn Collective, place: &Place, silent: bool, timeout: Duration) {
    // Connections are made: what follows waits for nothing but the silent one.
    gang.barrier().unwrap().wait().unwrap();
    let begun = Instant::now();
    if !silent {
        println!("{}", suite::until_broken(gang, place, TIMEOUT));
    }
    while gang.health().is_ok() {
        assert!(begun.elapsed() < timeout + AT_ONCE, "nobody gave up");
        std::thread::yield_now();
    }
    assert!(begun.elapsed() < timeout + AT_ONCE, "took {:?}", begun.elapsed());
}

fn join(
    rank: usize,
    world: usize,
    address: SocketAddr,
    timeout: Duration,
    device: Device,
) -> Box<dyn Collective> {
    let store = Store::connect(address, TIMEOUT).unwrap();
    let interface = Interface::Address(Ipv4Addr::LOCALHOST.into());
    let options = Options { name: "processes".into(), rank, world, interface, timeout };
    match device {
        Device::Cuda(ordinal) => Box::new(Nccl::new(&store, &options, ordinal).unwrap()),
        _ => Box::new(Gloo::new(&store, &options).unwrap()),
    }
}
