//! The page, and what it and others read.

use std::{
    convert::Infallible,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    sync::Arc,
};

use anyhow::Result;
use axum::{
    Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{
        Html, IntoResponse, Json, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures::stream::{self, Stream};
use tokio::{net::TcpListener, sync::watch::Receiver};

use super::{Sight, metrics::metrics};
use crate::run_folder::RunFolder;

/// The page: one file that reads nothing from elsewhere.
const PAGE: &str = include_str!("page.html");

/// How much of the end of a log is shown, in bytes.
const TAIL: u64 = 16 << 10;

/// What every request reads.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Run>);

#[derive(Debug)]
struct Run {
    folder: RunFolder,
    edges: Vec<Vec<usize>>,
    sees: Receiver<Sight>,
}

impl Shared {
    pub(super) fn new(folder: RunFolder, edges: Vec<Vec<usize>>, sees: Receiver<Sight>) -> Self {
        Self(Arc::new(Run { folder, edges, sees }))
    }
}

/// Answers until this process ends.
///
/// # Errors
/// If the socket fails.
pub(super) async fn serve(listener: TcpListener, shared: Shared) -> Result<()> {
    let routes = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/edges", get(async |State(shared): State<Shared>| Json(shared.0.edges.clone())))
        .route("/status", get(async |State(shared): State<Shared>| Json(shared.0.sees.borrow().clone())))
        .route("/events", get(events))
        .route("/metrics", get(prometheus))
        .route("/logs/{who}", get(log))
        .layer(middleware::from_fn(of_this_machine))
        .with_state(shared);
    Ok(axum::serve(listener, routes).await?)
}

/// Only this machine is meant, also where a page of elsewhere has given its own name this machine's address.
async fn of_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    match name {
        "127.0.0.1" | "localhost" | "[::1]" => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "this page is for the machine that it runs on\n").into_response(),
    }
}

async fn events(State(shared): State<Shared>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut sees = shared.0.sees.clone();
    sees.mark_changed();
    let told = stream::unfold(sees, async |mut sees| {
        sees.changed().await.ok()?;
        let event = Event::default().json_data(&*sees.borrow_and_update()).unwrap_or_default();
        Some((Ok(event), sees))
    });
    Sse::new(told).keep_alive(KeepAlive::default())
}

async fn prometheus(State(shared): State<Shared>) -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    (headers, metrics(&shared.0.sees.borrow()))
}

/// The end of the log of the coordinator or a worker that the run knows.
async fn log(State(shared): State<Shared>, Path(who): Path<String>) -> Response {
    let is_known = {
        let sight = shared.0.sees.borrow();
        who == "coordinator" || sight.status.workers.iter().any(|worker| worker.worker == who)
    };
    let tail = || {
        let mut file = File::open(shared.0.folder.log(&who)).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    match is_known.then(tail).flatten() {
        Some(text) => text.into_response(),
        None => (StatusCode::NOT_FOUND, "no such log\n").into_response(),
    }
}
