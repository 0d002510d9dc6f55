//! Plans of scenes, stage by stage.

use std::collections::BTreeMap;

use fulcrum_common::{
    Key,
    plan::{
        Arithmetic, Estimate, Head, Infer, Measure, Objective, Optimizer, Output, Part, Plan, Prepare, Rule,
        Schedule, Source, Spec, Stage, Train, Trainable, Work,
    },
    store::Manifest,
};

/// Rows that every prepared stage of a scene has.
pub(crate) const ROWS: u64 = 10;

/// Rows per shard.
pub(crate) const SHARD: usize = 4;

/// A growing plan.
#[derive(Default)]
pub(crate) struct Sketch(pub(crate) Plan);

impl Sketch {
    fn add(&mut self, name: &str, work: Work, inputs: &[(&str, Key)]) -> Key {
        let inputs = inputs.iter().map(|(role, key)| ((*role).to_owned(), *key)).collect();
        self.0.add(name, Spec { work, inputs }, Estimate { examples: ROWS, tokens: 0 })
    }

    pub(crate) fn prepare(&mut self, name: &str, seed: u64) -> Key {
        let source = Source::Arithmetic(Arithmetic { rows: ROWS as usize, seed, below: 10, noise: 0.0 });
        self.add(name, Work::Prepare(Prepare::Corpus { source }), &[])
    }

    pub(crate) fn train(&mut self, name: &str, seed: u64, data: Key) -> Key {
        let optimizer = Optimizer {
            passes: 1,
            batch: 4,
            micro_batch: 2,
            rule: Rule::default(),
            learning_rate: 0.1,
            schedule: Schedule::Constant,
            warmup: 0.0,
            floor: 0.0,
            weight_decay: 0.0,
            no_decay: Vec::new(),
            clip: None,
        };
        let train = Train {
            part: Part::Corpus,
            head: Head::LanguageModel.into(),
            trainable: Trainable::All,
            lora: None,
            objective: Objective::LanguageModel,
            optimizer,
            numerics: Default::default(),
            strategy: Default::default(),
            span: None,
            seed,
        };
        self.add(name, Work::Train(train), &[("data", data)])
    }

    /// [`Sketch::train`] by no more than so many workers.
    pub(crate) fn train_on(&mut self, name: &str, seed: u64, data: Key, workers: usize) -> Key {
        let key = self.train(name, seed, data);
        let mut stages = Vec::from(std::mem::take(&mut self.0));
        let stage = stages.iter_mut().find(|stage| stage.key == key).unwrap();
        stage.workers = Some(workers);
        self.0 = stages.into();
        key
    }

    pub(crate) fn infer(&mut self, name: &str, model: Key, data: Key) -> Key {
        let infer = Infer {
            part: Part::Corpus,
            output: Output::LogProbability,
            batch_tokens: 8,
            shard: SHARD,
            poison_rows: Infer::POISON_ROWS,
        };
        self.add(name, Work::Infer(infer), &[("model", model), ("data", data)])
    }

    pub(crate) fn measure(&mut self, name: &str, inputs: &[(&str, Key)]) -> Key {
        self.add(name, Work::Measure(Measure::Accuracy { part: Part::Corpus }), inputs)
    }

    /// data -> model -> labels -> goal: one stage of each way to run.
    pub(crate) fn chain() -> Plan {
        let mut sketch = Self::default();
        let data = sketch.prepare("data", 0);
        let model = sketch.train("model", 0, data);
        let labels = sketch.infer("labels", model, data);
        sketch.measure("goal", &[("data", data), ("labels", labels)]);
        sketch.0
    }
}

/// The manifest that a finished stage of a scene has.
pub(crate) fn manifest(stage: &Stage) -> Manifest {
    let facts = BTreeMap::from([(Part::Corpus.fact(), ROWS)]);
    Manifest {
        key: stage.key,
        name: stage.name.clone(),
        epoch: 1,
        files: vec![],
        facts,
        spec: stage.spec.clone(),
    }
}
