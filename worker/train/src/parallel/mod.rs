//! How a gang shares the weights and the work of a step. One seam, [`Engine`], and behind it [`Whole`], where every
//! rank computes with all weights, and [`ByBlock`], where weights come and go block by block.
//!
//! Reading order: `gang` (who is who), `layout` (flat buffers), `sum` (how slots add up), `wire` (in which numbers gradients
//! travel), `whole` and `travel`, `by_block` with `borrowed` and `pass`, `norm`.

#[cfg(test)]
mod against_ddp;
mod borrowed;
mod by_block;
mod gang;
mod layout;
mod norm;
mod pass;
mod sum;
mod travel;
mod whole;
mod wire;

use std::fmt::Debug;

use fulcrum_common::plan;
use fulcrum_models::{Model, Noise};
use tch::{Kind, Tensor};

pub use gang::Gang;
pub(crate) use layout::{Extent, Fragment, Stretch};
pub(crate) use norm::norm;

use crate::{Error, batch::Padded, clock::Clock, optimizer::Piece};
use by_block::ByBlock;
use layout::Layout;
use whole::Whole;
use wire::Wire;

/// A slot that a rank runs, with its tensors.
#[derive(Debug)]
pub(crate) struct Share {
    /// Where its rows stand in the global batch.
    pub(crate) rows: std::ops::Range<usize>,
    pub(crate) padded: Padded,
    pub(crate) noise: Noise,
    /// Logits with their graph, where a first pass has made them already.
    pub(crate) logits: Option<Tensor>,
}

/// What came of a slot.
#[derive(Debug)]
pub(crate) enum Passed {
    /// The rank had none.
    Nothing,
    /// What was asked for.
    Gave(Tensor),
    /// The device had too little memory for it.
    OutOfMemory,
}

impl Passed {
    /// Of a slot that was computed, unless memory ran out.
    fn of(gave: Option<Tensor>) -> Self {
        gave.map_or(Self::OutOfMemory, Self::Gave)
    }
}

/// The scalar whose gradient a slot adds, from the output of its walk.
pub(crate) type Loss<'a> = &'a dyn Fn(&Share, &Tensor) -> Result<Tensor, Error>;

/// Weights, gradients and their sums over the gang. Every rank calls the same methods in the same order, however many
/// slots it has: a rank that has run out of them takes part without one.
pub(crate) trait Engine: Debug {
    /// Forgets the gradients of the last step.
    fn clear(&mut self) -> Result<(), Error>;

    /// A slot's logits, without gradient. With `keep` the slot has them with their graph afterwards, if the engine can
    /// keep it.
    fn look(&mut self, share: Option<&mut Share>, keep: bool) -> Result<Passed, Error>;

    /// Adds the gradient of a slot's loss. In the `last` slot of the rank gradients may travel while others are
    /// still to come. Gives the loss, without its graph.
    fn pass(
        &mut self,
        share: Option<Share>,
        last: bool,
        loss: Loss<'_>,
        clock: &mut Clock<'_>,
    ) -> Result<Passed, Error>;

    /// Finishes the sums over slots and ranks: each rank then has that of its own share, as the gradients of
    /// [`Engine::own`].
    fn reduce(&mut self) -> Result<(), Error>;

    /// Whether every number that this rank added since it was cleared could be held, for sums over so many slots.
    fn is_held(&mut self, slots: usize) -> Result<bool, Error>;

    /// What this rank updates.
    fn own(&self) -> &Own;

    /// The weights that every rank of the gang computes with, where they are gathered from shares.
    fn gathered(&self) -> Option<&Tensor>;

    /// What this rank holds of the weights that are not trained.
    fn still(&self) -> Vec<&Tensor>;

    /// Makes the updated weights those that are computed with.
    fn publish(&mut self) -> Result<(), Error>;

    /// Gives the model all of its weights, in f32; where ranks hold shares of them, on every rank only if they are to be
    /// `everywhere`, and else on the first. It is the last that is asked of an engine.
    fn finish(&mut self, everywhere: bool) -> Result<(), Error>;
}

