//! Weak-to-strong generalization (Burns et al. 2023, section 3): weak supervisors learn from ground truth,
//! strong students from the supervisors' soft labels on other rows, strong ceilings from the ground truth of those
//! same rows; all are tested on held-out rows.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    RecipeError, estimate,
    outside::{files, import, locations, model_location},
};
use crate::{
    Key,
    experiment::{Batches, Body, Experiment, Method, Model, Pair, Pretrain, Task},
    plan::{
        Arithmetic, Estimate, Format, Head, HeadSpec, Infer, Measure, Objective, Optimizer, Output, Part,
        Plan, Prediction, Prepare, Role, Source, Spec, Style, Train, Trainable, Work,
    },
    source::Sources,
};

/// Compiles the experiment: preparations first, then seed after seed, then the one measurement over all.
pub(super) fn compile(experiment: &Experiment, sources: &Sources) -> Result<Plan, RecipeError> {
    let mut compiler = Compiler::new(experiment, sources)?;
    let bases = experiment.ladder.iter().map(|model| compiler.base(model)).collect::<Result<Vec<_>, _>>()?;
    for seed in &experiment.seeds {
        compiler.seed(&bases, *seed);
    }
    compiler.measure();
    Ok(compiler.plan)
}

struct Compiler<'a> {
    experiment: &'a Experiment,
    sources: &'a Sources,
    plan: Plan,
    /// The stage that splits the labelled rows.
    data: Key,
    /// What the measurement reads: each prediction with the stages of the prediction and of its model.
    predictions: Vec<(Key, Key, Role, u64)>,
}

/// A model before any finetuning.
struct Base<'a> {
    model: &'a Model,
    key: Key,
    /// What the task's texts are cut to for it.
    max_tokens: usize,
    /// The stages with the tokens of the parts that it is trained on or run over.
    tokens: BTreeMap<Part, Key>,
}

impl<'a> Compiler<'a> {
    fn new(experiment: &'a Experiment, sources: &'a Sources) -> Result<Self, RecipeError> {
        let mut plan = Plan::default();
        let (mut inputs, mut drop_over) = (BTreeMap::new(), None);
        if experiment.drop_over_long {
            let mut longest = experiment.train.max_tokens;
            for (i, model) in experiment.ladder.iter().enumerate() {
                let (key, positions) = prepare_model(&mut plan, experiment, sources, model)?;
                inputs.insert(format!("model/{i}"), key);
                longest = longest.min(positions);
            }
            drop_over = Some(longest);
        }
        let (source, format, locations) = match &experiment.task {
            Task::Arithmetic(arithmetic) => {
                (Source::Arithmetic(arithmetic.clone()), Format::arithmetic(), BTreeMap::new())
            }
            Task::Files { format, .. } => {
                (files(sources.files()), Format::clone(format), locations(sources.files()))
            }
        };
        let split = experiment.split.clone();
        let cost = estimate(split.rows(), 0);
        let work = Work::Prepare(Prepare::Dataset { source, format, split, drop_over });
        let data = plan.add_located("dataset", Spec { work, inputs }, cost, locations);
        Ok(Self { experiment, sources, plan, data, predictions: Vec::new() })
    }

