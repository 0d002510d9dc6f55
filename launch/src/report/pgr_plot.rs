//! Performance gap recovered, by pair and method, with intervals: where every line and mark lies.

use fulcrum_common::results::{Results, Summary};
use serde::Serialize;

use super::{
    colours::Colours,
    scale::{Scale, tick_text, ticks, two},
};

pub(super) const WIDTH: f64 = 520.0;
pub(super) const LEFT: f64 = 112.0;
pub(super) const RIGHT: f64 = 382.0;
pub(super) const TOP: f64 = 30.0;
pub(super) const PAIR: f64 = 26.0;
pub(super) const ROW: f64 = 22.0;
const GAP: f64 = 10.0;
/// A method's name in front of the plot is cut to this many characters.
const NAME: usize = 14;
/// Further out lies only noise: intervals are cut here and end in an arrow.
const FURTHEST: (f64, f64) = (-1.0, 2.0);

/// The plot.
#[derive(Debug, Serialize)]
pub(super) struct PgrPlot {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    zero: f64,
    one: f64,
    ticks: Vec<Tick>,
    pairs: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Tick {
    x: f64,
    text: String,
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
    title: String,
    mark: Option<Mark>,
}

#[derive(Debug, Serialize)]
struct Mark {
    x: f64,
    low: f64,
    high: f64,
    low_cut: bool,
    high_cut: bool,
}

impl PgrPlot {
    /// Lays out the plot.
    pub(super) fn new(results: &Results, colours: &Colours) -> Self {
        let levels = levels(results);
        let scale = Scale::new((levels[0], levels[levels.len() - 1]), (LEFT, RIGHT));
        let mut y = TOP;
        let mut pairs: Vec<Pair> = Vec::new();
        for (weak, strong) in pairs_of(results) {
            let of_pair = results.summary.iter().filter(|s| s.weak == weak && s.strong == strong);
            let heading = y + PAIR / 2.0;
            y += PAIR;
            let rows = of_pair.map(|summary| {
                y += ROW;
                row(summary, y - ROW / 2.0, &scale)
            });
            let rows = rows.collect();
            let colour = colours.of(weak);
            pairs.push(Pair { weak: weak.into(), strong: strong.into(), colour, y: heading, rows });
            y += GAP;
        }
        Self {
            width: WIDTH,
            height: y + 28.0,
            left: LEFT,
            right: RIGHT,
            top: TOP,
            bottom: y,
            zero: scale.place(0.0),
            one: scale.place(1.0),
            ticks: levels
                .iter()
                .map(|&level| Tick { x: scale.place(level), text: tick_text(level) })
                .collect(),
            pairs,
        }
    }
}

/// The pairs in the order of the ladder.
pub(super) fn pairs_of(results: &Results) -> Vec<(&str, &str)> {
    let position = |name: &str| results.ladder.iter().position(|model| model.name == name);
    let mut pairs: Vec<(&str, &str)> =
        results.summary.iter().map(|s| (s.weak.as_str(), s.strong.as_str())).collect();
    pairs.sort_by_key(|&(weak, strong)| (position(weak), position(strong)));
    pairs.dedup();
    pairs
}

/// Ticks of the axis: 0, 1 and what the intervals need, within reason.
fn levels(results: &Results) -> Vec<f64> {
    let known = results.summary.iter().filter_map(|summary| summary.pgr);
    let (low, high) = known.fold((0.0, 1.0), |(low, high): (f64, f64), i| (low.min(i.low), high.max(i.high)));
    ticks(low.max(FURTHEST.0), high.min(FURTHEST.1), 5)
}

fn row(summary: &Summary, y: f64, scale: &Scale) -> Row {
    let method = shortened(&summary.method);
    let who = format!("{}, {} to {}", summary.method, summary.weak, summary.strong);
    let Some(pgr) = summary.pgr else {
        let why = why_none(summary);
        return Row { method, y, text: "n/a".into(), title: format!("{who}: {why}"), mark: None };
    };
    let text = format!("{} [{}, {}]", two(pgr.mean), two(pgr.low), two(pgr.high));
    let ((low, low_cut), (high, high_cut)) = (scale.clipped(pgr.low), scale.clipped(pgr.high));
    let mark = Mark { x: scale.clipped(pgr.mean).0, low, high, low_cut, high_cut };
    Row { method, y, title: format!("{who}: PGR {text}"), text, mark: Some(mark) }
}

/// Why there is no PGR.
pub(super) fn why_none(summary: &Summary) -> &'static str {
    let why = summary.flags.iter().find(|flag| flag.withholds_pgr());
    why.map_or("there is no interval for it", |flag| flag.words())
}

pub(super) fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(NAME - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use fulcrum_common::results::Interval;

    use super::*;
    use crate::report::sample;

    fn plot(results: &Results) -> PgrPlot {
        PgrPlot::new(results, &Colours::new(results))
    }

    #[test]
    fn every_summary_has_a_row_and_what_is_not_available_says_so() {
        let results = sample::results();
        let plot = plot(&results);
        let rows: Vec<&Row> = plot.pairs.iter().flat_map(|pair| &pair.rows).collect();
        assert_eq!(rows.len(), results.summary.len());
        let missing: Vec<&&Row> = rows.iter().filter(|row| row.mark.is_none()).collect();
        assert_eq!(missing.len(), results.summary.iter().filter(|summary| summary.pgr.is_none()).count());
        assert!(missing.iter().all(|row| row.text == "n/a" && row.title.contains("not above noise")));
    }

    #[test]
    fn the_mark_lies_between_the_ends_of_its_interval() {
        let plot = plot(&sample::results());
        for mark in plot.pairs.iter().flat_map(|pair| &pair.rows).filter_map(|row| row.mark.as_ref()) {
            assert!(mark.low <= mark.x && mark.x <= mark.high, "{mark:?}");
            assert!(!mark.low_cut && !mark.high_cut, "{mark:?}");
        }
        assert!(plot.left <= plot.zero && plot.zero < plot.one && plot.one <= plot.right);
    }

    #[test]
    fn an_interval_out_of_reach_is_cut_and_says_so() {
        let mut results = sample::results();
        results.summary[0].pgr = Some(Interval { mean: 0.5, low: -40.0, high: 1e9 });
        let plot = plot(&results);
        let mark = plot
            .pairs
            .iter()
            .flat_map(|pair| &pair.rows)
            .filter_map(|row| row.mark.as_ref())
            .find(|m| m.low_cut);
        let mark = mark.expect("an interval that is cut");
        assert!(mark.high_cut);
        assert_eq!((mark.low, mark.high), (LEFT, RIGHT));
    }

    #[test]
    fn a_long_method_name_is_shortened_not_overlaid() {
        assert_eq!(shortened("confidence"), "confidence");
        assert_eq!(shortened("a-very-long-method-name"), "a-very-long-m…");
    }
}
