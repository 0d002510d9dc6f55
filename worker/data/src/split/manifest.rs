//! What `split.json` says: what went where, what was left out and why, which texts two parts share.

use std::collections::BTreeMap;

use fulcrum_common::plan::{Duplicates, Part, Prepare};
use serde::Serialize;

/// What went where: the content of `split.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Examples of the source.
    pub rows: usize,
    /// Groups of the source; as many as rows where it is not grouped.
    pub groups: usize,
    /// Rows of the source that gave no example: pairs whose texts are equal, or one of them empty.
    pub passed_over: usize,
    /// Seed of the assignment.
    pub seed: u64,
    /// Largest share of one class that a part may have.
    pub balance: f64,
    /// Rows that a tokenizer makes longer than this are left out; none where long rows are cut.
    pub drop_over: Option<usize>,
    /// Rows that no part took or left out.
    pub unused: usize,
    /// The parts, by name.
    pub parts: BTreeMap<&'static str, PartManifest>,
    /// Texts of a part that an earlier one has too.
    pub duplicates: DuplicateReport,
}

impl Manifest {
    /// Name of the file that holds it.
    pub const FILE: &str = "split.json";

    /// What the artifact tells without being opened: rows of each part, copies, and rows left out by reason.
    pub fn facts(&self) -> BTreeMap<String, u64> {
        let sum = |count: fn(&PartManifest) -> usize| self.parts.values().map(count).sum::<usize>();
        let rows = self.parts.iter().map(|(part, manifest)| (format!("rows/{part}"), manifest.rows));
        let others = [
            ("duplicates", self.duplicates.rows),
            (Prepare::DROPPED_PAIRS, self.passed_over),
            ("dropped/duplicates", sum(|part| part.duplicates)),
            ("dropped/balance", sum(|part| part.unbalanced)),
            ("dropped/over_long", sum(|part| part.over_long)),
        ];
        let others = others.map(|(fact, count)| (fact.to_owned(), count));
        rows.chain(others).map(|(fact, count)| (fact, count as u64)).collect()
    }
}

/// One part of a split.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PartManifest {
    /// Rows in the part.
    pub rows: usize,
    /// Groups that the rows are of.
    pub groups: usize,
    /// How many rows are of each class, in class order; empty without labels.
    pub classes: Vec<usize>,
    /// The classes' shares of the rows.
    pub shares: Vec<f64>,
    /// Rows left out because an earlier part has the same text.
    pub duplicates: usize,
    /// Rows left out because their class has its largest share already.
    pub unbalanced: usize,
    /// Rows left out because a tokenizer makes them too long; only those that nothing else left out.
    pub over_long: usize,
    /// Rows left out because the part was full before its last group ended.
    pub surplus: usize,
    /// BLAKE3 of the row ids as little-endian i64, in the part's order.
    pub digest: String,
}

/// Texts that two parts share, as they are compared: white space and case folded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DuplicateReport {
    /// What becomes of them.
    pub rule: Duplicates,
    /// How many rows there are whose text an earlier part has.
    pub rows: usize,
    /// By the two parts.
    pub pairs: Vec<Pair>,
}

/// Texts of one part that an earlier one has too. Parts are filled in the order test, validation, ground truth, weak
/// labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// The part whose rows are the copies.
    pub part: Part,
    /// The part that was filled before it.
    pub earlier: Part,
    /// How many copies there are.
    pub rows: usize,
    /// The first of them.
    pub examples: Vec<Copy>,
}

/// A row whose text an earlier part has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copy {
    /// The copy.
    pub row: i64,
    /// The row of the earlier part.
    pub copy_of: i64,
    /// How the copy's text begins.
    pub text: String,
}

impl DuplicateReport {
    /// Copies that are told with their texts, for each pair of parts.
    pub const EXAMPLES: usize = 3;

    /// No copies yet.
    pub(super) fn new(rule: Duplicates) -> Self {
        Self { rule, rows: 0, pairs: Vec::new() }
    }

    pub(super) fn add(&mut self, part: Part, earlier: Part, row: i64, copy_of: i64) {
        self.rows += 1;
        let at = self.pairs.iter().position(|pair| (pair.part, pair.earlier) == (part, earlier));
        let at = at.unwrap_or_else(|| {
            self.pairs.push(Pair { part, earlier, rows: 0, examples: Vec::new() });
            self.pairs.len() - 1
        });
        let pair = &mut self.pairs[at];
        pair.rows += 1;
        // By row, so that the examples are the source's first whatever order the parts were filled in.
        let place = pair.examples.partition_point(|copy| copy.row < row);
        if place < Self::EXAMPLES {
            pair.examples.insert(place, Copy { row, copy_of, text: String::new() });
            pair.examples.truncate(Self::EXAMPLES);
        }
    }

    /// Fills in the text of a row where it is one of the examples.
    pub(crate) fn tell(&mut self, row: i64, text: &str) {
        let copies = self.pairs.iter_mut().flat_map(|pair| &mut pair.examples);
        for copy in copies.filter(|copy| copy.row == row) {
            copy.text = text.chars().take(200).collect();
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let pairs =
            self.pairs.iter().map(|pair| format!("{} of {} in {}", pair.rows, pair.part, pair.earlier));
        pairs.collect::<Vec<_>>().join(", ")
    }
}
