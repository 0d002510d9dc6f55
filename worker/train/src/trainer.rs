//! Data-parallel training.
//!
//! The global batch of a step is a fixed list of rows, cut into slots of `micro_batch` rows. A slot is one
//! forward and backward pass; its padding and its rows are the same whoever runs it. Each rank runs a
//! contiguous share of the slots, gradients are summed over ranks, and every rank does the same update.
//!
//! Shape suffixes: b rows of a slot, t tokens, c classes, n rows of the global batch.

use std::{ops::Range, sync::Arc};

use fulcrum_collective::{Collective, Reduction};
use fulcrum_common::{
    order::Batches,
    plan::{self, Head},
};
use fulcrum_models::{Model, Noise};
use tch::{Device, Kind, Tensor};

use crate::{
    Error, Examples, GlobalBatch, Monitor, Objective, Progress, Slot, StepLoss,
    batch::Padded,
    gradients::Gradients,
    layout::{Layout, Member},
    optimizer::{Clip, Decay, Optimizer, norm},
    schedule::Rate,
};

/// What is trained, on what, and how. The same on every rank of the gang, but for `collective` and `monitor`.
#[derive(Clone)]
pub struct Training<'a> {
    /// Its trainable weights are updated in place, the others keep their bytes. Every rank must start from the same.
    pub model: &'a Model,
    /// All rows, with labels if the objective reads them.
    pub examples: &'a Examples,
    /// What is minimized.
    pub objective: &'a dyn Objective,
    /// How.
    pub settings: plan::Optimizer,
    /// Seed of the row order and of noise.
    pub seed: u64,
    /// The gang.
    pub collective: Arc<dyn Collective>,
    /// Who watches this rank.
    pub monitor: &'a dyn Monitor,
}

/// Trains the model to the end of its passes. Returns the loss of every step, the same on every rank.
///
/// # Errors
/// If a setting is out of range, the loss or the gradient is not finite, the gang breaks, or a monitor of any
/// rank cancels. An error that is this rank's alone aborts the gang, so no other rank waits for it.
pub fn train(training: Training<'_>) -> Result<Vec<StepLoss>, Error> {
    let collective = Arc::clone(&training.collective);
    let result = Trainer::new(training).and_then(Trainer::run);
    if let Err(error) = &result
        && !error.is_shared()
    {
        collective.abort(&error.to_string());
    }
    result
}

struct Trainer<'a> {
    job: Training<'a>,
    batches: Batches,
    gradients: Gradients,
    clip: Clip,
    optimizer: Optimizer,
    rate: Rate,
}

/// A slot that this rank runs, with its tensors.
struct Share {
    rows: Range<usize>,
    padded: Padded,
    noise: Noise,
    /// Logits with their graph, where a first pass has made them already.
    logits: Option<Tensor>,
}

impl<'a> Trainer<'a> {
    fn new(job: Training<'a>) -> Result<Self, Error> {
        let plan::Optimizer { passes, batch, micro_batch, .. } = job.settings;
        if micro_batch == 0 {
            return Err(Error::Setting { name: "micro_batch", value: 0.0, range: "at least 1" });
        }
        let batches = Batches::new(job.examples.len(), batch, passes, job.seed)?;
        let rate = Rate::new(&job.settings, batches.steps())?;
        let device = job.model.device();
        let decay =
            Decay::new(&job.settings.no_decay, job.model.parameters().iter().map(|(name, _)| name.as_str()))?;
        let member = |(name, tensor): (&str, &Tensor)| {
            let member = Member { length: tensor.numel(), decays: decay.applies(name, tensor) };
            (tensor.shallow_clone(), member)
        };
        let (parameters, members): (Vec<Tensor>, Vec<Member>) = job.model.trainable().map(member).unzip();
        if parameters.is_empty() {
            return Err(Error::Frozen);
        }
        let layout = Layout::new(&members);
        let gradients = Gradients::new(&layout, &parameters, device, Arc::clone(&job.collective))?;
        let clip = Clip::new(job.settings.clip)?;
        let flat = layout.gather(&parameters, device)?;
        let elementwise = job.settings.rule.is_elementwise();
        let pieces = layout.pieces(elementwise, &parameters, &flat, gradients.flat());
        let optimizer = Optimizer::new(&job.settings, &pieces)?;
        Ok(Self { job, batches, gradients, clip, optimizer, rate })
    }

