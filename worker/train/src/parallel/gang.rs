//! The members of a gang as a training sees them: who shares the weights, and who holds copies of them.

use std::sync::Arc;

use fulcrum_collective::{Collective, Reduction, Solo};
use tch::{Device, Tensor};

use crate::Error;

/// A gang, and how it spreads weights, gradients and updates over its members.
#[derive(Clone, Debug)]
pub struct Gang {
    /// Everybody.
    all: Arc<dyn Collective>,
    /// Those who own a share each of what this member works with.
    shards: Arc<dyn Collective>,
    /// Those who own the same share as this member, each of another group of shards.
    copies: Arc<dyn Collective>,
    whole: bool,
    overlap: bool,
}

impl Gang {
    /// Every member holds everything (data parallel).
    pub fn data(all: Arc<dyn Collective>) -> Self {
        Self { copies: Arc::clone(&all), shards: Arc::new(Solo::new()), all, whole: true, overlap: true }
    }

    /// Every member holds all weights, and a share of what the optimizer remembers (Rajbhandari et al. 2020, "P_os").
    pub fn zero1(all: Arc<dyn Collective>) -> Self {
        Self { shards: Arc::clone(&all), copies: Arc::new(Solo::new()), all, whole: true, overlap: true }
    }

    /// Every member holds a share of everything, and the weights of the block at hand (the same, "P_os+g+p"; Zhao et
    /// al. 2023).
    pub fn sharded(all: Arc<dyn Collective>) -> Self {
        Self { shards: Arc::clone(&all), copies: Arc::new(Solo::new()), all, whole: false, overlap: true }
    }

    /// The same within a group, such as the members on one machine, of which there are several.
    ///
    /// # Errors
    /// If `shards` and `copies` are no rows and columns of `all`: member r of `all` is to be member `r % s` of the
    /// former, which has s members, and member `r / s` of the latter.
    pub fn hybrid(
        all: Arc<dyn Collective>,
        shards: Arc<dyn Collective>,
        copies: Arc<dyn Collective>,
    ) -> Result<Self, Error> {
        let (rank, size) = (all.rank(), shards.world());
        let fits = size * copies.world() == all.world()
            && (shards.rank(), copies.rank()) == (rank % size, rank / size);
        if !fits {
            return Err(Error::Groups { world: all.world(), shards: size, copies: copies.world() });
        }
        Ok(Self { all, shards, copies, whole: false, overlap: true })
    }

    /// The same, but nothing travels while something is computed: the bytes are those of the gang with overlap, and the
    /// time that a step waits is what overlap hides. The same on every member.
    #[must_use]
    pub fn without_overlap(self) -> Self {
        Self { overlap: false, ..self }
    }

    /// Everybody.
    pub fn all(&self) -> &Arc<dyn Collective> {
        &self.all
    }

    pub(crate) fn shards(&self) -> &Arc<dyn Collective> {
        &self.shards
    }

    pub(crate) fn copies(&self) -> &Arc<dyn Collective> {
        &self.copies
    }

    /// Whether every member holds all weights.
    pub(crate) fn holds_all_weights(&self) -> bool {
        self.whole
    }

    /// Whether all members say yes; each asks in its turn.
    pub(crate) fn all_agree(&self, yes: bool, device: Device) -> Result<bool, Error> {
        let noes = Tensor::from_slice(&[i64::from(!yes)]).f_to_device(device)?;
        self.all.all_reduce(&noes, Reduction::Sum)?.wait()?;
        Ok(noes.f_int64_value(&[0])? == 0)
    }

    /// Whether gradients and weights travel while others are still computed.
    pub(crate) fn overlaps(&self) -> bool {
        self.overlap
    }

    /// Breaks it: whatever any member waits for fails.
    pub fn abort(&self, reason: &str) {
        self.all.abort(reason);
        self.shards.abort(reason);
        self.copies.abort(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_no_rows_and_columns_are_refused() {
        let solo = || Arc::new(Solo::new()) as Arc<dyn Collective>;
        assert!(Gang::hybrid(solo(), solo(), solo()).is_ok());
        let mut two = fulcrum_collective::Gloo::gang(2, std::time::Duration::from_secs(60)).unwrap();
        let second: Arc<dyn Collective> = Arc::new(two.remove(1));
        let error = Gang::hybrid(Arc::clone(&second), Arc::clone(&second), second).unwrap_err().to_string();
        assert!(error.contains("2 shards") && error.contains("2 copies"), "{error}");
    }
}
