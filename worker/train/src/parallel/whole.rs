//! Every rank computes with all weights; gradients are summed bucket by bucket while the backward pass still runs.
//!
//! Every parameter's gradient is a view of a persistent flat buffer, so backward passes add up in it; `travel` tells
//! how its buckets are summed.
//!
//! Without shards a bucket is all-reduced and every rank updates everything. With shards it is reduce-scattered, a
//! rank updates its share, and the weights are gathered again (Rajbhandari et al. 2020, section 5).

use std::sync::{Arc, Mutex};

use fulcrum_collective::Handle;
use fulcrum_common::flight::Activity;
use fulcrum_models::Model;
use fulcrum_torch_shim::Hook;
use tch::{Kind, Tensor};

use super::{
    Begin, Engine, Gang, Layout, Loss, Numbers, Own, Passed, Share,
    sum::Adding,
    travel::{Bucket, Travel, hook, lock},
};
use crate::{
    Error,
    clock::{Clock, Phase},
    memory,
};

/// Data parallel and ZeRO-1.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    model: &'a Model,
    parameters: Vec<Tensor>,
    /// What the network computes with, of which every parameter is a view.
    weights: Tensor,
    travel: Arc<Mutex<Travel>>,
    gang: Gang,
    own: Own,
    _hooks: Vec<Hook>,
}

impl<'a> Whole<'a> {
    /// Moves the parameters into one flat buffer, and makes their gradients views of another.
    pub(super) fn new(
        model: &'a Model,
        parameters: Vec<Tensor>,
        begin: Begin<'_>,
        layout: Layout,
        gang: Gang,
        numbers: Numbers,
    ) -> Result<Self, Error> {
        let _guard = tch::no_grad_guard();
        let Numbers { compute, exact, wire } = numbers;
        let adding = Adding::new(compute, exact);
        let device = model.device();
        let rank = gang.shards().rank();
        let buffer = |length: usize, kind| Tensor::f_zeros([length as i64], (kind, device));
        let cut = |flat: &Tensor, range: std::ops::Range<usize>| {
            flat.narrow(0, range.start as i64, range.len() as i64)
        };
        let masters = buffer(layout.length, Kind::Float)?;
        let weights = match compute {
            Kind::Float => masters.shallow_clone(),
            _ => buffer(layout.length, compute)?,
        };
        // Each leaves its old place at once, so that the model is not in memory twice.
        for (at, (parameter, place)) in parameters.iter().zip(&layout.places).enumerate() {
            let beginning = begin(at)?;
            let range = place.start..place.start + place.length;
            for flat in [&masters, &weights] {
                cut(flat, range.clone()).f_view_as(parameter)?.f_copy_(&beginning)?;
            }
            parameter.shallow_clone().set_data(&cut(&weights, range).f_view_as(parameter)?);
        }
        let slots = buffer(layout.length, compute)?;
        let sums = match adding {
            Adding::InPlace => slots.shallow_clone(),
            Adding::Widened | Adding::Exact => buffer(layout.length, adding.kind())?,
        };
        let (mut buckets, mut own) = (Vec::new(), Own::new(layout.clone(), rank));
        for segment in &layout.segments {
            let (slot, sum) = (cut(&slots, segment.range.clone()), cut(&sums, segment.range.clone()));
            let share = cut(&sums, layout.share(segment, rank));
            let mine = cut(&masters, layout.share(segment, rank));
            own.weights.push(if compute == Kind::Float { mine } else { mine.copy() });
            own.gradients.push(match adding {
                Adding::InPlace | Adding::Widened => share.shallow_clone(),
                // The slots are done with when the sum is: its value finds room there.
                Adding::Exact if compute == Kind::Float => cut(&slots, layout.share(segment, rank)),
                Adding::Exact => buffer(share.numel(), Kind::Float)?,
            });
            buckets.push(Bucket { parameters: segment.members.len(), slot, sum, share });
        }
        let travel = Arc::new(Mutex::new(Travel::new(gang.clone(), adding, wire, buckets)));
        let hooks = hook(&travel, &parameters, &layout, &slots)?;
        Ok(Self { model, parameters, weights, travel, gang, own, _hooks: hooks })
    }

    fn forward(&self, Share { padded, noise, .. }: &Share) -> Result<Tensor, Error> {
        let walk = self.model.walk(padded.given(), Some(noise))?;
        Ok(walk.output(&walk.states()))
    }

