//! Weights come and go block by block (Zhao et al. 2023, section 3; activations as in Chen et al. 2016).
//!
//! A rank owns a share of every segment: the weights, their gradient, what the optimizer remembers. The forward pass
//! gathers a block, keeps what the block reads, and lets its weights go. The backward pass gathers it again, computes it
//! again, and reduce-scatters its gradient. The next segment is on its way while the one at hand is computed. What is
//! outside of the blocks stays from the beginning of a pass to its end. Frozen weights are shared and gathered the same
//! way; they have no gradient.
//!
//! Every rank gathers and reduces the same segments in the same order. One without a slot, or whose memory is
//! used up, takes part without computing.
//!
//! Shape suffixes: b rows, t tokens, d residual width.

use fulcrum_common::flight::Activity;
use fulcrum_models::Model;
use tch::{Kind, Tensor};

use super::{
    Engine, Gang, Layout, Loss, Numbers, Own, Passed, Portion, Share,
    borrowed::Borrowed,
    pass::{Pass, backward_from, leaf},
    sum::{Adding, Peak},
    wire::{Reducing, Wire},
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
    borrowed: Borrowed,
    frozen: Frozen,
    adding: Adding,
    wire: Wire,
    gang: Gang,
    own: Own,
    /// Of the type of a sum; the gradients themselves where that is f32.
    sums: Vec<Tensor>,
    /// On its way to those who own it.
    leaving: Option<Leaving>,
    peak: Peak,
}

/// What is not trained: this rank's share of it, and what it has of others.
#[derive(Debug)]
struct Frozen {
    own: Own,
    borrowed: Borrowed,
}

/// The gradient of a segment, being reduced.
#[derive(Debug)]
struct Leaving {
    segment: usize,
    slot: Tensor,
    /// This rank's part of what is sent.
    share: Tensor,
    sum: Reducing,
}

impl<'a> ByBlock<'a> {
    /// Keeps this rank's share of the parameters, and takes the rest from the model.
    pub(super) fn new(
        model: &'a Model,
        [trained, frozen]: [Portion<'_>; 2],
        gang: Gang,
        numbers: Numbers,
    ) -> Result<Self, Error> {
        let _guard = tch::no_grad_guard();
        let Numbers { compute, exact, wire } = numbers;
        let adding = Adding::new(compute, exact);
        let device = model.device();
        let take = |Portion { parameters, begin, extents }: Portion<'_>| {
            let layout = Layout::by_block(&extents, model.layers(), gang.shards().world());
            let mut own = Own::new(layout, gang.shards().rank());
            let borrowed = Borrowed::taken(parameters, begin, &mut own, compute, device, gang.clone())?;
            Ok::<_, Error>((own, borrowed))
        };
        let (own, borrowed) = take(frozen)?;
        let frozen = Frozen { own, borrowed };
        let (mut own, borrowed) = take(trained)?;
        let lengths: Vec<i64> =
            own.layout.segments.iter().map(|segment| own.layout.own(segment).len() as i64).collect();
        let mut sums = Vec::new();
        for length in lengths {
            let zeros = |kind| Tensor::f_zeros([length], (kind, device));
            let gradient = zeros(Kind::Float)?;
            sums.push(match adding.kind() {
                Kind::Float => gradient.shallow_clone(),
                kind => zeros(kind)?,
            });
            own.gradients.push(gradient);
        }
        let (leaving, peak) = (None, Peak::default());
        Ok(Self { model, borrowed, frozen, adding, wire, gang, own, sums, leaving, peak })
    }

    fn segments(&self) -> usize {
        self.own.layout.segments.len()
    }

    fn gather(
        &mut self,
        segment: usize,
        next: Option<usize>,
        phase: Phase,
        clock: &mut Clock<'_>,
    ) -> Result<(), Error> {
        let Frozen { own, borrowed } = &mut self.frozen;
        borrowed.gather(own, segment, next, phase, clock)?;
        self.borrowed.gather(&self.own, segment, next, phase, clock)
    }

