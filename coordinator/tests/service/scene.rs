//! A coordinator on a real socket, and workers that speak the protocol and do no real work.

use std::{
    fs::OpenOptions, io::Write as _, net::SocketAddr, num::NonZeroUsize, os::unix::fs::OpenOptionsExt as _,
    path::Path, time::Duration,
};

use fulcrum_common::{
    access::{Introduction, TOKEN_FILE, Tls, Token},
    experiment::Cadence,
    plan::{
        Arithmetic, CODE_VERSION, Estimate, Head, Infer, Measure, Objective, Optimizer, Output, Part, Plan,
        Prepare, Rule, Schedule, Source, Spec, Stage, Train, Trainable, Work,
    },
    protocol::{
        Assignment, Command, Done, Failed, File, HEARTBEAT_MS, Heartbeat, Hello, Leaving, PROTOCOL_VERSION,
        WorkerEvent, command, coordinator_client::CoordinatorClient, worker_event::Event,
    },
    store::Store,
};
use fulcrum_coordinator::{Bound, Config, Outcome, ServeError, bind};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, service::interceptor::InterceptedService, transport::Channel};

/// A coordinator at work.
pub(crate) type Serving = JoinHandle<Result<Outcome, ServeError>>;

/// No test waits longer for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn stage(
    plan: &mut Plan,
    name: &str,
    work: Work,
    inputs: &[(&str, fulcrum_common::Key)],
) -> fulcrum_common::Key {
    let inputs = inputs.iter().map(|(role, key)| ((*role).to_owned(), *key)).collect();
    plan.add(name, Spec { work, inputs }, Estimate::default())
}

/// One stage of each way to run: alone, in a gang, in shards, alone.
pub(crate) fn plan() -> Plan {
    let mut plan = Plan::default();
    let source = Source::Arithmetic(Arithmetic { rows: 10, seed: 0, below: 10, noise: 0.0 });
    let data = stage(&mut plan, "data", Work::Prepare(Prepare::Corpus { source }), &[]);
    let optimizer = Optimizer {
        passes: 1,
        batch: 4,
        micro_batch: 2,
        rule: Rule::default(),
        learning_rate: 0.1,
        schedule: Schedule::Constant,
        warmup: 0.0,
        floor: 0.0,
        weight_decay: 0.0,
        no_decay: Vec::new(),
        clip: None,
    };
    let train = Train {
        part: Part::Corpus,
        head: Head::LanguageModel.into(),
        trainable: Trainable::All,
        lora: None,
        objective: Objective::LanguageModel,
        optimizer,
        numerics: Default::default(),
        strategy: Default::default(),
        span: None,
        seed: 0,
    };
    let model = stage(&mut plan, "model", Work::Train(train), &[("data", data)]);
    let infer = Infer {
        part: Part::Corpus,
        output: Output::LogProbability,
        batch_tokens: 8,
        shard: 4,
        poison_rows: Infer::POISON_ROWS,
    };
    let labels = stage(&mut plan, "labels", Work::Infer(infer), &[("model", model), ("data", data)]);
    let measure = Work::Measure(Measure::Accuracy { part: Part::Corpus });
    stage(&mut plan, "goal", measure, &[("data", data), ("labels", labels)]);
    plan
}

pub(crate) fn config(folder: &Path) -> Config {
    Config {
        run: "run".into(),
        folder: folder.join("run"),
        store: folder.join("store").into(),
        plan: plan(),
        workers: NonZeroUsize::new(2).unwrap(),
        gang: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        fewest: None,
        cadence: Cadence::default(),
        stall: Duration::ZERO,
        build: None,
    }
}

pub(crate) async fn start(folder: &Path) -> (SocketAddr, Serving) {
    write_secrets(folder);
    let bound: Bound = bind(config(folder)).await.unwrap();
    (bound.address(), tokio::spawn(bound.serve()))
}

/// Gives the run in `folder` its token, and its store the identity that [`hello`] says.
pub(crate) fn write_secrets(folder: &Path) {
    let (run, store) = (folder.join("run"), folder.join("store"));
    std::fs::create_dir_all(&run).unwrap();
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join("identity"), identity()).unwrap();
    let mut file = OpenOptions::new();
    let file = file.write(true).create(true).mode(0o600).open(run.join(TOKEN_FILE));
    file.unwrap().write_all(TOKEN.as_bytes()).unwrap();
}

/// The store of the runs of these tests.
fn identity() -> String {
    fulcrum_common::Key::of(b"store").to_string()
}

