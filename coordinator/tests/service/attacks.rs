//! What strangers and broken workers try: nobody gets in, nothing is believed, and the run goes on.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use fulcrum_common::{
    Key,
    access::{Introduction, Side, TLS_FOLDER, TOKEN_FILE, Tls, Token, Validity, make},
    exit,
    protocol::{
        Done, File, Heartbeat, Hello, Leaving, MESSAGE_LIMIT, PROTOCOL_VERSION, StatusRequest, StopRequest,
        WorkerEvent, command, coordinator_client::CoordinatorClient, worker_event::Event,
    },
    store::Store,
};
use fulcrum_coordinator::{Config, bind};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tonic::{Code, Status};

use crate::scene::*;

/// The run is as it was, and ends when it is asked to.
async fn goes_on(address: SocketAddr, serving: Serving) {
    assert_eq!(client(address).await.status(StatusRequest {}).await.unwrap().into_inner().phase, "running");
    client(address).await.stop(StopRequest {}).await.unwrap();
    assert_eq!(end(serving).await.phase, "stopping");
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

/// The certificates of the run in `folder`, made before it begins.
fn certificates(folder: &Path, validity: Validity) -> PathBuf {
    let tls = folder.join("run").join(TLS_FOLDER);
    make(&tls, validity).unwrap();
    tls
}

/// What the coordinator answers to who shows this, and knows the token.
async fn shown(address: SocketAddr, tls: Option<&Tls>) -> Result<String, Status> {
    let channel = Tls::endpoint(tls, address).unwrap().connect_lazy();
    let introduction = Introduction::new(Token::parse(TOKEN, "here").unwrap());
    let mut client = CoordinatorClient::with_interceptor(channel, introduction);
    let status = timeout(DEADLINE, client.status(StatusRequest {})).await.expect("it answers in time");
    status.map(|status| status.into_inner().phase)
}

/// A member asks the run to end, and it does.
async fn stopped(address: SocketAddr, member: &Tls, serving: Serving) {
    let channel = Tls::endpoint(Some(member), address).unwrap().connect().await.unwrap();
    let token = Introduction::new(Token::parse(TOKEN, "here").unwrap());
    CoordinatorClient::with_interceptor(channel, token).stop(StopRequest {}).await.unwrap();
    assert_eq!(end(serving).await.phase, "stopping");
}

#[tokio::test]
async fn a_run_with_certificates_answers_those_alone_who_show_one_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let own = certificates(folder.path(), Validity::days(1));
    let (address, serving) = start(folder.path()).await;
    let member = Tls::read(&own, Side::Member).unwrap();
    assert_eq!(shown(address, Some(&member)).await.unwrap(), "running");

    let elsewhere = folder.path().join("elsewhere");
    make(&elsewhere, Validity::days(1)).unwrap();
    let of_another_run = Tls::read(&elsewhere, Side::Member).unwrap();
    let not_a_member = Tls::read(&own, Side::Coordinator).unwrap();
    for (who, tls) in [
        ("nobody", None),
        ("a member of another run", Some(&of_another_run)),
        ("who has the certificate of a server", Some(&not_a_member)),
    ] {
        let refused = shown(address, tls).await;
        assert!(refused.is_err(), "{who} was answered: {refused:?}");
    }

    let channel = Tls::endpoint(Some(&member), address).unwrap().connect().await.unwrap();
    let mut bare = CoordinatorClient::new(channel);
    let refused = bare.status(StatusRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "a certificate is no token");

    stopped(address, &member, serving).await;
}

#[tokio::test]
async fn certificates_whose_time_is_over_let_nobody_in() {
    let day = Duration::from_secs(24 * 60 * 60);
    let (from, to) = (SystemTime::now() - 3 * day, SystemTime::now() - day);
    let folder = tempfile::tempdir().unwrap();
    let expired = certificates(folder.path(), Validity { from, to });
    let (address, serving) = start(folder.path()).await;
    let member = Tls::read(&expired, Side::Member).unwrap();
    let refused = shown(address, Some(&member)).await.unwrap_err();
    assert!(format!("{refused:?}").contains("Expired"), "{refused:?}");
    serving.abort();
}

#[tokio::test]
async fn off_the_loopback_nobody_is_answered_in_the_clear() {
    let Ok(outward) = fulcrum_common::network::address(None) else {
        // A machine without a network: there is no such address to listen on.
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_secrets(folder.path());
    let config = Config { listen: (outward, 0).into(), ..config(folder.path()) };
    let bound = bind(config).await.unwrap();
    let (address, serving) = (bound.address(), tokio::spawn(bound.serve()));
    assert!(shown(address, None).await.is_err());
    let member = Tls::read(&folder.path().join("run").join(TLS_FOLDER), Side::Member).unwrap();
    assert_eq!(shown(address, Some(&member)).await.unwrap(), "running");
    stopped(address, &member, serving).await;
}

#[tokio::test]
async fn an_end_that_was_told_before_changes_nothing_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let mut worker = Worker::join(address, folder.path(), "w0").await;
    let first = worker.assignment().await;
    worker.finish(&first).await;
    let mut second = Worker::join(address, folder.path(), "w1").await;
    let next = worker.assignment().await;
    assert!(next.epoch > first.epoch);

    // The same epoch again, with other bytes for what it made.
    let plan = plan();
    let stage = &plan.stages()[0];
    let store = Store::open(&folder.path().join("store")).unwrap();
    let made = store.manifest(stage.key).await.unwrap().unwrap();
    let forged = store.put(stage.key, first.epoch, "forged", b"forged".to_vec().into()).await.unwrap();
    let (name, path, blake3) = ("file".to_owned(), forged.path, forged.digest.to_string());
    let files = vec![File { name, path, bytes: forged.bytes, blake3 }];
    let replayed = Done { epoch: first.epoch, files, ..Done::default() };
    worker.say(Event::Done(replayed)).await;

    let other = second.assignment().await;
    worker.finish(&next).await;
    second.finish(&other).await;
    let workers = [tokio::spawn(worker.work()), tokio::spawn(second.work())];
    assert_eq!(end(serving).await.phase, "done");
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(store.manifest(stage.key).await.unwrap().unwrap(), made);
}

