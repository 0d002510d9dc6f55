//! Passes of a model over rows of tokens, timed: what an infer stage does between reading its model and writing
//! its part. One side of `benchmarks/inference.py`, which explains what is measured.
//!
//! `infer_rows MODEL TOKENS BATCH_TOKENS SHARD THREADS` reads a model folder and a folder with `tokens.bin` and
//! `offsets.bin`. For each line of standard input it goes over the rows once and prints one line of JSON.

use std::{env, io, path::Path, time::Instant};

use anyhow::{Result, bail};
use fulcrum_common::plan::Head;
use fulcrum_models::{Model, ModelFiles};
use fulcrum_train::{Examples, TokenFiles, log_probabilities, probabilities};
use serde_json::json;
use tch::Device;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, tokens, numbers @ ..] = arguments.as_slice() else { bail!("infer_rows MODEL TOKENS ...") };
    let numbers = numbers.iter().map(|number| number.parse()).collect::<Result<Vec<usize>, _>>()?;
    let &[batch_tokens, shard, threads] = numbers.as_slice() else {
        bail!("infer_rows MODEL TOKENS BATCH_TOKENS SHARD THREADS")
    };
    tch::set_num_threads(i32::try_from(threads)?);
    let files = ModelFiles::in_folder(Path::new(model));
    let model = Model::load(&files, Device::Cpu)?;
    for _ in io::stdin().lines() {
        let begun = Instant::now();
        let values = pass(&model, Path::new(tokens), batch_tokens, shard.max(1))?;
        let seconds = begun.elapsed().as_secs_f64();
        println!("{}", json!({ "rows": values.len(), "seconds": seconds, "values": values }));
    }
    Ok(())
}

/// One number per row: the probability of the last class, or the log-probability.
fn pass(model: &Model, folder: &Path, batch_tokens: usize, shard: usize) -> Result<Vec<f64>> {
    let (tokens, offsets) = (folder.join("tokens.bin"), folder.join("offsets.bin"));
    let files = TokenFiles { tokens: &tokens, offsets: &offsets, prompts: None };
    let rows = usize::try_from(offsets.metadata()?.len() / 8)?.saturating_sub(1);
    let mut values = Vec::with_capacity(rows);
    for start in (0..rows).step_by(shard) {
        let range = start..rows.min(start + shard);
        let examples = Examples::open(&files, range, model.vocab_size(), 0)?;
        if model.head() == Some(Head::LanguageModel) {
            let found = log_probabilities(model, &examples, batch_tokens, &())?;
            values.extend(found.iter().map(|row| row.log_probability));
        } else {
            let found = probabilities(model, &examples, batch_tokens, &())?;
            values.extend(found.iter().filter_map(|row| row.last()).map(|&value| f64::from(value)));
        }
    }
    Ok(values)
}
