//! The training step.
//!
//! The global batch of a step is a fixed list of rows, cut into slots of `micro_batch` rows. A slot is one
//! forward and backward pass; its padding and its rows are the same whoever runs it. Each rank runs a
//! contiguous share of the slots, gradients are summed over ranks, and every rank does its share of the same update.

use std::ops::Range;

use fulcrum_common::{
    fault::{self, point},
    flight::Activity,
    order::Batches,
    plan::{self, Head},
};
use fulcrum_models::{Model, Noise};
use tch::{Device, Tensor};

use crate::{
    Error, Examples, Gang, GlobalBatch, Keeper, Monitor, Objective, Output, Past, Progress, Slot, Speech,
    StepLoss, Trained,
    agreement::{Agreement, Tally, Wishes},
    clock::{Clock, Phase},
    frozen::Frozen,
    optimizer::{Clip, Decay, Optimizer},
    pairs,
    parallel::{Begin, Engine, Extent, Numbers, Passed, Portion, Share, engine, norm},
    schedule::Rate,
};

/// Steps in a row whose loss or gradient is not finite, after which a training gives up.
const MOST_SKIPPED: usize = 10;

/// What is trained, on what, and how. The same on every rank of the gang, but for `gang`, `monitor` and `keeper`.
#[derive(Clone)]
pub struct Training<'a> {
    /// Its trainable weights are updated in place, the others keep their bytes. Every rank must start from the same. Of a
    /// model that is only outlined, a rank reads what its strategy has it keep.
    pub model: &'a Model,
    /// All rows, with labels if the objective reads them.
    pub examples: &'a Examples,
    /// What is minimized.
    pub objective: &'a dyn Objective,
    /// How.
    pub settings: plan::Optimizer,
    /// In which numbers.
    pub numerics: plan::Numerics,
    /// Seed of the row order and of noise.
    pub seed: u64,
    /// Who trains.
    pub gang: Gang,
    /// Who watches this rank.
    pub monitor: &'a dyn Monitor,
    /// Who keeps snapshots of this rank.
    pub keeper: Option<&'a dyn Keeper>,
    /// Where earlier trainings of the same description have stopped. None to begin.
    pub past: Option<&'a dyn Past>,
    /// The stretch of steps to do; none for all. One that does not begin with the first needs a `past`.
    pub span: Option<plan::Span>,
    /// Whether every rank's model has all weights in the end. Without it, where ranks hold shares of them, only that of the
    /// first has.
    pub everywhere: bool,
}

impl<'a> Training<'a> {
    /// From its beginning, in f32 and fast mode, with nobody who watches.
    pub fn new(
        model: &'a Model,
        examples: &'a Examples,
        objective: &'a dyn Objective,
        settings: plan::Optimizer,
        seed: u64,
        gang: Gang,
    ) -> Self {
        let numerics = plan::Numerics::default();
        let (monitor, keeper, past, span, everywhere) = (&(), None, None, None, true);
        Self {
            model,
            examples,
            objective,
            settings,
            numerics,
            seed,
            gang,
            monitor,
            keeper,
            past,
            span,
            everywhere,
        }
    }
}

/// Trains the model to the end of its passes. Returns what it came to, the same on every rank.
///
/// # Errors
/// If a setting is out of range, too many steps in a row have no finite loss and gradient, the gang breaks, memory
/// does not even hold slots of one row, or a monitor of any rank cancels or leaves. An error that is this rank's alone aborts
/// the gang, so no other rank waits for it. The model's weights are then not to be used: they may be anywhere.
pub fn train(training: Training<'_>) -> Result<Trained, Error> {
    let gang = training.gang.clone();
    let result = Trainer::new(training).and_then(Trainer::run);
    if let Err(error) = &result
        && !error.is_shared()
    {
        gang.abort(&error.to_string());
    }
    result
}

pub(crate) struct Trainer<'a> {
    pub(crate) job: Training<'a>,
    batches: Batches,
    pub(crate) engine: Box<dyn Engine + 'a>,
    clip: Clip,
    pub(crate) optimizer: Optimizer,
    rate: Rate,
    clock: Clock<'a>,
    /// Of the trainable parameters, in the order of registration.
    pub(crate) names: Vec<&'a str>,
    /// How many numbers are trained.
    count: usize,
    /// Rows per slot; fewer than the settings say once memory has run out.
    pub(crate) micro_batch: usize,
    pub(crate) skipped: usize,
    /// Whether it has ever gone on with another number of ranks.
    pub(crate) resized: bool,
    /// The first step.
    pub(crate) begin: usize,
    /// The steps to do, whoever did the first of them.
    span: Range<usize>,
    /// Of the steps before the present one.
    pub(crate) losses: Vec<StepLoss>,
    pub(crate) frozen: Frozen,
}

