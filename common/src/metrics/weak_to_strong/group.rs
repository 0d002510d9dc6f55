//! One (method, weak, strong) over all seeds, with intervals.

use super::Places;
use crate::{
    metrics::{Bootstrap, Ranking, hits, percentiles, pgr},
    results::{AgreementIntervals, Flag, Interval, Legality, Moves, Recovered, Summary},
};

/// Positions of the supervisors, students and ceilings of one (method, weak, strong), by seed.
pub(super) struct Group {
    pub(super) method: String,
    pub(super) weak: String,
    pub(super) strong: String,
    pub(super) trios: Vec<[usize; 3]>,
    /// Whether a student of them saw true labels.
    pub(super) oracle: bool,
}

/// The same numbers of all rows, and of the rows of every draw.
pub(super) struct Drawn {
    all: Numbers,
    draws: Vec<Numbers>,
    bootstrap: Bootstrap,
}

/// What rows say: accuracies and areas by prediction, agreements by group and seed. Overall, where the supervisor is
/// right, where it is wrong.
struct Numbers {
    accuracies: Vec<Option<f64>>,
    aurocs: Vec<Option<f64>>,
    agreements: Vec<Vec<[Option<f64>; 3]>>,
}

/// Row by row, what the numbers are counted from.
struct Rows {
    correct: Vec<Vec<bool>>,
    rankings: Vec<Option<Ranking>>,
    /// Of each student: where it agrees, and where it agrees with a supervisor that is right.
    agreeing: Vec<Vec<(usize, [Vec<bool>; 2])>>,
}

impl Rows {
    fn new(places: &Places<'_>, groups: &[Group], labels: &[i32]) -> Self {
        let right =
            |classes: &[i32]| classes.iter().zip(labels).map(|(class, label)| class == label).collect();
        let correct: Vec<Vec<bool>> = places.iter().map(|p| right(&p.classes)).collect();
        let ranking = |probabilities: &Vec<Vec<f32>>| Ranking::new(probabilities, labels);
        let agreeing = |&[weak, student, _]: &[usize; 3]| {
            let (taught, said) = (&places.at(weak).classes, &places.at(student).classes);
            let same: Vec<bool> = taught.iter().zip(said).map(|(taught, said)| taught == said).collect();
            let both = same.iter().zip(&correct[weak]).map(|(&same, &right)| same && right).collect();
            (weak, [same, both])
        };
        Self {
            agreeing: groups.iter().map(|group| group.trios.iter().map(agreeing).collect()).collect(),
            rankings: places.iter().map(|p| p.probabilities.as_ref().and_then(ranking)).collect(),
            correct,
        }
    }

    fn numbers(&self, times: &[u32]) -> Numbers {
        let rows = times.iter().map(|&times| u64::from(times)).sum::<u64>();
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let right: Vec<u64> = self.correct.iter().map(|correct| hits(correct, times)).collect();
        let agreement = |(weak, [same, both]): &(usize, [Vec<bool>; 2])| {
            let (same, both, right) = (hits(same, times), hits(both, times), right[*weak]);
            [share(same, rows), share(both, right), share(same - both, rows - right)]
        };
        Numbers {
            aurocs: self.rankings.iter().map(|ranking| ranking.as_ref()?.auroc(times)).collect(),
            agreements: self.agreeing.iter().map(|group| group.iter().map(agreement).collect()).collect(),
            accuracies: right.into_iter().map(|right| share(right, rows)).collect(),
        }
    }
}

impl Drawn {
    pub(super) fn new(places: &Places<'_>, groups: &[Group], labels: &[i32], bootstrap: Bootstrap) -> Self {
        let rows = Rows::new(places, groups, labels);
        Self {
            all: rows.numbers(&vec![1; labels.len()]),
            draws: bootstrap.rows(labels.len(), |times| rows.numbers(times)),
            bootstrap,
        }
    }

    /// Three numbers of each seed, averaged over the seeds: of all rows and seeds, and of every draw. None where a
    /// seed has no such number.
    fn means(
        &self,
        seeds: usize,
        number: impl Fn(&Numbers, usize) -> [Option<f64>; 3],
    ) -> ([Option<f64>; 3], Vec<[Option<f64>; 3]>) {
        let mean = |numbers: &Numbers, picked: &[usize]| {
            let of_seeds: Vec<_> = picked.iter().map(|&seed| number(numbers, seed)).collect();
            [0, 1, 2].map(|which| {
                let sum: Option<f64> = of_seeds.iter().map(|numbers| numbers[which]).sum();
                sum.map(|sum| sum / picked.len() as f64)
            })
        };
        let drawn = self.draws.iter().enumerate();
        let drawn = drawn.map(|(draw, numbers)| mean(numbers, &self.bootstrap.seeds(draw, seeds)));
        (mean(&self.all, &(0..seeds).collect::<Vec<_>>()), drawn.collect())
    }
}

