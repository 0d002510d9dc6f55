//! What a member must know to meet the others.

use std::time::Duration;

use crate::Interface;

/// Who a member is and how it reaches the others.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gang's name in the store; a new one for every gang that meets there.
    pub name: String,
    /// This member's number, from 0.
    pub rank: usize,
    /// The number of members.
    pub world: usize,
    /// Where this member's connections go through.
    pub interface: Interface,
    /// Longest time to meet, and for one operation.
    pub timeout: Duration,
}

impl Options {
    /// The error of a member whose peers do not come.
    pub(crate) fn missed(&self, reason: impl ToString) -> crate::Error {
        let others = self.world.saturating_sub(1);
        crate::Error::Meet { rank: self.rank, others, reason: reason.to_string() }
    }
}