/// A step that is done, and what is to follow.
struct Done {
    loss: StepLoss,
    /// A snapshot is wanted.
    keep: bool,
    /// The training ends here, to go on elsewhere.
    leave: bool,
}

impl<'a> Trainer<'a> {
    fn new(job: Training<'a>) -> Result<Self, Error> {
        let plan::Optimizer { passes, batch, micro_batch, .. } = job.settings;
        if micro_batch == 0 {
            return Err(Error::Setting { name: "micro_batch", value: 0.0, range: "at least 1" });
        }
        pairs::check(job.model.head(), job.examples)?;
        let batches = Batches::new(job.examples.len(), batch, passes, job.seed)?;
        let rate = Rate::new(&job.settings, batches.steps())?;
        let clip = Clip::new(job.settings.clip)?;
        let elementwise = job.settings.rule.is_elementwise();
        if !elementwise && job.gang.shards().world() > 1 {
            return Err(Error::Sharded(job.settings.rule));
        }
        if job.numerics.contradicts_itself() {
            return Err(Error::Wire);
        }
        let [trained, still] = parts(job.model, &job.settings)?;
        let numbers = Numbers::from(job.numerics);
        let frozen = match job.gang.holds_all_weights() {
            true => Frozen::cast(job.model, &still.places, numbers.compute)?,
            false => Frozen::default(),
        };
        let take = |places: &[usize], at: usize| Ok(job.model.take(places[at])?);
        let begin = |at: usize| take(&trained.places, at);
        let begin_still = |at: usize| take(&still.places, at);
        let portions = [trained.portion(&begin), still.portion(&begin_still)];
        let engine = engine(job.model, portions, &job.gang, numbers)?;
        let Part { names, extents, .. } = trained;
        // The model has left its old place, which most of what comes next does not fit into.
        fulcrum_torch_shim::memory::trim();
        let shapes = extents.iter().map(|extent| extent.shape.as_slice()).collect::<Vec<_>>();
        let optimizer = Optimizer::new(&job.settings, &engine.own().pieces(elementwise, &shapes))?;
        let count = extents.iter().map(Extent::length).sum();
        let clock = Clock::new(job.model.device(), job.monitor);
        let past = job.past;
        let steps = batches.steps();
        let span = job.span.map_or(0..steps, |span| span.steps(steps));
        let mut trainer = Self {
            job,
            batches,
            engine,
            clip,
            optimizer,
            rate,
            clock,
            names,
            count,
            micro_batch,
            skipped: 0,
            resized: false,
            begin: 0,
            span,
            losses: Vec::new(),
            frozen,
        };
        if let Some(past) = past {
            trainer.resume(past)?;
        }
        let (begin, Range { start, end }) = (trainer.begin, trainer.span.clone());
        if !(start..=end).contains(&begin) {
            let stretch = format!("steps {start} to {end}");
            return Err(Error::State(format!("a training of {stretch} cannot go on from step {begin}")));
        }
        Ok(trainer)
    }

    fn run(mut self) -> Result<Trained, Error> {
        let (steps, Range { start, end }) = (self.batches.steps(), self.span.clone());
        for step in self.begin..end {
            let Done { loss, keep, leave } = self.step(step)?;
            self.losses.push(loss);
            let examples = (step + 1 - start) * self.batches.batch();
            self.job.monitor.timed(&self.clock.time());
            self.job.monitor.progress(Progress { step: step + 1, steps, examples, loss: Some(loss.loss) });
            self.flip()?;
            self.compare(step + 1, keep || step + 1 == end);
            if let Some(keeper) = self.job.keeper.filter(|_| keep) {
                point("snapshot.take")?;
                keeper.keep(self.snapshot(step + 1)?);
            }
            point("step.end")?;
            if leave && step + 1 < end {
                self.leave(step + 1)?;
            }
        }
        self.settle();
        self.clock.begin(Activity::Save);
        point("train.finish")?;
        let (updates, remembered) = (self.optimizer.updates(), self.remembered()?);
        let state = if end < steps { self.hand_over(end)? } else { None };
        let Self { job, mut engine, optimizer, mut frozen, losses, .. } = self;
        // What it remembers makes room for the weights of others.
        drop(optimizer);
        engine.finish(job.everywhere)?;
        frozen.restore();
        Ok(Trained { losses, updates, optimizer: remembered, state })
    }

