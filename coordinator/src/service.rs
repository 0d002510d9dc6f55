//! The network face: worker streams, status, stop.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fulcrum_common::protocol::{
    Command, Flight, StatusReply, StatusRequest, StopReply, StopRequest, WorkerEvent,
    coordinator_server::Coordinator,
};
use futures::{Stream, StreamExt as _};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    gate::Allowance,
    input::{Event, Input},
    tick::MAX_WORKERS,
    wire,
};

/// Commands that may wait for a worker to read them. A worker that falls further behind is lost.
pub(crate) const COMMAND_QUEUE: usize = 64;

/// A stream that has not said hello by then is closed.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// What the service asks of the driver.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A stream has opened.
    Open { session: u64, link: Link },
    /// Something happened.
    Hear(Input),
    /// Somebody wants to know.
    Status(oneshot::Sender<StatusReply>),
}

/// The driver's end of a worker's stream. Dropping it closes the stream, after what was sent before.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) commands: mpsc::Sender<Result<Command, Status>>,
    _open: oneshot::Sender<()>,
}

/// The gRPC service over the driver.
#[derive(Debug)]
pub(crate) struct Service {
    asks: mpsc::Sender<Ask>,
    next_session: AtomicU64,
    sessions: Arc<Semaphore>,
    flights: Flights,
}

/// What each worker process last said of its flight recorder, by incarnation. It is no part of the state that decisions
/// rest on.
#[derive(Clone, Debug, Default)]
struct Flights(Arc<Mutex<HashMap<String, Flight>>>);

impl Flights {
    /// A panic elsewhere leaves the map whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    pub(crate) fn new(asks: mpsc::Sender<Ask>) -> Self {
        // A few more than workers, so that a worker that comes back need not wait for its old stream to end.
        let sessions = Arc::new(Semaphore::new(2 * MAX_WORKERS));
        Self { asks, next_session: AtomicU64::new(1), sessions, flights: Flights::default() }
    }

    async fn ask(&self, ask: Ask) -> Result<(), Status> {
        self.asks.send(ask).await.map_err(|_| Status::unavailable("the coordinator is exiting"))
    }
}

#[tonic::async_trait]
impl Coordinator for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<Command, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerEvent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let permit = Arc::clone(&self.sessions)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many workers"))?;
        let session = self.next_session.fetch_add(1, Ordering::Relaxed);
        let (commands, outgoing) = mpsc::channel(COMMAND_QUEUE);
        let (open, closed) = oneshot::channel();
        self.ask(Ask::Open { session, link: Link { commands, _open: open } }).await?;
        let (asks, flights) = (self.asks.clone(), self.flights.clone());
        tokio::spawn(pump(session, request.into_inner(), asks, flights, closed, permit));
        Ok(Response::new(ReceiverStream::new(outgoing).boxed()))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Status(reply)).await?;
        let mut reply = answer.await.map_err(|_| Status::unavailable("the coordinator is exiting"))?;
        let flights = self.flights.lock();
        for worker in reply.workers.iter_mut().filter(|worker| !worker.stage.is_empty()) {
            worker.flight = flights.get(&worker.incarnation).cloned();
        }
        drop(flights);
        Ok(Response::new(reply))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopReply>, Status> {
        self.ask(Ask::Hear(Input::Stop)).await?;
        Ok(Response::new(StopReply {}))
    }
}

/// Brings a worker's messages to the driver until either end closes.
async fn pump(
    session: u64,
    events: Streaming<WorkerEvent>,
    asks: mpsc::Sender<Ask>,
    flights: Flights,
    closed: oneshot::Receiver<()>,
    _permit: OwnedSemaphorePermit,
) {
    let reason = tokio::select! {
        reason = listen(session, events, &asks, &flights) => reason,
        _ = closed => return,
    };
    // Where the driver is gone there is nobody left to tell.
    let _ = asks.send(Ask::Hear(Input::Closed { session, reason })).await;
}

/// Returns why the worker's messages ended.
async fn listen(
    session: u64,
    mut events: Streaming<WorkerEvent>,
    asks: &mpsc::Sender<Ask>,
    flights: &Flights,
) -> String {
    let first = tokio::time::timeout(HELLO_DEADLINE, events.message()).await;
    let Ok(mut next) = first else { return "it said no hello".to_owned() };
    let mut seen = Seen { flights, incarnation: None };
    let mut allowance = Allowance::new(Instant::now());
    loop {
        if !allowance.take(Instant::now()) {
            return "it says more than a worker has to say".to_owned();
        }
        let event = match next {
            Ok(Some(message)) => {
                seen.note(wire::flight(&message));
                wire::event(message)
            }
            Ok(None) => return "it closed the stream".to_owned(),
            Err(status) => return status.message().to_owned(),
        };
        let event = match event {
            Ok(Event::Hello(hello)) => {
                seen.incarnation.get_or_insert_with(|| hello.incarnation.clone());
                Event::Hello(hello)
            }
            Ok(event) if seen.incarnation.is_some() => event,
            Ok(_) => return "its first message was no hello".to_owned(),
            Err(error) => return error.to_string(),
        };
        if asks.send(Ask::Hear(Input::Worker { session, event })).await.is_err() {
            return "the coordinator is exiting".to_owned();
        }
        next = events.message().await;
    }
}

/// Notes the flights of one stream, and forgets them when it ends.
struct Seen<'a> {
    flights: &'a Flights,
    /// Of the process at the other end, once it has said hello.
    incarnation: Option<String>,
}

impl Seen<'_> {
    fn note(&self, flight: Option<Flight>) {
        if let (Some(incarnation), Some(flight)) = (&self.incarnation, flight) {
            self.flights.lock().insert(incarnation.clone(), flight);
        }
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        self.incarnation.iter().for_each(|incarnation| drop(self.flights.lock().remove(incarnation)));
    }
}
