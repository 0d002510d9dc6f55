//! What ranks hold alike, and that one that holds something else is told from the others.

use std::{collections::BTreeMap, sync::Mutex, thread};

use fulcrum_common::plan::{Head, Trainable};
use fulcrum_train::{Copies, Gang, Keeper, Snapshot, Training, train};

use crate::{
    job::Sharing,
    support::{CrossEntropy, examples, model, settings},
};

const OBJECTIVE: CrossEntropy = CrossEntropy { threshold: false };

/// Notes what a rank holds after every step.
#[derive(Default)]
struct Notes(Mutex<BTreeMap<usize, (u64, u64)>>);

impl Keeper for Notes {
    fn is_due(&self, _: usize) -> bool {
        false
    }

    fn keep(&self, _: Snapshot) {}

    fn is_compared(&self, _: usize, _: bool) -> bool {
        true
    }

    fn compare(&self, steps: usize, copies: Copies) {
        self.0.lock().unwrap().insert(steps, (copies.group, copies.hash().unwrap()));
    }

    fn settle(&self) {}

    fn finish(&self) {}
}

/// What every rank held, by step: its group and the hash. One rank may begin with a bit flipped.
fn held(sharing: Sharing, flipped: Option<usize>) -> Vec<BTreeMap<usize, (u64, u64)>> {
    held_of(&Trainable::All, sharing, flipped)
}

/// The same where only some of the weights are trained.
fn held_of(
    trainable: &Trainable,
    sharing: Sharing,
    flipped: Option<usize>,
) -> Vec<BTreeMap<usize, (u64, u64)>> {
    let member = |rank: usize, gang: Gang| {
        let (mut model, examples, notes) =
            (model(Head::Classifier { classes: 2 }), examples(60), Notes::default());
        model.freeze(trainable).unwrap();
        if flipped == Some(rank) {
            let (_, weights) = &model.parameters()[0];
            let mut first =
                tch::no_grad(|| weights.detach().view(-1).narrow(0, 0, 1).view_dtype(tch::Kind::Int));
            let _ = tch::no_grad(|| first.bitwise_xor_(1i64 << 16));
        }
        let training = Training::new(&model, &examples, &OBJECTIVE, settings(), 1, gang);
        train(Training { keeper: Some(&notes), ..training }).unwrap();
        notes.0.into_inner().unwrap()
    };
    thread::scope(|scope| {
        let member = &member;
        let start = |(rank, gang)| scope.spawn(move || member(rank, gang));
        let ranks: Vec<_> = sharing.gangs().into_iter().enumerate().map(start).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn ranks_that_hold_the_same_say_the_same_after_every_step() {
    for (sharing, groups) in
        [(Sharing::Data(2), 1), (Sharing::Data(3), 1), (Sharing::Zero1(2), 1), (Sharing::Hybrid, 2)]
    {
        let ranks = held(sharing, None);
        assert!(ranks[0].len() > 3, "{sharing:?}: {} steps", ranks[0].len());
        for (rank, said) in ranks.iter().enumerate() {
            assert_eq!(said, &ranks[rank % groups], "{sharing:?}, rank {rank}");
            assert!(said.values().all(|(group, _)| *group == (rank % groups) as u64));
        }
        let mut hashes: Vec<u64> = ranks[0].values().map(|(_, hash)| *hash).collect();
        hashes.dedup();
        assert_eq!(hashes.len(), ranks[0].len(), "{sharing:?}: weights change with every step");
    }
    for alone in [Sharing::Sharded(2), Sharing::Data(1)] {
        assert!(held(alone, None).iter().all(BTreeMap::is_empty), "{alone:?}: nobody else holds it");
    }
}

#[test]
fn a_flipped_bit_of_one_weight_of_one_rank_is_seen() {
    let ranks = held(Sharing::Data(3), Some(1));
    for (step, said) in &ranks[0] {
        assert_eq!(ranks[2][step], *said);
        assert_ne!(ranks[1][step], *said, "step {step}");
    }
}

#[test]
fn a_flipped_bit_of_a_weight_that_is_not_trained_is_seen() {
    for (sharing, flipped, other) in
        [(Sharing::Data(2), 1, 0), (Sharing::Zero1(2), 0, 1), (Sharing::Hybrid, 0, 2)]
    {
        let good = held_of(&Trainable::Head, sharing, None);
        assert_eq!(good[flipped], good[other], "{sharing:?}");
        let ranks = held_of(&Trainable::Head, sharing, Some(flipped));
        for (step, said) in &ranks[flipped] {
            assert_ne!(ranks[other][step], *said, "{sharing:?}, step {step}");
        }
    }
}
