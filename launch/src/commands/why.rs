//! `fulcrum status --why`: who waits for whom in a run, where, and since how long; from its coordinator or, where none
//! runs, from what its workers left.

use std::time::Duration;

use anyhow::Result;
use comfy_table::Cell;
use fulcrum_common::{
    flight::{
        dump::{self, Header},
        duration,
        verdict::{Row, Verdict, verdict},
    },
    protocol::{StatusReply, WorkerStatus},
};
use fulcrum_coordinator::{Broken, Story};

use super::{print, status};
use crate::{
    run_folder::RunFolder,
    table::{number, table},
};

/// Prints the verdict.
///
/// # Errors
/// If there is no such run.
pub(super) async fn run(folder: &RunFolder, json: bool) -> Result<()> {
    let found = match status::live(folder).await {
        Some(reply) => verdict(&with_shards(folder, reply)),
        None => {
            let broken = Story::open(folder.path())?.map(|story| story.broken()).transpose()?.flatten();
            at_rest(&status::at_rest(folder).await?, broken, dump::latest(folder.path())?)
        }
    };
    print(&if json { format!("{}\n", serde_json::to_string_pretty(&found)?) } else { text(&found) })
}

/// The reply, with what finished shards took. A journal that cannot be read now costs no more than that.
fn with_shards(folder: &RunFolder, mut reply: StatusReply) -> StatusReply {
    let shards = Story::open(folder.path()).and_then(|story| story.map(|story| story.shards()).transpose());
    match shards {
        Ok(shards) => {
            for stage in &mut reply.stages {
                stage.shard_ms =
                    shards.iter().flatten().find(|(name, _)| **name == stage.name).map_or(0, |it| *it.1);
            }
        }
        Err(error) => tracing::warn!("nothing to compare shards with: {error}"),
    }
    reply
}

/// What is to be said of a run that nobody serves: how it is, and what went wrong last.
fn at_rest(reply: &StatusReply, broken: Option<Broken>, left: Vec<Header>) -> Verdict {
    let Verdict { verdict: state, .. } = verdict(reply);
    let ended = |it: &Broken| {
        let Broken { epoch, stage, members, outcome, reason } = it;
        format!("epoch {epoch} of {stage:?} on {} is {outcome}: {reason}", members.join(", "))
    };
    let last = left.first().map(|header| header.epoch);
    let is_newer = |it: &Broken| last.is_none_or(|epoch| it.epoch > epoch);
    let newer =
        broken.as_ref().filter(|it| is_newer(it)).map(|it| format!("{}; it left no record", ended(it)));
    let left: Vec<WorkerStatus> = left.into_iter().map(worker).collect();
    let found = (!left.is_empty()).then(|| {
        verdict(&StatusReply { workers: left, phase: "running".to_owned(), ..StatusReply::default() })
    });
    let (was, ranks) =
        found.map_or((None, Vec::new()), |it| (Some(format!("then {}", it.verdict)), it.ranks));
    let older = broken.as_ref().filter(|it| !is_newer(it)).map(ended);
    let story = newer.into_iter().chain(older).chain(was).collect();
    Verdict { verdict: state, more: story, ranks }
}

/// A worker as it was when it left its dump.
fn worker(header: Header) -> WorkerStatus {
    WorkerStatus {
        worker: header.worker,
        host: header.host,
        pid: header.pid,
        epoch: header.epoch,
        stage: header.stage,
        rank: header.rank,
        world: header.world,
        shard: header.shard,
        got_on_ms: header.flight.doing_ms,
        flight: Some(header.flight),
        ..WorkerStatus::default()
    }
}

fn text(found: &Verdict) -> String {
    let mut text = format!("{}\n", found.verdict);
    found.more.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    if !found.ranks.is_empty() {
        let mut ranks =
            table(["stage", "who", "worker", "host", "step", "phase", "since", "last collective"]);
        for Row { stage, place, worker, host, step, phase, ms, collective } in &found.ranks {
            ranks.add_row([
                Cell::new(stage),
                Cell::new(place),
                Cell::new(worker),
                Cell::new(host),
                number(step.map_or_else(String::new, |step| step.to_string())),
                Cell::new(phase),
                number(duration(Duration::from_millis(*ms))),
                Cell::new(collective),
            ]);
        }
        text.push_str(&format!("\n{ranks}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use fulcrum_common::protocol::{Flight, FlightCall, FlightGroup};

    use super::*;

    fn rest() -> StatusReply {
        let (run, phase) = ("tiny".to_owned(), "not running".to_owned());
        StatusReply { run, phase, reason: "`fulcrum run tiny.toml` goes on".into(), ..StatusReply::default() }
    }

    fn left() -> Header {
        let groups = vec![FlightGroup { name: "all".into(), begun: 318, ended: 317 }];
        let waits = FlightCall {
            group: "all".into(),
            sequence: 318,
            operation: "all-reduce".into(),
            bytes: 8,
            ms: 200,
        };
        let flight = Flight {
            doing: "communication".into(),
            step: 41,
            groups,
            waits: Some(waits),
            ..Flight::default()
        };
        let (worker, stage) = ("w0".to_owned(), "student".to_owned());
        Header { worker, stage, epoch: 7, world: 2, flight, ..Header::default() }
    }

    fn broken(epoch: u64) -> Broken {
        Broken {
            epoch,
            stage: "student".into(),
            members: vec!["w0".into(), "w1".into()],
            outcome: "lost".into(),
            reason: "w1 is silent".into(),
        }
    }

    #[test]
    fn a_run_that_is_over_tells_what_went_wrong_last_and_who_is_missing() {
        let found = at_rest(&rest(), Some(broken(7)), vec![left()]);
        assert_eq!(found.verdict, "tiny is not running: `fulcrum run tiny.toml` goes on");
        let lines = [
            "epoch 7 of \"student\" on w0, w1 is lost: w1 is silent",
            "then student step 41: rank 0 waits in all-reduce 318 of 8 B for rank 1, which is not there",
        ];
        assert_eq!(found.more, lines);
        let text = text(&found);
        assert!(text.starts_with(&format!("{}\n{}\n", found.verdict, lines[0])), "{text}");
        assert!(text.contains("waits in all-reduce 318 (all) for 0.2 s"), "{text}");
    }

    #[test]
    fn a_record_of_an_earlier_epoch_is_not_taken_for_that_of_the_last() {
        let found = at_rest(&rest(), Some(broken(9)), vec![left()]);
        assert!(found.more[0].ends_with("w1 is silent; it left no record"), "{:?}", found.more);
        assert_eq!(at_rest(&rest(), None, Vec::new()).more, Vec::<String>::new());
    }
}
