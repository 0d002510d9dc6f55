//! Words of which one is chosen.

use toml::de::DeValue;

use super::{Value, Wrong};
use crate::experiment::{Stop, Tuning};
use crate::plan::{Duplicates, ErrorPattern, Mode, Pick, Precision, Readout, Schedule, Threshold, Wire};

macro_rules! choice {
    ($($(#[$doc:meta])* $type:ident { $($variant:ident = $word:literal),+ $(,)? } later [$($later:literal),*];)+) => {$(
        choice!(@value $type { $($variant = $word),+ } later [$($later),*]);

        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::experiment) enum $type { $($variant),+ }
    )+};
    (@value $type:ident { $($variant:ident = $word:literal),+ } later [$($later:literal),*]) => {
        impl Value for $type {
            fn kind() -> String {
                one_of(&[$(concat!("\"", $word, "\"")),+])
            }

            fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
                let later: &[&str] = &[$($later),*];
                match value.as_str() {
                    $(Some($word) => Ok(Self::$variant),)+
                    Some(word) if later.contains(&word) => {
                        Err(Wrong::Because(format!("= {word:?} is not supported yet; use {}", Self::kind())))
                    }
                    _ => Err(Wrong::Kind),
                }
            }

            fn show(&self) -> String {
                match self { $(Self::$variant => concat!("\"", $word, "\"").into()),+ }
            }
        }
    };
}

choice! {
    /// What an experiment is compiled by.
    Recipe { WeakToStrong = "weak-to-strong" } later [];
    /// What the models learn.
    TaskKind {
        Classification = "classification",
        Preference = "preference",
        MultipleChoice = "multiple-choice",
        Generation = "generation",
    } later ["language-model", "images", "graph"];
    /// How a student is trained on weak labels.
    MethodName {
        Naive = "naive",
        Confidence = "confidence",
        Kl = "kl",
        Product = "product",
        Entropy = "entropy",
        Window = "window",
        Generalized = "generalized",
        Smoothing = "smoothing",
    } later [];
    /// Which form of the confidence loss.
    ConfidenceForm { Paper = "paper", Released = "released" } later [];
    /// Whose answers a model is shown.
    ShotLabels { Weak = "weak", Truth = "truth" } later [];
    /// What is trained of a model.
    TrainableName { All = "all", Head = "head" } later [];
    /// What makes an update of a gradient.
    OptimizerName { AdamW = "adamw", Sgd = "sgd", Adafactor = "adafactor" } later [];
    /// Who holds what of a model in training.
    StrategyName { Data = "data", Zero1 = "zero1", Sharded = "sharded", Hybrid = "hybrid" } later [];
    /// What becomes of rows that a tokenizer makes too long.
    OverLong { Truncate = "truncate", Drop = "drop" } later [];
}

choice!(@value Tuning {
    Finetune = "finetune",
    Probe = "probe",
    ProbeThenFinetune = "probe-then-finetune",
    FinetuneThenProbe = "finetune-then-probe",
    Prompt = "prompt"
} later []);
choice!(@value Stop { WeakLabels = "weak-labels", GroundTruth = "ground-truth" } later []);
choice!(@value ErrorPattern {
    Random = "random",
    Longest = "longest",
    Shortest = "shortest",
    StrongUnconfident = "strong-unconfident",
    StrongConfident = "strong-confident"
} later []);
choice!(@value Threshold { Median = "median", Prior = "prior" } later []);
choice!(@value Duplicates { Report = "report", Drop = "drop", Refuse = "refuse" } later []);
choice!(@value Pick { All = "all", Two = "two", One = "one" } later []);
choice!(@value Schedule { Constant = "constant", Linear = "linear", Cosine = "cosine", InverseSqrt = "inverse_sqrt" } later []);

choice!(@value Precision { Fp32 = "fp32", Bf16 = "bf16" } later []);
choice!(@value Mode { Fast = "fast", Deterministic = "deterministic" } later []);
choice!(@value Wire { Fp32 = "fp32", Bf16 = "bf16" } later []);
choice!(@value Readout { Last = "last", Mean = "mean", First = "first" } later []);

impl MethodName {
    /// As the file and the report have it.
    pub(in crate::experiment) fn word(self) -> String {
        self.show().trim_matches('"').to_owned()
    }
}

/// `a, b or c`.
fn one_of(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}
