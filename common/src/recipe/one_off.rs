//! Plans of a single finetuning or a single run of a model over files, for `fulcrum train` and `fulcrum infer`.

use std::{collections::BTreeMap, num::NonZeroUsize};

use super::{
    RecipeError, estimate,
    outside::{files, locations, model_location},
};
use crate::{
    Key,
    experiment::{Batches, Training},
    plan::{
        Estimate, Format, Head, HeadInit, HeadSpec, Infer, Numerics, Objective, Output, Part, Plan, Prepare,
        Readout, Sampling, Spec, Strategy, Style, Train, Work,
    },
    source::{ModelFolder, Purpose, SourceFile},
};

/// One finetuning of a pretrained model on files.
#[derive(Clone, Debug)]
pub struct Finetuning {
    /// The rows, and where they lie.
    pub files: Vec<SourceFile>,
    /// How a row becomes text and label. With a label a classifier is trained, without one a language model.
    pub format: Format,
    /// The column with a probability for each class, and how many classes there are: a classifier is trained on these
    /// in place of labels.
    pub soft_labels: Option<(String, usize)>,
    /// How a new classifier begins.
    pub init: HeadInit,
    /// Which state a classifier reads; none for the model's own.
    pub readout: Option<Readout>,
    /// How.
    pub training: Training,
    /// In which numbers.
    pub numerics: Numerics,
    /// Who holds what.
    pub strategy: Strategy,
    /// Seed of the row order and of a fresh head.
    pub seed: u64,
}

/// A plan whose last stage is the finetuned model.
///
/// # Errors
/// If rows without labels are to train a model that is no language model.
pub fn train(model: &ModelFolder, finetuning: &Finetuning) -> Result<Plan, RecipeError> {
    let Finetuning { files, format, soft_labels, init, readout, training, numerics, strategy, seed } =
        finetuning;
    let classes = soft_labels.as_ref().map(|(_, classes)| *classes).or(format.classes());
    let (head, objective) = match (classes, model.purpose) {
        (Some(classes), _) => (Head::Classifier { classes }, Objective::CrossEntropy),
        (None, Purpose::LanguageModel) => (Head::LanguageModel, Objective::LanguageModel),
        (None, _) => return Err(RecipeError::NoLabel { model: model.path.display().to_string() }),
    };
    let mut plan = Plan::default();
    let mut inputs = prepare(&mut plan, model, files, format, training.max_tokens);
    if let Some((column, classes)) = soft_labels.clone() {
        let labels =
            Work::Prepare(Prepare::SoftLabels { source: super::outside::files(files), column, classes });
        let of = inputs.iter().filter(|(role, _)| *role == "data").map(|(role, key)| (role.clone(), *key));
        let spec = Spec { work: labels, inputs: of.collect() };
        let labels = plan.add_located("soft labels", spec, Estimate::default(), locations(files));
        inputs.insert("labels".to_owned(), labels);
    }
    let work = Work::Train(Train {
        part: Part::Rows,
        head: HeadSpec { head, init: init.clone(), readout: *readout },
        trainable: training.trainable.clone(),
        lora: training.lora.clone(),
        objective,
        optimizer: training.optimizer.clone(),
        numerics: *numerics,
        strategy: *strategy,
        span: None,
        seed: *seed,
    });
    plan.add("train", Spec { work, inputs }, estimate(0, 0));
    Ok(plan)
}

/// A plan whose last stage is the model's output for every row of the files: class probabilities of a classifier,
/// log-probabilities of a language model. `text` is a template over a row's columns, e.g. `{{ text }}`.
///
/// # Errors
/// If the model is neither.
pub fn infer(
    model: &ModelFolder,
    files: &[SourceFile],
    text: &str,
    batches: Batches,
    max_tokens: usize,
) -> Result<Plan, RecipeError> {
    let output = match model.purpose {
        Purpose::Classifier => Output::Probabilities,
        Purpose::LanguageModel => Output::LogProbability,
        Purpose::Base | Purpose::Images => {
            return Err(RecipeError::NoHead { model: model.path.display().to_string() });
        }
    };
    let mut plan = Plan::default();
    let inputs = prepare(&mut plan, model, files, &Format::unlabelled(text), max_tokens);
    let Batches { batch_tokens, shard, poison_rows } = batches;
    let work = Work::Infer(Infer { part: Part::Rows, output, batch_tokens, shard, poison_rows });
    plan.add("infer", Spec { work, inputs }, estimate(0, 0));
    Ok(plan)
}

/// A plan whose last stage is what a language model says after the prompt of every row of the files. `prompt` is a
/// template over a row's columns; workers take `shard` rows at a time.
///
/// # Errors
/// If the model is no language model, or there is nothing to draw so.
pub fn generate(
    model: &ModelFolder,
    files: &[SourceFile],
    prompt: &str,
    sampling: &Sampling,
    shard: NonZeroUsize,
) -> Result<Plan, RecipeError> {
    if model.purpose != Purpose::LanguageModel {
        return Err(RecipeError::NotSpeaking { model: model.path.display().to_string() });
    }
    sampling.check().map_err(RecipeError::Sampling)?;
    let (new, context) = (sampling.max_new_tokens, model.positions);
    if new >= context {
        let message =
            format!("max_new_tokens = {new} leaves no room for a prompt: the model reads {context} tokens");
        return Err(RecipeError::Sampling(message));
    }
    let mut plan = Plan::default();
    let inputs = bring(&mut plan, model, files, &Format::unlabelled(prompt));
    let output = Output::Completions(sampling.clone());
    let (shard, poison_rows) = (shard.get(), Infer::POISON_ROWS);
    // Completions go by slots and not by tokens, so there is no budget of these.
    let work = Work::Infer(Infer { part: Part::Rows, output, batch_tokens: 1, shard, poison_rows });
    plan.add("generate", Spec { work, inputs }, estimate(0, 0));
    Ok(plan)
}

/// The stages that bring model, rows and tokens into the store, as the inputs of what follows. How many rows there
/// are is only known once the files are read, so nothing here has an estimate.
fn prepare(
    plan: &mut Plan,
    model: &ModelFolder,
    rows: &[SourceFile],
    format: &Format,
    max_tokens: usize,
) -> BTreeMap<String, Key> {
    let mut inputs = bring(plan, model, rows, format);
    let max_tokens = max_tokens.min(model.positions);
    let tokens = Work::Prepare(Prepare::Tokens { part: Part::Rows, max_tokens, style: Style::Plain });
    let spec = Spec { work: tokens, inputs: inputs.clone() };
    inputs.insert("tokens".to_owned(), plan.add("tokens", spec, Estimate::default()));
    inputs
}

/// The stages that bring model and rows alone.
fn bring(
    plan: &mut Plan,
    model: &ModelFolder,
    rows: &[SourceFile],
    format: &Format,
) -> BTreeMap<String, Key> {
    let work = |prepare, inputs| Spec { work: Work::Prepare(prepare), inputs };
    let unknown = Estimate::default();
    let checkpoint =
        work(Prepare::Model { digest: model.digest, layers: None, adapter: None }, BTreeMap::new());
    let table = work(Prepare::Rows { source: files(rows), format: format.clone() }, BTreeMap::new());
    BTreeMap::from([
        ("model".to_owned(), plan.add_located("model", checkpoint, unknown, model_location(model, None))),
        ("data".to_owned(), plan.add_located("rows", table, unknown, locations(rows))),
    ])
}
