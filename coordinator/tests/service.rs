//! A coordinator on a real socket, with workers that speak the protocol and do no real work.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure message")]

use std::{
    fs::OpenOptions, io::Write as _, net::SocketAddr, num::NonZeroUsize, os::unix::fs::OpenOptionsExt as _,
    path::Path, time::Duration,
};

use fulcrum_common::experiment::Cadence;
use fulcrum_common::{
    access::{Introduction, TOKEN_FILE, Token},
    exit,
    plan::{
        Arithmetic, CODE_VERSION, Estimate, Head, Infer, Measure, Objective, Optimizer, Output, Part, Plan,
        Prepare, Rule, Schedule, Source, Spec, Stage, Train, Trainable, Work,
    },
    protocol::{
        Assignment, Command, Contact, Done, Failed, File, HEARTBEAT_MS, Heartbeat, Hello, Leaving,
        PROTOCOL_VERSION, StatusRequest, StopRequest, WorkerEvent, command,
        coordinator_client::CoordinatorClient, worker_event::Event,
    },
    store::Store,
};
use fulcrum_coordinator::{Bound, Config, Outcome, ServeError, bind};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Streaming,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(30);

fn stage(
    plan: &mut Plan,
    name: &str,
    work: Work,
    inputs: &[(&str, fulcrum_common::Key)],
) -> fulcrum_common::Key {
    let inputs = inputs.iter().map(|(role, key)| ((*role).to_owned(), *key)).collect();
    plan.add(name, Spec { work, inputs }, Estimate::default())
}

/// One stage of each way to run: alone, in a gang, in shards, alone.
fn plan() -> Plan {
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

fn config(folder: &Path) -> Config {
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
    }
}

async fn start(folder: &Path) -> (SocketAddr, JoinHandle<Result<Outcome, ServeError>>) {
    let run = folder.join("run");
    std::fs::create_dir_all(&run).unwrap();
    let mut file = OpenOptions::new();
    let file = file.write(true).create(true).mode(0o600).open(run.join(TOKEN_FILE));
    file.unwrap().write_all(TOKEN.as_bytes()).unwrap();
    let bound: Bound = bind(config(folder)).await.unwrap();
    (bound.address(), tokio::spawn(bound.serve()))
}

/// What the runs of these tests know each other by.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn client(address: SocketAddr) -> CoordinatorClient<InterceptedService<Channel, Introduction>> {
    let introduction = Introduction::new(Token::parse(TOKEN, "here").unwrap());
    CoordinatorClient::with_interceptor(channel(address).await, introduction)
}

async fn end(serving: JoinHandle<Result<Outcome, ServeError>>) -> Outcome {
    timeout(DEADLINE, serving).await.expect("the coordinator ends in time").unwrap().unwrap()
}

/// Heartbeats for as long as the worker is there.
async fn live(events: mpsc::WeakSender<WorkerEvent>) {
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

fn hello(seat: &str) -> Hello {
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
    }
}

/// A worker's end of a stream.
struct Worker {
    events: mpsc::Sender<WorkerEvent>,
    commands: Streaming<Command>,
    store: Store,
}

impl Worker {
    async fn join(address: SocketAddr, folder: &Path, seat: &str) -> Self {
        let mut worker = Self::open(address, folder, Event::Hello(hello(seat))).await;
        assert!(matches!(worker.next().await, Some(command::Command::Welcome(_))));
        tokio::spawn(live(worker.events.downgrade()));
        worker
    }

    async fn open(address: SocketAddr, folder: &Path, first: Event) -> Self {
        let (events, outgoing) = mpsc::channel(16);
        events.send(WorkerEvent { event: Some(first) }).await.unwrap();
        let commands =
            client(address).await.session(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Self { events, commands, store: Store::open(&folder.join("store")).unwrap() }
    }

    async fn say(&self, event: Event) {
        self.events.send(WorkerEvent { event: Some(event) }).await.unwrap();
    }

    async fn next(&mut self) -> Option<command::Command> {
        let next = timeout(DEADLINE, self.commands.message()).await.expect("a command comes in time");
        next.ok().flatten().and_then(|command| command.command)
    }

    /// Passes over other commands.
    async fn assignment(&mut self) -> Assignment {
        loop {
            match self.next().await.expect("the stream stays open") {
                command::Command::Assignment(assignment) => return assignment,
                _ => continue,
            }
        }
    }

    async fn finish(&self, assignment: &Assignment) {
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
    async fn work(mut self) -> Vec<String> {
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

#[tokio::test]
async fn two_workers_bring_a_plan_to_its_goal() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    assert_eq!(Contact::read(&folder.path().join("run")).unwrap().address, address);
    let workers = [
        tokio::spawn(Worker::join(address, folder.path(), "w0").await.work()),
        tokio::spawn(Worker::join(address, folder.path(), "w1").await.work()),
    ];
    for worker in workers {
        assert!(timeout(DEADLINE, worker).await.unwrap().unwrap().contains(&"model".to_owned()));
    }
    let mut client = client(address).await;
    let status = client.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.phase.as_str(), status.run.as_str()), ("done", "run"));
    assert!(status.stages.iter().all(|stage| stage.state == "done"), "{:?}", status.stages);
    client.stop(StopRequest {}).await.unwrap();
    let outcome = end(serving).await;
    assert_eq!((outcome.phase, outcome.code), ("done", exit::DONE));
    assert!(Contact::read(&folder.path().join("run")).is_err(), "nobody is there any more");
    let store = Store::open(&folder.path().join("store")).unwrap();
    let labels = store.manifest(plan().stages()[2].key).await.unwrap().unwrap();
    let parts: Vec<_> = labels.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(parts, ["part-0", "part-1", "part-2"]);
}

#[tokio::test]
async fn a_finished_run_does_nothing_but_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let worker = tokio::spawn(Worker::join(address, folder.path(), "w0").await.work());
    let other = tokio::spawn(Worker::join(address, folder.path(), "w1").await.work());
    assert_eq!(end(serving).await.phase, "done");
    worker.await.unwrap();
    other.await.unwrap();
    let (_, again) = start(folder.path()).await;
    assert_eq!(end(again).await.phase, "done", "it exits by itself");
}

