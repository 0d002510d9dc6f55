//! The recorder: a ring of the last entries, and where the rank is now.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Activity;
use crate::protocol;

/// Entries that are kept.
pub const RING: usize = 256;

/// Groups of members that are told apart; of a training there are three at most.
const GROUPS: usize = 4;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, since the recorder was made.
    pub at: Duration,
    /// The step of a training, from 0.
    pub step: u64,
    /// The slot of the rank's share of the step, from 0.
    pub slot: u32,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The rank began to do something else.
    Does(Activity),
    /// It came to a moment of an operation with others.
    Call(Moment, Call),
    /// Its memory did not hold a slot.
    OutOfMemory,
}

/// A moment of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// It was handed over; the rank goes on.
    Begun,
    /// The rank waits for it.
    Awaited,
    /// It is complete.
    Ended,
    /// It failed.
    Failed,
}

/// An operation with the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The group, as [`Recorder::join`] numbered it.
    pub group: usize,
    /// Its number in the group, from 1; the same on every member.
    pub sequence: u64,
    /// What it is.
    pub operation: &'static str,
    /// Bytes of this member's tensor.
    pub bytes: u64,
}

/// What one rank did last, in one assignment. Any thread may write.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    ring: Vec<Entry>,
    /// Entries that were ever written.
    written: usize,
    doing: Activity,
    since: Duration,
    step: u64,
    slot: u32,
    /// The step in which memory ran out last.
    out_of_memory: Option<u64>,
    groups: Vec<Group>,
    waits: Option<(Call, Duration)>,
}

#[derive(Debug)]
struct Group {
    name: String,
    begun: u64,
    ended: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        let inner = Inner {
            ring: Vec::with_capacity(RING),
            written: 0,
            doing: Activity::default(),
            since: Duration::ZERO,
            step: 0,
            slot: 0,
            out_of_memory: None,
            groups: Vec::with_capacity(GROUPS),
            waits: None,
        };
        Self { began: Instant::now(), inner: Mutex::new(inner) }
    }
}

impl Recorder {
    /// The rank does something from now on, in that step and slot.
    pub fn does(&self, doing: Activity, step: u64, slot: u32) {
        let at = self.began.elapsed();
        let mut inner = self.lock();
        (inner.doing, inner.since, inner.step, inner.slot) = (doing, at, step, slot);
        inner.write(at, What::Does(doing));
    }

    /// The rank's memory did not hold the slot that it is in.
    pub fn ran_out_of_memory(&self) {
        let at = self.began.elapsed();
        let mut inner = self.lock();
        inner.out_of_memory = Some(inner.step);
        inner.write(at, What::OutOfMemory);
    }

    /// A number for a group that the rank is a member of. Those beyond the fourth are taken for the fourth.
    pub fn join(&self, name: &str) -> usize {
        let mut inner = self.lock();
        if inner.groups.len() < GROUPS {
            inner.groups.push(Group { name: name.to_owned(), begun: 0, ended: 0 });
        }
        inner.groups.len() - 1
    }

    /// An operation of a group begins; nothing is waited for yet.
    pub fn begins(&self, group: usize, operation: &'static str, bytes: u64) -> Call {
        let at = self.began.elapsed();
        let mut inner = self.lock();
        let begun = inner.groups.get_mut(group).map(|it| &mut it.begun);
        let sequence = begun.map_or(0, |begun| {
            *begun += 1;
            *begun
        });
        let call = Call { group, sequence, operation, bytes };
        inner.write(at, What::Call(Moment::Begun, call));
        call
    }

    /// The rank waits for an operation.
    pub fn awaits(&self, call: Call) {
        let at = self.began.elapsed();
        let mut inner = self.lock();
        inner.waits = Some((call, at));
        inner.write(at, What::Call(Moment::Awaited, call));
    }

    /// An operation that was waited for is over, well or not.
    pub fn ends(&self, call: Call, well: bool) {
        let at = self.began.elapsed();
        let mut inner = self.lock();
        if inner.waits.is_some_and(|(waits, _)| waits == call) {
            inner.waits = None;
        }
        if let Some(group) = inner.groups.get_mut(call.group).filter(|_| well) {
            group.ended = group.ended.max(call.sequence);
        }
        inner.write(at, What::Call(if well { Moment::Ended } else { Moment::Failed }, call));
    }

