//! The promises of a split.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::format::Example;

/// Rows of which one in `rarity` is of class 1, `size` rows to a group, with texts that come again after `texts`.
fn records(rows: usize, rarity: usize, size: Option<usize>, texts: usize) -> Records {
    let example = |i: usize| {
        Ok(Example {
            prompt: None,
            other: None,
            text: format!("text {}", i % texts),
            label: Some(i32::from(i.is_multiple_of(rarity))),
            group: size.map(|size| format!("group {}", i / size)),
            difficulty: Some((i % 10) as f64),
            position: None,
        })
    };
    Records::collect((0..rows).map(example), (true, size.is_some()), 3).unwrap()
}

fn different(rows: usize, rarity: usize, size: Option<usize>) -> Records {
    records(rows, rarity, size, rows)
}

fn rule(ground_truth: usize, weak_labels: usize, validation: usize, test: usize) -> SplitRule {
    let duplicates = Duplicates::Report;
    SplitRule {
        ground_truth,
        weak_labels,
        validation,
        test,
        fresh: 0,
        balance: 0.55,
        duplicates,
        levels: None,
        seed: 3,
    }
}

fn split_all(records: &Records, rule: &SplitRule) -> Split {
    split(records, rule, &Lengths::default()).unwrap()
}

#[test]
fn the_same_rule_gives_the_same_rows_on_every_machine() {
    let split = split_all(&different(40, 2, None), &rule(4, 4, 2, 4));
    let parts = ORDER.map(|part| split.parts[&part].clone());
    assert_eq!(parts, [vec![0, 5, 10, 33], vec![4, 21], vec![8, 13, 26, 37], vec![16, 22, 35, 39]]);
    let digest = &split.manifest.parts["test"].digest;
    assert_eq!(digest, "853e961fd668eb38199253de4a23f5ce19db225450d687c002e9688aaaf421cc");
}

#[test]
fn fresh_rows_are_taken_last_and_change_no_other_part() {
    let records = different(40, 2, None);
    let (without, with) = (rule(4, 4, 2, 4), SplitRule { fresh: 6, ..rule(4, 4, 2, 4) });
    let [without, with] = [without, with].map(|rule| split_all(&records, &rule));
    assert_eq!(without.parts.len(), ORDER.len());
    assert!(ORDER.iter().all(|part| with.parts[part] == without.parts[part]));
    let taken = |row: &u32| ORDER.iter().any(|part| with.parts[part].contains(row));
    assert_eq!(with.parts[&Part::Fresh].len(), 6);
    assert!(!with.parts[&Part::Fresh].iter().any(taken));
}

#[test]
fn a_majority_is_dropped_beyond_its_share() {
    let records = different(4000, 4, None);
    for (balance, majority) in [(0.55, 55), (0.5, 50), (0.6, 60)] {
        let split = split_all(&records, &SplitRule { balance, ..rule(400, 400, 0, 200) });
        for part in [Part::GroundTruth, Part::WeakLabels, Part::Test] {
            let manifest = &split.manifest.parts[part.word()];
            let rows = manifest.rows;
            assert_eq!(manifest.classes, [rows * majority / 100, rows * (100 - majority) / 100], "{part}");
            assert!(manifest.unbalanced > rows / 4, "three of four rows are of class 0: {manifest:?}");
        }
    }
}

#[test]
fn a_text_that_two_parts_share_is_found_whatever_becomes_of_it() {
    let records = records(600, 2, None, 150);
    let of = |duplicates| split_all(&records, &SplitRule { duplicates, ..rule(40, 40, 20, 40) });
    let texts =
        |split: &Split, part| -> HashSet<u32> { split.parts[&part].iter().map(|row| row % 150).collect() };

    let dropped = of(Duplicates::Drop);
    let mut seen = HashSet::new();
    for part in ORDER {
        let texts = texts(&dropped, part);
        assert!(seen.is_disjoint(&texts), "{part}");
        seen.extend(texts);
    }
    let left_out: usize = dropped.manifest.parts.values().map(|part| part.duplicates).sum();
    assert!(left_out > 0 && left_out == dropped.manifest.duplicates.rows, "{left_out}");

    let reported = of(Duplicates::Report);
    assert_eq!(
        reported.parts[&Part::Test],
        dropped.parts[&Part::Test],
        "a test row goes because of no other"
    );
    assert!(reported.manifest.parts.values().all(|part| part.duplicates == 0));
    let report = &reported.manifest.duplicates;
    let test = texts(&reported, Part::Test);
    let pair = report.pairs.iter().find(|pair| (pair.part, pair.earlier) == (Part::WeakLabels, Part::Test));
    let by_hand: Vec<_> =
        reported.parts[&Part::WeakLabels].iter().filter(|&&row| test.contains(&(row % 150))).collect();
    let pair = pair.unwrap();
    assert_eq!(pair.rows, by_hand.len());
    assert_eq!(report.rows, report.pairs.iter().map(|pair| pair.rows).sum::<usize>());
    for (copy, row) in pair.examples.iter().zip(by_hand) {
        assert_eq!((copy.row, copy.row % 150), (i64::from(*row), copy.copy_of % 150));
    }
    assert_eq!(of(Duplicates::Refuse).manifest.duplicates.rows, report.rows);
}

