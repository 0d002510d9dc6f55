//! The border between the network and the state machine: messages are hostile until checked here.

use std::collections::BTreeMap;

use fulcrum_common::{
    Key, exit,
    flight::Activity,
    protocol::{self, Flight, WorkerEvent, worker_event},
    store::File,
};

use crate::input::{Copied, Event, Failure, Fell, Hello, Progress};

/// Characters of a seat or an incarnation.
const NAME_LIMIT: usize = 64;
/// Characters of host names, file names, names of facts.
const TEXT_LIMIT: usize = 1024;
/// Characters of a failure that are kept.
const MESSAGE_LIMIT: usize = 2000;
/// Files in one assignment's result.
const FILES_LIMIT: usize = 4096;
/// Facts in one assignment's result.
const FACTS_LIMIT: usize = 1024;
/// Exit codes that a worker's failure may give the run. Others say how a process ended, not the work.
const CODES: [i32; 4] = [exit::MISMATCH, exit::DIGEST, exit::NO_PROGRESS, exit::INTERNAL];
/// Groups of members in a worker's flight.
const GROUPS_LIMIT: usize = 8;
/// Threads a worker may claim.
const THREADS_LIMIT: u32 = 4096;

/// A message that breaks the protocol: the stream it came on is closed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found:?} is not acceptable: {rule}")]
pub struct WireError {
    what: &'static str,
    found: String,
    rule: String,
}

fn refuse<T>(what: &'static str, found: impl ToString, rule: impl Into<String>) -> Result<T, WireError> {
    let found = found.to_string().chars().take(80).collect();
    Err(WireError { what, found, rule: rule.into() })
}

fn copied(protocol::Copy { group, hash }: protocol::Copy) -> Copied {
    Copied { group, hash }
}

/// Checks a worker's message.
///
/// # Errors
/// If it breaks the protocol.
pub fn event(message: WorkerEvent) -> Result<Event, WireError> {
    let Some(event) = message.event else { return refuse("event", "", "it is of no kind known here") };
    Ok(match event {
        worker_event::Event::Hello(it) => Event::Hello(hello(it)?),
        worker_event::Event::Heartbeat(it) => Event::Heartbeat(Progress {
            epoch: it.epoch,
            step: it.step,
            steps: it.steps,
            examples: it.examples,
            loss: it.loss,
        }),
        worker_event::Event::Rendezvous(it) => {
            Event::Rendezvous { epoch: it.epoch, address: address(it.address)? }
        }
        worker_event::Event::Done(it) => {
            Event::Done { epoch: it.epoch, files: files(it.files)?, facts: facts(it.facts)? }
        }
        worker_event::Event::Failed(it) => Event::Failed { epoch: it.epoch, failure: failure(it) },
        worker_event::Event::Kept(it) => {
            let copy = it.copy.map(copied);
            Event::Kept { epoch: it.epoch, step: it.step, files: files(it.files)?, copy }
        }
        worker_event::Event::Held(it) => {
            let Some(copy) = it.copy else { return refuse("copy", "", "it is said what is held") };
            Event::Held { epoch: it.epoch, step: it.step, copy: copied(copy) }
        }
        worker_event::Event::NotKept(it) => {
            Event::NotKept { epoch: it.epoch, step: it.step, message: line(&it.message) }
        }
        worker_event::Event::Leaving(_) => Event::Leaving,
    })
}

/// What a heartbeat says of the worker's flight recorder. No decision rests on it, so that what is not acceptable is
/// passed over and costs nobody his work.
pub(crate) fn flight(message: &WorkerEvent) -> Option<Flight> {
    let Some(worker_event::Event::Heartbeat(heartbeat)) = &message.event else { return None };
    let flight = heartbeat.flight.as_ref()?;
    let plain =
        |text: &String| !text.is_empty() && text.len() <= NAME_LIMIT && !text.chars().any(char::is_control);
    let good = Activity::named(&flight.doing).is_some()
        && flight.groups.len() <= GROUPS_LIMIT
        && flight.groups.iter().all(|group| plain(&group.name))
        && flight.waits.iter().all(|call| plain(&call.group) && plain(&call.operation));
    good.then(|| flight.clone())
}

