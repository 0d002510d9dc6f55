//! An outcome for tests: a ladder of three, two methods, two seeds, and a pair whose gap is within noise.

use fulcrum_common::results::{
    Agreement, AgreementIntervals, Contradiction, Flag, Interval, Legality, Model, Moves, Point,
    Probabilistic, Recovered, Results, SCHEMA, Score, Student, Summary,
};

use super::Outcome;

/// The whole outcome.
pub(super) fn outcome() -> Outcome {
    Outcome { experiment: "sample".into(), recipe: "weak-to-strong".into(), results: results() }
}

/// Its numbers.
pub(crate) fn results() -> Results {
    let ladder = [("small", 236_800), ("middle", 912_000), ("large", 5_400_000)];
    let pairs = [
        ("small", "middle", 0.79, None),
        ("small", "large", 0.842, Some((0.61, 0.48, 0.73))),
        ("middle", "large", 0.885, Some((0.44, 0.2, 0.67))),
    ];
    let methods = [("naive", 0.0), ("confidence", 0.021)];
    let mut students = Vec::new();
    let mut summary = Vec::new();
    for (method, bonus) in methods {
        for (weak, strong, accuracy, pgr) in pairs {
            let accuracy = accuracy + bonus;
            students.extend([0, 1].map(|seed| student(method, weak, strong, seed, accuracy)));
            summary.push(Summary {
                method: method.into(),
                weak: weak.into(),
                strong: strong.into(),
                seeds: 2,
                weak_accuracy: around(weak_accuracy(weak)),
                student_accuracy: around(accuracy),
                ceiling_accuracy: around(ceiling_accuracy(strong)),
                gap: around(ceiling_accuracy(strong) - weak_accuracy(weak)),
                pgr: pgr.map(|(mean, low, high)| Interval {
                    mean: mean + bonus,
                    low: low + bonus,
                    high: high + bonus,
                }),
                auroc: Some(Recovered {
                    weak: around(weak_accuracy(weak) + 0.05),
                    student: around(accuracy + 0.05),
                    ceiling: around(ceiling_accuracy(strong) + 0.04),
                    gap: around(ceiling_accuracy(strong) - weak_accuracy(weak) - 0.01),
                    pgr: pgr.map(|(mean, low, high)| Interval { mean, low, high }),
                }),
                agreement: AgreementIntervals {
                    overall: around(0.85 - bonus),
                    supervisor_right: Some(around(0.94 + bonus)),
                    supervisor_wrong: Some(around(0.61 - 4.0 * bonus)),
                },
                legality: None,
                flags: if pgr.is_none() { vec![Flag::GapWithinNoise] } else { vec![] },
            });
        }
    }
    Results {
        per_question: None,
        schema: SCHEMA,
        test_rows: 1000,
        left_out: 0,
        chance: 0.512,
        ladder: ladder.map(|(name, parameters)| Model { name: name.into(), parameters }).into(),
        supervisors: scores(&["small", "middle"], weak_accuracy),
        ceilings: scores(&["middle", "large"], ceiling_accuracy),
        students,
        summary,
    }
}

/// Results of which every number of a pair has its moves: 6, 8 and 9 of ten are legal, one is no move at all.
pub(crate) fn of_chess() -> Results {
    let mut results = results();
    let moves = |legal| Moves { legal, illegal: 9 - legal, unreadable: 1 };
    for summary in &mut results.summary {
        summary.legality = Some(Legality { weak: moves(6), student: moves(8), ceiling: moves(9) });
    }
    results
}

fn weak_accuracy(model: &str) -> f64 {
    if model == "small" { 0.712 } else { 0.803 }
}

fn ceiling_accuracy(model: &str) -> f64 {
    if model == "large" { 0.931 } else { 0.826 }
}

fn scores(models: &[&str], accuracy: fn(&str) -> f64) -> Vec<Score> {
    let score = |model: &str, seed| Score {
        model: model.into(),
        method: None,
        seed,
        accuracy: accuracy(model) + 0.01 * (seed as f64 - 0.5),
        balanced_accuracy: accuracy(model),
        probabilistic: Some(probabilistic(accuracy(model))),
        moves: None,
    };
    models.iter().flat_map(|model| [0, 1].map(|seed| score(model, seed))).collect()
}

fn student(method: &str, weak: &str, strong: &str, seed: u64, accuracy: f64) -> Student {
    Student {
        method: method.into(),
        weak: weak.into(),
        strong: strong.into(),
        seed,
        accuracy: accuracy + 0.016 * (seed as f64 - 0.5),
        balanced_accuracy: accuracy,
        probabilistic: Some(probabilistic(accuracy)),
        contradiction: Some(Contradiction {
            confident: 0.7,
            rate: Some(0.012),
            overconfidence: 0.081,
            errors_copied: Some(0.55),
        }),
        points: [(0.25, -0.02), (0.5, 0.012), (0.75, 0.006)]
            .map(|(progress, more)| Point { progress, accuracy: accuracy + more })
            .into(),
        agreement: Agreement {
            overall: 0.85,
            supervisor_right: Some(0.95),
            supervisor_wrong: (seed == 0).then_some(0.6),
        },
        pgr: (strong == "large").then_some(0.5),
        moves: None,
    }
}

fn probabilistic(accuracy: f64) -> Probabilistic {
    let (log_loss, auroc) = (1.2 - accuracy, Some(accuracy + 0.05));
    Probabilistic { log_loss, ece: 0.043, ece_sweep: Some(0.051), auroc }
}

fn around(mean: f64) -> Interval {
    Interval { mean, low: mean - 0.024, high: mean + 0.022 }
}
