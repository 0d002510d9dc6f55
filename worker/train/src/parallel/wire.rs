//! In which numbers gradients travel: their own, or bf16, which halves the traffic.
//!
//! A narrow sum is one over ranks alone: what a rank adds up by itself stays f32. Every rank gets the same bytes.

use fulcrum_collective::{Collective, Handle, Reduction};
use fulcrum_common::plan;
use tch::{Kind, Tensor};

use crate::Error;

/// What gradients travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    narrow: Option<Kind>,
}

impl From<plan::Wire> for Wire {
    fn from(wire: plan::Wire) -> Self {
        let narrow = match wire {
            plan::Wire::Fp32 => None,
            plan::Wire::Bf16 => Some(Kind::BFloat16),
        };
        Self { narrow }
    }
}

/// A sum over ranks that has been started, with the tensors that it still reads and writes.
#[derive(Debug)]
pub(super) struct Reducing {
    handle: Handle,
    /// What travelled, and where it goes.
    narrow: Option<(Tensor, Tensor)>,
    _read: Tensor,
}

impl Reducing {
    /// Waits until the sum is where it belongs.
    pub(super) fn wait(self) -> Result<(), Error> {
        self.handle.wait()?;
        if let Some((narrow, mut wide)) = self.narrow {
            tch::no_grad(|| wide.f_copy_(&narrow))?;
        }
        Ok(())
    }
}

impl Wire {
    /// The type of what travels instead; none over a gang of one, where nothing does.
    fn narrow(self, gang: &dyn Collective) -> Option<Kind> {
        self.narrow.filter(|_| gang.world() > 1)
    }

    /// Sums `tensor` over the gang, in place.
    pub(super) fn all_reduce(self, gang: &dyn Collective, tensor: &Tensor) -> Result<Reducing, Error> {
        let wide = tensor.shallow_clone();
        let (sent, narrow) = match self.narrow(gang) {
            None => (wide, None),
            Some(kind) => {
                let sent = tensor.f_to_kind(kind)?;
                (sent.shallow_clone(), Some((sent, wide)))
            }
        };
        let handle = gang.all_reduce(&sent, Reduction::Sum)?;
        Ok(Reducing { handle, narrow, _read: sent })
    }

    /// Sums `whole`, which is flat, over the gang, and leaves this rank's part in `share`.
    pub(super) fn reduce_scatter(
        self,
        gang: &dyn Collective,
        share: &Tensor,
        whole: &Tensor,
    ) -> Result<Reducing, Error> {
        let wide = share.shallow_clone();
        let (sent, left, narrow) = match self.narrow(gang) {
            None => (whole.shallow_clone(), wide, None),
            Some(kind) => {
                let (sent, length) = (whole.f_to_kind(kind)?, share.numel() as i64);
                let left = sent.f_narrow(0, gang.rank() as i64 * length, length)?;
                (sent, left.shallow_clone(), Some((left, wide)))
            }
        };
        let handle = gang.reduce_scatter(&left, &sent, Reduction::Sum)?;
        Ok(Reducing { handle, narrow, _read: sent })
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use fulcrum_collective::{Gloo, Solo};
    use tch::Device;

    use super::*;

    /// A number that bf16 cannot hold: its nearest is 1.
    const FINE: f32 = 1.001;

    #[test]
    fn narrow_sums_are_those_of_rounded_numbers_on_every_rank() {
        let wire = Wire::from(plan::Wire::Bf16);
        thread::scope(|scope| {
            for rank in Gloo::gang(3, Duration::from_secs(60)).unwrap() {
                scope.spawn(move || {
                    let whole = Tensor::full([6], f64::from(FINE), (Kind::Float, Device::Cpu));
                    let share = Tensor::zeros([2], (Kind::Float, Device::Cpu));
                    wire.reduce_scatter(&rank, &share, &whole).unwrap().wait().unwrap();
                    assert_eq!(
                        (Vec::<f32>::try_from(&share).unwrap(), share.kind()),
                        (vec![3.0; 2], Kind::Float)
                    );
                    wire.all_reduce(&rank, &whole).unwrap().wait().unwrap();
                    assert_eq!(Vec::<f32>::try_from(&whole).unwrap(), [3.0; 6]);
                });
            }
        });
    }

    #[test]
    fn nothing_is_rounded_that_does_not_travel() {
        let wire = Wire::from(plan::Wire::Bf16);
        let (whole, share) = (Tensor::from_slice(&[FINE]), Tensor::from_slice(&[0f32]));
        wire.reduce_scatter(&Solo::new(), &share, &whole).unwrap().wait().unwrap();
        wire.all_reduce(&Solo::new(), &whole).unwrap().wait().unwrap();
        assert_eq!([&whole, &share].map(|tensor| tensor.double_value(&[0])), [f64::from(FINE); 2]);
    }
}
