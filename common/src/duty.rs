//! What a worker does about what it hears, as a pure state machine: no clock, no network, no threads. The worker's
//! control task runs it, and so does the simulator.

use crate::{
    exit,
    protocol::{Abort, Assignment, Failed, Rendezvous, command::Command, worker_event::Event},
};

/// Milliseconds that the engine may take to come back from an assignment that was called off.
pub const ABORT_PATIENCE_MS: u64 = 1_000;

/// An assignment as its worker has read it.
pub trait Work: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What is told where it cannot be done.
    fn read(assignment: Assignment) -> Result<Self, Failed>;

    /// Its epoch.
    fn epoch(&self) -> u64;

    /// Whether it keeps checkpoints, so that it can end in good order.
    fn keeps(&self) -> bool;
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Act<W> {
    /// Tell the coordinator. Where that fails, [`Duty::unsaid`] is to hear of it.
    Say(Event),
    /// Begin to say, every so many milliseconds, that this worker lives.
    Pulse(u32),
    /// Hand the work to the engine.
    Start(W),
    /// Call off what the engine does.
    CallOff(Call),
    /// Ask what the engine does to keep a checkpoint and end.
    Finish,
    /// The gang under way meets there.
    Meet(String),
    /// The checkpoint after so many steps of the gang under way is committed.
    Committed(u64),
    /// Say goodbye and end the process with this code.
    Leave(i32),
    /// End the process with this code.
    Exit(i32),
}

/// Why work is called off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// In words.
    pub reason: String,
    /// Whether that is because it does not get on. If it does not come back then, what it was at is to blame.
    pub stalled: bool,
}

impl Call {
    /// Called off for something else than the work itself.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), stalled: false }
    }
}

/// What a worker is at, and what it owes. Times are in milliseconds of one clock.
#[derive(Clone, Debug)]
pub struct Duty<W> {
    /// What the engine does: its epoch, and whether it keeps checkpoints.
    at: Option<(u64, bool)>,
    /// The assignment after one that was called off and has not come back yet.
    next: Option<W>,
    /// Ends of assignments that could not be told.
    untold: Vec<Event>,
    /// The exit code, once the worker is to leave as soon as it is free.
    leaving: Option<i32>,
    /// When the engine must have come back.
    due: Option<u64>,
    /// When a training that leaves is called off.
    grace: Option<u64>,
    /// Since when there is neither a coordinator nor work.
    alone: u64,
    connected: bool,
}

impl<W: Work> Duty<W> {
    /// A worker that begins.
    pub fn new(now: u64) -> Self {
        let (at, next, untold, leaving) = (None, None, Vec::new(), None);
        Self { at, next, untold, leaving, due: None, grace: None, alone: now, connected: false }
    }

    /// The epoch that the engine is at.
    pub fn epoch(&self) -> Option<u64> {
        self.at.map(|(epoch, _)| epoch)
    }

    /// When [`Duty::wake`] is to be called, at the latest.
    pub fn wakes(&self) -> Option<u64> {
        self.due.into_iter().chain(self.grace).min()
    }

    /// Whether something could not be told: its stream is of no more use.
    pub fn owes(&self) -> bool {
        !self.untold.is_empty()
    }

    /// A stream is open and hello was said. What the last one was not told comes first, then where the gang under way
    /// meets, if this is its rank 0.
    pub fn connected(&mut self, announced: Option<Rendezvous>) -> Vec<Act<W>> {
        self.connected = true;
        let mut acts: Vec<_> = std::mem::take(&mut self.untold).into_iter().map(Act::Say).collect();
        acts.extend(announced.map(|meeting| Act::Say(Event::Rendezvous(meeting))));
        self.rest(acts)
    }

    /// The stream is over. The coordinator has taken back what the engine had not begun.
    pub fn lost(&mut self, now: u64) -> Vec<Act<W>> {
        (self.connected, self.next, self.alone) = (false, None, now);
        self.rest(Vec::new())
    }

    /// Something could not be said.
    pub fn unsaid(&mut self, event: Event) {
        self.untold.push(event);
    }

    /// The coordinator says something.
    pub fn hear(&mut self, now: u64, command: Command) -> Vec<Act<W>> {
        let mut acts = Vec::new();
        match command {
            Command::Welcome(welcome) => acts.push(Act::Pulse(welcome.heartbeat_ms.clamp(10, 10_000))),
            Command::Refused(_) => acts.push(Act::Exit(exit::MISMATCH)),
            Command::Assignment(assignment) => self.take(assignment, &mut acts),
            Command::Rendezvous(meet) if self.epoch() == Some(meet.epoch) => {
                acts.push(Act::Meet(meet.address));
            }
            Command::Committed(it) if self.epoch() == Some(it.epoch) => acts.push(Act::Committed(it.step)),
            Command::Rendezvous(_) | Command::Committed(_) => {}
            Command::Abort(abort) => {
                if let Some(next) = self.next.take_if(|next| next.epoch() == abort.epoch) {
                    self.say(given_up(next.epoch(), "called off before it began"), &mut acts);
                }
                let Abort { epoch, reason, stalled } = abort;
                self.call_off(now, Some(epoch), Call { reason, stalled }, &mut acts);
            }
            Command::Drain(drain) => {
                self.leaving.get_or_insert(if drain.stopped { exit::STOPPED } else { exit::DONE });
                acts.extend(self.at.map(|_| Act::Finish));
            }
        }
        self.rest(acts)
    }

