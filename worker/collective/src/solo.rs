//! A world of one: every operation is done at once, under the same rules as between many.

use std::sync::OnceLock;

use fulcrum_torch_shim::check;
use tch::Tensor;

use crate::{Collective, Error, Handle, Reduction};

/// The only member.
#[derive(Debug, Default)]
pub struct Solo {
    aborted: OnceLock<String>,
}

impl Solo {
    /// A world of one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses what does not fit, then copies `input` where it belongs.
    fn run(
        &self,
        operation: &'static str,
        fits: Result<(), fulcrum_torch_shim::Error>,
        copy: impl FnOnce() -> Result<(), tch::TchError>,
    ) -> Result<Handle, Error> {
        self.health()?;
        let refused = |reason| Error::Refused { operation, reason };
        fits.map_err(|error| refused(error.to_string()))?;
        copy().map_err(|error| refused(error.to_string()))?;
        Ok(Handle::done())
    }
}

fn copy(output: &Tensor, input: &Tensor) -> Result<(), tch::TchError> {
    if output.data_ptr() == input.data_ptr() {
        return Ok(());
    }
    tch::no_grad(|| output.f_view(-1)?.f_copy_(&input.f_view(-1)?).map(drop))
}

impl Collective for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    fn all_reduce(&self, tensor: &Tensor, op: Reduction) -> Result<Handle, Error> {
        self.run("all_reduce", check::carried(tensor, Some(op)), || Ok(()))
    }

    fn reduce_scatter(&self, output: &Tensor, input: &Tensor, op: Reduction) -> Result<Handle, Error> {
        let fits = check::carried(output, Some(op)).and(check::share(output, input, 1));
        self.run("reduce_scatter", fits, || copy(output, input))
    }

    fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Handle, Error> {
        self.run("all_gather", check::share(input, output, 1), || copy(output, input))
    }

    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Handle, Error> {
        self.run("broadcast", check::carried(tensor, None).and(check::root(root, 1)), || Ok(()))
    }

    fn barrier(&self) -> Result<Handle, Error> {
        self.run("barrier", Ok(()), || Ok(()))
    }

    fn abort(&self, reason: &str) {
        let _ = self.aborted.set(reason.to_owned());
    }

    fn health(&self) -> Result<(), Error> {
        match self.aborted.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Aborted { rank: 0, reason: reason.clone() }),
        }
    }
}
