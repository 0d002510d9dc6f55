//! Recipes: what an experiment, or a single command, is compiled to.

mod one_off;
mod outside;
mod sweep;
mod weak_to_strong;

pub use one_off::{Finetuning, generate, infer, train};
pub use sweep::join;

use crate::{
    experiment::Experiment,
    plan::{Estimate, Plan},
    source::Sources,
};

/// Why something cannot be compiled although its description is sound: the outside does not fit it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// More layers are asked for than a checkpoint has.
    #[error(
        "model.layers = {asked} for {model:?}, but the checkpoint has {layers}: ask for fewer, or leave the key out"
    )]
    Layers {
        /// The model's name.
        model: String,
        /// Layers asked for.
        asked: usize,
        /// Layers there are.
        layers: usize,
    },
    /// The sources are those of another experiment.
    #[error("the source of model {model:?} was not resolved: resolve the sources of this experiment first")]
    Unresolved {
        /// The model's name.
        model: String,
    },
    /// Rows without labels can only train a language model.
    #[error(
        "{model} is no language model, so it needs labels to learn from: name the label column and its classes"
    )]
    NoLabel {
        /// The folder.
        model: String,
    },
    /// A checkpoint whose hidden states alone say nothing about a row.
    #[error("{model} is neither a classifier nor a language model: finetune it first with `fulcrum train`")]
    NoHead {
        /// The folder.
        model: String,
    },
    /// A checkpoint that cannot continue a prompt.
    #[error("{model} is no language model: only one of those continues prompts")]
    NotSpeaking {
        /// The folder.
        model: String,
    },
    /// A model of the ladder that cannot learn language.
    #[error(
        "{model:?} is no language model, but method {method:?} is generative: leave the method or the model out"
    )]
    Silent {
        /// The model's name.
        model: String,
        /// The method's name.
        method: String,
    },
    /// A model that reads something else than the rows are.
    #[error(
        "{model:?} reads {reads}, but the rows of the task are {rows}: take another model, or other files"
    )]
    Unlike {
        /// The model's name.
        model: String,
        /// What it reads.
        reads: &'static str,
        /// What there is.
        rows: &'static str,
    },
    /// Settings by which no completion can be drawn.
    #[error("{0}")]
    Sampling(String),
}

/// Compiles an experiment to a plan whose last stage is its result.
///
/// # Errors
/// If the sources do not fit the experiment, e.g. a checkpoint has too few layers.
pub fn compile(experiment: &Experiment, sources: &Sources) -> Result<Plan, RecipeError> {
    weak_to_strong::compile(experiment, sources)
}

