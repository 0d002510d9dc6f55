//! Where a training stands, so that it can go on from there: on as many ranks, on fewer, or on more.
//!
//! A rank's snapshot holds what the rank owns, by the names of parameters and ranges of their numbers. Nothing in it
//! depends on how buffers were laid out, so another layout takes from all snapshots what falls to it.

use std::{collections::BTreeMap, ops::Range};

use tch::{Kind, Tensor};

use crate::{Error, optimizer, parallel::Fragment, trainer::Trainer};

/// What is called the weights themselves, beside the tensors that an optimizer remembers.
const WEIGHTS: &str = "weights";

/// What a rank owns of a training between two steps.
#[derive(Debug)]
pub struct Snapshot {
    /// Steps done.
    pub step: usize,
    /// Updates of the optimizer; steps that were skipped do not count.
    pub updates: u64,
    /// What it owns of each parameter.
    pub parts: Vec<Part>,
    /// What the optimizer remembers where that is not number by number.
    pub memory: BTreeMap<String, Tensor>,
}

/// A stretch of a parameter's numbers.
#[derive(Debug)]
pub struct Part {
    /// The parameter, by its Hugging Face name.
    pub name: String,
    /// Which of its numbers.
    pub numbers: Range<usize>,
    /// The weights in f32, and what the optimizer remembers of them: one number for each, by name.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Who keeps snapshots.
pub trait Keeper: Sync {
    /// Whether one is to be taken after so many steps. The same on every rank.
    fn is_due(&self, steps: usize) -> bool;

    /// Takes it; must return quickly.
    fn keep(&self, snapshot: Snapshot);
}

impl Snapshot {
    /// How many steps were done; none without snapshots.
    pub(crate) fn steps(snapshots: &[Self]) -> usize {
        snapshots.first().map_or(0, |snapshot| snapshot.step)
    }
}

impl Trainer<'_> {
    /// A copy of what this rank owns now.
    pub(crate) fn snapshot(&self, step: usize) -> Result<Snapshot, Error> {
        let _guard = tch::no_grad_guard();
        let own = self.engine.own();
        let state = self.optimizer.state()?;
        let mut flat = BTreeMap::from([(WEIGHTS.to_owned(), Tensor::f_cat(&own.weights, 0)?)]);
        let mut memory = state.tensors;
        if self.job.settings.rule.is_elementwise() {
            flat.append(&mut memory);
        }
        let part = |fragment: Fragment| {
            let cut = |(name, flat): (&String, &Tensor)| {
                let part = flat.f_narrow(0, fragment.own as i64, fragment.numbers.len() as i64)?;
                Ok((name.clone(), part.copy()))
            };
            let tensors = flat.iter().map(cut).collect::<Result<_, Error>>()?;
            Ok(Part { name: self.names[fragment.parameter].to_owned(), numbers: fragment.numbers, tensors })
        };
        let parts = own.layout.fragments(own.rank).into_iter().map(part).collect::<Result<_, Error>>()?;
        Ok(Snapshot { step, updates: state.updates, parts, memory })
    }

    /// Goes on from snapshots.
    pub(crate) fn restore(&mut self, snapshots: &[Snapshot]) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        let broken = |what: String| Err(Error::State(what));
        let Some(first) = snapshots.first() else {
            return broken("there are no snapshots to go on from".into());
        };
        if snapshots.iter().any(|other| (other.step, other.updates) != (first.step, first.updates)) {
            return broken("the snapshots are of different steps".into());
        }
        let own = self.engine.own();
        let elementwise = self.job.settings.rule.is_elementwise();
        let mut state = optimizer::State { updates: first.updates, ..self.optimizer.state()? };
        let weights = Tensor::f_zeros(
            [own.weights.iter().map(Tensor::numel).sum::<usize>() as i64],
            (Kind::Float, self.device()),
        )?;
        let mut flat: BTreeMap<&str, &Tensor> = BTreeMap::from([(WEIGHTS, &weights)]);
        if elementwise {
            flat.extend(state.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)));
        }
        for fragment in own.layout.fragments(own.rank) {
            self.fill(&fragment, &flat, snapshots)?;
        }
        let lengths: Vec<i64> = own.weights.iter().map(|segment| segment.numel() as i64).collect();
        for (segment, numbers) in own.weights.iter().zip(weights.f_split_with_sizes(&lengths, 0)?) {
            segment.shallow_clone().f_copy_(&numbers)?;
        }
        if !elementwise {
            let copies = first.memory.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
            state.tensors = copies.collect();
        }
        self.optimizer.restore(&state)?;
        self.engine.publish()
    }

    /// Takes a fragment's numbers from whichever snapshots hold them.
    fn fill(
        &self,
        fragment: &Fragment,
        flat: &BTreeMap<&str, &Tensor>,
        snapshots: &[Snapshot],
    ) -> Result<(), Error> {
        let name = self.names[fragment.parameter];
        let mut found = 0;
        for part in snapshots.iter().flat_map(|snapshot| &snapshot.parts).filter(|part| part.name == name) {
            let (mine, theirs) = (&fragment.numbers, &part.numbers);
            let common = mine.start.max(theirs.start)..mine.end.min(theirs.end);
            if common.is_empty() {
                continue;
            }
            for (kind, flat) in flat {
                let Some(tensor) = part.tensors.get(*kind).filter(|tensor| tensor.numel() == theirs.len())
                else {
                    return Err(Error::State(format!("the snapshot has no whole {kind:?} of {name}")));
                };
                let (from, length) = ((common.start - theirs.start) as i64, common.len() as i64);
                let at = (fragment.own + common.start - mine.start) as i64;
                flat.f_narrow(0, at, length)?.f_copy_(&tensor.f_narrow(0, from, length)?)?;
            }
            found += common.len();
        }
        // Ranks that hold copies of each other give the same numbers more than once.
        if found < fragment.numbers.len() {
            let Range { start, end } = fragment.numbers;
            return Err(Error::State(format!(
                "no snapshot has all of the numbers {start} to {end} of {name}"
            )));
        }
        Ok(())
    }
}