    /// The stages that bring one model of the ladder into the store.
    fn base(&mut self, model: &'a Model) -> Result<Base<'a>, RecipeError> {
        let name = &model.name;
        let longest = self.experiment.train.max_tokens;
        let (mut key, positions) = prepare_model(&mut self.plan, self.experiment, self.sources, model)?;
        let max_tokens = longest.min(positions);
        let tokens = self.read_by(model).into_iter().map(|part| {
            let rows = self.rows(part);
            (part, self.tokens(format!("tokens {name} {part}"), part, rows, max_tokens, key, self.data))
        });
        let tokens = tokens.collect();
        if let (Body::New(_), Some(pretrain)) = (&model.body, &self.experiment.pretrain) {
            key = self.pretrain(name, key, positions, pretrain);
        }
        Ok(Base { model, key, max_tokens, tokens })
    }

    /// The parts that a model is trained on or run over: a supervisor learns from the first half and labels the
    /// second, from which students and ceilings learn.
    fn read_by(&self, model: &Model) -> BTreeSet<Part> {
        let Experiment { ladder, pairs, .. } = self.experiment;
        let is = |place: usize| ladder[place].name == model.name;
        let mut parts = BTreeSet::new();
        if pairs.iter().any(|pair| is(pair.weak)) {
            parts.extend([Part::GroundTruth, Part::WeakLabels, Part::Test]);
        }
        if pairs.iter().any(|pair| is(pair.strong)) {
            parts.extend([Part::WeakLabels, Part::Test]);
        }
        parts
    }

    /// Rows of a part of the dataset.
    fn rows(&self, part: Part) -> usize {
        let split = &self.experiment.split;
        match part {
            Part::GroundTruth => split.ground_truth,
            Part::Test => split.test,
            _ => split.weak_labels,
        }
    }

    fn tokens(
        &mut self,
        name: String,
        part: Part,
        rows: usize,
        max_tokens: usize,
        model: Key,
        data: Key,
    ) -> Key {
        let work = Work::Prepare(Prepare::Tokens { part, max_tokens, style: Style::Plain });
        let inputs = roles([("model", model), ("data", data)]);
        self.plan.add(name, Spec { work, inputs }, estimate(rows, max_tokens))
    }

    fn pretrain(&mut self, name: &str, model: Key, context: usize, pretrain: &Pretrain) -> Key {
        let rows = pretrain.corpus.rows;
        let source = Source::Arithmetic(pretrain.corpus.clone());
        let corpus = Spec { work: Work::Prepare(Prepare::Corpus { source }), inputs: BTreeMap::new() };
        let corpus = self.plan.add("corpus", corpus, estimate(rows, 0));
        let tokens = self.tokens(format!("tokens {name} corpus"), Part::Corpus, rows, context, model, corpus);
        let train = Train {
            part: Part::Corpus,
            head: Head::LanguageModel.into(),
            trainable: Trainable::All,
            lora: None,
            objective: Objective::LanguageModel,
            optimizer: pretrain.optimizer.clone(),
            numerics: self.experiment.numerics,
            strategy: self.experiment.strategy,
            seed: pretrain.seed,
        };
        let inputs = [("model", model), ("data", corpus), ("tokens", tokens)];
        self.train(format!("pretrain {name}"), train, (rows, context), inputs)
    }

    /// Everything of one seed.
    fn seed(&mut self, bases: &[Base<'a>], seed: u64) {
        let Experiment { pairs, methods, .. } = self.experiment;
        let mut labels = BTreeMap::new();
        for weak in places(pairs, |pair| pair.weak) {
            let base = &bases[weak];
            let name = &base.model.name;
            let trained = self.finetune(format!("weak {name} seed {seed}"), base, Teacher::GroundTruth, seed);
            self.test(
                format!("weak {name} seed {seed}"),
                base,
                trained,
                Role::Weak { model: name.clone() },
                seed,
            );
            let labelled =
                self.infer(format!("weak labels {name} seed {seed}"), base, trained, Part::WeakLabels);
            labels.insert(weak, labelled);
        }
        for strong in places(pairs, |pair| pair.strong) {
            let base = &bases[strong];
            let name = &base.model.name;
            let trained = self.finetune(format!("ceiling {name} seed {seed}"), base, Teacher::Ceiling, seed);
            let role = Role::Ceiling { model: name.clone() };
            self.test(format!("ceiling {name} seed {seed}"), base, trained, role, seed);
        }
        for (pair, method) in pairs.iter().flat_map(|pair| methods.iter().map(move |method| (pair, method))) {
            self.student(bases, *pair, method, labels[&pair.weak], seed);
        }
    }

    fn student(&mut self, bases: &[Base<'a>], pair: Pair, method: &Method, labels: Key, seed: u64) {
        let (weak, base) = (&bases[pair.weak].model.name, &bases[pair.strong]);
        let strong = &base.model.name;
        let word = &method.word;
        let title = format!("student {word} {weak}>{strong} seed {seed}");
        let trained = self.finetune(title.clone(), base, Teacher::Weak { labels, method }, seed);
        let role = Role::Student { method: word.clone(), weak: weak.clone(), strong: strong.clone() };
        self.test(title, base, trained, role, seed);
    }

    fn finetune(&mut self, name: String, base: &Base<'_>, teacher: Teacher<'_>, seed: u64) -> Key {
        let train = &self.experiment.train;
        let (part, objective, labels) = match teacher {
            Teacher::GroundTruth => (Part::GroundTruth, Objective::CrossEntropy, None),
            Teacher::Ceiling => (Part::WeakLabels, Objective::CrossEntropy, None),
            Teacher::Weak { labels, method } => {
                (Part::WeakLabels, method.objective(base.model), Some(("labels", labels)))
            }
        };
        let learning_rate = base.model.learning_rate.unwrap_or(train.optimizer.learning_rate);
        let train = Train {
            part,
            head: HeadSpec {
                head: Head::Classifier { classes: self.experiment.task.classes() },
                init: base.model.head_init.clone(),
                readout: base.model.readout,
            },
            trainable: train.trainable.clone(),
            lora: train.lora.clone(),
            objective,
            optimizer: Optimizer { learning_rate, ..train.optimizer.clone() },
            numerics: self.experiment.numerics,
            strategy: self.experiment.strategy,
            seed,
        };
        let inputs = [("model", base.key), ("data", self.data), ("tokens", base.tokens[&part])];
        let size = (self.rows(part), base.max_tokens);
        self.train(name, train, size, inputs.into_iter().chain(labels))
    }

    fn train(
        &mut self,
        name: String,
        train: Train,
        (rows, max_tokens): (usize, usize),
        inputs: impl IntoIterator<Item = (&'static str, Key)>,
    ) -> Key {
        let cost = estimate(rows.saturating_mul(train.optimizer.passes), max_tokens);
        self.plan.add(name, Spec { work: Work::Train(train), inputs: roles(inputs) }, cost)
    }

    fn test(&mut self, of: String, base: &Base<'_>, model: Key, role: Role, seed: u64) {
        let prediction = self.infer(format!("test of {of}"), base, model, Part::Test);
        self.predictions.push((prediction, model, role, seed));
    }

    fn infer(&mut self, name: String, base: &Base<'_>, model: Key, part: Part) -> Key {
        let Batches { batch_tokens, shard } = self.experiment.infer;
        let work = Work::Infer(Infer { part, output: Output::Probabilities, batch_tokens, shard });
        let inputs = roles([("model", model), ("data", self.data), ("tokens", base.tokens[&part])]);
        self.plan.add(name, Spec { work, inputs }, estimate(self.rows(part), base.max_tokens))
    }

    /// The goal: every number of the report.
    fn measure(&mut self) {
        let Experiment { ladder, bootstrap, split, .. } = self.experiment;
        let mut inputs = roles([("data", self.data)]);
        let mut predictions = Vec::new();
        for (i, (prediction, trained, role, seed)) in self.predictions.iter().enumerate() {
            let (input, model) = (format!("prediction/{i}"), format!("model/{i}"));
            inputs.extend([(input.clone(), *prediction), (model.clone(), *trained)]);
            predictions.push(Prediction { input, model, role: role.clone(), seed: *seed });
        }
        let cost = estimate(split.test.saturating_mul(predictions.len()), 0);
        let work = Work::Measure(Measure::WeakToStrong {
            ladder: ladder.iter().map(|model| model.name.clone()).collect(),
            predictions,
            draws: bootstrap.draws,
            seed: bootstrap.seed,
        });
        self.plan.add("measure", Spec { work, inputs }, cost);
    }
}

/// The stage that brings a model of the ladder into the store, and how many tokens the model takes.
fn prepare_model(
    plan: &mut Plan,
    experiment: &Experiment,
    sources: &Sources,
    model: &Model,
) -> Result<(Key, usize), RecipeError> {
    let name = &model.name;
    let (prepare, positions, locations) = match &model.body {
        Body::Pretrained { origin, layers, adapter } => {
            let unresolved = || RecipeError::Unresolved { model: name.clone() };
            let folder = sources.model(origin).ok_or_else(unresolved)?;
            let found = |origin| sources.adapter(origin).ok_or_else(unresolved);
            let adapter = adapter.as_ref().map(found).transpose()?;
            let prepare = import(name, folder, *layers, adapter)?;
            (prepare, folder.positions, model_location(folder, adapter))
        }
        Body::New(architecture) => {
            let (architecture, context) = (architecture.clone(), architecture.context);
            let alphabet = Arithmetic::ALPHABET.to_owned();
            let seed = experiment.pretrain.as_ref().map_or(0, |pretrain| pretrain.seed);
            (Prepare::NewModel { architecture, alphabet, seed }, context, BTreeMap::new())
        }
    };
    let spec = Spec { work: Work::Prepare(prepare), inputs: BTreeMap::new() };
    let key = plan.add_located(format!("model {name}"), spec, Estimate::default(), locations);
    Ok((key, positions))
}

/// Whose labels a model learns from, and so on which rows.
#[derive(Clone, Copy)]
enum Teacher<'m> {
    /// True labels of the first half.
    GroundTruth,
    /// True labels of the second half.
    Ceiling,
    /// A weak supervisor's labels of the second half.
    Weak { labels: Key, method: &'m Method },
}

/// The places of the ladder that one end of the pairs is at, each once, from the bottom.
fn places(pairs: &[Pair], end: impl Fn(&Pair) -> usize) -> BTreeSet<usize> {
    pairs.iter().map(end).collect()
}

fn roles(inputs: impl IntoIterator<Item = (&'static str, Key)>) -> BTreeMap<String, Key> {
    inputs.into_iter().map(|(role, key)| (role.to_owned(), key)).collect()
}
