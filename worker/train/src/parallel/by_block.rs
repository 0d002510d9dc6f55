//! Weights come and go block by block (Zhao et al. 2023, section 3; activations as in Chen et al. 2016).
//!
//! A rank owns a share of every segment: the weights, their gradient, what the optimizer remembers. The forward pass
//! gathers a block, keeps what the block reads, and lets its weights go. The backward pass gathers it again, computes it
//! again, and reduce-scatters its gradient. The next segment is on its way while the one at hand is computed. What is
//! outside of the blocks stays from the beginning of a pass to its end.
//!
//! Every rank gathers and reduces the same segments in the same order. One without a slot, or whose memory is
//! used up, takes part without computing.
//!
//! Shape suffixes: b rows, t tokens, d residual width.

use fulcrum_collective::{Handle, Reduction};
use fulcrum_models::Model;
use fulcrum_torch_shim::{clear_gradient, set_gradient};
use tch::{Kind, Tensor};

use super::{
    Engine, Gang, Layout, Loss, Own, Passed, Share,
    pass::{Pass, backward_from, leaf},
    sum::{Adding, Peak},
};
use crate::{
    Error,
    clock::{Clock, Phase},
};

/// The segment of what is outside of the blocks; block `n` is segment `n + 1`.
const OUTSIDE: usize = 0;

/// Fully sharded, and hybrid.
#[derive(Debug)]
pub(super) struct ByBlock<'a> {
    model: &'a Model,
    parameters: Vec<Tensor>,
    shapes: Vec<Vec<i64>>,
    compute: Kind,
    adding: Adding,
    gang: Gang,
    own: Own,
    /// Of the type of a sum; the gradients themselves where that is f32.
    sums: Vec<Tensor>,
    /// On its way to this rank.
    coming: Option<Coming>,
    /// On its way to those who own it.
    leaving: Option<Leaving>,
    peak: Peak,
}

/// The weights of a segment, being gathered.
#[derive(Debug)]
struct Coming {
    segment: usize,
    weights: Tensor,
    handle: Handle,
    _mine: Tensor,
}

/// The gradient of a segment, being reduced.
#[derive(Debug)]
struct Leaving {
    segment: usize,
    share: Tensor,
    handle: Handle,
    _whole: Tensor,
}

impl<'a> ByBlock<'a> {
    /// Keeps this rank's share of the parameters, and takes the rest from the model.
    pub(super) fn new(
        model: &'a Model,
        parameters: Vec<Tensor>,
        layout: Layout,
        gang: Gang,
        compute: Kind,
        adding: Adding,
    ) -> Result<Self, Error> {
        let _guard = tch::no_grad_guard();
        let shapes = parameters.iter().map(Tensor::size).collect();
        let mut own = Own::new(layout, gang.shards().rank());
        let mut sums = Vec::new();
        let lengths: Vec<i64> =
            own.layout.segments.iter().map(|segment| own.layout.own(segment).len() as i64).collect();
        for length in lengths {
            let zeros = |kind| Tensor::f_zeros([length], (kind, model.device()));
            own.weights.push(zeros(Kind::Float)?);
            let gradient = zeros(Kind::Float)?;
            sums.push(match adding.kind() {
                Kind::Float => gradient.shallow_clone(),
                kind => zeros(kind)?,
            });
            own.gradients.push(gradient);
        }
        for fragment in own.layout.fragments(own.rank) {
            let start = fragment.own - own.layout.own(&own.layout.segments[fragment.segment]).start;
            let (from, length) = (fragment.numbers.start as i64, fragment.numbers.len() as i64);
            let numbers = parameters[fragment.parameter].f_reshape(-1)?.f_narrow(0, from, length)?;
            own.weights[fragment.segment].narrow(0, start as i64, length).f_copy_(&numbers)?;
        }
        let peak = Peak::default();
        let (coming, leaving) = (None, None);
        let engine =
            Self { model, parameters, shapes, compute, adding, gang, own, sums, coming, leaving, peak };
        (0..engine.segments()).try_for_each(|segment| engine.release(segment))?;
        Ok(engine)
    }

    fn segments(&self) -> usize {
        self.own.layout.segments.len()
    }

