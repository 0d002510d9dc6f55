//! What is kept of a source between its two readings: some forty bytes for each example, whatever its text weighs.

use std::collections::HashMap;

use fulcrum_common::rng::Rng;

use crate::{
    error::{DataError, Result},
    format::Example,
};

/// A text as it is compared with others: two texts have the same print if they differ in case and blanks alone.
pub type Print = [u8; 16];

/// The compact record of a source. An example is named by its place, counted from 0.
#[derive(Clone, Debug, Default)]
pub struct Records {
    prints: Vec<Print>,
    labels: Option<Vec<i32>>,
    groups: Option<Groups>,
    /// How hard each is; empty where nothing is known of it.
    difficulties: Vec<f64>,
    /// Rows of the source that gave no example.
    pub passed_over: usize,
}

#[derive(Clone, Debug, Default)]
struct Groups {
    /// The group of each place.
    of: Vec<u32>,
    /// The first place of each group.
    first: Vec<u32>,
    /// Where each group stands in the seeded order.
    ranks: Vec<u64>,
    /// By a digest of the value that its examples have in common.
    by_value: HashMap<Print, u32>,
}

impl Records {
    /// Reads a source once. `labelled` and `grouped` say what every example carries.
    ///
    /// # Errors
    /// The first error of the source.
    pub fn collect(
        examples: impl Iterator<Item = Result<Example>>,
        (labelled, grouped): (bool, bool),
        seed: u64,
    ) -> Result<Self> {
        let mut records = Self {
            prints: Vec::new(),
            labels: labelled.then(Vec::new),
            groups: grouped.then(Groups::default),
            difficulties: Vec::new(),
            passed_over: 0,
        };
        let mut folded = String::new();
        for example in examples {
            records.push(&example?, seed, &mut folded)?;
        }
        Ok(records)
    }

    fn push(&mut self, example: &Example, seed: u64, folded: &mut String) -> Result<()> {
        let place = u32::try_from(self.len())
            .map_err(|_| DataError::value(format!("more than {} examples are not split", u32::MAX)))?;
        let mut own = |text| {
            fold(example.prompt.as_deref().unwrap_or_default(), text, folded);
            print(folded.as_bytes())
        };
        self.prints.push(match &example.other {
            None => own(&example.text),
            Some(other) => {
                // Which text of a pair is the first is chance: a copy may have them the other way around.
                let mut both = [own(&example.text), own(other)];
                both.sort_unstable();
                print(both.as_flattened())
            }
        });
        let lacks = |what| DataError::value(format!("example {place} has no {what}, but others do"));
        if let Some(labels) = &mut self.labels {
            labels.push(example.label.ok_or_else(|| lacks("label"))?);
        }
        self.difficulties.extend(example.difficulty);
        if let Some(groups) = &mut self.groups {
            groups.push(place, example.group.as_deref().ok_or_else(|| lacks("group"))?, seed);
        }
        Ok(())
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.prints.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.prints.is_empty()
    }

    /// How many groups there are; as many as examples where they are not grouped.
    pub fn group_count(&self) -> usize {
        self.groups.as_ref().map_or(self.len(), |groups| groups.first.len())
    }

    /// How many classes there are; 0 without labels.
    pub fn classes(&self) -> usize {
        self.labels.iter().flatten().max().map_or(0, |&label| label as usize + 1)
    }

    /// The class of an example.
    pub fn class(&self, place: u32) -> Option<usize> {
        self.labels.as_ref().map(|labels| labels[place as usize] as usize)
    }

    /// The text of an example, as it is compared.
    pub fn print(&self, place: u32) -> Print {
        self.prints[place as usize]
    }

    /// How hard an example is, where that is known.
    pub fn difficulty(&self, place: u32) -> Option<f64> {
        self.difficulties.get(place as usize).copied()
    }

    /// The group of an example: the place of the group's first; its own where examples are not grouped.
    pub fn group(&self, place: u32) -> u32 {
        self.groups.as_ref().map_or(place, |groups| groups.first[groups.of[place as usize] as usize])
    }

    /// The places in the seeded order, group after group. The order depends on the seed and on the place of an example,
    /// or on the value that a group has in common, and on nothing else.
    pub fn order(&self, seed: u64) -> Vec<u32> {
        let rank = |place: u32| Rng::new(seed, "split row", place.into()).next_u64();
        let mut places: Vec<u32> = (0..self.len() as u32).collect();
        // Equal ranks, should they ever meet, leave the order of the source.
        match &self.groups {
            None => places.sort_by_cached_key(|&place| (rank(place), place)),
            Some(groups) => places.sort_by_cached_key(|&place| {
                let group = groups.of[place as usize];
                (groups.ranks[group as usize], group, rank(place), place)
            }),
        }
        places
    }
}

impl Groups {
    fn push(&mut self, place: u32, value: &str, seed: u64) {
        let group = *self.by_value.entry(print(value.as_bytes())).or_insert_with(|| {
            self.first.push(place);
            self.ranks.push(Rng::new(seed, &format!("split group {value}"), 0).next_u64());
            self.first.len() as u32 - 1
        });
        self.of.push(group);
    }
}

/// Prompt and text as they are compared: in lower case, with one blank for every run of white space.
fn fold(prompt: &str, text: &str, folded: &mut String) {
    folded.clear();
    let mut gap = false;
    for c in prompt.chars().chain(text.chars()) {
        if c.is_whitespace() {
            gap = !folded.is_empty();
            continue;
        }
        if std::mem::take(&mut gap) {
            folded.push(' ');
        }
        folded.extend(c.to_lowercase());
    }
}

/// Half a BLAKE3: of a billion texts, no two different ones meet.
fn print(text: &[u8]) -> Print {
    let mut print = Print::default();
    print.copy_from_slice(&blake3::hash(text).as_bytes()[..16]);
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_white_space_are_folded_and_nothing_else() {
        let folded = |prompt: &str, text: &str| {
            let mut folded = String::new();
            fold(prompt, text, &mut folded);
            folded
        };
        for (prompt, text) in [("", " A\tlong  LEVER\n"), ("a long", " lever"), ("A ", "\u{a0}long lever")] {
            assert_eq!(folded(prompt, text), "a long lever");
        }
        assert_eq!(folded("", "ÇA, VA!"), "ça, va!");
        assert_ne!(print(folded("", "a lever.").as_bytes()), print(folded("", "a lever").as_bytes()));
    }

    #[test]
    fn a_pair_is_the_same_either_way_around_and_neither_of_its_texts() {
        let example = |prompt: &str, text: &str, other: Option<&str>| {
            let (prompt, other) = (Some(prompt.to_owned()), other.map(str::to_owned));
            Ok(Example {
                prompt,
                text: text.to_owned(),
                other,
                label: None,
                group: None,
                difficulty: None,
                position: None,
            })
        };
        let pairs = [
            example("Q", "yes", Some("no")),
            example("q", "NO", Some("yes")),
            example("Q", "yes", None),
            example("Q", "yes", Some("maybe")),
            example("P", "yes", Some("no")),
        ];
        let records = Records::collect(pairs.into_iter(), (false, false), 0).unwrap();
        let first = records.print(0);
        assert_eq!([1, 2, 3, 4].map(|place| records.print(place) == first), [true, false, false, false]);
    }
}
