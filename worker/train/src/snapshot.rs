//! Where a training stands, so that it can go on from there: on as many ranks, on fewer, or on more.
//!
//! A rank's snapshot holds what the rank owns, by the names of parameters and ranges of their numbers; of what several
//! ranks own, each holds its share. Nothing in it depends on how buffers were laid out, so another layout takes from all
//! snapshots what falls to it.

use std::{collections::BTreeMap, ops::Range};

use fulcrum_common::fault::point;
use tch::Tensor;

use crate::{
    Copies, Error, StepLoss,
    digest::Digest,
    optimizer,
    parallel::{Fragment, Stretch},
    trainer::Trainer,
};

/// What is called the weights themselves, beside the tensors that an optimizer remembers.
pub(crate) const WEIGHTS: &str = "weights";

/// What a rank keeps of a training between two steps.
#[derive(Debug)]
pub struct Snapshot {
    /// Steps done.
    pub step: usize,
    /// Updates of the optimizer; steps that were skipped do not count.
    pub updates: u64,
    /// Steps in a row, up to the last, that were skipped.
    pub skipped: usize,
    /// Rows per slot, which are fewer than the settings say once memory has run out.
    pub micro_batch: usize,
    /// Whether the training has ever gone on with another number of ranks.
    pub resized: bool,
    /// What it owns of each parameter.
    pub parts: Vec<Part>,
    /// What the optimizer remembers where that is not number by number; of rank 0 alone.
    pub memory: BTreeMap<String, Tensor>,
    /// The losses of all steps; of rank 0 alone.
    pub losses: Vec<StepLoss>,
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
    /// Whether this rank asks for one after so many steps. Where one rank asks, all take one.
    fn is_due(&self, steps: usize) -> bool;

    /// Takes one. Its tensors are those that the training goes on to work with: what is to be kept must have been read
    /// when [`Keeper::settle`] comes back.
    fn keep(&self, snapshot: Snapshot);

    /// Whether what this rank holds is to be compared with what others hold alike, after so many steps; `must` where a
    /// snapshot is taken then, or the training ends. The same on every rank.
    fn is_compared(&self, _steps: usize, _must: bool) -> bool {
        false
    }

    /// Compares it. As with snapshots it must have been read when [`Keeper::settle`] comes back. Comes before the
    /// snapshot of the same step.
    fn compare(&self, _steps: usize, _copies: Copies) {}

    /// Comes back once nothing that was given is read any more. Asked before every update.
    fn settle(&self);

    /// Comes back once everything that was given is kept for good, or will not be.
    fn finish(&self);
}

/// Where earlier trainings of the same description have stopped, the latest first.
pub trait Past {
    /// How many such places there are; the same on every rank, and so is their order.
    fn places(&self) -> usize;

    /// The snapshots of a place, as far as they are `wanted`.
    ///
    /// # Errors
    /// If one of them cannot be read, or is not what was kept.
    fn read(&self, place: usize, wanted: Wanted<'_>) -> Result<Vec<Snapshot>, Error>;
}

/// Whether any of these numbers of that parameter are wanted.
pub type Wanted<'a> = &'a dyn Fn(&str, &Range<usize>) -> bool;

/// One place, in memory.
impl Past for Vec<Snapshot> {
    fn places(&self) -> usize {
        1
    }

