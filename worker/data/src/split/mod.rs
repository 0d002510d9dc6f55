//! Splits: which rows of a source go into which part of an experiment.
//!
//! Rows stand in a seeded order that depends on nothing but the seed and the row (or the value it is grouped by), and
//! the parts take what they need from its front, one after the other: test, validation, ground truth, weak labels, fresh.
//! So the test rows do not change with the sizes of the other parts, and a part that is made larger keeps the rows it
//! had. Groups are never divided between parts. Texts that two parts share are found, whatever becomes of them: of
//! those that are dropped it is always the later part's, so no test row goes because of a training row.

mod manifest;
mod records;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fulcrum_common::{
    Key,
    plan::{Duplicates, Levels, Part, SplitRule},
};

use crate::error::{DataError, Result};

pub use manifest::{Copy, DuplicateReport, Manifest, Pair, PartManifest};
pub use records::{Print, Records};

/// The order in which the parts take rows that every split has.
pub const ORDER: [Part; 4] = [Part::Test, Part::Validation, Part::GroundTruth, Part::WeakLabels];

/// All parts of a split, in the order in which they take rows.
pub fn parts(rule: &SplitRule) -> impl Iterator<Item = Part> {
    ORDER.into_iter().chain((rule.fresh > 0).then_some(Part::Fresh))
}

/// A source that is split.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The places of each part's rows, in the order of the source.
    pub parts: BTreeMap<Part, Vec<u32>>,
    /// What went where.
    pub manifest: Manifest,
    /// Rows that were taken although it is not known how long they are. With the lengths of all of them known, and
    /// none too long, the split stands.
    pub unmeasured: Vec<u32>,
}

/// Which rows are too long for some model, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Lengths {
    /// More tokens than this are too many; none where no row is.
    pub most: Option<usize>,
    /// Rows whose length was measured, with whether it is too long.
    pub measured: HashMap<u32, bool>,
}

/// Splits a source by a rule, into parts of exactly the sizes it asks for.
///
/// # Errors
/// When the rule is out of range, or the source has too few rows (or too few of one class) for it.
pub fn split(records: &Records, rule: &SplitRule, lengths: &Lengths) -> Result<Split> {
    let classes = records.classes();
    let (balance, least) = (rule.balance, if classes > 0 { 1.0 / classes as f64 } else { 0.0 });
    if !(least..=1.0).contains(&balance) {
        return Err(DataError::value(format!(
            "balance = {balance} is out of range: with {classes} classes it lies between {least} and 1"
        )));
    }
    let queues = queues(records, rule)?;
    let between = records.len() - queues.iter().map(Vec::len).sum::<usize>();
    let mut filler = Filler {
        records,
        rule,
        lengths,
        classes,
        queues: queues.map(|queue| queue.into_iter().peekable()),
        texts: HashMap::new(),
        duplicates: DuplicateReport::new(rule.duplicates),
        unmeasured: Vec::new(),
    };
    let (mut parts, mut manifests) = (BTreeMap::new(), BTreeMap::new());
    for part in self::parts(rule) {
        let (places, manifest) = filler.fill(part, wanted(rule, part))?;
        parts.insert(part, places);
        manifests.insert(part.word(), manifest);
    }
    let manifest = Manifest {
        rows: records.len(),
        groups: records.group_count(),
        passed_over: records.passed_over,
        seed: rule.seed,
        balance: rule.balance,
        drop_over: lengths.most,
        unused: between + filler.unused(),
        parts: manifests,
        duplicates: filler.duplicates,
    };
    Ok(Split { parts, manifest, unmeasured: filler.unmeasured })
}

fn wanted(rule: &SplitRule, part: Part) -> usize {
    match part {
        Part::GroundTruth => rule.ground_truth,
        Part::WeakLabels => rule.weak_labels,
        Part::Validation => rule.validation,
        Part::Test => rule.test,
        Part::Fresh => rule.fresh,
        Part::Corpus | Part::Rows => 0,
    }
}

/// The rows in their order. Where they have levels: the hard ones, and the easy ones. What lies between is in neither, and so is
/// what differs in that from the first of its group, which is not divided.
fn queues(records: &Records, rule: &SplitRule) -> Result<[Vec<u32>; 2]> {
    let order = records.order(rule.seed);
    let Some(Levels { easy, hard }) = rule.levels else { return Ok([order, Vec::new()]) };
    let level = |place: u32| {
        let difficulty = records.difficulty(place).ok_or_else(|| {
            DataError::value(
                "the split tells easy rows from hard ones, but the format does not say how hard a row is",
            )
        })?;
        Ok::<_, DataError>(if difficulty <= easy { Some(1) } else { (difficulty >= hard).then_some(0) })
    };
    let mut queues = [Vec::new(), Vec::new()];
    let mut before = None;
    for place in order {
        let (group, own) = (records.group(place), level(place)?);
        let first = before.filter(|(other, _)| *other == group).map_or(own, |(_, first)| first);
        before = Some((group, first));
        if let Some(queue) = own.filter(|_| own == first) {
            queues[queue].push(place);
        }
    }
    Ok(queues)
}

