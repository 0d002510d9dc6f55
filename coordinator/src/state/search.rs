//! The search for the rows of a shard that cannot be computed: what is asked next, and what follows from an answer.
//!
//! A question is a range of rows; its answer is whether they can be computed, all others of the shard left out. The first
//! is a range of none: where even that fails, it is not the rows. Then single rows, spread over the shard: where all
//! fail alike, and for good, it is not some of them either. Then ranges that are known not to be fine are halved, the
//! first half first, down to single rows. A row is found once it failed, by itself, [`STRIKES`] times, or once for good.

use std::{collections::BTreeMap, ops::Range};

use serde::{Deserialize, Serialize};

/// Failures of a row alone that condemn it, where another attempt could go well.
pub(crate) const STRIKES: u32 = 3;

/// Shards of fewer rows are halved at once: single rows spread over them would be all of them.
const WORTH_PROBING: u64 = 4;

/// A search, under way or over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// What is asked, the next last.
    questions: Vec<Question>,
    /// Failures of the row that is asked for.
    strikes: u32,
    /// Rows that cannot be computed, by position.
    found: BTreeMap<u64, Poison>,
    /// How many of them an earlier search of these rows had found.
    before: usize,
    /// Questions that were answered.
    answers: u64,
}

/// A row that cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poison {
    /// Its number in its source, where the worker could tell.
    pub row: Option<i64>,
    /// How it fails, one line.
    pub why: String,
}

/// Something asked of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Question {
    /// Whether no rows can be computed.
    Nothing,
    /// Whether this row can, to learn whether any can.
    Probe(u64),
    /// Whether these can.
    Rows(Range<u64>, Known),
}

/// What is known of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Known {
    /// Nothing.
    Open,
    /// It is not fine if the question before it is answered well: the two together were not.
    Rest,
    /// It is not fine.
    Bad,
}

/// What a failure in the rows that were asked for tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    /// The row and how it failed.
    pub(crate) poison: Poison,
    /// Another attempt would fail the same way.
    pub(crate) surely: bool,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next question is asked.
    Further,
    /// There are no more: what is found is all there is.
    Over,
    /// No row can be computed, and all for the same reason.
    AllAlike,
}

impl Search {
    /// A search among these rows, those aside that an earlier one found. `probe`: nothing shows yet that any row can be
    /// computed.
    pub(crate) fn begin(rows: Range<u64>, before: Option<&Self>, probe: bool) -> Self {
        let Self { found, answers, .. } = before.cloned().unwrap_or_default();
        let middle = rows.start + (rows.end - rows.start) / 2;
        let mut questions = vec![Question::Rows(rows.clone(), Known::Bad)];
        if probe && rows.end - rows.start >= WORTH_PROBING && found.is_empty() {
            questions.extend([rows.end - 1, middle, rows.start].map(Question::Probe));
        }
        questions.push(Question::Nothing);
        Self { questions, strikes: 0, before: found.len(), found, answers }
    }

    /// The rows that are to be tried next; none once the search is over.
    pub(crate) fn asks(&self) -> Option<Range<u64>> {
        Some(match self.questions.last()? {
            Question::Nothing => 0..0,
            Question::Probe(row) => *row..row + 1,
            Question::Rows(rows, _) => rows.clone(),
        })
    }

    /// Whether it is over and has found nothing: another one would not either.
    pub(crate) fn is_vain(&self) -> bool {
        self.questions.is_empty() && self.found.len() == self.before
    }

    /// Rows that cannot be computed, by position.
    pub fn found(&self) -> &BTreeMap<u64, Poison> {
        &self.found
    }

    /// Questions that were answered.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// The rows that were asked for can be computed.
    pub(crate) fn fine(&mut self) -> Verdict {
        self.answers += 1;
        match self.questions.pop() {
            Some(Question::Probe(_)) => self.stop_probing(),
            Some(Question::Rows(..)) => {
                if let Some(Question::Rows(_, known @ Known::Rest)) = self.questions.last_mut() {
                    *known = Known::Bad;
                }
            }
            Some(Question::Nothing) | None => {}
        }
        self.advance()
    }

    /// The rows that were asked for failed.
    pub(crate) fn failed(&mut self, strike: Strike) -> Verdict {
        self.answers += 1;
        let Strike { poison, surely } = strike;
        match self.questions.pop() {
            Some(Question::Probe(row)) => {
                if surely {
                    self.found.insert(row, poison);
                    // What is left may be fine.
                    if let Some(Question::Rows(_, known)) = self.questions.first_mut() {
                        *known = Known::Open;
                    }
                    if self.is_alike() {
                        return Verdict::AllAlike;
                    }
                } else {
                    self.stop_probing();
                }
            }
            Some(Question::Rows(rows, known)) => {
                let alone = rows.end - rows.start == 1;
                self.strikes += 1;
                if alone && !surely && self.strikes < STRIKES {
                    self.questions.push(Question::Rows(rows, known));
                    return Verdict::Further;
                }
                if let Some(Question::Rows(_, known @ Known::Rest)) = self.questions.last_mut() {
                    *known = Known::Open;
                }
                if alone {
                    self.found.insert(rows.start, poison);
                } else {
                    self.questions.push(Question::Rows(rows, Known::Bad));
                }
            }
            Some(Question::Nothing) | None => {}
        }
        self.advance()
    }

    /// Whether all probes failed, and with the same words.
    fn is_alike(&self) -> bool {
        let mut words = self.found.values().map(|poison| &poison.why);
        let first = words.next();
        matches!(self.questions.last(), Some(Question::Rows(..)))
            && words.len() == 2
            && words.all(|why| Some(why) == first)
    }

    fn stop_probing(&mut self) {
        self.questions.retain(|question| !matches!(question, Question::Probe(_)));
    }

    /// Goes on to a question that has not been answered by what is known.
    fn advance(&mut self) -> Verdict {
        self.strikes = 0;
        while let Some(question) = self.questions.pop() {
            match question {
                Question::Rows(rows, _) if rows.clone().all(|row| self.found.contains_key(&row)) => {}
                Question::Rows(Range { start, end }, Known::Bad) if end - start > 1 => {
                    let middle = start + (end - start) / 2;
                    self.questions.push(Question::Rows(middle..end, Known::Rest));
                    self.questions.push(Question::Rows(start..middle, Known::Open));
                }
                question => {
                    self.questions.push(question);
                    return Verdict::Further;
                }
            }
        }
        Verdict::Over
    }
}

#[cfg(test)]
mod tests;
