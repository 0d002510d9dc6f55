//! What every collective must do, whoever carries it: each check runs on every rank of a gang at the same time.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fulcrum_collective::{Collective, Error, Reduction};
use tch::{Device, Kind, Tensor};

/// A gang that breaks must say so long before its timeout.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(15);
const KINDS: [Kind; 4] = [Kind::Float, Kind::Int64, Kind::BFloat16, Kind::Double];

/// Where a member's tensors lie, and a folder that the members share.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) device: Device,
    pub(crate) folder: PathBuf,
}

pub(crate) type Check = fn(&dyn Collective, &Place);

/// The checks that leave the gang whole.
pub(crate) const CHECKS: [(&str, Check); 10] = [
    ("all_reduce combines all ranks", all_reduce_combines_all_ranks),
    ("reduce_scatter leaves each rank its share", reduce_scatter_leaves_each_rank_its_share),
    ("all_gather collects in the order of ranks", all_gather_collects_in_the_order_of_ranks),
    ("shares lie in the whole", shares_may_lie_in_the_whole),
    ("broadcast copies from any root", broadcast_copies_from_any_root),
    ("tensors of any shape are carried flat", tensors_of_any_shape_are_carried_flat),
    ("many operations may be in flight", many_operations_may_be_in_flight),
    ("the same inputs give the same bytes", the_same_inputs_give_the_same_bytes),
    ("a barrier holds until the last has come", a_barrier_holds_until_the_last_has_come),
    ("what does not fit is refused", what_does_not_fit_is_refused_and_harms_nothing),
];

pub(crate) fn filled(length: usize, kind: Kind, value: usize, device: Device) -> Tensor {
    Tensor::full([length as i64], value as i64, (Kind::Int64, device)).to_kind(kind)
}

