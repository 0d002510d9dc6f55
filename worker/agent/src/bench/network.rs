//! The model that is measured, and its rows.

use fulcrum_common::{
    bench::{Model as Named, Network, Rows},
    plan::{Head, Numerics, Strategy},
};
use fulcrum_methods::objectives;
use fulcrum_models::{Model, ModelFiles, NewHead};
use fulcrum_train::{Examples, Objective};
use tch::Device;

/// The model, with the head that is asked for, outlined only.
///
/// # Errors
/// If it cannot be read or made, or does not take rows of that length.
pub(super) fn model(rows: &Rows, seed: u64, device: Device) -> anyhow::Result<Model> {
    let model = match &rows.model {
        Named::Folder(folder) => Model::outline(&ModelFiles::in_folder(folder), device)?,
        Named::Shape(shape) => Model::outline_random(shape.config(), seed, device)?,
    };
    let most = model.max_tokens();
    anyhow::ensure!(
        rows.seq <= most,
        "--seq {} is more than the {most} tokens that the model takes",
        rows.seq
    );
    Ok(model.with_head(&NewHead::from(rows.head), seed)?)
}

/// Rows `first` to `first + count` of the stream, labelled where the model is a classifier.
///
/// # Errors
/// If there is nothing to predict.
pub(super) fn examples(
    rows: &Rows,
    first: usize,
    count: usize,
    model: &Model,
    seed: u64,
) -> anyhow::Result<Examples> {
    let numbers = first..first + count;
    let ids = numbers.clone().map(|row| rows.ids(row, model.vocab_size(), seed)).collect();
    let examples = Examples::new(ids, 0)?;
    let Head::Classifier { classes } = rows.head else { return Ok(examples) };
    let one_hot = |row| (0..classes).map(move |class| f32::from(u8::from(class == rows.class(row, seed))));
    Ok(examples.with_targets(numbers.flat_map(one_hot).collect(), classes)?)
}

/// What is minimized.
pub(super) fn objective(head: Head) -> Box<dyn Objective> {
    use fulcrum_common::plan::Objective as Named;
    objectives::objective(match head {
        Head::LanguageModel => Named::LanguageModel,
        Head::Classifier { .. } | Head::Reward => Named::CrossEntropy,
    })
}

/// The model's part of a report, without rates.
pub(super) fn told(rows: &Rows, model: &Model, strategy: Strategy, numerics: Numerics) -> Network {
    let name = match &rows.model {
        Named::Folder(folder) => folder.display().to_string(),
        Named::Shape(shape) => shape.to_string(),
    };
    let head = if rows.head == Head::LanguageModel { "lm" } else { "classifier" };
    Network {
        model: name,
        head: head.to_owned(),
        parameters: model.parameter_count(),
        batch: rows.batch,
        seq: rows.seq,
        precision: numerics.precision,
        wire: numerics.wire,
        strategy,
        overlap: true,
        examples_per_s: 0.0,
        tokens_per_s: 0.0,
        mfu: None,
    }
}
