//! Test accuracy by size of the strong model: where every line and mark lies. The template draws it.
//!
//! One panel per method, all on the same axes; colours stand for weak supervisors, here and in the PGR plot.

use fulcrum_common::results::{Interval, Model, Results, Score, Student};
use serde::Serialize;

use super::{
    colours::Colours,
    scale::{Scale, round, size, three, tick_text, ticks},
};

const WIDTH: f64 = 520.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const HEIGHT: f64 = 286.0;
/// Height of one row of model names under the axis.
const NAME_ROW: f64 = 30.0;
/// About the width of a character of an axis label.
const CHARACTER: f64 = 6.6;
/// Curves at the same model stand so far apart, so that their intervals can be told from each other.
const DODGE: f64 = 7.0;

/// The panels of the plot.
#[derive(Debug, Serialize)]
pub(super) struct AccuracyPlot {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    bottom: f64,
    models: Vec<ModelTick>,
    ticks: Vec<Tick>,
    chance: Line,
    ceiling: Curve,
    supervisors: Vec<Supervisor>,
    panels: Vec<Panel>,
}

#[derive(Debug, Serialize)]
struct ModelTick {
    x: f64,
    label_x: f64,
    label_y: f64,
    name: String,
    size: String,
}

#[derive(Debug, Serialize)]
struct Tick {
    y: f64,
    text: String,
}

#[derive(Debug, Serialize)]
struct Line {
    y: f64,
    text: String,
}

#[derive(Debug, Serialize)]
struct Panel {
    method: String,
    curves: Vec<Curve>,
}

#[derive(Debug, Serialize)]
struct Curve {
    name: String,
    colour: usize,
    path: String,
    points: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    x: f64,
    y: f64,
    low: Option<f64>,
    high: Option<f64>,
    seeds: Vec<f64>,
    title: String,
}

#[derive(Debug, Serialize)]
struct Supervisor {
    name: String,
    colour: usize,
    x: f64,
    y: f64,
    title: String,
}

impl AccuracyPlot {
    /// Lays out the plot.
    pub(super) fn new(results: &Results, colours: &Colours) -> Self {
        let models = model_ticks(&results.ladder);
        let rows = models.iter().map(|(_, row)| row + 1).max().unwrap_or(1);
        let levels = ticks_around(results);
        let ends = (levels[0], levels[levels.len() - 1]);
        let axes = Axes {
            results,
            x: models.iter().map(|(tick, _)| tick.x).collect(),
            y: Scale::new(ends, (HEIGHT, TOP)),
        };
        Self {
            width: WIDTH,
            height: HEIGHT + 12.0 + NAME_ROW * rows as f64,
            left: LEFT,
            right: WIDTH - RIGHT,
            bottom: HEIGHT,
            ticks: levels
                .iter()
                .map(|&level| Tick { y: axes.y.place(level), text: tick_text(level) })
                .collect(),
            chance: Line {
                y: axes.y.place(results.chance),
                text: format!("chance {}", three(results.chance)),
            },
            ceiling: axes.ceiling(),
            supervisors: axes.supervisors(colours),
            panels: methods(results).into_iter().map(|method| axes.panel(method, colours)).collect(),
            models: models.into_iter().map(|(tick, _)| tick).collect(),
        }
    }
}

/// The methods in the order of the results.
pub(super) fn methods(results: &Results) -> Vec<&str> {
    let mut methods: Vec<&str> = Vec::new();
    for summary in &results.summary {
        if !methods.contains(&summary.method.as_str()) {
            methods.push(&summary.method);
        }
    }
    methods
}

