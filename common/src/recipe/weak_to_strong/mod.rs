//! Weak-to-strong generalization (Burns et al. 2023, section 3): weak supervisors learn from ground truth,
//! strong students from the supervisors' soft labels on other rows, strong ceilings from the ground truth of those
//! same rows; all are tested on held-out rows.

mod bases;
mod examination;
mod learning;
mod lessons;
mod prompting;

use std::collections::BTreeMap;

use self::{
    bases::{Base, Bases},
    learning::{Lesson, Teacher},
};
use super::RecipeError;
use crate::{
    Key,
    experiment::{Experiment, Method, Pair, Tuning},
    plan::{Measure, Part, Plan, Prediction, Role, Spec, Work},
    recipe::estimate,
    results::SCHEMA,
    source::Sources,
};

/// Compiles the experiment: preparations first, then seed after seed and pair after pair, so that the first row of the
/// table comes early, then the one measurement over all.
pub(super) fn compile(experiment: &Experiment, sources: &Sources) -> Result<Plan, RecipeError> {
    let mut plan = Plan::default();
    let bases = Bases::prepare(&mut plan, experiment, sources)?;
    let mut compiler = Compiler { experiment, plan, bases, tested: Vec::new() };
    for seed in &experiment.seeds {
        for pair in &experiment.pairs {
            compiler.pair(*pair, *seed);
        }
    }
    compiler.measure();
    Ok(compiler.plan)
}

struct Compiler<'a> {
    experiment: &'a Experiment,
    plan: Plan,
    bases: Bases<'a>,
    /// What the measurement reads: the prediction of each tested model.
    tested: Vec<Tested>,
}

/// A model that was run over the test rows.
#[derive(Clone, PartialEq)]
struct Tested {
    role: Role,
    seed: u64,
    model: Key,
    prediction: Key,
    /// The share of its training that was done; none for all that it gets.
    progress: Option<f64>,
    /// Whether true labels chose it.
    oracle: bool,
}

impl Tested {
    /// Before it is tested.
    fn of(role: Role, model: Key, seed: u64) -> Self {
        Self { role, seed, model, prediction: model, progress: None, oracle: false }
    }
}

