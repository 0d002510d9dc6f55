//! A plan as people and programs read it: what is there already and what would be run.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Plan, Stage};
use crate::Key;

/// Whether a stage has to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its artifact is in the store.
    Cached,
    /// It has to run.
    ToRun,
    /// Its artifact is absent, and nothing that is left to do reads it.
    NotNeeded,
}

impl State {
    fn words(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::ToRun => "to run",
            Self::NotNeeded => "not needed",
        }
    }
}

/// A stage and its state, as `fulcrum plan --json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct StageView<'a> {
    /// What is left to do of it.
    pub state: State,
    /// The stage.
    #[serde(flatten)]
    pub stage: &'a Stage,
}

/// Every stage of the plan with its state, given the keys in the store.
pub fn view<'a>(plan: &'a Plan, cached: &BTreeSet<Key>) -> Vec<StageView<'a>> {
    let needed: BTreeSet<Key> = match plan.goal() {
        Some(goal) => plan.needed(goal, |key| cached.contains(&key)).into_iter().collect(),
        None => BTreeSet::new(),
    };
    let state = |key| match (cached.contains(&key), needed.contains(&key)) {
        (true, _) => State::Cached,
        (false, true) => State::ToRun,
        (false, false) => State::NotNeeded,
    };
    plan.stages().iter().map(|stage| StageView { state: state(stage.key), stage }).collect()
}

/// The plan as a table for a terminal: one line per stage, indented below what it waits for, and a line of sums.
pub fn render(plan: &Plan, cached: &BTreeSet<Key>) -> String {
    let views = view(plan, cached);
    let depths = depths(plan);
    let mut rows = vec![["stage", "kind", "key", "state", "examples", "tokens up to"].map(str::to_owned)];
    rows.extend(views.iter().map(|StageView { state, stage }| {
        [
            format!("{:indent$}{}", "", stage.name, indent = 2 * depths[&stage.key]),
            stage.spec.work.kind().to_owned(),
            stage.key.short(),
            state.words().to_owned(),
            count(stage.estimate.examples),
            count(stage.estimate.tokens),
        ]
    }));
    let mut text = columns(&rows);
    let to_run = || views.iter().filter(|view| view.state == State::ToRun).map(|view| view.stage.estimate);
    let is_cached = |view: &&StageView<'_>| view.state == State::Cached;
    text.push_str(&format!(
        "\n{} stages: {} cached, {} to run with {} examples and up to {} tokens\n",
        views.len(),
        views.iter().filter(is_cached).count(),
        to_run().count(),
        grouped(to_run().map(|estimate| estimate.examples).sum()),
        grouped(to_run().map(|estimate| estimate.tokens).sum()),
    ));
    text
}

/// Length of the longest chain of stages that each one waits for.
fn depths(plan: &Plan) -> BTreeMap<Key, usize> {
    let mut depths = BTreeMap::new();
    for stage in plan.stages() {
        let inputs = stage.spec.inputs.values().filter_map(|key| depths.get(key));
        let depth = inputs.max().map_or(0, |deepest: &usize| deepest + 1);
        depths.insert(stage.key, depth);
    }
    depths
}

/// A cell of the table: what is unknown or nothing is a dash.
fn count(number: u64) -> String {
    if number == 0 { "-".to_owned() } else { grouped(number) }
}

/// Digits in threes, as on every other screen: `1234567` is `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Aligns the columns: text to the left, the last two (numbers) to the right.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column + 2 < N { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Architecture, Estimate, Merge, Prepare, Spec, Work};

    fn chain() -> (Plan, [Key; 2]) {
        let mut plan = Plan::default();
        let architecture = Architecture { layers: 1, hidden: 8, heads: 2, context: 16 };
        let model = Prepare::NewModel { architecture, alphabet: "ab".into(), ends: false, seed: 0 };
        let spec = Spec { work: Work::Prepare(model), inputs: BTreeMap::new() };
        let first = plan.add("model small", spec, Estimate { examples: 1_234_567, tokens: 0 });
        let inputs = BTreeMap::from([("model/0".to_owned(), first)]);
        let spec = Spec { work: Work::Merge(Merge::Average), inputs };
        let second = plan.add("average", spec, Estimate::default());
        (plan, [first, second])
    }

    #[test]
    fn a_stage_is_cached_to_run_or_not_needed() {
        let (plan, [first, second]) = chain();
        for (cached, expected) in [
            (vec![], [State::ToRun, State::ToRun]),
            (vec![first], [State::Cached, State::ToRun]),
            (vec![second], [State::NotNeeded, State::Cached]),
            (vec![first, second], [State::Cached, State::Cached]),
        ] {
            let states: Vec<_> = view(&plan, &cached.into_iter().collect()).iter().map(|v| v.state).collect();
            assert_eq!(states, expected);
        }
    }

    #[test]
    fn the_table_aligns_indents_and_sums() {
        let (plan, [first, second]) = chain();
        let text = render(&plan, &BTreeSet::new());
        let expected = format!(
            "stage        kind     key           state    examples  tokens up to\n\
             model small  prepare  {}  to run  1,234,567             -\n\
             \u{20} average    merge    {}  to run          -             -\n\
             \n2 stages: 0 cached, 2 to run with 1,234,567 examples and up to 0 tokens\n",
            first.short(),
            second.short(),
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_json_of_a_stage_carries_its_state() {
        let (plan, [first, _]) = chain();
        let json = serde_json::to_value(view(&plan, &BTreeSet::from([first]))).unwrap();
        assert_eq!(json[0]["state"], "cached");
        assert_eq!(json[0]["key"], first.to_string());
        assert_eq!(json[1]["state"], "to_run");
    }
}