    /// Gathers what every rank has of `flat`, this one's shares among it.
    fn gather(&self, flat: &Tensor) -> Result<(), Error> {
        let layout = &self.own.layout;
        let start = |segment| {
            let narrow =
                |range: std::ops::Range<usize>| flat.narrow(0, range.start as i64, range.len() as i64);
            let mine = narrow(layout.share(segment, self.own.rank));
            Ok(self.gang.shards().all_gather(&narrow(segment.range.clone()), &mine)?)
        };
        let handles: Vec<Handle> = layout.segments.iter().map(start).collect::<Result<_, Error>>()?;
        handles.into_iter().try_for_each(Handle::wait)?;
        Ok(())
    }
}

impl Engine for Whole<'_> {
    fn clear(&mut self) -> Result<(), Error> {
        lock(&self.travel).clear()
    }

    fn look(&mut self, share: Option<&mut Share>, keep: bool) -> Result<Passed, Error> {
        let Some(share) = share else { return Ok(Passed::Nothing) };
        let gave = memory::survive(|| {
            if keep {
                let logits = self.forward(share)?;
                share.logits = Some(logits.shallow_clone());
                Ok(logits.detach())
            } else {
                tch::no_grad(|| self.forward(share))
            }
        })?;
        Ok(Passed::of(gave))
    }

    fn pass(
        &mut self,
        share: Option<Share>,
        last: bool,
        loss: Loss<'_>,
        clock: &mut Clock<'_>,
    ) -> Result<Passed, Error> {
        let Some(mut share) = share else { return Ok(Passed::Nothing) };
        clock.begin(Activity::Forward);
        let gave = memory::survive(|| {
            let logits = match share.logits.take() {
                Some(logits) => logits,
                None => self.forward(&share)?,
            };
            let loss = loss(&share, &logits)?;
            clock.lap(Phase::Forward);
            clock.begin(Activity::Backward);
            if last {
                lock(&self.travel).depart_when_full();
            }
            loss.f_backward()?;
            Ok(loss.detach())
        })?;
        if !last {
            lock(&self.travel).add_all()?;
        }
        clock.lap(Phase::Backward);
        Ok(Passed::of(gave))
    }

    fn reduce(&mut self) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        let mut travel = lock(&self.travel);
        travel.arrive()?;
        if travel.adding == Adding::Exact {
            for (gradient, bucket) in self.own.gradients.iter_mut().zip(&travel.buckets) {
                gradient.f_copy_(&travel.adding.value(&bucket.share)?)?;
            }
        }
        Ok(())
    }

    fn is_held(&mut self, slots: usize) -> Result<bool, Error> {
        lock(&self.travel).peak.is_held(slots)
    }

    fn own(&self) -> &Own {
        &self.own
    }

    fn gathered(&self) -> Option<&Tensor> {
        (self.own.layout.shards > 1).then_some(&self.weights)
    }

    fn still(&self) -> Vec<&Tensor> {
        self.model.parameters().iter().map(|(_, tensor)| tensor).filter(|it| !it.requires_grad()).collect()
    }

    fn publish(&mut self) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        let layout = &self.own.layout;
        if self.weights.kind() != Kind::Float {
            for (segment, master) in layout.segments.iter().zip(&self.own.weights) {
                let share = layout.share(segment, self.own.rank);
                self.weights.narrow(0, share.start as i64, share.len() as i64).f_copy_(master)?;
            }
        }
        if layout.shards > 1 { self.gather(&self.weights) } else { Ok(()) }
    }

    fn finish(&mut self, _everywhere: bool) -> Result<(), Error> {
        if self.weights.kind() == Kind::Float {
            return Ok(());
        }
        let _guard = tch::no_grad_guard();
        let layout = &self.own.layout;
        let masters = Tensor::f_zeros([layout.length as i64], (Kind::Float, self.weights.device()))?;
        for (segment, mine) in layout.segments.iter().zip(&self.own.weights) {
            let share = layout.share(segment, self.own.rank);
            masters.narrow(0, share.start as i64, share.len() as i64).f_copy_(mine)?;
        }
        if layout.shards > 1 {
            self.gather(&masters)?;
        }
        for (parameter, place) in self.parameters.iter().zip(&layout.places) {
            let view = masters.narrow(0, place.start as i64, place.length as i64);
            parameter.shallow_clone().set_data(&view.f_view_as(parameter)?);
        }
        Ok(())
    }
}
