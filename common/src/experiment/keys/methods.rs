//! How students learn from weak labels.

use super::{Default, Description, Field, KeyDescription, Section};
use crate::{
    experiment::{
        Stop, Tuning,
        read::Table,
        value::{
            ConfidenceForm, Count, MethodName, Name, NonNegative, Pairs, Portion, Positive, Share,
            ShotLabels, Through, Value,
        },
    },
    plan::{ErrorPattern, Threshold},
};

sections! {
    /// How students learn from weak labels. A method with knobs has a table of its own.
    "methods" Methods {
        /// The methods to run, besides every `[[method]]`.
        run: Vec<MethodName> = vec![MethodName::Naive];
        /// Who supervises whom: every weaker model every stronger one; these and each model a second one of its own size
        /// (`with-self`); or a list of `[weak, strong]` names.
        pairs: Pairs = Pairs::WeakerToStronger;
    }

    /// A method made of parts: one for each header. What is left out is as in `naive`.
    "method" Method {
        /// What tables and plots call it.
        name: Name;
        /// What a student minimizes: a method of `run`, whose table holds its knobs.
        loss: MethodName = MethodName::Naive;
        /// Bootstrapping (Burns et al. 2023, section 4.3.1): the supervisor teaches the next larger model of these, that one
        /// the next, and the last one the student. `intermediate`: every model of the ladder that stands between the two.
        /// A pair with none between has no such student.
        through: Option<Through> = None, else "the supervisor teaches the student";
        /// How often a fresh copy of the student then learns from the student before it.
        rounds: usize = 0;
        /// Whether every model of such a chain learns from rows of its own: those before the last from `task.split.fresh`, the
        /// last, as all other students, from the rows of `weak_labels`.
        fresh: bool = false;
        /// How many supervisors label: models of one size trained from different seeds, whose probabilities are averaged.
        ensemble: Count = Count(1);
        /// Of each class only this share of the rows is learned from: those whose labels are surest.
        confident: Option<Portion> = None, else "all rows";
        /// A control: the true labels with as many errors as the supervisor made, but on any rows (`random`, which nobody
        /// can imitate), on the longest texts or on the shortest, on those of which the strong model is least sure once it learned
        /// from the true labels of other rows (`strong-unconfident`), or on those whose true label it is surest of
        /// (`strong-confident`).
        errors: Option<ErrorPattern> = None, else "the supervisor's own";
        /// A control: what a text ends in, for each class in class order, such as `" I think this is wrong."`. Each text, in the
        /// test too, then ends in what its teacher says of it.
        hint: Vec<String> = Vec::new(), else "nothing is told";
        /// Passes over the texts alone, as language, before any labels (generative finetuning; Burns et al. 2023, section
        /// 5.2.2). The ceiling such a student is compared with learned the language first too.
        generative: usize = 0;
        /// What of the student learns: all that `[train]` says; a new classifier alone (`probe`); that first and then all
        /// (`probe-then-finetune`); or all, and then a new classifier from true labels (`finetune-then-probe`), which
        /// tells what the student knows and is none itself. The ceiling of a `probe` is a probe. Or nothing (`prompt`): a
        /// language model is asked, and of the tokens of its `head_init` the likeliest is its answer (Burns et al. 2023,
        /// section 5.2.1).
        tuning: Tuning = Tuning::Finetune;
        /// How many texts with their answers, drawn from the rows of `weak_labels` for each text anew, a model of `prompt` is shown
        /// before it is asked; fewer where they do not fit into `train.max_tokens`. The ceiling is shown true answers.
        shots: usize = 0;
        /// Whose answers: the supervisor's (`weak`), or true ones (`truth`: an oracle).
        shot_labels: ShotLabels = ShotLabels::Weak;
        /// What stands between a text with its answer and the next text.
        separator: Option<String> = None, else "an empty line";
        /// Peak learning rate of a classifier that is trained alone.
        probe_learning_rate: Option<Positive> = None, else "that of the model";
        /// At how many moments of its training a student is tested, at even distances, the end included: the report then
        /// shows the best beside the end.
        moments: Count = Count(1);
        /// Early stopping (Burns et al. 2023, section 5.1.1): the student is taken from the moment at which it is best on
        /// `task.split.validation`, by the supervisor's labels of those rows (`weak-labels`) or by the true ones
        /// (`ground-truth`: an oracle, as nobody has them in earnest).
        stop: Option<Stop> = None, else "the end";
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
        /// of the batch say (`prior`). Of more classes each has a threshold of its own, above which lie as many as of any
        /// other, or as the weak labels say.
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
}
