//! When gradients travel, and in which numbers.

use fulcrum_common::plan::{Numerics, Optimizer, Wire};
use fulcrum_train::Gang;

use crate::{
    job::{Job, Sharing},
    strategies::{CASES, DETERMINISTIC, FAST},
    support::settings,
};

#[test]
fn without_overlap_all_bytes_stay() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    let plans = [FAST, FAST, DETERMINISTIC];
    for (number, ((model, objective), numerics)) in CASES.into_iter().zip(plans).enumerate() {
        let job = Job { model: &model, objective, settings: settings(), numerics, span: None };
        for sharing in [Data(2), Zero1(3), Sharded(2), Hybrid] {
            let expected = job.run(sharing, None, 2).unwrap();
            let gangs = sharing.gangs().into_iter().map(Gang::without_overlap).collect();
            let left = job.run_on(gangs, None, 2).unwrap();
            left.equals(&expected, &format!("case {number}, {sharing:?}"));
        }
    }
}

#[test]
fn narrow_gradients_follow_wide_ones_and_leave_all_ranks_the_same_bytes() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    let narrow = Numerics { wire: Wire::Bf16, ..FAST };
    for (number, (model, objective)) in CASES.into_iter().enumerate() {
        let settings = Optimizer { passes: 2, ..settings() };
        let job =
            |numerics| Job { model: &model, objective, settings: settings.clone(), numerics, span: None };
        let expected = job(FAST).run(Data(1), None, 0).unwrap();
        assert!(
            job(narrow).run(Data(1), None, 0).unwrap().weights == expected.weights,
            "nothing travels alone"
        );
        for sharing in [Data(2), Zero1(3), Sharded(2), Hybrid] {
            // Ranks that differ are found in there.
            let left = job(narrow).run(sharing, None, 0).unwrap();
            let again = job(narrow).run(sharing, None, 0).unwrap();
            assert!(
                left.weights == again.weights && left.losses == again.losses,
                "case {number}, {sharing:?}"
            );
            let wide = job(FAST).run(sharing, None, 0).unwrap();
            assert!(left.weights != wide.weights, "case {number}, {sharing:?}: nothing was rounded");
            for (found, expected) in left.losses.iter().zip(&expected.losses) {
                let difference = (found.loss - expected.loss).abs();
                assert!(difference < 5e-3, "case {number}, {sharing:?}, step {}: {difference}", found.step);
            }
        }
    }
}

#[test]
fn exact_sums_of_narrow_gradients_are_refused() {
    let (model, objective) = CASES[0];
    let numerics = Numerics { wire: Wire::Bf16, ..DETERMINISTIC };
    let job = Job { model: &model, objective, settings: settings(), numerics, span: None };
    let error = job.run(Sharing::Data(1), None, 0).err().unwrap().to_string();
    assert!(error.contains("set parallel.wire"), "{error}");
}
