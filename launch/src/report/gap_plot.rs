//! Performance gap recovered over the width of the gap: where every mark lies. Colours stand for weak supervisors,
//! shapes for methods.

use fulcrum_common::results::Results;
use serde::Serialize;

use super::{
    accuracy_plot::methods,
    colours::Colours,
    scale::{Scale, tick_text, ticks, two},
};

const WIDTH: f64 = 520.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 506.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 250.0;
/// Further out lies only noise: marks are kept inside.
const FURTHEST: (f64, f64) = (-1.0, 2.0);

/// Outlines of the marks, around 0, in the order of the methods.
const SHAPES: [&str; 4] = [
    "M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z",
    "M-4.2 -4.2H4.2V4.2H-4.2Z",
    "M0 -5.4L5 4H-5Z",
    "M0 -5.8L5.8 0L0 5.8L-5.8 0Z",
];

/// The plot.
#[derive(Debug, Serialize)]
pub(super) struct GapPlot {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    zero: f64,
    one: f64,
    x_ticks: Vec<(f64, String)>,
    y_ticks: Vec<(f64, String)>,
    /// Methods and their shapes.
    pub(super) shapes: Vec<(String, &'static str)>,
    points: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    x: f64,
    y: f64,
    low: f64,
    high: f64,
    colour: usize,
    shape: &'static str,
    title: String,
}

impl GapPlot {
    /// Lays out the plot; none where no pair has a PGR.
    pub(super) fn new(results: &Results, colours: &Colours) -> Option<Self> {
        let known: Vec<_> =
            results.summary.iter().filter_map(|summary| Some((summary, summary.pgr?))).collect();
        let widest = known.iter().map(|(summary, _)| summary.gap.mean).reduce(f64::max)?;
        let ends =
            known.iter().fold((0.0f64, 1.0f64), |(low, high), (_, i)| (low.min(i.low), high.max(i.high)));
        let (x_levels, y_levels) =
            (ticks(0.0, widest, 5), ticks(ends.0.max(FURTHEST.0), ends.1.min(FURTHEST.1), 5));
        let span = |levels: &[f64]| (levels[0], levels[levels.len() - 1]);
        let (x, y) = (Scale::new(span(&x_levels), (LEFT, RIGHT)), Scale::new(span(&y_levels), (BOTTOM, TOP)));
        let shape = |at: usize| SHAPES[at % SHAPES.len()];
        let names = methods(results);
        let points = known.iter().map(|(summary, pgr)| {
            let at = names.iter().position(|name| *name == summary.method).unwrap_or(0);
            Point {
                x: x.clipped(summary.gap.mean).0,
                y: y.clipped(pgr.mean).0,
                low: y.clipped(pgr.low).0,
                high: y.clipped(pgr.high).0,
                colour: colours.of(&summary.weak),
                shape: shape(at),
                title: format!(
                    "{}, {} to {}: gap {}, PGR {} [{}, {}]",
                    summary.method,
                    summary.weak,
                    summary.strong,
                    two(summary.gap.mean),
                    two(pgr.mean),
                    two(pgr.low),
                    two(pgr.high)
                ),
            }
        });
        let labelled = |levels: &[f64], scale: &Scale| {
            levels.iter().map(|&level| (scale.place(level), tick_text(level))).collect::<Vec<_>>()
        };
        Some(Self {
            width: WIDTH,
            height: BOTTOM + 40.0,
            left: LEFT,
            right: RIGHT,
            top: TOP,
            bottom: BOTTOM,
            zero: y.place(0.0),
            one: y.place(1.0),
            x_ticks: labelled(&x_levels, &x),
            y_ticks: labelled(&y_levels, &y),
            shapes: names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), shape(at))).collect(),
            points: points.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_pgr_has_its_mark_and_wider_gaps_stand_further_right() {
        let mut results = sample::results();
        let plot = GapPlot::new(&results, &Colours::new(&results)).unwrap();
        let known = results.summary.iter().filter(|summary| summary.pgr.is_some()).count();
        assert_eq!((plot.points.len(), plot.shapes.len()), (known, 2));
        assert!(
            plot.points[1].x < plot.points[0].x,
            "middle to large has the narrower gap: {:?}",
            plot.points
        );
        assert!(plot.points.iter().all(|p| p.high <= p.y && p.y <= p.low), "{:?}", plot.points);
        assert_ne!(plot.points[0].shape, plot.points[known - 1].shape);
        results.summary.iter_mut().for_each(|summary| summary.pgr = None);
        assert!(GapPlot::new(&results, &Colours::new(&results)).is_none());
    }
}
