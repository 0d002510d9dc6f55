//! How often students say what their supervisors say, where those are right and where they are wrong: where every line
//! and mark lies. A student that copies errors has both marks in one place.

use fulcrum_common::results::{Interval, Results, Summary};
use serde::Serialize;

use super::{
    colours::Colours,
    pgr_plot::{LEFT, PAIR, RIGHT, ROW, TOP, WIDTH, pairs_of, shortened},
    scale::{Scale, tick_text, two},
};

const GAP: f64 = 10.0;

/// The plot.
#[derive(Debug, Serialize)]
pub(super) struct AgreementPlot {
    width: f64,
    height: f64,
    top: f64,
    left: f64,
    bottom: f64,
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
    title: String,
    right: Option<Mark>,
    wrong: Option<Mark>,
}

#[derive(Debug, Serialize)]
struct Mark {
    x: f64,
    low: f64,
    high: f64,
}

impl AgreementPlot {
    /// Lays out the plot.
    pub(super) fn new(results: &Results, colours: &Colours) -> Self {
        let scale = Scale::new((0.0, 1.0), (LEFT, RIGHT));
        let mut y = TOP;
        let mut pairs = Vec::new();
        for (weak, strong) in pairs_of(results) {
            let heading = y + PAIR / 2.0;
            y += PAIR;
            let of_pair = results.summary.iter().filter(|s| s.weak == weak && s.strong == strong);
            let rows = of_pair.map(|summary| {
                y += ROW;
                row(summary, y - ROW / 2.0, &scale)
            });
            let rows = rows.collect();
            let colour = colours.of(weak);
            pairs.push(Pair { weak: weak.into(), strong: strong.into(), colour, y: heading, rows });
            y += GAP;
        }
        let ticks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|level| (scale.place(level), tick_text(level))).into();
        Self { width: WIDTH, height: y + 28.0, top: TOP, left: LEFT, bottom: y, ticks, pairs }
    }
}

fn row(summary: &Summary, y: f64, scale: &Scale) -> Row {
    let agreement = summary.agreement;
    let mark = |interval: Interval| {
        let place = |value: f64| scale.clipped(value).0;
        Mark { x: place(interval.mean), low: place(interval.low), high: place(interval.high) }
    };
    let text = |interval: Option<Interval>| interval.map_or_else(|| "n/a".to_owned(), |i| two(i.mean));
    let (right, wrong) = (text(agreement.supervisor_right), text(agreement.supervisor_wrong));
    let title = format!(
        "{}, {} to {}: agrees on {} of all rows, on {right} where the supervisor is right, on {wrong} where it is wrong",
        summary.method,
        summary.weak,
        summary.strong,
        two(agreement.overall.mean)
    );
    Row {
        method: shortened(&summary.method),
        y,
        text: format!("{wrong} / {right}"),
        title,
        right: agreement.supervisor_right.map(mark),
        wrong: agreement.supervisor_wrong.map(mark),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn both_marks_of_every_summary_lie_on_the_axis_and_errors_left_of_the_rest() {
        let results = sample::results();
        let plot = AgreementPlot::new(&results, &Colours::new(&results));
        let rows: Vec<&Row> = plot.pairs.iter().flat_map(|pair| &pair.rows).collect();
        assert_eq!(rows.len(), results.summary.len());
        for row in rows {
            let (right, wrong) = (row.right.as_ref().unwrap(), row.wrong.as_ref().unwrap());
            assert!(LEFT <= wrong.low && wrong.low <= wrong.x && wrong.x <= wrong.high, "{row:?}");
            assert!(wrong.x < right.x && right.x <= right.high && right.high <= RIGHT, "{row:?}");
        }
    }
}
