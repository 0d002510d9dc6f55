//! The models of the ladder before any finetuning, and the rows in their tokens.

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    Key,
    experiment::{self, Batches, Body, Experiment, Method, Model, Origin, Pretrain, Seen, Vectors},
    plan::{
        Arithmetic, Estimate, Head, Infer, MateInOne, Objective, Output, Part, Plan, Prepare, ProbeHead,
        Source, Spec, Style, Train, Trainable, View, Work,
    },
    recipe::{
        RecipeError, estimate,
        outside::{files, import, locations, model_location},
    },
    source::{Purpose, Sources},
};

/// The ladder and the labelled rows.
pub(super) struct Bases<'a> {
    experiment: &'a Experiment,
    /// The stage that splits the labelled rows.
    pub data: Key,
    ladder: Vec<Rung<'a>>,
}

/// A model of the ladder, as those see it who teach it and those whom it teaches.
struct Rung<'a> {
    student: Rc<Base<'a>>,
    supervisor: Rc<Base<'a>>,
}

/// Rows that are read: a part of the dataset, or what became of it.
#[derive(Clone)]
pub(super) struct Rows {
    pub part: Part,
    /// The stage that has them.
    pub data: Key,
    /// What people call them.
    pub title: String,
    /// How many there are at most.
    pub count: usize,
}

/// A model before any finetuning.
pub(super) struct Base<'a> {
    pub model: &'a Model,
    pub name: &'a String,
    /// The stage that has it, pretrained where it is made here.
    pub key: Key,
    reads: Reads,
    /// It labels as it is, and is not trained first.
    pub is_ready: bool,
}

/// What a model reads of a row.
#[derive(Clone)]
enum Reads {
    /// Tokens of its tokenizer, which a stage has, cut to so many.
    Tokens { reader: Key, max_tokens: usize },
    /// Vectors, where they lie on this machine if they are in files.
    Vectors { view: View, locations: BTreeMap<String, String> },
    /// Vectors that a network, which a stage has, makes of images, where those lie on this machine.
    Images { backbone: Key, source: Source, locations: BTreeMap<String, String> },
}

impl<'a> Bases<'a> {
    /// Plans all that is brought into the store.
    pub(super) fn prepare(
        plan: &mut Plan,
        experiment: &'a Experiment,
        sources: &Sources,
    ) -> Result<Self, RecipeError> {
        let data = dataset(plan, experiment, sources)?;
        let mut bases = Self { experiment, data, ladder: Vec::new() };
        for model in &experiment.ladder {
            let rung = match &model.body {
                Body::Vectors(vectors) => bases.probes(plan, sources, model, vectors)?,
                _ => Rung::of(Base::prepare(plan, experiment, sources, model)?),
            };
            bases.ladder.push(rung);
        }
        Ok(bases)
    }

