//! The whole state of a training in the hands of the first rank, for the stage that does the next stretch of its steps.
//!
//! Unlike snapshots, which each rank keeps of its own, these are the same bytes whoever held what.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::{
    Error, Part, Snapshot, Wanted,
    checkpoint::{Files, Header},
    parallel::Fragment,
    snapshot::WEIGHTS,
    trainer::Trainer,
};

/// The numbers of a parameter by what they are.
type Held = BTreeMap<&'static str, Tensor>;

impl Trainer<'_> {
    /// The state after so many steps, on rank 0 of the gang; the others help it.
    pub(crate) fn hand_over(&self, step: usize) -> Result<Option<Files>, Error> {
        let _guard = tch::no_grad_guard();
        let gang = &self.job.gang;
        // Every copy holds the same.
        if gang.copies().rank() > 0 {
            return Ok(None);
        }
        let mut whole: BTreeMap<usize, Held> = BTreeMap::new();
        let layout = self.engine.own().layout.clone();
        for owner in 0..gang.shards().world() {
            for fragment in layout.fragments(owner) {
                for (kind, numbers) in self.shown(&fragment, owner)? {
                    if gang.shards().rank() > 0 {
                        continue;
                    }
                    let length = layout.places[fragment.parameter].length as i64;
                    let empty = || Tensor::zeros([length], (Kind::Float, Device::Cpu));
                    let held = whole.entry(fragment.parameter).or_default().entry(kind).or_insert_with(empty);
                    let (from, length) = (fragment.numbers.start as i64, fragment.numbers.len() as i64);
                    held.f_narrow(0, from, length)?.f_copy_(&numbers)?;
                }
            }
        }
        if gang.all().rank() > 0 {
            return Ok(None);
        }
        let part = |(parameter, held): (usize, Held)| Part {
            name: self.names[parameter].to_owned(),
            numbers: 0..layout.places[parameter].length,
            tensors: held.into_iter().map(|(kind, tensor)| (kind.to_owned(), tensor)).collect(),
        };
        let parts = whole.into_iter().map(part).collect();
        Files::of(&Snapshot { parts, resized: false, ..self.snapshot(step)? }).map(Some)
    }

    /// What `owner` holds of a fragment, on every rank of its group.
    fn shown(&self, fragment: &Fragment, owner: usize) -> Result<Held, Error> {
        let shards = self.job.gang.shards();
        let held = if owner == shards.rank() {
            self.places(fragment)?
        } else {
            let kinds = self.optimizer.memory().into_iter().map(|(kind, _)| kind);
            let remembered = kinds.filter(|_| self.job.settings.rule.is_elementwise());
            let empty = Tensor::f_zeros([fragment.numbers.len() as i64], (Kind::Float, self.device()))?;
            let empty = |kind| Ok((kind, empty.f_empty_like()?));
            [WEIGHTS].into_iter().chain(remembered).map(empty).collect::<Result<_, Error>>()?
        };
        if shards.world() > 1 {
            for numbers in held.values() {
                shards.broadcast(numbers, owner)?.wait()?;
            }
        }
        Ok(held)
    }
}

impl Files {
    /// What a gang of `world` ranks goes on from: as if its first rank had kept all.
    ///
    /// # Errors
    /// If the files are not what a training left.
    pub fn handed_over(&self, world: usize, wanted: Wanted<'_>) -> Result<Vec<Snapshot>, Error> {
        let header = Header::read(&self.header)?;
        let first = header.snapshot(&self.tensors, wanted)?;
        let Snapshot { step, updates, skipped, micro_batch, resized, .. } = first;
        let (parts, memory, losses) = (Vec::new, BTreeMap::new, Vec::new);
        let other = |_| Snapshot {
            step,
            updates,
            skipped,
            micro_batch,
            resized,
            parts: parts(),
            memory: memory(),
            losses: losses(),
        };
        Ok(std::iter::once(first).chain((1..world).map(other)).collect())
    }
}