/// Takes rows from the front of the order, part by part.
struct Filler<'a> {
    records: &'a Records,
    rule: &'a SplitRule,
    lengths: &'a Lengths,
    classes: usize,
    /// What is still to be had: rows for all parts but ground truth, and for that, where rows have levels.
    queues: [std::iter::Peekable<std::vec::IntoIter<u32>>; 2],
    /// The texts of the parts filled so far, with the first part and row that have them.
    texts: HashMap<Print, (Part, u32)>,
    duplicates: DuplicateReport,
    unmeasured: Vec<u32>,
}

impl Filler<'_> {
    /// The places of a part's rows in the order of the source, and what was left out.
    fn fill(&mut self, part: Part, wanted: usize) -> Result<(Vec<u32>, PartManifest)> {
        let most = self.most_of_a_class(wanted);
        let mut places = Vec::with_capacity(wanted.min(self.records.len()));
        let mut manifest = PartManifest { classes: vec![0; self.classes], ..PartManifest::default() };
        let queue = usize::from(part == Part::GroundTruth && self.rule.levels.is_some());
        while places.len() < wanted {
            let Some(first) = self.queues[queue].peek().copied() else {
                return Err(self.too_few(part, wanted, &manifest, places.len()));
            };
            let group = self.records.group(first);
            while let Some(place) = self.queues[queue].next_if(|&place| self.records.group(place) == group) {
                if places.len() == wanted {
                    manifest.surplus += 1;
                } else if self.takes(part, place, most, &mut manifest) {
                    places.push(place);
                }
            }
        }
        places.sort_unstable();
        for &place in &places {
            self.texts.entry(self.records.print(place)).or_insert((part, place));
        }
        manifest.rows = wanted;
        manifest.groups =
            places.iter().map(|&place| self.records.group(place)).collect::<BTreeSet<_>>().len();
        manifest.shares = manifest.classes.iter().map(|&count| share(count, wanted)).collect();
        let rows = places.iter().flat_map(|&place| i64::from(place).to_le_bytes());
        manifest.digest = Key::of(&rows.collect::<Vec<_>>()).to_string();
        Ok((places, manifest))
    }

    /// Rows of the source that no part has looked at.
    fn unused(&self) -> usize {
        self.queues.iter().map(|queue| queue.len()).sum()
    }

    /// Whether the part takes a row; if not, the manifest says why.
    fn takes(&mut self, part: Part, place: u32, most: usize, manifest: &mut PartManifest) -> bool {
        let class = self.records.class(place);
        let copy_of = self.texts.get(&self.records.print(place)).copied();
        let dropped = copy_of.filter(|_| self.rule.duplicates == Duplicates::Drop);
        if let Some((earlier, row)) = dropped {
            self.duplicates.add(part, earlier, place.into(), row.into());
            manifest.duplicates += 1;
            return false;
        }
        if class.is_some_and(|class| manifest.classes[class] == most) {
            manifest.unbalanced += 1;
            return false;
        }
        // Last, so that only rows are measured that nothing else leaves out.
        if self.lengths.most.is_some() {
            match self.lengths.measured.get(&place) {
                Some(true) => {
                    manifest.over_long += 1;
                    return false;
                }
                Some(false) => {}
                None => self.unmeasured.push(place),
            }
        }
        if let Some((earlier, row)) = copy_of {
            self.duplicates.add(part, earlier, place.into(), row.into());
        }
        class.iter().for_each(|&class| manifest.classes[class] += 1);
        true
    }

    /// Rows of one class that a part of this size may have.
    fn most_of_a_class(&self, wanted: usize) -> usize {
        // The small addend keeps 0.55 * 1000 from becoming 549; rounding up keeps odd sizes possible at 0.5.
        let most = (self.rule.balance * wanted as f64 + 1e-9).floor() as usize;
        most.max(wanted.div_ceil(self.classes.max(1)))
    }

    fn too_few(&self, part: Part, wanted: usize, manifest: &PartManifest, found: usize) -> DataError {
        let rows = self.records.len();
        if rows == 0 && self.records.passed_over == 0 {
            return DataError::value(format!(
                "the split wants {wanted} rows for {part}, but the source has no rows"
            ));
        }
        let PartManifest { duplicates, unbalanced, over_long, .. } = manifest;
        let classes: Vec<_> = manifest.classes.iter().map(usize::to_string).collect();
        let of_each =
            if classes.is_empty() { String::new() } else { format!(" ({} by class)", classes.join(", ")) };
        let long = match self.lengths.most {
            Some(most) => format!(", {over_long} of more than {most} tokens"),
            None => String::new(),
        };
        let pairs = match self.records.passed_over {
            0 => String::new(),
            pairs => format!("{pairs} pairs of equal or empty texts, "),
        };
        DataError::value(format!(
            "the split wants {wanted} rows for {part}, but of the source's {rows} rows {found} are left for it{of_each}, \
             after leaving out {pairs}{duplicates} duplicates{long} and {unbalanced} for balance = {}: ask for fewer rows or \
             allow a larger balance",
            self.rule.balance
        ))
    }
}

fn share(count: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}

#[cfg(test)]
mod tests;
