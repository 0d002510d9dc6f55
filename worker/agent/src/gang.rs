//! How a member finds the others of its gang, and its groups in it.

use std::{sync::Arc, time::Duration};

use fulcrum_collective::{
    Collective, Error, Gloo, Interface, Nccl, Options, Recorded, Solo, Store as Meeting,
};
use fulcrum_common::{
    exit,
    plan::{Strategy, Work},
};
use fulcrum_methods::Gang;

use crate::{
    attempt::Attempt,
    device::Device,
    engine::{Fault, Task},
};

/// How long a rank waits to hear where its gang meets.
const MEETING: Duration = Duration::from_secs(60);

/// How long one operation of a gang may take. The coordinator calls a gang with a lost member off within seconds;
/// this is for what it cannot see.
const OPERATION: Duration = Duration::from_secs(300);

/// This rank's end of its gang, shared as the stage's strategy says. A stage that is no training has no use for more
/// than the gang itself.
///
/// # Errors
/// If not all members come, or the strategy does not fit their number.
pub(crate) fn gather(task: &Task, attempt: &Arc<Attempt>, device: Device) -> Result<Gang, Fault> {
    let strategy = match &task.stage.spec.work {
        Work::Train(train) => train.strategy,
        _ => Strategy::Data,
    };
    let place = (task.rank, task.world);
    check(strategy, task.world)?;
    let meeting = if task.world == 1 { None } else { Some(meet(task, attempt)?) };
    spread(strategy, place, |group, (rank, world)| {
        let name = format!("epoch-{}/{group}", task.epoch);
        let interface = Interface::Address(attempt.host);
        let Some(meeting) = &meeting else { return Ok(Arc::new(Solo::new()) as _) };
        let joined = join(meeting, &Options { name, rank, world, interface, timeout: OPERATION }, device)?;
        let brake = Arc::downgrade(&joined);
        attempt.on_cancel(move |call| {
            if let Some(group) = brake.upgrade() {
                group.abort(&call.reason);
            }
        });
        Ok(Arc::new(Recorded::new(joined, Arc::clone(&attempt.recorder), group)) as _)
    })
}

/// Whether a gang of so many can share a training so.
///
/// # Errors
/// If groups do not divide it.
pub(crate) fn check(strategy: Strategy, world: usize) -> Result<(), Fault> {
    match strategy {
        Strategy::Hybrid { shards } if shards == 0 || !world.is_multiple_of(shards) => {
            let what = format!("a gang of {world} workers has no groups of {shards}");
            Err(Fault::fatal(format!("{what}: set parallel.workers to a multiple"), exit::MISMATCH))
        }
        _ => Ok(()),
    }
}

/// A gang, shared as the strategy says, from the place of this member in it, its rank of so many. `meet` joins the group
/// of that name under a place in it.
///
/// # Errors
/// Those of `meet`.
pub(crate) fn spread(
    strategy: Strategy,
    (rank, world): (usize, usize),
    meet: impl Fn(&str, (usize, usize)) -> Result<Arc<dyn Collective>, Fault>,
) -> Result<Gang, Fault> {
    let group = |name: &str, rank, world| match world {
        1 => Ok(Arc::new(Solo::new()) as _),
        _ => meet(name, (rank, world)),
    };
    let all = group("all", rank, world)?;
    Ok(match strategy {
        Strategy::Data => Gang::data(all),
        Strategy::Zero1 => Gang::zero1(all),
        Strategy::Sharded => Gang::sharded(all),
        Strategy::Hybrid { shards } => {
            let (row, column) = (rank / shards, rank % shards);
            let of_row = group(&format!("shards {row}"), column, shards)?;
            let of_column = group(&format!("copies {column}"), row, world / shards)?;
            Gang::hybrid(all, of_row, of_column).map_err(|error| Fault::fatal(error, exit::MISMATCH))?
        }
    })
}

/// Where the members meet: rank 0 opens it, and the others hear of it.
fn meet(task: &Task, attempt: &Attempt) -> Result<Meeting, Fault> {
    if task.rank == 0 {
        let meeting = Meeting::serve(attempt.host, OPERATION).map_err(Fault::membership)?;
        attempt.announce(meeting.address());
        return Ok(meeting);
    }
    let address = attempt.meeting(MEETING).map_err(Fault::membership)?;
    Meeting::connect(address, MEETING).map_err(Fault::membership)
}

