//! Every rank of a gang comes to the same end, and in time.

use std::{sync::Arc, time::Instant};

use fulcrum_collective::{At, Fault, Faulty, Kind as FaultKind};
use fulcrum_common::plan::{Head, Optimizer};
use fulcrum_train::{Error, Objective, Slot};
use tch::{Kind, Tensor};

use crate::support::{CrossEntropy, Job, Left, TIMEOUT, Watch, gang, settings};

const CLASSIFIER: Head = Head::Classifier { classes: 2 };
const NAIVE: CrossEntropy = CrossEntropy { threshold: false };

fn job(objective: &dyn Objective) -> Job<'_> {
    Job { head: CLASSIFIER, objective, settings: settings(), rows: 60 }
}

fn message(result: &Result<Left, Error>) -> String {
    result.as_ref().unwrap_err().to_string()
}

/// Makes a wrong loss of a right one.
type Spoil = fn(Tensor) -> Result<Tensor, Error>;

/// Goes wrong at step 2, in the slot that begins with row 0.
struct Wrong(Spoil);

impl Objective for Wrong {
    fn terms(&self, tokens: usize) -> usize {
        NAIVE.terms(tokens)
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        let loss = NAIVE.loss(slot)?;
        if slot.step == 2 && slot.rows.start == 0 { self.0(loss) } else { Ok(loss) }
    }
}

/// Losses that are not finite, and ones that are whose gradient is not.
const NOT_FINITE: [Spoil; 2] = [
    |loss| Ok(loss * f64::NAN),
    // The loss is 0; its gradient is 0 times infinity.
    |loss| Ok((&loss - loss.detach()).sqrt()),
];

#[test]
fn a_step_that_is_not_finite_is_skipped_on_every_rank_alike() {
    for wrong in NOT_FINITE {
        for world in [1, 2] {
            let ranks: Vec<Left> = job(&Wrong(wrong)).run_on(world).into_iter().map(Result::unwrap).collect();
            let skipped = |left: &Left| left.0.iter().map(|step| step.skipped).collect::<Vec<_>>();
            for rank in &ranks {
                assert_eq!(skipped(rank), [false, false, true, false, false]);
                assert_eq!(rank.1, ranks[0].1);
                assert!(rank.1.iter().flatten().all(|weight| weight.is_finite()));
            }
        }
    }
}

#[test]
fn a_training_that_never_is_finite_ends_with_its_step_on_every_rank() {
    struct Never;
    impl Objective for Never {
        fn terms(&self, tokens: usize) -> usize {
            NAIVE.terms(tokens)
        }
        fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
            let loss = NAIVE.loss(slot)?;
            if slot.step >= 1 && slot.rows.start == 0 { Ok(loss * f64::INFINITY) } else { Ok(loss) }
        }
    }
    let settings = Optimizer { passes: 3, ..settings() };
    for result in (Job { settings, ..job(&Never) }).run_on(2) {
        let message = message(&result);
        assert!(message.starts_with("10 steps in a row up to step 10 had no finite loss"), "{message}");
    }
}

/// Runs out of memory on the rank that has row 0, as long as slots are larger than `holds`.
struct Memory {
    holds: usize,
}

impl Objective for Memory {
    fn terms(&self, tokens: usize) -> usize {
        NAIVE.terms(tokens)
    }

    fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
        if slot.step == 1 && slot.rows.start == 0 && slot.rows.len() > self.holds {
            return Err(tch::TchError::Torch("CUDA out of memory. Tried to allocate 1 GiB".into()).into());
        }
        NAIVE.loss(slot)
    }
}

#[test]
fn a_device_out_of_memory_gets_smaller_slots_on_every_rank_and_the_same_batch() {
    let settings = Optimizer { micro_batch: 4, ..settings() };
    let with = |objective| Job { settings: settings.clone(), ..job(objective) };
    let expected = with(&NAIVE).run_on(1).remove(0).unwrap().0;
    for world in [1, 2, 3] {
        let ranks: Vec<Left> =
            with(&Memory { holds: 1 }).run_on(world).into_iter().map(Result::unwrap).collect();
        assert!(ranks.iter().all(|rank| *rank == ranks[0]));
        for (step, expected) in ranks[0].0.iter().zip(&expected) {
            assert!((step.loss - expected.loss).abs() < 1e-5 && !step.skipped, "{step:?} {expected:?}");
        }
        for result in with(&Memory { holds: 0 }).run_on(world) {
            assert!(message(&result).starts_with("out of memory at step 1"), "{}", message(&result));
        }
    }
}

