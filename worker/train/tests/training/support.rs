//! A tiny task for tiny models, and gangs of threads that train on it.
//!
//! Shape suffixes: b rows of a slot, t tokens, u tokens but the first, c classes, v vocabulary.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use fulcrum_collective::{Collective, Gloo, Solo};
use fulcrum_common::{
    plan::{Architecture, Head, Optimizer, Rule, Schedule},
    rng::Rng,
};
use fulcrum_models::Model;
use fulcrum_train::{Error, Examples, Gang, Monitor, Objective, Slot, StepLoss, Training, train};
use tch::{Device, Kind, Tensor};

pub(crate) const VOCABULARY: usize = 11;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Rows of 2 to 9 tokens; the class says whether small or large ids are in the majority.
pub(crate) fn examples(rows: usize) -> Examples {
    let mut rng = Rng::new(7, "test rows", 0);
    let mut labels = Vec::new();
    let tokens = (0..rows)
        .map(|_| {
            let mut row = vec![1 + rng.index(VOCABULARY - 1) as i64];
            for _ in 0..1 + rng.index(8) {
                // Mostly the next id, so that a language model has something to learn.
                let next = row[row.len() - 1] % (VOCABULARY as i64 - 1) + 1;
                row.push(if rng.chance(0.7) { next } else { 1 + rng.index(VOCABULARY - 1) as i64 });
            }
            let large = row.iter().filter(|&&id| id > 5).count() * 2 > row.len();
            labels.extend(if large { [0.1, 0.9] } else { [0.9, 0.1] });
            row
        })
        .collect();
    Examples::new(tokens, 0).unwrap().with_targets(labels, 2).unwrap()
}

/// The same for a reward model: pairs, of which the second is preferred by what a row would say of them.
pub(crate) fn examples_for(model: &Model, rows: usize) -> Examples {
    if model.head() != Some(Head::Reward) {
        return examples(rows);
    }
    let singles = examples(2 * rows);
    let row = |at: usize| {
        let padded = singles.pad(&[at], Device::Cpu).unwrap();
        Vec::<i64>::try_from(padded.ids_bt.view(-1)).unwrap()
    };
    let tokens: Vec<_> = (0..2 * rows).map(row).collect();
    let share = |row: &[i64]| row.iter().filter(|&&id| id > 5).count() as f64 / row.len() as f64;
    let label = |pair: &[Vec<i64>]| if share(&pair[1]) > share(&pair[0]) { [0.1, 0.9] } else { [0.9, 0.1] };
    let labels = tokens.chunks(2).flat_map(label).collect();
    Examples::new(tokens, 0).unwrap().in_pairs().unwrap().with_targets(labels, 2).unwrap()
}

/// A decoder of two blocks.
pub(crate) fn model(head: Head) -> Model {
    model_on(head, Device::Cpu)
}

fn model_on(head: Head, device: Device) -> Model {
    let shape = Architecture { layers: 2, hidden: 16, heads: 2, context: 16 };
    let model = Model::new(&shape, VOCABULARY, Default::default(), 3, device).unwrap();
    model.with_head(&head.into(), 5).unwrap()
}

pub(crate) fn settings() -> Optimizer {
    Optimizer {
        passes: 1,
        batch: 12,
        micro_batch: 2,
        rule: Rule::default(),
        learning_rate: 3e-3,
        schedule: Schedule::Linear,
        warmup: 0.1,
        floor: 0.0,
        weight_decay: 0.01,
        no_decay: Vec::new(),
        clip: Some(0.5),
    }
}

/// Cross-entropy against soft labels. With `threshold`, each row is weighed by whether the first class is
/// above the batch's median: a loss that needs the whole global batch.
pub(crate) struct CrossEntropy {
    pub(crate) threshold: bool,
}