    /// Ends before the end, with what was kept in safety.
    fn leave(&self, step: usize) -> Result<(), Error> {
        self.clock.begin(Activity::Leave);
        self.job.keeper.iter().for_each(|keeper| keeper.finish());
        Err(Error::Cancelled { step })
    }

    /// Waits until what is to be kept has been read.
    fn settle(&self) {
        self.clock.begin(Activity::Snapshot);
        self.job.keeper.iter().for_each(|keeper| keeper.settle());
    }

    fn step(&mut self, step: usize) -> Result<Done, Error> {
        fault::at_step(step);
        point("step.begin")?;
        self.job.gang.all().begin_step(step);
        self.clock.start(step);
        let agreed = loop {
            match self.gradients(step)? {
                Agreement { out_of_memory: true, .. } => self.halve(step)?,
                agreed => break agreed,
            }
        };
        self.clock.begin(Activity::Optimizer);
        let learning_rate = self.rate.at(step);
        let updated = agreed.finite && self.update(learning_rate)?;
        self.clock.lap(Phase::Optimizer);
        self.skipped = if updated { 0 } else { self.skipped + 1 };
        if self.skipped >= MOST_SKIPPED {
            return Err(Error::NotFinite { step, skipped: self.skipped, loss: agreed.loss });
        }
        let loss = StepLoss { step, loss: agreed.loss, learning_rate, rows: agreed.rows, skipped: !updated };
        Ok(Done { loss, keep: agreed.keep || agreed.leave, leave: agreed.leave })
    }

    /// The gradient of the step's loss, summed over slots and ranks, and what the ranks agree on.
    fn gradients(&mut self, step: usize) -> Result<Agreement, Error> {
        self.clock.in_slot(0);
        self.clock.begin(Activity::Data);
        let batch = self.batches.rows_of(step);
        let terms = self.terms(step, &batch)? as f64;
        let mut shares = self.shares(step, &batch)?;
        self.clock.lap(Phase::Data);
        self.clock.begin(Activity::Forward);
        point("step.data")?;
        let mut tally = Tally::default();
        let global = self.look_ahead(&batch, &mut shares, &mut tally)?;

        self.engine.clear()?;
        let (mine, rounds) = (shares.len(), self.rounds(batch.len()));
        let mut shares = shares.into_iter();
        for round in 0..rounds {
            let (job, steps) = (&self.job, self.batches.steps());
            let loss = |share: &Share, output: &Tensor| {
                let logits;
                let output = match job.model.head() {
                    Some(Head::LanguageModel) => {
                        Output::Speech(Speech { model: job.model, states_btd: output, factor: terms.recip() })
                    }
                    head => {
                        logits = pairs::logits(head, output)?;
                        Output::Logits(&logits)
                    }
                };
                point("step.forward")?;
                let sum = score(job, share, output, global.as_ref(), step, steps)?;
                Ok(sum.f_div_scalar(terms)?)
            };
            self.clock.in_slot(round);
            let share = shares.next();
            share.iter().for_each(|share| tally.consume(step, share));
            match self.engine.pass(share, round + 1 == mine, &loss, &mut self.clock)? {
                Passed::Gave(loss) => tally.add(loss),
                Passed::OutOfMemory => {
                    tally.run_out_of_memory();
                    self.job.monitor.ran_out_of_memory();
                    // By block, every rank gathers as often as the others.
                    if self.job.gang.holds_all_weights() {
                        break;
                    }
                }
                Passed::Nothing => {}
            }
        }
        point("step.backward")?;
        self.clock.begin(Activity::Communication);
        self.engine.reduce()?;
        point("step.reduce")?;
        let slots = self.slots(batch.len());
        let held = self.engine.is_held(slots)?;
        let agreed = tally.agree(&self.job.gang, self.device(), slots, held, self.wishes(step))?;
        self.clock.lap(Phase::Communication);
        point("step.agree")?;
        if agreed.stop { Err(Error::Cancelled { step }) } else { Ok(agreed) }
    }

    fn wishes(&self, step: usize) -> Wishes {
        let keep = self.job.keeper.is_some_and(|keeper| keeper.is_due(step + 1));
        Wishes { stop: self.job.monitor.cancelled(), keep, leave: self.job.monitor.leaving() }
    }