    /// The model at a place of the ladder.
    pub(super) fn at(&self, place: usize) -> Rc<Base<'a>> {
        Rc::clone(&self.ladder[place].student)
    }

    /// The same as it is a supervisor.
    pub(super) fn supervisor(&self, place: usize) -> Rc<Base<'a>> {
        Rc::clone(&self.ladder[place].supervisor)
    }

    /// Classifiers over the vectors that a model makes of rows: a new one, and where it came with its own, that.
    fn probes(
        &self,
        plan: &mut Plan,
        sources: &Sources,
        model: &'a Model,
        vectors: &Vectors,
    ) -> Result<Rung<'a>, RecipeError> {
        let stored = |tensor: String| Reads::Vectors {
            view: View::Stored { source: files(sources.files()), tensor },
            locations: locations(sources.files()),
        };
        let (reads, own) = match (&vectors.seen, &self.experiment.task.rows) {
            (Seen::Projected { width, noise }, experiment::Rows::Generated(Source::Mixture(mixture))) => {
                let view = View::Projected { mixture: mixture.clone(), width: *width, noise: *noise };
                (Reads::Vectors { view, locations: BTreeMap::new() }, None)
            }
            (Seen::Projected { .. }, _) => unreachable!("only a mixture is seen in projections"),
            (Seen::Given { name }, _) => {
                let logits = stored(format!("{name}.logits"));
                (stored(format!("{name}.features")), Some((logits, ProbeHead::Identity)))
            }
            (Seen::Network { origin }, _) => {
                let backbone = network(plan, sources, &model.name, origin)?;
                let (source, locations) = (files(sources.files()), locations(sources.files()));
                let reads = Reads::Images { backbone, source, locations };
                (reads.clone(), Some((reads, ProbeHead::Own)))
            }
        };
        let mut rung = Rung::of(self.probe(plan, model, reads, ProbeHead::None));
        if let Some((reads, head)) = own.filter(|_| vectors.own_classifier) {
            rung.supervisor = Rc::new(self.probe(plan, model, reads, head));
        }
        Ok(rung)
    }

    /// A classifier over vectors. What has one already is ready.
    fn probe(&self, plan: &mut Plan, model: &'a Model, reads: Reads, head: ProbeHead) -> Base<'a> {
        let is_ready = head != ProbeHead::None;
        let mut base = Base { model, name: &model.name, key: self.data, reads, is_ready };
        let input = match base.reads {
            Reads::Images { backbone, .. } => ("model", backbone),
            _ => self.input(plan, &base, &self.rows(Part::WeakLabels)),
        };
        let what = if is_ready { "own classifier of" } else { "model" };
        let spec = Spec { work: Work::Prepare(Prepare::Probe { head }), inputs: roles([input]) };
        base.key = plan.add(format!("{what} {}", model.name), spec, Estimate::default());
        base
    }

    /// How many rows a part of the dataset has.
    fn count(&self, part: Part) -> usize {
        let split = &self.experiment.split;
        match part {
            Part::GroundTruth => split.ground_truth,
            Part::Test => split.test,
            Part::Validation => split.validation,
            Part::Fresh => split.fresh,
            _ => split.weak_labels,
        }
    }

    /// Rows as a model reads them, and as what a stage reads them.
    pub(super) fn input(&self, plan: &mut Plan, base: &Base<'_>, rows: &Rows) -> (&'static str, Key) {
        let (part, count) = (rows.part, rows.count);
        let title = |what: &str| format!("{what} {} {}", base.name, rows.title);
        match &base.reads {
            Reads::Tokens { reader, max_tokens } => {
                let shape = (part, *max_tokens, self.experiment.task.style());
                ("tokens", tokens(plan, title("tokens"), count, shape, [*reader, rows.data]))
            }
            Reads::Images { backbone, source, locations } => {
                let work = Work::Prepare(Prepare::Images { part, source: source.clone() });
                let spec = Spec { work, inputs: roles([("data", rows.data)]) };
                let images = format!("images {}", rows.title);
                let images = plan.add_located(images, spec, estimate(count, 0), locations.clone());
                let Batches { batch_tokens, shard, .. } = self.experiment.infer;
                // Whoever reads vectors counts on one for each row.
                let infer = Infer { part, output: Output::Features, batch_tokens, shard, poison_rows: 0 };
                let work = Work::Infer(infer);
                let inputs = roles([("model", *backbone), ("data", rows.data), ("images", images)]);
                ("features", plan.add(title("features"), Spec { work, inputs }, estimate(count, 0)))
            }
            Reads::Vectors { view, locations } => {
                let what = if base.is_ready { "logits" } else { "features" };
                let work = Work::Prepare(Prepare::Features { part, view: view.clone() });
                let spec = Spec { work, inputs: roles([("data", rows.data)]) };
                ("features", plan.add_located(title(what), spec, estimate(count, 0), locations.clone()))
            }
        }
    }

    /// A part of the dataset as it is.
    pub(super) fn rows(&self, part: Part) -> Rows {
        Rows { part, data: self.data, title: part.to_string(), count: self.count(part) }
    }

    /// The rows of a round of so many that learns from rows of its own.
    pub(super) fn fresh(&self, plan: &mut Plan, index: usize, of: usize) -> Rows {
        let whole = self.rows(Part::Fresh);
        if of == 1 {
            return whole;
        }
        let (title, count) = (format!("fresh {} of {of}", index + 1), whole.count.div_ceil(of));
        let work = Work::Prepare(Prepare::Share { part: Part::Fresh, index, of });
        let spec = Spec { work, inputs: roles([("data", self.data)]) };
        let data = plan.add(title.clone(), spec, estimate(count, 0));
        Rows { data, title, count, ..whole }
    }
}

