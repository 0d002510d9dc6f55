//! What each kind of stage does, and what the published methods add to the common machinery: files in, files out.
//!
//! Reading order: [`run`], `job` (what a stage is given and leaves), then one file per kind of work, and
//! [`objectives`], one file per published loss.
//!
//! Nothing here knows of processes, networks or the store.

mod embed;
mod error;
mod generate;
mod infer;
mod job;
mod labels;
mod measure;
mod merge;
pub mod objectives;
mod prepare;
mod prompt;
mod revise;
mod train;

use fulcrum_common::plan::Work;
pub use fulcrum_train::{Error as TrainError, Gang, Keeper, Monitor, Past, Progress, Snapshot, Wanted};

pub use error::Error;
pub use job::{Input, Job, Outcome, Shard};

/// What a training keeps, and where it may go on from.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    /// Takes snapshots.
    pub keeper: &'a dyn Keeper,
    /// Gives them back.
    pub past: &'a dyn Past,
}

/// Runs a stage, or one shard of it. All members of a gang call this with the same job; rank 0 leaves the files.
///
/// With `kept` a training goes on where one of the same stage stopped; other work begins anew.
///
/// The files are a function of the stage's description and inputs alone.
///
/// # Errors
/// See [`Error`]; [`Error::is_membership`] and [`Error::retry`] say what to do about it. On an error the gang is
/// broken off, so that no other member waits.
pub fn run(
    job: &Job<'_>,
    gang: &Gang,
    monitor: &dyn Monitor,
    kept: Option<Kept<'_>>,
) -> Result<Outcome, Error> {
    match &job.stage.spec.work {
        Work::Prepare(prepare) => prepare::run(job, prepare),
        Work::Train(train) => train::run(job, train, gang, monitor, kept),
        Work::Infer(infer) => infer::run(job, infer, monitor),
        Work::Merge(merge) => merge::run(job, *merge),
        Work::Measure(measure) => measure::run(job, measure),
    }
}
