//! What is run: a plan, seats, a gang's size, and the bytes that every artifact must have.

use std::collections::BTreeMap;

use fulcrum_common::{
    Key, experiment,
    plan::{Infer, Part, Plan, Stage, Work},
    recipe,
    rng::Rng,
    source::Sources,
};

/// A run to be.
pub(super) struct Scene {
    pub(super) plan: Plan,
    /// Threads of the worker in each seat: who has as many makes the same bytes.
    pub(super) seats: Vec<u32>,
    pub(super) gang: usize,
    pub(super) fewest: usize,
    /// Trainings keep a checkpoint after so many steps.
    pub(super) every: u64,
    pub(super) oracle: Oracle,
    /// Rows of inferences that kill or fail whoever computes them, by stage and position.
    pub(super) poison: BTreeMap<Key, BTreeMap<u64, Harm>>,
}

/// What a row does to whoever computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// It dies.
    Kills,
    /// It goes on for ever.
    Hangs,
    /// It fails, and could do well the next time.
    Fails,
    /// It fails, and would again.
    FailsSurely,
}

/// What every artifact must be, as a function of the plan alone.
pub(super) struct Oracle {
    files: BTreeMap<Key, Vec<Key>>,
    /// What a training is after each number of steps.
    values: BTreeMap<Key, Vec<Key>>,
}

impl Scene {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let plan = plan(rng);
        let gang = 1 + rng.index(3);
        let mut seats = vec![1; gang + rng.index(3)];
        if rng.chance(0.3) {
            seats.push(2);
        }
        let fewest = 1 + rng.index(gang);
        let every = 1 + rng.below(4);
        let poison = poison(&plan, rng);
        let oracle = Oracle::new(&plan, &poison);
        Self { plan, seats, gang, fewest, every, oracle, poison }
    }

    pub(super) fn stage(&self, key: Key) -> &Stage {
        self.plan.stage(key).expect("every stage that is given out is in the plan")
    }
}

/// In half of the histories some inferences have rows that cannot be computed, as many as may be left out at most.
fn poison(plan: &Plan, rng: &mut Rng) -> BTreeMap<Key, BTreeMap<u64, Harm>> {
    let mut poison = BTreeMap::new();
    let some = rng.chance(0.5);
    for stage in plan.stages() {
        let Work::Infer(Infer { part, .. }) = &stage.spec.work else { continue };
        if !some || rng.chance(0.5) {
            continue;
        }
        let harm = |rng: &mut Rng| [Harm::Kills, Harm::Hangs, Harm::Fails, Harm::FailsSurely][rng.index(4)];
        let count = 1 + rng.index(3);
        poison.insert(stage.key, (0..count).map(|_| (rng.below(rows(*part)), harm(rng))).collect());
    }
    poison
}

/// A small weak-to-strong experiment.
fn plan(rng: &mut Rng) -> Plan {
    let model = |name: &str, layers: usize| {
        format!("[[model]]\nname = \"{name}\"\nlayers = {layers}\nhidden = 16\nheads = 2\ncontext = 32\n")
    };
    let methods = ["\"naive\"", "\"confidence\"", "\"naive\", \"confidence\""][rng.index(3)];
    let pretrain = if rng.chance(0.3) { "[pretrain]\nrows = 96\nbatch = 32\nmicro_batch = 16\n" } else { "" };
    let text = format!(
        "name = \"simulated\"\nrecipe = \"weak-to-strong\"\nseeds = [{}]\n[task]\nsource = \"builtin:arithmetic\"\n\
         split = {{ ground_truth = 64, weak_labels = 64, test = 40 }}\n{}{}{pretrain}[methods]\nrun = [{methods}]\n\
         [infer]\nshard = {}\n[report]\ndraws = 100\n[train]\nmax_tokens = 20\n",
        rng.below(1000),
        model("small", 1),
        model("large", 2),
        [8, 16, 24, 64][rng.index(4)],
    );
    let experiment = experiment::parse("simulated.toml", &text, "".as_ref());
    let experiment = experiment.unwrap_or_else(|error| panic!("{error}"));
    recipe::compile(&experiment, &Sources::default()).unwrap_or_else(|error| panic!("{error}"))
}

impl Oracle {
    fn new(plan: &Plan, poison: &BTreeMap<Key, BTreeMap<u64, Harm>>) -> Self {
        let mut oracle = Self { files: BTreeMap::new(), values: BTreeMap::new() };
        for stage in plan.stages() {
            let first = oracle.first(stage);
            let files = match &stage.spec.work {
                Work::Train(_) => {
                    let grown = |value: &Key| Some(grow(*value));
                    let values: Vec<Key> = std::iter::successors(Some(first), grown)
                        .take(steps(stage.key) as usize + 1)
                        .collect();
                    let last = values.last().copied().into_iter().collect();
                    oracle.values.insert(stage.key, values);
                    last
                }
                Work::Infer(Infer { shard, .. }) => {
                    let rows = |index: usize| (index * shard) as u64..((index + 1) * shard) as u64;
                    let of = |index| {
                        poison.get(&stage.key).into_iter().flat_map(move |all| all.range(rows(index)))
                    };
                    let lacks = |index| of(index).map(|(row, _)| *row).collect::<Vec<_>>();
                    (0..shards(stage)).map(|index| part(first, index, &lacks(index))).collect()
                }
                _ => vec![first],
            };
            oracle.files.insert(stage.key, files);
        }
        oracle
    }

    /// What a stage makes of its inputs before anything else.
    fn first(&self, stage: &Stage) -> Key {
        let inputs = stage.spec.inputs.values().flat_map(|key| &self.files[key]);
        inputs.fold(stage.key, |value, file| mix(value, &file.to_string()))
    }

    /// The content of an artifact's file.
    pub(super) fn file(&self, key: Key, place: usize) -> Option<Key> {
        self.files[&key].get(place).copied()
    }

    pub(super) fn count(&self, key: Key) -> usize {
        self.files[&key].len()
    }

    /// What a training is after so many steps.
    pub(super) fn value(&self, key: Key, step: u64) -> Option<Key> {
        self.values.get(&key)?.get(usize::try_from(step).ok()?).copied()
    }
}

/// Steps of a training.
pub(super) fn steps(key: Key) -> u64 {
    3 + u64::from(key.to_string().as_bytes()[0] % 25)
}

/// One step of a training.
pub(super) fn grow(value: Key) -> Key {
    mix(value, "step")
}

/// A shard's part of an artifact.
pub(super) fn part(first: Key, index: usize, lacks: &[u64]) -> Key {
    mix(first, &format!("{index} without {lacks:?}"))
}

/// What the content of inputs makes of a stage.
pub(super) fn mix(value: Key, text: &str) -> Key {
    Key::of(format!("{value} {text}").as_bytes())
}

/// Rows of every prepared part.
pub(super) fn rows(part: Part) -> u64 {
    if part == Part::Test { 40 } else { 64 }
}

fn shards(stage: &Stage) -> usize {
    let Work::Infer(Infer { part, shard, .. }) = &stage.spec.work else { return 1 };
    usize::try_from(rows(*part).div_ceil(*shard as u64)).unwrap_or_default()
}
