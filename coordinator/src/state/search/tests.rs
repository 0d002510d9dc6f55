//! What is asked, and that what is found is what there is.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn strike(row: u64, surely: bool) -> Strike {
    Strike { poison: Poison { row: Some(row as i64), why: format!("row {row} fails") }, surely }
}

/// Answers truly until the search is over; the ranges that were asked for.
fn answer(search: &mut Search, poison: &BTreeSet<u64>, surely: bool) -> Vec<Range<u64>> {
    let mut asked = Vec::new();
    while let Some(rows) = search.asks() {
        let fails = rows.clone().find(|row| poison.contains(row) && !search.found().contains_key(row));
        asked.push(rows);
        match fails {
            Some(row) => search.failed(strike(row, surely)),
            None => search.fine(),
        };
    }
    asked
}

fn found(search: &Search) -> BTreeSet<u64> {
    search.found().keys().copied().collect()
}

#[test]
fn one_row_is_found_by_halves_and_needs_three_strikes() {
    let mut search = Search::begin(8..16, None, false);
    let asked = answer(&mut search, &[13].into(), false);
    // 12..16 as a whole needs no trial once 8..12 is fine; the rows after 13 do, as they may fail too.
    assert_eq!(asked, [0..0, 8..12, 12..14, 12..13, 13..14, 13..14, 13..14, 14..16]);
    assert_eq!((found(&search), search.is_vain()), ([13].into(), false));
    let mut surely = Search::begin(8..16, None, false);
    assert_eq!(answer(&mut surely, &[13].into(), true).len(), asked.len() - 2);
}

#[test]
fn rows_that_fail_only_together_end_the_search_in_vain() {
    let mut search = Search::begin(0..4, None, false);
    let mut asked = Vec::new();
    while let Some(rows) = search.asks() {
        match rows.end - rows.start {
            2.. => search.failed(strike(rows.start, false)),
            _ => search.fine(),
        };
        asked.push(rows);
    }
    assert_eq!(asked, [0..0, 0..2, 0..1, 1..2, 2..4, 2..3, 3..4]);
    assert!(search.is_vain() && search.found().is_empty());
}

#[test]
fn a_failure_of_all_rows_alike_is_not_looked_for_row_by_row() {
    let alike = |surely| Strike { poison: Poison { row: None, why: "not finite".into() }, surely };
    let mut search = Search::begin(0..512, None, true);
    search.fine();
    let mut verdicts = Vec::new();
    for row in [0, 256, 511] {
        assert_eq!(search.asks(), Some(row..row + 1));
        verdicts.push(search.failed(alike(true)));
    }
    assert_eq!(verdicts, [Verdict::Further, Verdict::Further, Verdict::AllAlike]);
    // What may pass says nothing of all rows, nor does another reason.
    let mut passing = Search::begin(0..512, None, true);
    passing.fine();
    passing.failed(alike(false));
    assert_eq!(passing.asks(), Some(0..256));
    let mut different = Search::begin(0..512, None, true);
    different.fine();
    assert_eq!([0, 256, 511].map(|row| different.failed(strike(row, true))), [Verdict::Further; 3]);
    assert_eq!(different.asks(), Some(0..512), "the rest may be fine");
}

#[test]
fn a_second_search_knows_what_the_first_has_found() {
    let mut first = Search::begin(0..8, None, false);
    answer(&mut first, &[2].into(), true);
    let mut second = Search::begin(0..8, Some(&first), false);
    answer(&mut second, &[2, 7].into(), true);
    assert_eq!(found(&second), [2, 7].into());
    assert!(second.answers() > first.answers());
    let mut vain = Search::begin(0..8, Some(&second), false);
    answer(&mut vain, &[2, 7].into(), true);
    assert!(vain.is_vain());
}

#[test]
fn a_search_goes_on_from_what_was_written_of_it() {
    let mut search = Search::begin(0..8, None, true);
    search.fine();
    search.failed(strike(0, true));
    let json = serde_json::to_string(&search).unwrap();
    assert_eq!(serde_json::from_str::<Search>(&json).unwrap(), search);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_rows_that_fail_are_found(
        start in 0..100_u64,
        length in 1..600_u64,
        places in prop::collection::btree_set(0..600_u64, 0..9),
        surely: bool,
        probe: bool,
    ) {
        let rows = start..start + length;
        let poison: BTreeSet<u64> =
            places.into_iter().filter(|place| *place < length).map(|place| start + place).collect();
        let mut search = Search::begin(rows, None, probe);
        let asked = answer(&mut search, &poison, surely);
        prop_assert_eq!(found(&search), poison.clone());
        // Where nothing fails, the whole is known to have failed once and every row is tried.
        let halvings = 1 + u64::from(length.next_power_of_two().trailing_zeros());
        let most = 5 + poison.len() as u64 * (2 * halvings + u64::from(STRIKES));
        prop_assert!(poison.is_empty() || asked.len() as u64 <= most, "{} of {}", asked.len(), most);
        let whole = asked.iter().all(|rows| rows.start >= start && rows.end <= start + length || rows.is_empty());
        prop_assert!(whole);
    }
}
