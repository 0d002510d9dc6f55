//! All gradients in one persistent flat buffer, summed over the gang bucket by bucket while the backward
//! pass still runs.
//!
//! Every parameter's gradient is a view of the buffer, so backward passes add up in it. In the last
//! backward pass of a step, the hook of each parameter counts down its bucket, and a full bucket
//! departs. Buckets depart in the same fixed order on every rank, whatever order gradients come in.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fulcrum_collective::{Collective, Handle, Reduction};
use fulcrum_torch_shim::{Hook, set_gradient};
use tch::{Device, Tensor};

use crate::{Error, layout::Layout};

/// The flat gradient of a model.
#[derive(Debug)]
pub(crate) struct Gradients {
    flat: Tensor,
    travel: Arc<Mutex<Travel>>,
    _hooks: Vec<Hook>,
}

/// How far the reduction of a step has come.
#[derive(Debug)]
struct Travel {
    collective: Arc<dyn Collective>,
    buckets: Vec<Tensor>,
    sizes: Vec<usize>,
    /// Gradients that are still to come, by bucket; none while gradients only add up.
    missing: Option<Vec<usize>>,
    departed: usize,
    under_way: Vec<Handle>,
    failed: Option<fulcrum_collective::Error>,
}

impl Gradients {
    /// Makes the gradients of `parameters` views of one buffer.
    pub(crate) fn new(
        layout: &Layout,
        parameters: &[Tensor],
        device: Device,
        collective: Arc<dyn Collective>,
    ) -> Result<Self, Error> {
        let flat = layout.buffer(device)?;
        let ranges = layout.buckets.iter().map(|bucket| bucket.range());
        let travel = Arc::new(Mutex::new(Travel {
            collective,
            buckets: ranges.map(|range| flat.narrow(0, range.start as i64, range.len() as i64)).collect(),
            sizes: layout.buckets.iter().map(|bucket| bucket.parameters).collect(),
            missing: None,
            departed: 0,
            under_way: Vec::new(),
            failed: None,
        }));
        let mut hooks = Vec::with_capacity(parameters.len());
        for (parameter, place) in parameters.iter().zip(&layout.places) {
            let view = place.view(&flat).view_as(parameter);
            set_gradient(parameter, &view)?;
            let (travel, bucket) = (Arc::clone(&travel), place.bucket);
            hooks.push(Hook::new(parameter, move || lock(&travel).arrived(bucket))?);
        }
        Ok(Self { flat, travel, _hooks: hooks })
    }

    /// The buffer.
    pub(crate) fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// Forgets the last step.
    pub(crate) fn clear(&mut self) -> Result<(), Error> {
        tch::no_grad(|| self.flat.f_zero_().map(drop))?;
        let mut travel = lock(&self.travel);
        travel.missing = None;
        travel.departed = 0;
        Ok(())
    }

    /// The next backward pass is this rank's last of the step: buckets may depart when they are full.
    pub(crate) fn depart_when_full(&self) {
        let mut travel = lock(&self.travel);
        travel.missing = Some(travel.sizes.clone());
    }

    /// Sends what has not left yet (parameters that the loss does not depend on get no gradient, and ranks
    /// without a slot have no backward pass), and waits until every gradient is the sum over the gang.
    pub(crate) fn reduce(&self) -> Result<(), Error> {
        let mut travel = lock(&self.travel);
        while travel.failed.is_none() && travel.departed < travel.buckets.len() {
            travel.depart();
        }
        let under_way = mem::take(&mut travel.under_way);
        if let Some(error) = travel.failed.clone() {
            return Err(error.into());
        }
        drop(travel);
        under_way.into_iter().try_for_each(Handle::wait)?;
        Ok(())
    }
}

impl Travel {
    /// Runs in the hook of a parameter, once its gradient is complete.
    fn arrived(&mut self, bucket: usize) {
        let Some(missing) = &mut self.missing else { return };
        missing[bucket] = missing[bucket].saturating_sub(1);
        let full = missing[self.departed..].iter().take_while(|&&missing| missing == 0).count();
        for _ in 0..full {
            self.depart();
        }
    }

    fn depart(&mut self) {
        match self.collective.all_reduce(&self.buckets[self.departed], Reduction::Sum) {
            Ok(handle) => self.under_way.push(handle),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
        self.departed += 1;
    }
}

/// Nothing here panics with the lock held, so a poisoned lock guards sound data.
fn lock(travel: &Mutex<Travel>) -> MutexGuard<'_, Travel> {
    travel.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use fulcrum_collective::{Error as GangError, Solo};
    use tch::Kind;

    use super::*;
    use crate::layout::Member;

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

    fn member(parameter: &Tensor) -> Member {
        Member { length: parameter.numel(), decays: parameter.dim() > 1 }
    }

    fn parameter(shape: &[i64]) -> Tensor {
        Tensor::ones(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true)
    }

    #[test]
    fn buckets_leave_in_order_during_the_last_backward_pass_only() {
        // Each of the large ones fills a bucket of its own.
        let parameters = [parameter(&[2000, 3300]), parameter(&[600, 600]), parameter(&[3])];
        let layout = Layout::new(&parameters.each_ref().map(member));
        assert_eq!(layout.buckets.len(), 3);
        let collective = Arc::new(Noting::default());
        let mut gradients =
            Gradients::new(&layout, &parameters, Device::Cpu, Arc::clone(&collective) as _).unwrap();
        let sent = || collective.lengths.lock().unwrap().clone();
        let loss = || parameters.iter().map(|tensor| tensor.sum(Kind::Float)).sum::<Tensor>();

        loss().backward();
        assert!(sent().is_empty(), "gradients only add up before the last slot");
        gradients.depart_when_full();
        loss().backward();
        let in_order: Vec<_> = layout.buckets.iter().map(|bucket| bucket.range().len()).collect();
        assert_eq!(sent(), in_order, "all left before reduce was called, the first bucket first");
        gradients.reduce().unwrap();
        assert_eq!(sent().len(), 3);
        assert_eq!(gradients.flat().max().double_value(&[]), 2.0);

        // Only `a` takes part: `c` and `b` are sent by reduce, and before `a`.
        gradients.clear().unwrap();
        collective.lengths.lock().unwrap().clear();
        gradients.depart_when_full();
        parameters[0].sum(Kind::Float).backward();
        assert!(sent().is_empty(), "a full bucket waits for those before it");
        gradients.reduce().unwrap();
        assert_eq!(sent(), in_order);
        assert_eq!(gradients.flat().sum(Kind::Float).double_value(&[]), 2000.0 * 3300.0);
    }

    #[test]
    fn a_failure_inside_a_hook_comes_out_of_reduce() {
        let parameters = [parameter(&[2, 2])];
        let collective = Arc::new(Noting::default());
        let layout = Layout::new(&parameters.each_ref().map(member));
        let gradients =
            Gradients::new(&layout, &parameters, Device::Cpu, Arc::clone(&collective) as _).unwrap();
        collective.abort("on purpose");
        gradients.depart_when_full();
        parameters[0].sum(Kind::Float).backward();
        assert!(gradients.reduce().unwrap_err().to_string().contains("on purpose"));
    }
}