    fn run(mut self) -> Result<Vec<StepLoss>, Error> {
        let steps = self.batches.steps();
        let mut losses = Vec::with_capacity(steps);
        for step in 0..steps {
            let done = self.step(step)?;
            losses.push(done);
            let examples = (step + 1) * self.batches.batch();
            self.job.monitor.progress(Progress { step: step + 1, steps, examples, loss: Some(done.loss) });
        }
        Ok(losses)
    }

    fn step(&mut self, step: usize) -> Result<StepLoss, Error> {
        self.job.collective.begin_step(step);
        let batch = self.batches.rows_of(step);
        let terms = self.terms(step, &batch)?;
        let mut shares = self.shares(step, &batch)?;
        let global = self.look_ahead(&batch, &mut shares)?;

        self.gradients.clear()?;
        let mut total = Tensor::zeros([], (Kind::Double, self.device()));
        let last = shares.len().saturating_sub(1);
        for (index, share) in shares.into_iter().enumerate() {
            let sum = self.forward(step, share, global.as_ref())?;
            if index == last {
                self.gradients.depart_when_full();
            }
            (&sum / terms as f64).f_backward()?;
            total += sum.detach().to_kind(Kind::Double);
        }
        self.gradients.reduce()?;
        let loss = self.agree(step, total)? / terms as f64;

        let learning_rate = self.rate.at(step);
        let norm = norm(self.gradients.flat())?;
        if !norm.is_finite() {
            return Err(Error::Gradient { step, norm });
        }
        self.clip.apply(self.gradients.flat(), norm)?;
        self.optimizer.update(learning_rate)?;
        Ok(StepLoss { step, loss, learning_rate })
    }

    /// Terms of the loss over the global batch: every rank counts them from the row list alone.
    fn terms(&self, step: usize, batch: &[usize]) -> Result<usize, Error> {
        let terms = |&row: &usize| self.job.objective.terms(self.job.examples.predicted(row));
        match batch.iter().map(terms).sum() {
            0 => Err(Error::Examples(format!("no row of step {step} has anything to predict"))),
            terms => Ok(terms),
        }
    }

    /// This rank's slots.
    fn shares(&self, step: usize, batch: &[usize]) -> Result<Vec<Share>, Error> {
        let share = |rows: Range<usize>| {
            let mine = &batch[rows.clone()];
            let padded = self.job.examples.pad(mine, self.device())?;
            let named = mine.iter().map(|&row| row as u64).collect();
            let noise = Noise { seed: self.job.seed, step: step as u64, rows: named };
            Ok(Share { rows, padded, noise, logits: None })
        };
        self.slots(batch.len(), self.job.collective.rank()).map(share).collect()
    }

    /// Where the slots of a rank stand in a batch of `rows` rows.
    fn slots(&self, rows: usize, rank: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (world, size) = (self.job.collective.world(), self.job.settings.micro_batch);
        let slots = rows.div_ceil(size);
        let mine = rank * slots / world..(rank + 1) * slots / world;
        mine.map(move |slot| slot * size..((slot + 1) * size).min(rows))
    }

