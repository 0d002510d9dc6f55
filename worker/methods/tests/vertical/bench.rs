//! Stages run one after the other, and the work that most of them do.

use std::{fs, path::Path, sync::Arc};

use fulcrum_collective::Solo;
use fulcrum_common::{
    Key,
    plan::{
        Architecture, Arithmetic, Duplicates, Estimate, Format, Head, Infer, Objective, Optimizer, Output,
        Part, Prepare, Rule, Schedule, Source, Spec, SplitRule, Stage, Style, Threshold, Train, Trainable,
        Work,
    },
};
use fulcrum_methods::{Error, Gang, Input, Job, Outcome, Shard, run};

/// A bench where stages are run one after the other.
pub(crate) struct Bench {
    pub folder: tempfile::TempDir,
    runs: usize,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), runs: 0 }
    }

    pub(crate) fn try_run(
        &mut self,
        work: Work,
        inputs: &[(&str, &Input)],
        shard: Option<Shard>,
        locations: &[(&str, &Path)],
    ) -> Result<(Input, Outcome), Error> {
        self.runs += 1;
        let output = self.folder.path().join(self.runs.to_string());
        fs::create_dir(&output).unwrap();
        let keys = inputs.iter().map(|(role, _)| ((*role).to_owned(), Key::of(role.as_bytes())));
        let spec = Spec { work, inputs: keys.collect() };
        let locations = locations
            .iter()
            .map(|(role, path)| ((*role).to_owned(), path.to_str().unwrap().to_owned()))
            .collect();
        let stage = Stage {
            key: spec.key(),
            name: "stage".into(),
            spec,
            locations,
            estimate: Estimate::default(),
            workers: None,
        };
        let inputs = inputs.iter().map(|(role, input)| ((*role).to_owned(), (*input).clone())).collect();
        let job = Job { stage: &stage, inputs: &inputs, shard, output: &output, device: tch::Device::Cpu };
        let outcome = run(&job, &Gang::data(Arc::new(Solo::new())), &(), None)?;
        let mut left: Vec<String> =
            fs::read_dir(&output).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        let mut named = outcome.files.clone();
        left.sort();
        named.sort();
        assert_eq!(left, named, "every file that is left belongs to the artifact");
        let files = named.iter().map(|name| (name.clone(), output.join(name))).collect();
        Ok((Input { files, facts: outcome.facts.clone() }, outcome))
    }

    pub(crate) fn run(&mut self, work: Work, inputs: &[(&str, &Input)]) -> Input {
        self.try_run(work, inputs, None, &[]).unwrap().0
    }

    /// A part's tokens.
    pub(crate) fn tokens(&mut self, part: Part, model: &Input, data: &Input) -> Input {
        let work = Work::Prepare(Prepare::Tokens { part, max_tokens: 16, style: Style::Plain });
        self.run(work, &[("model", model), ("data", data)])
    }

    /// A training, and before it the tokens that it reads.
    pub(crate) fn train(&mut self, work: &Work, inputs: &[(&str, &Input)]) -> Input {
        let Work::Train(Train { part, .. }) = work else { panic!("{work:?} is no training") };
        let input = |role| inputs.iter().find(|(name, _)| *name == role).unwrap().1;
        let tokens = self.tokens(*part, input("model"), input("data"));
        self.run(work.clone(), &[inputs, &[("tokens", &tokens)]].concat())
    }

    /// All shards of an inference, as one artifact.
    pub(crate) fn infer(&mut self, work: &Infer, model: &Input, data: &Input) -> Input {
        let tokens = self.tokens(work.part, model, data);
        let rows = data.facts[&work.part.fact()] as usize;
        let mut whole = Input::default();
        for start in (0..rows).step_by(work.shard) {
            let shard = start..rows.min(start + work.shard);
            let inputs = [("model", model), ("data", data), ("tokens", &tokens)];
            let (part, _) =
                self.try_run(Work::Infer(work.clone()), &inputs, Some(shard.into()), &[]).unwrap();
            whole.files.extend(part.files);
            *whole.facts.entry("rows".into()).or_default() += part.facts["rows"];
        }
        assert_eq!(whole.facts["rows"], rows as u64);
        whole
    }
}

pub(crate) const ARITHMETIC: Arithmetic = Arithmetic { rows: 200, seed: 1, below: 30, noise: 0.1 };

pub(crate) fn dataset() -> Work {
    let split = SplitRule {
        ground_truth: 40,
        weak_labels: 42,
        validation: 12,
        test: 30,
        fresh: 0,
        balance: 0.5,
        duplicates: Duplicates::Report,
        levels: None,
        seed: 3,
    };
    let source = Source::Arithmetic(ARITHMETIC);
    Work::Prepare(Prepare::Dataset {
        source,
        format: Format::arithmetic(),
        split,
        drop_over: None,
        questions: false,
    })
}

pub(crate) fn new_model(hidden: usize) -> Work {
    let architecture = Architecture { layers: 2, hidden, heads: 2, context: 16 };
    Work::Prepare(Prepare::NewModel {
        architecture,
        alphabet: Arithmetic::ALPHABET.into(),
        ends: false,
        seed: 5,
    })
}

pub(crate) fn train(part: Part, head: Head, objective: Objective) -> Work {
    let optimizer = Optimizer {
        passes: 1,
        batch: 14,
        micro_batch: 4,
        rule: Rule::default(),
        learning_rate: 1e-3,
        schedule: Schedule::Linear,
        warmup: 0.1,
        floor: 0.0,
        weight_decay: 0.01,
        no_decay: Vec::new(),
        clip: Some(1.0),
    };
    let (head, trainable, lora) = (head.into(), Trainable::All, None);
    let (numerics, strategy) = Default::default();
    Work::Train(Train {
        part,
        head,
        trainable,
        lora,
        objective,
        optimizer,
        numerics,
        strategy,
        span: None,
        seed: 7,
    })
}

pub(crate) fn infer(part: Part, output: Output) -> Infer {
    Infer { part, output, batch_tokens: 44, shard: 16, poison_rows: Infer::POISON_ROWS }
}

pub(crate) const CLASSIFIER: Head = Head::Classifier { classes: 2 };
pub(crate) const CONFIDENCE: Objective =
    Objective::Confidence { weight: 0.5, warmup: 0.2, threshold: Threshold::Median, jumps: false };