/// A group's way to talk: over NCCL between GPUs, over Gloo else.
///
/// # Errors
/// If not all members come, or this machine has no NCCL.
pub(crate) fn join(
    meeting: &Meeting,
    options: &Options,
    device: Device,
) -> Result<Arc<dyn Collective>, Fault> {
    let group: Result<Arc<dyn Collective>, _> = match device {
        Device::Cpu => Gloo::new(meeting, options).map(|group| Arc::new(group) as _),
        Device::Cuda(ordinal) => Nccl::new(meeting, options, ordinal).map(|group| Arc::new(group) as _),
    };
    group.map_err(|error| match error {
        Error::NoNccl(_) => Fault::fatal(error, exit::MISMATCH),
        error => Fault::membership(error),
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::Ipv4Addr, thread};

    use fulcrum_collective::Reduction;
    use fulcrum_common::{
        duty::Call,
        plan::{Estimate, Spec, Stage},
        protocol::worker_event::Event,
    };
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;

    fn attempt() -> (Arc<Attempt>, mpsc::UnboundedReceiver<Event>) {
        let (events, said) = mpsc::unbounded_channel();
        (Attempt::new(5, Ipv4Addr::LOCALHOST.into(), events), said)
    }

    /// A rank's task in a training under a strategy.
    fn task(strategy: serde_json::Value, rank: usize, world: usize) -> Task {
        let optimizer = json!({"passes": 1, "batch": 4, "micro_batch": 1, "learning_rate": 0.1,
            "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "clip": null});
        let head = json!({"head": "language_model", "init": "normal", "readout": null});
        let train = json!({"part": "corpus", "head": head, "trainable": "all", "lora": null,
            "objective": "language_model", "optimizer": optimizer, "strategy": strategy, "seed": 0});
        let work = serde_json::from_value(json!({ "train": train })).unwrap();
        let spec = Spec { work, inputs: BTreeMap::new() };
        let (key, name) = (spec.key(), "train".to_owned());
        let stage = Stage {
            key,
            name,
            spec,
            locations: BTreeMap::new(),
            estimate: Estimate::default(),
            workers: None,
        };
        Task {
            epoch: 5,
            stage,
            rank,
            world,
            shard: None,
            skip: vec![],
            trial: None,
            inputs: BTreeMap::new(),
            checkpoints: None,
        }
    }

    /// What every rank of a gang of `world` comes to.
    fn on_gang<R: Send>(
        strategy: &serde_json::Value,
        world: usize,
        member: impl Fn(Gang, &Attempt) -> R + Sync,
    ) -> Vec<R> {
        let attempts: Vec<_> = (0..world).map(|_| attempt()).collect();
        let (attempts, mut said): (Vec<_>, Vec<_>) = attempts.into_iter().unzip();
        thread::scope(|scope| {
            let ranks = attempts.iter().enumerate().map(|(rank, attempt)| {
                let (task, member) = (task(strategy.clone(), rank, world), &member);
                scope.spawn(move || member(gather(&task, attempt, Device::Cpu).unwrap(), attempt))
            });
            let ranks: Vec<_> = ranks.collect();
            let Some(Event::Rendezvous(meet)) = said[0].blocking_recv() else { panic!("no meeting place") };
            attempts[1..].iter().for_each(|attempt| attempt.meet_at(meet.address.parse().unwrap()));
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    #[test]
    fn ranks_meet_where_rank_0_says_and_break_when_called_off() {
        for strategy in [json!("data"), json!("zero1"), json!("sharded"), json!({"hybrid": {"shards": 2}})] {
            let broke = on_gang(&strategy, 4, |gang, attempt| {
                let sum = tch::Tensor::from(gang.all().rank() as f64);
                gang.all().all_reduce(&sum, Reduction::Sum).unwrap().wait().unwrap();
                assert_eq!(sum.double_value(&[]), 6.0);
                if gang.all().rank() == 0 {
                    attempt.cancel(&Call::because("a peer is gone"));
                }
                let waits = gang.all().all_reduce(&sum, Reduction::Sum);
                waits.and_then(fulcrum_collective::Handle::wait).is_err()
            });
            assert_eq!(broke, [true; 4], "{strategy}");
        }
    }

    #[test]
    fn groups_that_do_not_divide_the_gang_are_refused() {
        let strategy = json!({"hybrid": {"shards": 2}});
        let fault = gather(&task(strategy, 0, 3), &attempt().0, Device::Cpu).unwrap_err();
        assert!(!fault.retry && fault.message.contains("3 workers has no groups of 2"), "{}", fault.message);
    }
}
