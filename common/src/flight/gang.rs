//! Who waits for whom in a gang.

use std::collections::BTreeSet;

use super::{
    Activity,
    verdict::{Finding, GETS_ON, SILENT, activity, phrase, since},
    words::{bytes, list, milliseconds, ranks},
};
use crate::protocol::{Flight, FlightCall, WorkerStatus};

/// What is to be said of the gang of a stage, from what is known of its members.
pub(super) fn find(stage: &str, members: &[&WorkerStatus]) -> Finding {
    let gang = Gang { members, place: place(stage, members) };
    let found = [Gang::missing, Gang::silent, Gang::contradiction, Gang::late, Gang::network, Gang::meeting];
    found.into_iter().find_map(|find| find(&gang)).unwrap_or_else(|| gang.computes())
}

struct Gang<'a> {
    members: &'a [&'a WorkerStatus],
    /// Stage and step.
    place: String,
}

/// An operation that a member waits for.
struct Wait<'a> {
    member: &'a WorkerStatus,
    call: &'a FlightCall,
}

fn place(stage: &str, members: &[&WorkerStatus]) -> String {
    let steps = members.iter().filter_map(|member| member.flight.as_ref());
    let steps = steps.filter(|flight| activity(flight).is_of_a_step()).map(|flight| flight.step);
    steps.max().map_or_else(|| stage.to_owned(), |step| format!("{stage} step {step}"))
}

/// "rank 1 (worker w1 on node-1)".
fn named(member: &WorkerStatus) -> String {
    format!("rank {} (worker {} on {})", member.rank, member.worker, member.host)
}

fn numbers<'a>(members: impl IntoIterator<Item = &'a WorkerStatus>) -> Vec<u32> {
    members.into_iter().map(|member| member.rank).collect()
}

/// "all-reduce 318 of 1.2 MB", and of which group where it is not all of the gang.
fn told(call: &FlightCall) -> String {
    let group = if call.group == "all" { String::new() } else { format!(" in group {:?}", call.group) };
    let size = if call.bytes == 0 { String::new() } else { format!(" of {}", bytes(call.bytes)) };
    format!("{} {}{size}{group}", call.operation, call.sequence)
}

