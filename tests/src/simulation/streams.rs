//! The network: streams that keep their order, delay what they carry, and break.

use fulcrum_common::protocol::{command::Command, worker_event::Event as Said};

use super::world::{Event, World};

/// One stream between a worker and a coordinator.
pub(super) struct Stream {
    pub(super) seat: usize,
    /// The coordinator's life that it leads to.
    pub(super) life: u64,
    /// When the last message in each direction arrives: none overtakes another.
    up: u64,
    down: u64,
    /// Nothing said from here on arrives.
    pub(super) broken: bool,
    /// The coordinator has closed its end.
    pub(super) closed: bool,
}

/// What arrives at the coordinator.
#[derive(Debug)]
pub(super) enum Up {
    Say(Said),
    End,
}

/// What arrives at the worker.
#[derive(Debug)]
pub(super) enum Down {
    Command(Box<Command>),
    End,
}

impl World {
    /// Opens a stream from the worker in a seat to the present coordinator.
    pub(super) fn open(&mut self, seat: usize) -> u64 {
        self.next_session += 1;
        let (life, now) = (self.coordinator.life, self.now);
        let stream = Stream { seat, life, up: now, down: now, broken: false, closed: false };
        self.streams.insert(self.next_session, stream);
        self.next_session
    }

    /// Milliseconds that a message takes to or from a seat.
    fn delay(&mut self, seat: usize) -> u64 {
        let usual = if self.rng.chance(0.02) { self.rng.below(400) } else { self.rng.below(5) };
        let cut_off = self.cut_off.get(&seat).copied().unwrap_or_default();
        usual.max(cut_off.saturating_sub(self.now))
    }

    pub(super) fn send_up(&mut self, session: u64, message: Up) {
        let Some(stream) = self.streams.get(&session) else { return };
        if stream.broken {
            return;
        }
        let at = stream.up.max(self.now + self.delay(stream.seat));
        self.streams.entry(session).and_modify(|stream| stream.up = at);
        self.at(at, Event::Up { session, message });
    }

    pub(super) fn send_down(&mut self, session: u64, message: Down) {
        let Some(stream) = self.streams.get(&session) else { return };
        if stream.broken || stream.closed {
            return;
        }
        let at = stream.down.max(self.now + self.delay(stream.seat));
        self.streams.entry(session).and_modify(|stream| stream.down = at);
        self.at(at, Event::Down { session, message });
    }

    /// Breaks a stream. Either end learns of it when its network does; `heard`: what is on its way still arrives.
    pub(super) fn cut(&mut self, session: u64, heard: bool) {
        if self.streams.get(&session).is_none_or(|stream| stream.broken) {
            return;
        }
        self.send_up(session, Up::End);
        self.send_down(session, Down::End);
        if let Some(stream) = self.streams.get_mut(&session) {
            stream.broken = true;
        }
        if !heard {
            let on_it = |event: &Event| match event {
                Event::Up { session: other, message: Up::Say(_) } => *other == session,
                Event::Down { session: other, message: Down::Command(_) } => *other == session,
                _ => false,
            };
            self.queue.retain(|_, event| !on_it(event));
        }
    }
}
