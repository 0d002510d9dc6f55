//! How long work tells the outside where it stands, and hears that it should stop.

use fulcrum_common::flight::Activity;

use crate::StepTime;

/// Where a piece of work stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps (or batches) done.
    pub step: usize,
    /// Steps (or batches) in all.
    pub steps: usize,
    /// Examples that this worker's gang has processed so far, repeats counted.
    pub examples: usize,
    /// Mean loss of the last global batch, while training; NaN where that is not finite.
    pub loss: Option<f64>,
}

/// The side that watches.
pub trait Monitor: Sync {
    /// Called after every step or batch; must return quickly.
    fn progress(&self, progress: Progress);

    /// Asked between steps. Once true it stays true.
    fn cancelled(&self) -> bool;

    /// Asked between steps of a training: whether this rank is to leave, so that all finish the step, keep a snapshot
    /// and end. Once true it stays true.
    fn leaving(&self) -> bool {
        false
    }

    /// Called whenever this rank begins to do something else, with the step of a training and the slot of its share; must
    /// return at once.
    fn does(&self, _what: Activity, _step: usize, _slot: usize) {}

    /// Called when these rows of an inference, by their numbers in their source, begin to go through the model.
    fn rows(&self, _rows: &[i64]) {}

    /// Called when memory did not hold the slot that this rank was in.
    fn ran_out_of_memory(&self) {}

    /// Called after every step of a training, before [`Monitor::progress`]: where this rank's time went.
    fn timed(&self, _time: &StepTime) {}

    /// Whether [`Monitor::timed`] is listened to. On a GPU the times then are true, and steps a little slower.
    fn reads_times(&self) -> bool {
        false
    }
}

/// Nobody watches.
impl Monitor for () {
    fn progress(&self, _: Progress) {}

    fn cancelled(&self) -> bool {
        false
    }
}
