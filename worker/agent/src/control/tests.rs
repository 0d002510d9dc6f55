//! The control task against a real coordinator on loopback, with engines that do no real work.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Mutex,
};

use fulcrum_common::experiment::Cadence;
use fulcrum_common::{
    Key,
    access::{Introduction, TOKEN_FILE, Token},
    flight::dump::{Header, latest},
    plan::{Estimate, Plan, Spec},
    protocol::{StopRequest, coordinator_client::CoordinatorClient},
    store::Store,
};
use fulcrum_coordinator::{Config as Run, bind};
use serde_json::json;
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};
use tonic::transport::Endpoint;

use super::*;
use crate::{device::Device, engine::Engine, identity};

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// What an engine does with the next assignments of a stage, instead of finishing them.
#[derive(Clone, Copy, Debug)]
enum Trick {
    Panic,
    Fail,
    Hang,
    /// Trains until it is asked to leave, or called off.
    Train,
}

/// Finishes everything, but for the tricks it is told to play.
struct Fake {
    store: Store,
    runtime: Handle,
    tricks: VecDeque<(&'static str, Trick)>,
    began: mpsc::UnboundedSender<String>,
}

impl Engine for Fake {
    fn run(&mut self, task: &Task, attempt: &Arc<Attempt>) -> Result<Product, Fault> {
        let _ = self.began.send(task.stage.name.clone());
        if let Some(place) = self.tricks.iter().position(|(stage, _)| *stage == task.stage.name) {
            match self.tricks.remove(place).map(|(_, trick)| trick) {
                Some(Trick::Panic) => panic!("out of luck"),
                Some(Trick::Fail) => return Err(Fault::passing("out of memory")),
                Some(Trick::Hang) => loop {
                    std::thread::park();
                },
                Some(Trick::Train) => {
                    while !attempt.is_leaving() && !attempt.is_cancelled() {
                        std::thread::yield_now();
                    }
                    let how = if attempt.is_cancelled() { "called off" } else { "left" };
                    let _ = self.began.send(how.to_owned());
                    return Err(Fault::membership(how));
                }
                None => {}
            }
        }
        if task.rank > 0 {
            attempt.meeting(DEADLINE).map_err(Fault::membership)?;
        } else if task.world > 1 {
            attempt.announce(SocketAddr::new(attempt.host, 4000));
        }
        if task.rank > 0 {
            return Ok(Product::default());
        }
        let name = task.shard.map_or("file".to_owned(), |shard| format!("part-{}", shard.index));
        let put = self.store.put(task.stage.key, task.epoch, &name, name.clone().into_bytes().into());
        let file = self.runtime.block_on(put).map_err(Fault::passing)?;
        Ok(Product { files: vec![file], facts: [("rows/corpus".to_owned(), 10)].into() })
    }
}

fn add(plan: &mut Plan, name: &str, work: serde_json::Value, inputs: &[(&str, Key)]) -> Key {
    let inputs = inputs.iter().map(|(role, key)| ((*role).to_owned(), *key)).collect();
    let work = serde_json::from_value(work).unwrap();
    plan.add(name, Spec { work, inputs }, Estimate::default())
}

/// Alone, in a gang of two, in three shards.
fn plan() -> Plan {
    let mut plan = Plan::default();
    let source = json!({"arithmetic": {"rows": 10, "seed": 0, "below": 10, "noise": 0.0}});
    let data = add(&mut plan, "data", json!({"prepare": {"corpus": {"source": source}}}), &[]);
    let optimizer = json!({"passes": 1, "batch": 4, "micro_batch": 2, "learning_rate": 0.1, "schedule": "constant",
        "warmup": 0.0, "weight_decay": 0.0, "clip": null});
    let head = json!({"head": "language_model", "init": "normal", "readout": null});
    let train = json!({"part": "corpus", "head": head, "trainable": "all", "lora": null,
        "objective": "language_model", "optimizer": optimizer, "seed": 0});
    let model = add(&mut plan, "model", json!({"train": train}), &[("data", data)]);
    let infer = json!({"part": "corpus", "output": "log_probability", "batch_tokens": 8, "shard": 4});
    add(&mut plan, "labels", json!({"infer": infer}), &[("model", model), ("data", data)]);
    plan
}

/// Which store the coordinator and its workers have.
fn identity() -> String {
    Key::of(b"store").to_string()
}

/// A run's folder and what happens in it.
struct Scene {
    folder: tempfile::TempDir,
    began: (mpsc::UnboundedSender<String>, Mutex<mpsc::UnboundedReceiver<String>>),
}

/// A worker on a task.
struct Worker {
    task: JoinHandle<i32>,
    terminate: mpsc::Sender<Asked>,
}

impl Worker {
    async fn code(self) -> i32 {
        timeout(DEADLINE, self.task).await.expect("the worker ends in time").unwrap()
    }
}

impl Scene {
    fn new() -> Self {
        let (began, seen) = mpsc::unbounded_channel();
        let scene = Self { folder: tempfile::tempdir().unwrap(), began: (began, Mutex::new(seen)) };
        std::fs::create_dir_all(scene.store()).unwrap();
        std::fs::write(scene.store().join("identity"), identity()).unwrap();
        scene
    }

