//! Two runs side by side: which settings differ, which numbers differ, and whether that is more than noise.
//!
//! Where both runs were tested on the same rows and their predictions are in their stores, differences are paired: the
//! bootstrap draws the same rows, and the same of the seeds that both have, for both runs.

mod numbers;
mod settings;

use anyhow::Result;
use comfy_table::Cell;
use serde::Serialize;

use crate::{
    outputs, predictions,
    report::{three, two},
    run_folder::RunFolder,
    table::{number, table},
};
use numbers::Pair;
use settings::Setting;

/// What two runs have different.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    first: String,
    second: String,
    /// Settings that differ; those that one file does not name are null there.
    settings: Vec<Setting>,
    /// Whether both were tested on the same rows.
    same_test_rows: bool,
    /// Why the differences have no interval, where they have none.
    unpaired: Option<String>,
    /// Methods and pairs that both have, then those that one has.
    pairs: Vec<Pair>,
}

/// Compares two runs.
///
/// # Errors
/// If one has no results.
pub(crate) async fn compare(first: &RunFolder, second: &RunFolder) -> Result<Comparison> {
    let outcomes = [outputs::read(first)?, outputs::read(second)?];
    let keys = [predictions::dataset(first), predictions::dataset(second)];
    let same_test_rows = keys[0].is_some() && keys[0] == keys[1];
    let said = if same_test_rows {
        match (predictions::read(first).await, predictions::read(second).await) {
            (Ok(first), Ok(second)) => Ok([first, second]),
            (Err(error), _) | (_, Err(error)) => Err(format!("{error:#}")),
        }
    } else {
        Err("the runs were tested on different rows".to_owned())
    };
    let pairs = numbers::pairs([&outcomes[0].results, &outcomes[1].results], said.as_ref().ok());
    let [first_name, second_name] = outcomes.map(|outcome| outcome.experiment);
    Ok(Comparison {
        settings: settings::differences(&first.experiment(), &second.experiment())?,
        first: name(first_name, first),
        second: name(second_name, second),
        same_test_rows,
        unpaired: said.err(),
        pairs,
    })
}

/// The experiment's name; with the folder where that is called otherwise.
fn name(experiment: String, folder: &RunFolder) -> String {
    if experiment == folder.name() {
        experiment
    } else {
        format!("{experiment} ({})", folder.path().display())
    }
}

impl Comparison {
    /// Both tables, for the terminal.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("first   {}\nsecond  {}\n\n", self.first, self.second);
        text.push_str(&self.settings_table());
        text.push_str("\n\n");
        text.push_str(&self.numbers_table());
        match &self.unpaired {
            None => text.push_str(
                "\ndifferences are second less first, paired over test rows and common seeds, with 95 % intervals",
            ),
            Some(why) => text.push_str(&format!("\ndifferences are second less first, without intervals: {why}")),
        }
        text
    }

    fn settings_table(&self) -> String {
        if self.settings.is_empty() {
            return "no setting differs".to_owned();
        }
        let mut rows = table(["setting", "first", "second"]);
        for Setting { key, first, second } in &self.settings {
            let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "·".to_owned());
            rows.add_row([key.clone(), cell(first), cell(second)]);
        }
        rows.to_string()
    }

    fn numbers_table(&self) -> String {
        let mut rows = table(["method", "weak", "strong", "number", "first", "second", "difference"]);
        for pair in &self.pairs {
            for line in &pair.numbers {
                let digits = if line.number == "PGR" { two } else { three };
                let cell = |value: Option<f64>| number(value.map_or_else(|| "n/a".to_owned(), digits));
                let difference = match (line.difference, line.interval) {
                    (Some(mean), Some([low, high])) => {
                        format!("{} [{}, {}]", digits(mean), digits(low), digits(high))
                    }
                    (Some(mean), None) => digits(mean),
                    (None, _) => "n/a".to_owned(),
                };
                rows.add_row([
                    Cell::new(&pair.method),
                    Cell::new(&pair.weak),
                    Cell::new(&pair.strong),
                    Cell::new(line.number),
                    cell(line.first),
                    cell(line.second),
                    number(difference),
                ]);
            }
        }
        rows.to_string()
    }
}