fn hello(it: protocol::Hello) -> Result<Hello, WireError> {
    if !(1..=THREADS_LIMIT).contains(&it.threads) {
        return refuse("thread count", it.threads, format!("1 to {THREADS_LIMIT}"));
    }
    Ok(Hello {
        protocol: it.protocol,
        code: it.code,
        seat: name("seat", it.worker, "-_.")?,
        incarnation: name("incarnation", it.incarnation, "-_.")?,
        host: text("host", it.host)?,
        pid: it.pid,
        device: name("device", it.device, ":")?,
        threads: it.threads,
        fell: it.fell.map(|it| Fell { epoch: it.epoch, row: it.row }),
        build: digest("build", it.build)?,
        store: digest("store", it.store)?,
    })
}

/// A digest, or none.
fn digest(what: &'static str, found: String) -> Result<Option<Key>, WireError> {
    if found.is_empty() {
        return Ok(None);
    }
    let known = found.parse().ok();
    known.map(Some).map_or_else(|| refuse(what, found, "the 64 digits of a digest".to_owned()), Ok)
}

/// Letters, digits and a few more, at least one.
fn name(what: &'static str, found: String, more: &str) -> Result<String, WireError> {
    let known = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    if found.is_empty() || found.len() > NAME_LIMIT || !found.chars().all(known) {
        return refuse(what, found, format!("1 to {NAME_LIMIT} letters, digits or {more:?}"));
    }
    Ok(found)
}

/// Anything that shows on one line.
fn text(what: &'static str, found: String) -> Result<String, WireError> {
    if found.is_empty() || found.len() > TEXT_LIMIT || found.chars().any(char::is_control) {
        return refuse(what, found, format!("one line of 1 to {TEXT_LIMIT} bytes"));
    }
    Ok(found)
}

