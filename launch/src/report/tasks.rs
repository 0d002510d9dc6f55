//! Several runs, each of one task: PGR by task, and the median over the tasks, as the paper's figures have it.

use std::fmt::Write as _;

use comfy_table::Cell;
use fulcrum_common::{metrics, results::PairOverTasks};
use serde::Serialize;

use super::{
    Outcome,
    released::{Released, released},
    scale::{three, two},
    terminal::with_interval,
};
use crate::table::{self, number};

/// All tasks together.
#[derive(Debug, Serialize)]
pub(crate) struct Tasks {
    /// By method, weak and strong model, in the order in which they first come.
    pub(crate) pairs: Vec<PairOverTasks>,
    /// By the released notebook's rule, task by task.
    pub(crate) released: Vec<TaskReleased>,
}

/// One task by the released notebook's rule.
#[derive(Debug, Serialize)]
pub(crate) struct TaskReleased {
    task: String,
    methods: Vec<Released>,
}

/// Puts the runs together. A run is one task, called as the run is.
pub(crate) fn over_tasks(outcomes: &[Outcome]) -> Tasks {
    let by_rule = |outcome: &Outcome| TaskReleased {
        task: outcome.experiment.clone(),
        methods: released(&outcome.results),
    };
    let tasks = outcomes.iter().map(|outcome| (outcome.experiment.as_str(), &outcome.results));
    Tasks { pairs: metrics::over_tasks(tasks), released: outcomes.iter().map(by_rule).collect() }
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
