//! The same row has the same completion whoever is decoded beside it.

use super::{Completion, Patient, complete, model, prompts, sampling};

const ROWS: usize = 240;

/// Tokens and the bits of the log-probability, by row and sample.
fn lines(completions: Vec<Completion<Patient>>) -> Vec<(i64, usize, Vec<i64>, u64)> {
    let line = |one: Completion<Patient>| (one.row, one.sample, one.tokens, one.log_probability.to_bits());
    let mut lines: Vec<_> = completions.into_iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn a_completion_is_the_same_to_the_bit_in_any_order_shard_and_company() {
    let (model, prompts) = (model(), prompts(ROWS));
    let all: Vec<usize> = (0..ROWS).collect();
    for temperature in [0.0, 1.0] {
        let sampling = sampling(temperature);
        let together = lines(complete(&model, &prompts, &all, &sampling));
        assert!(
            together.iter().any(|line| line.2.len() < 16) && together.iter().any(|line| line.2.len() == 16)
        );
        let shards = |size: usize| {
            lines(all.chunks(size).flat_map(|rows| complete(&model, &prompts, rows, &sampling)).collect())
        };
        for size in [1, 7, 100] {
            assert_eq!(shards(size), together, "shards of {size} at temperature {temperature}");
        }
        let backwards: Vec<usize> = all.iter().rev().copied().collect();
        assert_eq!(lines(complete(&model, &prompts, &backwards, &sampling)), together);
        let some: Vec<usize> = all.iter().filter(|&row| row % 3 == 1).copied().collect();
        let expected: Vec<_> = together.iter().filter(|line| line.0 % 3 == 1).cloned().collect();
        assert_eq!(lines(complete(&model, &prompts, &some, &sampling)), expected);
    }
}

#[test]
fn more_samples_leave_the_first_ones_as_they_are() {
    let (model, prompts) = (model(), prompts(30));
    let rows: Vec<usize> = (0..30).collect();
    let mut sampling = sampling(1.0);
    let one = lines(complete(&model, &prompts, &rows, &sampling));
    sampling.samples = 5;
    let five = complete(&model, &prompts, &rows, &sampling);
    let order: Vec<_> = five.iter().map(|one| (one.row, one.sample)).collect();
    assert!(order.is_sorted() && order.len() == 150);
    let five = lines(five);
    assert_eq!(five.iter().filter(|line| line.1 == 0).cloned().collect::<Vec<_>>(), one);
    assert!(five.chunks(5).any(|samples| samples[0].2 != samples[1].2));
}

#[test]
fn another_number_of_slots_changes_bits_at_most() {
    let (model, prompts) = (model(), prompts(ROWS));
    let rows: Vec<usize> = (0..ROWS).collect();
    for temperature in [0.0, 1.0] {
        let with = |slots: usize| {
            let sampling = fulcrum_common::plan::Sampling { slots, ..sampling(temperature) };
            complete(&model, &prompts, &rows, &sampling)
        };
        let usual = with(16);
        for slots in [1, 2, 3, 8, 32] {
            let other = with(slots);
            let pairs = || usual.iter().zip(&other);
            let texts = pairs().filter(|(a, b)| a.tokens != b.tokens).count();
            let bits =
                pairs().filter(|(a, b)| a.log_probability.to_bits() != b.log_probability.to_bits()).count();
            // Which kernel a machine has for a shape is its own affair, so that a draw in a million may flip.
            println!("temperature {temperature}, {slots} slots: {texts} texts and the bits of {bits} differ");
            assert!(texts <= ROWS / 100, "{texts} of {ROWS} texts differ with {slots} slots");
        }
    }
}