#[tokio::test]
async fn no_file_is_taken_from_outside_the_store() {
    for path in ["../run/token", "/etc/passwd", "artifacts/../../run/token", ""] {
        let folder = tempfile::tempdir().unwrap();
        let (address, serving) = start(folder.path()).await;
        let mut worker = Worker::join(address, folder.path(), "w0").await;
        let assignment = worker.assignment().await;
        let blake3 = Key::of(TOKEN.as_bytes()).to_string();
        let file = File { name: "file".into(), path: path.into(), bytes: TOKEN.len() as u64, blake3 };
        let done = Done { epoch: assignment.epoch, files: vec![file], ..Done::default() };
        worker.say(Event::Done(done)).await;
        // The stream is closed, or the work is given to somebody again: it is not believed.
        let answer = worker.next().await;
        assert!(!matches!(answer, Some(command::Command::Refused(_))), "{answer:?}");
        let store = Store::open(&folder.path().join("store")).unwrap();
        assert_eq!(store.manifest(plan().stages()[0].key).await.unwrap(), None, "{path}");
        drop(worker);
        goes_on(address, serving).await;
    }
}

#[tokio::test]
async fn a_message_beyond_the_limit_ends_its_stream_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let host = "h".repeat(MESSAGE_LIMIT + 1);
    let mut loud = Worker::open(address, folder.path(), Event::Hello(Hello { host, ..hello("w0") })).await;
    assert!(loud.next().await.is_none());
    goes_on(address, serving).await;
}

#[tokio::test]
async fn who_talks_without_end_is_not_listened_to() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let mut worker = Worker::join(address, folder.path(), "w0").await;
    let flood = async {
        let event = || WorkerEvent { event: Some(Event::Heartbeat(Heartbeat::default())) };
        while worker.events.send(event()).await.is_ok() {}
    };
    timeout(DEADLINE, flood).await.expect("the stream is closed");
    while worker.next().await.is_some() {}
    goes_on(address, serving).await;
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    let silent = async {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.read(&mut [0; 64]).await
    };
    assert!(matches!(timeout(DEADLINE, silent).await.expect("it is closed"), Ok(0) | Err(_)));
    // A stream without a hello.
    let outgoing = tokio_stream::pending::<WorkerEvent>();
    let mut commands = client(address).await.session(outgoing).await.unwrap().into_inner();
    assert!(matches!(timeout(DEADLINE, commands.message()).await.expect("it is closed"), Ok(None) | Err(_)));
    goes_on(address, serving).await;
}

#[tokio::test]
async fn a_worker_of_another_build_does_not_join() {
    let folder = tempfile::tempdir().unwrap();
    write_secrets(folder.path());
    let build = Key::of(b"the run's");
    let bound = bind(Config { build: Some(build), ..config(folder.path()) }).await.unwrap();
    let (address, serving) = (bound.address(), tokio::spawn(bound.serve()));
    for other in [String::new(), Key::of(b"another").to_string()] {
        let first = Event::Hello(Hello { build: other, ..hello("w0") });
        let mut stranger = Worker::open(address, folder.path(), first).await;
        let Some(command::Command::Refused(refused)) = stranger.next().await else { panic!("not refused") };
        assert!(refused.reason.contains("same fulcrum-worker on every machine"), "{}", refused.reason);
    }
    let own = Event::Hello(Hello { build: build.to_string(), ..hello("w0") });
    let mut worker = Worker::open(address, folder.path(), own).await;
    assert!(matches!(worker.next().await, Some(command::Command::Welcome(_))));
    drop(worker);
    goes_on(address, serving).await;
}

#[tokio::test]
async fn a_worker_with_another_store_does_not_join() {
    let folder = tempfile::tempdir().unwrap();
    let (address, serving) = start(folder.path()).await;
    for other in [String::new(), Key::of(b"another").to_string()] {
        let first = Event::Hello(Hello { store: other, ..hello("w0") });
        let mut stranger = Worker::open(address, folder.path(), first).await;
        let Some(command::Command::Refused(refused)) = stranger.next().await else { panic!("not refused") };
        assert!(refused.reason.contains("must see one folder or bucket"), "{}", refused.reason);
    }
    goes_on(address, serving).await;
}
