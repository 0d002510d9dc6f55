//! What the command line is shown.

use std::ops::Range;

use fulcrum_common::{
    invariant::{self, Invariant},
    protocol::{StageStatus, StatusReply, Violation, WorkerStatus},
};

use crate::{
    state::{Entry, Lease, Owner, Shard, ShardState, StageState, State, Worker, WorkerState},
    tick::poison,
};

/// The state as the command line is shown it.
pub fn status(state: &State) -> StatusReply {
    StatusReply {
        run: state.run.clone(),
        phase: state.phase.word().to_owned(),
        reason: state.reason.clone(),
        stages: (0..state.stages.len()).map(|place| stage(state, place)).collect(),
        workers: state.workers.iter().map(|one| worker(state, one)).collect(),
        violations: invariant::violations().map(violation).collect(),
    }
}

fn violation((invariant, count): (Invariant, u64)) -> Violation {
    Violation { number: invariant.number().into(), name: format!("{invariant:?}"), count }
}

fn stage(state: &State, place: usize) -> StageStatus {
    let entry = &state.stages[place];
    let view = view(state, entry);
    StageStatus {
        key: entry.stage.key.to_string(),
        name: entry.stage.name.clone(),
        kind: entry.stage.spec.work.kind().to_owned(),
        state: view.word.to_owned(),
        done: view.done,
        total: view.total,
        running_ms: if view.word == "running" { state.now.saturating_sub(entry.since) } else { 0 },
        loss: view.loss,
        attempts: entry.attempts,
        message: entry.message.clone(),
        // The journal knows, and no decision rests on it.
        shard_ms: 0,
        farthest: entry.farthest,
        note: poison::note(state, place),
        answers: poison::answers(state, place),
        kept: entry.checkpoints.first().map_or(0, |newest| newest.step),
    }
}

/// What is seen of a stage's state.
struct View {
    word: &'static str,
    done: u64,
    total: u64,
    loss: f64,
}

fn view(state: &State, entry: &Entry) -> View {
    let total = entry.stage.estimate.examples;
    let word = entry.state().word();
    match entry.state() {
        StageState::Waiting | StageState::Ready | StageState::Failed => {
            View { word, done: 0, total, loss: 0.0 }
        }
        StageState::Committing(_) | StageState::Done | StageState::Cached => {
            View { word, done: total, total, loss: 0.0 }
        }
        StageState::Gang(gang) => {
            let first = gang.members.first().and_then(|seat| state.workers.get(seat));
            let progress = first.map(|worker| worker.progress).unwrap_or_default();
            // A one-off plan does not know its rows beforehand.
            let done = if total == 0 { progress.examples } else { progress.examples.min(total) };
            View { word, done, total, loss: progress.loss }
        }
        StageState::Shards(shards) => {
            let total = shards.rows();
            let done =
                shards.iter().enumerate().map(|(index, shard)| rows_done(state, shard, &shards.range(index)));
            let word = if shards.is_begun() { word } else { "ready" };
            View { word, done: done.sum(), total, loss: 0.0 }
        }
    }
}

fn rows_done(state: &State, shard: &Shard, range: &Range<u64>) -> u64 {
    let rows = range.end - range.start;
    match &shard.state {
        // What a search asks again may have been done before.
        _ if shard.asks().is_some() => 0,
        ShardState::Pending => 0,
        ShardState::Leased(leases) => {
            let done = |lease: &Lease| state.workers.get(&lease.seat).map(|worker| worker.progress.examples);
            leases.iter().filter_map(done).max().unwrap_or_default().min(rows)
        }
        ShardState::Done(_) => rows,
    }
}

fn worker(state: &State, worker: &Worker) -> WorkerStatus {
    let draining = worker.draining && worker.state() != WorkerState::Lost;
    let epoch = match worker.state() {
        WorkerState::Working(epoch) | WorkerState::Aborting(epoch) => epoch,
        WorkerState::Joining | WorkerState::Idle | WorkerState::Lost => 0,
    };
    let owner = state.owner(epoch, &worker.hello.seat);
    let name = |stage: usize| state.stages[stage].stage.name.clone();
    let world = state.gang(epoch).map_or(1, |gang| gang.members.len());
    let (stage, rank, shard) = match owner {
        Some(Owner::Rank { stage, rank }) => (name(stage), rank, None),
        Some(Owner::Shard { stage, index }) => (name(stage), 0, Some(index as u64)),
        None => (String::new(), 0, None),
    };
    WorkerStatus {
        worker: worker.hello.seat.clone(),
        incarnation: worker.hello.incarnation.clone(),
        host: worker.hello.host.clone(),
        pid: worker.hello.pid,
        state: if draining { "draining" } else { worker.state().word() }.to_owned(),
        epoch,
        heard_ms: state.now.saturating_sub(worker.heard),
        stage,
        rank: rank as u32,
        world: world as u32,
        shard,
        got_on_ms: state.now.saturating_sub(worker.moved),
        flight: None,
        device: worker.hello.device.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fulcrum_common::{invariant::uphold, plan::Plan};

    use super::*;
    use crate::Past;

    #[test]
    fn what_did_not_hold_is_shown() {
        let broken = || uphold(Invariant::ArtifactsStay, false, || "another manifest".to_owned());
        assert_eq!(std::panic::catch_unwind(broken).is_err(), cfg!(debug_assertions));
        let state = State::new("run", &Plan::default(), 1, &BTreeMap::new(), Past::default());
        let expected = Violation { number: 13, name: "ArtifactsStay".to_owned(), count: 1 };
        assert_eq!(status(&state).violations, [expected]);
    }
}
