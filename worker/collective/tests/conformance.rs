//! What every collective must do, run over all of them.
//!
//! Members are threads. Each check runs on every rank of every implementation at every world size.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

use std::{
    fmt::Debug,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use fulcrum_collective::{At, Collective, Error, Fault, Faulty, Gloo, Kind as FaultKind, Reduction, Solo};
use tch::{Device, Kind, Tensor};

const TIMEOUT: Duration = Duration::from_secs(60);
/// A gang that breaks must say so long before its timeout.
const AT_ONCE: Duration = Duration::from_secs(15);
const KINDS: [Kind; 4] = [Kind::Float, Kind::Int64, Kind::BFloat16, Kind::Double];

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

fn on_all(check: impl Fn(&dyn Collective) + Sync) {
    for (name, members) in gangs() {
        println!("{name}");
        run(members, |member| {
            check(&*member);
            // Nobody leaves while others still work.
            member.barrier().unwrap().wait().unwrap();
        });
    }
}

fn filled(length: usize, kind: Kind, value: usize) -> Tensor {
    Tensor::full([length as i64], value as i64, (Kind::Int64, Device::Cpu)).to_kind(kind)
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double)).unwrap()
}

#[track_caller]
fn holds(tensor: &Tensor, expected: impl IntoIterator<Item = usize>) {
    let expected: Vec<f64> = expected.into_iter().map(|value| value as f64).collect();
    assert_eq!(numbers(tensor), expected, "{:?}", tensor.kind());
}

/// Kinds times sizes: none, one, fewer than ranks, odd, and longer than a network buffer.
fn each_kind_and_size(check: impl Fn(Kind, usize)) {
    for kind in KINDS {
        for length in [0, 1, 2, 7, 1001] {
            check(kind, length);
        }
    }
    check(Kind::Float, 300_001);
}

#[test]
fn all_reduce_combines_all_ranks() {
    on_all(|member| {
        let (rank, world) = (member.rank(), member.world());
        each_kind_and_size(|kind, length| {
            let sum = (1..=world).sum();
            for (op, expected) in [(Reduction::Sum, sum), (Reduction::Max, world)] {
                let tensor = filled(length, kind, rank + 1);
                member.all_reduce(&tensor, op).unwrap().wait().unwrap();
                holds(&tensor, vec![expected; length]);
            }
        });
        let tensor = filled(3, Kind::Float, 2 * rank);
        member.all_reduce(&tensor, Reduction::Mean).unwrap().wait().unwrap();
        holds(&tensor, [world - 1; 3]);
    });
}

#[test]
fn reduce_scatter_leaves_each_rank_its_share() {
    on_all(|member| {
        let (rank, world) = (member.rank(), member.world());
        each_kind_and_size(|kind, length| {
            let parts: Vec<_> = (0..world).map(|part| filled(length, kind, part + rank)).collect();
            let (output, input) = (filled(length, kind, 9), Tensor::cat(&parts, 0));
            member.reduce_scatter(&output, &input, Reduction::Sum).unwrap().wait().unwrap();
            holds(&output, vec![world * rank + (0..world).sum::<usize>(); length]);
        });
    });
}

#[test]
fn all_gather_collects_in_the_order_of_ranks() {
    on_all(|member| {
        let (rank, world) = (member.rank(), member.world());
        each_kind_and_size(|kind, length| {
            let (output, input) = (filled(length * world, kind, 9), filled(length, kind, rank));
            member.all_gather(&output, &input).unwrap().wait().unwrap();
            holds(&output, (0..world).flat_map(|rank| vec![rank; length]));
        });
    });
}

#[test]
fn broadcast_copies_from_any_root() {
    on_all(|member| {
        for root in 0..member.world() {
            each_kind_and_size(|kind, length| {
                let tensor = filled(length, kind, member.rank());
                member.broadcast(&tensor, root).unwrap().wait().unwrap();
                holds(&tensor, vec![root; length]);
            });
        }
    });
}