impl Group {
    /// What stands at place `at` of the groups that were drawn, in numbers.
    pub(super) fn summary(&self, at: usize, places: &Places<'_>, drawn: &Drawn, chance: f64) -> Summary {
        let seeds = self.trios.len();
        let trio = |numbers: fn(&Numbers) -> &Vec<Option<f64>>| {
            let (point, drawn) =
                drawn.means(seeds, |all, seed| self.trios[seed].map(|who| numbers(all)[who]));
            recovered(&point, &drawn)
        };
        let accuracy = trio(|numbers| &numbers.accuracies).expect("every prediction has an accuracy");
        let (point, draws) = drawn.means(seeds, |numbers, seed| numbers.agreements[at][seed]);
        let agreement = [0, 1, 2].map(|which| {
            let drawn: Vec<f64> = draws.iter().filter_map(|draw| draw[which]).collect();
            point[which].filter(|_| !drawn.is_empty()).map(|mean| interval(mean, drawn))
        });
        Summary {
            method: self.method.clone(),
            weak: self.weak.clone(),
            strong: self.strong.clone(),
            seeds: seeds as u64,
            weak_accuracy: accuracy.weak,
            student_accuracy: accuracy.student,
            ceiling_accuracy: accuracy.ceiling,
            gap: accuracy.gap,
            pgr: accuracy.pgr,
            auroc: trio(|numbers| &numbers.aurocs),
            agreement: AgreementIntervals {
                overall: agreement[0].expect("there are rows"),
                supervisor_right: agreement[1],
                supervisor_wrong: agreement[2],
            },
            legality: self.legality(places),
            flags: flags(&accuracy, chance, self.oracle),
        }
    }

    /// None unless all of them answer with moves.
    fn legality(&self, places: &Places<'_>) -> Option<Legality> {
        let of =
            |which: usize| self.trios.iter().map(|trio| places.at(trio[which]).moves).sum::<Option<Moves>>();
        Some(Legality { weak: of(0)?, student: of(1)?, ceiling: of(2)? })
    }
}

fn flags(accuracy: &Recovered, chance: f64, oracle: bool) -> Vec<Flag> {
    let below = accuracy.gap.mean <= 0.0;
    let all = [
        (Flag::CeilingBelowWeak, below),
        (Flag::GapWithinNoise, !below && accuracy.pgr.is_none()),
        (Flag::CeilingAtChance, accuracy.ceiling.low <= chance),
        (Flag::WeakAtChance, accuracy.weak.low <= chance),
        (Flag::SawTruth, oracle),
    ];
    all.into_iter().filter_map(|(flag, holds)| holds.then_some(flag)).collect()
}

/// The numbers of supervisor, student and ceiling, and PGR of the means. None where one of them has no number. Draws
/// without a number are left out.
pub(super) fn recovered(point: &[Option<f64>; 3], drawn: &[[Option<f64>; 3]]) -> Option<Recovered> {
    let whole = |trio: &[Option<f64>; 3]| Some([trio[0]?, trio[1]?, trio[2]?]);
    let point = whole(point)?;
    let drawn: Vec<[f64; 3]> = drawn.iter().filter_map(whole).collect();
    if drawn.is_empty() {
        return None;
    }
    let of = |number: fn(&[f64; 3]) -> f64| interval(number(&point), drawn.iter().map(number).collect());
    let gap = of(|[weak, _, ceiling]| ceiling - weak);
    let pgr = if gap.low > 0.0 { share_of_gap(&point, &drawn) } else { None };
    Some(Recovered {
        weak: of(|trio| trio[0]),
        student: of(|trio| trio[1]),
        ceiling: of(|trio| trio[2]),
        gap,
        pgr,
    })
}

/// PGR of the means. A draw without a gap has none: it counts as infinitely low for the lower end and as infinitely
/// high for the upper, so it can only widen the interval.
pub(super) fn share_of_gap(point: &[f64; 3], drawn: &[[f64; 3]]) -> Option<Interval> {
    let of = |trio: &[f64; 3]| pgr(trio[0], trio[1], trio[2]);
    let with = |absent: f64| percentiles(drawn.iter().map(|trio| of(trio).unwrap_or(absent)).collect());
    let (low, high) = (with(f64::NEG_INFINITY).0, with(f64::INFINITY).1);
    let mean = of(point)?;
    (low.is_finite() && high.is_finite()).then_some(Interval { mean, low, high })
}

fn interval(mean: f64, drawn: Vec<f64>) -> Interval {
    let (low, high) = percentiles(drawn);
    Interval { mean, low, high }
}
