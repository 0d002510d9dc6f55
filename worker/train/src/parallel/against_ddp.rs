//! What the engine leaves against c10d's reducer of gradients, on the same model and rows.

use std::{sync::Arc, thread, time::Duration};

use fulcrum_collective::Gloo;
use fulcrum_common::{
    bench::Shape,
    plan::{Head, Numerics},
};
use fulcrum_models::{Model, NewHead, Noise};
use fulcrum_torch_shim::{Group, Interface, Reducer, Store};
use tch::{Device, Kind, Tensor};

use super::{Extent, Gang, Own, Passed, Portion, Share, engine};
use crate::{Error, Examples, clock::Clock};

const WORLD: usize = 2;
const SLOTS: usize = 2;
/// Rows of a slot.
const ROWS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// With a table of 2.5 MB, so that there is more than one bucket.
fn model() -> Model {
    let config = Shape::Gpt2Tiny.config().replace("\"vocab_size\": 101", "\"vocab_size\": 20000");
    let head = NewHead::from(Head::Classifier { classes: 2 });
    Model::from_config(&config, 3, Device::Cpu).unwrap().with_head(&head, 3).unwrap()
}

/// The slot `slot` of a rank: rows that no other has, of different lengths.
fn share(rank: usize, slot: usize) -> Share {
    let first = (rank * SLOTS + slot) * ROWS;
    let rows = first..first + ROWS;
    let ids =
        |row: usize| (0..4 + row % 5).map(|place| (1 + (row * 977 + place * 131) % 19_999) as i64).collect();
    let targets = rows.clone().flat_map(|row| [row % 2, (row + 1) % 2]).map(|target| target as f32).collect();
    let examples =
        Examples::new(rows.clone().map(ids).collect(), 0).unwrap().with_targets(targets, 2).unwrap();
    let padded = examples.pad(&[0, 1, 2], Device::Cpu).unwrap();
    let noise = Noise { seed: 0, step: 0, rows: rows.clone().map(|row| row as u64).collect() };
    Share { rows, padded, noise, logits: None }
}

fn loss(share: &Share, logits_bc: &Tensor) -> Result<Tensor, Error> {
    let targets_bc = share.padded.targets_bc.as_ref().unwrap();
    Ok(-(logits_bc.log_softmax(-1, Kind::Float) * targets_bc).sum(Kind::Float)
        / (WORLD * SLOTS * ROWS) as f64)
}

fn parameters(model: &Model) -> Vec<Tensor> {
    model.parameters().iter().map(|(_, tensor)| tensor.shallow_clone()).collect()
}

/// The gradient of every parameter, flat, that the engine leaves on a rank, and the number of buckets.
fn ours(rank: usize, gloo: Gloo) -> (Vec<Tensor>, usize) {
    let model = model();
    let extent = |tensor: &Tensor| Extent { shape: tensor.size(), decays: false, block: None };
    let extents: Vec<Extent> = parameters(&model).iter().map(extent).collect();
    let gang = Gang::data(Arc::new(gloo));
    let begin = |at: usize| Ok(model.take(at)?);
    let numbers = Numerics::default().into();
    let trained = Portion { parameters: parameters(&model), begin: &begin, extents };
    let frozen = Portion { parameters: Vec::new(), begin: &begin, extents: Vec::new() };
    let mut engine = engine(&model, [trained, frozen], &gang, numbers).unwrap();
    let mut clock = Clock::new(Device::Cpu, &());
    engine.clear().unwrap();
    for slot in 0..SLOTS {
        let passed = engine.pass(Some(share(rank, slot)), slot + 1 == SLOTS, &loss, &mut clock).unwrap();
        assert!(matches!(passed, Passed::Gave(_)));
    }
    engine.reduce().unwrap();
    let Own { layout, gradients, .. } = engine.own();
    let gradient = |place: &super::layout::Place| {
        let begin = layout.segments[place.segment].range.start;
        gradients[place.segment].narrow(0, (place.start - begin) as i64, place.length as i64).copy()
    };
    (layout.places.iter().map(gradient).collect(), layout.segments.len())
}

/// The same of c10d.
fn theirs(rank: usize, group: &Group) -> Vec<Tensor> {
    let model = model();
    let parameters = parameters(&model);
    let mut reducer = Reducer::new(group, &parameters, MIB, 25 * MIB).unwrap();
    for slot in 0..SLOTS {
        if slot + 1 == SLOTS {
            reducer.prepare().unwrap();
        }
        let share = share(rank, slot);
        let walk = model.walk(share.padded.given(), None).unwrap();
        loss(&share, &walk.output(&walk.states())).unwrap().backward();
    }
    parameters.iter().map(|parameter| parameter.grad().copy().view(-1)).collect()
}

/// What comes of every rank, each on a thread with its end of a gang.
fn on_ranks<E: Send, R: Send>(ends: Vec<E>, rank: impl Fn(usize, E) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let start = |(number, end)| {
            let rank = &rank;
            scope.spawn(move || rank(number, end))
        };
        let ranks: Vec<_> = ends.into_iter().enumerate().map(start).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn sums_over_two_ranks_and_two_slots_are_those_of_c10d() {
    let ours = on_ranks(Gloo::gang(WORLD, TIMEOUT).unwrap(), ours);
    let store = Store::serve(std::net::Ipv4Addr::LOCALHOST.into(), TIMEOUT).unwrap();
    let addresses = vec![store.address(); WORLD];
    let theirs = on_ranks(addresses, |rank, address| {
        let store = Store::connect(address, TIMEOUT).unwrap();
        let interface = Interface::Address(address.ip());
        theirs(rank, &Group::new(&store, "ddp", &interface, rank, WORLD, TIMEOUT).unwrap())
    });
    let names: Vec<String> = model().parameters().iter().map(|(name, _)| name.clone()).collect();
    for ((ours, buckets), theirs) in ours.iter().zip(&theirs) {
        assert!(*buckets > 1, "one bucket says nothing about their order");
        for ((name, found), expected) in names.iter().zip(ours).zip(theirs) {
            let largest = expected.abs().max().double_value(&[]);
            let difference = (found - expected).abs().max().double_value(&[]);
            assert!(largest > 0.0 && difference <= 1e-6 * largest, "{name}: {difference} of {largest}");
        }
    }
}
