//! A finetuning: what the model ends in, what is minimized, and how.

use serde::{Deserialize, Serialize};

use super::{Numerics, Part, Strategy};

/// A finetuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// Rows that are trained on.
    pub part: Part,
    /// What the model ends in.
    pub head: HeadSpec,
    /// Which parameters are trained; with adapters, these and a new head are.
    pub trainable: Trainable,
    /// Adapters on linear maps; none to train the weights themselves.
    pub lora: Option<Lora>,
    /// What is minimized.
    pub objective: Objective,
    /// How.
    pub optimizer: Optimizer,
    /// In which numbers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub numerics: Numerics,
    /// Who holds what. Results are equal to rounding, in deterministic mode to the byte.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: Strategy,
    /// Which of its steps are done here; none for all of them. What came before is the input `before`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub span: Option<Span>,
    /// Seed of the row order, of a fresh head and of adapters.
    pub seed: u64,
}

/// A stretch of a training's steps: those that lie between two shares of it. Whoever does the next stretch goes on as if
/// there had been no end in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Shares that are done before.
    pub begin: usize,
    /// Shares that are done afterwards; above `begin`.
    pub end: usize,
    /// Of how many equal shares.
    pub of: usize,
}

impl Span {
    /// The steps that it has of so many; each step is in one span of a chain.
    pub fn steps(&self, of: usize) -> std::ops::Range<usize> {
        let at = |share: usize| (of as u128 * share as u128 / self.of.max(1) as u128) as usize;
        at(self.begin)..at(self.end.min(self.of))
    }

    /// Whether the training goes on after it.
    pub fn is_followed(&self) -> bool {
        self.end < self.of
    }
}

/// The head that a finetuning trains, and how it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadSpec {
    /// What the model ends in.
    pub head: Head,
    /// How it begins where the model does not end so already.
    pub init: HeadInit,
    /// Which state it reads; none for the family's own.
    pub readout: Option<Readout>,
}

impl From<Head> for HeadSpec {
    /// Begun and read as by default.
    fn from(head: Head) -> Self {
        Self { head, init: HeadInit::default(), readout: None }
    }
}

/// What a model ends in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Next-token logits.
    LanguageModel,
    /// One logit per class.
    Classifier {
        /// Number of classes.
        classes: usize,
    },
    /// One logit: how good a text is.
    Reward,
}

/// What is minimized. Labels are the input `labels` (soft, from a weak supervisor) where the stage has one,
/// else the rows' own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Mean next-token cross-entropy.
    LanguageModel,
    /// Mean cross-entropy against hard or soft labels.
    CrossEntropy,
    /// The auxiliary confidence loss (Burns et al. 2023, section 4.3).
    Confidence {
        /// Largest weight of the auxiliary term.
        weight: f64,
        /// Share of the steps over which the weight rises from 0.
        warmup: f64,
        /// Where the student's predictions are hardened.
        #[serde(default, skip_serializing_if = "is_default")]
        threshold: Threshold,
        /// Whether the weight rises as in the released code, which jumps.
        #[serde(default, skip_serializing_if = "is_default")]
        jumps: bool,
    },
    /// The divergence of the labels from the student.
    Divergence,
    /// Cross-entropy against the product of label and the student's own prediction.
    Product {
        /// Power of the label.
        alpha: f64,
        /// Power of the prediction.
        beta: f64,
    },
    /// Cross-entropy against labels and a growing share of the student's own prediction.
    Entropy {
        /// Largest share of the prediction.
        weight: f64,
        /// Share of the steps over which it rises from 0.
        warmup: f64,
    },
    /// Cross-entropy over rows that the student is not sure of.
    Window {
        /// How much above one half the student's largest probability may be.
        radius: f64,
    },
    /// Generalized cross-entropy (Zhang and Sabuncu 2018).
    Generalized {
        /// From cross-entropy towards 0 to absolute error at 1.
        q: f64,
    },
    /// Cross-entropy against smoothed labels.
    Smoothing {
        /// The part of a label that goes to all classes alike.
        amount: f64,
    },
}

/// Above which prediction of class 1 the confidence loss takes it for class 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// The median of the global batch.
    #[default]
    Median,
    /// That which gives class 1 its share in the weak labels of the global batch.
    Prior,
}

