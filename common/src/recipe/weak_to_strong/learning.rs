//! How one model learns a lesson, whose labels it learns from, and how it is tested.

use std::{collections::BTreeMap, ops::Range, rc::Rc};

use super::{
    Compiler, Tested,
    bases::{Base, Rows, roles},
    examination::Judge,
};
use crate::{
    Key,
    experiment::{Batches, Method, Tuning},
    plan::{
        Estimate, Head, HeadInit, HeadSpec, Infer, Merge, Objective, Optimizer, Output, Part, Role, Span,
        Spec, Train, Trainable, Work,
    },
    recipe::estimate,
};

/// Rows to learn from.
#[derive(Clone)]
pub(super) struct Lesson {
    pub rows: Rows,
    /// Their labels; none for the true ones.
    pub labels: Option<Key>,
    /// By what one of several models is chosen that learned it, where there are several.
    pub judge: Option<Judge>,
}

/// Whose labels a model learns from.
pub(super) enum Teacher<'a> {
    /// One model's.
    One { base: Rc<Base<'a>>, model: Key, title: String },
    /// The mean of several supervisors'.
    Several { base: Rc<Base<'a>>, members: Vec<(Key, u64)> },
}

/// A model after a lesson.
pub(super) struct Learned {
    pub model: Key,
    /// What it was on the way, at even distances, where that is to be known.
    pub moments: Vec<Key>,
}

/// What is trained in one go.
#[derive(Clone)]
struct Step {
    /// What is trained of the model.
    trainable: Trainable,
    objective: Objective,
    head: HeadSpec,
    optimizer: Optimizer,
    /// Whether adapters are trained where the experiment has them.
    adapts: bool,
    /// Stages that it is trained in, one after the other.
    moments: usize,
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

    /// A teacher's labels of some rows.
    pub(super) fn labels(&mut self, teacher: &Teacher<'_>, rows: &Rows, seed: u64) -> Key {
        let of = if rows.part == Part::WeakLabels { String::new() } else { format!(" {}", rows.title) };
        match teacher {
            Teacher::One { base, model, title } => {
                self.infer(format!("weak labels{of} {title}"), base, *model, rows)
            }
            Teacher::Several { base, members } => {
                let name = base.name;
                let inputs: BTreeMap<String, Key> = members
                    .iter()
                    .enumerate()
                    .map(|(i, (model, seed))| {
                        let title = format!("weak labels{of} {name} seed {seed}");
                        (format!("labels/{i}"), self.infer(title, base, *model, rows))
                    })
                    .collect();
                let cost = estimate(rows.count.saturating_mul(members.len()), 0);
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
    ) -> Learned {
        let start = self.speaking(base, method, seed);
        let own_words = base.model.head_init.clone();
        let objective = match self.experiment.task.head() {
            Head::LanguageModel => Objective::LanguageModel,
            _ => method.objective(base.model),
        };
        let whole = |it: &Self, init| it.whole(base, objective, init);
        let probe = |it: &Self, objective, init| it.probe(base, method, objective, init);
        let (start, step, lesson) = match method.tuning {
            Tuning::Finetune | Tuning::Prompt => (start, whole(self, own_words), lesson),
            Tuning::Probe => (start, probe(self, objective, own_words), lesson),
            Tuning::ProbeThenFinetune => {
                let step = probe(self, objective, own_words);
                let title = format!("{title}: probe");
                let probed = self.train(title, base, start, step, lesson.clone(), seed).model;
                // The head is there by now, and is kept.
                (probed, whole(self, HeadInit::Normal), lesson)
            }
            Tuning::FinetuneThenProbe => {
                let step = whole(self, own_words);
                let title = format!("{title}: finetune");
                let tuned = self.train(title, base, start, step, lesson.clone(), seed).model;
                let judge = lesson.judge.map(|judge| Judge { labels: None, ..judge });
                let truth = Lesson { labels: None, judge, ..lesson };
                (tuned, probe(self, Objective::CrossEntropy, HeadInit::Zero), truth)
            }
        };
        let step = Step { moments: method.moments, ..step };
        let trials = self.experiment.grid.clone();
        if trials.is_empty() {
            let learned = self.train(title.to_owned(), base, start, step, lesson.clone(), seed);
            return match &lesson.judge {
                Some(judge) => self.best(title, base, [learned], judge),
                None => learned,
            };
        }
        let all: Vec<Learned> = trials
            .iter()
            .map(|trial| {
                let title = format!("{title}, {}", trial.words());
                let step = Step { optimizer: trial.of(&step.optimizer), ..step.clone() };
                self.train(title, base, start, step, lesson.clone(), seed)
            })
            .collect();
        let judge = lesson.judge.expect("where there is a grid, lessons have a judge");
        self.best(title, base, all, &judge)
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
            adapts: false,
            moments: 1,
        };
        let lesson = Lesson { rows: self.bases.rows(Part::WeakLabels), labels: None, judge: None };
        self.train(format!("language {} seed {seed}", base.name), base, base.key, step, lesson, seed).model
    }

    /// All is trained that the experiment says.
    fn whole(&self, base: &Base<'_>, objective: Objective, init: HeadInit) -> Step {
        let trainable = self.experiment.train.trainable.clone();
        let (head, optimizer) = (self.head(base, init), self.optimizer(base, None));
        Step { trainable, objective, head, optimizer, adapts: true, moments: 1 }
    }

    /// A classifier alone is trained.
    fn probe(&self, base: &Base<'_>, method: &Method, objective: Objective, init: HeadInit) -> Step {
        let optimizer = self.optimizer(base, method.probe_learning_rate);
        let (trainable, head) = (Trainable::Head, self.head(base, init));
        Step { trainable, objective, head, optimizer, adapts: false, moments: 1 }
    }

    pub(super) fn head(&self, base: &Base<'_>, init: HeadInit) -> HeadSpec {
        HeadSpec { head: self.experiment.task.head(), init, readout: base.model.readout }
    }

    fn optimizer(&self, base: &Base<'_>, learning_rate: Option<f64>) -> Optimizer {
        let settings = &self.experiment.train.optimizer;
        let learning_rate = learning_rate.or(base.model.learning_rate).unwrap_or(settings.learning_rate);
        Optimizer { learning_rate, ..settings.clone() }
    }

    /// Trains a model, in as many stages as there are moments at which it is looked at.
    fn train(
        &mut self,
        title: String,
        base: &Base<'_>,
        model: Key,
        step: Step,
        lesson: Lesson,
        seed: u64,
    ) -> Learned {
        let Lesson { rows, labels, .. } = lesson;
        let Step { trainable, objective, head, optimizer, adapts, moments: of } = step;
        let examples = rows.count.saturating_mul(optimizer.passes);
        let cost = estimate(examples / of, base.max_tokens());
        let train = Train {
            part: rows.part,
            head,
            lora: self.experiment.train.lora.clone().filter(|_| adapts),
            trainable,
            objective,
            optimizer,
            numerics: self.experiment.numerics,
            strategy: self.experiment.strategy,
            span: None,
            seed,
        };
        let read = self.bases.input(&mut self.plan, base, &rows);
        let inputs = [("model", model), ("data", rows.data), read];
        let inputs = roles(inputs.into_iter().chain(labels.map(|labels| ("labels", labels))));
        let mut moments: Vec<Key> = Vec::new();
        for begin in 0..of - 1 {
            let title = format!("{title}: {} of {of}", begin + 1);
            let (train, inputs) = stretch(train.clone(), inputs.clone(), begin..of, moments.last());
            moments.push(self.training(title, base, train, inputs, cost));
        }
        let (train, inputs) = match of {
            1 => (train, inputs),
            _ => stretch(train, inputs, of - 1..of, moments.last()),
        };
        let model = self.training(title, base, train, inputs, cost);
        Learned { model, moments }
    }

    /// The stage of a training, on as many workers as its model may have.
    fn training(
        &mut self,
        title: String,
        base: &Base<'_>,
        train: Train,
        inputs: BTreeMap<String, Key>,
        cost: Estimate,
    ) -> Key {
        let key = self.plan.add(title, Spec { work: Work::Train(train), inputs }, cost);
        self.plan.limit(key, base.model.workers);
        key
    }

    /// Runs a trained model over the test rows, for the table.
    pub(super) fn test(&mut self, of: String, base: &Base<'_>, model: Key, role: Role, seed: u64) {
        let rows = self.bases.rows(Part::Test);
        self.test_on(&rows, of, base, Tested::of(role, model, seed));
    }

    /// The same over what became of the test rows.
    pub(super) fn test_on(&mut self, rows: &Rows, of: String, base: &Base<'_>, tested: Tested) {
        let prediction = self.infer(format!("test of {of}"), base, tested.model, rows);
        let tested = Tested { prediction, ..tested };
        if !self.tested.contains(&tested) {
            self.tested.push(tested);
        }
    }

    pub(super) fn infer(&mut self, title: String, base: &Base<'_>, model: Key, rows: &Rows) -> Key {
        let part = rows.part;
        let Batches { batch_tokens, shard, poison_rows } = self.experiment.infer;
        let output = self.experiment.task.output();
        let mut inputs = vec![("model", model), ("data", rows.data)];
        // What is continued is read as text, and every prompt has its answer.
        let poison_rows = match output {
            Output::Probabilities => {
                inputs.push(self.bases.input(&mut self.plan, base, rows));
                poison_rows
            }
            _ => 0,
        };
        let work = Work::Infer(Infer { part, output, batch_tokens, shard, poison_rows });
        let cost = estimate(rows.count, base.max_tokens());
        self.plan.add(title, Spec { work, inputs: roles(inputs) }, cost)
    }
}

/// One of the stages of a training, which goes on from the last of those before.
fn stretch(
    train: Train,
    mut inputs: BTreeMap<String, Key>,
    Range { start: begin, end: of }: Range<usize>,
    before: Option<&Key>,
) -> (Train, BTreeMap<String, Key>) {
    inputs.extend(before.map(|before| ("before".to_owned(), *before)));
    (Train { span: Some(Span { begin, end: begin + 1, of }), ..train }, inputs)
}

/// The seed of a member of an ensemble; the first has that of the experiment. Seeds of experiments are small numbers.
fn member_seed(seed: u64, member: u64) -> u64 {
    seed.wrapping_add(member << 32)
}