/// Places on the logarithmic axis of parameters, with labels in as many rows as keep them apart.
fn model_ticks(ladder: &[Model]) -> Vec<(ModelTick, usize)> {
    let logs: Vec<f64> = ladder.iter().map(|model| (model.parameters.max(1) as f64).log10()).collect();
    let (low, high) = logs.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    let scale = Scale::new((low, high), (LEFT + 40.0, WIDTH - RIGHT - 40.0));
    let mut ends: Vec<f64> = Vec::new();
    let mut order: Vec<usize> = (0..ladder.len()).collect();
    order.sort_by(|&a, &b| logs[a].total_cmp(&logs[b]));
    let mut rows = vec![0; ladder.len()];
    for &i in &order {
        let half = label_width(&ladder[i]) / 2.0;
        let x = scale.place(logs[i]);
        let row = ends.iter().position(|&end| end < x - half).unwrap_or(ends.len());
        ends.resize(ends.len().max(row + 1), f64::MIN);
        ends[row] = x + half + CHARACTER;
        rows[i] = row;
    }
    let tick = |(i, model): (usize, &Model)| {
        let label_y = HEIGHT + 18.0 + NAME_ROW * rows[i] as f64;
        // A long name near the edge moves inwards.
        let (x, half) = (scale.place(logs[i]), label_width(model) / 2.0);
        let tick = ModelTick {
            x,
            label_x: round(x.min(WIDTH - half).max(half)),
            label_y,
            name: model.name.clone(),
            size: size(model.parameters),
        };
        (tick, rows[i])
    };
    ladder.iter().enumerate().map(tick).collect()
}

fn label_width(model: &Model) -> f64 {
    model.name.chars().count().max(size(model.parameters).len()) as f64 * CHARACTER
}

/// Ticks of the accuracy axis: around everything that is drawn, but not beyond 0 and 1.
fn ticks_around(results: &Results) -> Vec<f64> {
    let intervals = results.summary.iter().flat_map(|s| [s.student_accuracy.low, s.student_accuracy.high]);
    let scores = results.supervisors.iter().chain(&results.ceilings).map(|score| score.accuracy);
    let students = results.students.iter().map(|student| student.accuracy);
    let all = intervals.chain(scores).chain(students).chain([results.chance]).map(|a| a.clamp(0.0, 1.0));
    let (low, high) = all.fold((1.0, 0.0), |(low, high): (f64, f64), a| (low.min(a), high.max(a)));
    let mut levels = ticks(low, high, 6);
    levels.retain(|&level| (-1e-9..=1.0 + 1e-9).contains(&level));
    levels
}

/// The axes, and the results to lay on them.
struct Axes<'a> {
    results: &'a Results,
    x: Vec<f64>,
    y: Scale,
}

impl Axes<'_> {
    fn position(&self, model: &str) -> Option<usize> {
        self.results.ladder.iter().position(|rung| rung.name == model)
    }

    fn ceiling(&self) -> Curve {
        let point = |(i, model): (usize, &Model)| {
            // The ceilings of single methods are in the tables alone.
            let shared = self.results.ceilings.iter().filter(|ceiling| ceiling.method.is_none());
            let seeds = accuracies(shared, &model.name);
            let mean = mean(&seeds)?;
            Some(self.point(
                self.x[i],
                mean,
                None,
                &seeds,
                format!("ceiling of {}: {}", model.name, three(mean)),
            ))
        };
        let points = self.results.ladder.iter().enumerate().filter_map(point).collect();
        curve("strong ceiling (ground truth)", 0, points)
    }

    fn supervisors(&self, colours: &Colours) -> Vec<Supervisor> {
        let mark = |(i, model): (usize, &Model)| {
            let mean = mean(&accuracies(self.results.supervisors.iter(), &model.name))?;
            let title = format!("weak supervisor {}: {}", model.name, three(mean));
            let (x, y) = (self.x[i], self.y.place(mean));
            Some(Supervisor { name: model.name.clone(), colour: colours.of(&model.name), x, y, title })
        };
        self.results.ladder.iter().enumerate().filter_map(mark).collect()
    }

    fn panel(&self, method: &str, colours: &Colours) -> Panel {
        let weak: Vec<&Model> = self
            .results
            .ladder
            .iter()
            .filter(|model| self.students(method, &model.name).next().is_some())
            .collect();
        let middle = (weak.len() as f64 - 1.0) / 2.0;
        let curves = weak.iter().enumerate().map(|(i, model)| {
            self.students_curve(method, &model.name, (i as f64 - middle) * DODGE, colours.of(&model.name))
        });
        Panel { method: method.to_owned(), curves: curves.collect() }
    }

    fn students<'a>(&'a self, method: &'a str, weak: &'a str) -> impl Iterator<Item = &'a Student> {
        self.results.students.iter().filter(move |student| student.method == method && student.weak == weak)
    }

    fn students_curve(&self, method: &str, weak: &str, shift: f64, colour: usize) -> Curve {
        let summaries = self.results.summary.iter().filter(|s| s.method == method && s.weak == weak);
        let point = |s: &fulcrum_common::results::Summary| {
            let x = self.x[self.position(&s.strong)?] + shift;
            let of_strong = self.students(method, weak).filter(|student| student.strong == s.strong);
            let seeds: Vec<f64> = of_strong.map(|student| student.accuracy).collect();
            let interval = s.student_accuracy;
            let range =
                format!("{} [{}, {}]", three(interval.mean), three(interval.low), three(interval.high));
            let title = format!("{method}: {} taught by {weak}: {range}", s.strong);
            Some(self.point(x, interval.mean, Some(interval), &seeds, title))
        };
        let mut points: Vec<Point> = summaries.filter_map(point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        curve(weak, colour, points)
    }

    fn point(&self, x: f64, mean: f64, interval: Option<Interval>, seeds: &[f64], title: String) -> Point {
        let place = |accuracy: f64| self.y.clipped(accuracy).0;
        // A single seed lies on the mean and would only blur it.
        let seeds = if seeds.len() > 1 { seeds } else { &[] };
        Point {
            x: round(x),
            y: place(mean),
            low: interval.map(|i| place(i.low)),
            high: interval.map(|i| place(i.high)),
            seeds: seeds.iter().copied().map(place).collect(),
            title,
        }
    }
}

