//! Gloo between processes on CPUs.
//!
//! A member that dies, or leaves with an operation in flight, breaks the gang at once on every other member;
//! one that hangs breaks it after the timeout. Gloo's ring reduces in an order that the world size and the
//! length decide, so the bytes are the same run after run.

use std::{net::Ipv4Addr, sync::Arc, thread, time::Duration};

use fulcrum_torch_shim::{Group, Work};
use tch::Tensor;

use crate::{Collective, Error, Handle, Interface, Options, Reduction, Store, end::End};

/// A member's end of a Gloo gang.
#[derive(Debug)]
pub struct Gloo {
    group: Group,
    end: Arc<End>,
}

impl Gloo {
    /// Meets the other members in `store`, which need not live longer than this call.
    ///
    /// # Errors
    /// If not all come within the timeout.
    pub fn new(store: &Store, options: &Options) -> Result<Self, Error> {
        let Options { name, rank, world, interface, timeout } = options;
        let group = Group::new(store, name, interface, *rank, *world, *timeout)
            .map_err(|error| options.missed(error))?;
        tracing::debug!(rank, world, name, "gang formed");
        Ok(Self { group, end: Arc::default() })
    }

    /// All members of a gang on threads of this process, over loopback; for tests.
    ///
    /// # Errors
    /// If they cannot meet.
    pub fn gang(world: usize, timeout: Duration) -> Result<Vec<Self>, Error> {
        let host = Ipv4Addr::LOCALHOST.into();
        let options = |rank| {
            let interface = Interface::Address(host);
            Options { name: "gang".into(), rank, world, interface, timeout }
        };
        let served = Store::serve(host, timeout).map_err(|error| options(0).missed(error))?;
        let address = served.address();
        let join = |rank| {
            let options = options(rank);
            let store = Store::connect(address, timeout).map_err(|error| options.missed(error))?;
            Self::new(&store, &options)
        };
        thread::scope(|scope| {
            let members: Vec<_> = (0..world).map(|rank| scope.spawn(move || join(rank))).collect();
            members.into_iter().map(|member| member.join().expect("joining does not panic")).collect()
        })
    }

    fn start(
        &self,
        operation: &'static str,
        call: impl FnOnce(&Group) -> Result<Work, fulcrum_torch_shim::Error>,
    ) -> Result<Handle, Error> {
        self.health()?;
        let work =
            call(&self.group).map_err(|error| Error::Refused { operation, reason: error.to_string() })?;
        let (rank, end) = (self.rank(), Arc::clone(&self.end));
        Ok(Handle::new(move || work.wait(None).map_err(|error| end.fail(operation, rank, error.to_string()))))
    }
}

impl Collective for Gloo {
    fn rank(&self) -> usize {
        self.group.rank()
    }

    fn world(&self) -> usize {
        self.group.world()
    }

    fn all_reduce(&self, tensor: &Tensor, op: Reduction) -> Result<Handle, Error> {
        self.start("all_reduce", |group| group.all_reduce(tensor, op))
    }

    fn reduce_scatter(&self, output: &Tensor, input: &Tensor, op: Reduction) -> Result<Handle, Error> {
        self.start("reduce_scatter", |group| group.reduce_scatter(output, input, op))
    }

    fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Handle, Error> {
        self.start("all_gather", |group| group.all_gather(output, input))
    }

    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Handle, Error> {
        self.start("broadcast", |group| group.broadcast(tensor, root))
    }

    fn barrier(&self) -> Result<Handle, Error> {
        self.start("barrier", Group::barrier)
    }

    fn abort(&self, reason: &str) {
        if self.end.abort(reason) {
            tracing::debug!(rank = self.rank(), reason, "gang aborted");
        }
        if let Err(error) = self.group.abort() {
            tracing::warn!(rank = self.rank(), %error, "abort failed; operations end with their timeout");
        }
    }

    fn health(&self) -> Result<(), Error> {
        let rank = self.rank();
        self.end.check(rank)?;
        match self.group.is_broken() {
            true => Err(Error::Broken { operation: "health", rank, reason: "a member is gone".into() }),
            false => Ok(()),
        }
    }
}
