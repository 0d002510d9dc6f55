//! The coordinator as a process: its run folder, its socket, its signals.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io::Write as _,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use fulcrum_common::{
    Key,
    access::{Doorkeeper, PrivateError, Tls, TlsError, Token, TokenError},
    exit,
    experiment::Cadence,
    fault::{self, Who, strike},
    plan::{Plan, PlanError},
    protocol::{CONTACT_FILE, Contact, MESSAGE_LIMIT, coordinator_server::CoordinatorServer},
    store::{Manifest, Place, Store, StoreError},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tonic::{service::interceptor::InterceptedService, transport::Server};

use crate::{
    driver::Driver,
    gate::guests,
    input::Input,
    journal::{Journal, JournalError, recover},
    service::{Ask, Service},
    size::{self, SizeError},
    state::{Past, Phase, State},
    tick::MAX_WORKERS,
};

/// Messages that may wait for the driver; beyond it, streams wait.
const ASK_QUEUE: usize = 4096;

/// How long open connections may take to end once the run is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Connections at a time: one of each worker, what is left of those before, and a few that look at the run.
const PLACES: usize = 4 * MAX_WORKERS;

/// How long a connection may say nothing at first.
const FIRST_WORD: Duration = Duration::from_secs(5);

/// Calls at a time on one connection: a worker has one, and the command line a few.
const CALLS: usize = 16;

/// Bytes of a call's headers, of which the token takes a few hundred.
const HEADERS: u32 = 8 << 10;

/// How often a silent connection is probed, and how long a probe may stay unanswered. Long: a machine that was stopped for a
/// while finds its connections where they were.
const PROBE: Duration = Duration::from_secs(10);
const PROBE_PATIENCE: Duration = Duration::from_secs(20);

/// What a coordinator is asked to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// The run's name.
    pub run: String,
    /// The run's folder: `journal.sqlite`, `coordinator.json` and `coordinator.lock` go here.
    pub folder: PathBuf,
    /// The artifact store.
    pub store: Place,
    /// What is to be made. The last stage is the goal.
    pub plan: Plan,
    /// Seats of the run.
    pub workers: NonZeroUsize,
    /// Workers in a gang; all seats where it is not said.
    pub gang: Option<NonZeroUsize>,
    /// Fewest workers that a training goes on with once others stay away; none for as many as a gang has.
    pub fewest: Option<NonZeroUsize>,
    /// When trainings keep checkpoints.
    pub cadence: Cadence,
    /// How long a worker may live and not get on with its work; zero for ever.
    pub stall: Duration,
    /// The program that workers must be, by its digest; none where any will do.
    pub build: Option<Key>,
    /// Where to listen; port 0 for any free one. Nobody is answered who does not know the run's [`Token`].
    pub listen: SocketAddr,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `done`, `failed` or `stopping`.
    pub phase: &'static str,
    /// Why, one line.
    pub reason: String,
    /// The exit code that says so.
    pub code: i32,
}

/// The coordinator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The plan is broken.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan is empty.
    #[error("the plan has no stages")]
    Empty,
    /// A gang that can never form.
    #[error("a gang of {gang} cannot be formed of {workers} workers: ask for at least {gang} workers")]
    Gang {
        /// Workers in a gang.
        gang: usize,
        /// Seats of the run.
        workers: usize,
    },
    /// An address that stands for all of a machine's.
    #[error("{0} is no address that workers can be told: listen on one of this machine's own")]
    Everywhere(SocketAddr),
    /// What callers must know is not fit for use.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What it shows to callers is not fit for use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The library takes no such certificates.
    #[error(
        "the run's certificates are not accepted: {0}: remove them, or make new ones with `fulcrum certs`"
    )]
    Certificates(#[from] tonic::transport::Error),
    /// Another coordinator serves this run.
    #[error("another coordinator serves the run in {0:?}: stop it, or give this run another name")]
    Busy(PathBuf),
    /// A file or a socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Assignments that no worker could be sent.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A bug.
    #[error("the coordinator's driver ended without a result")]
    Driver,
}

/// A disk or a socket failed: the contract's code that asks for another start.
const START_AGAIN: i32 = exit::MEMBERSHIP;

impl ServeError {
    /// The exit code of the process. Whoever supervises it learns whether another start may help.
    pub fn code(&self) -> i32 {
        match self {
            Self::Plan(_) => exit::MISMATCH,
            Self::Token(TokenError::File(PrivateError::Io { .. }))
            | Self::Tls(TlsError::File(PrivateError::Io { .. })) => START_AGAIN,
            Self::Empty
            | Self::Gang { .. }
            | Self::Everywhere(_)
            | Self::Token(_)
            | Self::Tls(_)
            | Self::Certificates(_)
            | Self::Busy(_)
            | Self::Size(_) => exit::USAGE,
            Self::Store(error) if error.is_damage() => exit::DIGEST,
            Self::Journal(JournalError::Foreign { .. }) => exit::MISMATCH,
            Self::Journal(error) if error.is_damage() => exit::DIGEST,
            Self::Io { .. } | Self::Store(_) | Self::Journal(_) => START_AGAIN,
            Self::Driver => exit::INTERNAL,
        }
    }
}