impl<'a> Base<'a> {
    fn prepare(
        plan: &mut Plan,
        experiment: &Experiment,
        sources: &Sources,
        model: &'a Model,
    ) -> Result<Self, RecipeError> {
        let (reader, positions) = prepare_model(plan, experiment, sources, model)?;
        let max_tokens = experiment.train.max_tokens.min(positions);
        let key = match (&model.body, &experiment.pretrain) {
            (Body::New(_), Some(settings)) => {
                pretrain(plan, experiment, settings, model, (reader, positions))
            }
            _ => reader,
        };
        let reads = Reads::Tokens { reader, max_tokens };
        Ok(Self { model, name: &model.name, key, reads, is_ready: false })
    }

    /// The stage that has its tokenizer; what has none has itself.
    pub(super) fn reader(&self) -> Key {
        match self.reads {
            Reads::Tokens { reader, .. } => reader,
            Reads::Vectors { .. } | Reads::Images { .. } => self.key,
        }
    }

    /// What a row is cut to, in tokens; 0 where it has none.
    pub(super) fn max_tokens(&self) -> usize {
        match self.reads {
            Reads::Tokens { max_tokens, .. } => max_tokens,
            Reads::Vectors { .. } | Reads::Images { .. } => 0,
        }
    }
}

impl<'a> Rung<'a> {
    /// A model that is trained whoever it is.
    fn of(base: Base<'a>) -> Self {
        let student = Rc::new(base);
        Self { supervisor: Rc::clone(&student), student }
    }
}

/// The stage that brings a network for images into the store.
fn network(plan: &mut Plan, sources: &Sources, name: &str, origin: &Origin) -> Result<Key, RecipeError> {
    let unresolved = || RecipeError::Unresolved { model: name.to_owned() };
    let folder = sources.model(origin).ok_or_else(unresolved)?;
    if folder.purpose != Purpose::Images {
        return Err(RecipeError::Unlike { model: name.to_owned(), reads: "texts", rows: "images" });
    }
    let work = Work::Prepare(import(name, folder, None, None)?);
    let spec = Spec { work, inputs: BTreeMap::new() };
    let located = model_location(folder, None);
    Ok(plan.add_located(format!("network {name}"), spec, Estimate::default(), located))
}