    /// Sends for the weights of a segment, as they are computed with.
    fn send_for(&self, segment: usize, kind: Kind) -> Result<Coming, Error> {
        let _guard = tch::no_grad_guard();
        let length = self.own.layout.segments[segment].range.len() as i64;
        let mine = self.own.weights[segment].f_to_kind(kind)?;
        let weights = Tensor::f_empty([length], (kind, self.model.device()))?;
        let handle = self.gang.shards().all_gather(&weights, &mine)?;
        Ok(Coming { segment, weights, handle, _mine: mine })
    }

    /// Waits for the weights of a segment, makes the parameters views of them, and sends for those of the `next`.
    /// What was done before was `phase`.
    fn gather(
        &mut self,
        segment: usize,
        next: Option<usize>,
        phase: Phase,
        clock: &mut Clock,
    ) -> Result<(), Error> {
        clock.lap(phase);
        let coming = match self.coming.take() {
            Some(coming) if coming.segment == segment => coming,
            _ => self.send_for(segment, self.compute)?,
        };
        coming.handle.wait()?;
        clock.lap(Phase::Communication);
        self.hand_out(segment, &coming.weights)?;
        self.coming = next.map(|next| self.send_for(next, self.compute)).transpose()?;
        Ok(())
    }

    /// Makes the parameters of a segment views of its weights.
    fn hand_out(&self, segment: usize, weights: &Tensor) -> Result<(), Error> {
        for (parameter, view) in self.views(segment, weights) {
            self.parameters[parameter].shallow_clone().set_data(&view?);
        }
        Ok(())
    }

    /// Its part of a segment's buffer for every parameter in it, in the parameter's shape.
    fn views<'s>(
        &'s self,
        segment: usize,
        buffer: &'s Tensor,
    ) -> impl Iterator<Item = (usize, Result<Tensor, Error>)> + 's {
        let layout = &self.own.layout;
        let begin = layout.segments[segment].range.start;
        layout.segments[segment].members.iter().map(move |&parameter| {
            let place = &layout.places[parameter];
            let part = buffer.narrow(0, (place.start - begin) as i64, place.length as i64);
            (parameter, part.f_view(self.shapes[parameter].as_slice()).map_err(Error::from))
        })
    }

    /// Lets the weights of a segment go, and the place of their gradients.
    fn release(&self, segment: usize) -> Result<(), Error> {
        let nothing = Tensor::f_empty([0], (self.compute, self.model.device()))?;
        for &parameter in &self.own.layout.segments[segment].members {
            clear_gradient(&self.parameters[parameter])?;
            self.parameters[parameter].shallow_clone().set_data(&nothing);
        }
        Ok(())
    }

    /// A buffer in which the backward pass adds up the gradient of a segment.
    fn slot(&self, segment: usize) -> Result<Tensor, Error> {
        let length = self.own.layout.segments[segment].range.len() as i64;
        let slot = Tensor::f_zeros([length], (self.compute, self.model.device()))?;
        for (parameter, view) in self.views(segment, &slot) {
            set_gradient(&self.parameters[parameter], &view?)?;
        }
        Ok(slot)
    }

    /// Sends the gradient of a segment to those who own it. One is on its way at a time.
    fn send(&mut self, segment: usize, slot: Tensor, clock: &mut Clock) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        self.arrive(clock)?;
        if self.adding == Adding::Exact {
            self.peak.see(&slot)?;
        }
        let whole = self.adding.term(&slot)?;
        let share = self.sums[segment].f_empty_like()?;
        let handle = self.gang.shards().reduce_scatter(&share, &whole, Reduction::Sum)?;
        self.leaving = Some(Leaving { segment, share, handle, _whole: whole });
        Ok(())
    }

    /// Waits for what is on its way, and adds it to this rank's sums.
    fn arrive(&mut self, clock: &mut Clock) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        if let Some(Leaving { segment, share, handle, .. }) = self.leaving.take() {
            clock.lap(Phase::Backward);
            handle.wait()?;
            clock.lap(Phase::Communication);
            let _ = self.sums[segment].f_add_(&share)?;
        }
        Ok(())
    }

    /// The forward pass without a graph: what every block reads, and what the last leaves.
    fn forward(&mut self, pass: &mut Pass<'_>, clock: &mut Clock) -> Result<Vec<Tensor>, Error> {
        let _guard = tch::no_grad_guard();
        let blocks = self.segments() - 1;
        let mut read = Vec::with_capacity(blocks + 1);
        self.gather(OUTSIDE, (blocks > 0).then_some(1), Phase::Forward, clock)?;
        pass.compute(|walk| {
            read.push(walk.embed());
            Ok(())
        })?;
        for block in 0..blocks {
            let next = (block + 1 < blocks).then_some(block + 2);
            self.gather(block + 1, next, Phase::Forward, clock)?;
            pass.compute(|walk| {
                read.push(walk.block(block, &read[block]));
                Ok(())
            })?;
            self.release(block + 1)?;
        }
        clock.lap(Phase::Forward);
        Ok(read)
    }
}

