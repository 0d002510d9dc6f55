//! Train: finetune a model on ground truth, on weak labels, or as a language model.

use std::sync::Arc;

use fulcrum_collective::Collective;
use fulcrum_common::plan::{self, Head, Part, Train};
use fulcrum_data::Probabilities;
use fulcrum_models::Model;
use fulcrum_train::{Examples, Monitor, Training, write_losses};

use crate::{Error, Job, Outcome, job::parameters, labels, objectives};

/// Name of the file with the loss of every step.
const LOSSES: &str = "losses.jsonl";

/// The input that holds weak labels.
const LABELS: &str = "labels";

pub(crate) fn run(
    job: &Job<'_>,
    work: &Train,
    collective: Arc<dyn Collective>,
    monitor: &dyn Monitor,
) -> Result<Outcome, Error> {
    let loaded = load(job, work);
    if let Err(error) = &loaded {
        // The other members may have loaded well and wait for this one.
        collective.abort(&error.to_string());
    }
    let (model, examples) = loaded?;
    let rank = collective.rank();
    let losses = fulcrum_train::train(Training {
        model: &model,
        examples: &examples,
        objective: &*objectives::objective(work.objective),
        settings: work.optimizer,
        seed: work.seed,
        collective,
        monitor,
    })?;
    let steps = ("steps".to_owned(), losses.len() as u64);
    if rank > 0 {
        return Ok(Outcome { files: Vec::new(), facts: [parameters(&model), steps].into() });
    }
    let mut outcome = job.save(&model, &job.companions("model")?)?;
    write_losses(&job.output.join(LOSSES), &losses)?;
    outcome.files.push(LOSSES.to_owned());
    outcome.facts.extend([steps]);
    Ok(outcome)
}

/// The model under its head, and the rows with their labels.
fn load(job: &Job<'_>, work: &Train) -> Result<(Model, Examples), Error> {
    let (model, _) = job.model("model")?;
    let model = model.with_head(&work.head.head.into(), work.seed)?;
    let examples = job.examples(0..job.fact("tokens", "rows")? as usize, &model)?;
    let examples = match (work.objective, work.head.head) {
        (plan::Objective::LanguageModel, Head::LanguageModel) => examples,
        (
            plan::Objective::CrossEntropy | plan::Objective::Confidence { .. },
            Head::Classifier { classes },
        ) => examples.with_targets(targets(job, work.part, classes)?, classes)?,
        (objective, head) => {
            return Err(Error::Mismatch(format!(
                "a model that ends in {head:?} cannot minimize {objective:?}"
            )));
        }
    };
    Ok((model, examples))
}

/// Weak labels where the stage has them, else the rows' own.
fn targets(job: &Job<'_>, part: Part, classes: usize) -> Result<Vec<f32>, Error> {
    let table = job.table(part)?;
    let named = |error| match error {
        Error::Mismatch(what) => Error::Mismatch(format!("labels of {part}: {what}")),
        other => other,
    };
    if job.stage.spec.inputs.contains_key(LABELS) {
        labels::soft(&table, Probabilities::read(&job.parts(LABELS)?)?, classes).map_err(named)
    } else {
        labels::hard(&table, classes).map_err(named)
    }
}
