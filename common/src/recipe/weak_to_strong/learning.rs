//! How one model learns a lesson, whose labels it learns from, and how it is tested.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    Compiler, Tested,
    bases::{Base, Rows, roles},
};
use crate::{
    Key,
    experiment::{Batches, Method, Tuning},
    plan::{
        Head, HeadInit, HeadSpec, Infer, Merge, Objective, Optimizer, Output, Part, Role, Spec, Train,
        Trainable, Work,
    },
    recipe::estimate,
};

/// Rows to learn from.
#[derive(Clone)]
pub(super) struct Lesson {
    pub rows: Rows,
    /// Their labels; none for the true ones.
    pub labels: Option<Key>,
}

/// Whose labels a model learns from.
pub(super) enum Teacher<'a> {
    /// One model's.
    One { base: Rc<Base<'a>>, model: Key, title: String },
    /// The mean of several supervisors'.
    Several { base: Rc<Base<'a>>, members: Vec<(Key, u64)> },
}

/// What is trained in one stage.
struct Step {
    /// What is trained of the model.
    trainable: Trainable,
    objective: Objective,
    head: HeadSpec,
    optimizer: Optimizer,
}

impl<'a> Compiler<'a> {
    /// Who labels for a method: one supervisor, or several that differ in their seeds. The first is that of the table.
    pub(super) fn teachers(&mut self, weak: &Rc<Base<'a>>, method: &Method, seed: u64) -> Teacher<'a> {
        if method.ensemble == 1 {
            let model = self.supervisor(weak, seed);
            return Teacher::One {
                base: Rc::clone(weak),
                model,
                title: format!("{} seed {seed}", weak.name),
            };
        }
        let seeds = (0..method.ensemble as u64).map(|member| member_seed(seed, member));
        let members = seeds.map(|seed| (self.supervisor(weak, seed), seed)).collect();
        Teacher::Several { base: Rc::clone(weak), members }
    }

    /// A teacher's labels of a part.
    pub(super) fn labels(&mut self, teacher: &Teacher<'_>, part: Part, seed: u64) -> Key {
        let rows = self.bases.rows(part);
        let of = if part == Part::WeakLabels { String::new() } else { format!(" {part}") };
        match teacher {
            Teacher::One { base, model, title } => {
                self.infer(format!("weak labels{of} {title}"), base, *model, &rows)
            }
            Teacher::Several { base, members } => {
                let name = base.name;
                let inputs: BTreeMap<String, Key> = members
                    .iter()
                    .enumerate()
                    .map(|(i, (model, seed))| {
                        let title = format!("weak labels{of} {name} seed {seed}");
                        (format!("labels/{i}"), self.infer(title, base, *model, &rows))
                    })
                    .collect();
                let cost = estimate(self.bases.count(part).saturating_mul(members.len()), 0);
                let title = format!("weak labels{of} of {} {name} seed {seed}", members.len());
                let work = Work::Merge(Merge::Predictions);
                self.plan.add(title, Spec { work, inputs }, cost)
            }
        }
    }

    /// A model after a lesson, by the steps of the method.
    pub(super) fn learn(
        &mut self,
        title: &str,
        base: &Base<'_>,
        method: &Method,
        lesson: Lesson,
        seed: u64,
    ) -> Key {
        let start = self.speaking(base, method, seed);
        let own_words = base.model.head_init.clone();
        let objective = method.objective(base.model);
        match method.tuning {
            Tuning::Finetune => {
                let step = self.whole(base, objective, own_words);
                self.train(title.to_owned(), base, start, step, lesson, seed)
            }
            Tuning::Probe => {
                let step = self.probe(base, method, objective, own_words);
                self.train(title.to_owned(), base, start, step, lesson, seed)
            }
            Tuning::ProbeThenFinetune => {
                let step = self.probe(base, method, objective, own_words);
                let probed = self.train(format!("{title}: probe"), base, start, step, lesson.clone(), seed);
                // The head is there by now, and is kept.
                let step = self.whole(base, objective, HeadInit::Normal);
                self.train(title.to_owned(), base, probed, step, lesson, seed)
            }
            Tuning::FinetuneThenProbe => {
                let step = self.whole(base, objective, own_words);
                let tuned = self.train(format!("{title}: finetune"), base, start, step, lesson.clone(), seed);
                let step = self.probe(base, method, Objective::CrossEntropy, HeadInit::Zero);
                let truth = Lesson { labels: None, ..lesson };
                self.train(title.to_owned(), base, tuned, step, truth, seed)
            }
        }
    }

    /// The model as the method begins with it: with the language of the rows that students learn from, if it says so.
    fn speaking(&mut self, base: &Base<'_>, method: &Method, seed: u64) -> Key {
        if method.generative == 0 {
            return base.key;
        }
        let step = Step {
            trainable: Trainable::All,
            objective: Objective::LanguageModel,
            head: Head::LanguageModel.into(),
            optimizer: Optimizer { passes: method.generative, ..self.optimizer(base, None) },
        };
        let lesson = Lesson { rows: self.bases.rows(Part::WeakLabels), labels: None };
        self.train(format!("language {} seed {seed}", base.name), base, base.key, step, lesson, seed)
    }

    /// All is trained that the experiment says.
    fn whole(&self, base: &Base<'_>, objective: Objective, init: HeadInit) -> Step {
        let trainable = self.experiment.train.trainable.clone();
        Step { trainable, objective, head: self.head(base, init), optimizer: self.optimizer(base, None) }
    }

    /// A classifier alone is trained.
    fn probe(&self, base: &Base<'_>, method: &Method, objective: Objective, init: HeadInit) -> Step {
        let optimizer = self.optimizer(base, method.probe_learning_rate);
        Step { trainable: Trainable::Head, objective, head: self.head(base, init), optimizer }
    }

    fn head(&self, base: &Base<'_>, init: HeadInit) -> HeadSpec {
        let head = Head::Classifier { classes: self.experiment.task.classes() };
        HeadSpec { head, init, readout: base.model.readout }
    }

    fn optimizer(&self, base: &Base<'_>, learning_rate: Option<f64>) -> Optimizer {
        let settings = &self.experiment.train.optimizer;
        let learning_rate = learning_rate.or(base.model.learning_rate).unwrap_or(settings.learning_rate);
        Optimizer { learning_rate, ..settings.clone() }
    }

    fn train(
        &mut self,
        title: String,
        base: &Base<'_>,
        model: Key,
        step: Step,
        lesson: Lesson,
        seed: u64,
    ) -> Key {
        let Lesson { rows, labels } = lesson;
        let part = rows.part;
        let Step { trainable, objective, head, optimizer } = step;
        let cost = estimate(self.bases.count(part).saturating_mul(optimizer.passes), base.max_tokens);
        let adapts = trainable == self.experiment.train.trainable && objective != Objective::LanguageModel;
        let train = Train {
            part,
            head,
            lora: self.experiment.train.lora.clone().filter(|_| adapts),
            trainable,
            objective,
            optimizer,
            numerics: self.experiment.numerics,
            strategy: self.experiment.strategy,
            seed,
        };
        let tokens = self.bases.tokens(&mut self.plan, base, &rows);
        let inputs = [("model", model), ("data", rows.data), ("tokens", tokens)];
        let inputs = roles(inputs.into_iter().chain(labels.map(|labels| ("labels", labels))));
        self.plan.add(title, Spec { work: Work::Train(train), inputs }, cost)
    }

    /// Runs a trained model over the test rows, for the table.
    pub(super) fn test(&mut self, of: String, base: &Base<'_>, model: Key, role: Role, seed: u64) {
        self.test_on(self.bases.rows(Part::Test), of, base, model, role, seed);
    }

    /// The same over what became of the test rows.
    pub(super) fn test_on(
        &mut self,
        rows: Rows,
        of: String,
        base: &Base<'_>,
        model: Key,
        role: Role,
        seed: u64,
    ) {
        let prediction = self.infer(format!("test of {of}"), base, model, &rows);
        let tested = Tested { role, seed, model, prediction };
        if !self.tested.contains(&tested) {
            self.tested.push(tested);
        }
    }

    fn infer(&mut self, title: String, base: &Base<'_>, model: Key, rows: &Rows) -> Key {
        let part = rows.part;
        let Batches { batch_tokens, shard } = self.experiment.infer;
        let work = Work::Infer(Infer { part, output: Output::Probabilities, batch_tokens, shard });
        let tokens = self.bases.tokens(&mut self.plan, base, rows);
        let inputs = roles([("model", model), ("data", rows.data), ("tokens", tokens)]);
        let cost = estimate(self.bases.count(part), base.max_tokens);
        self.plan.add(title, Spec { work, inputs }, cost)
    }
}

/// The seed of a member of an ensemble; the first has that of the experiment. Seeds of experiments are small numbers.
fn member_seed(seed: u64, member: u64) -> u64 {
    seed.wrapping_add(member << 32)
}