impl Gang<'_> {
    fn waits(&self) -> Vec<Wait<'_>> {
        let wait = |member| Some(Wait { member, call: flight_of(member)?.waits.as_ref()? });
        self.members.iter().copied().filter_map(wait).collect()
    }

    /// "ranks 0 and 2 wait in all-reduce 318 of 1.2 MB", for the waits that are told; the others' are not.
    fn told(&self, waits: &[&Wait<'_>]) -> String {
        let Some(first) = waits.iter().min_by_key(|wait| wait.call.sequence) else { return String::new() };
        let same = waits.iter().filter(|wait| wait.call.group == first.call.group).map(|wait| wait.member);
        let same = numbers(same);
        let verb = if same.len() == 1 { "waits" } else { "wait" };
        format!("{} {verb} in {}", ranks(&same), told(first.call))
    }

    /// The finding that everybody waits for these.
    fn held_up(&self, by: &[String], ms: u64) -> Finding {
        let waits = self.waits();
        let waits: Vec<&Wait<'_>> = waits.iter().collect();
        let waiters = match self.told(&waits) {
            waiters if waiters.is_empty() => "the gang waits".to_owned(),
            waiters => waiters,
        };
        Finding { line: format!("{}: {waiters} for {}", self.place, list(by)), held_up: true, ms }
    }

    /// Members of whom nothing is known.
    fn missing(&self) -> Option<Finding> {
        let world = self.members.first()?.world;
        let here: BTreeSet<u32> = self.members.iter().map(|member| member.rank).collect();
        let missing: Vec<u32> = (0..world).filter(|rank| !here.contains(rank)).collect();
        let pronoun = if missing.len() == 1 { "which is not there" } else { "which are not there" };
        (!missing.is_empty()).then(|| self.held_up(&[format!("{}, {pronoun}", ranks(&missing))], u64::MAX))
    }

    /// Members that say nothing any more.
    fn silent(&self) -> Option<Finding> {
        let silent = self.members.iter().filter(|member| member.heard_ms >= SILENT);
        let told = |member: &&&WorkerStatus| {
            let (who, span) = (named(member), milliseconds(member.heard_ms));
            format!("{who}, which has not been heard of for {span}")
        };
        let ms = silent.clone().map(|member| member.heard_ms).max()?;
        Some(self.held_up(&silent.map(|member| told(&member)).collect::<Vec<_>>(), ms))
    }

    /// Members that are in the same operation by number and in another by name or size.
    fn contradiction(&self) -> Option<Finding> {
        let waits = self.waits();
        let differ = |a: &FlightCall, b: &FlightCall| {
            (&a.group, a.sequence) == (&b.group, b.sequence)
                && (&a.operation, a.bytes) != (&b.operation, b.bytes)
        };
        let pair = waits.iter().enumerate().find_map(|(at, one)| {
            waits[at + 1..].iter().find(|other| differ(one.call, other.call)).map(|other| (one, other))
        });
        let (one, other) = pair?;
        let is_in = |wait: &Wait<'_>| format!("{} is in {}", named(wait.member), told(wait.call));
        let what = format!("{} and {}", is_in(one), is_in(other));
        let line = format!("{}: the ranks contradict each other: {what}", self.place);
        Some(Finding { line, held_up: true, ms: since(one.member, one.call.ms) })
    }

    /// Members that have not begun what others wait for.
    fn late(&self) -> Option<Finding> {
        let waits = self.waits();
        let lacks = |flight: &Flight, call: &FlightCall| {
            flight.groups.iter().any(|group| group.name == call.group && group.begun < call.sequence)
        };
        let holds_up = |member: &WorkerStatus| {
            let flight = member.flight.as_ref();
            waits.iter().any(|wait| flight.is_some_and(|flight| lacks(flight, wait.call)))
        };
        let late: Vec<&WorkerStatus> =
            self.members.iter().copied().filter(|member| holds_up(member)).collect();
        let waits_too = |member: &WorkerStatus| waits.iter().any(|wait| wait.member.rank == member.rank);
        let (waiting, computing): (Vec<&WorkerStatus>, Vec<&WorkerStatus>) =
            late.iter().copied().partition(|member| waits_too(member));
        let ms = waits.iter().map(|wait| since(wait.member, wait.call.ms)).max()?;
        if late.is_empty() || (self.gets_on() && ms < GETS_ON) {
            return None;
        }
        if computing.is_empty() {
            let each = waits.iter().filter(|wait| waiting.iter().any(|it| it.rank == wait.member.rank));
            let each: Vec<String> =
                each.map(|wait| format!("{} in {}", named(wait.member), told(wait.call))).collect();
            let line = format!("{}: the ranks wait for each other: {}", self.place, list(&each));
            return Some(Finding { line, held_up: true, ms });
        }
        let by: Vec<String> =
            computing.iter().map(|member| format!("{}, which {}", named(member), phrase(member))).collect();
        Some(self.held_up(&by, ms))
    }

    /// Everybody has begun what is waited for, and it does not end.
    fn network(&self) -> Option<Finding> {
        let waits = self.waits();
        let longest = waits.iter().max_by_key(|wait| since(wait.member, wait.call.ms))?;
        let ms = since(longest.member, longest.call.ms);
        if self.gets_on() && ms < GETS_ON {
            return None;
        }
        let same: Vec<&Wait<'_>> =
            waits.iter().filter(|wait| wait.call.group == longest.call.group).collect();
        let hosts: BTreeSet<&str> = self.members.iter().map(|member| member.host.as_str()).collect();
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let network = match hosts.len() {
            1 => format!("what lies between the processes on {}", hosts[0]),
            _ => format!("the network between {}", list(&hosts)),
        };
        let (waiters, span) = (self.told(&same), milliseconds(ms));
        let line =
            format!("{}: {waiters} for {span}, and every rank has begun it: it is {network}", self.place);
        Some(Finding { line, held_up: true, ms })
    }

    /// Members that wait until the others come to the meeting.
    fn meeting(&self) -> Option<Finding> {
        let meets = |member: &&WorkerStatus| {
            flight_of(member).is_some_and(|flight| activity(flight) == Activity::Meeting)
        };
        let (waiting, others): (Vec<&WorkerStatus>, Vec<&WorkerStatus>) =
            self.members.iter().copied().partition(meets);
        let ms = waiting.iter().map(|member| doing(member)).max()?;
        let has_met =
            |member: &WorkerStatus| member.flight.as_ref().is_some_and(|flight| !flight.groups.is_empty());
        let late: Vec<String> = (others.iter().filter(|member| !has_met(member)))
            .map(|member| format!("{}, which {}", named(member), phrase(member)))
            .collect();
        let (who, verb) =
            (ranks(&numbers(waiting.iter().copied())), if waiting.len() == 1 { "waits" } else { "wait" });
        let what = match late.is_empty() {
            true => format!("for {} to meet, and nobody is missing: it is the network", milliseconds(ms)),
            false => format!("to meet {}", list(&late)),
        };
        Some(Finding { line: format!("{}: {who} {verb} {what}", self.place), held_up: ms >= GETS_ON, ms })
    }

    /// Nobody waits for anybody.
    fn computes(&self) -> Finding {
        let Some(longest) = self.members.iter().max_by_key(|member| doing(member)) else {
            return Finding { line: format!("{}: its gang is empty", self.place), held_up: true, ms: 0 };
        };
        let ms = doing(longest);
        if self.gets_on() || ms < GETS_ON {
            let ago = self.members.iter().map(|member| member.got_on_ms).min().unwrap_or_default();
            let line = format!("{}: it gets on, last {} ago", self.place, milliseconds(ago));
            return Finding { line, held_up: false, ms: ago };
        }
        let line = format!("{}: {} {}, and nobody waits", self.place, named(longest), phrase(longest));
        Finding { line, held_up: true, ms }
    }

    fn gets_on(&self) -> bool {
        self.members.iter().any(|member| member.got_on_ms < GETS_ON)
    }
}

fn flight_of(member: &WorkerStatus) -> Option<&Flight> {
    member.flight.as_ref()
}

/// For how long a member has been doing what it does.
fn doing(member: &WorkerStatus) -> u64 {
    member.flight.as_ref().map_or(0, |flight| since(member, flight.doing_ms))
}