impl Engine for ByBlock<'_> {
    fn clear(&mut self) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        for sum in &mut self.sums {
            let _ = sum.f_zero_()?;
        }
        Ok(())
    }

    fn look(&mut self, share: Option<&mut Share>, _keep: bool) -> Result<Passed, Error> {
        let model = self.model;
        let mut pass = Pass::new(model, share.as_deref())?;
        let mut clock = Clock::new(model.device(), false);
        let mut read = self.forward(&mut pass, &mut clock)?;
        let mut logits = None;
        pass.compute(|walk| {
            let last_btd = read.pop().expect("the last block left something");
            logits = Some(tch::no_grad(|| walk.output(&walk.finish(&last_btd))));
            Ok(())
        })?;
        self.release(OUTSIDE)?;
        Ok(pass.conclude(logits))
    }

    fn pass(
        &mut self,
        share: Option<Share>,
        _last: bool,
        loss: Loss<'_>,
        clock: &mut Clock,
    ) -> Result<Passed, Error> {
        let model = self.model;
        let mut pass = Pass::new(model, share.as_ref())?;
        let mut read = self.forward(&mut pass, clock)?;
        let blocks = self.segments() - 1;

        let outside = self.slot(OUTSIDE)?;
        let (mut value, mut gradient) = (None, None);
        pass.compute(|walk| {
            let share = share.as_ref().expect("who walks has a slot");
            let last_btd = leaf(&read.pop().expect("the last block left something"));
            let loss = loss(share, &walk.output(&walk.finish(&last_btd)))?;
            clock.lap(Phase::Forward);
            loss.f_backward()?;
            (value, gradient) = (Some(loss.detach()), Some(last_btd.grad()));
            Ok(())
        })?;
        for block in (0..blocks).rev() {
            self.gather(block + 1, (block > 0).then_some(block), Phase::Backward, clock)?;
            let slot = self.slot(block + 1)?;
            pass.compute(|walk| {
                let x_btd = leaf(&read.pop().expect("every block has read something"));
                let gradient_btd = gradient.take().expect("the block after it left a gradient");
                backward_from(&walk.block(block, &x_btd), &gradient_btd)?;
                gradient = Some(x_btd.grad());
                Ok(())
            })?;
            self.release(block + 1)?;
            self.send(block + 1, slot, clock)?;
        }
        pass.compute(|walk| {
            let embedded_btd = walk.embed();
            let gradient_btd = gradient.take().expect("the first block left a gradient");
            // Where no embedding is trained the backward pass ends here.
            if embedded_btd.requires_grad() { backward_from(&embedded_btd, &gradient_btd) } else { Ok(()) }
        })?;
        self.release(OUTSIDE)?;
        self.send(OUTSIDE, outside, clock)?;
        clock.lap(Phase::Backward);
        Ok(pass.conclude(value))
    }

    fn reduce(&mut self) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        self.arrive(&mut Clock::new(self.model.device(), false))?;
        if self.gang.copies().world() > 1 {
            let start = |sum| self.gang.copies().all_reduce(sum, Reduction::Sum);
            let handles: Vec<Handle> = self.sums.iter().map(start).collect::<Result<_, _>>()?;
            handles.into_iter().try_for_each(Handle::wait)?;
        }
        if self.adding == Adding::Exact {
            for (gradient, sum) in self.own.gradients.iter_mut().zip(&self.sums) {
                gradient.f_copy_(&self.adding.value(sum)?)?;
            }
        }
        Ok(())
    }

    fn is_held(&mut self, slots: usize) -> Result<bool, Error> {
        self.peak.is_held(slots)
    }

    fn own(&self) -> &Own {
        &self.own
    }

    /// Weights are gathered when they are needed.
    fn publish(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        for segment in 0..self.segments() {
            let Coming { weights, handle, .. } = self.send_for(segment, Kind::Float)?;
            handle.wait()?;
            self.hand_out(segment, &weights)?;
        }
        Ok(())
    }
}