#[test]
fn tensors_of_any_shape_are_carried_flat() {
    on_all(|member| {
        let (rank, world) = (member.rank(), member.world() as i64);
        let matrix = filled(6, Kind::Float, rank).view([2, 3]);
        let all = Tensor::zeros([world, 2, 3], (Kind::Float, Device::Cpu));
        member.all_gather(&all, &matrix).unwrap().wait().unwrap();
        assert!(all.select(0, rank as i64).equal(&matrix));
        // A stretch of a larger buffer: the rest stays as it is.
        let buffer = filled(8, Kind::Float, 1);
        member.all_reduce(&buffer.narrow(0, 2, 3), Reduction::Sum).unwrap().wait().unwrap();
        let world = member.world();
        holds(&buffer, [1, 1, world, world, world, 1, 1, 1]);
    });
}

#[test]
fn many_operations_may_be_in_flight() {
    on_all(|member| {
        let (rank, world) = (member.rank(), member.world());
        let tensors: Vec<_> = (0..40).map(|n| filled(1 + n * 37, Kind::Float, rank + n)).collect();
        let handles: Vec<_> =
            tensors.iter().map(|tensor| member.all_reduce(tensor, Reduction::Sum).unwrap()).collect();
        // The order of waiting is free.
        for handle in handles.into_iter().rev() {
            handle.wait().unwrap();
        }
        for (n, tensor) in tensors.iter().enumerate() {
            holds(tensor, vec![world * n + (0..world).sum::<usize>(); 1 + n * 37]);
        }
    });
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    for world in [2, 3] {
        let reduce = || {
            run(gloo(world), |member| {
                // Numbers whose sum depends on the order of adding.
                let rank = member.rank() as f64;
                let ramp = Tensor::arange(100_003, (Kind::Double, Device::Cpu));
                let values = ((ramp * 0.37 + rank * 1.9).sin() * 1000.0).to_kind(Kind::Float);
                let buckets: Vec<_> = [0, 17, 50_000].map(|start| values.narrow(0, start, 50_003)).into();
                let buckets: Vec<_> = buckets.iter().map(Tensor::copy).collect();
                let handles: Vec<_> =
                    buckets.iter().map(|bucket| member.all_reduce(bucket, Reduction::Sum).unwrap()).collect();
                handles.into_iter().for_each(|handle| handle.wait().unwrap());
                let sums = Tensor::cat(&buckets, 0);
                member.barrier().unwrap().wait().unwrap();
                Vec::<f32>::try_from(sums).unwrap()
            })
        };
        let first = reduce();
        assert!(first.iter().all(|rank| *rank == first[0]), "ranks of {world} differ");
        for _ in 0..3 {
            assert_eq!(reduce(), first, "runs of {world} differ");
        }
    }
}

#[test]
fn a_barrier_holds_until_the_last_has_come() {
    for world in [2, 3] {
        let last_came = std::sync::atomic::AtomicBool::new(false);
        run(gloo(world), |member| {
            if member.rank() == world - 1 {
                last_came.store(true, std::sync::atomic::Ordering::SeqCst);
            }
            member.barrier().unwrap().wait().unwrap();
            assert!(last_came.load(std::sync::atomic::Ordering::SeqCst));
        });
    }
}