    /// For objectives that ask for it: the logits of the whole global batch, from a first pass without gradient over
    /// this rank's slots, under the noise of the second. A rank with a single slot keeps the graph instead of making
    /// it twice; more would not fit in the memory that slots are there to bound.
    fn look_ahead(&self, batch: &[usize], shares: &mut [Share]) -> Result<Option<GlobalBatch>, Error> {
        if !self.job.objective.wants_global_batch() {
            return Ok(None);
        }
        let Some(Head::Classifier { classes }) = self.job.model.head() else {
            return Err(Error::Objective("only a classifier has logits for the whole global batch".into()));
        };
        let mut mine = Vec::with_capacity(shares.len());
        match shares {
            [only] => {
                let logits_bc = self.logits(&only.padded, &only.noise)?;
                mine.push(logits_bc.detach());
                only.logits = Some(logits_bc);
            }
            many => {
                for Share { padded, noise, .. } in many {
                    mine.push(tch::no_grad(|| self.logits(padded, noise))?);
                }
            }
        }
        let logits_nc = self.gather(&mine, classes, batch.len())?;
        let targets_nc = self.job.examples.targets(batch, self.device());
        Ok(Some(GlobalBatch { logits_nc, targets_nc }))
    }

    /// All ranks' logits in the order of the global batch. Shares differ in length, and what is gathered must
    /// not, so each is padded to the longest.
    fn gather(&self, mine: &[Tensor], classes: usize, rows: usize) -> Result<Tensor, Error> {
        let world = self.job.collective.world();
        let lengths: Vec<usize> =
            (0..world).map(|rank| self.slots(rows, rank).map(|slot| slot.len()).sum()).collect();
        let (longest, classes) = (lengths.iter().copied().max().unwrap_or(0) as i64, classes as i64);
        let zeros = |rows| Tensor::f_zeros([rows, classes], (Kind::Float, self.device()));
        let (share, all) = (zeros(longest)?, zeros(longest * world as i64)?);
        if !mine.is_empty() {
            let logits_bc = Tensor::f_cat(mine, 0)?;
            share.narrow(0, 0, logits_bc.size()[0]).f_copy_(&logits_bc)?;
        }
        self.job.collective.all_gather(&all, &share)?.wait()?;
        let cut = |(rank, &length): (usize, &usize)| all.narrow(0, rank as i64 * longest, length as i64);
        Ok(Tensor::f_cat(&lengths.iter().enumerate().map(cut).collect::<Vec<_>>(), 0)?)
    }

    fn logits(&self, padded: &Padded, noise: &Noise) -> Result<Tensor, Error> {
        Ok(self.job.model.forward_training(&padded.ids_bt, &padded.mask_bt, noise)?)
    }

    /// The sum of a slot's terms, with its graph.
    fn forward(&self, step: usize, share: Share, global: Option<&GlobalBatch>) -> Result<Tensor, Error> {
        let Share { rows, padded, noise, logits } = share;
        let logits = match logits {
            Some(logits) => logits,
            None => self.logits(&padded, &noise)?,
        };
        let sum = self.job.objective.loss(&Slot {
            logits: &logits,
            ids_bt: &padded.ids_bt.to_device(self.device()),
            mask_bt: &padded.mask_bt.to_device(self.device()),
            predicted_bt: &padded.predicted_bt.to_device(self.device()),
            targets_bc: padded.targets_bc.as_ref(),
            rows,
            step,
            steps: self.batches.steps(),
            global,
        })?;
        if sum.numel() == 1 && sum.requires_grad() {
            return Ok(sum);
        }
        let shape = sum.size();
        Err(Error::Objective(format!("a loss of shape {shape:?} is no scalar that carries gradient")))
    }

    /// The sum of all ranks' losses. Every rank learns here, at the same step, that one of them is to stop.
    fn agree(&self, step: usize, total: Tensor) -> Result<f64, Error> {
        let stop = f64::from(u8::from(self.job.monitor.cancelled()));
        let shared = Tensor::f_stack(&[total, Tensor::from(stop).to_device(self.device())], 0)?;
        self.job.collective.all_reduce(&shared, Reduction::Sum)?.wait()?;
        let [loss, stop] = [0, 1].map(|at| shared.double_value(&[at]));
        if stop > 0.0 {
            return Err(Error::Cancelled { step });
        }
        if !loss.is_finite() {
            return Err(Error::Loss { step, loss });
        }
        Ok(loss)
    }

    fn device(&self) -> Device {
        self.job.model.device()
    }
}
