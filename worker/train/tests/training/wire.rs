//! When gradients travel, and in which numbers.

use fulcrum_train::Gang;

use crate::{
    job::{Job, Sharing, whole},
    strategies::{CASES, DETERMINISTIC, FAST},
    support::settings,
};

#[test]
fn without_overlap_all_bytes_stay() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    let plans = [FAST, FAST, DETERMINISTIC];
    for (number, ((model, objective), numerics)) in CASES.into_iter().zip(plans).enumerate() {
        let job = Job { model: &model, objective, settings: settings(), numerics };
        for sharing in [Data(2), Zero1(3), Sharded(2), Hybrid] {
            let expected = job.run(sharing, None, 2).unwrap();
            let gangs = sharing.gangs().into_iter().map(Gang::without_overlap).collect();
            let left = job.run_on(gangs, None, 2).unwrap();
            assert_eq!(left.losses, expected.losses, "case {number}, {sharing:?}");
            assert!(left.weights == expected.weights, "case {number}, {sharing:?}: weights");
            assert!(
                whole(&left.snapshots) == whole(&expected.snapshots),
                "case {number}, {sharing:?}: state"
            );
        }
    }
}