#[tokio::test]
async fn a_gang_that_loses_a_member_forms_again_at_a_higher_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let mut first = Worker::join(address, folder.path(), "w0").await;
    let data = first.assignment().await;
    let mut second = Worker::join(address, folder.path(), "w1").await;
    first.finish(&data).await;
    let gang = second.assignment().await;
    assert_eq!((gang.rank, gang.world), (1, 2));
    drop(second);
    let mine = first.assignment().await;
    assert_eq!((mine.rank, mine.epoch), (0, gang.epoch));
    let Some(command::Command::Abort(abort)) = first.next().await else { panic!("no abort") };
    assert_eq!(abort.epoch, gang.epoch);
    first.finish(&mine).await;
    let mut third = Worker::join(address, folder.path(), "w1").await;
    let again = third.assignment().await;
    assert!(again.epoch > gang.epoch);
    third.finish(&again).await;
    let workers = [tokio::spawn(first.work()), tokio::spawn(third.work())];
    assert_eq!(end(serving).await.phase, "done");
    for worker in workers {
        worker.await.unwrap();
    }
    let store = Store::open(&folder.path().join("store")).unwrap();
    let model = store.manifest(plan().stages()[1].key).await.unwrap().unwrap();
    assert_eq!(model.epoch, again.epoch, "what the broken epoch made was not committed");
}

#[tokio::test]
async fn a_run_that_was_stopped_goes_on_with_the_shards_that_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let (mut w0, mut w1) =
        (Worker::join(address, folder.path(), "w0").await, Worker::join(address, folder.path(), "w1").await);
    let data = w0.assignment().await;
    w0.finish(&data).await;
    let (rank0, rank1) = (w0.assignment().await, w1.assignment().await);
    w0.finish(&rank0).await;
    w1.finish(&rank1).await;
    let (shard0, shard1) = (w0.assignment().await, w1.assignment().await);
    assert_eq!((shard0.shard.unwrap().index, shard1.shard.unwrap().index), (0, 1));
    w1.finish(&shard1).await;
    let last = w1.assignment().await;
    client(address).await.stop(StopRequest {}).await.unwrap();
    w1.finish(&last).await;
    let (w0, w1) = (tokio::spawn(w0.work()), tokio::spawn(w1.work()));
    timeout(DEADLINE, w1).await.unwrap().unwrap();
    // The first worker has a shard that it does not finish: asked again, the coordinator calls it off.
    client(address).await.stop(StopRequest {}).await.unwrap();
    timeout(DEADLINE, w0).await.unwrap().unwrap();
    let outcome = end(serving).await;
    assert_eq!((outcome.phase, outcome.code), ("stopping", exit::PREEMPTED));

    let (address, serving) = start(folder.path()).await;
    let worked = Worker::join(address, folder.path(), "w0").await.work().await;
    assert_eq!(worked, ["labels", "goal"], "one shard was left");
    assert_eq!(end(serving).await.phase, "done");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_holds_a_stage_up_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let mut worker = Worker::join(address, folder.path(), "w0").await;
    let data = worker.assignment().await;
    // A folder in the place of the manifest: as any refusal of the system, it is no damage of the files.
    let key = plan().stages()[0].key;
    let manifest = folder.path().join(format!("store/artifacts/{key}/manifest.json"));
    std::fs::create_dir_all(manifest.join("in the way")).unwrap();
    worker.finish(&data).await;
    let mut client = client(address).await;
    let held_up = async {
        loop {
            let reply = client.status(StatusRequest {}).await.unwrap().into_inner();
            if reply.reason.contains("commit failed") {
                return reply;
            }
        }
    };
    let reply = timeout(DEADLINE, held_up).await.expect("status says why");
    assert_eq!((reply.stages[0].state.as_str(), reply.stages[0].attempts), ("running", 1));
    std::fs::remove_dir_all(&manifest).unwrap();
    let other = tokio::spawn(Worker::join(address, folder.path(), "w1").await.work());
    let worked = timeout(DEADLINE, worker.work()).await.unwrap();
    assert!(!worked.contains(&"data".to_owned()), "{worked:?}");
    assert!(!timeout(DEADLINE, other).await.unwrap().unwrap().contains(&"data".to_owned()));
    assert_eq!(end(serving).await.phase, "done");
}

