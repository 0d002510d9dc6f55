//! A coordinator on a real socket, with workers that speak the protocol and do no real work.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure message")]

mod attacks;
mod scene;

use std::num::NonZeroUsize;

use fulcrum_common::{
    exit,
    plan::Plan,
    protocol::{Contact, Hello, StatusRequest, StopRequest, command, worker_event::Event},
    store::Store,
};
use fulcrum_coordinator::{Config, ServeError, bind};
use scene::*;
use tokio::time::timeout;

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