    fn release(&mut self, segment: usize) -> Result<(), Error> {
        self.frozen.borrowed.release(&self.frozen.own, segment)?;
        self.borrowed.release(&self.own, segment)
    }

    /// Sends the gradient of a segment to those who own it. One is on its way at a time.
    fn send(&mut self, segment: usize, slot: Tensor, clock: &mut Clock<'_>) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        self.arrive(clock)?;
        if self.adding == Adding::Exact {
            self.peak.see(&slot)?;
        }
        let whole = self.adding.term(&slot)?;
        let length = self.sums[segment].numel() as i64;
        // The sum over ranks takes the place of this rank's own term of it.
        let share = whole.f_narrow(0, self.own.rank as i64 * length, length)?;
        let sum = self.wire.reduce_scatter(&**self.gang.shards(), &share, &whole)?;
        self.leaving = Some(Leaving { segment, slot, share, sum });
        if self.gang.overlaps() { Ok(()) } else { self.arrive(clock) }
    }

    /// Waits for what is on its way, and adds it to this rank's sums.
    fn arrive(&mut self, clock: &mut Clock<'_>) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        if let Some(Leaving { segment, slot, share, sum }) = self.leaving.take() {
            clock.lap(Phase::Backward);
            sum.wait()?;
            clock.lap(Phase::Communication);
            let _ = self.sums[segment].f_add_(&share)?;
            self.borrowed.give(slot);
        }
        Ok(())
    }

    /// The forward pass without a graph: what every block reads, and what the last leaves.
    fn forward(&mut self, pass: &mut Pass<'_>, clock: &mut Clock<'_>) -> Result<Vec<Tensor>, Error> {
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
        let mut clock = Clock::new(model.device(), &());
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
        clock: &mut Clock<'_>,
    ) -> Result<Passed, Error> {
        let model = self.model;
        clock.begin(Activity::Forward);
        let mut pass = Pass::new(model, share.as_ref())?;
        let mut read = self.forward(&mut pass, clock)?;
        let blocks = self.segments() - 1;

        let outside = self.borrowed.slot(&self.own, OUTSIDE)?;
        let (mut value, mut gradient) = (None, None);
        pass.compute(|walk| {
            let share = share.as_ref().expect("who walks has a slot");
            let last_btd = leaf(&read.pop().expect("the last block left something"));
            let loss = loss(share, &walk.output(&walk.finish(&last_btd)))?;
            clock.lap(Phase::Forward);
            clock.begin(Activity::Backward);
            loss.f_backward()?;
            (value, gradient) = (Some(loss.detach()), Some(last_btd.grad()));
            Ok(())
        })?;
        for block in (0..blocks).rev() {
            self.gather(block + 1, (block > 0).then_some(block), Phase::Backward, clock)?;
            let slot = self.borrowed.slot(&self.own, block + 1)?;
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
        self.arrive(&mut Clock::new(self.model.device(), &()))?;
        if self.gang.copies().world() > 1 {
            let start = |sum| self.wire.all_reduce(&**self.gang.copies(), sum);
            let sums: Vec<Reducing> = self.sums.iter().map(start).collect::<Result<_, _>>()?;
            sums.into_iter().try_for_each(Reducing::wait)?;
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
    fn gathered(&self) -> Option<&Tensor> {
        None
    }

    fn still(&self) -> Vec<&Tensor> {
        self.frozen.own.weights.iter().collect()
    }

    fn publish(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&mut self, everywhere: bool) -> Result<(), Error> {
        (self.sums, self.own.gradients) = (Vec::new(), Vec::new());
        let keeps = everywhere || self.gang.all().rank() == 0;
        for segment in 0..self.segments() {
            let Frozen { own, borrowed } = &mut self.frozen;
            for (own, borrowed) in [(own, borrowed), (&mut self.own, &mut self.borrowed)] {
                borrowed.settle(own, segment)?;
                if !keeps {
                    borrowed.release(own, segment)?;
                }
                own.weights[segment] = Tensor::f_empty([0], (Kind::Float, self.model.device()))?;
            }
        }
        Ok(())
    }
}
