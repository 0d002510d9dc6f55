//! Splits: which rows of a source go into which part of an experiment.
//!
//! Rows stand in a seeded order that depends on nothing but the seed and the row (or the value it is grouped by), and
//! the parts take what they need from its front, one after the other: test, validation, ground truth, weak labels.
//! So the test rows do not change with the sizes of the other parts, and a part that is made larger keeps the rows it
//! had. Groups are never divided between parts. A text that an earlier part holds is left out of the later ones:
//! nothing that is tested on, not even a copy of it, is trained on.

use std::collections::{BTreeMap, HashSet};

use fulcrum_common::{
    Key,
    plan::{Part, SplitRule},
    rng::Rng,
};
use serde::Serialize;

use crate::{
    Examples, Table,
    error::{DataError, Result},
};

/// The order in which the parts take rows.
const ORDER: [Part; 4] = [Part::Test, Part::Validation, Part::GroundTruth, Part::WeakLabels];

/// A source that is split.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The rows of each part, in the order of the source.
    pub parts: BTreeMap<Part, Table>,
    /// What went where.
    pub manifest: Manifest,
}

/// What went where: the content of `split.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Rows of the source.
    pub rows: usize,
    /// Groups of the source; as many as rows where it is not grouped.
    pub groups: usize,
    /// Seed of the assignment.
    pub seed: u64,
    /// Largest share of one class that a part may have.
    pub balance: f64,
    /// Rows that no part took or left out.
    pub unused: usize,
    /// The parts, by name.
    pub parts: BTreeMap<&'static str, PartManifest>,
}

/// One part of a split.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PartManifest {
    /// Rows in the part.
    pub rows: usize,
    /// How many of them are of each class, in class order; empty without labels.
    pub classes: Vec<usize>,
    /// The classes' shares of the rows.
    pub shares: Vec<f64>,
    /// Rows left out because an earlier part has the same text.
    pub duplicates: usize,
    /// Rows left out because their class has its largest share already.
    pub unbalanced: usize,
    /// Rows left out because the part was full before its last group ended.
    pub surplus: usize,
    /// BLAKE3 of the row ids as little-endian i64, in the part's order.
    pub digest: String,
}

/// Splits a source by a rule, into parts of exactly the sizes it asks for.
///
/// # Errors
/// When the rule is out of range, or the source has too few rows (or too few of one class) for it.
pub fn split(examples: &Examples, rule: &SplitRule) -> Result<Split> {
    let table = &examples.table;
    let classes = class_count(table);
    let (balance, least) = (rule.balance, if classes > 0 { 1.0 / classes as f64 } else { 0.0 });
    if !(least..=1.0).contains(&balance) {
        return Err(DataError::value(format!(
            "balance = {balance} is out of range: with {classes} classes it lies between {least} and 1"
        )));
    }
    let groups = ordered_groups(examples, rule.seed);
    let group_count = groups.len();
    let mut filler =
        Filler { table, classes, balance: rule.balance, groups: groups.into_iter(), texts: HashSet::new() };
    let mut split = Split {
        parts: BTreeMap::new(),
        manifest: Manifest {
            rows: table.len(),
            groups: group_count,
            seed: rule.seed,
            balance: rule.balance,
            unused: 0,
            parts: BTreeMap::new(),
        },
    };
    for part in ORDER {
        let (places, manifest) = filler.fill(part, wanted(rule, part))?;
        split.parts.insert(part, table.select(&places));
        split.manifest.parts.insert(part.word(), manifest);
    }
    split.manifest.unused = filler.groups.map(|group| group.len()).sum();
    Ok(split)
}

fn wanted(rule: &SplitRule, part: Part) -> usize {
    match part {
        Part::GroundTruth => rule.ground_truth,
        Part::WeakLabels => rule.weak_labels,
        Part::Validation => rule.validation,
        Part::Test => rule.test,
        Part::Corpus | Part::Rows => 0,
    }
}

fn class_count(table: &Table) -> usize {
    let highest = table.labels.iter().flatten().max();
    highest.map_or(0, |&label| label as usize + 1)
}

/// The places of the rows, group by group, in the seeded order.
fn ordered_groups(examples: &Examples, seed: u64) -> Vec<Vec<usize>> {
    let row_rank = |row: i64| Rng::new(seed, "split row", row as u64).next_u64();
    let rows = &examples.table.rows;
    let mut groups: Vec<(u64, Vec<usize>)> = match &examples.groups {
        None => (0..rows.len()).map(|place| (row_rank(rows[place]), vec![place])).collect(),
        Some(names) => {
            let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for (place, name) in names.iter().enumerate() {
                members.entry(name).or_default().push(place);
            }
            let rank = |name: &str| Rng::new(seed, &format!("split group {name}"), 0).next_u64();
            members.into_iter().map(|(name, places)| (rank(name), places)).collect()
        }
    };
    for (_, places) in &mut groups {
        places.sort_by_key(|&place| (row_rank(rows[place]), rows[place]));
    }
    // A stable sort: equal ranks, should they ever meet, keep the order of the source or of the groups' names.
    groups.sort_by_key(|(rank, _)| *rank);
    groups.into_iter().map(|(_, places)| places).collect()
}

