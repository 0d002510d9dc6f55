//! The same training on the CPU and on the device that the environment asks for.

use std::sync::Arc;

use fulcrum_collective::Solo;
use fulcrum_common::plan::{Head, Optimizer};
use fulcrum_torch_shim::cuda::test_device;
use fulcrum_train::Objective;
use tch::Device;

use crate::support::{CrossEntropy, Job, Left, NextToken, settings};

const CLASSIFIER: Head = Head::Classifier { classes: 2 };

#[test]
fn a_device_comes_to_the_losses_of_the_cpu_and_twice_to_the_same_bytes() {
    let device = test_device().unwrap();
    let objectives: [(Head, &dyn Objective); 3] = [
        (CLASSIFIER, &CrossEntropy { threshold: false }),
        (CLASSIFIER, &CrossEntropy { threshold: true }),
        (Head::LanguageModel, &NextToken),
    ];
    for (number, (head, objective)) in objectives.into_iter().enumerate() {
        let job = Job { head, objective, settings: Optimizer { passes: 3, ..settings() }, rows: 60 };
        let run = |device| -> Left { job.run_at(device, Arc::new(Solo::new()), &()).unwrap() };
        let (reference, left) = (run(Device::Cpu), run(device));
        assert_eq!(reference.0.len(), 15);
        for (step, (theirs, ours)) in reference.0.iter().zip(&left.0).enumerate() {
            let apart = (theirs.loss - ours.loss).abs();
            assert!(
                apart < 1e-4,
                "objective {number}, step {step}: {} on {device:?}, {}",
                ours.loss,
                theirs.loss
            );
        }
        assert!(run(device) == left, "objective {number}: two runs on {device:?} differ");
    }
}
