//! The order of the stages on the screen: what runs first, then what went wrong, what comes next, what is made.

use fulcrum_common::protocol::StageStatus;

use crate::watch::Sight;

/// States in the order in which stages are listed.
const STATES: [&str; 6] = ["running", "failed", "ready", "waiting", "done", "cached"];

/// The stages, in the order of the plan within each state.
pub(super) fn ordered(sight: &Sight) -> impl Iterator<Item = &StageStatus> {
    let stages = &sight.status.stages;
    let known = STATES.iter().flat_map(move |state| stages.iter().filter(move |stage| stage.state == *state));
    known.chain(stages.iter().filter(|stage| !STATES.contains(&stage.state.as_str())))
}
