//! Test accuracy of students in the course of their training, the best against the end: where every line and mark
//! lies. There only where results hold points on the way.

use fulcrum_common::results::{Results, Student};
use serde::Serialize;

use super::{
    accuracy_plot::{mean, methods},
    colours::Colours,
    scale::{Scale, round, three, tick_text, ticks},
};

const WIDTH: f64 = 520.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 500.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 230.0;

/// The panels, one for each method.
#[derive(Debug, Serialize)]
pub(super) struct CoursePlot {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    bottom: f64,
    x_ticks: Vec<(f64, String)>,
    y_ticks: Vec<(f64, String)>,
    panels: Vec<Panel>,
}

#[derive(Debug, Serialize)]
struct Panel {
    method: String,
    courses: Vec<Course>,
}

#[derive(Debug, Serialize)]
struct Course {
    colour: usize,
    path: String,
    best: (f64, f64),
    end: (f64, f64),
    title: String,
}

/// Mean accuracy over the seeds at each point of the training, the end last.
struct Means<'a> {
    method: &'a str,
    weak: &'a str,
    strong: &'a str,
    points: Vec<(f64, f64)>,
}

impl CoursePlot {
    /// Lays out the plot; none where nothing was tested on the way.
    pub(super) fn new(results: &Results, colours: &Colours) -> Option<Self> {
        let all: Vec<Means<'_>> =
            results.summary.iter().filter_map(|s| means(results, &s.method, &s.weak, &s.strong)).collect();
        let accuracies = || all.iter().flat_map(|one| one.points.iter().map(|point| point.1));
        let (low, high) = (accuracies().reduce(f64::min)?, accuracies().reduce(f64::max)?);
        let levels = ticks(low, high, 5);
        let x = Scale::new((0.0, 1.0), (LEFT, RIGHT));
        let y = Scale::new((levels[0], levels[levels.len() - 1]), (BOTTOM, TOP));
        let panel = |method: &str| Panel {
            method: method.to_owned(),
            courses: all
                .iter()
                .filter(|one| one.method == method)
                .map(|one| course(one, colours, &x, &y))
                .collect(),
        };
        let panels = methods(results).into_iter().map(panel).filter(|panel| !panel.courses.is_empty());
        Some(Self {
            width: WIDTH,
            height: BOTTOM + 40.0,
            left: LEFT,
            right: RIGHT,
            bottom: BOTTOM,
            x_ticks: [0.0, 0.25, 0.5, 0.75, 1.0].map(|level| (x.place(level), tick_text(level))).into(),
            y_ticks: levels.iter().map(|&level| (y.place(level), tick_text(level))).collect(),
            panels: panels.collect(),
        })
    }
}

fn means<'a>(results: &Results, method: &'a str, weak: &'a str, strong: &'a str) -> Option<Means<'a>> {
    let is =
        |s: &&Student| s.method == method && s.weak == weak && s.strong == strong && !s.points.is_empty();
    let students: Vec<&Student> = results.students.iter().filter(is).collect();
    let mut at: Vec<f64> = students.first()?.points.iter().map(|point| point.progress).collect();
    // Only where every seed was tested is a mean of all seeds.
    at.retain(|&progress| students.iter().all(|s| s.points.iter().any(|point| point.progress == progress)));
    let of = |progress: f64| {
        let found =
            students.iter().flat_map(|s| s.points.iter().filter(move |point| point.progress == progress));
        mean(&found.map(|point| point.accuracy).collect::<Vec<_>>())
    };
    let mut points: Vec<(f64, f64)> =
        at.iter().filter_map(|&progress| Some((progress, of(progress)?))).collect();
    let end = mean(&students.iter().map(|student| student.accuracy).collect::<Vec<_>>())?;
    points.push((1.0, end));
    Some(Means { method, weak, strong, points })
}

fn course(one: &Means<'_>, colours: &Colours, x: &Scale, y: &Scale) -> Course {
    let place = |&(progress, accuracy): &(f64, f64)| (round(x.place(progress)), y.clipped(accuracy).0);
    let end = one.points[one.points.len() - 1];
    // The earliest of equals.
    let best =
        one.points.iter().fold(one.points[0], |best, point| if point.1 > best.1 { *point } else { best });
    let steps: Vec<String> = one.points.iter().map(place).map(|(x, y)| format!("{x} {y}")).collect();
    Course {
        colour: colours.of(one.weak),
        path: format!("M{}", steps.join("L")),
        best: place(&best),
        end: place(&end),
        title: format!(
            "{}, {} to {}: best {} at {} of the training, {} at its end",
            one.method,
            one.weak,
            one.strong,
            three(best.1),
            tick_text(best.0),
            three(end.1)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_best_point_stands_above_the_end_and_nothing_is_drawn_without_points() {
        let mut results = sample::results();
        let plot = CoursePlot::new(&results, &Colours::new(&results)).unwrap();
        assert_eq!(plot.panels.iter().map(|panel| panel.courses.len()).collect::<Vec<_>>(), [3, 3]);
        for course in plot.panels.iter().flat_map(|panel| &panel.courses) {
            assert!(course.best.1 < course.end.1 && course.best.0 < course.end.0, "{course:?}");
            assert!(course.title.contains("at 0.5 of the training"), "{course:?}");
        }
        // A point that one seed lacks is no mean of both.
        results
            .students
            .iter_mut()
            .filter(|s| s.seed == 1)
            .for_each(|s| s.points.retain(|p| p.progress != 0.5));
        let plot = CoursePlot::new(&results, &Colours::new(&results)).unwrap();
        assert!(plot.panels[0].courses[0].title.contains("at 0.75 of the training"), "{plot:?}");
        results.students.iter_mut().for_each(|student| student.points.clear());
        assert!(CoursePlot::new(&results, &Colours::new(&results)).is_none());
    }
}
