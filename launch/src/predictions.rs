//! What the models of a finished run said about its test rows, taken out of the store.

mod column;
mod export;

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, bail, ensure};
use fulcrum_common::{
    Key,
    plan::{Measure, Plan, Role, Spec, Work, rows_left_out},
    store::{Manifest, Store},
};

use crate::{outputs, run_folder::RunFolder, splice::parts};

pub(crate) use export::write;

/// The file of a dataset's artifact that holds the test rows.
const TEST: &str = "test.parquet";

/// Everything that was said about the test rows of one run.
pub(crate) struct Predictions {
    /// Name of the run.
    pub(crate) task: String,
    /// The test rows that every model has said something of, by their position in the source.
    pub(crate) rows: Vec<i64>,
    /// Their labels.
    pub(crate) labels: Vec<i32>,
    /// The models, in the order of the plan.
    pub(crate) models: Vec<Said>,
}

/// What one model said.
pub(crate) struct Said {
    /// What it is in the experiment.
    pub(crate) role: Role,
    /// Seed of its training.
    pub(crate) seed: u64,
    /// Share of its training that was done; none at the end.
    pub(crate) progress: Option<f64>,
    /// One probability per class, for each test row.
    pub(crate) probabilities: Vec<Vec<f32>>,
}

/// The stage of a plan that measures, and what it reads: the dataset's key, and the inputs with their keys.
pub(crate) fn measured(plan: &Plan) -> Option<(&Spec, &Measure)> {
    plan.stages().iter().rev().find_map(|stage| match &stage.spec.work {
        Work::Measure(measure) => Some((&stage.spec, measure)),
        _ => None,
    })
}

/// The key of the dataset whose test rows a run measures on: runs that have it in common have the same test rows.
pub(crate) fn dataset(folder: &RunFolder) -> Option<Key> {
    let plan = folder.read_plan().ok()?;
    measured(&plan)?.0.input("data").ok()
}

/// Reads the predictions of a finished run.
///
/// # Errors
/// If the run has no plan, its store is gone or holds other bytes, or its models did not predict probabilities.
pub(crate) async fn read(folder: &RunFolder) -> Result<Predictions> {
    let facts = outputs::facts(folder).with_context(|| {
        format!(
            "{} does not say where its store is: only a folder that a run left has predictions",
            folder.path().display()
        )
    })?;
    if !facts.store.may_have_store() {
        bail!("the store of {} is not at {}: its predictions are gone", facts.name, facts.store);
    }
    let (plan, store) = (folder.read_plan()?, Store::at(&facts.store)?);
    let (spec, measure) = measured(&plan).context("the plan measures nothing")?;
    let Measure::WeakToStrong { predictions, written, .. } = measure else {
        bail!("the plan measures no weak-to-strong run")
    };
    if *written {
        bail!(
            "the models of {} write their answers, and a table of probabilities has no place for them",
            facts.name
        );
    }
    let table = manifest(&store, spec.input("data")?).await?;
    let (rows, labels) = column::labelled(&store.local(&table, TEST).await?)?;
    let mut models = Vec::with_capacity(predictions.len());
    for one in predictions {
        let made = manifest(&store, spec.input(&one.input)?).await?;
        let left_out = rows_left_out(&made.facts).map_err(anyhow::Error::msg)?;
        let said = join(&rows, column::probabilities(&parts(&store, &made).await?)?, &left_out)
            .with_context(|| format!("{} is not of the test rows", made.name))?;
        models.push((one, said));
    }
    // As in the measure: a row that one model lacks counts in none.
    let whole: Vec<bool> =
        (0..rows.len()).map(|at| models.iter().all(|(_, said)| said[at].is_some())).collect();
    let models = models.into_iter().map(|(one, said)| {
        let probabilities = kept(said, &whole).flatten().collect();
        Said { role: one.role.clone(), seed: one.seed, progress: one.progress, probabilities }
    });
    let models = models.collect();
    let (rows, labels) = (kept(rows, &whole).collect(), kept(labels, &whole).collect());
    Ok(Predictions { task: facts.name, rows, labels, models })
}

/// What is marked.
fn kept<T>(all: Vec<T>, marks: &[bool]) -> impl Iterator<Item = T> {
    all.into_iter().zip(marks).filter(|(_, kept)| **kept).map(|(one, _)| one)
}

async fn manifest(store: &Store, key: Key) -> Result<Manifest> {
    store.manifest(key).await?.with_context(|| {
        format!(
            "artifact {} is not in the store any more: `fulcrum run` of the experiment makes it again",
            key.short()
        )
    })
}

/// What was said of each row; nothing of those that are known to be left out.
fn join(
    rows: &[i64],
    found: Vec<(i64, Vec<f32>)>,
    left_out: &BTreeSet<i64>,
) -> Result<Vec<Option<Vec<f32>>>> {
    ensure!(
        found.len() + left_out.len() == rows.len(),
        "{} rows are predicted, and {} left out; {} are in the test part",
        found.len(),
        left_out.len(),
        rows.len()
    );
    let mut by_row: HashMap<i64, Vec<f32>> = found.into_iter().collect();
    let of = |row: &i64| match by_row.remove(row) {
        None if !left_out.contains(row) => bail!("row {row} has no prediction"),
        said => Ok(said),
    };
    rows.iter().map(of).collect()
}

/// Role, method, weak and strong model in the words of `results.csv`; empty where a role has no such thing.
pub(crate) fn words(role: &Role) -> [&str; 4] {
    match role {
        Role::Weak { model } => ["weak", "", "", model],
        Role::Ceiling { model, method } => ["ceiling", method.as_deref().unwrap_or_default(), "", model],
        Role::Student { method, weak, strong } => ["student", method, weak, strong],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_row_that_is_known_to_be_left_out_may_lack_a_prediction() {
        let found = || vec![(4, vec![0.5]), (2, vec![0.25])];
        let joined = join(&[2, 3, 4], found(), &[3].into()).unwrap();
        assert_eq!(joined, [Some(vec![0.25]), None, Some(vec![0.5])]);
        for (rows, left_out) in [(vec![2, 3, 4], BTreeSet::new()), (vec![2, 3, 4], [9].into())] {
            assert!(join(&rows, found(), &left_out).is_err(), "{left_out:?}");
        }
    }
}
