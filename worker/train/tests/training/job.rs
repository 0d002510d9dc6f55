//! A training that is run in several ways: what it is, over whom, and what it leaves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
};

use fulcrum_collective::{Collective, Gloo, Solo};
use fulcrum_common::plan::{Numerics, Optimizer, Span};
use fulcrum_models::Model;
use fulcrum_train::{
    Error, Gang, Keeper, Objective, Part, Past, Snapshot, StepLoss, Trained, Training, checkpoint::Files,
    train,
};

use crate::support::{TIMEOUT, examples_for};

/// How a gang shares, and how many it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Data(usize),
    Zero1(usize),
    Sharded(usize),
    /// Two groups of two.
    Hybrid,
}

impl Sharing {
    pub(crate) fn gangs(self) -> Vec<Gang> {
        match self {
            Self::Data(world) => ends(world).into_iter().map(Gang::data).collect(),
            Self::Zero1(world) => ends(world).into_iter().map(Gang::zero1).collect(),
            Self::Sharded(world) => ends(world).into_iter().map(Gang::sharded).collect(),
            Self::Hybrid => {
                let shards = [ends(2), ends(2)].into_iter().flatten();
                let [first, second] = [ends(2), ends(2)];
                let [mut first, mut second] = [first.into_iter(), second.into_iter()];
                let copies = std::iter::from_fn(|| Some([first.next()?, second.next()?])).flatten();
                let groups = ends(4).into_iter().zip(shards).zip(copies);
                groups.map(|((all, shards), copies)| Gang::hybrid(all, shards, copies).unwrap()).collect()
            }
        }
    }
}

fn ends(world: usize) -> Vec<Arc<dyn Collective>> {
    match world {
        1 => vec![Arc::new(Solo::new())],
        _ => Gloo::gang(world, TIMEOUT).unwrap().into_iter().map(|end| Arc::new(end) as _).collect(),
    }
}

/// Keeps the snapshot after some steps.
struct Keep {
    after: usize,
    kept: Mutex<Option<Snapshot>>,
}

impl Keeper for Keep {
    fn is_due(&self, steps: usize) -> bool {
        steps == self.after
    }

    fn keep(&self, snapshot: Snapshot) {
        *self.kept.lock().unwrap() = Some(copy(&snapshot));
    }

    fn settle(&self) {}

    fn finish(&self) {}
}

/// A training that is run in several ways.
pub(crate) struct Job<'a> {
    pub(crate) model: &'a (dyn Fn() -> Model + Sync),
    pub(crate) objective: &'a dyn Objective,
    pub(crate) settings: Optimizer,
    pub(crate) numerics: Numerics,
    /// The stretch of it that is done; all where there is none.
    pub(crate) span: Option<Span>,
}

/// What is left of it: losses, the bytes of all weights, and the snapshots that were to be kept.
pub(crate) struct Left {
    pub(crate) losses: Vec<StepLoss>,
    /// Digest of what the optimizer remembered.
    pub(crate) optimizer: u64,
    pub(crate) weights: Vec<Vec<u32>>,
    pub(crate) snapshots: Vec<Snapshot>,
    /// What the next stretch goes on from.
    pub(crate) state: Option<Files>,
}

