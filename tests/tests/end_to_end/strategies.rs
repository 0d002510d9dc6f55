//! How a gang shares a training, through the real binaries.

use crate::workplace::Workplace;

#[test]
fn in_deterministic_mode_neither_workers_nor_strategy_change_a_byte() {
    let left = |workers: &str, strategy: &str| {
        let place = Workplace::new();
        let experiment = place.read("tiny.toml").replace("rows        = 6000", "rows        = 1500");
        // Threads are another way to add in another order, so each worker has as many.
        let parallel = format!("mode = \"deterministic\"\nstrategy = \"{strategy}\"\nthreads = 1");
        std::fs::write(place.at("tiny.toml"), format!("{experiment}\n[parallel]\n{parallel}\n")).unwrap();
        place.succeed(&["run", "tiny.toml", "--workers", workers]);
        place.artifacts()
    };
    let expected = left("1", "data");
    for (workers, strategy) in [("2", "data"), ("2", "sharded")] {
        let found = left(workers, strategy);
        let differ = expected.iter().filter(|(name, bytes)| found.get(*name) != Some(*bytes));
        let differ: Vec<_> = differ.map(|(name, _)| name).collect();
        assert!(
            differ.is_empty() && found.len() == expected.len(),
            "{workers} workers, {strategy}: {differ:?}"
        );
    }
}