/// The batches, the rule of an update, and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    /// Passes over the rows.
    pub passes: usize,
    /// Rows per step over all workers.
    pub batch: usize,
    /// Rows per slot: one slot is one forward and backward pass.
    pub micro_batch: usize,
    /// What an update does with a gradient.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rule: Rule,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How the rate falls.
    pub schedule: Schedule,
    /// Share of the steps over which the rate rises from 0.
    pub warmup: f64,
    /// Share of the peak that a falling rate ends at.
    #[serde(default, skip_serializing_if = "is_default")]
    pub floor: f64,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// Names of parameters that do not decay either; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_decay: Vec<String>,
    /// Largest global norm of the gradient; none for no clipping.
    pub clip: Option<f64>,
}

/// What came later is left out of a description where it says nothing, so that keys stay what they were.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How an update follows from the gradients before it. Weight decay is decoupled in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// By the running means of the gradient and its square (Loshchilov & Hutter 2019, algorithm 2).
    #[serde(rename = "adamw")]
    AdamW {
        /// Decay rate of the gradient's running mean.
        beta1: f64,
        /// Decay rate of its square's.
        beta2: f64,
        /// Added to the root of the second.
        epsilon: f64,
    },
    /// By the gradient (Sutskever et al. 2013, section 2).
    Sgd {
        /// Share of the last update's direction that is kept.
        momentum: f64,
        /// Whether the gradient is taken as if the momentum had been followed already.
        nesterov: bool,
    },
    /// As AdamW without a mean, and the square's factored into rows and columns (Shazeer & Stern 2018, algorithms 4 and
    /// 5), with the constants of that paper.
    Adafactor,
}

impl Default for Rule {
    fn default() -> Self {
        Self::AdamW { beta1: Self::BETA1, beta2: Self::BETA2, epsilon: Self::EPSILON }
    }
}

impl Rule {
    /// AdamW's where nothing else is said, as of everything here.
    pub const BETA1: f64 = 0.9;
    /// AdamW's.
    pub const BETA2: f64 = 0.999;
    /// AdamW's.
    pub const EPSILON: f64 = 1e-8;
    /// That of stochastic gradient descent.
    pub const MOMENTUM: f64 = 0.9;

    /// Whether a parameter's update depends on its own gradients alone, number by number, so that any share of a
    /// buffer can be updated apart from the rest.
    pub fn is_elementwise(&self) -> bool {
        match self {
            Self::AdamW { .. } | Self::Sgd { .. } => true,
            Self::Adafactor => false,
        }
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It does not.
    Constant,
    /// In a line that would reach zero one step after the last.
    #[default]
    Linear,
    /// Along half a cosine that would reach zero one step after the last.
    Cosine,
    /// With the inverse of the root of the step (Vaswani et al. 2017, section 5.3).
    InverseSqrt,
}

/// How a new head begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadInit {
    /// Normal with the standard deviation 0.02, seeded; biases 0.
    #[default]
    Normal,
    /// All zeros.
    Zero,
    /// Row c of a classifier is the unembedding row of the c-th of these tokens (Burns et al. 2023, appendix A.1);
    /// each must be a single token of the model's vocabulary.
    Unembedding(Vec<String>),
}

/// Which state of a sequence a classifier or a reward head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readout {
    /// That of the last token that is not padding, by the attention mask.
    Last,
    /// The mean over all tokens that are not padding.
    Mean,
    /// That of the first token that is not padding.
    First,
}

/// Which parameters are trained; the others keep their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trainable {
    /// Every one.
    #[default]
    All,
    /// Those of the head alone: a linear probe.
    Head,
    /// All but those whose name one of these patterns matches; `*` stands for any characters.
    Except(Vec<String>),
}

/// Low-rank adapters on linear maps (Hu et al. 2021): W x becomes W x + alpha / rank * B A x, and only A, B and the
/// head are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Rows of A.
    pub rank: usize,
    /// Scale of the adapter, divided by the rank.
    pub alpha: f64,
    /// Share of the adapter's inputs that are dropped in training.
    pub dropout: f64,
    /// Endings of the names of the linear maps that are adapted, as in PEFT's `target_modules`, e.g. `q_proj`;
    /// `all-linear` for every linear map but the head.
    pub targets: Vec<String>,
}
