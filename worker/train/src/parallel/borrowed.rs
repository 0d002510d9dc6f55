//! The weights of a segment, and the place of its gradient, for as long as a rank computes with them.
//!
//! What is trained and what is frozen lie in buffers of their own: the latter has no gradients.

use fulcrum_collective::Handle;
use fulcrum_torch_shim::{clear_gradient, set_gradient};
use tch::{Device, Kind, Tensor};

use super::{Begin, Gang, Own};
use crate::{
    Error,
    clock::{Clock, Phase},
};

/// Whole segments of weights that are this rank's own in part.
#[derive(Debug)]
pub(super) struct Borrowed {
    parameters: Vec<Tensor>,
    shapes: Vec<Vec<i64>>,
    compute: Kind,
    device: Device,
    gang: Gang,
    /// On its way to this rank.
    coming: Option<Coming>,
    /// What parameters are views of, by segment.
    held: Vec<Option<Tensor>>,
    spare: Spare,
}

/// The weights of a segment, being gathered.
#[derive(Debug)]
struct Coming {
    segment: usize,
    weights: Tensor,
    handle: Handle,
    _mine: Tensor,
}

/// Buffers that nobody uses now. Blocks are of one size, so that a few serve all of them; an allocator
/// would keep more between what else comes and goes.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Tensor>);

impl Spare {
    /// One of them, or a new one. What it holds is meaningless.
    fn take(&mut self, length: usize, options: (Kind, Device)) -> Result<Tensor, Error> {
        let fits = |buffer: &Tensor| buffer.numel() == length && buffer.kind() == options.0;
        Ok(match self.0.iter().position(fits) {
            Some(at) => self.0.swap_remove(at),
            None => Tensor::f_empty([length as i64], options)?,
        })
    }

    fn give(&mut self, buffer: Tensor) {
        self.0.push(buffer);
    }
}

impl Borrowed {
    /// Brings this rank's share of the parameters into its own buffers. One after the other, and each leaves its old place
    /// at once: no rank ever has the whole model.
    pub(super) fn taken(
        parameters: Vec<Tensor>,
        begin: Begin<'_>,
        own: &mut Own,
        compute: Kind,
        device: Device,
        gang: Gang,
    ) -> Result<Self, Error> {
        for segment in &own.layout.segments {
            let length = own.layout.own(segment).len() as i64;
            own.weights.push(Tensor::f_zeros([length], (Kind::Float, device))?);
        }
        let borrowed = Self::new(parameters, compute, device, gang, own);
        let fragments = own.layout.fragments(own.rank);
        for at in 0..borrowed.parameters.len() {
            let beginning = begin(at)?.f_reshape(-1)?;
            for fragment in fragments.iter().filter(|fragment| fragment.parameter == at) {
                let (from, length) = (fragment.numbers.start as i64, fragment.numbers.len() as i64);
                own.weights_of(fragment)?.f_copy_(&beginning.f_narrow(0, from, length)?)?;
            }
            borrowed.leave(at)?;
        }
        Ok(borrowed)
    }

    fn new(parameters: Vec<Tensor>, compute: Kind, device: Device, gang: Gang, own: &Own) -> Self {
        let shapes = parameters.iter().map(Tensor::size).collect();
        let held = own.layout.segments.iter().map(|_| None).collect();
        Self { parameters, shapes, compute, device, gang, coming: None, held, spare: Spare::default() }
    }

    /// Takes the weights of a parameter, and the place of its gradient.
    fn leave(&self, at: usize) -> Result<(), Error> {
        if self.parameters[at].requires_grad() {
            clear_gradient(&self.parameters[at])?;
        }
        let nothing = Tensor::f_empty([0], (self.compute, self.device))?;
        self.parameters[at].shallow_clone().set_data(&nothing);
        Ok(())
    }