fn curve(name: &str, colour: usize, points: Vec<Point>) -> Curve {
    let steps = points.iter().map(|point| format!("{} {}", point.x, point.y)).collect::<Vec<_>>();
    let path = if steps.len() > 1 { format!("M{}", steps.join("L")) } else { String::new() };
    Curve { name: name.to_owned(), colour, path, points }
}

fn accuracies<'a>(scores: impl Iterator<Item = &'a Score>, model: &str) -> Vec<f64> {
    scores.filter(|score| score.model == model).map(|score| score.accuracy).collect()
}

/// Their mean; none where there are none.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_student_supervisor_and_ceiling_is_drawn_inside_the_page() {
        let results = sample::results();
        let plot = AccuracyPlot::new(&results, &Colours::new(&results));
        assert_eq!(
            plot.panels.iter().map(|panel| panel.method.as_str()).collect::<Vec<_>>(),
            ["naive", "confidence"]
        );
        assert_eq!(plot.supervisors.len(), 2);
        assert_eq!(plot.ceiling.points.len(), 2);
        let points: Vec<&Point> = plot
            .panels
            .iter()
            .flat_map(|panel| &panel.curves)
            .chain([&plot.ceiling])
            .flat_map(|c| &c.points)
            .collect();
        assert_eq!(points.len(), results.summary.len() + 2);
        for point in points {
            let ys = point.seeds.iter().chain(&point.low).chain(&point.high).chain([&point.y]);
            assert!(ys.into_iter().all(|y| (TOP..=HEIGHT).contains(y)), "{point:?}");
            assert!((LEFT..=WIDTH - RIGHT).contains(&point.x), "{point:?}");
        }
    }

    #[test]
    fn higher_accuracy_stands_higher_and_larger_models_stand_further_right() {
        let results = sample::results();
        let plot = AccuracyPlot::new(&results, &Colours::new(&results));
        assert!(plot.models.is_sorted_by(|a, b| a.x < b.x), "{:?}", plot.models);
        let (first, last) = (&plot.ceiling.points[0], &plot.ceiling.points[1]);
        assert!(last.y < first.y, "{first:?} {last:?}");
    }

    #[test]
    fn labels_of_models_of_like_size_are_kept_apart() {
        let ladder: Vec<Model> = [1_000_000, 1_010_000, 1_020_000, 90_000_000]
            .map(|parameters| Model { name: format!("a-model-of-{parameters}"), parameters })
            .into();
        let ticks = model_ticks(&ladder);
        assert_eq!(ticks.iter().map(|(_, row)| *row).collect::<Vec<_>>(), [0, 1, 2, 0]);
    }

    #[test]
    fn one_model_alone_stands_in_the_middle() {
        let ticks = model_ticks(&[Model { name: "only".into(), parameters: 5 }]);
        assert!((ticks[0].0.x - (LEFT + WIDTH - RIGHT) / 2.0).abs() < 1.0);
    }
}
