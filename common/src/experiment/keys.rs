//! The one table of all sections and keys: it gives the raw types their fields, the reader its
//! defaults and known names, and `docs/experiment.md` its text.

use super::{
    read::Table,
    value::{
        AdapterSource, Balance, Below, ConfidenceForm, Context, Count, Draws, Fraction, Heads, Hidden,
        Layers, MethodName, Name, NonNegative, OptimizerName, OverLong, Pairs, Portion, Positive, Rank,
        Recipe, RelativePath, Seeds, Share, StrategyName, TaskKind, TaskSource, TrainableName, Value,
    },
};
use crate::{
    experiment::Origin,
    plan::{
        Choices, Duplicates, Formatter, HeadInit, Mode, Pick, Precision, Readout, Schedule, Threshold, Wire,
    },
};

/// A section of the file, as read.
pub(super) trait Section: Sized {
    /// Dotted name; empty for the keys before the first header.
    const PATH: &'static str;

    /// Reads the keys; none if one of them is wrong (the table's log says which).
    fn read(table: &Table<'_>) -> Option<Self>;

    /// What the section is, for people.
    fn describe() -> Description;
}

/// A section for the reference and for guesses at misspelt keys.
pub(super) struct Description {
    pub path: &'static str,
    pub doc: &'static str,
    pub keys: Vec<KeyDescription>,
}

/// A key for the reference.
pub(super) struct KeyDescription {
    pub name: &'static str,
    pub kind: String,
    pub default: Default,
    pub doc: &'static str,
}

/// What holds where the file does not have a key.
pub(super) enum Default {
    /// Nothing: the key must be given.
    Required,
    /// A value, as one would write it.
    Value(String),
    /// What follows from other keys, in words.
    Words(&'static str),
}

/// The value of a key, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Field<T> {
    pub value: T,
    /// Line of the key; none for a default.
    pub line: Option<usize>,
}

/// Tokens per forward pass where nothing else is said.
pub(super) const INFER_BATCH_TOKENS: usize = 1024;

/// Rows per shard where nothing else is said.
pub(super) const INFER_SHARD: usize = 512;

group! {
    /// How a gradient becomes an update.
    Update {
        /// The rule: AdamW, stochastic gradient descent, or Adafactor, which remembers rows and columns of a matrix in
        /// place of its numbers. Weight decay is decoupled in all three.
        optimizer: OptimizerName = OptimizerName::AdamW;
        /// Of AdamW: decay rate of the gradient's running mean.
        beta1: Option<Fraction> = None, else "0.9 of `adamw`";
        /// Of AdamW: decay rate of the running mean of its square.
        beta2: Option<Fraction> = None, else "0.999 of `adamw`";
        /// Of AdamW: added to the root of that mean.
        epsilon: Option<Positive> = None, else "1e-8 of `adamw`";
        /// Of stochastic gradient descent: the share of the last direction that is kept.
        momentum: Option<Fraction> = None, else "0.9 of `sgd`";
        /// Of stochastic gradient descent: whether the gradient counts as if the momentum had been followed already.
        nesterov: Option<bool> = None, else "false of `sgd`";
        /// How the learning rate falls after the warm-up.
        schedule: Schedule = Schedule::Linear;
        /// Where a falling learning rate ends, as a share of its peak.
        floor: Share = Share(0.0);
        /// Matrices without weight decay, by Hugging Face name; `*` stands for any characters, e.g. `"*.wte.weight"`.
        /// Vectors (biases, gains of norms) never decay.
        no_decay: Vec<String> = Vec::new();
        /// Largest global norm of the gradient; 0 for no clipping.
        clip: NonNegative = NonNegative(1.0);
    }
}

sections! {
    /// Keys that stand before the first section.
    "" Top {
        /// Names the run and its folder. Not part of any content key: renaming an experiment redoes nothing.
        name: Name;
        /// What the experiment is compiled by.
        recipe: Recipe;
        /// Everything that is trained is trained once per seed: it decides row order and fresh heads.
        seeds: Seeds = Seeds(vec![0]);
    }

    /// What the models learn, and from which rows.
    "task" Task {
        /// What is learned.
        kind: TaskKind = TaskKind::Classification;
        /// Where the rows come from: generated on the spot, a dataset of the Hugging Face hub (a
        /// copy below the data root, see `--data-root`, else the hub's cache, else it is fetched), or a folder (relative to the experiment file).
        source: TaskSource;
        /// The files to read, in this order: paths in the dataset (or below the data root), or in the folder. The ending of a name tells the
        /// format (see `data.md`), e.g. `.jsonl`, `.csv`, `.tsv.zst`. Not for `builtin:` sources.
        files: Vec<RelativePath> = Vec::new(), else "those of `source_split`";
        /// The split of the dataset that is read where `files` are not named: `README.md` or the names of the files tell which
        /// files it is (see `data.md`).
        source_split: Option<Name> = None, else "`train`";
        /// The subset (configuration) of the dataset that `source_split` belongs to.
        subset: Option<Name> = None, else "the dataset's default";
        /// Names of the columns, for files without a header line.
        columns: Vec<String> = Vec::new();
        /// A formatter that comes with Fulcrum, in place of all keys from `text` to `group_by`.
        format: Option<Formatter> = None, else "the keys below say it";
        /// A template over a row's columns that gives the text a model reads, such as `"{{ sentence }}"`.
        text: Option<String> = None, else "needed with `label` or `choices`";
        /// The value that tells the class: a column, or an expression over columns such as `"meta.label"`.
        label: Option<String> = None, else "needed for classes";
        /// What `label` is for each class, in class order, as text. Anything else is an error.
        classes: Vec<String> = Vec::new(), else "needed with `label`";
        /// The answers of a question: a value that is a list (`"choices.text"`), or a value for each
        /// (`["right", "wrong_1", "wrong_2"]`). Each becomes an example, with `{{ choice }}` in `text`, of class 1 if it is right.
        choices: Option<Choices> = None, else "needed with `answer`";
        /// The value that tells the right one of `choices`: its position from 0, its letter, its text, or a list of marks.
        answer: Option<String> = None, else "needed with `choices`";
        /// The preferred one of two texts, of class 1.
        chosen: Option<String> = None, else "needed with `rejected`";
        /// The other one, of class 0.
        rejected: Option<String> = None, else "needed with `chosen`";
        /// What comes before both of them.
        prompt: Option<String> = None, else "they stand alone";
        /// Which of `choices` become examples: `all`; a right and a random wrong one (`two`, as in the paper); by a coin a
        /// right or a random wrong one (`one`, as in the code released with it). Of `chosen` and `rejected`: both, or by a coin one.
        pick: Option<Pick> = None, else "`all`; `one` for a formatter with answers";
        /// Seed of these coins. A row's depends on nothing else but its position.
        seed: Option<u64> = None, else "0";
        /// Rows with the same value here stay in the same part of the split
        /// (questions about one passage, sentences of one document). May be a template, as `text`.
        group_by: Option<String> = None, else "every row is its own group";
    }

    /// How many rows go where. Rows are assigned in a seeded order: a part that is made larger keeps the rows it had,
    /// and the test rows do not change with the other parts.
    "task.split" Split {
        /// Rows on which weak supervisors are trained.
        ground_truth: Count;
        /// Rows that weak supervisors label and students learn from; ceilings train on them with their true labels.
        weak_labels: Count;
        /// Rows held out for development. Nothing of this recipe reads them.
        validation: usize = 0;
        /// Rows on which every model is tested.
        test: Count;
        /// Largest share of one class in any part; rows of the larger class are dropped beyond it. At 0.5 two classes
        /// have equally many rows.
        balance: Balance = Balance(0.55);
        /// What becomes of rows that the tokenizer of any model makes longer than the model takes and
        /// `train.max_tokens` allows: they are cut, for each model where it must, or they are left out for all
        /// models alike.
        over_long: OverLong = OverLong::Truncate;
        /// What becomes of a text (white space and case aside) that two parts share: it is reported, the later of
        /// test, validation, ground truth and weak labels goes without it, or the split is refused.
        duplicates: Duplicates = Duplicates::Report;
        /// Seed of the assignment.
        seed: u64 = 0;
    }

    /// `builtin:arithmetic`: generated claims such as `37+45=082`, right or nearly right. It shows the machinery,
    /// and is no finding about language.
    "task.arithmetic" Arithmetic {
        /// Operands are below this.
        below: Below = Below(100);
        /// How many claims to generate.
        rows: Option<Count> = None, else "a quarter more than the split asks for";
        /// Seed of the generator.
        seed: u64 = 0;
    }

    /// One model of the ladder, weakest first; at least two. It is either pretrained (`from`) or made here
    /// (`layers`, `hidden`, `heads`, `context`) and trained by `[pretrain]`.
    "model" Model {
        /// What tables and plots call it.
        name: Name;
        /// A pretrained model in the Hugging Face layout: a Python package that carries one, a model of the
        /// hub at a revision (a copy below the data root, else the hub's cache, else it is fetched), or a folder (relative to the experiment file).
        from: Option<Origin> = None, else "made here";
        /// With `from`: adapters in the PEFT layout (LoRA) that are merged into the model before anything else, a model
        /// of the hub or a folder (relative to the experiment file).
        adapter: Option<AdapterSource> = None, else "none";
        /// With `from`: keep only the first layers. Without: the number of layers.
        layers: Option<Layers> = None, else "with `from`: all; needed without";
        /// Width of a model made here; a multiple of `heads`.
        hidden: Option<Hidden> = None, else "needed without `from`";
        /// Attention heads of a model made here.
        heads: Option<Heads> = None, else "needed without `from`";
        /// Longest sequence of a model made here, in tokens. A line of the corpus has 11.
        context: Option<Context> = None, else "needed without `from`";
        /// Peak learning rate of this model's finetuning.
        learning_rate: Option<Positive> = None, else "that of `[train]`";
        /// Largest weight of the confidence loss where this model is the student.
        confidence_weight: Option<Share> = None, else "that of `[methods.confidence]`";
        /// How a new classifier begins: drawn from a normal distribution, zero, or, for a decoder, with the unembedding
        /// rows of these tokens, one for each class in class order (Burns et al. 2023, appendix A.1). Each must be one
        /// token of the model's tokenizer, such as `" no"` and `" yes"`.
        head_init: HeadInit = HeadInit::Normal;
        /// Which state of a text the classifier reads: that of its last token, of its first, or the mean of all.
        readout: Option<Readout> = None, else "\"last\" of a decoder, \"first\" of an encoder";
    }

    /// How models made here learn language before anything else, on text generated by the built-in source.
    "pretrain" Pretrain {
        /// Lines of the corpus.
        rows: Count = Count(40_000);
        /// Share of the corpus's marks (right or wrong) that are flipped.
        noise: Share = Share(0.1);
        /// Seed of the corpus, the first weights and the row order. The ladder is pretrained once, not per seed.
        seed: u64 = 1;
        /// Passes over the corpus.
        epochs: Count = Count(2);
        /// Rows per step over all workers.
        batch: Count = Count(64);
        /// Rows per forward and backward pass; divides `batch`.
        micro_batch: Option<Count> = None, else "the largest divisor of `batch` up to 32";
        /// Peak learning rate.
        learning_rate: Positive = Positive(1e-3);
        /// Share of the steps over which the learning rate rises from 0.
        warmup: Share = Share(0.05);
        /// Decoupled weight decay of matrices.
        weight_decay: NonNegative = NonNegative(0.01);
        ..update: Update;
    }

    /// How students learn from weak labels. A method with knobs has a table of its own.
    "methods" Methods {
        /// The methods to run.
        run: Vec<MethodName> = vec![MethodName::Naive];
        /// Who supervises whom: every weaker model every stronger one, or a list of `[weak, strong]` names.
        pairs: Pairs = Pairs::WeakerToStronger;
    }

    /// Cross-entropy on the weak labels as they are. It has no keys.
    "methods.naive" Naive {}

    /// The auxiliary confidence loss (Burns et al. 2023, section 4.3): a growing share of the target is the student's own
    /// hardened prediction.
    "methods.confidence" Confidence {
        /// `paper`, or `released`: as in the code that came with the paper, whose weight rises to a tenth of itself and then
        /// jumps; to compare with results that were made by it.
        form: ConfidenceForm = ConfidenceForm::Paper;
        /// Largest weight of the student's own prediction. The paper takes 0.75 for its largest students: see
        /// `confidence_weight` of a model.
        weight: Share = Share(0.5);
        /// Share of the steps over which the weight rises from 0.
        warmup: Option<Share> = None, else "0.2, or 0.1 of `released`";
        /// Which predictions become class 1: those above the `median` of the global batch, or as many as the weak labels
        /// of the batch say (`prior`).
        threshold: Option<Threshold> = None, else "\"median\", or \"prior\" of `released`";
    }

    /// The divergence of the weak labels from the student: cross-entropy less their entropy, of the same gradient. It has no keys.
    "methods.kl" Kl {}

    /// Cross-entropy on the product of weak label and the student's own prediction, each to a power (of the code that came with
    /// Burns et al. 2023).
    "methods.product" Product {
        /// Power of the weak label.
        alpha: NonNegative = NonNegative(1.0);
        /// Power of the student's own prediction.
        beta: NonNegative = NonNegative(1.0);
    }

    /// The confidence loss without hardening: a growing share of the target is the student's own prediction (of EleutherAI/w2s).
    "methods.entropy" Entropy {
        /// Largest weight of the student's own prediction.
        weight: Share = Share(0.5);
        /// Share of the steps over which the weight rises from 0.
        warmup: Share = Share(0.2);
    }

    /// Cross-entropy over the rows that the student is not sure of yet (of EleutherAI/w2s).
    "methods.window" Window {
        /// How much above one half the student's largest probability may be.
        radius: Share = Share(0.15);
    }

    /// Generalized cross-entropy, which wrong labels pull at less (Zhang and Sabuncu 2018).
    "methods.generalized" Generalized {
        /// From cross-entropy, towards 0, to absolute error, at 1.
        q: Portion = Portion(0.7);
    }

    /// Cross-entropy on weak labels of which a part is given to all classes alike (Szegedy et al. 2016).
    "methods.smoothing" Smoothing {
        /// That part.
        amount: Share = Share(0.1);
    }

    /// How every model is finetuned: weak supervisors, students and ceilings alike.
    "train" Train {
        /// Passes over the rows.
        epochs: Count = Count(2);
        /// Rows per step over all workers, whatever their number.
        batch: Count = Count(32);
        /// Rows per forward and backward pass; divides `batch`.
        micro_batch: Option<Count> = None, else "the largest divisor of `batch` up to 8";
        /// Peak learning rate.
        learning_rate: Positive = Positive(1e-4);
        /// Share of the steps over which the learning rate rises from 0.
        warmup: Share = Share(0.1);
        /// Decoupled weight decay of matrices.
        weight_decay: NonNegative = NonNegative(0.0);

        /// Texts are cut to this many tokens (and to a model's own limit), here and in inference.
        max_tokens: Count = Count(128);
        /// What is trained: every parameter, or the classifier alone (a linear probe).
        trainable: TrainableName = TrainableName::All;
        /// Parameters that keep their bytes, by Hugging Face name; `*` stands for any characters, e.g. `"*.wte.weight"`.
        freeze: Vec<String> = Vec::new();
        ..update: Update;
    }

    /// Where this section stands, low-rank adapters are trained instead of the weights (Hu et al. 2021), and the
    /// classifier with them. A trained model is stored merged, and its adapters beside it in the layout of PEFT.
    "train.lora" Lora {
        /// Rank of an adapter.
        rank: Rank = Rank(8);
        /// Strength of an adapter: what it computes is scaled by `alpha / rank`.
        alpha: Positive = Positive(8.0);
        /// Share of an adapter's inputs that are dropped in training.
        dropout: Fraction = Fraction(0.0);
        /// Endings of the names of the linear maps that are adapted, as in PEFT's `target_modules`, e.g.
        /// `["q_proj", "v_proj"]`; `all-linear` for every one but the output.
        targets: Vec<String> = vec!["all-linear".to_owned()];
    }

    /// How models label and are tested.
    "infer" Infer {
        /// Most tokens of a forward pass, padding counted. Rows of about one length go together; a row that is
        /// longer than this goes alone. The default suits a CPU, a GPU wants more.
        batch_tokens: Count = Count(INFER_BATCH_TOKENS);
        /// Rows per shard, the unit that workers take one at a time.
        shard: Count = Count(INFER_SHARD);
    }

    /// How a gang of workers trains one model, and how many they are. The number of workers and of threads is no part of a
    /// content key; the rest is where it is not the default.
    "parallel" Parallel {
        /// Who holds what: every worker everything (`data`); all weights but a share of what the optimizer remembers
        /// (`zero1`); a share of everything, weights gathered block by block and activations computed again
        /// (`sharded`); the same within groups that hold copies of each other (`hybrid`). See `training.md`.
        strategy: StrategyName = StrategyName::Data;
        /// Workers in a group of `hybrid`, such as those of one machine.
        shards: Option<Count> = None, else "needed for `hybrid`";
        /// What models compute in while they train: `bf16` with weights, sums and optimizer in f32, or all in f32.
        precision: Precision = Precision::Fp32;
        /// `fast`: the same bytes for the same number of workers, equal to rounding across numbers.
        /// `deterministic`: the same bytes for any number of workers and every strategy; slower, and twice the traffic.
        mode: Mode = Mode::Fast;
        /// What gradients travel in from worker to worker: `bf16` halves the traffic and keeps 8 bits of every number.
        wire: Wire = Wire::Fp32;
        /// Workers that train one model together.
        workers: Option<Count> = None, else "all workers of the run";
        /// Workers that a training goes on with once others have stayed away for 30 seconds. In fast mode its bytes are
        /// then not those of the whole gang, and the run says so.
        fewest: Option<Count> = None, else "1 in `deterministic` mode, else those of a gang";
        /// Threads per worker.
        threads: Option<Count> = None, else "cores over local workers";
    }

    /// When a training keeps what it needs to go on after a failure. Part of no content key: it decides how much is done
    /// again, never what comes of it. See `fault-tolerance.md`.
    "checkpoint" Checkpoint {
        /// After every so many steps.
        steps: Option<Count> = None, else "never by steps";
        /// After every so many seconds.
        seconds: Count = Count(60);
        /// After every so many steps, and at every checkpoint, workers that hold the same weights compare them: a bit that
        /// flipped in one of them is found. 0 for never.
        verify_steps: u64 = 50;
    }

    /// Where artifacts are kept. Experiments that share a store share what they have in common.
    "store" Store {
        /// A folder, relative to where `fulcrum` is started; `--store` overrides it.
        path: String = "fulcrum-store".to_owned();
    }

    /// The numbers of the report.
    "report" Report {
        /// Draws of the bootstrap behind the confidence intervals.
        draws: Draws = Draws(2_000);
        /// Seed of the bootstrap.
        seed: u64 = 0;
    }
}

/// The whole file, as read.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub top: Top,
    pub task: Task,
    pub split: Split,
    pub arithmetic: Arithmetic,
    pub models: Vec<Model>,
    pub pretrain: Pretrain,
    pub methods: Methods,
    pub naive: Naive,
    pub confidence: Confidence,
    pub kl: Kl,
    pub product: Product,
    pub entropy: Entropy,
    pub window: Window,
    pub generalized: Generalized,
    pub smoothing: Smoothing,
    pub train: Train,
    pub lora: Lora,
    pub infer: Infer,
    pub parallel: Parallel,
    pub checkpoint: Checkpoint,
    pub store: Store,
    pub report: Report,
}