impl Job<'_> {
    /// Trains on a gang of threads, from the snapshots if there are any; keeps snapshots after so many steps.
    pub(crate) fn run(
        &self,
        sharing: Sharing,
        resume: Option<&[Snapshot]>,
        after: usize,
    ) -> Result<Left, Error> {
        self.run_on(sharing.gangs(), resume, after)
    }

    /// The same, on one thread for each of these ends.
    pub(crate) fn run_on(
        &self,
        gangs: Vec<Gang>,
        resume: Option<&[Snapshot]>,
        after: usize,
    ) -> Result<Left, Error> {
        let rank = |gang, resume: Option<Vec<Snapshot>>| {
            let model = (self.model)();
            let examples = examples_for(&model, 60);
            let keep = Keep { after, kept: Mutex::default() };
            let settings = self.settings.clone();
            let training = Training::new(&model, &examples, self.objective, settings, 1, gang);
            let numerics = self.numerics;
            let past = resume.as_ref().map(|snapshots| snapshots as &dyn Past);
            let trained =
                train(Training { numerics, keeper: Some(&keep), past, span: self.span, ..training })?;
            let bits = |tensor: &tch::Tensor| {
                let numbers = Vec::<f32>::try_from(tensor.detach().contiguous().view(-1)).unwrap();
                numbers.into_iter().map(f32::to_bits).collect()
            };
            let weights = model.parameters().iter().map(|(_, tensor)| bits(tensor)).collect();
            let Trained { losses, optimizer, state, .. } = trained;
            Ok(Left {
                losses,
                optimizer,
                weights,
                snapshots: keep.kept.into_inner().unwrap().into_iter().collect(),
                state,
            })
        };
        let ranks: Vec<Result<Left, Error>> = thread::scope(|scope| {
            let start = |gang| {
                let resume = resume.map(|snapshots| snapshots.iter().map(copy).collect());
                let rank = &rank;
                scope.spawn(move || rank(gang, resume))
            };
            let ranks: Vec<_> = gangs.into_iter().map(start).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        let mut ranks = ranks.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut first = ranks.remove(0);
        for rank in ranks {
            assert!(rank.weights == first.weights, "ranks differ");
            assert_eq!((&rank.losses, rank.optimizer), (&first.losses, first.optimizer));
            assert_eq!(rank.state, None, "the state is of rank 0 alone");
            first.snapshots.extend(rank.snapshots);
        }
        Ok(first)
    }

    pub(crate) fn steps(&self) -> usize {
        (60 * self.settings.passes).div_ceil(self.settings.batch)
    }
}

impl Left {
    /// Holds every byte to that of another run.
    pub(crate) fn equals(&self, expected: &Self, what: &str) {
        assert_eq!(self.losses, expected.losses, "{what}");
        assert_eq!(self.optimizer, expected.optimizer, "{what}: digest of the optimizer's memory");
        assert!(self.weights == expected.weights, "{what}: weights");
        assert!(whole(&self.snapshots) == whole(&expected.snapshots), "{what}: state");
    }
}

/// For another thread.
fn copy(snapshot: &Snapshot) -> Snapshot {
    let tensors = |tensors: &BTreeMap<String, tch::Tensor>| {
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.copy())).collect()
    };
    let Snapshot { step, updates, skipped, micro_batch, resized, parts, memory, losses } = snapshot;
    let part = |Part { name, numbers, tensors: of }: &Part| Part {
        name: name.clone(),
        numbers: numbers.clone(),
        tensors: tensors(of),
    };
    let parts = parts.iter().map(part).collect();
    let (step, updates, skipped, micro_batch) = (*step, *updates, *skipped, *micro_batch);
    let (resized, memory, losses) = (*resized, tensors(memory), losses.clone());
    Snapshot { step, updates, skipped, micro_batch, resized, parts, memory, losses }
}

/// Everything that snapshots hold, by parameter and kind, in the order of its numbers.
pub(crate) fn whole(snapshots: &[Snapshot]) -> BTreeMap<(String, String), Vec<u32>> {
    let mut whole: BTreeMap<_, BTreeMap<usize, u32>> = BTreeMap::new();
    for part in snapshots.iter().flat_map(|snapshot| &snapshot.parts) {
        for (kind, tensor) in &part.tensors {
            let numbers = Vec::<f32>::try_from(tensor).unwrap().into_iter().map(f32::to_bits);
            whole
                .entry((part.name.clone(), kind.clone()))
                .or_default()
                .extend(part.numbers.clone().zip(numbers));
        }
    }
    whole.into_iter().map(|(key, numbers)| (key, numbers.into_values().collect())).collect()
}
