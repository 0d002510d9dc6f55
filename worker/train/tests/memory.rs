//! What ranks hold of a model that they train, counted by the allocator of tensors: a process of its own, with one test,
//! as the count is of the whole process.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

use std::{sync::Arc, thread, time::Duration};

use fulcrum_collective::{Collective, Gloo, Solo};
use fulcrum_common::plan::{Architecture, Head, Lora, Optimizer, Rule, Schedule};
use fulcrum_models::{Model, ModelError, ModelFiles};
use fulcrum_torch_shim::memory;
use fulcrum_train::{Error, Examples, Gang, Objective, Slot, Training, train};
use tch::{Device, Kind};

const LAYERS: usize = 8;
const WIDTH: usize = 192;
const ROWS: usize = 8;
/// For what a rank computes with (rows of two tokens), and what comes from others to be added.
const REST: usize = 3 << 20;

/// How a model is made of its files.
type Make = fn(&ModelFiles) -> Result<Model, ModelError>;

fn outlined(files: &ModelFiles) -> Result<Model, ModelError> {
    with_head(Model::outline(files, Device::Cpu)?)
}

fn loaded(files: &ModelFiles) -> Result<Model, ModelError> {
    with_head(Model::load(files, Device::Cpu)?)
}

fn adapted(files: &ModelFiles) -> Result<Model, ModelError> {
    let targets = vec!["all-linear".to_owned()];
    outlined(files)?.with_lora(&Lora { rank: 1, alpha: 1.0, dropout: 0.0, targets }, 9)
}

fn with_head(model: Model) -> Result<Model, ModelError> {
    model.with_head(&Head::Classifier { classes: 2 }.into(), 5)
}

/// How a gang shares.
type Strategy = fn(Arc<dyn Collective>) -> Gang;

struct CrossEntropy;

impl Objective for CrossEntropy {
    fn terms(&self, _predicted: usize) -> usize {
        1
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<tch::Tensor, Error> {
        let picked = slot.logits()?.log_softmax(-1, Kind::Float) * slot.targets_bc.unwrap();
        Ok(-picked.sum(Kind::Float))
    }
}

fn settings() -> Optimizer {
    Optimizer {
        passes: 2,
        batch: ROWS,
        micro_batch: 1,
        rule: Rule::default(),
        learning_rate: 1e-3,
        schedule: Schedule::Constant,
        warmup: 0.0,
        floor: 0.0,
        weight_decay: 0.1,
        no_decay: Vec::new(),
        clip: Some(1.0),
    }
}

fn examples() -> Examples {
    let rows = (0..ROWS as i64).map(|row| vec![row, row + 1]).collect();
    let labels = (0..ROWS).flat_map(|row| if row % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] });
    Examples::new(rows, 0).unwrap().with_targets(labels.collect(), 2).unwrap()
}

fn ends(world: usize) -> Vec<Arc<dyn Collective>> {
    match world {
        1 => vec![Arc::new(Solo::new())],
        _ => {
            let gang = Gloo::gang(world, Duration::from_secs(60)).unwrap();
            gang.into_iter().map(|end| Arc::new(end) as _).collect()
        }
    }
}

/// What every rank is left with, and the most bytes that tensors of all ranks held together.
fn trained(
    files: &ModelFiles,
    gangs: Vec<Gang>,
    make: Make,
    everywhere: bool,
) -> (Vec<Vec<Vec<f32>>>, usize) {
    memory::count();
    let before = memory::held().now;
    let rank = |gang| {
        let model = make(files).unwrap();
        let examples = examples();
        let training = Training::new(&model, &examples, &CrossEntropy, settings(), 1, gang);
        train(Training { everywhere, ..training }).unwrap();
        let numbers = |tensor: &tch::Tensor| Vec::try_from(tensor.detach().contiguous().view(-1)).unwrap();
        model.parameters().iter().map(|(_, tensor)| numbers(tensor)).collect()
    };
    let weights = thread::scope(|scope| {
        let rank = &rank;
        let ranks: Vec<_> = gangs.into_iter().map(|gang| scope.spawn(move || rank(gang))).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    (weights, (memory::held().most - before) as usize)
}

#[test]
fn ranks_hold_what_their_strategy_says() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Architecture { layers: LAYERS, hidden: WIDTH, heads: 4, context: 4 };
    let model = Model::new(&shape, 16, Default::default(), 3, Device::Cpu).unwrap();
    model.save(folder.path()).unwrap();
    let files = ModelFiles::in_folder(folder.path());
    let all = 4 * model.parameter_count();
    let of_blocks = model.parameters().iter().zip(model.blocks_of_parameters());
    let block: usize = 4 * of_blocks
        .filter(|(_, block)| *block == Some(0))
        .map(|((_, tensor), _)| tensor.numel())
        .sum::<usize>();
    let outside = all - LAYERS * block;
    drop(model);

    let mut left = Vec::new();
    for world in [1, 2, 4] {
        // Weights and gradients of two blocks, one of each on its way.
        let by_block = 2 * (2 * block + outside);
        let strategies: [(Strategy, usize); 3] = [
            (Gang::data, 4 * all),
            (Gang::zero1, 2 * all + 2 * all / world),
            (Gang::sharded, 4 * all / world + by_block),
        ];
        for (strategy, (gang, formula)) in strategies.into_iter().enumerate() {
            let gangs = ends(world).into_iter().map(gang).collect();
            let (weights, most) = trained(&files, gangs, outlined, false);
            let limit = world * (formula + REST);
            assert!(most <= limit, "strategy {strategy} of {world}: {most} bytes are more than {limit}");
            assert!(
                most * 10 > limit * 9,
                "strategy {strategy} of {world}: {most} of {limit} bytes cannot be all"
            );
            left.push((world, strategy, weights));
        }
    }

    for world in [1, 2, 4] {
        // Frozen weights have no gradient, and nothing to remember; what adapters have is in the rest.
        let formula = all / world + 2 * block + outside;
        let gangs = ends(world).into_iter().map(Gang::sharded).collect();
        let (weights, most) = trained(&files, gangs, adapted, false);
        // In the end the first rank has all weights.
        let limit = (world * (formula + REST)).max(all + all / world * world + world * REST);
        assert!(most <= limit, "adapters on {world}: {most} bytes are more than {limit}");
        let gangs = ends(1).into_iter().map(Gang::data).collect();
        let (expected, _) = trained(&files, gangs, adapted, false);
        let far = |(found, expected): (&Vec<f32>, &Vec<f32>)| {
            found.len() != expected.len() || found.iter().zip(expected).any(|(a, b)| (a - b).abs() > 1e-4)
        };
        assert!(!weights[0].iter().zip(&expected[0]).any(far), "adapters on {world}");
    }

    let (_, _, outlined) =
        left.into_iter().find(|(world, strategy, _)| (*world, *strategy) == (2, 2)).unwrap();
    let gangs = ends(2).into_iter().map(Gang::sharded).collect();
    let (loaded, _) = trained(&files, gangs, loaded, true);
    assert!(loaded[0] == loaded[1] && loaded[0] == outlined[0], "where weights come from changes nothing");
    assert!(outlined[1].iter().all(Vec::is_empty), "only the first rank has the whole model in the end");
}