#[tokio::test]
async fn two_coordinators_never_serve_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let first = bind(config(folder.path())).await.unwrap();
    let second = bind(config(folder.path())).await;
    assert!(matches!(second, Err(ServeError::Busy(_))), "{second:?}");
    drop(first);
    assert!(bind(config(folder.path())).await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let good = || config(folder.path());
    for (bad, part) in [
        (Config { listen: "0.0.0.0:0".parse().unwrap(), ..good() }, "one of this machine's own"),
        (Config { plan: Plan::default(), ..good() }, "no stages"),
        (Config { gang: NonZeroUsize::new(3), ..good() }, "at least 3 workers"),
    ] {
        let error = bind(bad).await.unwrap_err();
        let message = error.to_string();
        assert_eq!(error.code(), exit::USAGE);
        assert!(message.contains(part), "{message}");
    }
    assert!(!folder.path().join("run").exists());
}

#[tokio::test]
async fn what_changes_nothing_is_in_the_journal_too_once() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    for _ in 0..3 {
        let older = Hello { protocol: 0, ..hello("w9") };
        let mut older = Worker::open(address, folder.path(), Event::Hello(older)).await;
        assert!(matches!(older.next().await, Some(command::Command::Refused(_))));
    }
    client(address).await.stop(StopRequest {}).await.unwrap();
    end(serving).await;
    let journal = rusqlite::Connection::open(folder.path().join("run").join("journal.sqlite")).unwrap();
    let told: i64 = journal
        .query_row("SELECT count(*) FROM events WHERE event LIKE 'refused w9 of here%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_stream_that_breaks_the_protocol_is_closed_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let mut rude = Worker::open(address, folder.path(), Event::Leaving(Leaving {})).await;
    assert!(rude.next().await.is_none());
    let outside = Event::Hello(hello("../w0"));
    let mut hostile = Worker::open(address, folder.path(), outside).await;
    assert!(hostile.next().await.is_none());
    let mut newer = Worker::open(
        address,
        folder.path(),
        Event::Hello(Hello { protocol: PROTOCOL_VERSION + 1, ..hello("w0") }),
    )
    .await;
    let Some(command::Command::Refused(refused)) = newer.next().await else { panic!("not refused") };
    assert!(refused.reason.contains("protocol"), "{}", refused.reason);
    assert!(newer.next().await.is_none());
    client(address).await.stop(StopRequest {}).await.unwrap();
    assert_eq!(end(serving).await.phase, "stopping");
}

#[tokio::test]
async fn nobody_is_answered_who_does_not_know_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let mut bare = CoordinatorClient::new(channel(address).await);
    let wrong = Introduction::new(Token::parse(&TOKEN.replace('f', "e"), "here").unwrap());
    let mut stranger = CoordinatorClient::with_interceptor(channel(address).await, wrong);
    let refused = [
        bare.status(StatusRequest {}).await.map(|_| ()).unwrap_err(),
        bare.stop(StopRequest {}).await.map(|_| ()).unwrap_err(),
        bare.session(tokio_stream::empty::<WorkerEvent>()).await.map(|_| ()).unwrap_err(),
        stranger.status(StatusRequest {}).await.map(|_| ()).unwrap_err(),
        stranger.stop(StopRequest {}).await.map(|_| ()).unwrap_err(),
        stranger.session(tokio_stream::empty::<WorkerEvent>()).await.map(|_| ()).unwrap_err(),
    ];
    assert!(refused.iter().all(|status| status.code() == Code::Unauthenticated), "{refused:?}");
    assert!(refused.iter().all(|status| !status.message().contains(TOKEN)));
    assert_eq!(client(address).await.status(StatusRequest {}).await.unwrap().into_inner().phase, "running");
    client(address).await.stop(StopRequest {}).await.unwrap();
    assert_eq!(end(serving).await.phase, "stopping");
}

#[tokio::test]
async fn a_token_that_others_can_read_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join(TOKEN_FILE), TOKEN).unwrap();
    let error = bind(config(folder.path())).await.unwrap_err();
    assert!(error.code() == exit::USAGE && error.to_string().contains("chmod 600"), "{error}");
}
