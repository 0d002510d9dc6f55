//! From the predictions of a weak-to-strong experiment to its results.

use std::collections::BTreeMap;

use super::{Bootstrap, MetricsError, accuracy, agreement, chance, percentiles, pgr};
use crate::{
    plan::Role,
    results::{Interval, Model, NO_GAP, Results, SCHEMA, Score, Student, Summary},
};

/// What one trained model says about the test rows.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// What the model is in the experiment.
    pub role: Role,
    /// Seed of its training.
    pub seed: u64,
    /// How many numbers were trained.
    pub parameters: u64,
    /// The class it names, per test row.
    pub classes: Vec<i32>,
}

/// Accuracy of every model, agreement of every student, and PGR by (method, weak, strong) with 95 % intervals.
/// Methods keep the order in which they first come. Models that predict nothing are left out of the ladder.
///
/// # Errors
/// If predictions do not fit the rows or the ladder, come twice, or lack their partners.
pub fn weak_to_strong(
    ladder: &[String],
    labels: &[i32],
    predicted: &[Predicted],
    bootstrap: Bootstrap,
) -> Result<Results, MetricsError> {
    if labels.is_empty() {
        return Err(MetricsError::NoRows);
    }
    if bootstrap.draws == 0 {
        return Err(MetricsError::NoDraws);
    }
    let places = Places::new(ladder, labels, predicted)?;
    let correct: Vec<Vec<bool>> = places.iter().map(|p| right(&p.classes, labels)).collect();
    let draws = bootstrap.accuracies(&correct);
    let summary =
        places.groups()?.iter().map(|group| group.summary(labels, &places, &draws, bootstrap)).collect();
    Ok(Results {
        schema: SCHEMA,
        test_rows: labels.len() as u64,
        chance: chance(labels),
        ladder: places.models(),
        supervisors: places.scores(labels, |role| matches!(role, Role::Weak { .. })),
        ceilings: places.scores(labels, |role| matches!(role, Role::Ceiling { .. })),
        students: places.students(labels)?,
        summary,
    })
}

fn right(classes: &[i32], labels: &[i32]) -> Vec<bool> {
    classes.iter().zip(labels).map(|(class, label)| class == label).collect()
}

/// The predictions in the order of the results, each found by role and seed.
struct Places<'a> {
    ladder: &'a [String],
    sorted: Vec<&'a Predicted>,
    found: BTreeMap<(Role, u64), usize>,
}

/// Positions of the supervisors, students and ceilings of one (method, weak, strong), by seed.
struct Group {
    method: String,
    weak: String,
    strong: String,
    trios: Vec<[usize; 3]>,
}

impl<'a> Places<'a> {
    fn new(ladder: &'a [String], labels: &[i32], predicted: &'a [Predicted]) -> Result<Self, MetricsError> {
        let rung = |model: &String| {
            let at = ladder.iter().position(|name| name == model);
            at.ok_or_else(|| MetricsError::Model(model.clone()))
        };
        let mut methods: Vec<&String> = Vec::new();
        let mut ordered = Vec::with_capacity(predicted.len());
        for prediction in predicted {
            if prediction.classes.len() != labels.len() {
                let (found, expected) = (prediction.classes.len(), labels.len());
                return Err(MetricsError::Rows { prediction: words(prediction), found, expected });
            }
            let order = match &prediction.role {
                Role::Weak { model } => (0, rung(model)?, 0),
                Role::Ceiling { model, method } => (1, rung(model)?, usize::from(method.is_some())),
                Role::Student { method, weak, strong } => {
                    let known = methods.iter().position(|name| *name == method);
                    let at = known.unwrap_or(methods.len());
                    if known.is_none() {
                        methods.push(method);
                    }
                    (2 + at, rung(weak)?, rung(strong)?)
                }
            };
            ordered.push((order, prediction));
        }
        ordered.sort_by_key(|(order, prediction)| (*order, prediction.seed));
        let sorted: Vec<&Predicted> = ordered.into_iter().map(|(_, prediction)| prediction).collect();
        let mut found = BTreeMap::new();
        for (at, prediction) in sorted.iter().enumerate() {
            if found.insert((prediction.role.clone(), prediction.seed), at).is_some() {
                return Err(MetricsError::Twice(words(prediction)));
            }
        }
        Ok(Self { ladder, sorted, found })
    }