    fn run_folder(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Waits until a worker has left a record of its flight.
    async fn left(&self) -> Vec<Header> {
        let some = async {
            loop {
                match latest(&self.run_folder()).unwrap() {
                    left if !left.is_empty() => return left,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        timeout(DEADLINE, some).await.expect("a record is left in time")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    async fn coordinator(&self) -> JoinHandle<&'static str> {
        let run = Run {
            run: "run".into(),
            folder: self.run_folder(),
            store: self.store().into(),
            plan: plan(),
            workers: NonZeroUsize::new(2).unwrap(),
            gang: None,
            listen: "127.0.0.1:0".parse().unwrap(),
            fewest: None,
            cadence: Cadence::default(),
            stall: Duration::ZERO,
            build: None,
        };
        let bound = bind(run).await.unwrap();
        tokio::spawn(async { bound.serve().await.unwrap().phase })
    }

    fn worker(&self, seat: &str, tricks: &[(&'static str, Trick)]) -> Worker {
        let hello = Hello { store: identity(), ..identity::hello(seat, Device::Cpu, 1) };
        let config = Config {
            place: Place::RunFolder(self.run_folder()),
            hello,
            host: None,
            patience: DEADLINE,
            grace: DEADLINE,
        };
        self.worker_with(config, tricks)
    }

    fn worker_with(&self, config: Config, tricks: &[(&'static str, Trick)]) -> Worker {
        let (results, outcomes) = mpsc::unbounded_channel();
        let (terminate, asked) = mpsc::channel(1);
        let fake = Fake {
            store: Store::open(&self.store()).unwrap(),
            runtime: Handle::current(),
            tricks: tricks.iter().copied().collect(),
            began: self.began.0.clone(),
        };
        let engine = EngineThread::start(move || fake, results).unwrap();
        Worker { task: tokio::spawn(Control::new(config, engine, outcomes, asked).run()), terminate }
    }

    /// Waits until an engine has begun that stage.
    async fn begins(&self, stage: &str) {
        let next = |cx: &mut std::task::Context<'_>| self.began.1.lock().unwrap().poll_recv(cx);
        let seen = async { while std::future::poll_fn(next).await.as_deref() != Some(stage) {} };
        timeout(DEADLINE, seen).await.expect("the stage begins in time");
    }
}

async fn phase(serving: JoinHandle<&'static str>) -> &'static str {
    timeout(DEADLINE, serving).await.expect("the run ends in time").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_do_a_run_and_go_home() {
    let scene = Scene::new();
    let serving = scene.coordinator().await;
    let workers = [scene.worker("w0", &[]), scene.worker("w1", &[])];
    for worker in workers {
        assert_eq!(worker.code().await, exit::DONE);
    }
    assert_eq!(phase(serving).await, "done");
    let store = Store::open(&scene.store()).unwrap();
    let labels = store.manifest(plan().stages()[2].key).await.unwrap().unwrap();
    assert_eq!(labels.files.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_come_first_wait_for_their_coordinator() {
    let scene = Scene::new();
    let workers = [scene.worker("w0", &[]), scene.worker("w1", &[])];
    let serving = scene.coordinator().await;
    for worker in workers {
        assert_eq!(worker.code().await, exit::DONE);
    }
    assert_eq!(phase(serving).await, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_panics_or_fails_is_given_another_chance() {
    let scene = Scene::new();
    let serving = scene.coordinator().await;
    let tricks = [("data", Trick::Panic), ("model", Trick::Fail), ("labels", Trick::Panic)];
    let workers = [scene.worker("w0", &tricks), scene.worker("w1", &[])];
    for worker in workers {
        assert_eq!(worker.code().await, exit::DONE);
    }
    assert_eq!(phase(serving).await, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_engine_does_not_come_back_ends_and_its_successor_goes_on() {
    let scene = Scene::new();
    let serving = scene.coordinator().await;
    let (failing, hanging) =
        (scene.worker("w0", &[("model", Trick::Fail)]), scene.worker("w1", &[("model", Trick::Hang)]));
    assert_eq!(hanging.code().await, exit::MEMBERSHIP);
    let successor = scene.worker("w1", &[]);
    for worker in [failing, successor] {
        assert_eq!(worker.code().await, exit::DONE);
    }
    assert_eq!(phase(serving).await, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_asked_to_terminate_leaves_and_its_work_is_done_by_another() {
    let scene = Scene::new();
    let serving = scene.coordinator().await;
    let first = scene.worker("w0", &[]);
    scene.begins("data").await;
    let second = scene.worker("w1", &[("labels", Trick::Hang)]);
    scene.begins("labels").await;
    second.terminate.send(Asked::End).await.unwrap();
    let code = second.code().await;
    assert!([exit::PREEMPTED, exit::MEMBERSHIP].contains(&code), "{code}");
    assert_eq!(first.code().await, exit::DONE);
    assert_eq!(phase(serving).await, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_asked_to_terminate_leaves_in_good_order_within_its_grace() {
    for (grace, how) in [(DEADLINE, "left"), (Duration::ZERO, "called off")] {
        let scene = Scene::new();
        let serving = scene.coordinator().await;
        let hello = Hello { store: identity(), ..identity::hello("w1", Device::Cpu, 1) };
        let place = Place::RunFolder(scene.run_folder());
        let config = Config { place, hello, host: None, patience: DEADLINE, grace };
        let trick = if grace.is_zero() { Trick::Hang } else { Trick::Train };
        let first = scene.worker("w0", &[("model", Trick::Train)]);
        let second = scene.worker_with(config, &[("model", trick)]);
        scene.begins("model").await;
        scene.begins("model").await;
        second.terminate.send(Asked::End).await.unwrap();
        scene.begins(how).await;
        let code = second.code().await;
        assert_eq!(code, if grace.is_zero() { exit::MEMBERSHIP } else { exit::PREEMPTED });
        let successor = scene.worker("w1", &[]);
        for worker in [first, successor] {
            assert_eq!(worker.code().await, exit::DONE);
        }
        assert_eq!(phase(serving).await, "done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_asked_to_terminate_says_goodbye() {
    let scene = Scene::new();
    let serving = scene.coordinator().await;
    let first = scene.worker("w0", &[]);
    scene.begins("data").await;
    first.terminate.send(Asked::End).await.unwrap();
    assert_eq!(first.code().await, exit::PREEMPTED);
    let workers = [scene.worker("w0", &[]), scene.worker("w1", &[])];
    for worker in workers {
        assert_eq!(worker.code().await, exit::DONE);
    }
    assert_eq!(phase(serving).await, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_version_is_refused_for_good() {
    let scene = Scene::new();
    let serving = scene.coordinator().await;
    let mut hello = identity::hello("w0", Device::Cpu, 1);
    hello.code += 1;
    let place = Place::RunFolder(scene.run_folder());
    let address = place.address().await.unwrap();
    let stranger =
        scene.worker_with(Config { place, hello, host: None, patience: DEADLINE, grace: DEADLINE }, &[]);
    assert_eq!(stranger.code().await, exit::MISMATCH);
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let introduction = Introduction::new(Token::find(&scene.run_folder()).unwrap());
    CoordinatorClient::with_interceptor(channel, introduction).stop(StopRequest {}).await.unwrap();
    assert_eq!(phase(serving).await, "stopping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_the_token_is_not_let_in_and_does_not_ask_again() {
    let scene = Scene::new();
    let serving = scene.coordinator().await;
    let token = scene.run_folder().join(TOKEN_FILE);
    let known = std::fs::read_to_string(&token).unwrap();
    std::fs::write(&token, "f".repeat(64)).unwrap();
    let stranger = scene.worker("w0", &[]);
    assert_eq!(stranger.code().await, exit::MISMATCH);
    std::fs::write(&token, known).unwrap();
    let workers = ["w0", "w1"].map(|seat| scene.worker(seat, &[]));
    assert_eq!(phase(serving).await, "done");
    for worker in workers {
        assert_eq!(worker.code().await, exit::DONE);
    }
}

#[tokio::test]
async fn a_worker_that_never_finds_a_coordinator_gives_up() {
    let scene = Scene::new();
    let hello = identity::hello("w0", Device::Cpu, 1);
    let place = Place::RunFolder(Path::new("no such folder").into());
    let lonely = scene
        .worker_with(Config { place, hello, host: None, patience: Duration::ZERO, grace: DEADLINE }, &[]);
    assert_eq!(lonely.code().await, exit::NO_PROGRESS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_and_one_whose_engine_panics_leave_a_record_of_their_flight() {
    for asked in [true, false] {
        let scene = Scene::new();
        let serving = scene.coordinator().await;
        let trick = if asked { Trick::Hang } else { Trick::Panic };
        let worker = scene.worker("w0", &[("data", trick)]);
        scene.begins("data").await;
        if asked {
            worker.terminate.send(Asked::Tell).await.unwrap();
        }
        let left = scene.left().await;
        let reason = if asked { "asked by a signal" } else { "panic: out of luck" };
        let told = (left[0].worker.as_str(), left[0].stage.as_str(), left[0].reason.as_str(), left[0].world);
        assert_eq!(told, ("w0", "data", reason, 1));
        assert_eq!(left[0].flight.doing, "inputs");
        serving.abort();
    }
}
