//! Which colour a weak supervisor has, the same in every plot and table.

use fulcrum_common::results::{Model, Results};

/// The style sheet knows colours 1 to this; 0 is ink.
pub(super) const COLOURS: usize = 8;

/// Colours of the weak supervisors in the order of the ladder.
#[derive(Debug)]
pub(super) struct Colours(Vec<String>);

impl Colours {
    /// Gives every weak supervisor a colour.
    pub(super) fn new(results: &Results) -> Self {
        let is_weak = |name: &str| results.summary.iter().any(|summary| summary.weak == name);
        Self(results.ladder.iter().map(|model| &model.name).filter(|name| is_weak(name)).cloned().collect())
    }

    /// The number of the colour of the supervisor `weak`.
    pub(super) fn of(&self, weak: &str) -> usize {
        self.0.iter().position(|name| name == weak).map_or(0, |i| i % COLOURS + 1)
    }

    /// Names and colours, weakest first.
    pub(super) fn legend<'a>(&self, results: &'a Results) -> Vec<(&'a str, usize)> {
        let colour = |model: &'a Model| (model.name.as_str(), self.of(&model.name));
        results.ladder.iter().map(colour).filter(|&(_, colour)| colour > 0).collect()
    }
}
