//! Training of a part of a model: adapters with their dropout, a head alone, all but what is frozen.

use std::collections::BTreeMap;

use fulcrum_common::plan::{Head, Lora, Optimizer, Trainable};
use fulcrum_models::Model;
use fulcrum_train::{Error, Gang, Objective, StepLoss, Training, train};

use crate::support::{CrossEntropy, examples, gang, model, settings};

const CLASSIFIER: Head = Head::Classifier { classes: 2 };

/// Losses, and the bytes of every parameter by name.
type Left = (Vec<f64>, BTreeMap<String, Vec<u32>>);

/// Makes the model to be trained.
type Make<'a> = &'a (dyn Fn() -> Model + Sync);

/// Whether the parameter of a name is trained.
type Learns<'a> = &'a dyn Fn(&str) -> bool;

fn adapted(dropout: f64) -> Model {
    let targets = vec!["all-linear".to_owned()];
    model(CLASSIFIER).with_lora(&Lora { rank: 4, alpha: 8.0, dropout, targets }, 9).unwrap()
}

fn frozen(trainable: &Trainable) -> Model {
    let mut model = model(CLASSIFIER);
    model.freeze(trainable).unwrap();
    model
}

fn bits(model: &Model) -> BTreeMap<String, Vec<u32>> {
    let bits = |(name, tensor): &(String, tch::Tensor)| {
        let numbers = Vec::<f32>::try_from(tensor.detach().contiguous().view(-1)).unwrap();
        (name.clone(), numbers.into_iter().map(f32::to_bits).collect())
    };
    model.parameters().iter().map(bits).collect()
}

/// What the first rank of a gang of `world` is left with; all must agree.
fn trained(
    model: impl Fn() -> Model + Sync,
    objective: &dyn Objective,
    world: usize,
    micro_batch: usize,
) -> Left {
    let settings = Optimizer { passes: 3, micro_batch, learning_rate: 1e-2, ..settings() };
    let mut ranks = gang(world, |collective| {
        let (model, examples) = (model(), examples(60));
        let (model, examples, settings) = (&model, &examples, settings.clone());
        let training = Training::new(model, examples, objective, settings, 1, Gang::data(collective));
        let losses: Vec<StepLoss> = train(training).unwrap().losses;
        (losses.into_iter().map(|step| step.loss).collect(), bits(model))
    });
    let first: Left = ranks.swap_remove(0);
    assert!(ranks.iter().all(|rank| *rank == first), "ranks differ in a world of {world}");
    first
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn dropout_is_the_same_in_slots_of_any_size_and_on_two_ranks() {
    for threshold in [false, true] {
        let objective = CrossEntropy { threshold };
        let (whole, _) = trained(|| adapted(0.3), &objective, 1, 12);
        for (world, micro_batch) in [(1, 1), (1, 5), (2, 2), (2, 3)] {
            let (losses, _) = trained(|| adapted(0.3), &objective, world, micro_batch);
            let difference = largest_difference(&whole, &losses);
            assert!(
                difference < 1e-5,
                "{world} ranks, slots of {micro_batch}: losses differ by {difference}"
            );
        }
        let (calm, _) = trained(|| adapted(0.0), &objective, 1, 12);
        assert!(largest_difference(&whole, &calm) > 1e-3, "the noise shows");
    }
}

#[test]
fn what_is_frozen_keeps_its_bytes_and_what_is_not_learns() {
    let cases: [(&str, Make<'_>, Learns<'_>); 3] = [
        ("adapters", &|| adapted(0.1), &|name| name.contains(".lora_") || name.starts_with("score.")),
        ("a linear probe", &|| frozen(&Trainable::Head), &|name| name.starts_with("score.")),
        (
            "all but embeddings",
            &|| frozen(&Trainable::Except(vec!["*wte*".into(), "*wpe*".into()])),
            &|name| !name.contains("wte") && !name.contains("wpe"),
        ),
    ];
    for (what, make, learns) in cases {
        let before = bits(&make());
        let (losses, after) = trained(make, &CrossEntropy { threshold: false }, 2, 3);
        assert!(losses[losses.len() - 1] < losses[0], "{what} learned nothing: {losses:?}");
        for (name, bytes) in &before {
            assert_eq!(after[name] != *bytes, learns(name), "{what}: {name}");
        }
    }
}

#[test]
fn a_model_with_nothing_to_train_is_refused() {
    let outcomes = gang(1, |collective| {
        let (model, examples) = (model(CLASSIFIER), examples(12));
        model
            .parameters()
            .iter()
            .for_each(|(_, tensor)| drop(tensor.shallow_clone().set_requires_grad(false)));
        let (model, examples, objective) = (&model, &examples, &CrossEntropy { threshold: false });
        train(Training::new(model, examples, objective, settings(), 1, Gang::data(collective)))
    });
    assert!(matches!(outcomes[..], [Err(Error::Frozen)]));
}

#[test]
fn what_a_pattern_spares_does_not_decay() {
    let decayed = |no_decay: &[&str]| {
        let no_decay = no_decay.iter().map(|pattern| (*pattern).to_owned()).collect();
        let settings = Optimizer { weight_decay: 0.5, no_decay, ..settings() };
        let (model, examples) = (model(CLASSIFIER), examples(24));
        let objective = CrossEntropy { threshold: false };
        let gang = Gang::data(std::sync::Arc::new(fulcrum_collective::Solo::new()));
        train(Training::new(&model, &examples, &objective, settings, 1, gang)).map(|_| bits(&model))
    };
    let (all, spared) = (decayed(&[]).unwrap(), decayed(&["*.wpe.weight"]).unwrap());
    let embedding = |bits: &BTreeMap<String, Vec<u32>>| {
        let (_, numbers) = bits.iter().find(|(name, _)| name.ends_with("wpe.weight")).unwrap();
        numbers.clone()
    };
    // The last position is behind the longest row: it has no gradient, so all that moves it is decay.
    let last = |numbers: &[u32]| numbers[numbers.len() - 16..].to_vec();
    let start = embedding(&bits(&model(CLASSIFIER)));
    assert_ne!(last(&embedding(&all)), last(&start));
    assert_eq!(last(&embedding(&spared)), last(&start));
    let error = decayed(&["*.wqe.weight"]).unwrap_err().to_string();
    assert!(error.starts_with("no_decay: \"*.wqe.weight\" matches no name; the nearest are"), "{error}");
}
