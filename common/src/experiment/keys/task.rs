//! What is learned, from which rows, by which models.

use super::{Default, Description, Field, KeyDescription, Section, Update};
use crate::{
    experiment::{
        Origin,
        read::Table,
        value::{
            AdapterSource, Balance, Below, Classes, Context, Count, Difficulty, Dimensions, Heads, Hidden,
            Layers, Name, NonNegative, OverLong, Plies, Positive, Recipe, RelativePath, Seeds, Share,
            TaskKind, TaskSource, Value,
        },
    },
    plan::{Choices, Duplicates, Formatter, HeadInit, Pick, Readout},
};

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

    /// What the models learn, and from which rows. Of several `[[task]]`, each is an experiment with everything else in the
    /// file, its own sections included: `[task.split]` belongs to the `[[task]]` above it.
    "task" Task {
        /// What one of several `[[task]]` is called. It names its folder, `tasks/NAME` in the run's.
        name: Option<Name> = None, else "needed for `[[task]]`, not for `[task]`";
        /// What is learned: the class of a text, or a reward for each text, of which the preferred one of two texts
        /// (`chosen` and `rejected`) gets more, or which of several answers (`choices`) is right: the classes of the
        /// answers, and of each question the most probable one.
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
        /// The preferred one of two texts. Each is an example, this one of class 1; in a preference the two are one example.
        chosen: Option<String> = None, else "needed with `rejected`";
        /// The other one, an example of class 0.
        rejected: Option<String> = None, else "needed with `chosen`";
        /// What comes before both of them; of `generation`, what a model is given: a template, as `text`.
        prompt: Option<String> = None, else "they stand alone; needed for `generation`";
        /// What a model is to write after `prompt`, to the letter: a template, as `text`.
        completion: Option<String> = None, else "needed for `generation`";
        /// Where that is a chess move: the position it is made in, as a FEN or `startpos`, after which `moves` and the moves
        /// played from there may stand. An answer is then right where it is that move, and legal moves are counted (see `data.md`).
        position: Option<String> = None, else "answers are compared to the letter";
        /// Most tokens that a model writes.
        answer_tokens: Option<Count> = None, else "16 of `generation`; 3 of generated sums, 8 of generated mates";
        /// Which of `choices` become examples: `all`; a right and a random wrong one (`two`, as in the paper); by a coin a
        /// right or a random wrong one (`one`, as in the code released with it). Of `chosen` and `rejected`: both, or by a coin one.
        /// Not for preferences; a multiple choice takes `all` or `two`.
        pick: Option<Pick> = None, else "`all`; `one` for a formatter with answers, unless the kind is multiple choice";
        /// Seed of these coins, and of those that say which text of a preference comes first. A row's depends on nothing else but its position.
        seed: Option<u64> = None, else "0";
        /// Rows with the same value here stay in the same part of the split
        /// (questions about one passage, sentences of one document). May be a template, as `text`.
        group_by: Option<String> = None, else "every row is its own group";
        /// The value that says how hard a row is, a number: with `easy` and `hard` of the split. May be a template, as
        /// `text`.
        difficulty: Option<String> = None, else "nothing is known of it";
    }

    /// How many rows go where. Rows are assigned in a seeded order: a part that is made larger keeps the rows it had,
    /// and the test rows do not change with the other parts.
    "task.split" Split {
        /// Rows on which weak supervisors are trained.
        ground_truth: Count;
        /// Rows that weak supervisors label and students learn from; ceilings train on them with their true labels.
        weak_labels: Count;
        /// Rows held out for development: a `[[method]]` with `stop` chooses by them.
        validation: usize = 0;
        /// Rows on which every model is tested.
        test: Count;
        /// Rows for the rounds of a `[[method]]` with `fresh` that come before its last one, shared among them in equal parts.
        fresh: usize = 0;
        /// Largest share of one class in any part; rows of the larger class are dropped beyond it. At 0.5 two classes
        /// have equally many rows. Of a multiple choice no answer goes: it is 1 there.
        balance: Balance = Balance(0.55);
        /// What becomes of rows that the tokenizer of any model makes longer than the model takes and
        /// `train.max_tokens` allows: they are cut, for each model where it must, or they are left out for all
        /// models alike.
        over_long: OverLong = OverLong::Truncate;
        /// What becomes of a text (white space and case aside) that two parts share: it is reported, the later of
        /// test, validation, ground truth, weak labels and fresh goes without it, or the split is refused.
        duplicates: Duplicates = Duplicates::Report;
        /// From easy to hard: rows of ground truth have at most this `difficulty` ...
        easy: Option<Difficulty> = None, else "any row may be of any part";
        /// ... and those of all other parts at least this.
        hard: Option<Difficulty> = None, else "any row may be of any part";
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

    /// `builtin:mixture`: generated points in classes, of which each model sees a vector of its own (`width`, `noise`). As
    /// `builtin:arithmetic` it shows the machinery: that of classifiers over given embeddings.
    "task.mixture" Mixture {
        /// Classes, all as likely.
        classes: Classes = Classes(5);
        /// Dimensions of the space that the points lie in.
        dimensions: Dimensions = Dimensions(32);
        /// How far the centres of the classes are apart: the standard deviation of their coordinates, where that of the
        /// points of a class is 1.
        spread: Positive = Positive(0.7);
        /// How many points to generate.
        rows: Option<Count> = None, else "a quarter more than the split asks for";
        /// Seed of the points and of what models see of them.
        seed: u64 = 0;
    }

    /// `builtin:mate-in-one`: games of random moves up to a position in which one move mates, and no other does. A model is
    /// given the record of the game, and writes that move (see `data.md`).
    "task.mate-in-one" MateInOne {
        /// Moves of the longest game, those of both sides counted: mates of longer games are harder to see.
        plies: Plies = Plies(12);
        /// How many games to generate.
        rows: Option<Count> = None, else "as many as the split asks for";
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
        /// Of a task of given embeddings: what the model is called in their files. It reads the tensor `NAME.features`, and
        /// what is trained is a classifier over it (see `data.md`).
        features: Option<Name> = None, else "for no other task";
        /// Of `builtin:mixture`: how many numbers the model sees of a point. A wider view sees all that a narrower one does.
        width: Option<Dimensions> = None, else "needed for `builtin:mixture`";
        /// Of `builtin:mixture`: standard deviation of what is added to each of these numbers.
        noise: Option<NonNegative> = None, else "0 for `builtin:mixture`";
        /// Of given embeddings (`NAME.logits`) and of images: as a supervisor the model is the classifier that it came with, and
        /// is not trained. As a student it is a new classifier all the same.
        own_classifier: bool = false;
        /// Peak learning rate of this model's finetuning.
        learning_rate: Option<Positive> = None, else "that of `[train]`";
        /// Largest weight of the confidence loss where this model is the student.
        confidence_weight: Option<Share> = None, else "that of `[methods.confidence]`";
        /// Most workers that train this model together. Those that it leaves free do what else is ready: small models learn
        /// side by side, one worker each, where large ones take them all. Part of no content key.
        workers: Option<Count> = None, else "all of a gang";
        /// How a new classifier begins: drawn from a normal distribution, zero, or, for a decoder, with the unembedding
        /// rows of these tokens, one for each class in class order, of a preference one (Burns et al. 2023, appendix A.1). Each must be one
        /// token of the model's tokenizer, such as `" no"` and `" yes"`.
        head_init: HeadInit = HeadInit::Normal;
        /// Which state of a text the classifier reads: that of its last token, of its first, or the mean of all.
        readout: Option<Readout> = None, else "\"last\" of a decoder, \"first\" of an encoder";
    }

    /// How models made here learn language before anything else, on text generated by the built-in source.
    "pretrain" Pretrain {
        /// Lines of the corpus.
        rows: Count = Count(40_000);
        /// Share of the corpus's marks (right or wrong) that are flipped; of games, of those in which the mate is missed.
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
}
