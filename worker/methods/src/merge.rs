//! Merge: one model out of several of the same shape, or one prediction out of several of the same rows.

use std::fs;

use fulcrum_common::plan::Merge;
use fulcrum_data::Probabilities;
use fulcrum_models::Model;
use tch::{Kind, Tensor};

use crate::{Error, Job, Outcome, job::part_name, labels};

pub(crate) fn run(job: &Job<'_>, work: Merge) -> Result<Outcome, Error> {
    match work {
        Merge::Average => average(job),
        Merge::Predictions => predictions(job),
    }
}

/// The mean of what several models say of the same rows, in the order of the first.
fn predictions(job: &Job<'_>) -> Result<Outcome, Error> {
    let count = job.stage.spec.inputs.len();
    let read = |at: usize| Ok::<_, Error>(Probabilities::read(&job.parts(&format!("labels/{at}"))?)?);
    let Probabilities { rows, probabilities } = read(0)?;
    let mut sums: Vec<Vec<f64>> = probabilities.into_iter().map(in_f64).collect();
    for at in 1..count {
        for (sum, row) in sums.iter_mut().zip(labels::join(&rows, read(at)?)?) {
            if row.len() != sum.len() {
                let (found, expected) = (row.len(), sum.len());
                return Err(Error::Mismatch(format!(
                    "labels/{at} has {found} classes, labels/0 has {expected}"
                )));
            }
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(value));
        }
    }
    let mean = |sums: Vec<f64>| sums.into_iter().map(|sum| (sum / count as f64) as f32).collect();
    let probabilities = sums.into_iter().map(mean).collect();
    let (file, facts) = (part_name(0), [("rows".to_owned(), rows.len() as u64)].into());
    Probabilities { rows, probabilities }.write(&job.output.join(&file))?;
    Ok(Outcome { files: vec![file], facts })
}

fn in_f64(row: Vec<f32>) -> Vec<f64> {
    row.into_iter().map(f64::from).collect()
}

fn average(job: &Job<'_>) -> Result<Outcome, Error> {
    let (model, tokenizer) = job.model("model/0")?;
    let text = fs::read(tokenizer).map_err(Error::io(tokenizer))?;
    let mut sums: Vec<Tensor> = model.parameters().iter().map(|(_, tensor)| double(tensor)).collect();
    let count = job.stage.spec.inputs.len();
    for at in 1..count {
        let role = format!("model/{at}");
        let (other, path) = job.model(&role)?;
        if fs::read(path).map_err(Error::io(path))? != text {
            return Err(Error::Mismatch(format!("{role} has another tokenizer than model/0")));
        }
        add(&mut sums, &model, &other, &role)?;
    }
    for ((_, tensor), sum) in model.parameters().iter().zip(sums) {
        let mean = sum.f_div_scalar(count as f64)?.f_to_kind(Kind::Float)?;
        tch::no_grad(|| tensor.shallow_clone().f_copy_(&mean))?;
    }
    job.save(&model, &job.companions("model/0")?)
}

/// Sums are taken in f64, in the order of the inputs.
fn double(tensor: &Tensor) -> Tensor {
    tensor.detach().to_kind(Kind::Double)
}

fn add(sums: &mut [Tensor], first: &Model, other: &Model, role: &str) -> Result<(), Error> {
    let shape = |model: &Model| {
        model.parameters().iter().map(|(name, tensor)| (name.clone(), tensor.size())).collect::<Vec<_>>()
    };
    let (expected, found) = (shape(first), shape(other));
    if expected != found {
        let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        let what = differs.map_or_else(|| "the number of tensors".to_owned(), |((name, _), _)| name.clone());
        return Err(Error::Mismatch(format!(
            "{role} differs from model/0 in {what}: only like models have a mean"
        )));
    }
    for (sum, (_, tensor)) in sums.iter_mut().zip(other.parameters()) {
        *sum += double(tensor);
    }
    Ok(())
}