#[test]
fn a_row_that_is_too_long_is_left_out_and_another_takes_its_place() {
    let records = different(400, 2, None);
    let rule = rule(40, 40, 0, 40);
    let lengths = |measured: &dyn Fn(u32) -> Option<bool>| Lengths {
        most: Some(8),
        measured: (0..400).filter_map(|row| Some((row, measured(row)?))).collect(),
    };
    let all = split(&records, &rule, &lengths(&|row| Some(row % 3 == 0))).unwrap();
    assert!(all.unmeasured.is_empty());
    assert!(all.parts.values().flatten().all(|row| row % 3 != 0));
    assert!(all.manifest.parts["test"].over_long > 5, "{:?}", all.manifest.parts["test"]);

    let mut known = Lengths { most: Some(8), measured: HashMap::new() };
    let mut looks = 0;
    let found = loop {
        let found = split(&records, &rule, &known).unwrap();
        if found.unmeasured.is_empty() {
            break found;
        }
        known.measured.extend(found.unmeasured.iter().map(|&row| (row, row % 3 == 0)));
        looks += 1;
    };
    assert_eq!(found, all, "what is not measured would not have been taken");
    assert!(looks > 1 && known.measured.len() < 300, "{looks} looks at {} rows", known.measured.len());
}

#[test]
fn sizes_that_cannot_be_had_are_refused_with_what_there_is() {
    let cases = [
        (
            different(100, 2, None),
            rule(60, 60, 0, 10),
            "the split wants 60 rows for weak_labels, but of the source's 100 rows 30 are left for it",
        ),
        (
            different(1000, 10, None),
            rule(300, 0, 0, 0),
            "after leaving out 0 duplicates and 735 for balance = 0.55",
        ),
        (
            different(0, 2, None),
            rule(1, 1, 0, 1),
            "the split wants 1 rows for test, but the source has no rows",
        ),
        (different(10, 2, None), SplitRule { balance: 0.4, ..rule(1, 1, 1, 1) }, "lies between 0.5 and 1"),
        (different(10, 2, None), SplitRule { balance: f64::NAN, ..rule(1, 1, 1, 1) }, "out of range"),
    ];
    for (records, rule, expected) in cases {
        let message = split(&records, &rule, &Lengths::default()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let long = Lengths { most: Some(8), measured: (0..10).map(|row| (row, true)).collect() };
    let message = split(&different(10, 2, None), &rule(1, 0, 0, 0), &long).unwrap_err().to_string();
    assert!(message.contains("0 duplicates, 10 of more than 8 tokens and 0 for balance"), "{message}");
}

#[test]
fn rows_without_labels_are_split_without_balance() {
    let example = |i| {
        Ok(Example {
            prompt: None,
            text: format!("text {i}"),
            other: None,
            label: None,
            group: None,
            difficulty: None,
            position: None,
        })
    };
    let records = Records::collect((0..100).map(example), (false, false), 3).unwrap();
    let split = split_all(&records, &rule(50, 30, 10, 10));
    assert_eq!(split.manifest.unused, 0);
    assert!(split.manifest.parts.values().all(|part| part.classes.is_empty()));
}

proptest! {
    #[test]
    fn parts_have_their_sizes_and_share_no_group(
        sizes in prop::array::uniform4(0usize..40), group in 1usize..9, rarity in 2usize..4,
        texts in 300usize..900, exact: bool, drop: bool, seed: u64,
    ) {
        let records = records(900, rarity, Some(group), texts);
        let balance = if exact { 0.5 } else { 0.55 };
        let duplicates = if drop { Duplicates::Drop } else { Duplicates::Report };
        let rule = SplitRule { balance, duplicates, seed, ..rule(sizes[0], sizes[1], sizes[2], sizes[3]) };
        let split = split_all(&records, &rule);
        let mut groups = HashSet::new();
        for part in ORDER {
            let places = &split.parts[&part];
            prop_assert_eq!(places.len(), wanted(&rule, part));
            prop_assert!(places.is_sorted());
            let own: HashSet<_> = places.iter().map(|row| row / group as u32).collect();
            prop_assert!(groups.is_disjoint(&own));
            let manifest = &split.manifest.parts[part.word()];
            prop_assert_eq!(manifest.groups, own.len());
            groups.extend(own);
            let most = (balance * places.len() as f64).max(places.len() as f64 / 2.0).ceil() as usize;
            prop_assert!(manifest.classes.iter().all(|&count| count <= most), "{:?}", manifest);
        }
        let left_out = |p: &PartManifest| p.rows + p.duplicates + p.unbalanced + p.surplus;
        let seen: usize = split.manifest.parts.values().map(left_out).sum();
        prop_assert_eq!(seen + split.manifest.unused, 900);
    }

    #[test]
    fn a_larger_part_keeps_the_rows_of_the_smaller_and_changes_no_earlier_part(
        small in 1usize..60, more in 0usize..60, grouped: bool, drop: bool, exact: bool, long in 2u32..9, seed: u64,
    ) {
        let records = records(900, 3, grouped.then_some(4), 500);
        let measured = (0..900).map(|row| (row, row % long == 0)).collect();
        let lengths = Lengths { most: Some(8), measured };
        let balance = if exact { 0.5 } else { 0.55 };
        let duplicates = if drop { Duplicates::Drop } else { Duplicates::Report };
        let of = |size| {
            let rule = SplitRule { balance, duplicates, seed, ..rule(20, size, 10, 30) };
            split(&records, &rule, &lengths)
        };
        let (Ok(small), Ok(large)) = (of(small), of(small + more)) else { return Ok(()) };
        for part in [Part::Test, Part::Validation, Part::GroundTruth] {
            prop_assert_eq!(&small.parts[&part], &large.parts[&part]);
        }
        let kept: HashSet<_> = large.parts[&Part::WeakLabels].iter().collect();
        prop_assert!(small.parts[&Part::WeakLabels].iter().all(|row| kept.contains(row)));
    }
}

#[test]
fn ground_truth_is_easy_and_all_else_is_hard() {
    let levels = Some(Levels { easy: 3.0, hard: 6.0 });
    let rule = SplitRule { levels, fresh: 10, ..rule(60, 60, 20, 60) };
    let records = different(400, 2, None);
    let split = split_all(&records, &rule);
    for (part, places) in &split.parts {
        let is_right = |place: &u32| match part {
            Part::GroundTruth => place % 10 <= 3,
            _ => place % 10 >= 6,
        };
        assert!(!places.is_empty() && places.iter().all(is_right), "{part}: {places:?}");
    }
    let taken: usize = split.manifest.parts.values().map(|part| part.rows + part.unbalanced).sum();
    assert_eq!(split.manifest.unused, records.len() - taken, "those between, too");
    let larger = split_all(&records, &SplitRule { ground_truth: 100, ..rule });
    assert!(
        ORDER
            .iter()
            .filter(|part| **part != Part::GroundTruth)
            .all(|part| larger.parts[part] == split.parts[part])
    );
    let error =
        super::split(&records, &SplitRule { ground_truth: 200, ..rule }, &Lengths::default()).unwrap_err();
    assert!(error.to_string().contains("wants 200 rows for ground_truth"), "{error}");
}

#[test]
fn a_group_of_easy_and_hard_rows_is_not_divided() {
    let rule = SplitRule { levels: Some(Levels { easy: 3.0, hard: 6.0 }), ..rule(40, 40, 0, 40) };
    let records = different(1000, 2, Some(5));
    let split = split_all(&records, &rule);
    let groups = |part: Part| split.parts[&part].iter().map(|place| place / 5).collect::<HashSet<_>>();
    assert!(groups(Part::GroundTruth).is_disjoint(&groups(Part::WeakLabels)));
    assert!(groups(Part::GroundTruth).is_disjoint(&groups(Part::Test)));
}
