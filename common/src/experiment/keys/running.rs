//! How models are trained and run over rows, where it is kept, and what is said of it.

use super::{Default, Description, Field, KeyDescription, Section, Update};
use crate::{
    experiment::{
        read::Table,
        value::{
            Count, Draws, Fraction, Line, NonNegative, PoisonRows, Positive, Rank, Share, StrategyName,
            TrainableName, Value,
        },
    },
    plan::{self, Mode, Precision, Wire},
    store::Place,
};

/// Tokens per forward pass where nothing else is said.
pub(in crate::experiment) const INFER_BATCH_TOKENS: usize = 1024;

/// Rows per shard where nothing else is said.
pub(in crate::experiment) const INFER_SHARD: usize = 512;

sections! {
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

    /// What is tried in place of what `[train]` says: every combination of these, for every model that learns the task. The
    /// one that does best on `task.split.validation` is kept: of supervisors and ceilings by the true labels of those rows, of
    /// students by their supervisor's.
    "grid" Grid {
        /// Peak learning rates.
        learning_rate: Vec<Positive> = Vec::new(), else "that of `[train]`";
        /// Passes over the rows.
        epochs: Vec<Count> = Vec::new(), else "that of `[train]`";
        /// Decoupled weight decay of matrices.
        weight_decay: Vec<NonNegative> = Vec::new(), else "that of `[train]`";
    }

    /// How models label and are tested.
    "infer" Infer {
        /// Most tokens of a forward pass, padding counted. Rows of about one length go together; a row that is
        /// longer than this goes alone. An image counts as a token for each 8 by 8 pixels. The default suits a CPU, a GPU wants more.
        batch_tokens: Count = Count(INFER_BATCH_TOKENS);
        /// Rows per shard, the unit that workers take one at a time.
        shard: Count = Count(INFER_SHARD);
        /// Most rows of one stage that may be left out because they fail or kill their worker each time that they are
        /// computed alone; they are named in the report. 0 lets such a row end the run. See `fault-tolerance.md`.
        poison_rows: PoisonRows = PoisonRows(plan::Infer::POISON_ROWS);
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

    /// What `fulcrum launch slurm` asks of the scheduler; `fulcrum launch k8s` reads `cpus`, `memory`, `gpus` and `grace`. Part of
    /// no content key. See `cluster.md`.
    "cluster" Cluster {
        /// The partition of the machines.
        partition: Option<Line> = None, else "the scheduler's own";
        /// Who is charged.
        account: Option<Line> = None, else "the scheduler's own";
        /// Most time of a job, such as `"4:00:00"`. Before it is over, trainings keep a checkpoint, and the job is queued again.
        time: Option<Line> = None, else "the partition's own";
        /// Machines.
        nodes: Option<Count> = None, else "as many as the workers need";
        /// Cores of each worker.
        cpus: Option<Count> = None, else "`parallel.threads`, else 1";
        /// Memory of each core, such as `"4G"`.
        memory: Option<Line> = None, else "the scheduler's own";
        /// Whether each worker has a GPU.
        gpus: bool = false;
        /// Seconds before the end of its time at which the run is asked to stop.
        grace: Count = Count(120);
        /// Further options of `sbatch`, such as `"--constraint=ib"`.
        flags: Vec<Line> = Vec::new();
    }

    /// Where artifacts are kept. Experiments that share a store share what they have in common.
    "store" Store {
        /// A folder, relative to where `fulcrum` is started, or a bucket as `"s3://BUCKET/PREFIX"`; `--store` overrides it.
        path: Place = Place::Folder("fulcrum-store".into());
    }

    /// The numbers of the report.
    "report" Report {
        /// Draws of the bootstrap behind the confidence intervals.
        draws: Draws = Draws(2_000);
        /// Seed of the bootstrap.
        seed: u64 = 0;
    }
}
