//! How gradients travel: bucket by bucket, while the backward pass still runs.
//!
//! In a rank's last backward pass of a step, the hook of each parameter counts down its bucket, and a full bucket
//! departs. Buckets depart in the same fixed order on every rank, whatever order gradients come in.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fulcrum_torch_shim::{Hook, set_gradient};
use tch::Tensor;

use super::{
    Gang, Layout,
    layout::Place,
    sum::{Adding, Peak},
    wire::{Reducing, Wire},
};
use crate::Error;

/// How far the sums of a step have come.
#[derive(Debug)]
pub(super) struct Travel {
    gang: Gang,
    pub(super) adding: Adding,
    wire: Wire,
    pub(super) buckets: Vec<Bucket>,
    /// Gradients that are still to come, by bucket; none while gradients only add up.
    missing: Option<Vec<usize>>,
    departed: usize,
    under_way: Vec<Reducing>,
    pub(super) peak: Peak,
    failed: Option<Error>,
}

/// The buffers of a segment.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) parameters: usize,
    /// Where backward passes add.
    pub(super) slot: Tensor,
    /// Over slots, then over ranks; the very slot where these add in place.
    pub(super) sum: Tensor,
    /// This rank's share of the sum; all of it where nothing is shared.
    pub(super) share: Tensor,
}

impl Travel {
    pub(super) fn new(gang: Gang, adding: Adding, wire: Wire, buckets: Vec<Bucket>) -> Self {
        let (missing, departed, under_way) = (None, 0, Vec::new());
        let (peak, failed) = (Peak::default(), None);
        Self { gang, adding, wire, buckets, missing, departed, under_way, peak, failed }
    }

    /// Forgets the last step.
    pub(super) fn clear(&mut self) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        for Bucket { slot, sum, .. } in &mut self.buckets {
            let _ = slot.f_zero_()?;
            let _ = sum.f_zero_()?;
        }
        (self.missing, self.departed) = (None, 0);
        Ok(())
    }

    /// Sends what has not left yet, and waits until every sum, or this rank's share of it, is that over the ranks.
    pub(super) fn arrive(&mut self) -> Result<(), Error> {
        self.depart_rest();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        mem::take(&mut self.under_way).into_iter().try_for_each(Reducing::wait)?;
        if self.gang.shards().world() > 1 && self.gang.copies().world() > 1 {
            let again = |bucket: &Bucket| self.wire.all_reduce(&**self.gang.copies(), &bucket.share);
            let sums: Vec<Reducing> = self.buckets.iter().map(again).collect::<Result<_, _>>()?;
            sums.into_iter().try_for_each(Reducing::wait)?;
        }
        Ok(())
    }

    /// The next backward pass is this rank's last of the step: buckets may depart when they are full.
    pub(super) fn depart_when_full(&mut self) {
        self.missing = Some(self.buckets.iter().map(|bucket| bucket.parameters).collect());
    }

    /// Runs in the hook of a parameter, once its gradient is complete.
    fn arrived(&mut self, bucket: usize) {
        if !self.gang.overlaps() {
            return;
        }
        let Some(missing) = &mut self.missing else { return };
        missing[bucket] = missing[bucket].saturating_sub(1);
        let full = missing[self.departed..].iter().take_while(|&&missing| missing == 0).count();
        for _ in 0..full {
            self.depart();
        }
    }

    /// Sends what has not left yet: parameters that the loss does not depend on get no gradient, and ranks without a
    /// slot have no backward pass.
    fn depart_rest(&mut self) {
        while self.failed.is_none() && self.departed < self.buckets.len() {
            self.depart();
        }
    }

    fn depart(&mut self) {
        match tch::no_grad(|| self.send(self.departed)) {
            Ok(sum) => self.under_way.push(sum),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
        self.departed += 1;
    }

    fn send(&mut self, at: usize) -> Result<Reducing, Error> {
        if self.missing.is_some() {
            self.add(at)?;
        }
        let Bucket { sum, share, .. } = &self.buckets[at];
        match self.gang.shards().world() {
            1 => self.wire.all_reduce(&**self.gang.copies(), sum),
            _ => self.wire.reduce_scatter(&**self.gang.shards(), share, sum),
        }
    }

    /// Adds what the slot left in every bucket.
    pub(super) fn add_all(&mut self) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        (0..self.buckets.len()).try_for_each(|at| self.add(at))
    }

    fn add(&mut self, at: usize) -> Result<(), Error> {
        let Self { adding, peak, buckets, .. } = self;
        let Bucket { slot, sum, .. } = &mut buckets[at];
        match adding {
            Adding::InPlace => return Ok(()),
            Adding::Widened => {}
            Adding::Exact => peak.see(slot)?,
        }
        let _ = sum.f_add_(&adding.term(slot)?)?;
        let _ = slot.f_zero_()?;
        Ok(())
    }
}

/// Makes the gradients of `parameters` views of the flat buffer `slots`, and hears of each that is complete.
pub(super) fn hook(
    travel: &Arc<Mutex<Travel>>,
    parameters: &[Tensor],
    layout: &Layout,
    slots: &Tensor,
) -> Result<Vec<Hook>, Error> {
    let hook = |(parameter, place): (&Tensor, &Place)| {
        let view = slots.narrow(0, place.start as i64, place.length as i64);
        set_gradient(parameter, &view.f_view_as(parameter)?)?;
        let (travel, bucket) = (Arc::clone(travel), place.segment);
        Ok(Hook::new(parameter, move || lock(&travel).arrived(bucket))?)
    };
    parameters.iter().zip(&layout.places).map(hook).collect()
}