fn address(found: String) -> Result<String, WireError> {
    let good = found.len() <= TEXT_LIMIT
        && found.rsplit_once(':').is_some_and(|(host, port)| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
            !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
    if good { Ok(found) } else { refuse("address", found, "host:port") }
}

fn files(found: Vec<protocol::File>) -> Result<Vec<File>, WireError> {
    if found.len() > FILES_LIMIT {
        return refuse("number of files", found.len(), format!("at most {FILES_LIMIT}"));
    }
    let file = |it: protocol::File| {
        let Ok(digest) = it.blake3.parse() else {
            return refuse("digest", it.blake3, "a BLAKE3 in hexadecimal");
        };
        Ok(File {
            name: text("file name", it.name)?,
            path: text("file path", it.path)?,
            bytes: it.bytes,
            digest,
        })
    };
    found.into_iter().map(file).collect()
}

fn facts(found: impl IntoIterator<Item = (String, u64)>) -> Result<BTreeMap<String, u64>, WireError> {
    let facts = found
        .into_iter()
        .take(FACTS_LIMIT + 1)
        .map(|(name, value)| Ok((text("fact", name)?, value)))
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    if facts.len() > FACTS_LIMIT {
        return refuse("number of facts", facts.len(), format!("at most {FACTS_LIMIT}"));
    }
    Ok(facts)
}

/// What can be shown on one line.
fn line(text: &str) -> String {
    text.chars().take(MESSAGE_LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn failure(it: protocol::Failed) -> Failure {
    Failure {
        message: line(&it.message),
        retry: it.retry,
        membership: it.membership,
        code: CODES.into_iter().find(|code| i64::from(*code) == i64::from(it.code)).unwrap_or_default(),
        row: it.row,
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_common::protocol::worker_event::Event as Message;

    use super::*;

    fn parse(message: Message) -> Result<Event, WireError> {
        event(WorkerEvent { event: Some(message) })
    }

    fn good() -> protocol::Hello {
        protocol::Hello {
            protocol: 1,
            code: 1,
            worker: "w0".into(),
            incarnation: "a1".into(),
            host: "node-1".into(),
            pid: 7,
            device: "cuda:0".into(),
            threads: 4,
            fell: Some(protocol::Fell { epoch: 3, row: Some(-7) }),
            build: Key::of(b"program").to_string(),
            store: Key::of(b"store").to_string(),
        }
    }

    #[test]
    fn a_hello_in_order_passes() {
        let Ok(Event::Hello(hello)) = parse(Message::Hello(good())) else { panic!("refused") };
        assert_eq!(hello.fell, Some(Fell { epoch: 3, row: Some(-7) }));
        let (build, store) = (Key::of(b"program"), Key::of(b"store"));
        assert_eq!((hello.build, hello.store), (Some(build), Some(store)));
        assert_eq!((hello.seat.as_str(), hello.class().to_string()), ("w0", "cuda with 4 threads".into()));
    }

    #[test]
    fn a_hello_out_of_order_is_refused() {
        let spoils: [fn(&mut protocol::Hello); 9] = [
            |it| it.build = "latest".into(),
            |it| it.store = "mine".into(),
            |it| it.worker = "../w0".into(),
            |it| it.worker = String::new(),
            |it| it.worker = "w".repeat(65),
            |it| it.incarnation = "a b".into(),
            |it| it.host = "node\n1".into(),
            |it| it.device = "cpu; rm".into(),
            |it| it.threads = 0,
        ];
        for (index, spoil) in spoils.into_iter().enumerate() {
            let mut hello = good();
            spoil(&mut hello);
            assert!(parse(Message::Hello(hello)).is_err(), "spoil {index}");
        }
    }

    #[test]
    fn only_host_and_port_are_a_meeting_place() {
        for (found, good) in [
            ("127.0.0.1:4000", true),
            ("[::1]:4000", true),
            ("node-1.cluster:1", true),
            ("node-1", false),
            (":1", false),
            ("a:0", false),
            ("a:70000", false),
            ("a b:1", false),
        ] {
            let message = Message::Rendezvous(protocol::Rendezvous { epoch: 1, address: found.into() });
            assert_eq!(parse(message).is_ok(), good, "{found}");
        }
    }

    #[test]
    fn results_with_bad_digests_or_too_many_files_are_refused() {
        let file = |blake3: &str| protocol::File {
            name: "a".into(),
            path: "b".into(),
            bytes: 1,
            blake3: blake3.into(),
        };
        let digest = "0".repeat(64);
        let done = |files| Message::Done(protocol::Done { epoch: 1, files, facts: Default::default() });
        assert!(parse(done(vec![file(&digest)])).is_ok());
        assert!(parse(done(vec![file("../../etc")])).is_err());
        assert!(parse(done(vec![file(&digest); FILES_LIMIT + 1])).is_err());
    }

    #[test]
    fn a_failure_becomes_one_line_of_bounded_length() {
        let message = "a\nb".to_owned() + &"x".repeat(5000);
        let failed = protocol::Failed { message, code: 4000, ..Default::default() };
        let Ok(Event::Failed { failure, .. }) = parse(Message::Failed(failed)) else { panic!("refused") };
        assert!(failure.message.starts_with("a b") && failure.message.len() == MESSAGE_LIMIT);
        assert_eq!(failure.code, 0);
    }

    #[test]
    fn only_codes_that_say_how_the_work_failed_are_kept() {
        for (code, kept) in
            [(20, 20), (21, 21), (30, 30), (40, 40), (0, 0), (2, 0), (10, 0), (11, 0), (276, 0)]
        {
            let failed = protocol::Failed { code, ..Default::default() };
            let Ok(Event::Failed { failure, .. }) = parse(Message::Failed(failed)) else { panic!("refused") };
            assert_eq!(failure.code, kept, "{code}");
        }
    }

    #[test]
    fn a_flight_that_shows_on_a_line_is_taken_and_no_other() {
        let group = |name: &str| protocol::FlightGroup { name: name.into(), ..Default::default() };
        let call = |operation: &str| protocol::FlightCall {
            group: "all".into(),
            operation: operation.into(),
            ..Default::default()
        };
        let flight = |doing: &str, groups: Vec<protocol::FlightGroup>, waits| {
            let doing = doing.to_owned();
            let flight = Some(Flight { doing, groups, waits, ..Default::default() });
            let heartbeat = protocol::Heartbeat { flight, ..Default::default() };
            super::flight(&WorkerEvent { event: Some(Message::Heartbeat(heartbeat)) })
        };
        assert!(flight("forward", vec![group("shards 0")], Some(call("all-reduce"))).is_some());
        assert!(flight("dancing", vec![], None).is_none());
        assert!(flight("forward", vec![group("a\nb")], None).is_none());
        assert!(flight("forward", vec![group(&"g".repeat(65))], None).is_none());
        assert!(flight("forward", vec![group("g"); GROUPS_LIMIT + 1], None).is_none());
        assert!(flight("forward", vec![], Some(call("\u{1b}[31m"))).is_none());
    }

    #[test]
    fn a_message_of_no_kind_is_refused() {
        assert!(event(WorkerEvent { event: None }).is_err());
    }
}