/// The share of weights and gradients that is a rank's own, f32, by segment of the layout.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) layout: Layout,
    /// This rank's place among those that share.
    pub(crate) rank: usize,
    pub(crate) weights: Vec<Tensor>,
    pub(crate) gradients: Vec<Tensor>,
}

impl Own {
    fn new(layout: Layout, rank: usize) -> Self {
        Self { layout, rank, weights: Vec::new(), gradients: Vec::new() }
    }

    /// Its weights of a fragment, flat, where they are.
    pub(crate) fn weights_of(&self, fragment: &Fragment) -> Result<Tensor, Error> {
        let start = fragment.own - self.layout.own(&self.layout.segments[fragment.segment]).start;
        Ok(self.weights[fragment.segment].f_narrow(0, start as i64, fragment.numbers.len() as i64)?)
    }

    /// What an optimizer updates. A rule that is not elementwise needs whole parameters, in their shapes.
    pub(crate) fn pieces(&self, elementwise: bool, shapes: &[&[i64]]) -> Vec<Piece> {
        let cut = |buffers: &[Tensor], segment: usize, from: usize, length: usize| {
            let start = from - self.layout.own(&self.layout.segments[segment]).start;
            buffers[segment].narrow(0, start as i64, length as i64)
        };
        if !elementwise {
            let whole = |fragment: Fragment| {
                let Fragment { segment, own, decays, .. } = fragment;
                let view = |buffers| {
                    cut(buffers, segment, own, fragment.numbers.len()).view(shapes[fragment.parameter])
                };
                Piece { parameter: view(&self.weights), gradient: view(&self.gradients), decays }
            };
            return self.layout.fragments(self.rank).into_iter().map(whole).collect();
        }
        let stretch = |stretch: layout::Stretch| {
            let view = |buffers| cut(buffers, stretch.segment, stretch.own.start, stretch.own.len());
            Piece { parameter: view(&self.weights), gradient: view(&self.gradients), decays: stretch.decays }
        };
        self.layout.stretches(self.rank).into_iter().map(stretch).collect()
    }
}

/// How a model's numbers are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// What the network computes in; updates are always of f32.
    pub(crate) compute: Kind,
    /// Whether sums are the same bytes for any number of ranks.
    pub(crate) exact: bool,
    /// What gradients travel in.
    wire: Wire,
}

impl From<plan::Numerics> for Numbers {
    fn from(plan::Numerics { precision, mode, wire }: plan::Numerics) -> Self {
        let compute = match precision {
            plan::Precision::Fp32 => Kind::Float,
            plan::Precision::Bf16 => Kind::BFloat16,
        };
        Self { compute, exact: mode == plan::Mode::Deterministic, wire: wire.into() }
    }
}

/// The weights that a trainable parameter begins with. Asked for once for each, so that no more than one is in memory
/// beside what the engine keeps.
pub(crate) type Begin<'b> = &'b dyn Fn(usize) -> Result<Tensor, Error>;

/// Some of a model's parameters: themselves, where their weights come from, and what a layout wants to know of them.
pub(crate) struct Portion<'b> {
    pub(crate) parameters: Vec<Tensor>,
    pub(crate) begin: Begin<'b>,
    pub(crate) extents: Vec<Extent>,
}

/// The engine of a gang for a model of trained and frozen parameters. Where every rank holds all weights, the frozen ones
/// are in the model already.
pub(crate) fn engine<'a>(
    model: &'a Model,
    [trained, frozen]: [Portion<'_>; 2],
    gang: &Gang,
    numbers: Numbers,
) -> Result<Box<dyn Engine + 'a>, Error> {
    Ok(if gang.holds_all_weights() {
        let Portion { parameters, begin, extents } = trained;
        let layout = Layout::in_buckets(&extents, gang.shards().world());
        Box::new(Whole::new(model, parameters, begin, layout, gang.clone(), numbers)?)
    } else {
        Box::new(ByBlock::new(model, [trained, frozen], gang.clone(), numbers)?)
    })
}
