//! `[grid]`.

use crate::experiment::{
    Method, Trial,
    keys::{Field, Raw},
    problem::Log,
};

/// Trials that an experiment may have: each of them trains every model.
const MOST_TRIALS: usize = 64;

/// Every combination of what is to be tried, the first key's values changing last.
pub(super) fn grid(raw: &Raw, methods: &[Method], log: &Log<'_>) -> Vec<Trial> {
    let keys = &raw.grid;
    let rates = values("learning_rate", &keys.learning_rate, log, |rate| rate.0);
    let passes = values("epochs", &keys.epochs, log, |count| count.0);
    let decays = values("weight_decay", &keys.weight_decay, log, |decay| decay.0);
    let mut trials = Vec::new();
    for &learning_rate in &rates {
        for &passes in &passes {
            trials.extend(decays.iter().map(|&weight_decay| Trial { learning_rate, passes, weight_decay }));
        }
    }
    if trials == [Trial::default()] {
        if keys.line.is_some() {
            log.add(keys.line, "grid tries nothing: give it a list, such as learning_rate = [1e-5, 1e-4]");
        }
        return Vec::new();
    }
    if trials.len() > MOST_TRIALS {
        let trials = trials.len();
        log.add(keys.line, format!("grid has {trials} combinations: take {MOST_TRIALS} at most"));
    }
    if raw.split.validation.value == 0 {
        log.add(keys.line, "grid chooses by held-out rows: it needs task.split.validation");
    }
    if let Some(model) = raw.models.iter().find(|model| model.learning_rate.line.is_some())
        && keys.learning_rate.line.is_some()
    {
        log.add(
            model.learning_rate.line,
            "model.learning_rate is not read: grid.learning_rate says what is tried",
        );
    }
    for made in raw.made.iter().filter(|made| made.probe_learning_rate.line.is_some()) {
        if keys.learning_rate.line.is_some() {
            let problem = "method.probe_learning_rate is not read: grid.learning_rate says what is tried";
            log.add(made.probe_learning_rate.line, problem);
        }
    }
    for method in methods.iter().filter(|method| method.moments > 1 && method.stop.is_none()) {
        let problem = "which of its trials is looked at is not known before";
        log.add(
            keys.line,
            format!("grid and the moments of {:?}: {problem}, so give it a stop", method.word),
        );
    }
    trials
}

/// The values of a key, each once; none where there are none.
fn values<T, V: PartialEq>(
    name: &str,
    field: &Field<Vec<T>>,
    log: &Log<'_>,
    value: impl Fn(&T) -> V,
) -> Vec<Option<V>> {
    let values: Vec<Option<V>> = field.value.iter().map(|it| Some(value(it))).collect();
    if values.iter().enumerate().any(|(at, value)| values[..at].contains(value)) {
        log.add(field.line, format!("grid.{name} has a value twice"));
    }
    if values.is_empty() { vec![None] } else { values }
}