    /// Clips and updates, unless the gradient is not finite, which every rank finds alike.
    fn update(&mut self, learning_rate: f64) -> Result<bool, Error> {
        let exact = self.job.numerics.mode == plan::Mode::Deterministic;
        let gradients = &self.engine.own().gradients;
        let norm = norm(gradients, &**self.job.gang.shards(), exact, self.count)?;
        if !norm.is_finite() {
            return Ok(false);
        }
        point("step.clip")?;
        for gradient in gradients {
            self.clip.apply(gradient, norm)?;
        }
        self.settle();
        self.clock.begin(Activity::Optimizer);
        point("step.update")?;
        self.optimizer.update(learning_rate)?;
        point("step.publish")?;
        self.engine.publish()?;
        Ok(true)
    }

    /// Smaller slots, on every rank.
    fn halve(&mut self, step: usize) -> Result<(), Error> {
        if self.micro_batch == 1 {
            return Err(Error::Memory { step });
        }
        self.micro_batch = self.micro_batch.div_ceil(2);
        tracing::warn!(
            step,
            micro_batch = self.micro_batch,
            "a device is out of memory: slots are halved, the batch stays"
        );
        Ok(())
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
            let sequences = mine.iter().flat_map(|&row| self.job.examples.sequences(row));
            let named = sequences.map(|sequence| sequence as u64).collect();
            let noise = Noise { seed: self.job.seed, step: step as u64, rows: named };
            Ok(Share { rows, padded, noise, logits: None })
        };
        self.slots_of(batch.len(), self.job.gang.all().rank()).map(share).collect()
    }

    /// Slots of a batch of `rows` rows.
    fn slots(&self, rows: usize) -> usize {
        rows.div_ceil(self.micro_batch)
    }

    /// The most slots that a rank has of them.
    pub(crate) fn rounds(&self, rows: usize) -> usize {
        self.slots(rows).div_ceil(self.job.gang.all().world())
    }

    /// Where the slots of a rank stand in such a batch.
    pub(crate) fn slots_of(&self, rows: usize, rank: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (world, size, slots) = (self.job.gang.all().world(), self.micro_batch, self.slots(rows));
        let mine = rank * slots / world..(rank + 1) * slots / world;
        mine.map(move |slot| slot * size..((slot + 1) * size).min(rows))
    }

    pub(crate) fn device(&self) -> Device {
        self.job.model.device()
    }
}

/// Some of the model's parameters, in step: their places in it, their names, themselves, and what the layout wants to know.
#[derive(Default)]
struct Part<'a> {
    places: Vec<usize>,
    names: Vec<&'a str>,
    parameters: Vec<Tensor>,
    extents: Vec<Extent>,
}

impl Part<'_> {
    fn portion<'b>(&self, begin: Begin<'b>) -> Portion<'b> {
        let parameters = self.parameters.iter().map(Tensor::shallow_clone).collect();
        Portion { parameters, begin, extents: self.extents.clone() }
    }
}

/// What is trained, and what is not.
fn parts<'a>(model: &'a Model, settings: &plan::Optimizer) -> Result<[Part<'a>; 2], Error> {
    let named = model.parameters().iter().map(|(name, _)| name.as_str());
    let decay = Decay::new(&settings.no_decay, named)?;
    let (mut trained, mut still) = (Part::default(), Part::default());
    let parameters = model.parameters().iter().zip(model.blocks_of_parameters());
    for (at, ((name, tensor), block)) in parameters.enumerate() {
        let wants = tensor.requires_grad();
        let part = if wants { &mut trained } else { &mut still };
        let decays = wants && decay.applies(name, tensor);
        part.places.push(at);
        part.names.push(name);
        part.parameters.push(tensor.shallow_clone());
        part.extents.push(Extent { shape: tensor.size(), decays, block });
    }
    if trained.places.is_empty() { Err(Error::Frozen) } else { Ok([trained, still]) }
}

/// The sum of a slot's terms, with its graph.
fn score(
    job: &Training<'_>,
    share: &Share,
    output: Output<'_>,
    global: Option<&GlobalBatch>,
    step: usize,
    steps: usize,
) -> Result<Tensor, Error> {
    let (padded, device) = (&share.padded, job.model.device());
    let sum = job.objective.loss(&Slot {
        output,
        ids_bt: &padded.ids_bt.to_device(device),
        mask_bt: &padded.mask_bt.to_device(device),
        predicted_bt: &padded.predicted_bt.to_device(device),
        targets_bc: padded.targets_bc.as_ref(),
        rows: share.rows.clone(),
        step,
        steps,
        global,
    })?;
    if sum.numel() == 1 && sum.requires_grad() {
        return Ok(sum);
    }
    let shape = sum.size();
    Err(Error::Objective(format!("a loss of shape {shape:?} is no scalar that carries gradient")))
}
