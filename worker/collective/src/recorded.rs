//! A collective whose operations are written into a flight recorder.

use std::sync::Arc;

use fulcrum_common::flight::Recorder;
use tch::Tensor;

use crate::{Collective, Error, Handle, Reduction};

/// Wraps any other.
#[derive(Debug)]
pub struct Recorded {
    inner: Arc<dyn Collective>,
    recorder: Arc<Recorder>,
    /// The group's number in the recorder.
    group: usize,
}

impl Recorded {
    /// Writes the operations of `inner` down under the group's name, by which the members' recorders are compared.
    pub fn new(inner: Arc<dyn Collective>, recorder: Arc<Recorder>, name: &str) -> Self {
        let group = recorder.join(name);
        Self { inner, recorder, group }
    }

    fn run(
        &self,
        operation: &'static str,
        tensor: Option<&Tensor>,
        call: impl FnOnce(&dyn Collective) -> Result<Handle, Error>,
    ) -> Result<Handle, Error> {
        let bytes = tensor.map_or(0, |tensor| tensor.numel() * tensor.kind().elt_size_in_bytes());
        let begun = self.recorder.begins(self.group, operation, bytes as u64);
        let handle = match call(&*self.inner) {
            Ok(handle) => handle,
            Err(error) => {
                self.recorder.ends(begun, false);
                return Err(error);
            }
        };
        let recorder = Arc::clone(&self.recorder);
        Ok(Handle::new(move || {
            recorder.awaits(begun);
            let result = handle.wait();
            recorder.ends(begun, result.is_ok());
            result
        }))
    }
}

impl Collective for Recorded {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn world(&self) -> usize {
        self.inner.world()
    }

    fn all_reduce(&self, tensor: &Tensor, op: Reduction) -> Result<Handle, Error> {
        self.run("all-reduce", Some(tensor), |inner| inner.all_reduce(tensor, op))
    }

    fn reduce_scatter(&self, output: &Tensor, input: &Tensor, op: Reduction) -> Result<Handle, Error> {
        self.run("reduce-scatter", Some(input), |inner| inner.reduce_scatter(output, input, op))
    }

    fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Handle, Error> {
        self.run("all-gather", Some(output), |inner| inner.all_gather(output, input))
    }

    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Handle, Error> {
        self.run("broadcast", Some(tensor), |inner| inner.broadcast(tensor, root))
    }

    fn barrier(&self) -> Result<Handle, Error> {
        self.run("barrier", None, |inner| inner.barrier())
    }

    fn abort(&self, reason: &str) {
        self.inner.abort(reason);
    }

    fn health(&self) -> Result<(), Error> {
        self.inner.health()
    }

    fn begin_step(&self, step: usize) {
        self.inner.begin_step(step);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;
    use crate::Gloo;

    #[test]
    fn a_member_that_waits_says_for_what_and_one_that_has_not_come_has_begun_less() {
        let members = Gloo::gang(2, Duration::from_secs(60)).unwrap();
        let recorders = [Arc::new(Recorder::default()), Arc::new(Recorder::default())];
        let recorded = members
            .into_iter()
            .zip(&recorders)
            .map(|(member, recorder)| Recorded::new(Arc::new(member), Arc::clone(recorder), "all"));
        let [first, second]: [Recorded; 2] = recorded.collect::<Vec<_>>().try_into().unwrap();
        let (go, wait) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let sum = Tensor::from_slice(&[1f32, 2.0]);
                second.barrier().unwrap().wait().unwrap();
                wait.recv().unwrap();
                second.all_reduce(&sum, Reduction::Sum).unwrap().wait().unwrap();
            });
            let late = scope.spawn(move || {
                let sum = Tensor::from_slice(&[1f32, 2.0]);
                first.barrier().unwrap().wait().unwrap();
                first.all_reduce(&sum, Reduction::Sum).unwrap().wait().unwrap();
            });
            let waits = loop {
                match recorders[0].view().waits {
                    Some(waits) if waits.sequence == 2 => break waits,
                    _ => thread::yield_now(),
                }
            };
            assert_eq!(
                (waits.operation.as_str(), waits.bytes, waits.group.as_str()),
                ("all-reduce", 8, "all")
            );
            assert_eq!(recorders[1].view().groups[0].begun, 1);
            go.send(()).unwrap();
            late.join().unwrap();
        });
        for recorder in &recorders {
            let view = recorder.view();
            assert_eq!((view.waits, view.groups[0].ended), (None, 2));
        }
    }

    #[test]
    fn an_operation_that_is_refused_has_not_ended() {
        let recorder = Arc::new(Recorder::default());
        let solo = Recorded::new(Arc::new(crate::Solo::new()), Arc::clone(&recorder), "all");
        solo.abort("on purpose");
        assert!(solo.barrier().is_err());
        assert_eq!((recorder.view().groups[0].begun, recorder.view().groups[0].ended), (1, 0));
    }
}
