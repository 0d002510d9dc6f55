//! Every way to share a training gives the same result: to rounding, and in deterministic mode to the byte.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
};

use fulcrum_collective::{Collective, Gloo, Solo};
use fulcrum_common::plan::{Head, Lora, Mode, Numerics, Optimizer, Precision, Rule};
use fulcrum_models::Model;
use fulcrum_train::{Error, Gang, Keeper, Objective, Part, Past, Snapshot, StepLoss, Training, train};

use crate::support::{CrossEntropy, NextToken, TIMEOUT, examples, model, settings};

const CLASSIFIER: Head = Head::Classifier { classes: 2 };
const FAST: Numerics = Numerics { precision: Precision::Fp32, mode: Mode::Fast };
const DETERMINISTIC: Numerics = Numerics { precision: Precision::Fp32, mode: Mode::Deterministic };

/// How a gang shares, and how many it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Data(usize),
    Zero1(usize),
    Sharded(usize),
    /// Two groups of two.
    Hybrid,
}

impl Sharing {
    fn gangs(self) -> Vec<Gang> {
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
struct Job<'a> {
    model: &'a (dyn Fn() -> Model + Sync),
    objective: &'a dyn Objective,
    settings: Optimizer,
    numerics: Numerics,
}

/// What is left of it: losses, the bytes of all weights, and the snapshots that were to be kept.
struct Left {
    losses: Vec<StepLoss>,
    weights: Vec<Vec<u32>>,
    snapshots: Vec<Snapshot>,
}

impl Job<'_> {
    /// Trains on a gang of threads, from the snapshots if there are any; keeps snapshots after so many steps.
    fn run(&self, sharing: Sharing, resume: Option<&[Snapshot]>, after: usize) -> Result<Left, Error> {
        let rank = |gang, resume: Option<Vec<Snapshot>>| {
            let (model, examples) = ((self.model)(), examples(60));
            let keep = Keep { after, kept: Mutex::default() };
            let settings = self.settings.clone();
            let training = Training::new(&model, &examples, self.objective, settings, 1, gang);
            let numerics = self.numerics;
            let past = resume.as_ref().map(|snapshots| snapshots as &dyn Past);
            let losses = train(Training { numerics, keeper: Some(&keep), past, ..training })?;
            let bits = |tensor: &tch::Tensor| {
                let numbers = Vec::<f32>::try_from(tensor.detach().contiguous().view(-1)).unwrap();
                numbers.into_iter().map(f32::to_bits).collect()
            };
            let weights = model.parameters().iter().map(|(_, tensor)| bits(tensor)).collect();
            Ok(Left { losses, weights, snapshots: keep.kept.into_inner().unwrap().into_iter().collect() })
        };
        let ranks: Vec<Result<Left, Error>> = thread::scope(|scope| {
            let start = |gang| {
                let resume = resume.map(|snapshots| snapshots.iter().map(copy).collect());
                let rank = &rank;
                scope.spawn(move || rank(gang, resume))
            };
            let ranks: Vec<_> = sharing.gangs().into_iter().map(start).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        let mut ranks = ranks.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut first = ranks.remove(0);
        for rank in ranks {
            assert!(rank.weights == first.weights, "ranks differ under {sharing:?}");
            assert_eq!(rank.losses, first.losses);
            first.snapshots.extend(rank.snapshots);
        }
        Ok(first)
    }

    fn steps(&self) -> usize {
        (60 * self.settings.passes).div_ceil(self.settings.batch)
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
fn whole(snapshots: &[Snapshot]) -> BTreeMap<(String, String), Vec<u32>> {
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

fn classifier() -> Model {
    model(CLASSIFIER)
}

fn adapted() -> Model {
    let targets = vec!["all-linear".to_owned()];
    classifier().with_lora(&Lora { rank: 4, alpha: 8.0, dropout: 0.3, targets }, 9).unwrap()
}

fn speaker() -> Model {
    model(Head::LanguageModel)
}

const THRESHOLD: CrossEntropy = CrossEntropy { threshold: true };
const NAIVE: CrossEntropy = CrossEntropy { threshold: false };

/// A model, and what it minimizes.
type Case = (fn() -> Model, &'static dyn Objective);

/// Models and objectives that differ in what a strategy must get right: a loss over the whole batch, dropout and frozen
/// weights, an output tied to the embedding.
const CASES: [Case; 3] = [(classifier, &THRESHOLD), (adapted, &NAIVE), (speaker, &NextToken)];

#[test]
fn every_strategy_gives_the_losses_of_one_rank() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    for (number, (model, objective)) in CASES.into_iter().enumerate() {
        let settings = Optimizer { passes: 2, ..settings() };
        let job = Job { model: &model, objective, settings, numerics: FAST };
        let expected = job.run(Data(1), None, 0).unwrap().losses;
        assert!(expected[9].loss < expected[0].loss, "case {number} learned nothing");
        for sharing in [Zero1(1), Zero1(3), Sharded(1), Sharded(3), Hybrid] {
            let losses = job.run(sharing, None, 0).unwrap().losses;
            for (found, expected) in losses.iter().zip(&expected) {
                let difference = (found.loss - expected.loss).abs();
                assert!(difference < 1e-5, "case {number}, {sharing:?}, step {}: {difference}", found.step);
            }
        }
    }
}

#[test]
fn sharded_training_keeps_no_gradient_beside_its_shares() {
    let kept = thread::scope(|scope| {
        let rank = |gang| {
            let (model, examples) = (classifier(), examples(60));
            train(Training::new(&model, &examples, &NAIVE, settings(), 1, gang)).unwrap();
            model.parameters().iter().filter(|(_, tensor)| tensor.grad().defined()).count()
        };
        let ranks: Vec<_> =
            Sharing::Sharded(2).gangs().into_iter().map(|gang| scope.spawn(move || rank(gang))).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(kept, [0, 0], "buffers of blocks stay in memory as gradients of parameters");
}

#[test]
fn in_deterministic_mode_every_strategy_gives_the_same_bytes_on_any_number_of_ranks() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    for (number, (model, objective)) in CASES.into_iter().enumerate() {
        let job = Job { model: &model, objective, settings: settings(), numerics: DETERMINISTIC };
        let steps = job.steps();
        let expected = job.run(Data(1), None, steps).unwrap();
        assert_eq!(expected.snapshots.len(), 1);
        for sharing in [Data(2), Data(4), Zero1(2), Sharded(1), Sharded(4), Hybrid] {
            let left = job.run(sharing, None, steps).unwrap();
            assert_eq!(left.losses, expected.losses, "case {number}, {sharing:?}");
            assert!(left.weights == expected.weights, "case {number}, {sharing:?}: weights");
            assert!(
                whole(&left.snapshots) == whole(&expected.snapshots),
                "case {number}, {sharing:?}: state"
            );
        }
    }
}

#[test]
fn a_training_that_changes_its_size_in_the_middle_ends_with_the_same_bytes() {
    use Sharing::{Data, Sharded, Zero1};
    for (first, second, third) in [(Data(4), Data(2), Data(4)), (Sharded(4), Zero1(2), Sharded(4))] {
        let job =
            Job { model: &adapted, objective: &THRESHOLD, settings: settings(), numerics: DETERMINISTIC };
        let steps = job.steps();
        let expected = job.run(first, None, steps).unwrap();
        let begun = job.run(first, None, 2).unwrap();
        let smaller = job.run(second, Some(&begun.snapshots), 4).unwrap();
        let ended = job.run(third, Some(&smaller.snapshots), steps).unwrap();
        assert_eq!(ended.losses, expected.losses);
        let resized = |snapshots: &[Snapshot]| snapshots.iter().all(|snapshot| snapshot.resized);
        assert!(!resized(&expected.snapshots) && resized(&smaller.snapshots) && resized(&ended.snapshots));
        assert!(ended.weights == expected.weights && whole(&ended.snapshots) == whole(&expected.snapshots));
    }
}

#[test]
fn in_fast_mode_a_training_that_is_resumed_on_as_many_ranks_ends_with_the_same_bytes() {
    use Sharing::{Data, Sharded, Zero1};
    let momentum = Rule::Sgd { momentum: 0.9, nesterov: false };
    for (sharing, rule) in [
        (Data(2), settings().rule),
        (Zero1(2), momentum),
        (Sharded(3), settings().rule),
        (Data(2), Rule::Adafactor),
    ] {
        let settings = Optimizer { rule, ..settings() };
        let job = Job { model: &classifier, objective: &NAIVE, settings, numerics: FAST };
        let expected = job.run(sharing, None, 3).unwrap();
        let resumed = job.run(sharing, Some(&expected.snapshots), 0).unwrap();
        assert!(resumed.weights == expected.weights, "{sharing:?}, {rule:?}");
        assert_eq!(resumed.losses, expected.losses);
    }
}

#[test]
fn bf16_follows_f32_and_leaves_f32_weights_that_all_ranks_share() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    for mode in [Mode::Fast, Mode::Deterministic] {
        let settings = Optimizer { passes: 4, ..settings() };
        let job =
            |numerics| Job { model: &classifier, objective: &NAIVE, settings: settings.clone(), numerics };
        let expected = job(FAST).run(Data(1), None, 0).unwrap().losses;
        let bf16 = job(Numerics { precision: Precision::Bf16, mode });
        let mut first: Option<Left> = None;
        for sharing in [Data(1), Data(2), Zero1(2), Sharded(2), Hybrid] {
            let left = bf16.run(sharing, None, 0).unwrap();
            for (found, expected) in left.losses.iter().zip(&expected) {
                let difference = (found.loss - expected.loss).abs();
                assert!(difference < 0.02, "{sharing:?}, step {}: {difference}", found.step);
            }
            let fine = |bits: &u32| bits & 0xFFFF != 0;
            assert!(left.weights.iter().flatten().any(fine), "weights are updated in f32");
            match &first {
                Some(first) if mode == Mode::Deterministic => {
                    assert!(left.weights == first.weights, "{sharing:?}")
                }
                _ => first = Some(left),
            }
        }
    }
}

#[test]
fn what_no_rank_could_go_on_from_is_refused() {
    let job = Job { model: &classifier, objective: &NAIVE, settings: settings(), numerics: FAST };
    let refused =
        |snapshots: &[Snapshot]| job.run(Sharing::Data(1), Some(snapshots), 0).err().unwrap().to_string();
    let mut halves = job.run(Sharing::Sharded(2), None, 2).unwrap().snapshots;
    let lost = halves.pop().unwrap();
    assert!(refused(&halves).starts_with("the snapshots do not have the numbers"), "{}", refused(&halves));
    assert!(refused(&[]).contains("no snapshots"));
    let other = Job {
        settings: Optimizer { rule: Rule::Sgd { momentum: 0.9, nesterov: false }, ..settings() },
        ..job
    };
    halves.push(lost);
    let error = other.run(Sharing::Data(1), Some(&halves), 0).err().unwrap().to_string();
    assert!(error.contains("momentum"), "{error}");
}

#[test]
fn adafactor_is_refused_where_no_rank_has_whole_matrices() {
    let settings = Optimizer { rule: Rule::Adafactor, ..settings() };
    let job = Job { model: &classifier, objective: &NAIVE, settings, numerics: FAST };
    let error = job.run(Sharing::Zero1(2), None, 0).err().unwrap().to_string();
    assert!(error.contains("needs whole parameters"), "{error}");
}
