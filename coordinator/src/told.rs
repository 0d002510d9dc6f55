//! Which reasons are news. Where nothing is recorded nothing has changed, and the same reason is no news then.

use std::collections::HashSet;

/// Reasons that are remembered; a caller who makes up more of them is told them again.
const MEMORY: usize = 1024;

/// What was said since something was last recorded.
#[derive(Debug, Default)]
pub(crate) struct Told {
    since: HashSet<String>,
}

impl Told {
    /// The reasons that are news, in their order. `recorded`: they come with a change of what is known.
    pub(crate) fn news(&mut self, mut reasons: Vec<String>, recorded: bool) -> Vec<String> {
        if recorded || self.since.len() >= MEMORY {
            self.since.clear();
        }
        reasons.retain(|reason| self.since.insert(reason.clone()));
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(told: &mut Told, reason: &str, recorded: bool) -> bool {
        !told.news(vec![reason.to_owned()], recorded).is_empty()
    }

    #[test]
    fn a_reason_is_told_once_until_something_changes() {
        let mut told = Told::default();
        for (reason, recorded, new) in [
            ("w0 waits", false, true),
            ("w0 waits", false, false),
            ("w1 waits", false, true),
            ("w0 waits", false, false),
            ("w1 left", true, true),
            ("w0 waits", false, true),
            ("w0 waits", true, true),
        ] {
            assert_eq!(news(&mut told, reason, recorded), new, "{reason}, recorded: {recorded}");
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut told = Told::default();
        for index in 0..10 * MEMORY {
            assert!(news(&mut told, &index.to_string(), false));
            assert!(told.since.len() <= MEMORY);
        }
    }
}