/// The stage that splits the labelled rows.
fn dataset(plan: &mut Plan, experiment: &Experiment, sources: &Sources) -> Result<Key, RecipeError> {
    let (mut inputs, mut drop_over) = (BTreeMap::new(), None);
    if experiment.drop_over_long {
        let mut longest = experiment.train.max_tokens;
        for (i, model) in experiment.ladder.iter().enumerate() {
            let (key, positions) = prepare_model(plan, experiment, sources, model)?;
            inputs.insert(format!("model/{i}"), key);
            longest = longest.min(positions);
        }
        drop_over = Some(longest);
    }
    let (source, locations) = match &experiment.task.rows {
        experiment::Rows::Generated(source) => (source.clone(), BTreeMap::new()),
        experiment::Rows::Files(_) => (files(sources.files()), locations(sources.files())),
    };
    let format = experiment.task.format.clone();
    let split = experiment.split.clone();
    let cost = estimate(split.rows(), 0);
    let questions = experiment.task.questions;
    let work = Work::Prepare(Prepare::Dataset { source, format, split, drop_over, questions });
    Ok(plan.add_located("dataset", Spec { work, inputs }, cost, locations))
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
            let speaks = language_of(experiment, name);
            if let Some(method) = speaks.filter(|_| folder.purpose != Purpose::LanguageModel) {
                return Err(RecipeError::Silent { model: name.clone(), method: method.word.clone() });
            }
            if folder.purpose == Purpose::Images {
                return Err(RecipeError::Unlike { model: name.clone(), reads: "images", rows: "texts" });
            }
            let found = |origin| sources.adapter(origin).ok_or_else(unresolved);
            let adapter = adapter.as_ref().map(found).transpose()?;
            let prepare = import(name, folder, *layers, adapter)?;
            (prepare, folder.positions, model_location(folder, adapter))
        }
        Body::Vectors(_) => {
            unreachable!("a model of vectors has no tokenizer that rows could be too long for")
        }
        Body::New(architecture) => {
            let (architecture, context) = (architecture.clone(), architecture.context);
            let (alphabet, ends) = match &experiment.task.rows {
                experiment::Rows::Generated(Source::MateInOne(_)) => (MateInOne::ALPHABET, true),
                _ => (Arithmetic::ALPHABET, false),
            };
            let alphabet = alphabet.to_owned();
            let seed = experiment.pretrain.as_ref().map_or(0, |pretrain| pretrain.seed);
            (Prepare::NewModel { architecture, alphabet, ends, seed }, context, BTreeMap::new())
        }
    };
    let spec = Spec { work: Work::Prepare(prepare), inputs: BTreeMap::new() };
    let key = plan.add_located(format!("model {name}"), spec, Estimate::default(), locations);
    Ok((key, positions))
}

/// The method that has a model learn the language of the rows first, if one of its students is made of it.
fn language_of<'a>(experiment: &'a Experiment, name: &str) -> Option<&'a Method> {
    let place = experiment.ladder.iter().position(|model| model.name == name)?;
    let learns = |method: &&Method| {
        let mut paths = experiment.pairs.iter().filter_map(|pair| method.path(*pair));
        method.generative > 0 && paths.any(|path| path.contains(&place))
    };
    experiment.methods.iter().find(learns)
}

/// A model made here learns language.
fn pretrain(
    plan: &mut Plan,
    experiment: &Experiment,
    settings: &Pretrain,
    model: &Model,
    (reader, context): (Key, usize),
) -> Key {
    let (rows, source) = (settings.rows, settings.corpus.clone());
    let corpus = Spec { work: Work::Prepare(Prepare::Corpus { source }), inputs: BTreeMap::new() };
    let corpus = plan.add("corpus", corpus, estimate(rows, 0));
    let title = format!("tokens {} corpus", model.name);
    let tokens = tokens(plan, title, rows, (Part::Corpus, context, Style::Plain), [reader, corpus]);
    let train = Train {
        part: Part::Corpus,
        head: Head::LanguageModel.into(),
        trainable: Trainable::All,
        lora: None,
        objective: Objective::LanguageModel,
        optimizer: settings.optimizer.clone(),
        numerics: experiment.numerics,
        strategy: experiment.strategy,
        span: None,
        seed: settings.seed,
    };
    let cost = estimate(rows.saturating_mul(train.optimizer.passes), context);
    let inputs = roles([("model", reader), ("data", corpus), ("tokens", tokens)]);
    let key = plan.add(format!("pretrain {}", model.name), Spec { work: Work::Train(train), inputs }, cost);
    plan.limit(key, model.workers);
    key
}

/// Rows of a stage as a model reads them.
fn tokens(
    plan: &mut Plan,
    title: String,
    rows: usize,
    (part, max_tokens, style): (Part, usize, Style),
    [model, data]: [Key; 2],
) -> Key {
    let work = Work::Prepare(Prepare::Tokens { part, max_tokens, style });
    let inputs = roles([("model", model), ("data", data)]);
    plan.add(title, Spec { work, inputs }, estimate(rows, max_tokens))
}

/// Inputs by their roles.
pub(super) fn roles(inputs: impl IntoIterator<Item = (&'static str, Key)>) -> BTreeMap<String, Key> {
    inputs.into_iter().map(|(role, key)| (role.to_owned(), key)).collect()
}