    fn read(&self, _: usize, wanted: Wanted<'_>) -> Result<Vec<Snapshot>, Error> {
        Ok(self.iter().map(|snapshot| snapshot.of(wanted)).collect())
    }
}

impl Snapshot {
    /// The same without parts that are not wanted. Tensors are shared.
    fn of(&self, wanted: Wanted<'_>) -> Self {
        let share = |tensors: &BTreeMap<String, Tensor>| {
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
        };
        let parts = self.parts.iter().filter(|part| wanted(&part.name, &part.numbers));
        let part = |Part { name, numbers, tensors }: &Part| Part {
            name: name.clone(),
            numbers: numbers.clone(),
            tensors: share(tensors),
        };
        let Self { step, updates, skipped, micro_batch, resized, .. } = *self;
        let (memory, losses) = (share(&self.memory), self.losses.clone());
        let parts = parts.map(part).collect();
        Self { step, updates, skipped, micro_batch, resized, parts, memory, losses }
    }
}

impl Trainer<'_> {
    /// What this rank keeps now, without a copy: the next update changes it.
    pub(crate) fn snapshot(&self, step: usize) -> Result<Snapshot, Error> {
        let first = self.job.gang.all().rank() == 0;
        let elementwise = self.job.settings.rule.is_elementwise();
        let part = |fragment: Fragment| {
            let tensors =
                self.places(&fragment)?.into_iter().map(|(kind, it)| (kind.to_owned(), it)).collect();
            Ok(Part { name: self.names[fragment.parameter].to_owned(), numbers: fragment.numbers, tensors })
        };
        let parts = self.mine().into_iter().map(part).collect::<Result<_, Error>>()?;
        let memory = match first && !elementwise {
            true => self.optimizer.state()?.tensors,
            false => BTreeMap::new(),
        };
        let losses = if first { self.losses.clone() } else { Vec::new() };
        let (updates, skipped, micro_batch) = (self.optimizer.updates(), self.skipped, self.micro_batch);
        Ok(Snapshot { step, updates, skipped, micro_batch, resized: self.resized, parts, memory, losses })
    }

    /// Digest of what the optimizer remembers, over all ranks.
    pub(crate) fn remembered(&self) -> Result<u64, Error> {
        let (gang, mut digest) = (&self.job.gang, Digest::default());
        if self.job.settings.rule.is_elementwise() {
            for fragment in self.mine() {
                let name = self.names[fragment.parameter];
                let memory = self.places(&fragment)?.into_iter().filter(|(kind, _)| *kind != WEIGHTS);
                for (kind, numbers) in memory {
                    digest.see(&format!("{name} {kind}"), fragment.numbers.start, &numbers)?;
                }
            }
        } else if gang.all().rank() == 0 {
            // Every rank has all of it.
            for (name, tensor) in self.optimizer.state()?.tensors {
                digest.see(&name, 0, &tensor)?;
            }
        }
        digest.over(gang, self.device())
    }

    /// This rank's share of what it and others own alike.
    fn mine(&self) -> Vec<Fragment> {
        let own = self.engine.own();
        let (copies, length) = (self.job.gang.copies(), own.layout.length / own.layout.shards);
        let at = |copy: usize| copy * length / copies.world();
        let mine = at(copies.rank())..at(copies.rank() + 1);
        let fragments = own.layout.fragments(own.rank).into_iter();
        fragments.filter_map(|fragment| fragment.within(&mine)).collect()
    }

    /// Goes on from the latest place that every rank can read; from the beginning where there is none.
    pub(crate) fn resume(&mut self, past: &dyn Past) -> Result<(), Error> {
        let own = self.engine.own();
        let fragments = own.layout.fragments(own.rank);
        let wanted = |name: &str, numbers: &Range<usize>| {
            let overlaps = |mine: &Range<usize>| mine.start < numbers.end && numbers.start < mine.end;
            fragments.iter().any(|it| self.names[it.parameter] == name && overlaps(&it.numbers))
        };
        for place in 0..past.places() {
            point("train.restore.before")?;
            let read = past.read(place, &wanted);
            if let Err(error) = &read {
                tracing::warn!("a checkpoint cannot be read, an earlier one is taken: {error}");
            }
            if self.job.gang.all_agree(read.is_ok(), self.device())?
                && let Ok(snapshots) = read
            {
                self.restore(&snapshots)?;
                return Ok(point("train.restore.after")?);
            }
        }
        Ok(())
    }

