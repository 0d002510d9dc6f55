//! What holds of every decision, whatever it is about: epochs begin in order, are recorded before they are told, and end
//! once.

use fulcrum_common::{
    invariant::{Invariant, uphold},
    protocol::command::Command,
};

use crate::{
    action::{Action, Decisions, Record},
    state::State,
};

/// Checks what was decided.
pub(super) fn examine(state: &mut State, out: &Decisions) {
    for action in &out.actions {
        match action {
            Action::Record(Record::EpochBegan { epoch, .. }) => {
                let last = state.last_epoch;
                uphold(Invariant::EpochsGrow, *epoch > last, || format!("{epoch} comes after {last}"));
                state.last_epoch = *epoch;
                state.open.insert(*epoch);
            }
            Action::Record(Record::EpochEnded { epoch, outcome, .. }) => {
                let under_way = state.open.remove(epoch);
                uphold(Invariant::EndsOnce, under_way, || {
                    format!("epoch {epoch} is {outcome}, and was over")
                });
            }
            Action::Send { command: Command::Assignment(work), .. } => {
                uphold(Invariant::RecordedBeforeTold, state.open.contains(&work.epoch), || {
                    format!("epoch {} is told and not recorded", work.epoch)
                });
            }
            _ => {}
        }
    }
}