#[test]
fn what_does_not_fit_is_refused_and_harms_nothing() {
    fn refused(result: Result<impl Debug, Error>) {
        assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    }
    on_all(|member| {
        let world = member.world();
        let of = |length, kind| filled(length, kind, 0);
        let column = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu)).select(1, 0);
        refused(member.all_reduce(&column, Reduction::Sum));
        refused(member.all_reduce(&of(1, Kind::Bool), Reduction::Sum));
        refused(member.all_reduce(&of(1, Kind::Int64), Reduction::Mean));
        refused(member.all_gather(&of(2 * world + 1, Kind::Float), &of(2, Kind::Float)));
        refused(member.all_gather(&of(2 * world, Kind::Double), &of(2, Kind::Float)));
        refused(member.reduce_scatter(&of(2, Kind::Float), &of(3 * world, Kind::Float), Reduction::Sum));
        refused(member.reduce_scatter(&of(2, Kind::Float), &of(2 * world, Kind::Int64), Reduction::Sum));
        refused(member.broadcast(&of(1, Kind::Float), world));
        member.health().unwrap();
        let tensor = of(1, Kind::Float);
        member.all_reduce(&tensor, Reduction::Sum).unwrap().wait().unwrap();
    });
}

#[test]
fn abort_fails_what_is_in_flight_and_what_comes_later() {
    for (name, members) in gangs() {
        let begun = Instant::now();
        let world = members.len();
        let failed = Barrier::new(world);
        run(members, |member| {
            // The last rank takes no part, so the others hang in the operation until rank 0 aborts.
            if world > 1 && member.rank() < world - 1 {
                let handle = member.all_reduce(&filled(9, Kind::Float, 1), Reduction::Sum).unwrap();
                if member.rank() == 0 {
                    member.abort("on purpose");
                }
                let error = handle.wait().unwrap_err();
                if member.rank() == 0 {
                    assert_eq!(error, Error::Aborted { rank: 0, reason: "on purpose".into() });
                }
            } else if member.rank() == 0 {
                member.abort("on purpose");
            }
            failed.wait();
            if member.rank() == 0 {
                member.abort("a second time");
                assert!(member.health().unwrap_err().to_string().contains("on purpose"), "{name}");
            }
            let later = member.barrier().and_then(|handle| handle.wait());
            assert!(later.is_err(), "{name} goes on after an abort");
        });
        assert!(begun.elapsed() < AT_ONCE, "{name} took {:?}", begun.elapsed());
    }
}

#[test]
fn a_member_that_leaves_in_the_middle_breaks_all_others_at_once() {
    for world in [2, 3] {
        let begun = Instant::now();
        run(gloo(world), |member| {
            if member.rank() == 0 {
                // Dropped with an operation in flight.
                let _ = member.all_reduce(&filled(1, Kind::Float, 0), Reduction::Sum).unwrap();
                let _ = member.barrier().unwrap();
                return;
            }
            let handles: Vec<_> = (0..5)
                .map(|_| {
                    member
                        .all_gather(&filled(world * 70_000, Kind::Float, 0), &filled(70_000, Kind::Float, 0))
                })
                .collect();
            let failed = handles.into_iter().any(|handle| handle.and_then(|handle| handle.wait()).is_err());
            assert!(failed && member.health().is_err());
        });
        assert!(begun.elapsed() < AT_ONCE, "a world of {world} took {:?}", begun.elapsed());
    }
}

#[test]
fn a_gang_that_is_not_complete_does_not_form() {
    let short = Duration::from_millis(200);
    let host = std::net::Ipv4Addr::LOCALHOST.into();
    let store = fulcrum_collective::Store::serve(host, short).unwrap();
    let options = fulcrum_collective::Options {
        name: "alone".into(),
        rank: 0,
        world: 2,
        interface: fulcrum_collective::Interface::Address(host),
        timeout: short,
    };
    let error = Gloo::new(&store, &options).unwrap_err().to_string();
    assert!(error.starts_with("rank 0 could not meet the other 1 members"), "{error}");
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
                    let tensor = filled(2, Kind::Float, 1);
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
                    scope.spawn(|| member.all_reduce(&filled(2, Kind::Float, 1), Reduction::Sum)?.wait())
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
            let tensor = filled(3, Kind::Float, 2);
            member.all_reduce(&tensor, Reduction::Sum).unwrap().wait().unwrap();
            holds(&tensor, [4; 3]);
        }
        member.barrier().unwrap().wait().unwrap();
    });
}
