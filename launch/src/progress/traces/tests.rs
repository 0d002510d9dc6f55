//! What a collector receives, over a real connection.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Instant,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue as Attribute, any_value},
    trace::v1::{Span as Received, status::StatusCode},
};
use tonic::{Request, Response, transport::Server};

use super::*;

/// Where the tests' clock is.
const BEGAN: Duration = Duration::from_secs(1_700_000_000);

/// A collector that keeps what it receives.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// One that listens; where it does.
    fn start() -> (Self, String) {
        let (listener, endpoint) = port();
        listener.set_nonblocking(true).unwrap();
        let incoming =
            tonic::transport::server::TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        (collector, endpoint)
    }

    /// All spans, with the name of the service that sent them.
    fn spans(&self) -> Vec<(String, Received)> {
        let received = self.0.lock().unwrap();
        let resources = received.iter().flat_map(|request| &request.resource_spans);
        let spans = resources.flat_map(|of| {
            let service = attribute(&of.resource.as_ref().unwrap().attributes, "service.name").unwrap();
            let spans = of.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| (service.clone(), span.clone()))
        });
        spans.collect()
    }
}

fn port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

fn attribute(attributes: &[Attribute], key: &str) -> Option<String> {
    let AnyValue { value } = attributes.iter().find(|one| one.key == key)?.value.clone()?;
    Some(match value? {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::DoubleValue(number) => number.to_string(),
        other => panic!("{key} is {other:?}"),
    })
}

fn began(stage: &str, attempt: u32, ran: u64) -> Happening {
    let (stage, kind, ran) = (stage.to_owned(), "train".to_owned(), Duration::from_secs(ran));
    Happening::StageBegan { stage, kind, attempt, examples: Some(100), ran }
}

fn done(stage: &str) -> Happening {
    Happening::StageDone { stage: stage.to_owned(), kind: "train".to_owned(), seconds: None }
}

fn failed(stage: &str, over: bool) -> Happening {
    let (stage, kind, message) = (stage.to_owned(), "train".to_owned(), "w1 is gone".to_owned());
    Happening::StageFailed { stage, kind, message, again: true, over }
}

fn got_on(stage: &str, done: u64) -> Happening {
    Happening::StageProgress {
        stage: stage.to_owned(),
        kind: "train".to_owned(),
        done,
        examples: Some(100),
        examples_per_second: Some(8.0),
        seconds_left: None,
        loss: Some(0.5),
    }
}

/// What happens in a run of two stages, second by second: the first loses an attempt, the second fails.
fn history() -> Vec<Vec<Happening>> {
    let worker = Happening::WorkerCame {
        worker: "w1".to_owned(),
        host: "node".to_owned(),
        device: "cpu".to_owned(),
        pid: 7,
    };
    let end = Happening::RunFailed { message: "ceiling failed".to_owned(), exit_code: Some(30) };
    vec![
        vec![Happening::RunBegan { stages: 2, made: 0 }, worker],
        vec![began("weak", 1, 1)],
        vec![got_on("weak", 50), got_on("weak", 51), failed("weak", true)],
        vec![began("weak", 2, 0), Happening::WorkerWent { worker: "w1".to_owned() }],
        vec![done("weak"), began("ceiling", 1, 0)],
        vec![end],
    ]
}