#[test]
fn an_error_of_one_rank_ends_all_of_them_at_once() {
    let begun = Instant::now();
    let results = job(&Wrong(|_| Err(Error::Objective("on purpose".into())))).run_on(3);
    assert_eq!(message(&results[0]), "on purpose");
    assert!(results[1..].iter().all(|result| matches!(result, Err(Error::Collective(_)))), "{results:?}");
    assert!(begun.elapsed() < TIMEOUT / 3);
}

#[test]
fn a_loss_that_is_no_scalar_with_a_gradient_is_refused() {
    let wrong: [Spoil; 2] = [|loss| Ok(loss.detach()), |loss| Ok(Tensor::stack(&[&loss, &loss], 0))];
    for wrong in wrong {
        let results = job(&Wrong(wrong)).run_on(1);
        assert!(message(&results[0]).contains("is no scalar"), "{results:?}");
    }
}

#[test]
fn one_rank_that_is_told_to_stop_stops_all_at_the_same_step() {
    let results = gang(3, |collective| {
        let cancel_at = (collective.rank() == 1).then_some(3);
        job(&NAIVE).run(collective, &Watch { cancel_at, ..Watch::default() })
    });
    assert!(results.iter().all(|result| matches!(result, Err(Error::Cancelled { step: 3 }))), "{results:?}");
}

#[test]
fn progress_tells_steps_examples_and_loss() {
    let watch = Watch::default();
    let losses = gang(1, |collective| job(&NAIVE).run(collective, &watch)).remove(0).unwrap().0;
    let seen = watch.seen.into_inner().unwrap();
    assert_eq!(seen.len(), 5);
    for (index, (progress, loss)) in seen.iter().zip(losses).enumerate() {
        assert_eq!((progress.step, progress.steps, progress.examples), (index + 1, 5, (index + 1) * 12));
        assert_eq!(progress.loss, Some(loss.loss));
    }
}

#[test]
fn faults_on_the_wire_end_every_rank_or_change_nothing() {
    let expected = job(&NAIVE).run_on(2).remove(0).unwrap();
    let delay = FaultKind::Delay(std::time::Duration::from_millis(20));
    // The first operation of a step reduces a bucket from within a hook, the second the loss.
    for operation in [0, 1] {
        for kind in [FaultKind::Error, delay] {
            let begun = Instant::now();
            let results = gang(2, |collective| {
                let fault = Fault { rank: 1, at: At::Step { step: 1, operation }, kind };
                job(&NAIVE).run(Arc::new(Faulty::new(collective, [fault])), &())
            });
            match kind {
                FaultKind::Error => {
                    assert!(message(&results[1]).starts_with("injected fault"), "{}", message(&results[1]));
                    assert!(matches!(results[0], Err(Error::Collective(_))), "{:?}", results[0]);
                }
                _ => assert!(results.into_iter().all(|left| left.unwrap() == expected)),
            }
            assert!(begun.elapsed() < TIMEOUT / 3);
        }
    }
}

#[test]
fn jobs_that_cannot_run_are_refused() {
    struct Nothing;
    impl Objective for Nothing {
        fn terms(&self, _: usize) -> usize {
            0
        }
        fn loss(&self, slot: &Slot<'_>) -> Result<Tensor, Error> {
            Ok(slot.logits()?.sum(Kind::Float))
        }
    }
    let fails = |job: Job<'_>| message(&job.run_on(1)[0]);
    let with = |settings| Job { settings, ..job(&NAIVE) };
    assert!(fails(with(Optimizer { micro_batch: 0, ..settings() })).starts_with("micro_batch is 0"));
    assert!(fails(with(Optimizer { batch: 0, ..settings() })).contains("batch"));
    assert!(fails(with(Optimizer { passes: 0, ..settings() })).contains("passes"));
    assert!(fails(Job { rows: 0, ..job(&NAIVE) }).contains("0 rows"));
    assert_eq!(fails(job(&Nothing)), "no row of step 0 has anything to predict");
    let global = CrossEntropy { threshold: true };
    assert!(fails(Job { head: Head::LanguageModel, ..job(&global) }).starts_with("only a classifier"));
}