/// Takes rows from the front of the order, part by part.
struct Filler<'a> {
    table: &'a Table,
    classes: usize,
    balance: f64,
    groups: std::vec::IntoIter<Vec<usize>>,
    /// Texts of the parts filled so far.
    texts: HashSet<&'a str>,
}

impl Filler<'_> {
    /// The places of a part's rows in the order of the source, and what was left out.
    fn fill(&mut self, part: Part, wanted: usize) -> Result<(Vec<usize>, PartManifest)> {
        let most = self.most_of_a_class(wanted);
        let mut places = Vec::with_capacity(wanted.min(self.table.len()));
        let mut manifest = PartManifest { classes: vec![0; self.classes], ..PartManifest::default() };
        while places.len() < wanted {
            let Some(group) = self.groups.next() else {
                return Err(self.too_few(part, wanted, &manifest, places.len()));
            };
            for place in group {
                let class = self.table.labels.as_ref().map(|labels| labels[place] as usize);
                if places.len() == wanted {
                    manifest.surplus += 1;
                } else if self.texts.contains(self.table.texts[place].as_str()) {
                    manifest.duplicates += 1;
                } else if class.is_some_and(|class| manifest.classes[class] == most) {
                    manifest.unbalanced += 1;
                } else {
                    class.iter().for_each(|&class| manifest.classes[class] += 1);
                    places.push(place);
                }
            }
        }
        places.sort_unstable();
        self.texts.extend(places.iter().map(|&place| self.table.texts[place].as_str()));
        manifest.rows = wanted;
        manifest.shares = manifest.classes.iter().map(|&count| share(count, wanted)).collect();
        let rows = places.iter().flat_map(|&place| self.table.rows[place].to_le_bytes());
        manifest.digest = Key::of(&rows.collect::<Vec<_>>()).to_string();
        Ok((places, manifest))
    }

    /// Rows of one class that a part of this size may have.
    fn most_of_a_class(&self, wanted: usize) -> usize {
        // The small addend keeps 0.55 * 1000 from becoming 549; rounding up keeps odd sizes possible at 0.5.
        let most = (self.balance * wanted as f64 + 1e-9).floor() as usize;
        most.max(wanted.div_ceil(self.classes.max(1)))
    }

    fn too_few(&self, part: Part, wanted: usize, manifest: &PartManifest, found: usize) -> DataError {
        let rows = self.table.len();
        let PartManifest { duplicates, unbalanced, .. } = manifest;
        let classes: Vec<_> = manifest.classes.iter().map(usize::to_string).collect();
        let of_each =
            if classes.is_empty() { String::new() } else { format!(" ({} by class)", classes.join(", ")) };
        DataError::value(format!(
            "the split wants {wanted} rows for {part}, but of the source's {rows} rows {found} are left for it{of_each}, \
             after leaving out {duplicates} duplicates and {unbalanced} for balance = {}: ask for fewer rows or allow \
             a larger balance",
            self.balance
        ))
    }
}