    /// The engine, or a part of it, says something: [`Event::Done`] or [`Event::Failed`] where it has come back.
    pub fn report(&mut self, now: u64, event: Event) -> Vec<Act<W>> {
        let mut acts = Vec::new();
        let back = ends(&event).is_some();
        self.say(event, &mut acts);
        if back {
            (self.due, self.grace, self.alone) = (None, None, now);
            if let (Some(work), true) = (self.next.take(), self.connected) {
                self.start(work, &mut acts);
            }
        }
        self.rest(acts)
    }

    /// The process has been asked to end. A training finishes its step and keeps a checkpoint, if it comes to that
    /// within `grace`; other work is given up, for what is finished is in the store. Asked again, so is the training.
    pub fn terminate(&mut self, now: u64, grace: u64) -> Vec<Act<W>> {
        let mut acts = Vec::new();
        let again = self.leaving.replace(exit::PREEMPTED) == Some(exit::PREEMPTED);
        if let Some(next) = self.next.take() {
            self.say(given_up(next.epoch(), "its worker was asked to terminate"), &mut acts);
        }
        match self.at {
            Some((_, true)) if !again => {
                acts.push(Act::Finish);
                self.grace.get_or_insert(now.saturating_add(grace));
            }
            _ => self.call_off(now, None, Call::because("the worker was asked to terminate"), &mut acts),
        }
        self.rest(acts)
    }

    /// Time has passed. `patience`: how long an idle worker stays without a coordinator.
    pub fn wake(&mut self, now: u64, patience: u64) -> Vec<Act<W>> {
        let mut acts = Vec::new();
        if self.due.is_some_and(|due| due <= now) {
            acts.push(Act::Exit(exit::MEMBERSHIP));
            return acts;
        }
        if self.grace.is_some_and(|grace| grace <= now) {
            self.call_off(now, None, Call::because("the grace is over"), &mut acts);
        }
        let alone = !self.connected && self.at.is_none() && self.leaving.is_none();
        if alone && now.saturating_sub(self.alone) >= patience {
            acts.push(Act::Exit(exit::NO_PROGRESS));
        }
        self.rest(acts)
    }

    /// Takes an assignment: now, or when the engine has come back from the one before.
    fn take(&mut self, assignment: Assignment, acts: &mut Vec<Act<W>>) {
        match W::read(assignment) {
            Err(failed) => self.say(Event::Failed(failed), acts),
            Ok(work) if self.at.is_some() => self.next = Some(work),
            Ok(work) => self.start(work, acts),
        }
    }

    fn start(&mut self, work: W, acts: &mut Vec<Act<W>>) {
        self.at = Some((work.epoch(), work.keeps()));
        acts.push(Act::Start(work));
    }

    /// Calls off what is under way, if it is of that epoch.
    fn call_off(&mut self, now: u64, epoch: Option<u64>, call: Call, acts: &mut Vec<Act<W>>) {
        self.grace = None;
        let Some((current, _)) = self.at else { return };
        if epoch.is_none_or(|epoch| epoch == current) && self.due.is_none() {
            self.due = Some(now.saturating_add(ABORT_PATIENCE_MS));
            acts.push(Act::CallOff(call));
        }
    }

    /// Says something now, or when there is a coordinator again. The end of an assignment frees the worker.
    fn say(&mut self, event: Event, acts: &mut Vec<Act<W>>) {
        if self.at.is_some() && self.epoch() == ends(&event) {
            self.at = None;
        }
        if self.connected { acts.push(Act::Say(event)) } else { self.untold.push(event) }
    }

    /// Who is to leave does so once it is free.
    fn rest(&self, mut acts: Vec<Act<W>>) -> Vec<Act<W>> {
        if let (Some(code), None) = (self.leaving, self.at) {
            acts.push(if self.connected { Act::Leave(code) } else { Act::Exit(code) });
        }
        acts
    }
}

/// The epoch whose end this tells.
fn ends(event: &Event) -> Option<u64> {
    match event {
        Event::Done(done) => Some(done.epoch),
        Event::Failed(failed) => Some(failed.epoch),
        _ => None,
    }
}

/// What is said of an assignment that was not begun.
fn given_up(epoch: u64, reason: &str) -> Event {
    let message = reason.to_owned();
    Event::Failed(Failed { epoch, message, retry: true, membership: true, ..Failed::default() })
}

#[cfg(test)]
mod tests;
