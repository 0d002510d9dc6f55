//! Which prediction stands where: each found by role and seed, students with their partners.

use std::collections::BTreeMap;

use super::{Group, Predicted};
use crate::{metrics::MetricsError, plan::Role, results::Model};

/// Where a prediction stands among the results: kind, then weak and strong model by ladder position.
type Order = (usize, usize, usize);

/// The predictions at the end of their training in the order of the results, and those on the way.
pub(super) struct Places<'a> {
    ladder: &'a [String],
    sorted: Vec<&'a Predicted>,
    found: BTreeMap<(Role, u64), usize>,
    points: BTreeMap<(Role, u64), Vec<(f64, &'a Predicted)>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(
        ladder: &'a [String],
        labels: &[i32],
        predicted: &'a [Predicted],
    ) -> Result<Self, MetricsError> {
        let mut methods: Vec<&str> = Vec::new();
        let (mut ordered, mut points) = (Vec::with_capacity(predicted.len()), BTreeMap::new());
        for prediction in predicted {
            check(prediction, labels.len())?;
            let order = order(ladder, &mut methods, &prediction.role)?;
            match prediction.progress {
                None => ordered.push((order, prediction)),
                Some(progress) => {
                    let at = (prediction.role.clone(), prediction.seed);
                    points.entry(at).or_insert_with(Vec::new).push((progress, prediction));
                }
            }
        }
        ordered.sort_by_key(|(order, prediction)| (*order, prediction.seed));
        let sorted: Vec<&Predicted> = ordered.into_iter().map(|(_, prediction)| prediction).collect();
        let mut found = BTreeMap::new();
        for (at, prediction) in sorted.iter().enumerate() {
            if found.insert((prediction.role.clone(), prediction.seed), at).is_some() {
                return Err(MetricsError::Twice(words(prediction)));
            }
        }
        for (of, points) in &mut points {
            points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            let twice = points.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1);
            if let Some(prediction) = twice {
                return Err(MetricsError::Twice(words(prediction)));
            }
            if !found.contains_key(of) {
                let (student, partner) = (words(points[0].1), "prediction at the end".to_owned());
                return Err(MetricsError::Partner { student, partner });
            }
        }
        Ok(Self { ladder, sorted, found, points })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Predicted> {
        self.sorted.iter().copied()
    }

    pub(super) fn at(&self, place: usize) -> &'a Predicted {
        self.sorted[place]
    }

    /// What the same model said on the way, by progress.
    pub(super) fn on_the_way(&self, end: &Predicted) -> impl Iterator<Item = (f64, &'a Predicted)> {
        self.points.get(&(end.role.clone(), end.seed)).into_iter().flatten().copied()
    }

    pub(super) fn models(&self) -> Vec<Model> {
        let parameters = |name: &String| {
            self.iter().find(|prediction| strong_of(&prediction.role) == name).map(|found| found.parameters)
        };
        let model = |name: &String| Some(Model { name: name.clone(), parameters: parameters(name)? });
        self.ladder.iter().filter_map(model).collect()
    }

    pub(super) fn groups(&self) -> Result<Vec<Group>, MetricsError> {
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
                    last.oracle |= prediction.oracle;
                }
                _ => groups.push(Group {
                    method: method.clone(),
                    weak: weak.clone(),
                    strong: strong.clone(),
                    trios: vec![trio],
                    oracle: prediction.oracle,
                }),
            }
        }
        Ok(groups)
    }

    fn partner(&self, student: &Predicted, role: Role) -> Result<usize, MetricsError> {
        let key = (role, student.seed);
        self.found.get(&key).copied().ok_or_else(|| {
            let partner = match &key.0 {
                Role::Weak { model } => format!("supervisor {model:?} of its seed"),
                other => format!("ceiling {:?} of its seed", strong_of(other)),
            };
            MetricsError::Partner { student: words(student), partner }
        })
    }
}

fn check(prediction: &Predicted, rows: usize) -> Result<(), MetricsError> {
    let named = prediction.classes.len();
    if named != rows {
        return Err(MetricsError::Rows { prediction: words(prediction), found: named, expected: rows });
    }
    if let Some(found) = prediction.probabilities.as_ref().map(Vec::len).filter(|&found| found != rows) {
        return Err(MetricsError::Probabilities { prediction: words(prediction), found, expected: rows });
    }
    match prediction.progress {
        Some(progress) if !(progress > 0.0 && progress < 1.0) => {
            Err(MetricsError::Progress { prediction: words(prediction), progress: progress.to_string() })
        }
        _ => Ok(()),
    }
}

fn order<'a>(ladder: &[String], methods: &mut Vec<&'a str>, role: &'a Role) -> Result<Order, MetricsError> {
    let rung = |model: &String| {
        let at = ladder.iter().position(|name| name == model);
        at.ok_or_else(|| MetricsError::Model(model.clone()))
    };
    Ok(match role {
        Role::Weak { model } => (0, rung(model)?, 0),
        Role::Ceiling { model, method } => (1, rung(model)?, usize::from(method.is_some())),
        Role::Student { method, weak, strong } => {
            let known = methods.iter().position(|name| name == method);
            let at = known.unwrap_or(methods.len());
            if known.is_none() {
                methods.push(method);
            }
            (2 + at, rung(weak)?, rung(strong)?)
        }
    })
}

/// The model that was trained.
pub(super) fn strong_of(role: &Role) -> &String {
    match role {
        Role::Weak { model } | Role::Ceiling { model, .. } | Role::Student { strong: model, .. } => model,
    }
}

fn words(prediction: &Predicted) -> String {
    let seed = prediction.seed;
    let words = match &prediction.role {
        Role::Weak { model } => format!("weak {model} seed {seed}"),
        Role::Ceiling { model, method: None } => format!("ceiling {model} seed {seed}"),
        Role::Ceiling { model, method: Some(method) } => format!("ceiling of {method} {model} seed {seed}"),
        Role::Student { method, weak, strong } => format!("student {method} {weak}>{strong} seed {seed}"),
    };
    match prediction.progress {
        Some(progress) => format!("{words} at {progress}"),
        None => words,
    }
}
