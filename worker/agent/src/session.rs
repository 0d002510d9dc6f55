//! One stream to the coordinator: events out, commands in, heartbeats from a task of their own.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fulcrum_common::access::{Introduction, Tls, TlsError, TokenError};
use fulcrum_common::protocol::{
    Command, Heartbeat, Hello, Leaving, MESSAGE_LIMIT, WorkerEvent, coordinator_client::CoordinatorClient,
    worker_event::Event,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::{args::Place, attempt::Attempt, identity};

/// Events that may wait for the coordinator to read them.
const EVENT_QUEUE: usize = 64;

/// How long a coordinator may take to accept a connection, and to answer on it.
const ANSWER: Duration = Duration::from_secs(5);

/// How often a connection is probed, and how long a probe may stay unanswered. Long: work goes on without
/// the coordinator, and one that was only stopped for a while finds its workers where they were.
const PROBE: Duration = Duration::from_secs(5);
const PROBE_PATIENCE: Duration = Duration::from_secs(20);

/// How long the coordinator may take to end the stream of a worker that leaves.
const GOODBYE: Duration = Duration::from_secs(1);

/// The assignment under way. Its lock also orders what is said: no heartbeat names an epoch after its end was told.
pub(crate) type Desk = Arc<Mutex<Option<Arc<Attempt>>>>;

/// A panic elsewhere leaves the desk whole.
pub(crate) fn look(desk: &Desk) -> MutexGuard<'_, Option<Arc<Attempt>>> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream to the coordinator.
#[derive(Debug)]
pub(crate) struct Session {
    /// This machine's address on the way to the coordinator.
    pub(crate) host: IpAddr,
    /// What the coordinator says.
    pub(crate) commands: Streaming<Command>,
    events: mpsc::Sender<WorkerEvent>,
    /// Ends with the session.
    pulse: JoinSet<()>,
}

/// The coordinator cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// It is not known where it is.
    #[error("no coordinator is there: {0}")]
    Place(#[from] std::io::Error),
    /// It is not known what it asks for.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It is not known by what they know each other.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It does not let this worker in.
    #[error("{0}")]
    Stranger(String),
    /// Nobody answers.
    #[error("coordinator at {address}: {message}")]
    Answer {
        /// Where it should be.
        address: std::net::SocketAddr,
        /// What happened.
        message: String,
    },
}

impl Session {
    /// Connects and says hello.
    pub(crate) async fn open(place: &Place, hello: &Hello) -> Result<Self, ConnectError> {
        let address = place.address().await?;
        let introduction = Introduction::new(place.token()?);
        let silent = |message: String| ConnectError::Answer { address, message };
        let host = identity::host_towards(address)?;
        let channel = Tls::endpoint(place.tls()?.as_ref(), address)
            .map_err(|error| silent(cause(&error)))?
            .connect_timeout(ANSWER)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PROBE)
            .keep_alive_timeout(PROBE_PATIENCE)
            .connect()
            .await
            .map_err(|error| silent(cause(&error)))?;
        let (events, outgoing) = mpsc::channel(EVENT_QUEUE);
        let session = Self::try_say(&events, Event::Hello(hello.clone()));
        debug_assert!(session, "the queue is new");
        let mut client = CoordinatorClient::with_interceptor(channel, introduction)
            .max_decoding_message_size(MESSAGE_LIMIT);
        let answer = timeout(ANSWER, client.session(ReceiverStream::new(outgoing))).await;
        let commands = match answer {
            Ok(Ok(commands)) => commands.into_inner(),
            Ok(Err(status)) if status.code() == Code::Unauthenticated => {
                return Err(ConnectError::Stranger(status.message().to_owned()));
            }
            Ok(Err(status)) => return Err(silent(status.message().to_owned())),
            Err(_) => return Err(silent(format!("no answer within {ANSWER:?}"))),
        };
        Ok(Self { host, commands, events, pulse: JoinSet::new() })
    }

    /// Says something; false where the coordinator has stopped reading.
    #[must_use]
    pub(crate) fn say(&self, event: Event) -> bool {
        Self::try_say(&self.events, event)
    }

    fn try_say(events: &mpsc::Sender<WorkerEvent>, event: Event) -> bool {
        events.try_send(WorkerEvent { event: Some(event) }).is_ok()
    }

    /// Starts to say, every `period`, what lies on the desk.
    pub(crate) fn start_pulse(&mut self, period: Duration, desk: Desk) {
        let events = self.events.clone();
        self.pulse.spawn(async move {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let desk = look(&desk);
                let heartbeat = desk.as_ref().map_or_else(Heartbeat::default, |attempt| attempt.heartbeat());
                // One that finds the queue full is not missed: the queue is full of newer news.
                let _ = Self::try_say(&events, Event::Heartbeat(heartbeat));
            }
        });
    }

    /// Says goodbye and waits, not for long, until it was heard.
    pub(crate) async fn leave(self) {
        let Self { mut commands, events, pulse, .. } = self;
        drop(pulse);
        let said = Self::try_say(&events, Event::Leaving(Leaving {}));
        drop(events);
        let heard = async { while let Ok(Some(_)) = commands.message().await {} };
        if !said || timeout(GOODBYE, heard).await.is_err() {
            tracing::debug!("the coordinator did not hear the goodbye");
        }
    }
}

/// The innermost error, which says what happened.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