/// The cost of so many examples of at most `max_tokens` each.
fn estimate(examples: usize, max_tokens: usize) -> Estimate {
    let examples = examples as u64;
    Estimate { examples, tokens: examples.saturating_mul(max_tokens as u64) }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, path::PathBuf};

    use super::*;
    use crate::{
        Key,
        experiment::{self, Batches, Training},
        plan::{
            FileDigest, Format, Head, HeadInit, HeadSpec, Lora, Objective, Output, Part, Prepare, Readout,
            Sampling, Style, Threshold, Train, Trainable, Work,
        },
        source::{ModelFolder, Purpose, SourceFile},
    };

    const THREE: &str = r#"
        name = "three"
        recipe = "weak-to-strong"
        seeds = [0, 1]
        [task]
        source = "builtin:arithmetic"
        split = { ground_truth = 100, weak_labels = 80, test = 50 }
        [[model]]
        name = "s"
        layers = 1
        hidden = 16
        heads = 2
        context = 32
        [[model]]
        name = "m"
        layers = 2
        hidden = 16
        heads = 2
        context = 32
        learning_rate = 0.5
        [[model]]
        name = "l"
        layers = 2
        hidden = 32
        heads = 2
        context = 16
        [pretrain]
        rows = 1000
        epochs = 3
        [methods]
        run = ["naive", "confidence"]
        [train]
        epochs = 2
        max_tokens = 20
    "#;

    fn three() -> Plan {
        let experiment = experiment::parse("three.toml", THREE, "".as_ref()).unwrap();
        let plan = compile(&experiment, &Sources::default()).unwrap();
        plan.check().unwrap();
        plan
    }

    fn train(plan: &Plan, name: &str) -> (Train, Estimate) {
        let stage = plan.stages().iter().find(|stage| stage.name == name).unwrap_or_else(|| panic!("{name}"));
        let Work::Train(train) = &stage.spec.work else { panic!("{name} is no training") };
        (train.clone(), stage.estimate)
    }

    #[test]
    fn every_stage_has_one_name_and_seeds_come_one_after_the_other() {
        let plan = three();
        let names: Vec<&str> = plan.stages().iter().map(|stage| stage.name.as_str()).collect();
        let expected = [
            "dataset",
            "model s",
            "corpus",
            "tokens s corpus",
            "pretrain s",
            "model m",
            "tokens m corpus",
            "pretrain m",
            "model l",
            "tokens l corpus",
            "pretrain l",
            "tokens s ground_truth",
            "weak s seed 0",
            "tokens s test",
            "test of weak s seed 0",
            "tokens m weak_labels",
            "ceiling m seed 0",
            "tokens m test",
            "test of ceiling m seed 0",
            "tokens s weak_labels",
            "weak labels s seed 0",
            "student naive s>m seed 0",
            "test of student naive s>m seed 0",
            "student confidence s>m seed 0",
            "test of student confidence s>m seed 0",
            "tokens l weak_labels",
            "ceiling l seed 0",
            "tokens l test",
            "test of ceiling l seed 0",
            "student naive s>l seed 0",
            "test of student naive s>l seed 0",
            "student confidence s>l seed 0",
            "test of student confidence s>l seed 0",
            "tokens m ground_truth",
            "weak m seed 0",
            "test of weak m seed 0",
            "weak labels m seed 0",
            "student naive m>l seed 0",
            "test of student naive m>l seed 0",
            "student confidence m>l seed 0",
            "test of student confidence m>l seed 0",
        ];
        let again = expected.iter().filter(|name| name.contains("seed 0"));
        let again: Vec<String> = again.map(|name| name.replace("seed 0", "seed 1")).collect();
        let again = again.iter().map(String::as_str);
        let expected: Vec<&str> = expected.into_iter().chain(again).chain(["measure"]).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn each_teacher_has_its_rows_labels_and_loss() {
        let plan = three();
        for (name, part, objective, has_labels) in [
            ("weak s seed 0", "ground_truth", Objective::CrossEntropy, false),
            ("ceiling l seed 0", "weak_labels", Objective::CrossEntropy, false),
            ("student naive s>l seed 0", "weak_labels", Objective::CrossEntropy, true),
            (
                "student confidence s>l seed 1",
                "weak_labels",
                Objective::Confidence {
                    weight: 0.5,
                    warmup: 0.2,
                    threshold: Threshold::Median,
                    jumps: false,
                },
                true,
            ),
        ] {
            let (train, _) = train(&plan, name);
            let stage = plan.stages().iter().find(|stage| stage.name == name).unwrap();
            assert_eq!((train.part.word(), train.objective), (part, objective), "{name}");
            assert_eq!(train.head, Head::Classifier { classes: 2 }.into(), "{name}");
            assert_eq!(stage.spec.inputs.contains_key("labels"), has_labels, "{name}");
        }
    }

    #[test]
    fn heads_adapters_and_what_is_frozen_are_those_of_the_file() {
        let of = |from: &str, to: &str| {
            assert!(THREE.contains(from), "{from}");
            let text = THREE.replacen(from, to, 1);
            let experiment = experiment::parse("three.toml", &text, "".as_ref()).unwrap();
            compile(&experiment, &Sources::default()).unwrap()
        };
        let plan = of("learning_rate = 0.5", "head_init = [\"F\", \"T\"]\nreadout = \"mean\"");
        let init = HeadInit::Unembedding(vec!["F".into(), "T".into()]);
        let head = Head::Classifier { classes: 2 };
        assert_eq!(
            train(&plan, "weak m seed 0").0.head,
            HeadSpec { head, init, readout: Some(Readout::Mean) }
        );
        assert_eq!(train(&plan, "ceiling l seed 0").0.head, head.into());

        let lora = |rank, alpha, dropout, targets: &[&str]| {
            let targets = targets.iter().map(|&target| target.to_owned()).collect();
            (Trainable::All, Some(Lora { rank, alpha, dropout, targets }))
        };
        let patterns = vec!["*.wte.*".to_owned()];
        for (keys, expected) in [
            ("epochs = 2", (Trainable::All, None)),
            ("trainable = \"head\"", (Trainable::Head, None)),
            ("freeze = [\"*.wte.*\"]", (Trainable::Except(patterns), None)),
            ("lora = {}", lora(8, 8.0, 0.0, &["all-linear"])),
            (
                "lora = { rank = 2, alpha = 3, dropout = 0.5, targets = [\"c_attn\"] }",
                lora(2, 3.0, 0.5, &["c_attn"]),
            ),
        ] {
            let plan = of("epochs = 2", keys);
            for stage in ["weak s seed 0", "ceiling l seed 0", "student naive s>l seed 1"] {
                let (train, _) = train(&plan, stage);
                assert_eq!((train.trainable, train.lora), expected, "{keys}: {stage}");
            }
            let (pretrain, _) = train(&plan, "pretrain s");
            assert_eq!((pretrain.trainable, pretrain.lora), (Trainable::All, None), "{keys}");
        }
    }

    #[test]
    fn rates_limits_and_costs_are_those_of_model_and_section() {
        let plan = three();
        for (name, rate, max_tokens, examples) in [
            ("pretrain s", 1e-3, 32, 3000),
            ("weak s seed 0", 1e-4, 20, 200),
            ("weak m seed 0", 0.5, 20, 200),
            ("ceiling l seed 0", 1e-4, 16, 160),
        ] {
            let (train, cost) = train(&plan, name);
            let stage = plan.stages().iter().find(|stage| stage.name == name).unwrap();
            let tokens = plan.stage(stage.spec.inputs["tokens"]).unwrap();
            let expected = Prepare::Tokens { part: train.part, max_tokens, style: Style::Plain };
            assert_eq!(tokens.spec.work, Work::Prepare(expected), "{name}");
            assert_eq!(train.optimizer.learning_rate, rate, "{name}");
            assert_eq!(cost, Estimate { examples, tokens: examples * max_tokens as u64 }, "{name}");
        }
    }

    fn folder(purpose: Purpose) -> ModelFolder {
        ModelFolder {
            path: PathBuf::from("/models/m"),
            digest: Key::of(b"m"),
            layers: 6,
            positions: 64,
            purpose,
        }
    }

    #[test]
    fn a_checkpoint_cannot_give_more_layers_than_it_has() {
        let import = |layers| outside::import("m", &folder(Purpose::Base), layers, None);
        assert_eq!(import(Some(7)), Err(RecipeError::Layers { model: "m".into(), asked: 7, layers: 6 }));
        for (asked, kept) in [(None, None), (Some(2), Some(2)), (Some(6), None)] {
            assert_eq!(
                import(asked),
                Ok(Prepare::Model { digest: Key::of(b"m"), layers: kept, adapter: None })
            );
        }
    }

    fn rows() -> Vec<SourceFile> {
        let digest = FileDigest { name: "rows.csv".into(), digest: Key::of(b"rows") };
        vec![SourceFile { path: PathBuf::from("/data/rows.csv"), digest }]
    }

    #[test]
    fn a_pass_over_a_file_writes_what_the_model_was_saved_for() {
        let output = |purpose| {
            let plan = infer(&folder(purpose), &rows(), "{{ text }}", Batches::default(), 128)?;
            plan.check().unwrap();
            assert_eq!(plan.stages()[1].locations["file/0"], "/data/rows.csv");
            let tokens = Prepare::Tokens { part: Part::Rows, max_tokens: 64, style: Style::Plain };
            assert_eq!(plan.stages()[2].spec.work, Work::Prepare(tokens));
            match &plan.stages().last().unwrap().spec.work {
                Work::Infer(infer) => Ok(infer.output.clone()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(output(Purpose::Classifier), Ok(Output::Probabilities));
        assert_eq!(output(Purpose::LanguageModel), Ok(Output::LogProbability));
        assert_eq!(output(Purpose::Base), Err(RecipeError::NoHead { model: "/models/m".into() }));
    }

    #[test]
    fn only_a_language_model_continues_prompts_and_only_where_there_is_room() {
        let sampling = |max_new_tokens| Sampling {
            max_new_tokens,
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            stop: Vec::new(),
            samples: 2,
            seed: 0,
            slots: Sampling::SLOTS,
            chat: None,
        };
        let shard = NonZeroUsize::new(8).unwrap();
        let plan =
            |purpose, sampling| super::generate(&folder(purpose), &rows(), "{{ text }}", &sampling, shard);
        let made = plan(Purpose::LanguageModel, sampling(63)).unwrap();
        made.check().unwrap();
        let Work::Infer(infer) = &made.stages().last().unwrap().spec.work else { panic!("{made:?}") };
        assert_eq!((&infer.output, infer.shard), (&Output::Completions(sampling(63)), 8));
        let refused = |purpose, sampling| plan(purpose, sampling).unwrap_err().to_string();
        assert!(refused(Purpose::Classifier, sampling(8)).starts_with("/models/m is no language model"));
        assert_eq!(
            refused(Purpose::LanguageModel, sampling(64)),
            "max_new_tokens = 64 leaves no room for a prompt: the model reads 64 tokens"
        );
        assert!(refused(Purpose::LanguageModel, sampling(0)).starts_with("max_new_tokens = 0"));
    }

    #[test]
    fn a_single_finetuning_learns_labels_or_language() {
        let head = |purpose, format| {
            let training = Training::parse("flags", "trainable = 'head'").unwrap();
            let (files, init, readout) = (rows(), HeadInit::Zero, Some(Readout::First));
            let (numerics, strategy) = Default::default();
            let finetuning = Finetuning {
                files,
                format,
                soft_labels: None,
                init,
                readout,
                training,
                numerics,
                strategy,
                seed: 0,
            };
            let plan = super::train(&folder(purpose), &finetuning)?;
            plan.check().unwrap();
            match &plan.stages().last().unwrap().spec.work {
                Work::Train(train) => {
                    assert_eq!(
                        (&train.head.init, train.head.readout),
                        (&HeadInit::Zero, Some(Readout::First))
                    );
                    assert_eq!(train.trainable, Trainable::Head);
                    Ok((train.head.head, train.objective))
                }
                other => panic!("{other:?}"),
            }
        };
        let (labelled, plain) = (Format::arithmetic(), Format::unlabelled("{{ text }}"));
        let classifier = Ok((Head::Classifier { classes: 2 }, Objective::CrossEntropy));
        assert_eq!(head(Purpose::Base, labelled), classifier);
        assert_eq!(
            head(Purpose::LanguageModel, plain.clone()),
            Ok((Head::LanguageModel, Objective::LanguageModel))
        );
        assert_eq!(head(Purpose::Base, plain), Err(RecipeError::NoLabel { model: "/models/m".into() }));
    }
}