    /// Sends for the weights of a segment, in this type.
    fn send_for(&mut self, own: &Own, segment: usize, kind: Kind) -> Result<Coming, Error> {
        let _guard = tch::no_grad_guard();
        let length = own.layout.segments[segment].range.len();
        let mine = own.weights[segment].f_to_kind(kind)?;
        let weights = self.spare.take(length, (kind, self.device))?;
        let handle = self.gang.shards().all_gather(&weights, &mine)?;
        Ok(Coming { segment, weights, handle, _mine: mine })
    }

    /// Waits for the weights of a segment, makes the parameters views of them, and sends for those of the `next`.
    /// What was done before was `phase`.
    pub(super) fn gather(
        &mut self,
        own: &Own,
        segment: usize,
        next: Option<usize>,
        phase: Phase,
        clock: &mut Clock<'_>,
    ) -> Result<(), Error> {
        let has_any = |segment: usize| !own.layout.segments[segment].members.is_empty();
        if !has_any(segment) {
            return Ok(());
        }
        clock.lap(phase);
        let Coming { weights, handle, .. } = match self.coming.take() {
            Some(coming) if coming.segment == segment => coming,
            _ => self.send_for(own, segment, self.compute)?,
        };
        handle.wait()?;
        clock.lap(Phase::Communication);
        self.hand_out(own, segment, weights)?;
        let next = next.filter(|&next| self.gang.overlaps() && has_any(next));
        self.coming = next.map(|next| self.send_for(own, next, self.compute)).transpose()?;
        Ok(())
    }

    /// Makes the parameters of a segment views of its weights, in f32, to stay.
    pub(super) fn settle(&mut self, own: &Own, segment: usize) -> Result<(), Error> {
        self.spare = Spare::default();
        let Coming { weights, handle, .. } = self.send_for(own, segment, Kind::Float)?;
        handle.wait()?;
        self.hand_out(own, segment, weights)
    }

    fn hand_out(&mut self, own: &Own, segment: usize, weights: Tensor) -> Result<(), Error> {
        for (parameter, view) in self.views(own, segment, &weights) {
            self.parameters[parameter].shallow_clone().set_data(&view?);
        }
        self.held[segment] = Some(weights);
        Ok(())
    }

    /// Its part of a segment's buffer for every parameter in it, in the parameter's shape.
    fn views<'s>(
        &'s self,
        own: &'s Own,
        segment: usize,
        buffer: &'s Tensor,
    ) -> impl Iterator<Item = (usize, Result<Tensor, Error>)> + 's {
        let begin = own.layout.segments[segment].range.start;
        own.layout.segments[segment].members.iter().map(move |&parameter| {
            let place = &own.layout.places[parameter];
            let part = buffer.narrow(0, (place.start - begin) as i64, place.length as i64);
            (parameter, part.f_view(self.shapes[parameter].as_slice()).map_err(Error::from))
        })
    }

    /// Lets the weights of a segment go, and the place of their gradients.
    pub(super) fn release(&mut self, own: &Own, segment: usize) -> Result<(), Error> {
        own.layout.segments[segment].members.iter().try_for_each(|&parameter| self.leave(parameter))?;
        self.held[segment].take().into_iter().for_each(|weights| self.spare.give(weights));
        Ok(())
    }

    /// A buffer in which the backward pass adds up the gradient of a segment.
    pub(super) fn slot(&mut self, own: &Own, segment: usize) -> Result<Tensor, Error> {
        let length = own.layout.segments[segment].range.len();
        let mut slot = self.spare.take(length, (self.compute, self.device))?;
        let _ = tch::no_grad(|| slot.f_zero_())?;
        for (parameter, view) in self.views(own, segment, &slot) {
            set_gradient(&self.parameters[parameter], &view?)?;
        }
        Ok(slot)
    }

    /// Takes a buffer back that was a slot.
    pub(super) fn give(&mut self, slot: Tensor) {
        self.spare.give(slot);
    }
}
