//! Plans of a size that nobody has run yet.

use std::collections::BTreeMap;

use fulcrum_common::{
    Key, experiment,
    plan::{
        Architecture, Arithmetic, Estimate, Infer, Measure, Output, Part, Plan, Prepare, Source, Spec, Stage,
        Work,
    },
    recipe,
    source::Sources,
};

/// Shards of one stage, about as many as there may be.
const SHARDS_PER_STAGE: u64 = 16_000;

/// Rows of a shard.
const SHARD: usize = 512;

/// Artifacts that one measurement reads, so that its assignment fits into a message.
const READS: usize = 64;

/// Many models over the same rows: `shards` shards together, and a measurement of each.
pub(crate) fn sharded(shards: u64) -> Plan {
    let mut plan = Plan::default();
    let count = shards.div_ceil(SHARDS_PER_STAGE).max(1);
    let rows = shards.div_ceil(count) * SHARD as u64;
    let source = Source::Arithmetic(Arithmetic { rows: rows as usize, seed: 0, below: 1000, noise: 0.0 });
    let data = add(&mut plan, "corpus".into(), Work::Prepare(Prepare::Corpus { source }), [], rows);
    let measures = (0..count).map(|seed| {
        let architecture = Architecture { layers: 2, hidden: 64, heads: 2, context: 64 };
        let model = Prepare::NewModel { architecture, alphabet: "0123456789+=".into(), ends: false, seed };
        let model = add(&mut plan, format!("model {seed}"), Work::Prepare(model), [], 0);
        let infer = Infer {
            part: Part::Corpus,
            output: Output::LogProbability,
            batch_tokens: 1024,
            shard: SHARD,
            poison_rows: Infer::POISON_ROWS,
        };
        let inputs = [("model", model), ("data", data)];
        let labels = add(&mut plan, format!("labels {seed}"), Work::Infer(infer), inputs, rows);
        measure(&mut plan, format!("measure {seed}"), &[labels])
    });
    let measures: Vec<Key> = measures.collect();
    gather(&mut plan, measures);
    plan
}

/// An experiment file whose plan has at least that many stages: one for each of many seeds.
pub(crate) fn sweep(stages: usize) -> String {
    // Two supervisors, two ceilings and six students, each trained and tested, and the supervisors' labels.
    let seeds: Vec<String> = (0..stages.div_ceil(22)).map(|seed| seed.to_string()).collect();
    let model = |name: &str, layers: usize| {
        format!("[[model]]\nname = \"{name}\"\nlayers = {layers}\nhidden = 16\nheads = 2\ncontext = 32\n")
    };
    format!(
        "name = \"sweep\"\nrecipe = \"weak-to-strong\"\nseeds = [{}]\n\
         [task]\nsource = \"builtin:arithmetic\"\nsplit = {{ ground_truth = 2000, weak_labels = 2000, test = 1000 }}\n\
         {}{}{}[methods]\nrun = [\"naive\", \"confidence\"]\n[report]\ndraws = 100\n[train]\nmax_tokens = 20\n",
        seeds.join(", "),
        model("small", 1),
        model("middle", 2),
        model("large", 4),
    )
}

/// The plan of an experiment file.
pub(crate) fn compile(text: &str) -> anyhow::Result<Plan> {
    let experiment = experiment::parse("sweep.toml", text, "".as_ref())?;
    Ok(recipe::compile(&experiment, &Sources::default())?)
}

/// The same stages with a tree of measurements at the end, where the recipe has one that reads them all: no message
/// would tell a worker of so many artifacts.
pub(crate) fn with_small_measures(plan: Plan) -> Plan {
    let mut stages: Vec<Stage> = plan.into();
    let measured =
        stages.pop().map(|stage| stage.spec.inputs.into_values().collect::<Vec<_>>()).unwrap_or_default();
    let mut plan = Plan::from(stages);
    gather(&mut plan, measured);
    plan
}

/// Measures until one measurement is left.
fn gather(plan: &mut Plan, mut open: Vec<Key>) {
    let mut level = 0;
    while level == 0 || open.len() > 1 {
        level += 1;
        let groups = open.chunks(READS).enumerate();
        let next = groups.map(|(place, group)| measure(plan, format!("measure {level}/{place}"), group));
        open = next.collect();
    }
}

fn measure(plan: &mut Plan, name: String, inputs: &[Key]) -> Key {
    let roles: Vec<String> = (0..inputs.len()).map(|place| format!("prediction/{place}")).collect();
    let inputs = roles.iter().map(String::as_str).zip(inputs.iter().copied());
    add(plan, name, Work::Measure(Measure::Accuracy { part: Part::Test }), inputs, 1)
}

fn add<'a>(
    plan: &mut Plan,
    name: String,
    work: Work,
    inputs: impl IntoIterator<Item = (&'a str, Key)>,
    examples: u64,
) -> Key {
    let inputs: BTreeMap<_, _> = inputs.into_iter().map(|(role, key)| (role.to_owned(), key)).collect();
    plan.add(name, Spec { work, inputs }, Estimate { examples, tokens: 0 })
}