/// Serves one run until its goal is in the store, it failed, or it was asked to stop.
///
/// # Errors
/// If the configuration cannot be served, another coordinator serves the run, or the journal cannot be written.
pub async fn serve(config: Config) -> Result<Outcome, ServeError> {
    bind(config).await?.serve().await
}

/// Takes the run's folder and opens the coordinator's socket; nothing is answered before [`Bound::serve`].
///
/// # Errors
/// If the configuration cannot be served, or another coordinator serves the run.
pub async fn bind(config: Config) -> Result<Bound, ServeError> {
    let gang = check(&config)?;
    fault::i_am(Who::Coordinator);
    std::fs::create_dir_all(&config.folder).map_err(io(format!("folder {:?}", config.folder)))?;
    let lock = lock(&config.folder)?;
    let door = Doorkeeper::new(Token::keep(&config.folder)?);
    let tls = Tls::keep(&config.folder, config.listen)?;
    let store = Store::at(&config.store)?;
    let mut journal = Journal::open(&config.folder.join(crate::journal::FILE))?;
    let made = made(&store, &config.plan).await?;
    let past = Past { checkpoints: store.checkpoints().await?, ..recover(&journal)? };
    let mut state = State::new(&config.run, &config.plan, gang, &made, past);
    state.cadence = config.cadence;
    state.fewest = config.fewest.map_or(gang, NonZeroUsize::get);
    state.stall = config.stall.as_millis().try_into().unwrap_or(u64::MAX);
    state.build = config.build;
    state.store = Some(store.identity().await?);
    strike("coordinator.recovered");
    journal.begin(&state)?;
    let listener =
        TcpListener::bind(config.listen).await.map_err(io(format!("listening on {}", config.listen)))?;
    let address = listener.local_addr().map_err(io("listening".to_owned()))?;
    let contact = publish(&config.folder, Contact { address, pid: std::process::id() })?;
    strike("coordinator.bound");
    tracing::info!("run {:?} listens on {address}", config.run);
    let (asks, asked) = mpsc::channel(ASK_QUEUE);
    let driver = Driver::new(state, journal, store, asked, asks.clone());
    Ok(Bound { driver, asks, door, tls, listener, address, contact, _lock: lock })
}

/// A coordinator that holds its run's folder and its socket.
#[derive(Debug)]
pub struct Bound {
    driver: Driver,
    asks: mpsc::Sender<Ask>,
    door: Doorkeeper,
    tls: Option<Tls>,
    listener: TcpListener,
    address: SocketAddr,
    contact: PathBuf,
    _lock: File,
}

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the run is over.
    ///
    /// # Errors
    /// If the journal cannot be written: then nothing more is decided.
    pub async fn serve(self) -> Result<Outcome, ServeError> {
        let signals = tokio::spawn(heed_signals(self.asks.clone())?);
        let (over, until) = oneshot::channel::<()>();
        let service =
            CoordinatorServer::new(Service::new(self.asks)).max_decoding_message_size(MESSAGE_LIMIT);
        let service = InterceptedService::new(service, self.door);
        let server = server(self.tls.as_ref())?.add_service(service);
        let incoming = guests(self.listener, PLACES, FIRST_WORD);
        let server = tokio::spawn(server.serve_with_incoming_shutdown(incoming, async {
            let _ = until.await;
        }));
        // The journal syncs to disk: the driver has a thread of its own, so that no other task waits for that.
        let (runtime, driver) = (tokio::runtime::Handle::current(), self.driver);
        let state = tokio::task::spawn_blocking(move || runtime.block_on(driver.run()))
            .await
            .map_err(|_| ServeError::Driver)?;
        // Whoever reads it later would find nobody there.
        let _ = std::fs::remove_file(self.contact);
        let _ = over.send(());
        let stop = server.abort_handle();
        if tokio::time::timeout(GOODBYE, server).await.is_err() {
            stop.abort();
        }
        signals.abort();
        Ok(outcome(&state?))
    }
}

/// A server that gives nobody more than a worker needs.
fn server(tls: Option<&Tls>) -> Result<Server, ServeError> {
    let server = Server::builder()
        .tcp_nodelay(true)
        .concurrency_limit_per_connection(CALLS)
        .max_concurrent_streams(CALLS as u32)
        .http2_max_header_list_size(HEADERS)
        .http2_keepalive_interval(Some(PROBE))
        .http2_keepalive_timeout(Some(PROBE_PATIENCE));
    Ok(match tls {
        Some(tls) => server.tls_config(tls.server())?,
        None => server,
    })
}