#[track_caller]
pub(crate) fn holds(tensor: &Tensor, expected: impl IntoIterator<Item = usize>) {
    let expected: Vec<f64> = expected.into_iter().map(|value| value as f64).collect();
    let found: Vec<f64> = Vec::try_from(tensor.to_device(Device::Cpu).to_kind(Kind::Double)).unwrap();
    assert_eq!(found, expected, "{:?}", tensor.kind());
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

pub(crate) fn all_reduce_combines_all_ranks(member: &dyn Collective, place: &Place) {
    let (rank, world) = (member.rank(), member.world());
    each_kind_and_size(|kind, length| {
        let sum = (1..=world).sum();
        for (op, expected) in [(Reduction::Sum, sum), (Reduction::Max, world)] {
            let tensor = filled(length, kind, rank + 1, place.device);
            member.all_reduce(&tensor, op).unwrap().wait().unwrap();
            holds(&tensor, vec![expected; length]);
        }
    });
    let tensor = filled(3, Kind::Float, 2 * rank, place.device);
    member.all_reduce(&tensor, Reduction::Mean).unwrap().wait().unwrap();
    holds(&tensor, [world - 1; 3]);
}

pub(crate) fn reduce_scatter_leaves_each_rank_its_share(member: &dyn Collective, place: &Place) {
    let (rank, world) = (member.rank(), member.world());
    each_kind_and_size(|kind, length| {
        let parts: Vec<_> = (0..world).map(|part| filled(length, kind, part + rank, place.device)).collect();
        let (output, input) = (filled(length, kind, 9, place.device), Tensor::cat(&parts, 0));
        member.reduce_scatter(&output, &input, Reduction::Sum).unwrap().wait().unwrap();
        holds(&output, vec![world * rank + (0..world).sum::<usize>(); length]);
    });
}

pub(crate) fn all_gather_collects_in_the_order_of_ranks(member: &dyn Collective, place: &Place) {
    let (rank, world) = (member.rank(), member.world());
    each_kind_and_size(|kind, length| {
        let output = filled(length * world, kind, 9, place.device);
        member.all_gather(&output, &filled(length, kind, rank, place.device)).unwrap().wait().unwrap();
        holds(&output, (0..world).flat_map(|rank| vec![rank; length]));
    });
}

pub(crate) fn shares_may_lie_in_the_whole(member: &dyn Collective, place: &Place) {
    let (rank, world) = (member.rank(), member.world());
    // All start before the first is waited for, and the last is longer than what travels at a time.
    let scenes = [1, 700_001].map(|length| {
        let whole: Vec<_> =
            (0..world).map(|part| filled(length, Kind::Float, part + rank, place.device)).collect();
        let whole = Tensor::cat(&whole, 0);
        let mine = whole.narrow(0, (rank * length) as i64, length as i64);
        let summed = member.reduce_scatter(&mine, &whole, Reduction::Sum).unwrap();
        let between = filled(3, Kind::Float, 1, place.device);
        let reduced = member.all_reduce(&between, Reduction::Sum).unwrap();
        (length, whole, mine, summed, between, reduced)
    });
    for (length, whole, mine, summed, between, reduced) in scenes {
        summed.wait().unwrap();
        let gathered = member.all_gather(&whole, &mine).unwrap();
        reduced.wait().unwrap();
        gathered.wait().unwrap();
        holds(&between, [world; 3]);
        let sums = (0..world).map(|part| world * part + (0..world).sum::<usize>());
        holds(&whole, sums.flat_map(|sum| vec![sum; length]));
    }
}

pub(crate) fn broadcast_copies_from_any_root(member: &dyn Collective, place: &Place) {
    for root in 0..member.world() {
        each_kind_and_size(|kind, length| {
            let tensor = filled(length, kind, member.rank(), place.device);
            member.broadcast(&tensor, root).unwrap().wait().unwrap();
            holds(&tensor, vec![root; length]);
        });
    }
}

pub(crate) fn tensors_of_any_shape_are_carried_flat(member: &dyn Collective, place: &Place) {
    let (rank, world) = (member.rank(), member.world());
    let matrix = filled(6, Kind::Float, rank, place.device).view([2, 3]);
    let all = Tensor::zeros([world as i64, 2, 3], (Kind::Float, place.device));
    member.all_gather(&all, &matrix).unwrap().wait().unwrap();
    assert!(all.select(0, rank as i64).equal(&matrix));
    // A stretch of a larger buffer: the rest stays as it is.
    let buffer = filled(8, Kind::Float, 1, place.device);
    member.all_reduce(&buffer.narrow(0, 2, 3), Reduction::Sum).unwrap().wait().unwrap();
    holds(&buffer, [1, 1, world, world, world, 1, 1, 1]);
}

pub(crate) fn many_operations_may_be_in_flight(member: &dyn Collective, place: &Place) {
    let (rank, world) = (member.rank(), member.world());
    let tensors: Vec<_> = (0..40).map(|n| filled(1 + n * 37, Kind::Float, rank + n, place.device)).collect();
    let handles: Vec<_> =
        tensors.iter().map(|tensor| member.all_reduce(tensor, Reduction::Sum).unwrap()).collect();
    // The order of waiting is free.
    for handle in handles.into_iter().rev() {
        handle.wait().unwrap();
    }
    for (n, tensor) in tensors.iter().enumerate() {
        holds(tensor, vec![world * n + (0..world).sum::<usize>(); 1 + n * 37]);
    }
}

/// The sum over all ranks of numbers whose sum depends on the order of adding, in buckets.
pub(crate) fn ragged_sum(member: &dyn Collective, place: &Place) -> Tensor {
    let ramp = Tensor::arange(100_003, (Kind::Double, place.device));
    let values = ((ramp * 0.37 + member.rank() as f64 * 1.9).sin() * 1000.0).to_kind(Kind::Float);
    let buckets = [0, 17, 50_000].map(|start| values.narrow(0, start, 50_003).copy());
    let handles: Vec<_> =
        buckets.iter().map(|bucket| member.all_reduce(bucket, Reduction::Sum).unwrap()).collect();
    handles.into_iter().for_each(|handle| handle.wait().unwrap());
    Tensor::cat(&buckets, 0)
}

pub(crate) fn the_same_inputs_give_the_same_bytes(member: &dyn Collective, place: &Place) {
    let first = ragged_sum(member, place);
    let of_rank_0 = first.copy();
    member.broadcast(&of_rank_0, 0).unwrap().wait().unwrap();
    assert!(first.equal(&of_rank_0), "rank {} differs from rank 0", member.rank());
    for _ in 0..3 {
        assert!(ragged_sum(member, place).equal(&first), "rank {} differs from before", member.rank());
    }
}

pub(crate) fn a_barrier_holds_until_the_last_has_come(member: &dyn Collective, place: &Place) {
    let came = |round: usize| place.folder.join(format!("came-{}-{round}", member.world()));
    for round in 0..3 {
        if member.rank() == member.world() - 1 {
            std::fs::write(came(round), "").unwrap();
        }
        member.barrier().unwrap().wait().unwrap();
        assert!(came(round).exists(), "rank {} went on without the last", member.rank());
    }
}

pub(crate) fn what_does_not_fit_is_refused_and_harms_nothing(member: &dyn Collective, place: &Place) {
    fn refused(result: Result<impl Debug, Error>) {
        assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    }
    let world = member.world();
    let of = |length, kind| filled(length, kind, 0, place.device);
    let column = Tensor::zeros([2, 2], (Kind::Float, place.device)).select(1, 0);
    refused(member.all_reduce(&column, Reduction::Sum));
    refused(member.all_reduce(&of(1, Kind::Bool), Reduction::Sum));
    refused(member.all_reduce(&of(1, Kind::Int64), Reduction::Mean));
    refused(member.all_gather(&of(2 * world + 1, Kind::Float), &of(2, Kind::Float)));
    refused(member.all_gather(&of(2 * world, Kind::Double), &of(2, Kind::Float)));
    refused(member.reduce_scatter(&of(2, Kind::Float), &of(3 * world, Kind::Float), Reduction::Sum));
    refused(member.reduce_scatter(&of(2, Kind::Float), &of(2 * world, Kind::Int64), Reduction::Sum));
    refused(member.broadcast(&of(1, Kind::Float), world));
    if place.device != Device::Cpu {
        refused(member.all_gather(&of(2 * world, Kind::Float), &filled(2, Kind::Float, 0, Device::Cpu)));
    }
    member.health().unwrap();
    let tensor = of(1, Kind::Float);
    member.all_reduce(&tensor, Reduction::Sum).unwrap().wait().unwrap();
}

/// Rank 0 aborts while others are in an operation that the last rank never joins.
pub(crate) fn abort_fails_what_is_in_flight_and_what_comes_later(member: &dyn Collective, place: &Place) {
    let (rank, world) = (member.rank(), member.world());
    if world > 1 && rank < world - 1 {
        let tensor = filled(9, Kind::Float, 1, place.device);
        let handle = member.all_reduce(&tensor, Reduction::Sum).unwrap();
        if rank == 0 {
            member.abort("on purpose");
        }
        let error = handle.wait().unwrap_err();
        if rank == 0 {
            assert_eq!(error, Error::Aborted { rank: 0, reason: "on purpose".into() });
        }
    } else if rank == 0 {
        member.abort("on purpose");
    }
    if rank == 0 {
        member.abort("a second time");
        assert!(member.health().unwrap_err().to_string().contains("on purpose"), "{member:?}");
    }
    // The last rank has nothing in flight that would tell it.
    let begun = Instant::now();
    while member.health().is_ok() {
        assert!(begun.elapsed() < AT_ONCE, "rank {rank} hears nothing of the abort");
        std::thread::yield_now();
    }
    let later = member.barrier().and_then(|handle| handle.wait());
    assert!(later.is_err(), "{member:?} goes on after an abort");
}

/// Rank 0 leaves with operations in flight; the others, in the middle of theirs, hear of it at once.
pub(crate) fn leaving_in_the_middle_breaks_all_others(member: Box<dyn Collective>, place: &Place) {
    let (rank, world, device) = (member.rank(), member.world(), place.device);
    if rank == 0 {
        let _ = member.all_reduce(&filled(1, Kind::Float, 0, device), Reduction::Sum).unwrap();
        let _ = member.barrier().unwrap();
        return;
    }
    let gather = || {
        let (whole, part) =
            (filled(world * 70_000, Kind::Float, 0, device), filled(70_000, Kind::Float, 0, device));
        member.all_gather(&whole, &part)
    };
    let handles: Vec<_> = (0..5).map(|_| gather()).collect();
    let failed = handles.into_iter().any(|handle| handle.and_then(|handle| handle.wait()).is_err());
    assert!(failed && member.health().is_err());
}

/// Works on until an operation fails, and returns its error. `each` is told the round.
pub(crate) fn until_broken(member: &dyn Collective, place: &Place, limit: Duration) -> Error {
    rounds_until_broken(member, place, limit, |_| ())
}

/// As [`until_broken`]; `each` is told the number of rounds that are done.
pub(crate) fn rounds_until_broken(
    member: &dyn Collective,
    place: &Place,
    limit: Duration,
    mut each: impl FnMut(usize),
) -> Error {
    let begun = Instant::now();
    for round in 1.. {
        let tensor = Tensor::ones([200_000], (Kind::Float, place.device));
        if let Err(error) = member.all_reduce(&tensor, Reduction::Sum).and_then(|handle| handle.wait()) {
            assert!(member.health().is_err(), "rank {} is well in spite of {error}", member.rank());
            return error;
        }
        assert_eq!(tensor.double_value(&[0]), member.world() as f64);
        assert!(begun.elapsed() < limit, "rank {} goes on and on", member.rank());
        each(round);
    }
    unreachable!("rounds do not end by themselves")
}

/// A folder of this process's own below the system's temporary one.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("fulcrum-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}
