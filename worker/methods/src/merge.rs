//! Merge: one model out of several of the same shape, or one prediction out of several of the same rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use fulcrum_common::{
    metrics,
    plan::{Merge, Part},
    source::{ADAPTER_FILES, COMPANIONS},
};
use fulcrum_data::Probabilities;
use fulcrum_models::{Model, ModelFiles};
use tch::{Kind, Tensor};

use crate::{
    Error, Job, Outcome,
    job::{left_out as left_out_facts, part_name},
    labels,
};

pub(crate) fn run(job: &Job<'_>, work: Merge) -> Result<Outcome, Error> {
    match work {
        Merge::Average => average(job),
        Merge::Predictions => predictions(job),
        Merge::Best => best(job),
    }
}

/// The mean of what several models say of the same rows, in the order of the first.
fn predictions(job: &Job<'_>) -> Result<Outcome, Error> {
    let count = job.stage.spec.inputs.len();
    let all = (0..count).map(|at| job.prediction(&format!("labels/{at}")));
    let mut all = all.collect::<Result<Vec<_>, _>>()?;
    // There is no mean of what one of them lacks.
    let left_out: BTreeSet<i64> = all.iter().flat_map(|one| &one.left_out).copied().collect();
    all.iter_mut().for_each(|one| one.leave_out(&left_out));
    let mut all = all.into_iter();
    let Probabilities { rows, probabilities } = all.next().unwrap_or_default().found;
    let mut sums: Vec<Vec<f64>> = probabilities.into_iter().map(in_f64).collect();
    for (at, one) in (1..).zip(all) {
        for (sum, row) in sums.iter_mut().zip(labels::join(&rows, one)?.into_iter().flatten()) {
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
    let mut facts = left_out_facts(left_out);
    facts.insert("rows".to_owned(), rows.len() as u64);
    let file = part_name(0);
    Probabilities { rows, probabilities }.write(&job.output.join(&file))?;
    Ok(Outcome { files: vec![file], facts })
}

/// One of several models, as it is.
fn best(job: &Job<'_>) -> Result<Outcome, Error> {
    let table = job.labels(Part::Validation)?;
    let inputs = &job.stage.spec.inputs;
    let models = (0..).take_while(|at| inputs.contains_key(&format!("model/{at}")));
    let roles = models.map(|at| format!("prediction/{at}"));
    let labels = inputs.contains_key("labels").then(|| "labels".to_owned());
    let joined = roles.chain(labels.clone()).map(|role| labels::join(&table.rows, job.prediction(&role)?));
    // A row that one of them lacks counts for none.
    let (kept, mut said) = labels::whole(joined.collect::<Result<Vec<_>, _>>()?);
    let wanted = match labels.and_then(|_| said.pop()) {
        Some(labels) => labels,
        None => {
            let classes = said.first().and_then(|said| said.first()).map_or(0, Vec::len);
            let truth = labels::hard(&table, classes)?;
            let truth: Vec<_> = truth.chunks_exact(classes.max(1)).map(<[f32]>::to_vec).collect();
            kept.into_iter().map(|row| truth[row].clone()).collect()
        }
    };
    let (mut best, mut facts) = (None, BTreeMap::new());
    for (at, said) in (0..).zip(said) {
        let score = Score::of(&said, &wanted);
        facts.insert(format!("right/{at}"), score.right);
        if best.as_ref().is_none_or(|(_, best)| score.is_above(best)) {
            best = Some((at, score));
        }
    }
    let (at, _) = best.ok_or_else(|| Error::Input("model/0".to_owned()))?;
    facts.insert("chosen".to_owned(), at);
    let role = format!("model/{at}");
    facts.insert("parameters".to_owned(), job.fact(&role, "parameters")?);
    let mut files = Vec::new();
    let names = [ModelFiles::CONFIG, ModelFiles::WEIGHTS].into_iter().chain(COMPANIONS).chain(ADAPTER_FILES);
    for name in names {
        if let Some(path) = job.input(&role)?.files.get(name) {
            fs::copy(path, job.output.join(name)).map_err(Error::io(path))?;
            files.push(name.to_owned());
        }
    }
    Ok(Outcome { files, facts })
}

/// How well a prediction fits labels.
struct Score {
    right: u64,
    cross_entropy: f64,
}

impl Score {
    fn of(said: &[Vec<f32>], wanted: &[Vec<f32>]) -> Self {
        let pairs = || said.iter().zip(wanted);
        let right = pairs().filter(|(said, wanted)| metrics::argmax(said) == metrics::argmax(wanted)).count();
        let of_row = |said: &[f32], wanted: &[f32]| -> f64 {
            let terms = said.iter().zip(wanted);
            // Probabilities of f32 may be 0 where they are only small.
            let term = |(&p, &q): (&f32, &f32)| -f64::from(q) * f64::from(p.max(f32::MIN_POSITIVE)).ln();
            terms.map(term).sum()
        };
        let cross_entropy = pairs().map(|(said, wanted)| of_row(said, wanted)).sum();
        Self { right: right as u64, cross_entropy }
    }

    fn is_above(&self, other: &Self) -> bool {
        self.right > other.right || (self.right == other.right && self.cross_entropy < other.cross_entropy)
    }
}

fn in_f64(row: Vec<f32>) -> Vec<f64> {
    row.into_iter().map(f64::from).collect()
}

fn average(job: &Job<'_>) -> Result<Outcome, Error> {
    let (model, tokenizer) = (job.model("model/0")?, job.tokenizer("model/0")?);
    let text = fs::read(tokenizer).map_err(Error::io(tokenizer))?;
    let mut sums: Vec<Tensor> = model.parameters().iter().map(|(_, tensor)| double(tensor)).collect();
    let count = job.stage.spec.inputs.len();
    for at in 1..count {
        let role = format!("model/{at}");
        let (other, path) = (job.model(&role)?, job.tokenizer(&role)?);
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