fn share(count: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows of which one in `rarity` is of class 1, `size` rows to a group.
    fn examples(rows: usize, rarity: usize, size: Option<usize>) -> Examples {
        Examples {
            table: Table {
                rows: (0..rows as i64).collect(),
                texts: (0..rows).map(|i| format!("text {i}")).collect(),
                labels: Some((0..rows).map(|i| i32::from(i % rarity == 0)).collect()),
                ..Table::default()
            },
            groups: size.map(|size| (0..rows).map(|i| format!("group {}", i / size)).collect()),
        }
    }

    fn rule(ground_truth: usize, weak_labels: usize, validation: usize, test: usize) -> SplitRule {
        SplitRule { ground_truth, weak_labels, validation, test, balance: 0.55, seed: 3 }
    }

    fn rows(split: &Split, part: Part) -> &[i64] {
        &split.parts[&part].rows
    }

    #[test]
    fn the_same_rule_gives_the_same_rows_on_every_machine() {
        let split = split(&examples(40, 2, None), &rule(4, 4, 2, 4)).unwrap();
        let parts = ORDER.map(|part| rows(&split, part).to_vec());
        assert_eq!(parts, [vec![0, 5, 10, 33], vec![4, 21], vec![8, 13, 26, 37], vec![16, 22, 35, 39]]);
        let digest = &split.manifest.parts["test"].digest;
        assert_eq!(digest, "853e961fd668eb38199253de4a23f5ce19db225450d687c002e9688aaaf421cc");
    }

    #[test]
    fn a_majority_is_dropped_beyond_its_share() {
        let split = split(&examples(4000, 4, None), &rule(400, 400, 0, 200)).unwrap();
        for part in [Part::GroundTruth, Part::WeakLabels, Part::Test] {
            let manifest = &split.manifest.parts[part.word()];
            let rows = manifest.rows;
            assert_eq!(manifest.classes, [rows * 55 / 100, rows * 45 / 100], "{part}");
            assert_eq!(manifest.shares, [0.55, 0.45]);
            assert!(manifest.unbalanced > rows / 2, "three of four rows are of class 0: {manifest:?}");
        }
    }

    #[test]
    fn a_text_that_is_tested_on_is_trained_on_nowhere() {
        let mut examples = examples(600, 2, None);
        for place in 0..600 {
            examples.table.texts[place] = format!("text {}", place % 150);
        }
        let split = split(&examples, &rule(40, 40, 20, 40)).unwrap();
        let mut seen = HashSet::new();
        for part in ORDER {
            let texts: HashSet<_> = split.parts[&part].texts.iter().cloned().collect();
            assert!(seen.is_disjoint(&texts), "{part}");
            seen.extend(texts);
        }
        assert!(split.manifest.parts["weak_labels"].duplicates > 0);
    }

    #[test]
    fn sizes_that_cannot_be_had_are_refused_with_what_there_is() {
        let cases = [
            (
                examples(100, 2, None),
                rule(60, 60, 0, 10),
                "the split wants 60 rows for weak_labels, but of the source's 100 rows 30 are left for it",
            ),
            (
                examples(1000, 10, None),
                rule(300, 0, 0, 0),
                "after leaving out 0 duplicates and 735 for balance = 0.55",
            ),
            (examples(10, 2, None), SplitRule { balance: 0.4, ..rule(1, 1, 1, 1) }, "lies between 0.5 and 1"),
            (examples(10, 2, None), SplitRule { balance: f64::NAN, ..rule(1, 1, 1, 1) }, "out of range"),
        ];
        for (examples, rule, expected) in cases {
            let message = split(&examples, &rule).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn rows_without_labels_are_split_without_balance() {
        let mut examples = examples(100, 2, None);
        examples.table.labels = None;
        let split = split(&examples, &rule(50, 30, 10, 10)).unwrap();
        assert_eq!(split.manifest.unused, 0);
        assert!(split.manifest.parts.values().all(|part| part.classes.is_empty()));
    }

    proptest! {
        #[test]
        fn parts_have_their_sizes_and_share_no_group(
            sizes in prop::array::uniform4(0usize..40), group in 1usize..9, rarity in 2usize..4, seed: u64,
        ) {
            let examples = examples(900, rarity, Some(group));
            let rule = SplitRule { seed, ..rule(sizes[0], sizes[1], sizes[2], sizes[3]) };
            let split = split(&examples, &rule).unwrap();
            let mut groups = HashSet::new();
            for part in ORDER {
                let table = &split.parts[&part];
                prop_assert_eq!(table.len(), wanted(&rule, part));
                prop_assert!(table.rows.is_sorted());
                let own: HashSet<_> = table.rows.iter().map(|row| row / group as i64).collect();
                prop_assert!(groups.is_disjoint(&own));
                groups.extend(own);
                let manifest = &split.manifest.parts[part.word()];
                let most = (0.55 * table.len() as f64).max(table.len() as f64 / 2.0).ceil() as usize;
                prop_assert!(manifest.classes.iter().all(|&count| count <= most), "{:?}", manifest);
            }
            let left_out = |p: &PartManifest| p.rows + p.duplicates + p.unbalanced + p.surplus;
            let seen: usize = split.manifest.parts.values().map(left_out).sum();
            prop_assert_eq!(seen + split.manifest.unused, 900);
        }

        #[test]
        fn a_larger_part_keeps_the_rows_of_the_smaller_and_changes_no_earlier_part(
            small in 1usize..60, more in 0usize..60, grouped: bool, seed: u64,
        ) {
            let examples = examples(900, 3, grouped.then_some(4));
            let of = |size| split(&examples, &SplitRule { seed, ..rule(20, size, 10, 30) }).unwrap();
            let (small, large) = (of(small), of(small + more));
            for part in [Part::Test, Part::Validation, Part::GroundTruth] {
                prop_assert_eq!(rows(&small, part), rows(&large, part));
            }
            let kept: HashSet<_> = rows(&large, Part::WeakLabels).iter().collect();
            prop_assert!(rows(&small, Part::WeakLabels).iter().all(|row| kept.contains(row)));
        }
    }
}