    /// Where the rank is now.
    pub fn view(&self) -> protocol::Flight {
        let now = self.began.elapsed();
        let inner = self.lock();
        let ms = |since: Duration| millis(now.saturating_sub(since));
        let name = |group: usize| inner.groups.get(group).map(|it| it.name.clone()).unwrap_or_default();
        protocol::Flight {
            doing: inner.doing.word().to_owned(),
            doing_ms: ms(inner.since),
            step: inner.step,
            slot: inner.slot,
            out_of_memory: inner.out_of_memory == Some(inner.step),
            working_ms: millis(now),
            groups: (inner.groups.iter())
                .map(|Group { name, begun, ended }| protocol::FlightGroup {
                    name: name.clone(),
                    begun: *begun,
                    ended: *ended,
                })
                .collect(),
            waits: inner.waits.map(|(Call { group, sequence, operation, bytes }, since)| {
                protocol::FlightCall {
                    group: name(group),
                    sequence,
                    operation: operation.to_owned(),
                    bytes,
                    ms: ms(since),
                }
            }),
        }
    }

    /// What is in the ring, the oldest first, and names of groups by number.
    pub fn entries(&self) -> (Vec<Entry>, Vec<String>) {
        let inner = self.lock();
        let oldest = if inner.ring.len() < RING { 0 } else { inner.written % RING };
        let entries = inner.ring[oldest..].iter().chain(&inner.ring[..oldest]).copied().collect();
        (entries, inner.groups.iter().map(|group| group.name.clone()).collect())
    }

    /// How long ago it was made.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// A panic elsewhere leaves nothing half done in here.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, at: Duration, what: What) {
        let entry = Entry { at, step: self.step, slot: self.slot, what };
        match self.ring.get_mut(self.written % RING) {
            Some(place) => *place = entry,
            None => self.ring.push(entry),
        }
        self.written += 1;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_tells_the_operation_that_is_waited_for_and_what_is_done() {
        let recorder = Recorder::default();
        let all = recorder.join("all");
        recorder.does(Activity::Backward, 41, 1);
        let calls = [0, 1].map(|_| recorder.begins(all, "all-reduce", 8));
        recorder.awaits(calls[0]);
        recorder.ends(calls[0], true);
        recorder.awaits(calls[1]);
        let view = recorder.view();
        assert_eq!((view.doing.as_str(), view.step, view.slot), ("backward", 41, 1));
        assert_eq!((view.groups[0].begun, view.groups[0].ended), (2, 1));
        let waits = view.waits.unwrap();
        assert_eq!(
            (waits.group.as_str(), waits.sequence, waits.operation.as_str()),
            ("all", 2, "all-reduce")
        );
        recorder.ends(calls[1], false);
        let view = recorder.view();
        assert_eq!((view.waits, view.groups[0].ended), (None, 1), "what failed has not ended");
    }

    #[test]
    fn memory_that_ran_out_is_told_until_the_next_step() {
        let recorder = Recorder::default();
        recorder.does(Activity::Forward, 3, 0);
        recorder.ran_out_of_memory();
        recorder.does(Activity::Data, 3, 0);
        assert!(recorder.view().out_of_memory);
        recorder.does(Activity::Data, 4, 0);
        assert!(!recorder.view().out_of_memory);
    }

    #[test]
    fn the_ring_keeps_the_last_entries_in_their_order_and_never_grows() {
        let recorder = Recorder::default();
        let room = recorder.lock().ring.capacity();
        for step in 0..1000 {
            recorder.does(Activity::Data, step, 0);
        }
        let (entries, _) = recorder.entries();
        assert_eq!(entries.len(), RING);
        assert!(entries.iter().map(|entry| entry.step).eq(1000 - RING as u64..1000));
        assert!(entries.is_sorted_by_key(|entry| entry.at));
        assert_eq!(recorder.lock().ring.capacity(), room, "nothing is allocated on the way");
    }

    #[test]
    fn groups_beyond_those_there_is_room_for_share_the_last() {
        let recorder = Recorder::default();
        assert_eq!(["a", "b", "c", "d", "e"].map(|name| recorder.join(name)), [0, 1, 2, 3, 3]);
        assert_eq!(recorder.begins(9, "barrier", 0).sequence, 0);
    }
}