/// What the runs of these tests know each other by.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    Tls::endpoint(None, address).unwrap().connect().await.unwrap()
}

pub(crate) async fn client(
    address: SocketAddr,
) -> CoordinatorClient<InterceptedService<Channel, Introduction>> {
    let introduction = Introduction::new(Token::parse(TOKEN, "here").unwrap());
    CoordinatorClient::with_interceptor(channel(address).await, introduction)
}

pub(crate) async fn end(serving: Serving) -> Outcome {
    timeout(DEADLINE, serving).await.expect("the coordinator ends in time").unwrap().unwrap()
}

/// Heartbeats for as long as the worker is there.
pub(crate) async fn live(events: mpsc::WeakSender<WorkerEvent>) {
    let mut pulse = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS.into()));
    loop {
        pulse.tick().await;
        let Some(events) = events.upgrade() else { return };
        let event = Some(Event::Heartbeat(Heartbeat::default()));
        if events.send(WorkerEvent { event }).await.is_err() {
            return;
        }
    }
}

pub(crate) fn hello(seat: &str) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        code: CODE_VERSION,
        worker: seat.into(),
        incarnation: "first".into(),
        host: "here".into(),
        pid: 1,
        device: "cpu".into(),
        threads: 1,
        fell: None,
        build: String::new(),
        store: identity(),
    }
}

/// A worker's end of a stream.
pub(crate) struct Worker {
    pub(crate) events: mpsc::Sender<WorkerEvent>,
    pub(crate) commands: Streaming<Command>,
    pub(crate) store: Store,
}

impl Worker {
    pub(crate) async fn join(address: SocketAddr, folder: &Path, seat: &str) -> Self {
        let mut worker = Self::open(address, folder, Event::Hello(hello(seat))).await;
        assert!(matches!(worker.next().await, Some(command::Command::Welcome(_))));
        tokio::spawn(live(worker.events.downgrade()));
        worker
    }

    pub(crate) async fn open(address: SocketAddr, folder: &Path, first: Event) -> Self {
        let (events, outgoing) = mpsc::channel(16);
        events.send(WorkerEvent { event: Some(first) }).await.unwrap();
        let commands =
            client(address).await.session(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Self { events, commands, store: Store::open(&folder.join("store")).unwrap() }
    }

    pub(crate) async fn say(&self, event: Event) {
        self.events.send(WorkerEvent { event: Some(event) }).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Option<command::Command> {
        let next = timeout(DEADLINE, self.commands.message()).await.expect("a command comes in time");
        next.ok().flatten().and_then(|command| command.command)
    }

    /// Passes over other commands.
    pub(crate) async fn assignment(&mut self) -> Assignment {
        loop {
            match self.next().await.expect("the stream stays open") {
                command::Command::Assignment(assignment) => return assignment,
                _ => continue,
            }
        }
    }

    pub(crate) async fn finish(&self, assignment: &Assignment) {
        let stage: Stage = serde_json::from_str(&assignment.stage).unwrap();
        let (mut files, mut facts) = (vec![], std::collections::HashMap::new());
        if assignment.rank == 0 {
            let name = assignment.shard.map_or("file".to_owned(), |shard| format!("part-{}", shard.index));
            let bytes = name.clone().into_bytes().into();
            let put = self.store.put(stage.key, assignment.epoch, &name, bytes).await.unwrap();
            let blake3 = put.digest.to_string();
            files.push(File { name: put.name, path: put.path, bytes: put.bytes, blake3 });
            facts.insert("rows/corpus".to_owned(), 10);
        }
        self.say(Event::Done(Done { epoch: assignment.epoch, files, facts })).await;
    }

    /// Does what it is told until it is sent home; returns the names of what it worked on.
    pub(crate) async fn work(mut self) -> Vec<String> {
        let mut worked = vec![];
        loop {
            match self.next().await {
                Some(command::Command::Assignment(assignment)) => {
                    let stage: Stage = serde_json::from_str(&assignment.stage).unwrap();
                    worked.push(stage.name);
                    self.finish(&assignment).await;
                }
                Some(command::Command::Abort(abort)) => {
                    let failed =
                        Failed { epoch: abort.epoch, retry: true, membership: true, ..Failed::default() };
                    self.say(Event::Failed(failed)).await;
                }
                Some(command::Command::Drain(_)) => {
                    self.say(Event::Leaving(Leaving {})).await;
                }
                Some(_) => {}
                None => return worked,
            }
        }
    }
}
