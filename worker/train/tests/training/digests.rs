//! What a training came to is told apart by its digests where weights and losses would not tell.

use fulcrum_common::plan::{Optimizer, Rule};
use fulcrum_train::{Gang, Snapshot, Training, train};

use crate::{
    job::{Job, Sharing},
    strategies::{FAST, NAIVE, classifier},
    support::{examples, gang, settings},
};

#[test]
fn another_order_of_rows_shows_in_every_step() {
    let rows = |seed| -> Vec<u64> {
        let mut ranks = gang(2, |end| {
            let (model, examples) = (classifier(), examples(60));
            let gang = Gang::data(end);
            let training = Training::new(&model, &examples, &NAIVE, settings(), seed, gang);
            train(training).unwrap().losses.iter().map(|step| step.rows).collect()
        });
        ranks.remove(0)
    };
    let (first, second) = (rows(1), rows(2));
    assert_eq!(first, rows(1));
    assert!(first.iter().zip(&second).all(|(first, second)| first != second), "{first:x?} {second:x?}");
}

#[test]
fn one_other_number_that_the_optimizer_remembers_shows_where_the_weights_are_the_same() {
    let momentum = Rule::Sgd { momentum: 0.9, nesterov: false };
    for rule in [settings().rule, momentum, Rule::Adafactor] {
        let settings = Optimizer { rule, ..settings() };
        let job = Job { model: &classifier, objective: &NAIVE, settings, numerics: FAST, span: None };
        let mut ended = job.run(Sharing::Data(2), None, job.steps()).unwrap();
        let again = job.run(Sharing::Data(2), Some(&ended.snapshots), 0).unwrap();
        assert_eq!(again.optimizer, ended.optimizer, "{rule:?}");
        nudge(&mut ended.snapshots);
        let other = job.run(Sharing::Data(2), Some(&ended.snapshots), 0).unwrap();
        assert!(other.weights == ended.weights && other.losses == ended.losses, "{rule:?}");
        assert_ne!(other.optimizer, ended.optimizer, "{rule:?}");
    }
}

/// Changes the last number of something that is remembered beside the weights.
fn nudge(snapshots: &mut [Snapshot]) {
    let _guard = tch::no_grad_guard();
    let parts = snapshots.iter().flat_map(|snapshot| &snapshot.parts).flat_map(|part| &part.tensors);
    let memory = snapshots.iter().flat_map(|snapshot| &snapshot.memory);
    let remembered = |(kind, tensor): &(&String, &tch::Tensor)| *kind != "weights" && tensor.numel() > 0;
    let (_, tensor) = parts.chain(memory).rfind(remembered).unwrap();
    let _ = tensor.view(-1).narrow(0, tensor.numel() as i64 - 1, 1).f_add_scalar_(0.5).unwrap();
}
