//! Words of which one is chosen.

use toml::de::DeValue;

use super::{Value, Wrong};
use crate::plan::{Duplicates, Pick, Readout, Schedule};

macro_rules! choice {
    ($($(#[$doc:meta])* $type:ident { $($variant:ident = $word:literal),+ } later [$($later:literal),*];)+) => {$(
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
    TaskKind { Classification = "classification" }
        later ["preference", "language-model", "generation", "images", "graph"];
    /// How a student is trained on weak labels.
    MethodName { Naive = "naive", Confidence = "confidence" } later [];
    /// What is trained of a model.
    TrainableName { All = "all", Head = "head" } later [];
    /// What makes an update of a gradient.
    OptimizerName { AdamW = "adamw", Sgd = "sgd", Adafactor = "adafactor" } later [];
    /// How a gang shares the work of one step.
    Strategy { Data = "data" } later ["zero1", "sharded", "hybrid"];
    /// What becomes of rows that a tokenizer makes too long.
    OverLong { Truncate = "truncate", Drop = "drop" } later [];
    /// The numbers that models compute in.
    Precision { Fp32 = "fp32" } later ["bf16"];
    /// What stays equal when a gang changes its size.
    Mode { Fast = "fast" } later ["deterministic"];
}

choice!(@value Duplicates { Report = "report", Drop = "drop", Refuse = "refuse" } later []);
choice!(@value Pick { All = "all", Two = "two", One = "one" } later []);
choice!(@value Schedule { Constant = "constant", Linear = "linear", Cosine = "cosine", InverseSqrt = "inverse_sqrt" } later []);

choice!(@value Readout { Last = "last", Mean = "mean", First = "first" } later []);

/// `a, b or c`.
fn one_of(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}
