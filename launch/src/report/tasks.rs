//! Several runs, each of one task: PGR by task, and the median over the tasks, as the paper's figures have it.

use std::fmt::Write as _;

use comfy_table::Cell;
use fulcrum_common::{
    metrics::{Bootstrap, percentiles},
    results::{Flag, Interval, Summary},
};
use serde::Serialize;

use super::{
    Outcome,
    released::{Released, median, released},
    scale::{three, two},
    terminal::with_interval,
};
use crate::table::{self, number};

/// Draws of tasks behind the interval of a median.
const DRAWS: Bootstrap = Bootstrap { draws: 1000, seed: 0 };

/// All tasks together.
#[derive(Debug, Serialize)]
pub(crate) struct Tasks {
    /// By method, weak and strong model, in the order in which they first come.
    pub(crate) pairs: Vec<PairOverTasks>,
    /// By the released notebook's rule, task by task.
    pub(crate) released: Vec<TaskReleased>,
}

/// One method between one pair of models, over the tasks.
#[derive(Debug, Serialize)]
pub(crate) struct PairOverTasks {
    method: String,
    weak: String,
    strong: String,
    tasks: Vec<OneTask>,
    /// Tasks that have a PGR.
    counted: usize,
    /// Median of their PGRs, with the 95 % bootstrap interval over tasks; none where no task has one.
    median_pgr: Option<Interval>,
}

/// The numbers of one task.
#[derive(Debug, Serialize)]
struct OneTask {
    task: String,
    weak_accuracy: Interval,
    student_accuracy: Interval,
    ceiling_accuracy: Interval,
    pgr: Option<Interval>,
    flags: Vec<Flag>,
}

/// One task by the released notebook's rule.
#[derive(Debug, Serialize)]
pub(crate) struct TaskReleased {
    task: String,
    methods: Vec<Released>,
}

/// Puts the runs together. A run is one task, called as the run is.
pub(crate) fn over_tasks(outcomes: &[Outcome]) -> Tasks {
    let mut pairs: Vec<PairOverTasks> = Vec::new();
    for outcome in outcomes {
        for summary in &outcome.results.summary {
            let task = one_task(&outcome.experiment, summary);
            let is = |pair: &&mut PairOverTasks| {
                (&pair.method, &pair.weak, &pair.strong) == (&summary.method, &summary.weak, &summary.strong)
            };
            match pairs.iter_mut().find(is) {
                Some(pair) => pair.tasks.push(task),
                None => pairs.push(PairOverTasks {
                    method: summary.method.clone(),
                    weak: summary.weak.clone(),
                    strong: summary.strong.clone(),
                    tasks: vec![task],
                    counted: 0,
                    median_pgr: None,
                }),
            }
        }
    }
    for pair in &mut pairs {
        let found: Vec<f64> = pair.tasks.iter().filter_map(|task| Some(task.pgr?.mean)).collect();
        (pair.counted, pair.median_pgr) = (found.len(), median_of(&found));
    }
    let by_rule = |outcome: &Outcome| TaskReleased {
        task: outcome.experiment.clone(),
        methods: released(&outcome.results),
    };
    Tasks { pairs, released: outcomes.iter().map(by_rule).collect() }
}

fn one_task(task: &str, summary: &Summary) -> OneTask {
    OneTask {
        task: task.to_owned(),
        weak_accuracy: summary.weak_accuracy,
        student_accuracy: summary.student_accuracy,
        ceiling_accuracy: summary.ceiling_accuracy,
        pgr: summary.pgr,
        flags: summary.flags.clone(),
    }
}

fn median_of(pgrs: &[f64]) -> Option<Interval> {
    let mean = median(pgrs.to_vec())?;
    let drawn = DRAWS.rows(pgrs.len(), |times| {
        let repeated = pgrs.iter().zip(times).flat_map(|(&pgr, &n)| std::iter::repeat_n(pgr, n as usize));
        median(repeated.collect()).expect("a draw has as many tasks as there are")
    });
    let (low, high) = percentiles(drawn);
    Some(Interval { mean, low, high })
}

impl Tasks {
    /// The table on the terminal: task by task, and the median under each method and pair.
    pub(crate) fn table(&self) -> String {
        let mut table =
            table::table(["method", "weak", "strong", "task", "weak", "student", "ceiling", "PGR"]);
        for pair in &self.pairs {
            let head = || [&pair.method, &pair.weak, &pair.strong].map(Cell::new);
            for task in &pair.tasks {
                let numbers = [task.weak_accuracy, task.student_accuracy, task.ceiling_accuracy];
                let pgr = task.pgr.map_or_else(|| "n/a".to_owned(), |pgr| with_interval(pgr, two));
                let cells = numbers.map(|interval| number(three(interval.mean)));
                table.add_row(
                    head().into_iter().chain([Cell::new(&task.task)]).chain(cells).chain([number(pgr)]),
                );
            }
            let median = pair.median_pgr.map_or_else(|| "n/a".to_owned(), |pgr| with_interval(pgr, two));
            let over = Cell::new(format!("median of {} of {}", pair.counted, pair.tasks.len()));
            let blank = [(); 3].map(|()| Cell::new(""));
            table.add_row(head().into_iter().chain([over]).chain(blank).chain([number(median)]));
        }
        table.to_string()
    }
}

/// The table of the released notebook's rule.
pub(crate) fn released_table(tasks: &[TaskReleased]) -> String {
    let mut table = table::table(["task", "method", "students", "dropped", "median PGR"]);
    for task in tasks {
        for one in &task.methods {
            table.add_row([
                Cell::new(&task.task),
                Cell::new(&one.method),
                number(one.students),
                number(one.dropped),
                number(one.pgr.map_or_else(|| "n/a".to_owned(), two)),
            ]);
        }
    }
    let mut text = table.to_string();
    let _ = write!(
        text,
        "\nby the released notebook's rule: accuracies of supervisors and ceilings averaged over seeds, median over pairs and seeds"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn tasks() -> Tasks {
        let outcomes = [("a", 0.0), ("b", 0.2), ("c", 0.5)].map(|(name, more)| {
            let mut outcome = sample::outcome();
            outcome.experiment = name.into();
            for pgr in outcome.results.summary.iter_mut().filter_map(|summary| summary.pgr.as_mut()) {
                pgr.mean += more;
            }
            outcome
        });
        over_tasks(&outcomes)
    }

    #[test]
    fn the_median_over_tasks_is_the_middle_one_and_pairs_without_pgr_have_none() {
        let tasks = tasks();
        assert_eq!(tasks.pairs.len(), 6);
        let pair = &tasks.pairs[1];
        assert_eq!((pair.weak.as_str(), pair.strong.as_str(), pair.counted), ("small", "large", 3));
        let median = pair.median_pgr.unwrap();
        assert_eq!((median.mean, median.low), (0.61 + 0.2, 0.61));
        assert_eq!(median.high, 0.61 + 0.5);
        assert_eq!((tasks.pairs[0].counted, tasks.pairs[0].median_pgr), (0, None));
    }

    #[test]
    fn the_table_has_every_task_and_a_line_for_each_median() {
        let tasks = tasks();
        let text = tasks.table();
        assert_eq!(text.matches("median of 3 of 3").count(), 4, "{text}");
        assert_eq!(text.matches("median of 0 of 3").count(), 2, "{text}");
        assert!(text.contains("0.81 [0.61, 1.11]"), "{text}");
        let rule = released_table(&tasks.released);
        assert_eq!(rule.lines().count(), 2 + 6 + 1, "{rule}");
    }
}