/// Checks what was asked for; returns the size of gangs.
fn check(config: &Config) -> Result<usize, ServeError> {
    config.plan.check()?;
    if config.plan.stages().is_empty() {
        return Err(ServeError::Empty);
    }
    size::check(&config.plan)?;
    let (workers, gang) = (config.workers.get(), config.gang.unwrap_or(config.workers).get());
    if gang > workers {
        return Err(ServeError::Gang { gang, workers });
    }
    if config.listen.ip().is_unspecified() {
        return Err(ServeError::Everywhere(config.listen));
    }
    Ok(gang)
}

/// Two coordinators never serve one run: the lock ends with the process that holds it.
fn lock(folder: &Path) -> Result<File, ServeError> {
    let path = folder.join("coordinator.lock");
    let file = File::options().create(true).append(true).open(&path).map_err(io(format!("lock {path:?}")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServeError::Busy(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(format!("lock {path:?}"))(error)),
    }
}

/// The plan's artifacts that stand in the store.
async fn made(store: &Store, plan: &Plan) -> Result<BTreeMap<Key, Manifest>, ServeError> {
    let mut made = BTreeMap::new();
    for stage in plan.stages() {
        if let Some(manifest) = store.manifest(stage.key).await? {
            made.insert(stage.key, manifest);
        }
    }
    Ok(made)
}

/// Writes the contact file, whole or not at all.
fn publish(folder: &Path, contact: Contact) -> Result<PathBuf, ServeError> {
    let path = folder.join(CONTACT_FILE);
    let aside = folder.join("coordinator.json.new");
    let text = serde_json::to_string(&contact).expect("a contact is plain data");
    File::create(&aside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&aside, &path))
        .map_err(io(format!("file {path:?}")))?;
    Ok(path)
}

/// A signal asks the run to stop; a second one, to stop at once.
fn heed_signals(asks: mpsc::Sender<Ask>) -> Result<impl Future<Output = ()>, ServeError> {
    let listen = |kind| signal(kind).map_err(io("signals".to_owned()));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asks.send(Ask::Hear(Input::Stop)).await.is_err() {
                return;
            }
        }
    })
}

fn outcome(state: &State) -> Outcome {
    let code = match state.phase {
        Phase::Done => exit::DONE,
        Phase::Failed(code) => code,
        // Finished stages and shards are kept: running again goes on from them.
        Phase::Running | Phase::Stopping => exit::PREEMPTED,
    };
    Outcome { phase: state.phase.word(), reason: state.reason.clone(), code }
}

fn io(what: String) -> impl FnOnce(std::io::Error) -> ServeError {
    move |source| ServeError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::tests::builder::Sketch;

    fn failed(code: rusqlite::ErrorCode) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error { code, extended_code: 0 }, None)
    }

    #[test]
    fn the_exit_code_says_whether_another_start_may_help() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let path = || PathBuf::from("somewhere");
        let plan = PlanError::Input { name: "goal".into(), input: "data".into() };
        let unread = JournalError::Value { what: "a key", message: "short".into() };
        for (error, code) in [
            (ServeError::Plan(plan), exit::MISMATCH),
            (ServeError::Empty, exit::USAGE),
            (ServeError::Busy(path()), exit::USAGE),
            (io("listening".into())(full()), START_AGAIN),
            (StoreError::Io { path: path(), source: full() }.into(), START_AGAIN),
            (StoreError::Missing { path: "artifacts".into() }.into(), exit::DIGEST),
            (JournalError::Sqlite(failed(rusqlite::ErrorCode::DiskFull)).into(), START_AGAIN),
            (JournalError::Sqlite(failed(rusqlite::ErrorCode::DatabaseCorrupt)).into(), exit::DIGEST),
            (JournalError::Foreign { path: path() }.into(), exit::MISMATCH),
            (unread.into(), exit::DIGEST),
            (ServeError::Driver, exit::INTERNAL),
        ] {
            assert_eq!(error.code(), code, "{error}");
        }
    }

    #[tokio::test]
    async fn a_plan_whose_assignments_exceed_a_message_is_not_served() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut stages = Vec::from(Sketch::chain());
        stages[2].estimate.examples = 1 << 30;
        let config = Config {
            run: "run".into(),
            folder: folder.path().join("run"),
            store: folder.path().join("store").into(),
            plan: stages.into(),
            workers: NonZeroUsize::MIN,
            gang: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            fewest: None,
            cadence: Cadence::default(),
            stall: Duration::ZERO,
            build: None,
        };
        let error = bind(config).await.expect_err("it is too large");
        assert!(matches!(error, ServeError::Size(_)) && error.to_string().contains("goal"), "{error}");
    }
}
