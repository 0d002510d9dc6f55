//! Objectives that look at the whole global batch: its logits, before the step.
//!
//! Shape suffixes: b rows of a slot, n rows of the global batch, c classes.

use fulcrum_common::fault::point;
use tch::{Kind, Tensor};

use crate::{
    Error, GlobalBatch,
    agreement::Tally,
    pairs,
    parallel::{Passed, Share},
    trainer::Trainer,
};

impl Trainer<'_> {
    /// For objectives that ask for it: the logits of the whole global batch, from a first pass without gradient over
    /// this rank's slots, under the noise of the second. A rank that holds all weights and has a single slot keeps the
    /// graph instead of making it twice; more would not fit in the memory that slots are there to bound.
    pub(crate) fn look_ahead(
        &mut self,
        batch: &[usize],
        shares: &mut [Share],
        tally: &mut Tally,
    ) -> Result<Option<GlobalBatch>, Error> {
        if !self.job.objective.wants_global_batch() {
            return Ok(None);
        }
        let head = self.job.model.head();
        let Some(classes) = pairs::classes(head) else {
            let reason = "only a classifier or a reward has logits for the whole global batch";
            return Err(Error::Objective(reason.into()));
        };
        point("step.look_ahead")?;
        let mut mine = Vec::with_capacity(shares.len());
        let keep = shares.len() == 1;
        for round in 0..self.rounds(batch.len()) {
            match self.engine.look(shares.get_mut(round), keep)? {
                Passed::Gave(output) => mine.push(pairs::logits(head, &output)?),
                Passed::OutOfMemory => tally.run_out_of_memory(),
                Passed::Nothing => {}
            }
        }
        // Where memory has run out the step is done again; until then every rank gathers the same shape.
        if mine.len() < shares.len() {
            mine.clear();
        }
        let logits_nc = self.gather(&mine, classes, batch.len())?;
        let targets_nc = self.job.examples.targets(batch, self.device());
        Ok(Some(GlobalBatch { logits_nc, targets_nc }))
    }

    /// All ranks' logits in the order of the global batch. Shares differ in length, and what is gathered must
    /// not, so each is padded to the longest.
    fn gather(&self, mine: &[Tensor], classes: usize, rows: usize) -> Result<Tensor, Error> {
        let all = self.job.gang.all();
        let lengths: Vec<usize> =
            (0..all.world()).map(|rank| self.slots_of(rows, rank).map(|slot| slot.len()).sum()).collect();
        let (longest, classes) = (lengths.iter().copied().max().unwrap_or(0) as i64, classes as i64);
        let zeros = |rows| Tensor::f_zeros([rows, classes], (Kind::Float, self.device()));
        let (share, whole) = (zeros(longest)?, zeros(longest * all.world() as i64)?);
        if !mine.is_empty() {
            let logits_bc = Tensor::f_cat(mine, 0)?;
            share.narrow(0, 0, logits_bc.size()[0]).f_copy_(&logits_bc)?;
        }
        all.all_gather(&whole, &share)?.wait()?;
        let cut = |(rank, &length): (usize, &usize)| whole.narrow(0, rank as i64 * longest, length as i64);
        Ok(Tensor::f_cat(&lengths.iter().enumerate().map(cut).collect::<Vec<_>>(), 0)?)
    }
}
