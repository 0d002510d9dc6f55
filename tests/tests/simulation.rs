//! A few of the histories that `cargo xtask simulate` goes through, for every change.

use std::collections::BTreeSet;

use fulcrum_tests::simulation::{self, Report};

const SEEDS: u64 = 200;

#[test]
fn histories_keep_every_invariant_and_end_with_the_bytes_of_their_plan() {
    let mut whole = Report::default();
    for seed in 0..SEEDS {
        match simulation::attempt(seed) {
            Ok(report) => whole.add(&report),
            Err(message) => panic!("{message}"),
        }
    }
    // A simulator in which nothing goes wrong, or nothing gets on, finds nothing.
    assert!(whole.artifacts > 10 * SEEDS && whole.resumed > SEEDS / 10, "{whole:?}");
    assert!(whole.harmed > 2 * SEEDS && whole.left_out > SEEDS / 4, "{whole:?}");
    let seen: BTreeSet<_> = whole.mishaps.keys().collect();
    assert!(seen.len() >= 19, "{seen:?}");
}

#[test]
fn a_seed_is_one_history() {
    let (one, two) = (simulation::run(7, false), simulation::run(7, false));
    assert_eq!(format!("{one:?}"), format!("{two:?}"));
    assert_ne!(format!("{one:?}"), format!("{:?}", simulation::run(8, false)));
}