    /// Goes on from snapshots.
    fn restore(&mut self, snapshots: &[Snapshot]) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        let Some(first) = snapshots.first() else {
            return Err(Error::State("there are no snapshots to go on from".into()));
        };
        let says = |it: &Snapshot| (it.step, it.updates, it.skipped, it.micro_batch);
        if snapshots.iter().any(|other| says(other) != says(first)) {
            return Err(Error::State("the snapshots are of different steps".into()));
        }
        let fragments = {
            let own = self.engine.own();
            own.layout.fragments(own.rank)
        };
        fragments.iter().try_for_each(|fragment| self.fill(fragment, snapshots))?;
        self.optimizer.resume(first.updates);
        if !self.job.settings.rule.is_elementwise() {
            let memory = snapshots.iter().flat_map(|snapshot| &snapshot.memory);
            let tensors = memory.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
            self.optimizer.restore(&optimizer::State { updates: first.updates, tensors })?;
        }
        self.resized = first.resized || snapshots.len() != self.job.gang.all().world();
        (self.begin, self.skipped, self.micro_batch) = (first.step, first.skipped, first.micro_batch.max(1));
        self.losses = snapshots.iter().flat_map(|snapshot| snapshot.losses.iter().copied()).collect();
        if self.losses.len() != self.begin {
            let problem = format!("{} losses of {} steps", self.losses.len(), self.begin);
            return Err(Error::State(format!("the snapshots have {problem}")));
        }
        self.engine.publish()
    }

    /// Takes a fragment's numbers from whichever snapshots hold them.
    fn fill(&self, fragment: &Fragment, snapshots: &[Snapshot]) -> Result<(), Error> {
        let name = self.names[fragment.parameter];
        let places = self.places(fragment)?;
        let mut found = 0;
        for part in snapshots.iter().flat_map(|snapshot| &snapshot.parts).filter(|part| part.name == name) {
            let (mine, theirs) = (&fragment.numbers, &part.numbers);
            let common = mine.start.max(theirs.start)..mine.end.min(theirs.end);
            if common.is_empty() {
                continue;
            }
            for (kind, place) in &places {
                let Some(tensor) = part.tensors.get(*kind).filter(|tensor| tensor.numel() == theirs.len())
                else {
                    return Err(Error::State(format!("the snapshot has no whole {kind:?} of {name}")));
                };
                let (from, length) = ((common.start - theirs.start) as i64, common.len() as i64);
                let mut place = place.f_narrow(0, (common.start - mine.start) as i64, length)?;
                place.f_copy_(&tensor.f_narrow(0, from, length)?)?;
            }
            found += common.len();
        }
        if found == fragment.numbers.len() {
            return Ok(());
        }
        let Range { start, end } = fragment.numbers;
        let what = format!("the numbers {start} to {end} of {name}, each once");
        Err(Error::State(format!("the snapshots do not have {what}")))
    }

    /// Where this rank holds a fragment's weights, and what its optimizer remembers of them, by name.
    pub(crate) fn places(&self, fragment: &Fragment) -> Result<BTreeMap<&'static str, Tensor>, Error> {
        let own = self.engine.own();
        let mut places = BTreeMap::from([(WEIGHTS, own.weights_of(fragment)?)]);
        if self.job.settings.rule.is_elementwise() {
            let stretches = own.layout.stretches(own.rank);
            for (kind, pieces) in self.optimizer.memory() {
                places.insert(kind, cut(pieces, &stretches, fragment)?);
            }
        }
        Ok(places)
    }
}

/// What the pieces of an optimizer's memory, one for each stretch, hold of a fragment.
fn cut(pieces: &[Tensor], stretches: &[Stretch], fragment: &Fragment) -> Result<Tensor, Error> {
    let at = stretches.partition_point(|stretch| stretch.own.end <= fragment.own);
    let from = fragment.own - stretches[at].own.start;
    Ok(pieces[at].f_view(-1)?.f_narrow(0, from as i64, fragment.numbers.len() as i64)?)
}
