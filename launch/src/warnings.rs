//! What a run should be told of although nothing failed: texts that two parts of a split share, trainings that changed
//! their size, rows that could not be computed.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fulcrum_common::{
    plan::{CORRUPTED, Plan, RESIZED, Stage, Work, rows_left_out},
    store::{Manifest, Store},
};
use serde::Deserialize;

/// The file of a dataset artifact that says what went where.
const SPLIT: &str = "split.json";

/// The fact that counts the texts.
const DUPLICATES: &str = "duplicates";

/// What is read of it.
#[derive(Deserialize)]
struct Split {
    duplicates: Duplicates,
}

#[derive(Deserialize)]
struct Duplicates {
    rule: fulcrum_common::plan::Duplicates,
    rows: u64,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    part: String,
    earlier: String,
    rows: u64,
    examples: Vec<Example>,
}

#[derive(Deserialize)]
struct Example {
    row: i64,
    copy_of: i64,
    text: String,
}

/// The warnings of the stages that are done, one line each.
///
/// # Errors
/// If the store cannot be read, or holds what no stage made.
pub(crate) async fn warnings(plan: &Plan, store: &Store) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for stage in plan.stages() {
        let Some(manifest) = store.manifest(stage.key).await? else { continue };
        lines.extend(manifest.facts.get(RESIZED).map(|ranks| resized(&stage.name, *ranks)));
        lines.extend(corrupted(&stage.name, &manifest.facts));
        lines.extend(left_out(stage, &manifest)?);
        if manifest.facts.get(DUPLICATES).is_none_or(|&rows| rows == 0) {
            continue;
        }
        let bytes = store.read(&manifest, SPLIT).await?;
        let split: Split = serde_json::from_slice(&bytes)
            .with_context(|| format!("{SPLIT} of {} is not what a split writes", stage.name))?;
        lines.extend(line(&split.duplicates));
    }
    Ok(lines)
}

/// Workers whose memory or processor cannot be trusted.
fn corrupted(stage: &str, facts: &BTreeMap<String, u64>) -> impl Iterator<Item = String> {
    let found = facts.keys().filter_map(|name| name.strip_prefix(CORRUPTED));
    found.map(move |worker| {
        format!(
            "warning: {stage:?} was healed by replay: {worker} held corrupted weights; the result is that of \
             an undisturbed run, but check the memory of the machine"
        )
    })
}

/// The rows that an inference lacks, in one line.
///
/// # Errors
/// If its facts contradict each other.
pub(crate) fn left_out(stage: &Stage, made: &Manifest) -> Result<Option<String>> {
    let rows = rows_left_out(&made.facts).map_err(anyhow::Error::msg)?;
    if rows.is_empty() || !matches!(stage.spec.work, Work::Infer(_)) {
        return Ok(None);
    }
    let (count, name) = (rows.len(), &stage.name);
    let (plural, are) = if count == 1 { ("", "is") } else { ("s", "are") };
    let rows: Vec<_> = rows.iter().map(i64::to_string).collect();
    let rows = rows.join(", ");
    Ok(Some(format!(
        "warning: {count} row{plural} of {name:?} could not be computed and {are} left out: {rows}; the workers' logs \
         say why"
    )))
}

fn resized(stage: &str, ranks: u64) -> String {
    format!(
        "warning: {stage:?} was begun by {ranks} workers and ended by another number: its last bits are not those of an \
         undisturbed run; mode = \"deterministic\" in [parallel] makes them so"
    )
}

/// Texts that were left out need no warning: that was asked for.
fn line(found: &Duplicates) -> Option<String> {
    if found.rule != fulcrum_common::plan::Duplicates::Report || found.rows == 0 {
        return None;
    }
    let pairs: Vec<_> = found
        .pairs
        .iter()
        .map(|pair| format!("{} of {} in {}", pair.rows, pair.part, pair.earlier))
        .collect();
    let first = found.pairs.iter().flat_map(|pair| &pair.examples).next();
    let first = first.map_or_else(String::new, |copy| {
        let text: String = copy.text.chars().take(60).collect();
        format!(" (row {} has the text of row {}: {text:?})", copy.row, copy.copy_of)
    });
    let (rows, pairs) = (found.rows, pairs.join(", "));
    Some(format!(
        "warning: {rows} texts are in two parts of the split: {pairs}{first}; duplicates = \"drop\" in [task.split] \
         leaves the later ones out"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_texts_are_told_in_one_line_and_only_where_they_stay() {
        let text = |rule: &str, rows: u64| {
            format!(
                r#"{{"rows": 9, "duplicates": {{"rule": "{rule}", "rows": {rows}, "pairs": [{{"part": "weak_labels",
                "earlier": "test", "rows": {rows}, "examples": [{{"row": 7, "copy_of": 2, "text": "A\nlever"}}]}}]}}}}"#
            )
        };
        let said = |rule, rows| {
            let split: Split = serde_json::from_str(&text(rule, rows)).unwrap();
            line(&split.duplicates)
        };
        let told = said("report", 3).unwrap();
        assert!(
            told.contains("3 of weak_labels in test (row 7 has the text of row 2: \"A\\nlever\")"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1);
        assert_eq!((said("drop", 3), said("report", 0)), (None, None));
    }
}