    fn iter(&self) -> impl Iterator<Item = &'a Predicted> {
        self.sorted.iter().copied()
    }

    fn models(&self) -> Vec<Model> {
        let parameters = |name: &String| {
            self.iter().find(|prediction| strong_of(&prediction.role) == name).map(|found| found.parameters)
        };
        let model = |name: &String| Some(Model { name: name.clone(), parameters: parameters(name)? });
        self.ladder.iter().filter_map(model).collect()
    }

    fn scores(&self, labels: &[i32], wanted: fn(&Role) -> bool) -> Vec<Score> {
        let wanted = self.iter().filter(|prediction| wanted(&prediction.role));
        wanted
            .map(|prediction| Score {
                model: strong_of(&prediction.role).clone(),
                method: match &prediction.role {
                    Role::Ceiling { method, .. } => method.clone(),
                    _ => None,
                },
                seed: prediction.seed,
                accuracy: accuracy(&prediction.classes, labels),
            })
            .collect()
    }

    fn students(&self, labels: &[i32]) -> Result<Vec<Student>, MetricsError> {
        let mut students = Vec::new();
        for group in self.groups()? {
            for trio in &group.trios {
                let [weak, student, ceiling] = trio.map(|at| self.sorted[at]);
                let accuracy_of = |prediction: &Predicted| accuracy(&prediction.classes, labels);
                students.push(Student {
                    method: group.method.clone(),
                    weak: group.weak.clone(),
                    strong: group.strong.clone(),
                    seed: student.seed,
                    accuracy: accuracy_of(student),
                    agreement: agreement(&student.classes, &weak.classes, labels),
                    pgr: pgr(accuracy_of(weak), accuracy_of(student), accuracy_of(ceiling)),
                });
            }
        }
        Ok(students)
    }

    fn groups(&self) -> Result<Vec<Group>, MetricsError> {
        let mut groups: Vec<Group> = Vec::new();
        for (at, prediction) in self.iter().enumerate() {
            let Role::Student { method, weak, strong } = &prediction.role else { continue };
            let own = Role::Ceiling { model: strong.clone(), method: Some(method.clone()) };
            let ceiling = match self.partner(prediction, own) {
                Ok(own) => own,
                Err(_) => self.partner(prediction, Role::Ceiling { model: strong.clone(), method: None })?,
            };
            let trio = [self.partner(prediction, Role::Weak { model: weak.clone() })?, at, ceiling];
            match groups.last_mut() {
                Some(last) if (&last.method, &last.weak, &last.strong) == (method, weak, strong) => {
                    last.trios.push(trio);
                }
                _ => groups.push(Group {
                    method: method.clone(),
                    weak: weak.clone(),
                    strong: strong.clone(),
                    trios: vec![trio],
                }),
            }
        }
        Ok(groups)
    }

    fn partner(&self, student: &Predicted, role: Role) -> Result<usize, MetricsError> {
        let key = (role, student.seed);
        self.found.get(&key).copied().ok_or_else(|| {
            let partner = match &key.0 {
                Role::Weak { model } => format!("supervisor {model:?}"),
                other => format!("ceiling {:?}", strong_of(other)),
            };
            MetricsError::Partner { student: words(student), partner }
        })
    }
}

impl Group {
    fn summary(
        &self,
        labels: &[i32],
        places: &Places<'_>,
        draws: &[Vec<f64>],
        bootstrap: Bootstrap,
    ) -> Summary {
        let exact: Vec<f64> = places.iter().map(|p| accuracy(&p.classes, labels)).collect();
        let point = self.means(&exact, &(0..self.trios.len()).collect::<Vec<_>>());
        let drawn: Vec<[f64; 3]> = draws
            .iter()
            .enumerate()
            .map(|(draw, accuracies)| self.means(accuracies, &bootstrap.seeds(draw, self.trios.len())))
            .collect();
        let interval = |number: fn(&[f64; 3]) -> f64| {
            let (low, high) = percentiles(drawn.iter().map(number).collect());
            Interval { mean: number(&point), low, high }
        };
        let gap = interval(|[weak, _, ceiling]| ceiling - weak);
        let pgr = if gap.low > 0.0 { recovered(&point, &drawn) } else { None };
        Summary {
            method: self.method.clone(),
            weak: self.weak.clone(),
            strong: self.strong.clone(),
            seeds: self.trios.len() as u64,
            weak_accuracy: interval(|trio| trio[0]),
            student_accuracy: interval(|trio| trio[1]),
            ceiling_accuracy: interval(|trio| trio[2]),
            gap,
            pgr,
            note: pgr.is_none().then(|| NO_GAP.to_owned()),
        }
    }

    /// Mean accuracy of supervisors, students and ceilings over the seeds at `picked`.
    fn means(&self, accuracies: &[f64], picked: &[usize]) -> [f64; 3] {
        [0, 1, 2].map(|who| {
            picked.iter().map(|&seed| accuracies[self.trios[seed][who]]).sum::<f64>() / picked.len() as f64
        })
    }
}

/// PGR of the means. A draw without a gap has none: it counts as infinitely low for the lower end and as infinitely
/// high for the upper, so it can only widen the interval.
fn recovered(point: &[f64; 3], drawn: &[[f64; 3]]) -> Option<Interval> {
    let of = |trio: &[f64; 3]| pgr(trio[0], trio[1], trio[2]);
    let with = |absent: f64| percentiles(drawn.iter().map(|trio| of(trio).unwrap_or(absent)).collect());
    let (low, high) = (with(f64::NEG_INFINITY).0, with(f64::INFINITY).1);
    let mean = of(point)?;
    (low.is_finite() && high.is_finite()).then_some(Interval { mean, low, high })
}

/// The model that was trained.
fn strong_of(role: &Role) -> &String {
    match role {
        Role::Weak { model } | Role::Ceiling { model, .. } | Role::Student { strong: model, .. } => model,
    }
}

fn words(prediction: &Predicted) -> String {
    let seed = prediction.seed;
    match &prediction.role {
        Role::Weak { model } => format!("weak {model} seed {seed}"),
        Role::Ceiling { model, method: None } => format!("ceiling {model} seed {seed}"),
        Role::Ceiling { model, method: Some(method) } => format!("ceiling of {method} {model} seed {seed}"),
        Role::Student { method, weak, strong } => format!("student {method} {weak}>{strong} seed {seed}"),
    }
}

#[cfg(test)]
mod tests;
