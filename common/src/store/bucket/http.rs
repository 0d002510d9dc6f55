//! How requests to a bucket travel: over `ureq`, whose TLS is that of the rest of the program, off the asynchronous threads.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    },
};
use ureq::{
    Agent,
    http::Request,
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::PART;

/// How long silence is taken for slowness.
const SILENCE: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes: files are read in pieces of [`PART`].
const ANSWER: u64 = 4 * PART as u64;

/// Connections that are kept for the next request.
const IDLE: usize = 8;

/// Makes clients.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    is_loopback: bool,
    certificates: Arc<Vec<Certificate<'static>>>,
}

impl Connector {
    pub(super) fn new(is_loopback: bool, certificates: Vec<Certificate<'static>>) -> Self {
        Self { is_loopback, certificates: Arc::new(certificates) }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A signature is for one address.
            .max_redirects(0)
            .user_agent(concat!("fulcrum/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections_per_host(IDLE)
            .timeout_connect(Some(SILENCE / 3))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE));
        if self.is_loopback {
            config = config.proxy(None);
        }
        if !self.certificates.is_empty() {
            let roots = RootCerts::new_with_certs(&self.certificates);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(HttpClient::new(Client(config.build().new_agent())))
    }
}

#[derive(Debug)]
struct Client(Agent);

/// A request was not answered, or not to the end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unanswered(String);

impl Unanswered {
    /// Every request of a store may be made twice: an object is put under a name of its own with the same bytes, and who
    /// makes a manifest asks afterwards which one stands. So each is tried again, however far it came.
    fn passing(error: &ureq::Error) -> HttpError {
        HttpError::new(HttpErrorKind::Request, Self(error.to_string()))
    }

    /// What is no matter of luck.
    fn lasting(error: impl ToString) -> HttpError {
        HttpError::new(HttpErrorKind::Unknown, Self(error.to_string()))
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let (agent, request) = (self.0.clone(), Request::from_parts(head, body));
        let answered = tokio::task::spawn_blocking(move || answer(&agent, request)).await;
        let answered = answered.unwrap_or_else(|panic| Err(Unanswered::lasting(panic)));
        answered
            .inspect_err(|error| tracing::warn!("a request to the bucket's server had no answer: {error}"))
    }
}

/// Makes a request and reads the answer to its end: one that breaks off is as good as none, and is asked for again.
fn answer(agent: &Agent, request: Request<bytes::Bytes>) -> Result<HttpResponse, HttpError> {
    let (head, body) = request.into_parts();
    // A method that takes no body must not be sent with an empty one.
    let answered = match body.is_empty() && !matches!(head.method.as_str(), "PUT" | "POST") {
        true => agent.run(Request::from_parts(head, ())),
        false => agent.run(Request::from_parts(head, &body[..])),
    };
    let answer = answered.map_err(|error| kind(&error))?;
    let (head, mut body) = answer.into_parts();
    let bytes = body.with_config().limit(ANSWER).read_to_vec().map_err(|error| kind(&error))?;
    Ok(HttpResponse::from_parts(head, HttpResponseBody::from(bytes::Bytes::from(bytes))))
}

/// Whether another try may be answered.
fn kind(error: &ureq::Error) -> HttpError {
    match error {
        ureq::Error::Io(inner) if inner.kind() == io::ErrorKind::InvalidData => Unanswered::lasting(error),
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::HostNotFound
        | ureq::Error::Protocol(_) => Unanswered::passing(error),
        _ => Unanswered::lasting(error),
    }
}
