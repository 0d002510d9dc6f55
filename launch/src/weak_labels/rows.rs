//! Columns of weak labels under the names that are in use.

use anyhow::{Context, Result, bail, ensure};
use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Field, Float32Type, Int32Type},
    record_batch::RecordBatch,
};
use fulcrum_common::metrics::argmax;

/// How far the probabilities of a row may add up to something other than 1: they were f32 or less once.
const SUM_TOLERANCE: f32 = 1e-2;

/// Most classes of a label.
const MAX_CLASSES: usize = 65_536;

/// The rows of one batch.
pub(super) struct Rows {
    pub(super) id: Vec<Option<String>>,
    pub(super) text: Vec<Option<String>>,
    /// One probability per class, adding up to 1.
    pub(super) soft: Vec<Vec<f32>>,
    /// The likeliest class.
    pub(super) hard: Vec<i32>,
    pub(super) truth: Vec<Option<i32>>,
}

impl Rows {
    /// Reads a batch whose first row is row `first` of the folder.
    pub(super) fn of(batch: &RecordBatch, first: u64) -> Result<Self> {
        let soft = soft(batch, first)?;
        let hard: Vec<i32> = soft.iter().map(|row| argmax(row) as i32).collect();
        if let Some((name, column)) = first_of(batch, &["hard_label", "hard_pred"]) {
            let told = integers(name, &column)?;
            for (at, (told, likeliest)) in told.iter().zip(&hard).enumerate() {
                let row = &soft[at];
                // Of equally likely classes either may have been named.
                let fits = told.and_then(|class| row.get(usize::try_from(class).ok()?));
                ensure!(
                    fits.is_some_and(|&p| p >= row[*likeliest as usize] - 1e-3),
                    "row {} has {name} {told:?}, but {row:?} is likeliest for {likeliest}",
                    first + at as u64
                );
            }
        }
        let rows = batch.num_rows();
        let none = || vec![None; rows];
        Ok(Self {
            id: first_of(batch, &["id"]).map_or_else(|| Ok(none()), |(name, column)| texts(name, &column))?,
            text: first_of(batch, &["txt", "text"])
                .map_or_else(|| Ok(none()), |(name, column)| texts(name, &column))?,
            truth: match first_of(batch, &["gt_label", "gt_hard_label"]) {
                Some((name, column)) => integers(name, &column)?,
                None => vec![None; rows],
            },
            soft,
            hard,
        })
    }
}

fn first_of(batch: &RecordBatch, names: &[&'static str]) -> Option<(&'static str, ArrayRef)> {
    names.iter().find_map(|name| Some((*name, batch.column_by_name(name)?.clone())))
}

/// Soft labels: a list of probabilities, or the probability of class 1 alone.
fn soft(batch: &RecordBatch, first: u64) -> Result<Vec<Vec<f32>>> {
    let Some((name, column)) = first_of(batch, &["soft_label", "soft_pred"]) else {
        let schema = batch.schema();
        let there: Vec<_> = schema.fields().iter().take(20).map(|field| field.name().as_str()).collect();
        bail!("no column `soft_label` or `soft_pred`; columns are {}", there.join(", "));
    };
    let wrong = || format!("column `{name}` is {}, not probabilities", column.data_type());
    ensure!(column.null_count() == 0, "column `{name}` holds nulls");
    let rows: Vec<Vec<f32>> = if column.data_type().is_nested() {
        let lists = DataType::List(Field::new_list_field(DataType::Float32, true).into());
        let lists = cast(&column, &lists).with_context(wrong)?;
        let lists = lists.as_list::<i32>();
        ensure!(lists.values().null_count() == 0, "column `{name}` holds nulls");
        (0..lists.len()).map(|at| lists.value(at).as_primitive::<Float32Type>().values().to_vec()).collect()
    } else {
        ensure!(column.data_type().is_floating(), wrong());
        let ones = cast(&column, &DataType::Float32).with_context(wrong)?;
        ones.as_primitive::<Float32Type>().values().iter().map(|&one| vec![1.0 - one, one]).collect()
    };
    let checked = |(at, row): (usize, Vec<f32>)| {
        let place = first + at as u64;
        ensure!((2..=MAX_CLASSES).contains(&row.len()), "row {place} has {} classes", row.len());
        let sum: f32 = row.iter().sum();
        let probabilities =
            row.iter().all(|p| (-1e-4..=1.0 + 1e-4).contains(p)) && (sum - 1.0).abs() <= SUM_TOLERANCE;
        ensure!(
            probabilities,
            "row {place} has `{name}` {:?}, which are no probabilities",
            &row[..row.len().min(8)]
        );
        Ok(row.into_iter().map(|p| p.max(0.0) / sum).collect())
    };
    rows.into_iter().enumerate().map(checked).collect()
}

fn texts(name: &str, column: &ArrayRef) -> Result<Vec<Option<String>>> {
    let found = cast(column, &DataType::Utf8).with_context(|| format!("column `{name}` is no text"))?;
    Ok(found.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
}

fn integers(name: &str, column: &ArrayRef) -> Result<Vec<Option<i32>>> {
    let kind = column.data_type();
    ensure!(kind.is_integer() || *kind == DataType::Boolean, "column `{name}` is {kind}, not whole numbers");
    let found = cast(column, &DataType::Int32).with_context(|| format!("column `{name}` is no class"))?;
    Ok(found.as_primitive::<Int32Type>().iter().collect())
}
