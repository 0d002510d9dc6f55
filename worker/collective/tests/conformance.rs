//! What every collective must do, run over all that need no GPU. `processes.rs` runs the same over processes, on GPUs too.
//!
//! Members are threads. Each check runs on every rank of every implementation at every world size.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

mod suite;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use fulcrum_collective::{
    At, Collective, Error, Fault, Faulty, Gloo, Interface, Kind as FaultKind, Nccl, Options, Reduction, Solo,
    Store,
};
use suite::{AT_ONCE, CHECKS, Place, filled, holds};
use tch::{Device, Kind};

const TIMEOUT: Duration = Duration::from_secs(60);

type Member = Arc<dyn Collective>;

fn solo() -> Vec<Member> {
    vec![Arc::new(Solo::new())]
}

fn gloo(world: usize) -> Vec<Member> {
    Gloo::gang(world, TIMEOUT).unwrap().into_iter().map(|member| Arc::new(member) as _).collect()
}

fn faulty(members: Vec<Member>, faults: &[Fault]) -> Vec<Member> {
    let wrap = |member| Arc::new(Faulty::new(member, faults.to_vec())) as _;
    members.into_iter().map(wrap).collect()
}

/// Every implementation without a fault.
fn gangs() -> Vec<(&'static str, Vec<Member>)> {
    vec![
        ("solo", solo()),
        ("gloo of 1", gloo(1)),
        ("gloo of 2", gloo(2)),
        ("gloo of 3", gloo(3)),
        ("faulty solo", faulty(solo(), &[])),
        ("faulty gloo of 3", faulty(gloo(3), &[])),
    ]
}

/// Runs `member` on every rank, and gives what each returned. Members leave when they return.
fn run<R: Send>(members: Vec<Member>, member: impl Fn(Member) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let spawn = |end| {
            let member = &member;
            scope.spawn(move || member(end))
        };
        let threads: Vec<_> = members.into_iter().map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn place() -> Place {
    Place { device: Device::Cpu, folder: suite::folder("conformance") }
}

#[test]
fn every_implementation_passes_every_check() {
    for (name, members) in gangs() {
        let place = Place { folder: place().folder.join(name), ..place() };
        std::fs::create_dir_all(&place.folder).unwrap();
        run(members, |member| {
            for (check, body) in CHECKS {
                if member.rank() == 0 {
                    println!("{name}: {check}");
                }
                body(&*member, &place);
            }
            // Nobody leaves while others still work.
            member.barrier().unwrap().wait().unwrap();
        });
        suite::remove(&place.folder);
    }
}

#[test]
fn gangs_that_are_formed_anew_give_the_same_bytes() {
    let place = place();
    for world in [2, 3] {
        let reduce = || {
            run(gloo(world), |member| {
                let sums = suite::ragged_sum(&*member, &place);
                member.barrier().unwrap().wait().unwrap();
                Vec::<f32>::try_from(sums).unwrap()
            })
        };
        let first = reduce();
        for _ in 0..3 {
            assert_eq!(reduce(), first, "runs of {world} differ");
        }
    }
}

#[test]
fn abort_fails_what_is_in_flight_and_what_comes_later() {
    for (name, members) in gangs() {
        let begun = Instant::now();
        run(members, |member| {
            suite::abort_fails_what_is_in_flight_and_what_comes_later(&*member, &place());
        });
        assert!(begun.elapsed() < AT_ONCE, "{name} took {:?}", begun.elapsed());
    }
}

#[test]
fn a_member_that_leaves_in_the_middle_breaks_all_others_at_once() {
    for world in [2, 3] {
        let begun = Instant::now();
        let members = Gloo::gang(world, TIMEOUT).unwrap();
        thread::scope(|scope| {
            for member in members {
                scope.spawn(|| suite::leaving_in_the_middle_breaks_all_others(Box::new(member), &place()));
            }
        });
        assert!(begun.elapsed() < AT_ONCE, "a world of {world} took {:?}", begun.elapsed());
    }
}

fn alone(world: usize, timeout: Duration) -> (Store, Options) {
    let host = std::net::Ipv4Addr::LOCALHOST.into();
    let interface = Interface::Address(host);
    (
        Store::serve(host, timeout).unwrap(),
        Options { name: "alone".into(), rank: 0, world, interface, timeout },
    )
}

#[test]
fn a_gang_that_is_not_complete_does_not_form() {
    let (store, options) = alone(2, Duration::from_millis(200));
    let error = Gloo::new(&store, &options).unwrap_err().to_string();
    assert!(error.starts_with("rank 0 could not meet the other 1 members"), "{error}");
}

#[test]
fn a_device_that_no_machine_has_is_one_line_and_no_panic() {
    let (store, options) = alone(1, TIMEOUT);
    let error = Nccl::new(&store, &options, 9999).unwrap_err().to_string();
    println!("{error}");
    assert!(error.starts_with("no NCCL: ") && !error.contains('\n'), "{error}");
}

#[test]
fn a_fault_strikes_the_rank_and_operation_it_names() {
    let begun = Instant::now();
    let fault = |at, kind| Fault { rank: 1, at, kind };
    let in_step = At::Step { step: 4, operation: 1 };
    for (at, expected) in [(At::Operation(5), 5), (in_step, 9)] {
        let failures = run(faulty(gloo(2), &[fault(at, FaultKind::Error)]), |member| {
            let mut done = 0;
            for step in 0..10 {
                member.begin_step(step);
                for _ in 0..2 {
                    let tensor = filled(2, Kind::Float, 1, Device::Cpu);
                    let result = member.all_reduce(&tensor, Reduction::Sum).and_then(|handle| handle.wait());
                    if let Err(error) = result {
                        member.abort("an operation failed");
                        return (done, error);
                    }
                    done += 1;
                }
            }
            panic!("rank {} met no fault", member.rank());
        });
        assert_eq!(failures[1], (expected, Error::Injected { operation: expected, rank: 1 }));
        assert_eq!(failures[0].0, expected, "the other rank fails in the same operation");
    }
    assert!(begun.elapsed() < AT_ONCE);
}

#[test]
fn a_hang_ends_with_the_abort_of_either_side() {
    for aborting in [0, 1] {
        let begun = Instant::now();
        let hang = Fault { rank: 1, at: At::Operation(0), kind: FaultKind::Hang };
        let members = faulty(gloo(2), &[hang]);
        thread::scope(|scope| {
            let waits: Vec<_> = members
                .iter()
                .map(|member| {
                    scope.spawn(|| {
                        member.all_reduce(&filled(2, Kind::Float, 1, Device::Cpu), Reduction::Sum)?.wait()
                    })
                })
                .collect();
            members[aborting].abort("on purpose");
            // Rank 1 hangs by itself, so nothing but its own abort frees it.
            members[1].abort("on purpose");
            assert!(waits.into_iter().all(|wait| wait.join().unwrap().is_err()));
        });
        assert!(begun.elapsed() < AT_ONCE);
    }
}

#[test]
fn a_delay_changes_nothing_but_the_time() {
    let delay = Fault { rank: 0, at: At::Operation(1), kind: FaultKind::Delay(Duration::from_millis(50)) };
    run(faulty(gloo(2), &[delay]), |member| {
        for _ in 0..3 {
            let tensor = filled(3, Kind::Float, 2, Device::Cpu);
            member.all_reduce(&tensor, Reduction::Sum).unwrap().wait().unwrap();
            holds(&tensor, [4; 3]);
        }
        member.barrier().unwrap().wait().unwrap();
    });
}
