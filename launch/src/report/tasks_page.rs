//! The page of a run over several tasks: every pair of models task by task, and the median over the tasks.

use anyhow::{Context, Result};
use fulcrum_common::{
    plan::CODE_VERSION,
    results::{Interval, PairOfTask, PairOverTasks},
};
use minijinja::value::Serde;
use serde::Serialize;

use super::{
    Made, Outcome,
    colours::COLOURS,
    environment,
    pgr_plot::{LEFT, PAIR, RIGHT, ROW, TOP, WIDTH, shortened},
    rows::{Cell, Table, columns, interval, text},
    scale::{Scale, three, tick_text, ticks, two},
    tasks::over_tasks,
};

/// Space between two pairs.
const GAP: f64 = 10.0;
/// Further out lies only noise: what lies there is drawn at the edge.
const FURTHEST: (f64, f64) = (-1.0, 2.0);

#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    tasks: Vec<Link<'a>>,
    plot: Plot,
    table: Table,
    version: &'static str,
    code: u32,
    command: &'a str,
    warnings: &'a [String],
    experiment_file: Option<&'a str>,
}

/// A task with a page of its own.
#[derive(Serialize)]
struct Link<'a> {
    name: &'a str,
    page: String,
}

/// PGRs of all tasks: a line for each method and pair, a mark for each task.
#[derive(Debug, Serialize)]
struct Plot {
    width: f64,
    height: f64,
    left: f64,
    top: f64,
    bottom: f64,
    zero: f64,
    one: f64,
    ticks: Vec<(f64, String)>,
    pairs: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Pair {
    weak: String,
    strong: String,
    colour: usize,
    y: f64,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    method: String,
    y: f64,
    text: String,
    /// Place and words of each task that has a PGR.
    tasks: Vec<(f64, String)>,
    /// Of the median: place, and the ends of its interval.
    median: Option<(f64, f64, f64)>,
}

/// The page of the run `name`, whose tasks have the pages `tasks/NAME/report.html` beside it.
///
/// # Errors
/// If a template is broken, which the tests rule out.
pub(crate) fn tasks_html(name: &str, outcomes: &[Outcome], made: &Made) -> Result<String> {
    let pairs = over_tasks(outcomes).pairs;
    let link = |outcome: &'_ Outcome| page_of(&outcome.experiment);
    let page = Page {
        name,
        tasks: outcomes.iter().map(|one| Link { name: &one.experiment, page: link(one) }).collect(),
        plot: Plot::new(&pairs),
        table: table(&pairs),
        version: env!("CARGO_PKG_VERSION"),
        code: CODE_VERSION,
        command: &made.command,
        warnings: &made.warnings,
        experiment_file: made.experiment_file.as_deref(),
    };
    let environment = environment()?;
    let template = environment.get_template("tasks.html").context("the report has no page for tasks")?;
    template.render(Serde(&page)).context("the report cannot be drawn")
}

fn page_of(task: &str) -> String {
    format!("tasks/{task}/report.html")
}

/// Every task of every pair, and a line for the median.
fn table(pairs: &[PairOverTasks]) -> Table {
    let of_task = |pair: &PairOverTasks, task: &PairOfTask| {
        let why = task.flags.iter().find(|flag| flag.withholds_pgr()).map_or("", |flag| flag.words());
        let pgr = interval(task.pgr, two, None);
        vec![
            text(&pair.method),
            text(&pair.weak),
            text(&pair.strong),
            Cell { page: Some(page_of(&task.task)), ..text(&task.task) },
            interval(Some(task.weak_accuracy), three, None),
            Cell { strong: true, ..interval(Some(task.student_accuracy), three, None) },
            interval(Some(task.ceiling_accuracy), three, None),
            Cell { strong: true, title: why.to_owned(), ..pgr },
        ]
    };
    let of_median = |pair: &PairOverTasks| {
        let over = format!("median of {} of {}", pair.counted, pair.tasks.len());
        let head = [&pair.method, &pair.weak, &pair.strong, &over].map(|word| text(word));
        let blank = [(); 3].map(|()| text(""));
        let pgr = Cell { strong: true, ..interval(pair.median_pgr, two, None) };
        head.into_iter().chain(blank).chain([pgr]).collect()
    };
    let rows = pairs.iter().flat_map(|pair| {
        pair.tasks.iter().map(|task| of_task(pair, task)).chain([of_median(pair)]).collect::<Vec<_>>()
    });
    Table {
        columns: columns(
            &["method", "weak supervisor", "strong student", "task"],
            &["weak accuracy", "student accuracy", "ceiling accuracy", "PGR"],
        ),
        rows: rows.collect(),
    }
}

impl Plot {
    fn new(over_tasks: &[PairOverTasks]) -> Self {
        let levels = levels(over_tasks);
        let scale = Scale::new((levels[0], levels[levels.len() - 1]), (LEFT, RIGHT));
        let mut y = TOP;
        let mut pairs: Vec<Pair> = Vec::new();
        let mut supervisors: Vec<&str> = Vec::new();
        for (weak, strong) in in_order(over_tasks) {
            if !supervisors.contains(&weak) {
                supervisors.push(weak);
            }
            let heading = y + PAIR / 2.0;
            y += PAIR;
            let of_pair = over_tasks.iter().filter(|pair| pair.weak == weak && pair.strong == strong);
            let rows = of_pair.map(|pair| {
                y += ROW;
                row(pair, y - ROW / 2.0, &scale)
            });
            let rows = rows.collect();
            let colour = (supervisors.len() - 1) % COLOURS + 1;
            pairs.push(Pair { weak: weak.into(), strong: strong.into(), colour, y: heading, rows });
            y += GAP;
        }
        Self {
            width: WIDTH,
            height: y + 28.0,
            left: LEFT,
            top: TOP,
            bottom: y,
            zero: scale.place(0.0),
            one: scale.place(1.0),
            ticks: levels.iter().map(|&level| (scale.place(level), tick_text(level))).collect(),
            pairs,
        }
    }
}

/// The pairs, those of one supervisor together, as they first come.
fn in_order(pairs: &[PairOverTasks]) -> Vec<(&str, &str)> {
    let first = |weak: &str| pairs.iter().position(|pair| pair.weak == weak);
    let mut found: Vec<(&str, &str)> = Vec::new();
    for pair in pairs {
        let models = (pair.weak.as_str(), pair.strong.as_str());
        if !found.contains(&models) {
            found.push(models);
        }
    }
    found.sort_by_key(|(weak, _)| first(weak));
    found
}

/// Ticks of the axis: 0, 1 and what the tasks need, within reason.
fn levels(pairs: &[PairOverTasks]) -> Vec<f64> {
    let of_tasks = pairs.iter().flat_map(|pair| &pair.tasks).filter_map(|task| Some(task.pgr?.mean));
    let ends = pairs.iter().filter_map(|pair| pair.median_pgr).flat_map(|median| [median.low, median.high]);
    let (low, high) =
        of_tasks.chain(ends).fold((0.0, 1.0), |(low, high): (f64, f64), pgr| (low.min(pgr), high.max(pgr)));
    ticks(low.max(FURTHEST.0), high.min(FURTHEST.1), 5)
}

fn row(pair: &PairOverTasks, y: f64, scale: &Scale) -> Row {
    let place = |pgr: f64| scale.clipped(pgr).0;
    let of_task = |task: &PairOfTask| {
        let pgr = task.pgr?.mean;
        Some((place(pgr), format!("{}: {}", task.task, two(pgr))))
    };
    let words = |Interval { mean, low, high }| format!("{} [{}, {}]", two(mean), two(low), two(high));
    Row {
        method: shortened(&pair.method),
        y,
        text: pair.median_pgr.map_or_else(|| "n/a".to_owned(), words),
        tasks: pair.tasks.iter().filter_map(of_task).collect(),
        median: pair.median_pgr.map(|median| (place(median.mean), place(median.low), place(median.high))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn outcomes() -> Vec<Outcome> {
        let named = |name: &str| Outcome { experiment: name.into(), ..sample::outcome() };
        ["first", "second"].map(named).into()
    }

    #[test]
    fn the_page_leads_to_every_task_and_has_every_pair_with_its_median() {
        let warnings = vec!["first: dataset: 3 texts are in two parts".into()];
        let made = Made { command: "fulcrum run two.toml".into(), warnings, ..Made::default() };
        let page = tasks_html("two", &outcomes(), &made).unwrap();
        for text in [
            "<a href=\"tasks&#x2f;first&#x2f;report.html\">first</a>",
            "median of 2 of 2",
            "median of 0 of 2",
            "second: 0.61",
            "fulcrum run two.toml",
            "3 texts are in two parts",
        ] {
            assert!(page.contains(text), "{text} in {page}");
        }
        for tag in ["svg", "g", "table", "tr", "td", "section", "figure", "text", "p", "ul", "li"] {
            let open = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn marks_lie_on_the_axis_also_where_a_task_is_far_out() {
        let mut outcomes = outcomes();
        let far = outcomes[0].results.summary[1].pgr.as_mut().unwrap();
        far.mean = -40.0;
        let plot = Plot::new(&over_tasks(&outcomes).pairs);
        let marks = plot.pairs.iter().flat_map(|pair| &pair.rows).flat_map(|row| &row.tasks);
        let places: Vec<f64> = marks.map(|(x, _)| *x).collect();
        assert_eq!(places.len(), 8);
        assert!(places.iter().all(|x| (LEFT..=RIGHT).contains(x)), "{places:?}");
    }
}