impl Compiler<'_> {
    /// Supervisor, ceiling and students of one pair. What pairs have in common is planned once.
    fn pair(&mut self, pair: Pair, seed: u64) {
        let (weak, strong) = (self.bases.supervisor(pair.weak), self.bases.at(pair.strong));
        let supervisor = self.supervisor(&weak, seed);
        let role = Role::Weak { model: weak.name.clone() };
        self.test(format!("weak {} seed {seed}", weak.name), &weak, supervisor, role, seed);
        self.ceiling(&strong, None, seed);
        for method in &self.experiment.methods {
            if let Some(path) = method.path(pair) {
                if method.has_own_ceiling() {
                    self.ceiling(&strong, Some(method), seed);
                }
                match method.tuning {
                    Tuning::Prompt => self.prompted(method, pair, seed),
                    _ => self.student(method, pair, &path, seed),
                }
            }
        }
    }

    /// A model that learned from the ground truth of the first half, or came as a classifier.
    fn supervisor(&mut self, weak: &Base<'_>, seed: u64) -> Key {
        if weak.is_ready {
            return weak.key;
        }
        let judge = self.true_judge();
        let lesson = Lesson { rows: self.bases.rows(Part::GroundTruth), labels: None, judge };
        self.learn(&format!("weak {} seed {seed}", weak.name), weak, &Method::truthful(), lesson, seed).model
    }

    /// A model that learned from the ground truth of the second half, by the steps of a method that has its own.
    fn ceiling(&mut self, strong: &Base<'_>, method: Option<&Method>, seed: u64) {
        let (name, word) = (strong.name, method.map(|method| method.word.clone()));
        let title = match &word {
            Some(word) => format!("ceiling {word} {name} seed {seed}"),
            None => format!("ceiling {name} seed {seed}"),
        };
        let role = Role::Ceiling { model: name.clone(), method: word };
        let steps = method.map_or_else(Method::truthful, Method::with_truth);
        if steps.tuning == Tuning::Prompt {
            return self.ask(&steps, strong, None, (title, role), seed);
        }
        let judge = self.true_judge();
        let lesson = Lesson { rows: self.bases.rows(Part::WeakLabels), labels: None, judge };
        let trained = self.learn(&title, strong, &steps, lesson, seed).model;
        self.test(title, strong, trained, role, seed);
    }

    /// The models of `path` learn in turn, each from the labels of the one before; the last is the student.
    fn student(&mut self, method: &Method, pair: Pair, path: &[usize], seed: u64) {
        let (weak, strong) = (self.bases.supervisor(pair.weak), self.bases.at(pair.strong));
        let (word, from) = (&method.word, &weak.name);
        let mut teacher = self.teachers(&weak, method, seed);
        for (round, &place) in path.iter().enumerate() {
            let base = self.bases.at(place);
            let (learner, last) = (&base.name, round + 1 == path.len());
            let title = match last {
                true => format!("student {word} {from}>{learner} seed {seed}"),
                false => format!("student {word} {from}>{learner} round {} seed {seed}", round + 1),
            };
            let rows = match method.fresh && !last {
                true => self.bases.fresh(&mut self.plan, round, path.len() - 1),
                false => self.bases.rows(Part::WeakLabels),
            };
            let errors = method.errors.filter(|_| round == 0).map(|pattern| (pattern, pair.strong));
            let lesson = self.lesson(method, &teacher, rows, &title, errors, seed);
            let learned = self.learn(&title, &base, method, lesson, seed);
            if last {
                let (weak, strong) = (weak.name.clone(), strong.name.clone());
                let role = Role::Student { method: word.clone(), weak, strong };
                self.examine(method, &teacher, &base, learned, (title, role), seed);
            } else {
                teacher = Teacher::One { base, model: learned.model, title };
            }
        }
    }

    /// The goal: every number of the report.
    fn measure(&mut self) {
        let Experiment { ladder, bootstrap, split, .. } = self.experiment;
        let mut inputs = BTreeMap::from([("data".to_owned(), self.bases.data)]);
        let mut predictions = Vec::new();
        for (i, Tested { role, seed, model, prediction, progress, oracle }) in
            self.in_order().into_iter().enumerate()
        {
            let (input, trained) = (format!("prediction/{i}"), format!("model/{i}"));
            inputs.extend([(input.clone(), prediction), (trained.clone(), model)]);
            predictions.push(Prediction { input, model: trained, role, seed, progress, oracle });
        }
        let cost = estimate(split.test.saturating_mul(predictions.len()), 0);
        let work = Work::Measure(Measure::WeakToStrong {
            ladder: ladder.iter().map(|model| model.name.clone()).collect(),
            predictions,
            written: self.experiment.task.answer_tokens.is_some(),
            draws: bootstrap.draws,
            seed: bootstrap.seed,
            schema: SCHEMA,
        });
        self.plan.add("measure", Spec { work, inputs }, cost);
    }

    /// Seed after seed: supervisors and ceilings by their place in the ladder, then students as they were planned.
    fn in_order(&self) -> Vec<Tested> {
        let ladder = &self.experiment.ladder;
        let place = |name: &String| ladder.iter().position(|model| &model.name == name);
        let seed = |tested: &Tested| self.experiment.seeds.iter().position(|seed| *seed == tested.seed);
        let mut tested = self.tested.clone();
        tested.sort_by_key(|tested| {
            let kind = match &tested.role {
                Role::Weak { model } => (0, place(model)),
                Role::Ceiling { model, .. } => (1, place(model)),
                Role::Student { .. } => (2, None),
            };
            (seed(tested), kind)
        });
        tested
    }
}

#[cfg(test)]
mod tests;