fn tell(traces: &mut Traces) {
    for (second, happenings) in history().iter().enumerate() {
        traces.tell(BEGAN + Duration::from_secs(second as u64), happenings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_receives_a_run_and_in_it_each_attempt_at_a_stage() {
    let (collector, endpoint) = Collector::start();
    let mut traces = Traces::new(Outlet::over_otlp(&endpoint).unwrap(), "exp", BEGAN);
    tell(&mut traces);
    traces.close();
    assert_eq!(traces.trouble(), None);
    let spans = collector.spans();
    assert!(spans.iter().all(|(service, _)| service == "fulcrum"));
    let spans: Vec<_> = spans.into_iter().map(|(_, span)| span).collect();
    let [run] = &spans.iter().filter(|span| span.parent_span_id.is_empty()).collect::<Vec<_>>()[..] else {
        panic!("{spans:#?}")
    };
    let seconds = |span: &Received| {
        let since = |nanos: u64| (Duration::from_nanos(nanos) - BEGAN).as_secs();
        (since(span.start_time_unix_nano), since(span.end_time_unix_nano))
    };
    let status = |span: &Received| {
        let status = span.status.clone().unwrap_or_default();
        (status.code(), status.message)
    };
    assert_eq!((run.name.as_str(), seconds(run)), ("exp", (0, 5)));
    assert_eq!(status(run), (StatusCode::Error, "ceiling failed".to_owned()));
    for (key, value) in
        [("stages", "2"), ("made", "0"), ("end", "failed"), ("exit_code", "30"), ("run", "exp")]
    {
        assert_eq!(attribute(&run.attributes, &format!("fulcrum.{key}")).as_deref(), Some(value), "{key}");
    }
    let events: Vec<_> = run.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["worker_came", "worker_went"]);

    let mut attempts: Vec<_> = spans.iter().filter(|span| span.parent_span_id == run.span_id).collect();
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    assert_eq!(attempts.len() + 1, spans.len());
    assert!(attempts.iter().all(|span| span.trace_id == run.trace_id));
    let told = |span: &&Received| {
        let attempt = attribute(&span.attributes, "fulcrum.attempt").unwrap();
        (span.name.clone(), attempt, seconds(span), status(span).0)
    };
    let text = str::to_owned;
    let expected = [
        (text("weak"), text("1"), (0, 2), StatusCode::Error),
        (text("weak"), text("2"), (3, 4), StatusCode::Ok),
        (text("ceiling"), text("1"), (4, 5), StatusCode::Error),
    ];
    assert_eq!(attempts.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(status(attempts[0]).1, "w1 is gone");
    let [mark] = &attempts[0].events[..] else { panic!("half of it is told once: {:?}", attempts[0].events) };
    assert_eq!(attribute(&mark.attributes, "fulcrum.loss").as_deref(), Some("0.5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_long_for_a_collector_that_does_not_answer() {
    // A port that takes connections and says nothing, and one that takes none.
    let (silent, endpoint) = port();
    let closed = port().1;
    for endpoint in [endpoint, closed] {
        let mut traces = Traces::new(Outlet::over_otlp(&endpoint).unwrap(), "exp", BEGAN);
        tell(&mut traces);
        let began = Instant::now();
        traces.close();
        assert!(began.elapsed() < Duration::from_secs(10), "{endpoint}: {:?}", began.elapsed());
        assert!(traces.trouble().is_some(), "{endpoint}: nothing is said");
        assert_eq!(traces.trouble(), None, "{endpoint}: it is said twice");
    }
    drop(silent);
}

#[test]
fn an_endpoint_that_is_none_is_refused() {
    let error = Outlet::over_otlp("not an address").unwrap_err();
    assert!(format!("{error:#}").starts_with("cannot send traces"), "{error:#}");
}

#[tokio::test]
async fn an_attempt_that_is_followed_by_another_was_given_up() {
    let (_held, endpoint) = port();
    let mut traces = Traces::new(Outlet::over_otlp(&endpoint).unwrap(), "exp", BEGAN);
    traces.tell(BEGAN, &[began("weak", 1, 0), failed("weak", false)]);
    assert_eq!(traces.attempts["weak"].trouble.as_deref(), Some("w1 is gone"));
    traces.tell(BEGAN, &[began("weak", 2, 0)]);
    assert_eq!(traces.attempts["weak"].trouble, None);
    traces.tell(BEGAN, &[done("weak"), done("of no beginning")]);
    assert!(traces.attempts.is_empty());
}