/// Nothing here panics with the lock held, so a poisoned lock guards sound data.
pub(super) fn lock(travel: &Mutex<Travel>) -> MutexGuard<'_, Travel> {
    travel.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use fulcrum_collective::{Collective, Error as GangError, Handle, Reduction, Solo};
    use fulcrum_common::plan;
    use tch::{Device, Kind};

    use super::{super::layout::Extent, *};

    /// A world of one that notes the length of what is reduced.
    #[derive(Debug, Default)]
    struct Noting {
        solo: Solo,
        lengths: Mutex<Vec<usize>>,
    }

    impl Collective for Noting {
        fn rank(&self) -> usize {
            0
        }
        fn world(&self) -> usize {
            1
        }
        fn all_reduce(&self, tensor: &Tensor, op: Reduction) -> Result<Handle, GangError> {
            self.lengths.lock().unwrap().push(tensor.numel());
            self.solo.all_reduce(tensor, op)
        }
        fn reduce_scatter(&self, out: &Tensor, input: &Tensor, op: Reduction) -> Result<Handle, GangError> {
            self.solo.reduce_scatter(out, input, op)
        }
        fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Handle, GangError> {
            self.solo.all_gather(output, input)
        }
        fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Handle, GangError> {
            self.solo.broadcast(tensor, root)
        }
        fn barrier(&self) -> Result<Handle, GangError> {
            self.solo.barrier()
        }
        fn abort(&self, reason: &str) {
            self.solo.abort(reason);
        }
        fn health(&self) -> Result<(), GangError> {
            self.solo.health()
        }
    }

    /// Parameters of these shapes, and how their gradients travel.
    struct Scene {
        parameters: Vec<Tensor>,
        layout: Layout,
        slots: Tensor,
        collective: Arc<Noting>,
        travel: Arc<Mutex<Travel>>,
        _hooks: Vec<Hook>,
    }

    impl Scene {
        fn new(shapes: &[&[i64]], spread: impl Fn(Gang) -> Gang) -> Self {
            let ones =
                |shape: &&[i64]| Tensor::ones(*shape, (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let parameters: Vec<Tensor> = shapes.iter().map(ones).collect();
            let extent =
                |shape: &&[i64]| Extent { shape: shape.to_vec(), decays: shape.len() > 1, block: None };
            let layout = Layout::in_buckets(&shapes.iter().map(extent).collect::<Vec<_>>(), 1);
            let slots = Tensor::zeros([layout.length as i64], (Kind::Float, Device::Cpu));
            let bucket = |segment: &super::super::layout::Segment| {
                let slot = slots.narrow(0, segment.range.start as i64, segment.range.len() as i64);
                let (sum, share) = (slot.shallow_clone(), slot.shallow_clone());
                Bucket { parameters: segment.members.len(), slot, sum, share }
            };
            let buckets = layout.segments.iter().map(bucket).collect();
            let collective = Arc::new(Noting::default());
            let gang = spread(Gang::data(Arc::clone(&collective) as _));
            let travel =
                Arc::new(Mutex::new(Travel::new(gang, Adding::InPlace, plan::Wire::Fp32.into(), buckets)));
            let hooks = hook(&travel, &parameters, &layout, &slots).unwrap();
            Self { parameters, layout, slots, collective, travel, _hooks: hooks }
        }

        fn sent(&self) -> Vec<usize> {
            self.collective.lengths.lock().unwrap().clone()
        }

        /// A backward pass to all parameters.
        fn pass(&self) {
            self.parameters.iter().map(|tensor| tensor.sum(Kind::Float)).sum::<Tensor>().backward();
        }
    }

    #[test]
    fn buckets_leave_in_order_during_the_last_backward_pass_only() {
        // Each of the large ones fills a bucket of its own.
        let scene = Scene::new(&[&[2000, 3300], &[600, 600], &[3]], |gang| gang);
        let in_order: Vec<_> = scene.layout.segments.iter().map(|segment| segment.range.len()).collect();
        assert_eq!(in_order.len(), 3);
        scene.pass();
        assert!(scene.sent().is_empty(), "gradients only add up before the last slot");
        lock(&scene.travel).depart_when_full();
        scene.pass();
        assert_eq!(scene.sent(), in_order, "all left before they were waited for, the first bucket first");
        lock(&scene.travel).arrive().unwrap();
        assert_eq!(scene.sent().len(), 3);
        assert_eq!(scene.slots.max().double_value(&[]), 2.0);

        // Only the first takes part: the others are sent at the end, and before it.
        lock(&scene.travel).clear().unwrap();
        scene.collective.lengths.lock().unwrap().clear();
        lock(&scene.travel).depart_when_full();
        scene.parameters[0].sum(Kind::Float).backward();
        assert!(scene.sent().is_empty(), "a full bucket waits for those before it");
        lock(&scene.travel).arrive().unwrap();
        assert_eq!(scene.sent(), in_order);
        assert_eq!(scene.slots.sum(Kind::Float).double_value(&[]), 2000.0 * 3300.0);
    }

    #[test]
    fn without_overlap_nothing_leaves_before_the_backward_pass_has_ended() {
        let scene = Scene::new(&[&[600, 600], &[3]], Gang::without_overlap);
        lock(&scene.travel).depart_when_full();
        scene.pass();
        assert!(scene.sent().is_empty());
        lock(&scene.travel).arrive().unwrap();
        assert_eq!(scene.sent().len(), scene.layout.segments.len());
    }

    #[test]
    fn a_failure_inside_a_hook_comes_out_at_the_end() {
        let scene = Scene::new(&[&[2, 2]], |gang| gang);
        scene.collective.abort("on purpose");
        lock(&scene.travel).depart_when_full();
        scene.pass();
        assert!(lock(&scene.travel).arrive().unwrap_err().to_string().contains("on purpose"));
    }
}
