//! An outcome for tests: a ladder of three, two methods, two seeds, and a pair whose gap is within noise.

use fulcrum_common::results::{Agreement, Interval, Model, NO_GAP, Results, SCHEMA, Score, Student, Summary};

use super::Outcome;

/// The whole outcome.
pub(super) fn outcome() -> Outcome {
    Outcome { experiment: "sample".into(), recipe: "weak-to-strong".into(), results: results() }
}

/// Its numbers.
pub(super) fn results() -> Results {
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
                note: pgr.is_none().then(|| NO_GAP.into()),
            });
        }
    }
    Results {
        schema: SCHEMA,
        test_rows: 1000,
        chance: 0.512,
        ladder: ladder.map(|(name, parameters)| Model { name: name.into(), parameters }).into(),
        supervisors: scores(&["small", "middle"], weak_accuracy),
        ceilings: scores(&["middle", "large"], ceiling_accuracy),
        students,
        summary,
    }
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
        seed,
        accuracy: accuracy(model) + 0.01 * (seed as f64 - 0.5),
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
        agreement: Agreement {
            overall: 0.85,
            supervisor_right: Some(0.95),
            supervisor_wrong: (seed == 0).then_some(0.6),
        },
        pgr: (strong == "large").then_some(0.5),
    }
}

fn around(mean: f64) -> Interval {
    Interval { mean, low: mean - 0.024, high: mean + 0.022 }
}
