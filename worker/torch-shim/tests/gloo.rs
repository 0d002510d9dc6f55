//! Every Gloo entry of the shim, between threads on loopback.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

use std::{
    net::Ipv4Addr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use fulcrum_torch_shim::{Group, Interface, Reduction, Store};
use tch::{Device, Kind, Tensor};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs `member` on every rank, each with its end of a new group.
fn gang<R: Send>(world: usize, timeout: Duration, member: impl Fn(Group) -> R + Sync) -> Vec<R> {
    let store = Store::serve(Ipv4Addr::LOCALHOST.into(), TIMEOUT).unwrap();
    thread::scope(|scope| {
        let join = |rank| {
            let (address, member) = (store.address(), &member);
            scope.spawn(move || {
                let store = Store::connect(address, TIMEOUT).unwrap();
                let interface = Interface::Address(address.ip());
                member(Group::new(&store, "test", &interface, rank, world, timeout).unwrap())
            })
        };
        let members: Vec<_> = (0..world).map(join).collect();
        members.into_iter().map(|member| member.join().unwrap()).collect()
    })
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.try_into().unwrap()
}

#[test]
fn an_operation_is_done_once_it_was_waited_for() {
    gang(2, TIMEOUT, |group| {
        let tensor = |numbers| Tensor::zeros([numbers], (Kind::Float, Device::Cpu));
        let (one, two) = (tensor(1), tensor(2));
        // What is not done keeps its tensors in memory for as long as the group lives.
        for (name, work) in [
            ("all_reduce", group.all_reduce(&two, Reduction::Sum)),
            ("reduce_scatter", group.reduce_scatter(&one, &two, Reduction::Sum)),
            ("all_gather", group.all_gather(&two, &one)),
            ("broadcast", group.broadcast(&two, 0)),
            ("barrier", group.barrier()),
        ] {
            let work = work.unwrap();
            work.wait(None).unwrap();
            assert!(work.is_done(), "{name}");
        }
    });
}

#[test]
fn every_operation_does_what_it_says() {
    gang(3, TIMEOUT, |group| {
        let rank = group.rank() as f32;
        for (op, expected) in [(Reduction::Sum, 3.0), (Reduction::Mean, 1.0), (Reduction::Max, 2.0)] {
            let tensor = Tensor::from_slice(&[rank, rank]);
            group.all_reduce(&tensor, op).unwrap().wait(None).unwrap();
            assert_eq!(floats(&tensor), [expected; 2]);
        }
        let share = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        let whole = Tensor::from_slice(&[rank, rank + 10.0, rank + 20.0]);
        group.reduce_scatter(&share, &whole, Reduction::Sum).unwrap().wait(None).unwrap();
        assert_eq!(floats(&share), [3.0 + 30.0 * rank]);
        let all = Tensor::zeros([3], (Kind::Float, Device::Cpu));
        group.all_gather(&all, &Tensor::from_slice(&[rank])).unwrap().wait(None).unwrap();
        assert_eq!(floats(&all), [0.0, 1.0, 2.0]);
        let tensor = Tensor::from_slice(&[rank]);
        group.broadcast(&tensor, 2).unwrap().wait(None).unwrap();
        assert_eq!(floats(&tensor), [2.0]);
        let barrier = group.barrier().unwrap();
        barrier.wait(Some(TIMEOUT)).unwrap();
        assert!(barrier.is_done());
    });
}

#[test]
fn abort_fails_what_is_in_flight_here_and_at_the_peers() {
    let begun = Instant::now();
    let failed = Barrier::new(3);
    gang(3, TIMEOUT, |group| {
        let tensor = Tensor::zeros([4], (Kind::Float, Device::Cpu));
        // Rank 2 takes no part, so the others hang until rank 0 aborts.
        if group.rank() < 2 {
            let work = group.all_reduce(&tensor, Reduction::Sum).unwrap();
            assert!(work.wait(Some(Duration::from_millis(50))).is_err(), "a wait ends with its own time");
            assert!(!work.is_done());
            if group.rank() == 0 {
                group.abort().unwrap();
            }
            assert!(work.wait(None).is_err());
        }
        failed.wait();
        let after = group.all_reduce(&tensor, Reduction::Sum);
        assert!(after.and_then(|work| work.wait(None)).is_err(), "an aborted group stays so");
    });
    assert!(begun.elapsed() < TIMEOUT / 3, "took {:?}", begun.elapsed());
}

#[test]
fn a_member_that_is_missing_or_silent_is_an_error_in_time() {
    let short = Duration::from_millis(300);
    let store = Store::serve(Ipv4Addr::LOCALHOST.into(), short).unwrap();
    let interface = Interface::Address(Ipv4Addr::LOCALHOST.into());
    assert!(Group::new(&store, "alone", &interface, 0, 2, short).is_err());
    let waited = gang(2, short, |group| {
        group.barrier().unwrap().wait(None).unwrap();
        // Rank 1 keeps silent until its watcher sees that rank 0 has given up.
        while group.rank() == 1 && !group.is_broken() {
            thread::yield_now();
        }
        group.all_reduce(&Tensor::zeros([1], (Kind::Float, Device::Cpu)), Reduction::Sum)?.wait(None)
    });
    assert!(waited.iter().all(Result::is_err), "{waited:?}");
}

#[test]
fn a_member_that_leaves_in_order_does_not_disturb_the_others() {
    let left = Barrier::new(3);
    gang(3, TIMEOUT, |group| {
        let rank = group.rank();
        if rank == 0 {
            drop(group);
            left.wait();
            return;
        }
        left.wait();
        assert!(!group.is_broken(), "rank {rank} takes a goodbye for a death");
        let broadcast = group.broadcast(&Tensor::from_slice(&[1i64]), 0).and_then(|work| work.wait(None));
        assert!(broadcast.is_err(), "who left takes no more part");
    });
}

#[test]
fn a_member_that_is_gone_in_the_middle_fails_all_others_at_once() {
    let begun = Instant::now();
    let broken = gang(3, TIMEOUT, |group| {
        let work = group.all_reduce(&Tensor::from_slice(&[1i64]), Reduction::Sum).unwrap();
        // Rank 0 goes without finishing a second operation, which rank 1 waits for and rank 2 never joins.
        match group.rank() {
            0 => {
                work.wait(None).unwrap();
                let _ = group.barrier().unwrap();
            }
            1 => assert!(group.barrier().unwrap().wait(None).is_err()),
            _ => {
                work.wait(None).unwrap();
                while !group.is_broken() {
                    thread::yield_now();
                }
            }
        }
    });
    assert_eq!(broken.len(), 3);
    assert!(begun.elapsed() < TIMEOUT / 3, "took {:?}", begun.elapsed());
}

#[test]
fn what_would_end_the_process_is_refused() {
    let store = Store::serve(Ipv4Addr::LOCALHOST.into(), TIMEOUT).unwrap();
    let interface = Interface::Name("lo".into());
    assert!(Group::new(&store, "x", &interface, 1, 1, TIMEOUT).is_err(), "a rank beyond the world");
    assert!(Group::new(&store, "x\0y", &interface, 0, 1, TIMEOUT).is_err(), "a name with a zero byte");
    let nowhere = Interface::Name("no-such-interface".into());
    assert!(Group::new(&store, "x", &nowhere, 0, 1, TIMEOUT).is_err());
    let group = Group::new(&store, "solo", &interface, 0, 1, TIMEOUT).unwrap();
    assert_eq!((group.rank(), group.world()), (0, 1));

    let of = |length, kind| Tensor::zeros([length], (kind, Device::Cpu));
    let column = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu)).select(1, 0);
    let op = Reduction::Sum;
    assert!(group.all_reduce(&of(1, Kind::Bool), op).is_err());
    assert!(group.all_reduce(&of(1, Kind::ComplexFloat), op).is_err());
    assert!(group.all_reduce(&of(1, Kind::Int64), Reduction::Mean).is_err());
    assert!(group.all_reduce(&column, op).is_err());
    assert!(group.all_gather(&of(2, Kind::Float), &of(1, Kind::Float)).is_err());
    assert!(group.all_gather(&of(1, Kind::Double), &of(1, Kind::Float)).is_err());
    assert!(group.reduce_scatter(&of(1, Kind::Float), &of(2, Kind::Float), op).is_err());
    assert!(group.broadcast(&of(1, Kind::Float), 1).is_err());
}