impl Objective for CrossEntropy {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn wants_global_batch(&self) -> bool {
        self.threshold
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let targets_bc = slot.targets_bc.unwrap();
        let loss_b = -(slot.logits()?.log_softmax(-1, Kind::Float) * targets_bc).sum_dim_intlist(
            [1i64].as_slice(),
            false,
            Kind::Float,
        );
        let Some(global) = slot.global else { return Ok(loss_b.sum(Kind::Float)) };
        let first_n = global.logits_nc.softmax(-1, Kind::Float).select(1, 0);
        let (start, length) = (slot.rows.start as i64, slot.rows.len() as i64);
        let mine_b = first_n.narrow(0, start, length);
        let own_b = slot.logits()?.detach().softmax(-1, Kind::Float).select(1, 0);
        assert!(mine_b.allclose(&own_b, 1e-5, 1e-6, false), "the gathered rows are in global order");
        assert!(global.targets_nc.as_ref().unwrap().narrow(0, start, length).equal(targets_bc));
        let above_b = mine_b.gt_tensor(&first_n.median()).to_kind(Kind::Float);
        Ok((loss_b * (above_b + 0.5)).sum(Kind::Float))
    }
}

/// Next-token cross-entropy.
pub(crate) struct NextToken;

impl Objective for NextToken {
    fn terms(&self, predicted: usize) -> usize {
        predicted
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        slot.speech()?.cross_entropy(slot.ids_bt, slot.predicted_bt)
    }
}

/// What a training leaves: its losses, and every weight's bytes.
pub(crate) type Left = (Vec<StepLoss>, Vec<Vec<f32>>);

/// One rank's part.
pub(crate) struct Job<'a> {
    pub(crate) head: Head,
    pub(crate) objective: &'a dyn Objective,
    pub(crate) settings: Optimizer,
    pub(crate) rows: usize,
}

impl Job<'_> {
    pub(crate) fn run(&self, collective: Arc<dyn Collective>, monitor: &dyn Monitor) -> Result<Left, Error> {
        self.run_at(Device::Cpu, collective, monitor)
    }

    /// Trains on a device.
    pub(crate) fn run_at(
        &self,
        device: Device,
        collective: Arc<dyn Collective>,
        monitor: &dyn Monitor,
    ) -> Result<Left, Error> {
        let (model, examples) = (model_on(self.head, device), examples(self.rows));
        let settings = self.settings.clone();
        let gang = Gang::data(collective);
        let training = Training::new(&model, &examples, self.objective, settings, 1, gang);
        let losses = train(Training { monitor, ..training })?.losses;
        let weights = model
            .parameters()
            .iter()
            .map(|(_, weight)| Vec::<f32>::try_from(weight.detach().contiguous().view(-1)).unwrap());
        Ok((losses, weights.collect()))
    }

    /// Trains on a gang of `world` threads; what each rank came to.
    pub(crate) fn run_on(&self, world: usize) -> Vec<Result<Left, Error>> {
        gang(world, |collective| self.run(collective, &()))
    }
}

/// Runs `member` on every rank of a gang of threads.
pub(crate) fn gang<R: Send>(world: usize, member: impl Fn(Arc<dyn Collective>) -> R + Sync) -> Vec<R> {
    let ends: Vec<Arc<dyn Collective>> = match world {
        1 => vec![Arc::new(Solo::new())],
        _ => Gloo::gang(world, TIMEOUT).unwrap().into_iter().map(|end| Arc::new(end) as _).collect(),
    };
    thread::scope(|scope| {
        let run = |end| {
            let member = &member;
            scope.spawn(move || member(end))
        };
        let members: Vec<_> = ends.into_iter().map(run).collect();
        members.into_iter().map(|member| member.join().unwrap()).collect()
    })
}

/// Notes progress, and cancels once a step is reached.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) cancel_at: Option<usize>,
    pub(crate) seen: Mutex<Vec<fulcrum_train::Progress>>,
}

impl Monitor for Watch {
    fn progress(&self, progress: fulcrum_train::Progress) {
        self.seen.lock().unwrap().push(progress);
    }

    fn cancelled(&self) -> bool {
        self.cancel_at.is_some_and(|step| self.seen.lock().unwrap().len() >= step)
    }
}
