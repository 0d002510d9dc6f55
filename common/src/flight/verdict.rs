//! The verdict: who waits for whom, where, since how long. A pure function of what a coordinator, or the dumps of a run,
//! know of the workers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Activity, gang,
    words::{list, milliseconds},
};
use crate::protocol::{Flight, StageStatus, StatusReply, WorkerStatus};

/// Milliseconds without a heartbeat after which a worker counts as silent: five of them.
pub(super) const SILENT: u64 = 1_000;

/// Milliseconds without a step, or in a wait, after which something is worth a word.
pub(super) const GETS_ON: u64 = 1_500;

/// A shard that takes so many times as long as half of them did is slow.
const SLOW: u64 = 3;

/// What is to be said of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// One line.
    pub verdict: String,
    /// Of other stages under way.
    pub more: Vec<String>,
    /// Everybody who works, by stage and rank.
    pub ranks: Vec<Row>,
}

/// A worker and what it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the stage.
    pub stage: String,
    /// "rank 1 of 4", "shard 7".
    pub place: String,
    /// Its seat.
    pub worker: String,
    /// Its machine.
    pub host: String,
    /// The step of a training.
    pub step: Option<u64>,
    /// A word of [`Activity`].
    pub phase: String,
    /// For how long, in milliseconds.
    pub ms: u64,
    /// The last operation with others.
    pub collective: String,
}

/// What is found out about one stage.
pub(super) struct Finding {
    pub(super) line: String,
    /// Whether something does not get on.
    pub(super) held_up: bool,
    /// For how long, in milliseconds.
    pub(super) ms: u64,
}

/// What is to be said of what a run does, in plain words. Whatever is held up longest comes first.
pub fn verdict(reply: &StatusReply) -> Verdict {
    let mut stages: BTreeMap<&str, Vec<&WorkerStatus>> = BTreeMap::new();
    for worker in reply.workers.iter().filter(|worker| !worker.stage.is_empty()) {
        stages.entry(&worker.stage).or_default().push(worker);
    }
    let mut findings = Vec::new();
    for (stage, members) in &mut stages {
        members.sort_by_key(|member| (member.shard, member.rank));
        findings.push(match members.iter().any(|member| member.shard.is_some()) {
            true => shards(stage, members, &reply.stages),
            false => gang::find(stage, members),
        });
    }
    let working = !findings.is_empty();
    let said = findings.iter().any(|finding| reply.reason.contains(&finding.line));
    if reply.phase == "running" && !reply.reason.is_empty() && !said {
        findings.push(Finding { line: format!("waiting: {}", reply.reason), held_up: !working, ms: 0 });
    }
    findings.sort_by_key(|finding| std::cmp::Reverse((finding.held_up, finding.ms)));
    let mut lines = findings.into_iter().map(|finding| finding.line);
    let verdict = lines.next().unwrap_or_else(|| nobody_works(reply));
    let ranks = stages.values().flatten().map(|worker| row(worker)).collect();
    Verdict { verdict, more: lines.collect(), ranks }
}

/// Of a run in which no worker has work.
fn nobody_works(reply: &StatusReply) -> String {
    let reason = if reply.reason.is_empty() { String::new() } else { format!(": {}", reply.reason) };
    if reply.phase != "running" {
        return format!("{} is {}{reason}", reply.run, reply.phase);
    }
    let of = |state: &str| {
        let names = reply.stages.iter().filter(|stage| stage.state == state).map(|stage| stage.name.clone());
        names.take(4).collect::<Vec<_>>()
    };
    let here = reply.workers.iter().filter(|worker| worker.state != "lost").count();
    match (of("running"), of("ready")) {
        (running, _) if !running.is_empty() => format!("{} is on its way into the store", list(&running)),
        (_, ready) if !ready.is_empty() => format!("{} waits for workers: {here} are here", list(&ready)),
        _ => format!("nobody works, and nothing is ready: {here} workers are here"),
    }
}

/// Which shard is out with whom, since how long.
fn shards(stage: &str, members: &[&WorkerStatus], stages: &[StageStatus]) -> Finding {
    let usual = stages.iter().find(|one| one.name == stage).map_or(0, |one| one.shard_ms);
    let span =
        |member: &&&WorkerStatus| member.flight.as_ref().map_or(0, |flight| since(member, flight.working_ms));
    let Some(longest) = members.iter().max_by_key(span) else {
        return Finding { line: format!("{stage}: nobody works on it"), held_up: true, ms: 0 };
    };
    let ms = span(&longest);
    let shard = longest.shard.map_or_else(String::new, |shard| format!(" {shard}"));
    let who = format!(
        "shard{shard} is out with worker {} on {} for {}",
        longest.worker,
        longest.host,
        milliseconds(ms)
    );
    let silent = longest.heard_ms >= SILENT;
    let slow = ms >= GETS_ON && usual > 0 && ms >= SLOW * usual;
    let stands = longest.got_on_ms >= GETS_ON;
    let against = match usual {
        0 => "and none is finished to compare with".to_owned(),
        usual => format!("and half of the finished ones took {} at most", milliseconds(usual)),
    };
    let doing = match (silent, stands || slow) {
        (true, _) => format!("; it has not been heard of for {}", milliseconds(longest.heard_ms)),
        (false, true) => format!("; it {}", phrase(longest)),
        (false, false) => String::new(),
    };
    let state = if silent || slow || stands { "" } else { "it gets on, " };
    Finding {
        line: format!("{stage}: {state}{who}, {against}{doing}"),
        held_up: silent || slow || stands,
        ms,
    }
}

fn row(worker: &WorkerStatus) -> Row {
    let flight = worker.flight.clone().unwrap_or_default();
    let place = match worker.shard {
        Some(shard) => format!("shard {shard}"),
        None => format!("rank {} of {}", worker.rank, worker.world),
    };
    let last = flight.groups.iter().find(|group| group.begun > 0);
    let collective = match (&flight.waits, last) {
        (Some(call), _) => {
            let span = milliseconds(since(worker, call.ms));
            format!("waits in {} {} ({}) for {span}", call.operation, call.sequence, call.group)
        }
        (None, Some(group)) => format!("{} of {} ended ({})", group.ended, group.begun, group.name),
        (None, None) => String::new(),
    };
    Row {
        stage: worker.stage.clone(),
        place,
        worker: worker.worker.clone(),
        host: worker.host.clone(),
        step: activity(&flight).is_of_a_step().then_some(flight.step),
        phase: flight.doing.clone(),
        ms: since(worker, flight.doing_ms),
        collective,
    }
}

/// What a worker is doing, as far as this version knows the word.
pub(super) fn activity(flight: &Flight) -> Activity {
    Activity::named(&flight.doing).unwrap_or(Activity::Work)
}

/// What was so many milliseconds ago at the last heartbeat, now.
pub(super) fn since(worker: &WorkerStatus, ms: u64) -> u64 {
    ms.saturating_add(worker.heard_ms)
}

/// "has been in backward for 12.4 s".
pub(super) fn phrase(worker: &WorkerStatus) -> String {
    let Some(flight) = &worker.flight else { return "has not said what it does".to_owned() };
    let span = milliseconds(since(worker, flight.doing_ms));
    let memory =
        if flight.out_of_memory { "ran out of memory in this step, tries smaller slots and " } else { "" };
    format!("{memory}has been {} for {span}", activity(flight).told())
}

#[cfg(test)]
mod tests;
